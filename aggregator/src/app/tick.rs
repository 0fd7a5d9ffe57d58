//! The loop that decides: a tick a step, its decisions carried out, its trainings started.

use std::sync::Arc;

use forebay_shared::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Shared, set_health};
use crate::forecaster;
use crate::history::StoredModel;
use crate::live::{Model, Tick};
use crate::orchestrator::{Orchestrator, OrchestratorError};
use crate::planner::Decision;
use crate::trainer::{Outcome, Trainer};

/// Ticks come this share of a step after the step's end, when its last frames have come in.
const SETTLE_SHARE: u32 = 5;

/// Ticks until stopped.
pub(super) async fn run(
    shared: Arc<Shared>,
    orchestrator: Box<dyn Orchestrator>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let step = shared.state().pace().step;
    let mut trainer = Trainer::spawn()?;
    // Ready before the first tick, which may be a step away: agents need not wait for it.
    let observed = orchestrator.observe().await;
    set_health(&shared, "orchestrator", observed.map(drop).map_err(|error| error.to_string()));
    set_health(&shared, "planner", Ok(()));
    loop {
        let now = Timestamp::now();
        let step_ms = step.as_millis() as u64;
        let next = Timestamp((now.0 / step_ms + 1) * step_ms).plus(step / SETTLE_SHARE);
        let wait = tokio::time::sleep(next.since(now));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut wait => break,
                outcome = trainer.outcome(), if !trainer.is_idle() => install(&shared, outcome?).await,
            }
        }
        tick(&shared, &*orchestrator, Timestamp::now()).await;
        if trainer.is_idle() {
            start_training(&shared, &mut trainer)?;
        }
    }
}

async fn tick(shared: &Shared, orchestrator: &dyn Orchestrator, now: Timestamp) {
    let observed = orchestrator.observe().await;
    set_health(shared, "orchestrator", observed.as_ref().map(drop).map_err(ToString::to_string));
    let silence = observed.as_ref().err().map(ToString::to_string);
    let Tick { forecasts, decisions, hindsight } = {
        let mut state = shared.state();
        state.tick(now, observed.as_ref().map_err(|_| silence.as_deref().unwrap_or_default()))
    };
    for (at, decision) in decisions {
        let decision = carry_out(shared, orchestrator, at, decision).await;
        if !shared.state().components[at].is_news(&decision) {
            continue;
        }
        tell(shared, &decision);
        shared.publish("decision", &decision);
        shared.state().decided(at, decision.clone());
        record(shared.history.record_decisions(vec![decision]).await);
    }
    for (component, forecast) in forecasts {
        record(shared.history.record_forecasts(&component, vec![forecast]).await);
    }
    if !hindsight.is_empty() {
        record(shared.history.record_decisions(hindsight).await);
    }
    set_health(shared, "history", shared.history.trouble().map_or(Ok(()), Err));
    let view = shared.state().view();
    shared.publish("tick", &view);
    shared.metrics.ticked();
}

/// Applies a decision, or tells why not.
async fn carry_out(shared: &Shared, orchestrator: &dyn Orchestrator, at: usize, mut decision: Decision) -> Decision {
    let withheld = shared.state().withheld(at);
    let outcome = match withheld {
        Some(why) => Err(OrchestratorError::Refused(why)),
        None => orchestrator.apply(&decision).await,
    };
    decision.applied = outcome.is_ok();
    decision.refusal = outcome.err().map(|error| error.to_string());
    decision
}

fn tell(shared: &Shared, decision: &Decision) {
    let Decision { component, from, to, applied, refusal, reason, .. } = decision;
    let (from, to) = (format!("{}x{}", from.replicas, from.cpu), format!("{}x{}", to.replicas, to.cpu));
    tracing::info!(%component, from, to, applied, refusal, reason, "decided");
    shared.metrics.decided(&component.to_string(), *applied);
}

/// What cannot be recorded is still in force: the disk's trouble is no reason not to scale.
fn record(outcome: Result<(), crate::history::HistoryError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "not recorded");
    }
}

fn start_training(shared: &Shared, trainer: &mut Trainer) -> anyhow::Result<()> {
    let mut state = shared.state();
    if let Some(training) = state.due(Timestamp::now()) {
        state.components[training.component].training = true;
        trainer.start(training)?;
    }
    Ok(())
}

/// A model that won takes over; else everything stays as it was.
async fn install(shared: &Shared, outcome: Outcome) {
    let now = Timestamp::now();
    let rows = outcome.rows;
    let stored = {
        let mut state = shared.state();
        let retrain = state.pace().retrain;
        let component = &mut state.components[outcome.component];
        component.training = false;
        component.train_after = now.plus(retrain);
        let id = component.id.clone();
        match outcome.result {
            Err(error) => {
                tracing::warn!(component = %id, rows, %error, "no model from this training");
                shared.metrics.training_failed();
                return;
            }
            Ok(None) => {
                tracing::info!(component = %id, rows, "the challenger lost its backtest: the model in force stays");
                shared.metrics.trained(false);
                return;
            }
            Ok(Some(trained)) => {
                let version = component.model.as_ref().map_or(1, |model| model.version + 1);
                let scores = trained.scores;
                tracing::info!(component = %id, rows, version, wql = scores.wql, baseline_wql = scores.baseline_wql, "new model");
                let weights = forecaster::encode(&trained.model);
                component.model = Some(Model { lstm: trained.model, version, trained_at: now, scores });
                let kind = forecaster::LSTM.to_owned();
                StoredModel {
                    component: id,
                    kind,
                    version,
                    trained_at: now,
                    scores,
                    confidence: scores.confidence(),
                    weights,
                }
            }
        }
    };
    shared.metrics.trained(true);
    let told = serde_json::json!({
        "componentID": stored.component, "kind": stored.kind, "version": stored.version,
    });
    shared.publish("model", &told);
    record(shared.history.record_model(stored).await);
}
