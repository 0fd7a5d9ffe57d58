//! The shapes of the HTTP API's answers.

use std::collections::BTreeMap;

use forebay_shared::{ComponentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::forecast::Resource;
use crate::pipeline::Mode;
use crate::planner::Decision;

/// A pipeline as it is now: the answer to `GET /api/v1/pipelines/{namespace}/{name}` and the event `tick`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Time of the tick that it tells of.
    pub at: Timestamp,
    /// Length of a step.
    pub step_seconds: f64,
    /// From a decision to useful capacity, as far as is known.
    pub lead_seconds: f64,
    /// Nothing is changed.
    pub paused: bool,
    /// The components, in topological order.
    pub components: Vec<Live>,
}

/// A component as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Short name.
    pub name: String,
    /// Identity.
    #[serde(rename = "componentID")]
    pub component: ComponentId,
    /// Components whose output it takes.
    pub upstream: Vec<String>,
    /// Whether decisions are applied.
    pub mode: Mode,
    /// Longest acceptable wait.
    pub objective_seconds: f64,
    /// Batches a second over the last step.
    pub arrivals_per_second: Option<f64>,
    /// Bytes a second over the last step.
    pub bytes_per_second: Option<f64>,
    /// CPU used over the last step.
    pub usage_cores: Option<f64>,
    /// CPU work that arrived over the last step.
    pub demand_cores: Option<f64>,
    /// Memory in use.
    pub memory_bytes: Option<f64>,
    /// What waits.
    pub backlog: Option<BacklogView>,
    /// What is expected.
    pub forecast: Option<ForecastView>,
    /// What it is given.
    pub allocation: Option<AllocationView>,
    /// The oldest waiting batch has waited longer than the objective.
    pub bottleneck: bool,
    /// Nothing was heard of it for 4 ticks.
    pub stale: bool,
    /// How its agents sample.
    pub sampling: Option<String>,
    /// The last change, made or recommended.
    pub last_decision: Option<Decision>,
}

/// A component's backlog.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BacklogView {
    /// Batches arrived and not started.
    pub waiting: u64,
    /// How long the oldest of them has waited.
    pub oldest_wait_seconds: f64,
    /// Batches started and not finished.
    pub in_service: u64,
}

/// The most that is expected over the lead time, in cores.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastView {
    /// The model's kind.
    pub model: String,
    /// When the forecast was made.
    pub made_at: Timestamp,
    /// The median.
    #[serde(rename = "q0.5")]
    pub q50: f64,
    /// Exceeded one time in twenty.
    #[serde(rename = "q0.95")]
    pub q95: f64,
}

/// What a component is given, and how much of it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationView {
    /// Replicas asked for.
    pub replicas: u32,
    /// Replicas that take batches.
    pub ready: u32,
    /// CPU of each.
    pub cpu: String,
    /// CPU of each, in cores.
    pub cpu_cores: f64,
}

/// A component profile: the answer to `GET /api/v1/components/{componentID}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Identity.
    #[serde(rename = "componentID")]
    pub component: ComponentId,
    /// The model that forecasts it; absent until one is trained.
    pub resource_model: Option<ModelView>,
    /// The history that there is.
    pub historical_data: HistoryExtent,
    /// What it is given.
    pub current_allocation: Option<AllocationView>,
    /// How its forecasts fared against fact.
    pub feedback: Option<FeedbackView>,
}

/// A component's model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelView {
    /// Such as `lstm`.
    pub kind: String,
    /// Counts the component's models.
    pub version: u64,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// The baseline's share of both losses on held-out history: 0.5 is as good as the last value, near 1 far better.
    pub confidence: f64,
    /// On held-out history.
    pub backtest_scores: Scores,
}

/// A model's scores on history that it was not trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scores {
    /// Weighted quantile loss of CPU: the mean over quantiles of twice the pinball loss, over the sum of truths.
    pub wql: f64,
    /// The same for the last value with learned spread.
    pub baseline_wql: f64,
    /// Share of truths at or below the 0.9 quantile.
    pub coverage90: f64,
    /// Share of truths at or below the 0.95 quantile.
    pub coverage95: f64,
}

/// Forecasts scored against fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedbackView {
    /// Step forecasts of CPU scored.
    pub scored: u64,
    /// Weighted quantile loss.
    pub wql: f64,
    /// Share of truths at or below the 0.9 quantile.
    pub coverage90: f64,
    /// Share of truths at or below the 0.95 quantile.
    pub coverage95: f64,
}

/// How much history there is of a component.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryExtent {
    /// The oldest sample's time.
    pub from: Option<Timestamp>,
    /// The newest sample's time.
    pub to: Option<Timestamp>,
    /// Samples.
    pub samples: u64,
    /// Batches.
    pub batches: u64,
    /// Where the rest is.
    pub links: BTreeMap<String, String>,
    /// The series, with `?include=history`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<HistoryView>,
}

/// A component's series, a row a step: column by column.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// Length of a step.
    pub step_seconds: f64,
    /// The columns, all of one length; `at` is the start of a step in ms.
    pub columns: BTreeMap<String, Vec<Option<f64>>>,
}

/// Forecasts of a component: the answer to `GET …/forecast`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastsView {
    /// Identity.
    #[serde(rename = "componentID")]
    pub component: ComponentId,
    /// The forecast of the last tick.
    pub current: Option<CurrentView>,
    /// What had been forecast for past steps, one lead time before each.
    pub past: BTreeMap<Resource, ResourceView>,
}

/// A forecast.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentView {
    /// When it was made.
    pub made_at: Timestamp,
    /// The model's kind.
    pub model: String,
    /// The model's version.
    pub version: u64,
    /// Length of a step.
    pub step_seconds: f64,
    /// The curves.
    pub resources: BTreeMap<Resource, ResourceView>,
}

/// Quantiles of one resource, column by column; `at` is the start of a step in ms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ResourceView {
    /// Start of the step.
    pub at: Vec<u64>,
    /// The 0.1 quantile.
    #[serde(rename = "q0.1")]
    pub q10: Vec<f64>,
    /// The median.
    #[serde(rename = "q0.5")]
    pub q50: Vec<f64>,
    /// The 0.9 quantile.
    #[serde(rename = "q0.9")]
    pub q90: Vec<f64>,
    /// The 0.95 quantile.
    #[serde(rename = "q0.95")]
    pub q95: Vec<f64>,
    /// The 0.99 quantile.
    #[serde(rename = "q0.99")]
    pub q99: Vec<f64>,
}
