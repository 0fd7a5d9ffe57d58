//! From forecasts to decisions, each with its reason.

mod queueing;
mod solve;

use forebay_shared::{ComponentId, Millicores, Timestamp};
use serde::{Deserialize, Serialize};

pub use solve::{ComponentProblem, Demand, Limits, Memory, Plan, Problem, solve};

/// What a component is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// Replicas asked for.
    pub replicas: u32,
    /// CPU of each.
    #[serde(with = "quantity")]
    pub cpu: Millicores,
}

/// Quantities in JSON as Kubernetes writes them.
mod quantity {
    use forebay_shared::Millicores;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Millicores, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millicores, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// A model's forecast.
    Forecast,
    /// What is known now: there is no model that can be trusted.
    Reactive,
}

/// A change of a component's allocation, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When it was made.
    pub at: Timestamp,
    /// Whose allocation.
    #[serde(rename = "componentID")]
    pub component: ComponentId,
    /// What it was.
    pub from: Allocation,
    /// What it shall be.
    pub to: Allocation,
    /// Why, in words.
    pub reason: String,
    /// What it rests on.
    pub basis: Basis,
    /// The forecast that it rests on: when that was made.
    pub forecast_at: Option<Timestamp>,
    /// It was carried out.
    pub applied: bool,
    /// Why it was not.
    pub refusal: Option<String>,
    /// A raise that came before the load it was for: known once the horizon has passed.
    pub ahead: Option<bool>,
}
