//! The loop that decides: a tick a step, its decisions carried out, its trainings started.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use forebay_shared::{ComponentId, Timestamp};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{Shared, set_health};
use crate::forecaster;
use crate::history::{HistoryError, Left, StoredModel};
use crate::live::{Model, Tick};
use crate::orchestrator::{Observed, Orchestrator, OrchestratorError};
use crate::planner::{Decision, solve};
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
    let mut told = BTreeMap::new();
    // Ready before the first tick, which may be a step away: agents need not wait for it.
    let observed = orchestrator.observe().await.map_err(|error| error.to_string());
    set_health(&shared, "orchestrator", observed.as_ref().map(drop).map_err(Clone::clone));
    if let Ok(observed) = &observed {
        shared.state().observed(Timestamp::now(), observed);
    }
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
        tick(&shared, &*orchestrator, &mut told, Timestamp::now()).await?;
        if trainer.is_idle() {
            start_training(&shared, &mut trainer)?;
        }
    }
}

/// Allocations as they were told to the history.
type Told = BTreeMap<ComponentId, Option<Observed>>;

async fn tick(
    shared: &Arc<Shared>,
    orchestrator: &dyn Orchestrator,
    told: &mut Told,
    now: Timestamp,
) -> anyhow::Result<()> {
    let observed = orchestrator.observe().await.map_err(|error| error.to_string());
    set_health(shared, "orchestrator", observed.as_ref().map(drop).map_err(Clone::clone));
    let allocations = changes(shared, told, observed.as_ref().ok());
    let compute = {
        let shared = shared.clone();
        move || compute(&shared, now, observed)
    };
    let Tick { forecasts, decisions, hindsight } = spawn_blocking(compute).await.context("a tick panicked")?;
    // What is recorded at the same time shares a commit.
    let mut records = JoinSet::new();
    let mut left = Left { at: now, forecasts, decisions: hindsight, allocations, carried: Vec::new() };
    for (at, decision) in decisions {
        let decision = carry_out(shared, orchestrator, at, decision).await;
        if !shared.state().components[at].is_news(&decision) {
            continue;
        }
        tell(shared, &decision);
        shared.publish("decision", &decision);
        shared.state().decided(at, decision.clone());
        if decision.applied {
            // At once: the next one may take long, and what was done has to be known.
            let history = shared.history.clone();
            records.spawn(async move { history.record_decisions(vec![decision]).await });
        } else {
            left.decisions.push(decision);
        }
    }
    left.carried = {
        let state = shared.state();
        (0..state.components.len()).map(|at| (state.components[at].id.clone(), state.carried(at))).collect()
    };
    let recorded = shared.history.record_tick(left).await;
    if recorded.is_err() {
        told.clear();
    }
    record(recorded);
    records.join_all().await.into_iter().for_each(record);
    set_health(shared, "history", shared.history.trouble().map_or(Ok(()), Err));
    let view = shared.state().view();
    shared.publish("tick", &view);
    shared.metrics.ticked();
    Ok(())
}

/// A tick, with the state held for one component at a time, and not while forecasts are made: frames come in meanwhile,
/// and the page is answered.
fn compute(shared: &Shared, now: Timestamp, observed: Result<BTreeMap<ComponentId, Observed>, String>) -> Tick {
    let components = shared.state().components.len();
    let mut tick = Tick::default();
    for at in 0..components {
        tick.hindsight.extend(shared.state().settle(at, now, observed.as_ref().ok()));
    }
    for at in 0..components {
        let outlook = shared.state().outlook(at, now);
        let forecast = outlook.and_then(|outlook| outlook.forecast());
        tick.forecasts.extend(shared.state().expect(at, forecast));
    }
    let (problem, memory) = {
        let state = shared.state();
        (state.problem(now, observed.as_ref().err().map(String::as_str)), state.memory().to_vec())
    };
    let plan = solve(&problem, &memory);
    tick.decisions = shared.state().planned(now, plan);
    tick
}

/// The allocations that are others than those told last.
fn changes(
    shared: &Shared,
    told: &mut Told,
    observed: Option<&BTreeMap<ComponentId, Observed>>,
) -> Vec<(ComponentId, Option<Observed>)> {
    let ids: Vec<_> = shared.state().components.iter().map(|component| component.id.clone()).collect();
    let now = ids.into_iter().map(|id| {
        let observed = observed.and_then(|all| all.get(&id)).copied();
        (id, observed)
    });
    now.filter(|(id, observed)| told.insert(id.clone(), *observed) != Some(*observed)).collect()
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
fn record(outcome: Result<(), HistoryError>) {
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
                component.model = Some(Model { lstm: trained.model.into(), version, trained_at: now, scores });
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
