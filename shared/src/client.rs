//! The tiny client for an agent's push tap: tell the agent of a batch, of its start and of its end.

use reqwest::{Client, StatusCode, header};
use serde::Deserialize;

use crate::DataCharacteristics;

/// Talks to the agent beside the component, over loopback.
///
/// ```no_run
/// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = forebay_shared::client::PushClient::new("http://127.0.0.1:9410");
/// let batch_id = agent.push("application/x-ndjson", std::fs::read("batch.ndjson")?).await?;
/// agent.start(&batch_id).await?;
/// // … work …
/// agent.finish(&batch_id, true).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PushClient {
    http: Client,
    base: String,
}

/// Why the agent could not be told. The component's own work need not care.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The agent could not be reached.
    #[error("cannot reach the agent at {0}: {1}")]
    Unreachable(String, reqwest::Error),
    /// The agent refused.
    #[error("the agent refused with {0}: {1}")]
    Refused(StatusCode, String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    batch_id: String,
}

impl PushClient {
    /// A client of the agent at `base`, such as `http://127.0.0.1:9410`.
    pub fn new(base: impl Into<String>) -> Self {
        Self { http: Client::new(), base: base.into() }
    }

    /// Lets the agent look into a batch; gives its id.
    pub async fn push(&self, content_type: &str, bytes: Vec<u8>) -> Result<String, PushError> {
        let request = self.http.post(format!("{}/v1/batches", self.base));
        self.pushed(request.header(header::CONTENT_TYPE, content_type).body(bytes)).await
    }

    /// Tells the agent of a batch by its vector alone; gives its id.
    pub async fn push_vector(&self, vector: &DataCharacteristics) -> Result<String, PushError> {
        self.pushed(self.http.post(format!("{}/v1/batches", self.base)).json(vector)).await
    }

    /// Work on a batch starts.
    pub async fn start(&self, batch_id: &str) -> Result<(), PushError> {
        let request = self.http.post(format!("{}/v1/batches/{batch_id}/start", self.base));
        self.send(request).await.map(drop)
    }

    /// Work on a batch has ended; `ok` if it succeeded.
    pub async fn finish(&self, batch_id: &str, ok: bool) -> Result<(), PushError> {
        let outcome = if ok { "ok" } else { "failed" };
        let request = self.http.post(format!("{}/v1/batches/{batch_id}/finish?outcome={outcome}", self.base));
        self.send(request).await.map(drop)
    }

    async fn pushed(&self, request: reqwest::RequestBuilder) -> Result<String, PushError> {
        let answer = self.send(request).await?;
        let pushed: Pushed = answer.json().await.map_err(|error| self.unreachable(error))?;
        Ok(pushed.batch_id)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, PushError> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        Err(PushError::Refused(status, answer.text().await.unwrap_or_default()))
    }

    fn unreachable(&self, error: reqwest::Error) -> PushError {
        PushError::Unreachable(self.base.clone(), error)
    }
}
