//! The summary for people.

use super::{ComponentSummary, DecisionSummary, Figures, Summary};
use crate::demo::terminal::table;

const NONE: &str = "–";

/// The summary as text, at most `width` columns wide.
pub(in crate::demo) fn print(summary: &Summary, width: u16) -> String {
    let Summary { workload, speed, seconds, batches, aggregator_restarts, agent_restarts, .. } = summary;
    let mut lines = vec![
        format!(
            "{seconds:.0} s at {speed} times life: {} s of the {}{}",
            workload.trace_seconds,
            workload.origin,
            if workload.wraps > 0 {
                format!(", gone round {} times from minute 24", workload.wraps)
            } else {
                String::new()
            }
        ),
        format!(
            "batches: {} in, {} out, {} failed, {} in flight; {} hops byte-identical, {} damaged; {} put back",
            batches.put,
            batches.out,
            batches.failed,
            batches.in_flight,
            batches.byte_identical,
            batches.damaged,
            batches.put_back
        ),
        figures(summary, width),
        format!(
            "models trained {}, first decision on a forecast after {}; restarts: aggregator {aggregator_restarts}, \
             agents {agent_restarts}",
            summary.models_trained,
            summary.first_forecast_decision_seconds.map_or(NONE.into(), |seconds| format!("{seconds:.0} s")),
        ),
    ];
    lines.extend(summary.missing.iter().map(|missing| format!("the aggregator could not be asked: {missing}")));
    lines.join("\n")
}

fn figures(summary: &Summary, width: u16) -> String {
    let mut table = table(width);
    let columns: Vec<[String; 5]> = summary.components.iter().map(column).collect();
    let total = rows(&summary.total, &summary.decisions);
    let names = summary.components.iter().map(|component| component.name);
    table.set_header([""].into_iter().chain(names).chain(["all"]));
    let titles = [
        "bottleneck, s (trace s)".to_owned(),
        "wait p50 / p95, ms".to_owned(),
        "core-seconds given / used".to_owned(),
        "decisions / on a forecast / raises ahead of judged".to_owned(),
        "forecast WQL / coverage 0.9, 0.95".to_owned(),
    ];
    for (at, title) in titles.into_iter().enumerate() {
        let cells = columns.iter().map(|column| column[at].clone());
        let last = total.get(at).cloned().unwrap_or_default();
        table.add_row([title].into_iter().chain(cells).chain([last]));
    }
    table.to_string()
}

fn column(component: &ComponentSummary) -> [String; 5] {
    let [bottleneck, wait, cores, decisions] = rows(&component.figures, &component.decisions);
    let forecast = component.forecast.filter(|forecast| forecast.scored > 0);
    let forecast = forecast.map_or(NONE.into(), |forecast| {
        format!("{:.3} / {:.2}, {:.2}", forecast.wql, forecast.coverage90, forecast.coverage95)
    });
    [bottleneck, wait, cores, decisions, forecast]
}

fn rows(figures: &Figures, decisions: &DecisionSummary) -> [String; 4] {
    let Figures { bottleneck_seconds, bottleneck_trace_seconds, wait_p50_ms, wait_p95_ms, .. } = figures;
    let Figures { core_seconds, used_core_seconds, .. } = figures;
    let DecisionSummary { made, on_forecast, raises_judged, raises_ahead, .. } = decisions;
    [
        format!("{bottleneck_seconds:.1} ({bottleneck_trace_seconds:.0})"),
        format!("{wait_p50_ms:.0} / {wait_p95_ms:.0}"),
        format!("{core_seconds:.1} / {used_core_seconds:.1}"),
        format!("{made} / {on_forecast} / {raises_ahead} of {raises_judged}"),
    ]
}
