//! Whose frames they are: the sender's bearer token tells the pod and the component, never the frame.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail};
use forebay_shared::ComponentId;
use serde::{Deserialize, Serialize};

/// An authenticated sender of frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodIdentity {
    /// The component that the pod is a replica of.
    pub component: ComponentId,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID: a pod of the same name that comes later is another one.
    pub uid: String,
}

/// One line of an agents file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentToken {
    /// The bearer token.
    pub token: String,
    /// Whose it is.
    #[serde(flatten)]
    pub identity: PodIdentity,
}

/// The tokens of agents outside a cluster, from a file (JSON, an array of [`AgentToken`]).
#[derive(Debug, Default)]
pub struct Tokens(HashMap<String, PodIdentity>);

impl Tokens {
    /// Reads an agents file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read agents file {}", path.display()))?;
        let agents: Vec<AgentToken> = serde_json::from_str(&text).with_context(|| {
            format!("agents file {}: expected [{{\"token\", \"component\", \"pod\", \"uid\"}}]", path.display())
        })?;
        let mut tokens = HashMap::new();
        let mut uids = HashSet::new();
        for agent in agents {
            let PodIdentity { pod, uid, .. } = &agent.identity;
            if uid.is_empty() || !uids.insert(uid.clone()) {
                bail!("agents file {}: pod `{pod}`: expected a uid of its own, found `{uid}`", path.display());
            }
            if agent.token.len() < 16 {
                bail!(
                    "agents file {}: pod `{}`: expected a token of 16 characters or more",
                    path.display(),
                    agent.identity.pod
                );
            }
            if let Some(other) = tokens.insert(agent.token, agent.identity.clone()) {
                bail!(
                    "agents file {}: pods `{}` and `{}` have the same token",
                    path.display(),
                    other.pod,
                    agent.identity.pod
                );
            }
        }
        Ok(Self(tokens))
    }

    /// Who sends `Authorization: Bearer …`.
    pub fn identify(&self, authorization: Option<&str>) -> Option<&PodIdentity> {
        self.0.get(authorization?.strip_prefix("Bearer ")?)
    }
}
