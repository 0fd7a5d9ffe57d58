//! A request's body on its way to the target: each chunk as it came, a reference to it to inspection beside.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use forebay_shared::Timestamp;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

use super::grpc::{self, Call, Messages};
use super::headers::expects_continue;
use crate::tap::passing::{Ending, Observer, Passing};

/// Why a body ends before its time.
#[derive(Debug, thiserror::Error)]
pub(in crate::tap) enum BodyError {
    #[error("it was cut short: {0}")]
    Cut(#[from] hyper::Error),
    #[error("the target answered without it")]
    Unwanted,
}

/// How long a target has to say `100 Continue` or to refuse, before the body is sent anyway: as curl waits itself.
const CONTINUE: Duration = Duration::from_secs(1);
/// What is read of a body that no target takes, so that its client hears the answer: a socket that is closed with
/// bytes unread is reset.
const DRAINED: u64 = 1 << 20;
const DRAIN: Duration = Duration::from_millis(500);

/// Whether a body may be read that its client only sends once it is told to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expectation {
    Waiting,
    Wanted,
    /// The answer came without it.
    Unwanted,
}

type Gate = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What is told of a body.
enum Watch {
    /// Nothing: there is none.
    Nothing,
    Batch(Passing),
    Messages(Box<Messages>),
}

/// The other half of a [`Watch`], which the response finishes.
pub(super) enum Finishing {
    Nothing,
    Batch(Ending),
    Call(Arc<Call>),
}

/// The body.
pub(in crate::tap) struct Observed {
    inner: Incoming,
    watch: Watch,
    gate: Option<Gate>,
    /// Nobody works on it: it is only read so that its client hears the answer.
    draining: bool,
}

/// Watches a request's body; gives what the response has to finish, and what it has to say to a gate.
pub(super) fn observe(
    request: Request<Incoming>,
    arrived_at: Timestamp,
    observer: &Observer,
) -> (Request<Observed>, Finishing, Option<Arc<watch::Sender<Expectation>>>) {
    let content_type = request.headers().get(CONTENT_TYPE);
    let body = request.body();
    let watch = match content_type {
        _ if body.is_end_stream() => Watch::Nothing,
        Some(stream) if grpc::is_stream(content_type) => {
            Watch::Messages(Box::new(Messages::new(observer.clone(), stream)))
        }
        _ => {
            let content_type = content_type.and_then(|value| value.to_str().ok()).map(Arc::from);
            Watch::Batch(observer.open(arrived_at, body.size_hint().exact(), content_type))
        }
    };
    let finishing = match &watch {
        Watch::Nothing => Finishing::Nothing,
        Watch::Batch(batch) => Finishing::Batch(batch.ending()),
        Watch::Messages(messages) => Finishing::Call(messages.call()),
    };
    let expecting = !body.is_end_stream() && expects_continue(&request);
    let mut request = request.map(|inner| Observed { inner, watch, gate: None, draining: false });
    if !expecting {
        return (request, finishing, None);
    }
    let (told, gate) = gate();
    request.body_mut().gate = Some(gate);
    let told = Arc::new(told);
    let tell = Arc::clone(&told);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status().as_u16() == 100 {
            let _ = tell.send(Expectation::Wanted);
        }
    });
    (request, finishing, Some(told))
}

/// Opens when the body is wanted, or when nobody said so in time; false if it is not wanted.
fn gate() -> (watch::Sender<Expectation>, Gate) {
    let (told, mut hear) = watch::channel(Expectation::Waiting);
    let gate = async move {
        match timeout(CONTINUE, hear.wait_for(|now| *now != Expectation::Waiting)).await {
            Ok(Ok(now)) => *now == Expectation::Wanted,
            Ok(Err(_)) => false,
            Err(_) => true,
        }
    };
    (told, Box::pin(gate))
}

impl Observed {
    /// Reads what there is of a body that no target takes, within bounds. One that its client has not begun to send
    /// is left.
    pub(super) async fn drain(mut self) {
        if self.gate.is_some() {
            return;
        }
        self.draining = true;
        let read = async {
            let mut left = DRAINED;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                left = left.saturating_sub(frame.data_ref().map_or(0, |chunk| chunk.len() as u64));
                if left == 0 {
                    return;
                }
            }
        };
        // In time or not, the answer is the same.
        let _ = timeout(DRAIN, read).await;
    }
}

impl Watch {
    fn start(&mut self) {
        match self {
            Self::Batch(batch) if !batch.started() => batch.start(Timestamp::now()),
            Self::Messages(messages) => messages.start(),
            _ => {}
        }
    }

    fn chunk(&mut self, chunk: &Bytes) {
        match self {
            Self::Nothing => {}
            Self::Batch(batch) => batch.chunk(chunk),
            Self::Messages(messages) => messages.chunk(chunk, Timestamp::now()),
        }
    }

    fn pause(&mut self) {
        match self {
            Self::Nothing => {}
            Self::Batch(batch) => batch.pause(),
            Self::Messages(messages) => messages.pause(),
        }
    }

    /// The body came to its end.
    fn whole(&mut self) {
        match std::mem::replace(self, Self::Nothing) {
            Self::Batch(batch) if batch.total() == 0 => batch.withdraw(),
            Self::Batch(mut batch) => batch.end(),
            // Dropped, it ends.
            Self::Messages(_) | Self::Nothing => {}
        }
    }
}

impl Body for Observed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(gate) = &mut this.gate {
            if !ready!(gate.as_mut().poll(cx)) {
                return Poll::Ready(Some(Err(BodyError::Unwanted)));
            }
            this.gate = None;
        }
        if !this.draining {
            this.watch.start();
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            this.watch.pause();
            return Poll::Pending;
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    this.watch.chunk(chunk);
                }
                // Nobody asks again after trailers, or after a length that was announced.
                if frame.is_trailers() || this.inner.is_end_stream() {
                    this.watch.whole();
                }
            }
            None => this.watch.whole(),
            // Dropped, it ends with what came.
            Some(Err(_)) => this.watch = Watch::Nothing,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gate_opens_for_a_body_that_is_wanted_or_that_nobody_decides_on() {
        let (told, gate) = gate();
        told.send(Expectation::Wanted).unwrap();
        assert!(gate.await);
        let (told, gate) = super::gate();
        told.send(Expectation::Unwanted).unwrap();
        assert!(!gate.await);
        let (told, gate) = super::gate();
        drop(told);
        assert!(!gate.await, "the exchange is over");
        let (_told, gate) = super::gate();
        let began = tokio::time::Instant::now();
        assert!(gate.await);
        assert_eq!(began.elapsed(), CONTINUE);
    }
}
