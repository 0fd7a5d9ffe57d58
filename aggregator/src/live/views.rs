//! Live state in the shapes of the API.

use std::collections::BTreeMap;

use forebay_shared::Timestamp;

use super::{Component, State};
use crate::forecast::{Curve, QUANTILES, Resource};
use crate::orchestrator::Observed;
use crate::view::{
    AllocationView, BacklogView, CurrentView, ForecastView, ForecastsView, HistoryView, Live, ModelView, PipelineView,
    ResourceView,
};

impl State {
    /// The pipeline as of the last tick.
    pub fn view(&self) -> PipelineView {
        let lead = self.components.iter().map(|component| component.lead.value()).max().unwrap_or_default();
        PipelineView {
            namespace: self.pipeline.metadata.namespace.clone(),
            name: self.pipeline.metadata.name.clone(),
            at: self.ticked_at,
            step_seconds: self.pace.step.as_secs_f64(),
            lead_seconds: lead.as_secs_f64(),
            paused: self.pipeline.spec.paused,
            components: self.components.iter().map(|component| self.live(component)).collect(),
        }
    }

    fn live(&self, component: &Component) -> Live {
        let series = &component.series;
        let now = self.ticked_at;
        let last = series.index(now).checked_sub(1);
        let row = last.and_then(|last| series.row(last));
        let step_ms = series.step_ms();
        Live {
            name: component.spec.name.clone(),
            component: component.id.clone(),
            upstream: component.spec.upstream.clone(),
            mode: component.spec.effective_mode(),
            objective_seconds: component.spec.objective.as_secs_f64(),
            arrivals_per_second: row.and_then(|row| row.arrival_rate(step_ms)),
            bytes_per_second: row
                .filter(|row| row.arrival_rate(step_ms).is_some())
                .map(|row| row.arrived_bytes / step_ms as f64 * 1000.0),
            usage_cores: row.and_then(|row| row.usage(step_ms)),
            demand_cores: last.and_then(|last| series.demand(last)),
            memory_bytes: row.and_then(|row| row.memory(step_ms)),
            backlog: component.waiting(now).map(|waiting| BacklogView {
                waiting: waiting.batches,
                oldest_wait_seconds: waiting.oldest.as_secs_f64(),
                in_service: waiting.in_service,
            }),
            forecast: component.forecast_view(),
            allocation: component.allocation_view(),
            bottleneck: component.bottleneck(now),
            stale: component.is_stale(now, self.pace.step * super::STALE_STEPS),
            sampling: series.sampling().map(str::to_owned),
            last_decision: component.decisions.back().cloned(),
        }
    }
}

impl Component {
    fn forecast_view(&self) -> Option<ForecastView> {
        let forecast = self.forecast.as_ref()?;
        let curve = forecast.resources.get(&Resource::Cpu)?;
        let most = |at: usize| curve.iter().take(self.lead_steps() + 1).map(|row| row[at]).fold(0.0, f64::max);
        Some(ForecastView { model: forecast.model.clone(), made_at: forecast.made_at, q50: most(1), q95: most(3) })
    }

    /// What it is given.
    pub fn allocation_view(&self) -> Option<AllocationView> {
        let Observed { allocation, ready } = self.observed?;
        Some(AllocationView {
            replicas: allocation.replicas,
            ready,
            cpu: allocation.cpu.to_string(),
            cpu_cores: allocation.cpu.cores(),
        })
    }

    /// Its model.
    pub fn model_view(&self) -> Option<ModelView> {
        let model = self.model.as_ref()?;
        Some(ModelView {
            kind: crate::forecaster::LSTM.into(),
            version: model.version,
            trained_at: model.trained_at,
            confidence: model.scores.confidence(),
            backtest_scores: model.scores,
        })
    }

    /// Its rows from `from` (the first known if `None`) up to `to`.
    pub fn history_view(&self, from: Option<Timestamp>, to: Timestamp) -> HistoryView {
        let extent = self.series.extent();
        let first = from.map_or(extent.start, |from| self.series.index(from).max(extent.start));
        let last = self.series.index(to).min(extent.end);
        let step_ms = self.series.step_ms();
        let mut columns: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        for index in first..last {
            let row = self.series.row(index);
            let observed = self.allocated.at(index);
            let cells = [
                ("at", Some((index * step_ms) as f64)),
                ("usageCores", row.and_then(|row| row.usage(step_ms))),
                ("demandCores", self.series.demand(index)),
                ("arrivalsPerSecond", row.and_then(|row| row.arrival_rate(step_ms))),
                ("waiting", row.and_then(|row| row.waiting(step_ms))),
                ("oldestWaitSeconds", row.and_then(|row| row.oldest_wait)),
                ("memoryBytes", row.and_then(|row| row.memory(step_ms))),
                ("ioBytesPerSecond", row.and_then(|row| row.io(step_ms))),
                ("allocatedCores", observed.map(|observed| observed.allocation.cores())),
                ("replicas", observed.map(|observed| f64::from(observed.allocation.replicas))),
                ("ready", observed.map(|observed| f64::from(observed.ready))),
            ];
            for (name, value) in cells {
                columns.entry(name.to_owned()).or_default().push(value);
            }
        }
        HistoryView { step_seconds: step_ms as f64 / 1000.0, columns }
    }

    /// The forecast of the last tick, and what had been forecast for the steps from `from` on.
    pub fn forecasts_view(&self, from: Timestamp) -> ForecastsView {
        let step_ms = self.series.step_ms();
        let current = self.forecast.as_ref().map(|forecast| {
            let view = |curve: &Curve| {
                ResourceView::new(curve.iter().enumerate().map(|(at, row)| (forecast.step_start(at).0, *row)))
            };
            CurrentView {
                made_at: forecast.made_at,
                model: forecast.model.clone(),
                version: forecast.version,
                step_seconds: step_ms as f64 / 1000.0,
                resources: forecast.resources.iter().map(|(resource, curve)| (*resource, view(curve))).collect(),
            }
        });
        let past = Resource::ALL.map(|resource| {
            let rows = self.feedback.past(resource, from, step_ms);
            (resource, ResourceView::new(rows.into_iter().map(|(step, row)| (step * step_ms, row))))
        });
        ForecastsView { component: self.id.clone(), current, past: past.into() }
    }
}

impl ResourceView {
    fn new(rows: impl Iterator<Item = (u64, [f64; QUANTILES.len()])>) -> Self {
        let mut view = Self::default();
        for (at, [q10, q50, q90, q95, q99]) in rows {
            view.at.push(at);
            view.q10.push(q10);
            view.q50.push(q50);
            view.q90.push(q90);
            view.q95.push(q95);
            view.q99.push(q99);
        }
        view
    }
}
