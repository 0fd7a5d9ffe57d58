//! The live view: what the aggregator tells, beside the demo's own account of its queues.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment};

use super::table;
use crate::demo::node::Snapshot;
use crate::planner::{Basis, Decision};
use crate::view::{Live, PipelineView};

const NONE: &str = "–";

/// How things are at one moment.
pub(in crate::demo) struct View {
    /// Since the replay's start.
    pub(in crate::demo) elapsed: Duration,
    /// Time of the trace, seconds into the whole of it.
    pub(in crate::demo) trace_seconds: u64,
    /// Batches put.
    pub(in crate::demo) put: u64,
    /// Batches come out.
    pub(in crate::demo) out: u64,
    /// Batches refused.
    pub(in crate::demo) failed: u64,
    /// The components as the demo knows them.
    pub(in crate::demo) components: Vec<(&'static str, Snapshot)>,
    /// The pipeline as the aggregator tells; none while it is away.
    pub(in crate::demo) pipeline: Option<PipelineView>,
    /// How often the aggregator was started anew.
    pub(in crate::demo) restarts: u64,
}

impl View {
    /// One line on the whole.
    pub(in crate::demo) fn headline(&self) -> String {
        let Self { elapsed, trace_seconds, put, out, failed, restarts, .. } = self;
        let (minutes, seconds) = (trace_seconds / 60, trace_seconds % 60);
        let mut line = format!(
            "{:>4.0} s · trace {minutes:02}:{seconds:02} · batches in {put}, out {out}, failed {failed}",
            elapsed.as_secs_f64()
        );
        if *restarts > 0 {
            line.push_str(&format!(" · aggregator restarts {restarts}"));
        }
        if self.pipeline.is_none() {
            line.push_str(" · the aggregator is away: batches flow, nothing is scaled");
        }
        line
    }

    /// The components, a row each.
    pub(in crate::demo) fn table(&self, width: u16) -> String {
        let mut table = table(width);
        let numbers = ["batches/s", "backlog", "used", "q0.5", "q0.95", "allocation"];
        let header = ["component"].into_iter().chain(numbers).chain(["last decision"]);
        table.set_header(header);
        for (name, snapshot) in &self.components {
            let live = self.live(name);
            let mut row = vec![Cell::new(name)];
            let numbers = self.numbers(live, snapshot);
            row.extend(numbers.into_iter().map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
            row.push(Cell::new(live.and_then(|live| live.last_decision.as_ref()).map_or(NONE.into(), describe)));
            table.add_row(row);
        }
        table.to_string()
    }

    /// The same without a table, a line a component.
    pub(in crate::demo) fn lines(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for (name, snapshot) in &self.components {
            let live = self.live(name);
            let [arrivals, backlog, used, q50, q95, allocation] = self.numbers(live, snapshot);
            let decision = live.and_then(|live| live.last_decision.as_ref()).map_or(NONE.into(), describe);
            text.push_str(&format!(
                "     {name:<9} {arrivals} batches/s, backlog {backlog}, used {used}, q0.5 {q50}, q0.95 {q95}, \
                 has {allocation}; {decision}\n"
            ));
        }
        text
    }

    fn live(&self, name: &str) -> Option<&Live> {
        self.pipeline.as_ref()?.components.iter().find(|live| live.name == name)
    }

    fn numbers(&self, live: Option<&Live>, snapshot: &Snapshot) -> [String; 6] {
        let number = |value: Option<f64>, digits| value.map_or(NONE.into(), |value| format!("{value:.digits$}"));
        let forecast = live.and_then(|live| live.forecast.as_ref());
        let Snapshot { waiting, oldest_wait, replicas, ready, cpu, .. } = snapshot;
        let starting = if ready < replicas { format!(" ({ready} ready)") } else { String::new() };
        [
            number(live.and_then(|live| live.arrivals_per_second), 1),
            format!("{waiting}, {:.1} s", oldest_wait.as_secs_f64()),
            number(live.and_then(|live| live.usage_cores), 3),
            number(forecast.map(|forecast| forecast.q50), 3),
            number(forecast.map(|forecast| forecast.q95), 3),
            format!("{replicas} × {cpu}{starting}"),
        ]
    }
}

/// A decision in a line.
fn describe(decision: &Decision) -> String {
    let Decision { from, to, reason, basis, applied, refusal, .. } = decision;
    let basis = match basis {
        Basis::Forecast => "forecast",
        Basis::Reactive => "reactive",
    };
    let outcome = match (applied, refusal) {
        (true, _) => String::new(),
        (false, Some(refusal)) => format!(" (not applied: {refusal})"),
        (false, None) => " (not applied)".to_owned(),
    };
    format!("{} × {} → {} × {} [{basis}]{outcome} {reason}", from.replicas, from.cpu, to.replicas, to.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::manifest;
    use crate::demo::worker::Stage;
    use crate::planner::Allocation;
    use forebay_shared::{Millicores, Timestamp};

    fn view(pipeline: Option<PipelineView>) -> View {
        let snapshot = Snapshot { waiting: 3, replicas: 4, ready: 2, cpu: Millicores(100), ..Snapshot::default() };
        View {
            elapsed: Duration::from_secs(75),
            trace_seconds: 25 * 60 + 7,
            put: 10,
            out: 6,
            failed: 1,
            components: vec![("load", snapshot)],
            pipeline,
            restarts: 1,
        }
    }

    #[test]
    fn while_the_aggregator_is_away_the_queues_are_still_told() {
        let view = view(None);
        let text = view.lines();
        assert!(text.contains("75 s · trace 25:07") && text.contains("aggregator is away"), "{text}");
        assert!(text.contains("backlog 3, 0.0 s") && text.contains("4 × 100m (2 ready)"), "{text}");
        assert!(view.table(100).lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn a_decision_is_told_with_its_basis_and_its_reason() {
        let allocation = |replicas| Allocation { replicas, cpu: Millicores(100) };
        let decision = Decision {
            at: Timestamp(0),
            component: manifest::id(Stage::Load).unwrap(),
            from: allocation(2),
            to: allocation(3),
            reason: "more is coming".into(),
            basis: Basis::Forecast,
            forecast_at: None,
            applied: false,
            refusal: Some("dry run".into()),
            ahead: None,
        };
        assert_eq!(describe(&decision), "2 × 100m → 3 × 100m [forecast] (not applied: dry run) more is coming");
    }
}
