//! Everything but the write.

use std::collections::BTreeMap;

use forebay_shared::ComponentId;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{Observed, Orchestrator, OrchestratorError};
use crate::planner::Decision;

/// Observes what `Watched` says and applies nothing.
pub struct DryRun {
    watched: Watched,
}

enum Watched {
    Platform(Box<dyn Orchestrator>),
    Declared(BTreeMap<ComponentId, Observed>),
}

impl DryRun {
    /// Watches a platform.
    pub fn over(platform: Box<dyn Orchestrator>) -> Self {
        Self { watched: Watched::Platform(platform) }
    }

    /// Takes what the manifest declares for what there is: no platform can be asked.
    pub fn declared(declared: BTreeMap<ComponentId, Observed>) -> Self {
        Self { watched: Watched::Declared(declared) }
    }
}

impl Orchestrator for DryRun {
    fn observe(&self) -> BoxFuture<'_, Result<BTreeMap<ComponentId, Observed>, OrchestratorError>> {
        match &self.watched {
            Watched::Platform(platform) => platform.observe(),
            Watched::Declared(declared) => ready(Ok(declared.clone())).boxed(),
        }
    }

    fn apply<'a>(&'a self, _: &'a Decision) -> BoxFuture<'a, Result<(), OrchestratorError>> {
        ready(Err(OrchestratorError::Refused("dry run".into()))).boxed()
    }
}
