//! What came of it: the figures at the end, as a table and as JSON.

mod gather;
mod print;

use forebay_shared::ComponentId;
use serde::Serialize;

use crate::view::{FeedbackView, ModelView};

pub(super) use self::gather::{Conditions, gather};
pub(super) use self::print::print;

/// The summary of a demo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// What was replayed.
    pub(super) workload: WorkloadSummary,
    /// Times faster than life.
    pub(super) speed: f64,
    /// Length of the run, real time.
    pub(super) seconds: f64,
    /// What kept the workers to their share.
    pub(super) limiter: String,
    /// Batches through the pipeline.
    pub(super) batches: Batches,
    /// Each component's figures.
    pub(super) components: Vec<ComponentSummary>,
    /// The figures of all components together.
    pub(super) total: Figures,
    /// The decisions of all components together.
    pub(super) decisions: DecisionSummary,
    /// Components that a model was trained for in this run.
    pub(super) models_trained: usize,
    /// From the start of the demo to the first decision that rests on a forecast.
    pub(super) first_forecast_decision_seconds: Option<f64>,
    /// How often the aggregator died and was started anew.
    pub(super) aggregator_restarts: u64,
    /// How often an agent did.
    pub(super) agent_restarts: u64,
    /// What of the summary the aggregator could not be asked for; empty if nothing.
    pub(super) missing: Vec<String>,
}

/// What was replayed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadSummary {
    /// Name and licence.
    pub(super) origin: &'static str,
    /// Seconds of the trace.
    pub(super) trace_seconds: u64,
    /// How often its end was reached and it went on from minute 24.
    pub(super) wraps: u64,
}

/// Batches through the pipeline.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batches {
    /// Put into it.
    #[serde(rename = "in")]
    pub(super) put: u64,
    /// Come out of it.
    pub(super) out: u64,
    /// Refused by a worker, with a clear error.
    pub(super) failed: u64,
    /// Still on their way at the end.
    pub(super) in_flight: u64,
    /// Hops on which the worker got the batch as its producer had put it.
    pub(super) byte_identical: u64,
    /// Hops on which it got something else.
    pub(super) damaged: u64,
    /// Put back to the head of a queue since their worker died.
    pub(super) put_back: u64,
    /// Inspections, starts and ends that an agent was not told of.
    pub(super) unobserved: u64,
}

/// A component's figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComponentSummary {
    /// Short name.
    pub(super) name: &'static str,
    /// Identity.
    #[serde(rename = "componentID")]
    pub(super) component: ComponentId,
    /// What it did and was given.
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// What was decided for it.
    pub(super) decisions: DecisionSummary,
    /// Its forecasts against fact.
    pub(super) forecast: Option<FeedbackView>,
    /// The model in force.
    pub(super) model: Option<ModelView>,
}

/// What was done and given.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    /// Batches done.
    pub(super) finished: u64,
    /// Batches refused.
    pub(super) failed: u64,
    /// Time in which the oldest waiting batch had waited longer than the objective.
    pub(super) bottleneck_seconds: f64,
    /// The same in time of the trace.
    pub(super) bottleneck_trace_seconds: f64,
    /// Half of the batches waited no longer.
    pub(super) wait_p50_ms: f64,
    /// All but one in twenty waited no longer.
    pub(super) wait_p95_ms: f64,
    /// CPU given, from request to end.
    pub(super) core_seconds: f64,
    /// CPU that batches took.
    pub(super) used_core_seconds: f64,
    /// Workers that became ready.
    pub(super) workers_started: u64,
    /// Workers that died.
    pub(super) workers_died: u64,
}

/// What was decided in this run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecisionSummary {
    /// Decisions.
    pub(super) made: u64,
    /// Those carried out.
    pub(super) applied: u64,
    /// Those that rest on a forecast.
    pub(super) on_forecast: u64,
    /// Those that give more.
    pub(super) raises: u64,
    /// Raises for which it is known whether they came before the load.
    pub(super) raises_judged: u64,
    /// Raises that did.
    pub(super) raises_ahead: u64,
    /// Workers that the node was asked for by raises that rest on a forecast.
    pub(super) workers_started_on_forecast: u64,
}

impl DecisionSummary {
    fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.applied += other.applied;
        self.on_forecast += other.on_forecast;
        self.raises += other.raises;
        self.raises_judged += other.raises_judged;
        self.raises_ahead += other.raises_ahead;
        self.workers_started_on_forecast += other.workers_started_on_forecast;
    }
}
