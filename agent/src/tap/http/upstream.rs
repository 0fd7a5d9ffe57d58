//! The way to the target: over a kept connection where there is one, and once more over a fresh one where that is safe.

use std::sync::{Arc, PoisonError};

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use forebay_shared::Timestamp;
use forebay_shared::problem::Problem;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use super::headers::{drop_same_host, strip, wants_upgrade};
use super::request::{Observed, observe};
use super::response::{Kept, Reply, Rest, outcome, problem};
use super::socket::Clock;
use super::{CONNECTION_WINDOW, Http, MOST_BUFFERED, MOST_FIELDS, STREAM_WINDOW, Switch};
use crate::tap::target::{Target, Unreachable};

/// Seconds after which a client may try again: a container is restarted in about that time.
const RETRY_AFTER: u32 = 1;

type Http2 = http2::SendRequest<Observed>;

/// The connection over HTTP/2 that one client's streams share, once there is one. Whoever makes it is waited for.
#[derive(Default)]
pub(super) struct Shared(Mutex<Option<Http2>>);

/// Why there is no response.
enum Failure {
    Unreachable(Unreachable),
    /// The connection broke before the response's head was whole.
    Broken(hyper::Error),
}

/// A request without a response, and the request itself if nothing of it was sent.
struct Unanswered {
    failure: Failure,
    unsent: Option<Request<Observed>>,
}

impl Unanswered {
    fn new(failure: Failure, unsent: Option<Request<Observed>>) -> Box<Self> {
        Box::new(Self { failure, unsent })
    }
}

impl Http {
    pub(super) async fn forward_http1(
        &self,
        mut request: Request<Incoming>,
        arrived_at: Timestamp,
        clock: Clock,
        switch: &Switch,
    ) -> Response<Reply> {
        let upgrade = wants_upgrade(&request);
        let client = upgrade.then(|| hyper::upgrade::on(&mut request));
        strip(request.headers_mut(), upgrade);
        let (request, finishing, expectation) = observe(request, arrived_at, &self.observer);
        let (mut response, connection) = match self.send_http1(request).await {
            Ok(answered) => answered,
            Err(unanswered) => return self.answer(*unanswered, Some(&clock)).await,
        };
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        strip(response.headers_mut(), switched);
        if switched {
            let Some(client) = client else {
                let detail = "the component switched protocols without being asked to";
                return problem(&Problem::new(StatusCode::BAD_GATEWAY, detail));
            };
            *switch.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, hyper::upgrade::on(&mut response)));
        }
        // Each hop has its own: hyper answers a client of HTTP/1.0 in that.
        *response.version_mut() = Version::HTTP_11;
        let outcome = outcome(response.status());
        let connection = (!switched).then(|| (connection, Arc::clone(&self.target)));
        let rest = Rest { finishing, outcome, clock, connection, expectation };
        let (parts, body) = response.into_parts();
        let reply = Reply::theirs(body, &parts.headers, rest);
        Response::from_parts(parts, reply)
    }

    async fn send_http1(&self, mut request: Request<Observed>) -> Result<(Response<Incoming>, Kept), Box<Unanswered>> {
        loop {
            let kept = self.target.take(|kept| kept.is_ready());
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(kept) => kept,
                None => match connect_http1(&self.target).await {
                    Ok(connection) => connection,
                    Err(failure) => return Err(Unanswered::new(failure, Some(request))),
                },
            };
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(error) => request = self.retried(error, fresh)?,
            }
        }
    }

    /// The request again, if the target cannot have seen it: a kept connection that was closed before.
    fn retried(
        &self,
        mut error: TrySendError<Request<Observed>>,
        fresh: bool,
    ) -> Result<Request<Observed>, Box<Unanswered>> {
        match error.take_message() {
            Some(request) if !fresh => {
                self.observer.tap().0.metrics.tap_retries.inc();
                Ok(request)
            }
            unsent => Err(Unanswered::new(Failure::Broken(error.into_error()), unsent)),
        }
    }

    pub(super) async fn forward_http2(&self, mut request: Request<Incoming>, shared: &Shared) -> Response<Reply> {
        strip(request.headers_mut(), false);
        let uri = with_authority(request.uri(), request.headers(), &self.target);
        if let Some(authority) = uri.authority() {
            drop_same_host(request.headers_mut(), authority.as_str());
        }
        *request.uri_mut() = uri;
        let (request, finishing, expectation) = observe(request, Timestamp::now(), &self.observer);
        let response = match self.send_http2(request, shared).await {
            Ok(response) => response,
            Err(unanswered) => return self.answer(*unanswered, None).await,
        };
        let outcome = outcome(response.status());
        let rest = Rest { finishing, outcome, clock: Clock::default(), connection: None, expectation };
        let (parts, body) = response.into_parts();
        let reply = Reply::theirs(body, &parts.headers, rest);
        Response::from_parts(parts, reply)
    }

    async fn send_http2(
        &self,
        mut request: Request<Observed>,
        shared: &Shared,
    ) -> Result<Response<Incoming>, Box<Unanswered>> {
        loop {
            let mut slot = shared.0.lock().await;
            let kept = slot.take_if(|kept| !kept.is_closed());
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(kept) => kept,
                None => match connect_http2(&self.target).await {
                    Ok(connection) => connection,
                    Err(failure) => return Err(Unanswered::new(failure, Some(request))),
                },
            };
            *slot = Some(connection.clone());
            drop(slot);
            match connection.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    *shared.0.lock().await = None;
                    request = self.retried(error, fresh)?;
                }
            }
        }
    }

    /// The answer in place of one that the target did not give.
    async fn answer(&self, unanswered: Unanswered, clock: Option<&Clock>) -> Response<Reply> {
        let Unanswered { failure, unsent } = unanswered;
        if let Some(request) = unsent {
            request.into_body().drain().await;
        }
        let (status, detail) = match failure {
            Failure::Unreachable(error @ Unreachable::Down(..)) => (StatusCode::BAD_GATEWAY, error.to_string()),
            Failure::Unreachable(error @ Unreachable::Busy(_)) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            Failure::Broken(error) => {
                // The user is the client: its body was cut.
                if !error.is_user() {
                    self.target.failed();
                }
                (StatusCode::BAD_GATEWAY, format!("the component broke off before it answered: {error}"))
            }
        };
        if let Some(clock) = clock {
            clock.rearm();
        }
        problem(&Problem { retry_after: Some(RETRY_AFTER), ..Problem::new(status, detail) })
    }
}

async fn connect_http1(target: &Target<Kept>) -> Result<Kept, Failure> {
    let stream = target.connect().await.map_err(Failure::Unreachable)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_BUFFERED).max_headers(MOST_FIELDS).preserve_header_case(true);
    let (kept, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    // Its errors are those of its requests.
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok(kept)
}

async fn connect_http2(target: &Target<Kept>) -> Result<Http2, Failure> {
    let stream = target.connect().await.map_err(Failure::Unreachable)?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MOST_BUFFERED as u32);
    let (kept, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(kept)
}

/// HTTP/2 needs a scheme and an authority; a client may leave the latter to its Host field.
fn with_authority(uri: &Uri, headers: &HeaderMap, target: &Target<Kept>) -> Uri {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = uri.clone().into_parts();
    parts.scheme = parts.scheme.or(Some(Scheme::HTTP));
    parts.authority = parts.authority.or(host).or_else(|| target.authority());
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}
