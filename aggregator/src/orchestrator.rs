//! The edge where decisions become allocations, and where it is seen what is allocated.

mod dry_run;
mod local;

use std::collections::BTreeMap;

use forebay_shared::ComponentId;
use futures_util::future::BoxFuture;

use crate::planner::{Allocation, Decision};

pub use dry_run::DryRun;
pub use local::Local;

/// What a component has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What it has been given.
    pub allocation: Allocation,
    /// Replicas that take batches.
    pub ready: u32,
}

/// Why nothing was observed or applied.
#[derive(Debug, thiserror::Error)]
pub enum OrchestratorError {
    /// The platform did not answer; to be tried again.
    #[error("cannot reach {target}: {detail}")]
    Unreachable {
        /// Where the platform is.
        target: String,
        /// Why.
        detail: String,
    },
    /// The platform, or a dry run, said no.
    #[error("{0}")]
    Refused(String),
}

/// Observes and applies. Applying is idempotent: the decision's `to` is a state, not a difference.
pub trait Orchestrator: Send + Sync {
    /// The components' allocations, as far as they are known.
    fn observe(&self) -> BoxFuture<'_, Result<BTreeMap<ComponentId, Observed>, OrchestratorError>>;

    /// Gives a component what was decided.
    fn apply<'a>(&'a self, decision: &'a Decision) -> BoxFuture<'a, Result<(), OrchestratorError>>;
}
