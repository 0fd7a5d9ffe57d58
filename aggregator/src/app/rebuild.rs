//! The live state of a new start, from the history of the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use forebay_shared::Timestamp;
use forebay_shared::health;

use super::Shared;
use crate::features::{RETAINED_ROWS, Series};
use crate::forecaster;
use crate::history::{Found, Left, Window};
use crate::live::Model;

/// Components read at a time: the history lends as many connections.
const READERS: usize = 4;
/// Forecasts that are scored and shown again.
const FORECASTS: Duration = Duration::from_secs(86_400);

/// Reads frames, models, decisions, forecasts and what was carried over of every component of the pipeline.
pub(super) async fn rebuild(shared: &Arc<Shared>) -> anyhow::Result<()> {
    let of = shared.clone();
    let read = tokio::task::spawn_blocking(move || components(&of));
    let ticked_at = read.await.context("rebuilding the live state")??;
    match ticked_at {
        Some(ticked_at) => end_allocations(shared, ticked_at).await,
        None => Ok(()),
    }
}

/// Gives the time of the last tick of the run before.
fn components(shared: &Shared) -> anyhow::Result<Option<Timestamp>> {
    let started = Instant::now();
    let now = Timestamp::now();
    let components = shared.state().components.len();
    let next = AtomicUsize::new(0);
    let read = || {
        let mut ticked_at = None;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= components {
                return anyhow::Ok(ticked_at);
            }
            ticked_at = ticked_at.max(component(shared, at, now)?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(READERS).min(components);
    let mut ticked_at = None;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        readers.into_iter().try_for_each(|reader| {
            ticked_at = ticked_at.max(reader.join().map_err(|_| anyhow!("a reader panicked"))??);
            anyhow::Ok(())
        })
    })?;
    shared.health.set("history", health::State::Ok, "", now);
    shared.health.set("live", health::State::Ok, "", now);
    tracing::info!(components, duration_ms = started.elapsed().as_millis() as u64, "live state rebuilt");
    Ok(ticked_at)
}

/// Gives the time of its last tick.
fn component(shared: &Shared, at: usize, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
    let (id, step, retrain) = {
        let state = shared.state();
        (state.components[at].id.clone(), state.pace().step, state.pace().retrain)
    };
    let history = &shared.history;
    let rows = u32::try_from(RETAINED_ROWS).unwrap_or(u32::MAX);
    let range = now.minus(step * rows)..Timestamp(u64::MAX);
    let mut series = Series::new(step);
    history.window(&id, range, series.step_ms(), |part| match part {
        Window::Step(index, sums) => series.restore(index, &sums),
        Window::Frame(frame) => series.observe(&frame.pod_uid, frame.boot, &frame.content),
    })?;
    let decisions = history.decisions(&id, 200)?;
    let forecasts = history.forecasts(&id, now.minus(FORECASTS)..Timestamp(u64::MAX))?;
    let model = history.active_model(&id)?;
    let Found { carried, allocations } = history.found(&id, now.minus(step * rows))?;
    let ticked_at = carried.as_ref().map(|(at, _)| *at);

    let mut state = shared.state();
    if let Some((_, carried)) = carried {
        state.carry_on(at, carried);
    }
    let component = &mut state.components[at];
    component.series = series;
    for (from, observed) in allocations {
        component.allocated.note(component.series.index(from), observed);
    }
    if let Some(ticked_at) = ticked_at {
        component.allocated.note(component.series.index(ticked_at) + 1, None);
    }
    component.decisions = decisions.into_iter().rev().collect();
    component.model = model.and_then(|stored| match forecaster::decode(&stored.weights) {
        Ok(lstm) => Some(Model {
            lstm: lstm.into(),
            version: stored.version,
            trained_at: stored.trained_at,
            scores: stored.scores,
        }),
        Err(error) => {
            tracing::error!(component = %id, version = stored.version, %error, "the stored model is not used");
            None
        }
    });
    if let Some(model) = &component.model {
        component.train_after = model.trained_at.plus(retrain);
    }
    component.series.settle(now);
    let step = component.series.index(now);
    let lead = component.lead_steps();
    for forecast in forecasts {
        component.feedback.expect(&forecast, lead);
        component.feedback.score(&component.series, step);
    }
    Ok(ticked_at)
}

/// What was allocated is known until the last tick of the run before, and anew from the first of this one.
async fn end_allocations(shared: &Shared, ticked_at: Timestamp) -> anyhow::Result<()> {
    let (at, allocations) = {
        let state = shared.state();
        let ids = state.components.iter().map(|component| (component.id.clone(), None));
        (ticked_at.plus(state.pace().step), ids.collect())
    };
    let ended = shared.history.record_tick(Left { at, allocations, ..Left::default() }).await;
    // On a full disk there is a start all the same.
    if let Err(error) = ended {
        tracing::error!(%error, "the end of the allocations of the run before was not recorded");
    }
    Ok(())
}
