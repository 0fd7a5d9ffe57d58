//! The live state of a new start, from the history of the one before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use forebay_shared::Timestamp;
use forebay_shared::health;

use super::Shared;
use crate::features::RETAINED_ROWS;
use crate::forecaster;
use crate::live::Model;

/// Forecasts that are scored and shown again.
const FORECASTS: Duration = Duration::from_secs(86_400);

/// Reads frames, models, decisions and forecasts of every component of the pipeline.
pub(super) async fn rebuild(shared: &Arc<Shared>) -> anyhow::Result<()> {
    let shared = shared.clone();
    let work = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let now = Timestamp::now();
        let components = shared.state().components.len();
        for at in 0..components {
            component(&shared, at, now)?;
        }
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
    history.visit(&id, range, |frame| {
        shared.state().receive(&id, &frame.pod_uid, frame.boot, &frame.content);
    })?;
    let decisions = history.decisions(&id, 200)?;
    let forecasts = history.forecasts(&id, now.minus(FORECASTS)..Timestamp(u64::MAX))?;
    let model = history.active_model(&id)?;

    let mut state = shared.state();
    let component = &mut state.components[at];
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
