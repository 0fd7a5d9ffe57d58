//! A response's body on its way back: with its end the batch is finished, and the connection to the target is free.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, Response, StatusCode};
use forebay_shared::problem::Problem;
use forebay_shared::{Outcome, Timestamp};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::watch;

use super::grpc::Answers;
use super::request::{BodyError, Expectation, Finishing, Observed};
use super::socket::Clock;
use crate::tap::target::Target;

/// A kept connection over HTTP/1.1.
pub(in crate::tap) type Kept = SendRequest<Observed>;

/// What is left to do once a response is through.
pub(super) struct Rest {
    pub(super) finishing: Finishing,
    pub(super) outcome: Outcome,
    pub(super) clock: Clock,
    pub(super) connection: Option<(Kept, Arc<Target<Kept>>)>,
    pub(super) expectation: Option<Arc<watch::Sender<Expectation>>>,
}

/// The body of a response.
pub(super) struct Reply {
    inner: Inner,
    rest: Option<Rest>,
    answers: Option<Answers>,
}

enum Inner {
    Theirs(Incoming),
    /// The tap's own.
    Ours(Option<Bytes>),
}

/// What a batch's answer says of it. A refusal is a failure: the component did not take it.
pub(super) fn outcome(status: StatusCode) -> Outcome {
    if status.is_client_error() || status.is_server_error() { Outcome::Failed } else { Outcome::Ok }
}

impl Reply {
    pub(super) fn theirs(body: Incoming, headers: &HeaderMap, rest: Rest) -> Self {
        let answers = match &rest.finishing {
            Finishing::Call(call) => Some(Answers::new(Arc::clone(call), headers)),
            Finishing::Nothing | Finishing::Batch(_) => None,
        };
        let mut reply = Self { inner: Inner::Theirs(body), rest: Some(rest), answers };
        if reply.is_end_stream() {
            reply.whole();
        }
        reply
    }

    /// The body has come to its end.
    fn whole(&mut self) {
        let Some(Rest { finishing, outcome, clock, connection, expectation }) = self.rest.take() else { return };
        let at = Timestamp::now();
        match (finishing, &self.answers) {
            (Finishing::Batch(batch), _) => batch.finish(at, outcome),
            (_, Some(answers)) => answers.end(at, outcome),
            _ => {}
        }
        if let Some(told) = expectation {
            // Nobody hears it if the body was sent.
            let _ = told.send_if_modified(|now| {
                let waiting = *now == Expectation::Waiting;
                if waiting {
                    *now = Expectation::Unwanted;
                }
                waiting
            });
        }
        if let Some((connection, target)) = connection {
            target.put_back(connection);
        }
        clock.rearm();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        match &self.inner {
            // A length that was announced has come: nobody asks for more.
            Inner::Theirs(body) if body.is_end_stream() => self.whole(),
            // The client has gone, or the target broke off.
            Inner::Theirs(_) => {
                if let Some(answers) = self.answers.take_if(|_| self.rest.is_some()) {
                    answers.end(Timestamp::now(), Outcome::Failed);
                }
            }
            Inner::Ours(_) => {}
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let body = match &mut this.inner {
            Inner::Ours(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Inner::Theirs(body) => body,
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let end = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || body.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if let (Some(Ok(frame)), Some(answers)) = (&frame, &mut this.answers) {
            if let Some(chunk) = frame.data_ref() {
                answers.chunk(chunk, Timestamp::now());
            }
            if let Some(trailers) = frame.trailers_ref() {
                answers.trailers(trailers);
            }
        }
        if end {
            this.whole();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Theirs(body) => body.is_end_stream(),
            Inner::Ours(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Theirs(body) => body.size_hint(),
            Inner::Ours(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

/// A response of the tap's own: a problem document.
pub(super) fn problem(problem: &Problem) -> Response<Reply> {
    // A structure of texts and numbers always is JSON.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Reply { inner: Inner::Ours(Some(body.into())), rest: None, answers: None });
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
