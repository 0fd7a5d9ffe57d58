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
use crate::history::Window;
use crate::live::Model;

/// Components read at a time: the history lends as many connections.
const READERS: usize = 4;
/// Forecasts that are scored and shown again.
const FORECASTS: Duration = Duration::from_secs(86_400);

/// Reads frames, models, decisions and forecasts of every component of the pipeline.
pub(super) async fn rebuild(shared: &Arc<Shared>) -> anyhow::Result<()> {
    let shared = shared.clone();
    let work = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let now = Timestamp::now();
        let components = shared.state().components.len();
        let next = AtomicUsize::new(0);
        let read = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= components {
                    return anyhow::Ok(());
                }
                component(&shared, at, now)?;
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(READERS).min(components);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
            readers.into_iter().try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
        })?;
        shared.health.set("history", health::State::Ok, "", now);
        shared.health.set("live", health::State::Ok, "", now);
        tracing::info!(components, duration_ms = started.elapsed().as_millis() as u64, "live state rebuilt");
        anyhow::Ok(())
    });
    work.await.context("rebuilding the live state")?
}

fn component(shared: &Shared, at: usize, now: Timestamp) -> anyhow::Result<()> {
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

    let mut state = shared.state();
    let component = &mut state.components[at];
    component.series = series;
    component.decisions = decisions.into_iter().rev().collect();
    component.model = model.and_then(|stored| match forecaster::decode(&stored.weights) {
        Ok(lstm) => Some(Model { lstm, version: stored.version, trained_at: stored.trained_at, scores: stored.scores }),
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
    Ok(())
}
