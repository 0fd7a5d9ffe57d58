//! The platform that the demo stands in for: it keeps as many workers of each component as were asked for, gives each
//! its share of a core, and starts those that die anew.
//!
//! ```text
//! aggregator ── PUT /v1/components/{name} ──► desired state ──► pool: who starts, who goes ──► worker processes
//! ```
//!
//! It runs in the demo's own process, so that the workers go on while the aggregator is away. A new worker takes
//! batches only after the start-up time: on a real platform a pod has to be scheduled and its image pulled.

mod accounts;
mod api;
mod component;
mod pool;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::Millicores;
use serde::{Deserialize, Serialize};

pub(super) use self::accounts::{Accounts, AllocationChange, Snapshot};
pub(super) use self::api::serve;
pub(super) use self::component::{Component, Event, Output, Parts};
pub(super) use self::pool::WorkerId;
use super::limiter::Limiter;
use super::notices::Notices;

/// Most workers of a component.
const MAX_REPLICAS: u32 = 32;
/// Least and most CPU of a worker: it has one thread.
const CPU_BOUNDS: (Millicores, Millicores) = (Millicores(10), Millicores(1000));

/// What all workers have in common.
pub(super) struct Platform {
    /// The program that the workers run.
    pub(super) binary: PathBuf,
    /// Where the workers' stderr goes.
    pub(super) logs: PathBuf,
    /// From the request of a worker until its process starts.
    pub(super) start_up: Duration,
    /// Keeps workers to their share.
    pub(super) limiter: Arc<Limiter>,
    /// Where to say what has happened.
    pub(super) notices: Notices,
}

/// What a component is asked to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wish")]
pub(super) struct Target {
    /// Replicas.
    pub(super) replicas: u32,
    /// CPU of each.
    pub(super) cpu: Millicores,
}

/// A target as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    replicas: u32,
    cpu: String,
}

impl TryFrom<Wish> for Target {
    type Error = String;

    fn try_from(Wish { replicas, cpu }: Wish) -> Result<Self, String> {
        let cpu: Millicores = cpu.parse().map_err(|error| format!("cpu: {error}"))?;
        let (least, most) = CPU_BOUNDS;
        if !(1..=MAX_REPLICAS).contains(&replicas) {
            return Err(format!("replicas: {replicas} is out of bounds: expected 1 to {MAX_REPLICAS}"));
        }
        if !(least..=most).contains(&cpu) {
            return Err(format!("cpu: {cpu} is out of bounds: expected {least} to {most}"));
        }
        Ok(Self { replicas, cpu })
    }
}

/// What a component has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct State {
    /// Replicas asked for.
    pub(super) replicas: u32,
    /// Those of them that take batches.
    pub(super) ready: u32,
    /// CPU of each.
    pub(super) cpu: String,
}
