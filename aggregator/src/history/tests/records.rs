//! Of what the forecaster and the planner leave, and how long all is kept.

use super::*;
use crate::forecast::Resource;
use crate::history::retention::{DECISIONS, FORECASTS, RAW};
use crate::live::Carried;
use crate::orchestrator::Observed;
use crate::planner::{Allocation, Basis};

pub(super) fn decision(at: u64, applied: bool) -> Decision {
    Decision {
        at: Timestamp(at),
        component: component("parse"),
        from: Allocation { replicas: 1, cpu: Millicores(500) },
        to: Allocation { replicas: 2, cpu: Millicores(500) },
        reason: "more batches are due".into(),
        basis: Basis::Forecast,
        forecast_at: Some(Timestamp(at - 1)),
        applied,
        refusal: None,
        ahead: None,
    }
}

pub(super) fn forecast(made_at: u64) -> Forecast {
    let curve = (0..20).map(|step| [0.1, 0.5, 0.9, 0.95, 0.99].map(|q| q * f64::from(step))).collect::<Vec<_>>();
    Forecast {
        made_at: Timestamp(made_at),
        start: Timestamp(made_at + 15_000),
        step_ms: 15_000,
        model: "lstm".into(),
        version: 3,
        resources: Resource::ALL.into_iter().map(|resource| (resource, curve.clone())).collect(),
    }
}

pub(super) fn model(version: u64) -> StoredModel {
    StoredModel {
        component: component("parse"),
        kind: "lstm".into(),
        version,
        trained_at: Timestamp(T0 + version),
        scores: Scores { wql: 0.1, baseline_wql: 0.2, coverage90: 0.9, coverage95: 0.95 },
        confidence: 0.5,
        weights: vec![version as u8; 10_000],
    }
}

async fn record_forecasts(history: &History, forecasts: Vec<Forecast>) {
    let forecasts = forecasts.into_iter().map(|forecast| (component("parse"), forecast)).collect();
    history.record_tick(Left { forecasts, ..Left::default() }).await.unwrap();
}

#[tokio::test]
async fn decisions_read_newest_first_and_the_last_word_of_each_holds() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.record_decisions((1..=5).map(|at| decision(at, false)).collect()).await.unwrap();
    history.record_decisions(vec![decision(4, true)]).await.unwrap();
    let newest = history.decisions(&component("parse"), 3).unwrap();
    assert_eq!(newest, [decision(5, false), decision(4, true), decision(3, false)]);
}

#[tokio::test]
async fn forecasts_read_back_by_the_time_they_were_made() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    record_forecasts(&history, (1..=5).map(forecast).collect()).await;
    let read = history.forecasts(&component("parse"), Timestamp(2)..Timestamp(4)).unwrap();
    assert_eq!(read, [forecast(2), forecast(3)]);
}

#[tokio::test]
async fn the_active_model_is_the_last_recorded_and_three_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    assert_eq!(history.active_model(&component("parse")).unwrap(), None);
    for version in [1, 2, 3, 4] {
        history.record_model(model(version)).await.unwrap();
    }
    assert_eq!(history.models(&component("parse")).unwrap(), [model(4), model(3), model(2)]);
    // A step back.
    history.record_model(model(3)).await.unwrap();
    assert_eq!(history.active_model(&component("parse")).unwrap(), Some(model(3)));
    assert_eq!(history.models(&component("parse")).unwrap().len(), 3);
}

#[tokio::test]
async fn a_damaged_model_gives_way_to_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.record_model(model(1)).await.unwrap();
    history.record_model(model(2)).await.unwrap();
    let other = Connection::open(directory.path().join("history.db")).unwrap();
    other.execute("UPDATE models SET weights = zeroblob(10000) WHERE version = 2", []).unwrap();
    assert_eq!(history.active_model(&component("parse")).unwrap(), Some(model(1)));
}

#[tokio::test]
async fn each_kind_is_kept_for_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), vec![frame(1), frame(10)]).await.unwrap();
    history.record_decisions(vec![decision(T0, true)]).await.unwrap();
    record_forecasts(&history, vec![forecast(T0)]).await;
    let counts = || {
        let forecasts = history.forecasts(&component("parse"), all()).unwrap().len();
        let decisions = history.decisions(&component("parse"), 9).unwrap().len();
        let stretch = history.read(&component("parse"), all()).unwrap();
        (stretch.frames.len(), stretch.gaps.len(), forecasts, decisions)
    };
    let after = |age: Duration| Timestamp(T0 + 2000).plus(age);
    for (now, left) in [
        (Timestamp(T0), (2, 2, 1, 1)),
        (after(FORECASTS), (2, 2, 0, 1)),
        (after(RAW), (2, 2, 0, 1)), // Both are in one block by now.
        (after(RAW).plus(Duration::from_secs(59)), (2, 2, 0, 1)), // Not yet a minute later.
        (after(RAW).plus(Duration::from_secs(60)), (0, 0, 0, 1)),
        (after(DECISIONS), (0, 0, 0, 0)),
    ] {
        history.maintain(now).await.unwrap();
        assert_eq!(counts(), left, "{now:?}");
    }
    // What is given up comes not again.
    let again = history.append(&pod("a"), vec![frame(10)]).await.unwrap();
    assert_eq!((again.accepted.len(), again.too_old), (0, 1));
}

#[tokio::test]
async fn what_a_tick_leaves_is_found_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let id = component("parse");
    assert_eq!(history.found(&id, Timestamp(0)).unwrap(), Found::default());
    let carried = Carried::default();
    let observed = |replicas| {
        Some(Observed { allocation: Allocation { replicas, cpu: Millicores(500) }, ready: replicas.saturating_sub(1) })
    };
    for (at, replicas) in [(10, Some(1)), (20, None), (30, Some(2)), (40, Some(3))] {
        let left = Left {
            at: Timestamp(at),
            forecasts: vec![(id.clone(), forecast(at)), (component("load"), forecast(at))],
            decisions: vec![decision(at, false)],
            allocations: vec![(id.clone(), replicas.and_then(observed))],
            carried: vec![(id.clone(), carried.clone())],
        };
        history.record_tick(left).await.unwrap();
    }
    drop(history);
    let history = open(&directory);
    let found = history.found(&id, Timestamp(25)).unwrap();
    assert_eq!(found.carried, Some((Timestamp(40), carried)));
    let written = Connection::open(directory.path().join("history.db")).unwrap();
    let at = written.query_row("SELECT at_ms FROM carried", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(at, 10, "what did not change was not written again");
    let allocations = [(20, None), (30, observed(2)), (40, observed(3))].map(|(at, of)| (Timestamp(at), of));
    assert_eq!(found.allocations, allocations, "from the change that holds at that time on");
    assert_eq!(history.forecasts(&id, all()).unwrap().len(), 4);
    assert_eq!(history.forecasts(&component("load"), all()).unwrap().len(), 4);
    assert_eq!(history.decisions(&id, 9).unwrap().len(), 4);

    // What still holds is kept, however old it is.
    history.prune(Timestamp(35).plus(DECISIONS)).await.unwrap();
    let left = history.found(&id, Timestamp(0)).unwrap().allocations;
    assert_eq!(left, allocations[1..]);
}

#[tokio::test]
async fn what_was_carried_over_and_does_not_read_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let left = Left { carried: vec![(component("parse"), Carried::default())], ..Left::default() };
    history.record_tick(left).await.unwrap();
    let other = Connection::open(directory.path().join("history.db")).unwrap();
    other.execute("UPDATE carried SET body = '{\"stepMs\": -1}'", []).unwrap();
    assert_eq!(history.found(&component("parse"), Timestamp(0)).unwrap().carried, None);
    assert_eq!(history.0.metrics.damaged_blocks.get(), 1);
}
