//! The aggregator as the demo sees it: over its HTTP API alone, as any other user.

use std::time::Duration;

use anyhow::{Context, bail};
use forebay_shared::ComponentId;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::manifest;
use crate::planner::Decision;
use crate::view::{PipelineView, Profile};

/// An answer that takes longer is given up: the terminal must go on.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where the aggregator has to write much.
const LONG_PATIENCE: Duration = Duration::from_secs(20);
/// Decisions asked for at the end: more than a demo makes.
const DECISIONS: usize = 1000;

/// A client of the aggregator.
#[derive(Clone)]
pub(super) struct Aggregator {
    http: Client,
    base: String,
}

#[derive(Deserialize)]
struct Decisions {
    decisions: Vec<Decision>,
}

impl Aggregator {
    /// A client of the aggregator at `base`.
    pub(super) fn new(base: String) -> Self {
        Self { http: Client::new(), base }
    }

    /// Its address, which is also that of the page.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// It is there, and all its parts are.
    pub(super) async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base)).timeout(PATIENCE).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The pipeline as it is now.
    pub(super) async fn pipeline(&self) -> anyhow::Result<PipelineView> {
        self.get(&format!("pipelines/{}/{}", manifest::NAMESPACE, manifest::NAME)).await
    }

    /// A component's profile.
    pub(super) async fn profile(&self, id: &ComponentId) -> anyhow::Result<Profile> {
        self.get(&format!("components/{id}")).await
    }

    /// A component's decisions.
    pub(super) async fn decisions(&self, id: &ComponentId) -> anyhow::Result<Vec<Decision>> {
        let answer: Decisions = self.get(&format!("components/{id}/decisions?limit={DECISIONS}")).await?;
        Ok(answer.decisions)
    }

    /// Sends frames as an agent would.
    pub(super) async fn observe(&self, token: &str, frames: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/observations", self.base);
        let request = self.http.post(&url).timeout(LONG_PATIENCE).header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = request.header(CONTENT_TYPE, "application/octet-stream").body(frames).send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default());
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}/api/v1/{path}", self.base);
        let answer = self.http.get(&url).timeout(PATIENCE).send().await?.error_for_status()?;
        answer.json().await.with_context(|| format!("{url} answered in another shape"))
    }
}
