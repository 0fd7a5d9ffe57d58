//! Gathers the summary from the demo's own accounts and the aggregator's answers.

use std::time::Duration;

use forebay_shared::Timestamp;

use super::{Batches, ComponentSummary, DecisionSummary, Figures, Summary, WorkloadSummary};
use crate::demo::client::Aggregator;
use crate::demo::manifest;
use crate::demo::node::{Accounts, AllocationChange};
use crate::demo::replay::Replay;
use crate::demo::stand::Stand;
use crate::demo::worker::Stage;
use crate::demo::workload;
use crate::planner::{Basis, Decision};

/// From a decision to the change that carries it out, at most.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(3);

/// What the summary needs to be told.
pub(in crate::demo) struct Conditions {
    /// Times faster than life.
    pub(in crate::demo) speed: f64,
    /// When the demo was started, before anything else was.
    pub(in crate::demo) started_at: Timestamp,
    /// Length of the replay.
    pub(in crate::demo) length: Duration,
    /// What kept the workers to their share.
    pub(in crate::demo) limiter: String,
    /// How often the aggregator died.
    pub(in crate::demo) aggregator_restarts: u64,
}

/// Gathers the summary.
pub(in crate::demo) async fn gather(
    conditions: Conditions,
    stand: &Stand,
    replay: &Replay,
    aggregator: &Aggregator,
) -> anyhow::Result<Summary> {
    let Conditions { speed, started_at, length, limiter, aggregator_restarts } = conditions;
    let mut missing = Vec::new();
    let mut components = Vec::new();
    let mut waits = Vec::new();
    let mut firsts = Vec::new();
    for (stage, component) in Stage::ALL.into_iter().zip(&stand.components) {
        let id = manifest::id(stage)?;
        let mut unknown =
            |what: &str, error: anyhow::Error| missing.push(format!("{} {what}: {error:#}", stage.name()));
        let profile = aggregator.profile(&id).await.map_err(|error| unknown("profile", error)).ok();
        let decisions = aggregator.decisions(&id).await.map_err(|error| unknown("decisions", error));
        let mut decisions = decisions.unwrap_or_default();
        decisions.retain(|decision| decision.at >= started_at);
        let accounts = component.accounts.lock();
        waits.extend_from_slice(&accounts.waits);
        firsts.extend(decisions.iter().filter(|decision| decision.basis == Basis::Forecast).map(|made| made.at));
        components.push(ComponentSummary {
            name: stage.name(),
            component: id,
            figures: figures(&accounts, speed),
            decisions: judge(&decisions, &accounts.changes),
            forecast: profile.as_ref().and_then(|profile| profile.feedback),
            model: profile.and_then(|profile| profile.resource_model).filter(|model| model.trained_at >= started_at),
        });
    }
    let mut decisions = DecisionSummary::default();
    components.iter().for_each(|component| decisions.add(&component.decisions));
    let first = firsts.into_iter().min();
    Ok(Summary {
        workload: WorkloadSummary { origin: workload::ORIGIN, trace_seconds: replay.seconds(), wraps: replay.wraps() },
        speed,
        seconds: round(length.as_secs_f64()),
        limiter,
        batches: batches(stand, replay),
        total: total(&components, waits),
        models_trained: components.iter().filter(|component| component.model.is_some()).count(),
        components,
        decisions,
        first_forecast_decision_seconds: first.map(|at| at.since(started_at).as_secs_f64()),
        aggregator_restarts,
        agent_restarts: stand.agent_restarts(),
        missing,
    })
}

fn batches(stand: &Stand, replay: &Replay) -> Batches {
    let (put, out) = (replay.put(), stand.sink.batches());
    let sum = |of: fn(&Accounts) -> u64| stand.components.iter().map(|component| of(&component.accounts.lock())).sum();
    let failed: u64 = sum(|accounts| accounts.failed);
    Batches {
        put,
        out,
        failed,
        in_flight: put.saturating_sub(out + failed),
        byte_identical: sum(|accounts| accounts.identical),
        damaged: sum(|accounts| accounts.damaged),
        put_back: sum(|accounts| accounts.put_back),
        unobserved: stand.taps.iter().map(|tap| tap.missed()).sum(),
    }
}

fn figures(accounts: &Accounts, speed: f64) -> Figures {
    let bottleneck = accounts.bottleneck.as_secs_f64();
    let mut waits = accounts.waits.clone();
    waits.sort_unstable();
    Figures {
        finished: accounts.finished,
        failed: accounts.failed,
        bottleneck_seconds: round(bottleneck),
        bottleneck_trace_seconds: round(bottleneck * speed),
        wait_p50_ms: quantile_ms(&waits, 0.5),
        wait_p95_ms: quantile_ms(&waits, 0.95),
        core_seconds: round(accounts.allocated),
        used_core_seconds: round(accounts.used),
        workers_started: accounts.started,
        workers_died: accounts.died,
    }
}

fn total(components: &[ComponentSummary], mut waits: Vec<Duration>) -> Figures {
    waits.sort_unstable();
    let mut total =
        Figures { wait_p50_ms: quantile_ms(&waits, 0.5), wait_p95_ms: quantile_ms(&waits, 0.95), ..Figures::default() };
    for Figures { finished, failed, bottleneck_seconds, bottleneck_trace_seconds, core_seconds, .. } in
        components.iter().map(|component| &component.figures)
    {
        total.finished += finished;
        total.failed += failed;
        total.bottleneck_seconds += bottleneck_seconds;
        total.bottleneck_trace_seconds += bottleneck_trace_seconds;
        total.core_seconds += core_seconds;
    }
    let figures = || components.iter().map(|component| &component.figures);
    total.used_core_seconds = figures().map(|figures| figures.used_core_seconds).sum();
    total.workers_started = figures().map(|figures| figures.workers_started).sum();
    total.workers_died = figures().map(|figures| figures.workers_died).sum();
    total
}

/// Counts decisions, and finds the changes of the node that raises on a forecast brought about.
fn judge(decisions: &[Decision], changes: &[AllocationChange]) -> DecisionSummary {
    let mut summary = DecisionSummary { made: decisions.len() as u64, ..DecisionSummary::default() };
    let count = |chosen: fn(&&Decision) -> bool| decisions.iter().filter(chosen).count() as u64;
    summary.applied = count(|decision| decision.applied);
    summary.on_forecast = count(|decision| decision.basis == Basis::Forecast);
    summary.raises = count(|decision| is_raise(decision));
    summary.raises_judged = count(|decision| is_raise(decision) && decision.ahead.is_some());
    summary.raises_ahead = count(|decision| is_raise(decision) && decision.ahead == Some(true));
    let mut left: Vec<&AllocationChange> = changes.iter().collect();
    for decision in decisions.iter().filter(|decision| decision.applied && decision.basis == Basis::Forecast) {
        let replicas = (decision.from.replicas, decision.to.replicas);
        let carried_out = |change: &&AllocationChange| {
            let before = change.at.0.abs_diff(decision.at.0) > CARRIED_OUT_WITHIN.as_millis() as u64;
            replicas.1 > replicas.0 && change.replicas == replicas && !before
        };
        if let Some(at) = left.iter().position(carried_out) {
            summary.workers_started_on_forecast += left.swap_remove(at).started;
        }
    }
    summary
}

fn is_raise(decision: &Decision) -> bool {
    let total = |allocation: crate::planner::Allocation| u64::from(allocation.replicas) * allocation.cpu.0;
    total(decision.to) > total(decision.from)
}

/// Of sorted waits: the smallest that a share `q` of them does not exceed, ms.
fn quantile_ms(sorted: &[Duration], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).map_or(0.0, |wait| round(wait.as_secs_f64() * 1000.0))
}

/// To thousandths.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::Allocation;
    use forebay_shared::Millicores;

    fn decision(at: u64, replicas: (u32, u32), basis: Basis) -> Decision {
        let allocation = |replicas| Allocation { replicas, cpu: Millicores(100) };
        Decision {
            at: Timestamp(at),
            component: manifest::id(Stage::Load).unwrap(),
            from: allocation(replicas.0),
            to: allocation(replicas.1),
            reason: String::new(),
            basis,
            forecast_at: None,
            applied: true,
            refusal: None,
            ahead: Some(basis == Basis::Forecast),
        }
    }

    #[test]
    fn workers_count_as_started_on_a_forecast_only_if_the_node_was_asked_for_them() {
        let decisions = [
            decision(10_000, (1, 3), Basis::Forecast),
            decision(20_000, (3, 4), Basis::Reactive),
            decision(30_000, (4, 5), Basis::Forecast),
            decision(40_000, (5, 2), Basis::Forecast),
        ];
        let change = |at, replicas, started| AllocationChange { at: Timestamp(at), replicas, started };
        let changes = [change(10_100, (1, 3), 2), change(20_100, (3, 4), 1), change(40_100, (5, 2), 0)];
        let summary = judge(&decisions, &changes);
        assert_eq!(summary.workers_started_on_forecast, 2);
        assert_eq!((summary.made, summary.on_forecast, summary.raises, summary.raises_ahead), (4, 3, 3, 2));
    }

    #[test]
    fn quantiles_of_waits_are_waits_that_were() {
        let waits: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!((quantile_ms(&waits, 0.5), quantile_ms(&waits, 0.95)), (10.0, 19.0));
        assert_eq!(quantile_ms(&[], 0.95), 0.0);
    }
}
