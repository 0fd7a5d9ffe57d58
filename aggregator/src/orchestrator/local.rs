//! Components that run as processes on this machine, under a node that starts and stops their workers.
//!
//! The node is a process of its own, as the kubelet is: workers run on when the aggregator dies.
//! `GET /v1/components` tells `{"components": {NAME: {replicas, ready, cpu}}}`; `PUT /v1/components/NAME` takes
//! `{replicas, cpu}`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use forebay_shared::ComponentId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::{Observed, Orchestrator, OrchestratorError};
use crate::planner::{Allocation, Decision};

/// The node answers from memory, over loopback.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the node.
pub struct Local {
    http: reqwest::Client,
    base: String,
    /// Ids by workload name, which is the node's name for a component.
    ids: BTreeMap<String, ComponentId>,
}

#[derive(Deserialize)]
struct Components {
    components: BTreeMap<String, State>,
}

#[derive(Deserialize)]
struct State {
    #[serde(flatten)]
    allocation: Allocation,
    ready: u32,
}

impl Local {
    /// A client of the node at `base`, such as `http://127.0.0.1:9500`.
    pub fn new(base: &str, ids: impl IntoIterator<Item = ComponentId>) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(base)
            .with_context(|| format!("--orchestrator local={base}: expected a URL such as http://127.0.0.1:9500"))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("cannot make an HTTP client")?;
        Ok(Self { http, base, ids: ids.into_iter().map(|id| (id.name.clone(), id)).collect() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> OrchestratorError {
        OrchestratorError::Unreachable { target: self.base.clone(), detail: error.to_string() }
    }

    async fn states(&self) -> Result<Components, OrchestratorError> {
        let answer = self.http.get(format!("{}/v1/components", self.base)).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| self.unreachable(&error))?;
        answer.json().await.map_err(|error| self.unreachable(&error))
    }

    async fn put(&self, decision: &Decision) -> Result<(), OrchestratorError> {
        let url = format!("{}/v1/components/{}", self.base, decision.component.name);
        let answer = self.http.put(url).json(&decision.to).send().await.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let detail = answer.text().await.unwrap_or_default();
        Err(OrchestratorError::Refused(format!("the node answered {status}: {detail}")))
    }
}

impl Orchestrator for Local {
    fn observe(&self) -> BoxFuture<'_, Result<BTreeMap<ComponentId, Observed>, OrchestratorError>> {
        async {
            let states = self.states().await?.components;
            let known = states.into_iter().filter_map(|(name, state)| {
                let observed = Observed { allocation: state.allocation, ready: state.ready };
                Some((self.ids.get(&name)?.clone(), observed))
            });
            Ok(known.collect())
        }
        .boxed()
    }

    fn apply<'a>(&'a self, decision: &'a Decision) -> BoxFuture<'a, Result<(), OrchestratorError>> {
        self.put(decision).boxed()
    }
}
