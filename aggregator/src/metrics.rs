//! What Prometheus reads. States are read when they are scraped.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use crate::live::State;
use crate::view::Live;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    component: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    component: String,
    applied: String,
}

type GaugeFamily = Family<Labels, Gauge<f64, AtomicU64>>;

/// The aggregator's own metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    ticks: Counter,
    decisions: Family<DecisionLabels, Counter>,
    trainings: Counter,
    promotions: Counter,
    failed_trainings: Counter,
    backlog: GaugeFamily,
    oldest_wait: GaugeFamily,
    usage: GaugeFamily,
    demand: GaugeFamily,
    expected: GaugeFamily,
    allocated: GaugeFamily,
    ready: GaugeFamily,
    confidence: GaugeFamily,
}

impl Metrics {
    /// Makes them known.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("forebay_planner_ticks", "Ticks", m.ticks.clone());
        registry.register("forebay_planner_decisions", "Decisions, applied or not", m.decisions.clone());
        registry.register("forebay_forecaster_trainings", "Trainings", m.trainings.clone());
        registry.register("forebay_forecaster_promotions", "Models that won their backtest", m.promotions.clone());
        registry.register(
            "forebay_forecaster_failed_trainings",
            "Trainings without a model",
            m.failed_trainings.clone(),
        );
        let gauges = [
            ("forebay_component_backlog_batches", "Batches waiting", &m.backlog),
            ("forebay_component_oldest_wait_seconds", "Wait of the oldest batch", &m.oldest_wait),
            ("forebay_component_usage_cores", "CPU used over the last step", &m.usage),
            ("forebay_component_demand_cores", "CPU work that arrived over the last step", &m.demand),
            ("forebay_component_forecast_cores", "The most expected over the lead time, 0.95 quantile", &m.expected),
            ("forebay_component_allocated_cores", "CPU given", &m.allocated),
            ("forebay_component_ready_replicas", "Replicas that take batches", &m.ready),
            ("forebay_component_confidence_ratio", "Baseline's share of both losses in the backtest", &m.confidence),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        m
    }

    pub(crate) fn ticked(&self) {
        self.ticks.inc();
    }

    pub(crate) fn decided(&self, component: &str, applied: bool) {
        let labels = DecisionLabels { component: component.to_owned(), applied: applied.to_string() };
        self.decisions.get_or_create(&labels).inc();
    }

    pub(crate) fn trained(&self, promoted: bool) {
        self.trainings.inc();
        self.promotions.inc_by(u64::from(promoted));
    }

    pub(crate) fn training_failed(&self) {
        self.failed_trainings.inc();
    }

    /// Reads the state; a value that is absent has no line.
    pub(crate) fn read(&self, state: &State) {
        for gauge in self.gauges() {
            gauge.clear();
        }
        for (live, component) in state.view().components.iter().zip(&state.components) {
            self.read_component(live, component.model_view().map(|model| model.confidence));
        }
    }

    fn read_component(&self, live: &Live, confidence: Option<f64>) {
        let allocation = live.allocation.as_ref();
        let values = [
            live.backlog.map(|backlog| backlog.waiting as f64),
            live.backlog.map(|backlog| backlog.oldest_wait_seconds),
            live.usage_cores,
            live.demand_cores,
            live.forecast.as_ref().map(|forecast| forecast.q95),
            allocation.map(|allocation| f64::from(allocation.replicas) * allocation.cpu_cores),
            allocation.map(|allocation| f64::from(allocation.ready)),
            confidence,
        ];
        let labels = Labels { component: live.component.to_string() };
        for (gauge, value) in self.gauges().into_iter().zip(values) {
            if let Some(value) = value {
                gauge.get_or_create(&labels).set(value);
            }
        }
    }

    fn gauges(&self) -> [&GaugeFamily; 8] {
        [
            &self.backlog,
            &self.oldest_wait,
            &self.usage,
            &self.demand,
            &self.expected,
            &self.allocated,
            &self.ready,
            &self.confidence,
        ]
    }
}
