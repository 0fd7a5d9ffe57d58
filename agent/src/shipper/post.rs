//! One request to the aggregator: the edge of the shipper.

use std::error::Error;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};

use super::token::Token;
use super::verdict::Verdict;

const FRAMES: &str = "application/vnd.forebay.frames";
const TIMEOUT: Duration = Duration::from_secs(10);
/// An acknowledgement is 40 bytes, a problem document a few hundred.
const MOST_ANSWER: usize = 4096;

pub(super) struct Post {
    http: Client,
    url: Url,
    token: Option<Token>,
}

impl Post {
    pub(super) fn new(url: Url, token: Option<Token>) -> anyhow::Result<Self> {
        let http = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).pool_max_idle_per_host(1);
        let http = http.build().context("cannot set up the HTTP client")?;
        Ok(Self { http, url, token })
    }

    /// Sends frames. Never fails: each outcome is a verdict.
    pub(super) async fn send(&mut self, frames: Vec<u8>) -> Verdict {
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, FRAMES).body(frames);
        if let Some(token) = &mut self.token {
            match token.header() {
                Ok(header) => request = request.header(AUTHORIZATION, header),
                Err(error) => return Verdict::later("token", format!("{error:#}")),
            }
        }
        match request.send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => self.unreachable(&error),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Verdict {
        let reason = if error.is_timeout() { "timeout" } else { "network" };
        // The innermost cause is the one that tells, such as `Connection refused`.
        let mut cause: &dyn Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Verdict::later(reason, format!("cannot reach the aggregator at {}: {cause}", self.url))
    }
}

async fn judge(mut answer: Response) -> Verdict {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while body.len() < MOST_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(MOST_ANSWER - body.len())]),
            Ok(None) => break,
            Err(_) => return Verdict::later("network", "the aggregator's answer was cut short"),
        }
    }
    Verdict::of(status, retry_after.as_deref(), &body)
}
