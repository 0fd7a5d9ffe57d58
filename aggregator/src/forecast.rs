//! What a forecaster gives: quantiles of each resource at each step to the horizon.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_shared::Timestamp;
use serde::{Deserialize, Serialize};

/// The quantiles that every forecast tells.
pub const QUANTILES: [f64; 5] = [0.1, 0.5, 0.9, 0.95, 0.99];

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resource {
    /// CPU work arriving, cores, summed over replicas.
    Cpu,
    /// Memory of the component, bytes, summed over replicas.
    Memory,
    /// Bytes read and written a second, summed over replicas.
    Io,
    /// Batches arriving a second.
    Arrivals,
}

impl Resource {
    /// Every resource, in the order of a model's heads.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::Io, Self::Arrivals];

    /// The name used in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Arrivals => "arrivals",
        }
    }
}

/// Quantiles of one resource, a row a step, in the order of [`QUANTILES`], never crossing.
pub type Curve = Vec<[f64; QUANTILES.len()]>;

/// A forecast of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// When it was made; nothing later was known to it.
    pub made_at: Timestamp,
    /// Start of the first step that it tells of.
    pub start: Timestamp,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// The model's kind, such as `lstm`.
    pub model: String,
    /// The model's version among the component's models.
    pub version: u64,
    /// The curves.
    pub resources: BTreeMap<Resource, Curve>,
}

impl Forecast {
    /// Length of a step.
    pub fn step(&self) -> Duration {
        Duration::from_millis(self.step_ms)
    }

    /// Start of step `index`.
    pub fn step_start(&self, index: usize) -> Timestamp {
        Timestamp(self.start.0 + self.step_ms * index as u64)
    }
}
