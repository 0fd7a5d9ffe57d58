//! One request to the aggregator: the edge of the shipper.
//!
//! One connection at a time, kept open. An aggregator may close it while it idles, at the moment that it is used
//! again: then the request is sent once more at once, over a new one, since frames may come twice.

use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderValue, Request as HttpRequest, Response};
use forebay_shared::Timestamp;
use forebay_shared::frame::SENT_AT;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::connect::{Connector, Fault, Open};
use super::target::Target;
use super::token::Token;
use super::verdict::Verdict;
use crate::buffer::{Body, Request};
use crate::metrics::Metrics;

const FRAMES: &str = "application/vnd.forebay.frames";
const AGENT: &str = concat!("forebay-agent/", env!("CARGO_PKG_VERSION"));
/// For the request and its answer; what connects has bounds of its own, and this one over them.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An acknowledgement is 40 bytes, a problem document a few hundred.
const MOST_ANSWER: usize = 4096;

pub(super) struct Post {
    target: Target,
    connector: Connector,
    token: Option<Token>,
    open: Option<Open>,
    metrics: Metrics,
}

impl Post {
    pub(super) fn new(target: Target, ca_file: Option<PathBuf>, token: Option<Token>, metrics: Metrics) -> Self {
        if token.is_some() && !target.tls && !target.is_loopback() {
            tracing::warn!(%target, "the token goes over the network in clear text; expected an https URL");
        }
        let connector = Connector::new(target.clone(), ca_file);
        Self { target, connector, token, open: None, metrics }
    }

    /// Sends frames. Never fails: each outcome is a verdict.
    pub(super) async fn send(&mut self, frames: &Request) -> Verdict {
        let token = match self.token.as_mut().map(Token::header).transpose() {
            Ok(token) => token,
            Err(error) => return Verdict::later("token", format!("{error:#}")),
        };
        if self.connector.rotated() {
            self.open = None;
        }
        if let Some(open) = self.open.take().filter(|open| !open.sender.is_closed()) {
            match self.exchange(open, self.request(frames, token.clone())).await {
                Ok(verdict) => return verdict,
                Err(fault) if fault.reason == "timeout" => return Verdict::later(fault.reason, fault.detail),
                Err(_) => drop(self.metrics.shipper_stale_connections.inc()),
            }
        }
        let sent = async {
            let open = timeout(TIMEOUT, self.connector.open()).await;
            let open =
                open.map_err(|_| Fault::new("timeout", format!("cannot connect to {} in time", self.target)))??;
            self.metrics.shipper_connections.inc();
            let request = self.request(frames, token);
            self.exchange(open, request).await
        };
        sent.await.unwrap_or_else(|fault| Verdict::later(fault.reason, fault.detail))
    }

    fn request(&self, frames: &Request, token: Option<HeaderValue>) -> HttpRequest<Body> {
        let mut request = HttpRequest::new(frames.body());
        *request.method_mut() = axum::http::Method::POST;
        *request.uri_mut() = self.target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FRAMES));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(SENT_AT, HeaderValue::from(Timestamp::now().0));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token);
        }
        request
    }

    /// One request and its answer. The connection is kept if the answer came whole.
    async fn exchange(&mut self, mut open: Open, request: HttpRequest<Body>) -> Result<Verdict, Fault> {
        let target = &self.target;
        let exchange = async {
            let answer = open.sender.send_request(request).await;
            let answer = answer.map_err(|error| {
                Fault::new("network", format!("the connection to {target} ended: {}", innermost(&error)))
            })?;
            judge(answer).await
        };
        let judged = timeout(TIMEOUT, exchange).await;
        let (verdict, whole) =
            judged.map_err(|_| Fault::new("timeout", format!("{target} does not answer within {TIMEOUT:?}")))??;
        self.open = whole.then_some(open);
        Ok(verdict)
    }
}

/// The innermost cause is the one that tells, such as `Connection reset by peer`.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The verdict, and whether the answer came whole.
async fn judge(answer: Response<Incoming>) -> Result<(Verdict, bool), Fault> {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()).map(str::to_owned);
    let mut incoming = answer.into_body();
    let (mut body, mut whole) = (Vec::new(), false);
    while body.len() < MOST_ANSWER {
        match std::future::poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
            Some(Ok(frame)) => {
                let chunk = frame.into_data().unwrap_or_default();
                body.extend_from_slice(&chunk[..chunk.len().min(MOST_ANSWER - body.len())]);
            }
            None => {
                whole = true;
                break;
            }
            Some(Err(_)) => return Err(Fault::new("network", "the aggregator's answer was cut short")),
        }
    }
    Ok((Verdict::of(status, retry_after.as_deref(), &body, SystemTime::now()), whole))
}
