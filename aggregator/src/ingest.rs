//! `POST /api/v1/observations`: an agent's frames, from the socket to the disk and on to the live state.
//!
//! ```text
//! token ─► body ─► decode, check ─► history.append (synced) ─► live ─► 200 {"accepted", "duplicates"}
//!  401   408 413       400 413 503       503
//! ```
//!
//! A request is taken whole or not at all, and what is acknowledged is durable. Memory is bounded by `Budget`, not
//! by hope: a request that finds no room is told to come again. Once frames are on disk they reach the live state
//! too, whether or not the agent still waits: sent again they would be duplicates.

mod check;
mod skew;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use forebay_shared::frame::SENT_AT;
use forebay_shared::problem::Problem;
use forebay_shared::{Frame, Timestamp};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::skew::Clocks;
use crate::history::{Appended, History, HistoryError};
use crate::identity::{PodIdentity, Tokens};

/// The longest body: an agent that was cut off for an hour has some 4 MiB to tell.
pub const MAX_BODY: usize = 8 << 20;
/// The longest that a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Bytes of all requests under way, as sent and decoded: four of the largest, or ten thousand usual ones.
const BUDGET: usize = 256 << 20;
/// Bodies that unpack to more than this are decoded off the async threads: at some 200 MB/s, the others take 0.3 ms.
const DECODE_HERE: usize = 64 << 10;
/// Bodies decoded at a time off the async threads: a frame may take 8 MiB, unpacked and decoded, before that counts.
const DECODERS: usize = 4;
/// Seconds after which to try again what found a queue full.
const RETRY_BUSY: u32 = 1;
/// Seconds after which to try again what the disk did not take.
const RETRY_FAILED: u32 = 5;

/// What the endpoint needs.
#[derive(Clone)]
pub struct Ingest {
    tokens: Arc<Tokens>,
    history: History,
    live: mpsc::Sender<Received>,
    budget: Budget,
    decoders: Arc<Semaphore>,
    clocks: Clocks,
    metrics: Metrics,
}

/// Frames that are new and on disk, on their way to the live state.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Whose.
    pub pod: PodIdentity,
    /// In the order of the agent.
    pub frames: Vec<Frame>,
}

/// The frames of a request that need not be sent again: all of them.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Acknowledged {
    accepted: usize,
    duplicates: usize,
    /// Older than what is kept: not stored.
    #[serde(skip_serializing_if = "is_none")]
    too_old: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Counters; clones share them.
#[derive(Clone, Debug)]
struct Metrics {
    frames: Counter,
    duplicates: Counter,
    gaps: Counter,
    bytes: Counter,
    rejected: Family<Reason, Counter>,
    acknowledgement_seconds: Histogram,
}

/// The status that a request was rejected with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    status: u16,
}

/// The endpoint.
pub fn router(ingest: Ingest) -> Router {
    Router::new().route("/api/v1/observations", post(observe)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(ingest)
}

async fn observe(State(ingest): State<Ingest>, request: Request) -> Response {
    let started = Instant::now();
    match ingest.take(request).await {
        Ok(acknowledged) => {
            ingest.metrics.acknowledgement_seconds.observe(started.elapsed().as_secs_f64());
            Json(acknowledged).into_response()
        }
        Err(problem) => {
            ingest.metrics.rejected.get_or_create(&Reason { status: problem.status }).inc();
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            if unauthorized {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

// === impl Ingest ===

impl Ingest {
    /// An endpoint for the bearers of `tokens`, which stores into `history` and then tells `live`. Its counters,
    /// `forebay_ingest_*`, are registered.
    pub fn new(tokens: Arc<Tokens>, history: History, live: mpsc::Sender<Received>, registry: &mut Registry) -> Self {
        let clocks = Clocks::default();
        Self {
            tokens,
            history,
            live,
            budget: Budget::default(),
            decoders: Arc::new(Semaphore::new(DECODERS)),
            metrics: Metrics::register(registry, &clocks),
            clocks,
        }
    }

    async fn take(&self, request: Request) -> Result<Acknowledged, Problem> {
        let received = Timestamp::now();
        let pod = self.identify(request.headers())?;
        let skew_ms = self.clocks.measure(&pod, sent_at(request.headers()), received);
        let mut room = self.budget.reserve(announced_len(request.headers())?)?;
        let body = read(request).await?;
        let bytes = body.len() as u64;
        let frames = if check::unpacked_len(&body).max(body.len()) <= DECODE_HERE {
            check::decode(&body, &mut room, Timestamp::now(), skew_ms)?
        } else {
            let decoder = Arc::clone(&self.decoders).acquire_owned().await.map_err(|_| unfinished())?;
            let decoding = tokio::task::spawn_blocking(move || {
                let frames = check::decode(&body, &mut room, Timestamp::now(), skew_ms);
                drop(decoder);
                frames.map(|frames| (frames, room))
            });
            let (frames, grown) = decoding.await.map_err(|_| unfinished())??;
            room = grown;
            frames
        };
        // A task of its own, since an agent that goes away drops this one, and these steps belong together.
        let storing = tokio::spawn(self.clone().store(pod, frames, room));
        let acknowledged = storing.await.map_err(|_| unfinished())??;
        self.metrics.bytes.inc_by(bytes);
        Ok(acknowledged)
    }

    fn identify(&self, headers: &HeaderMap) -> Result<PodIdentity, Problem> {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.tokens.identify(authorization).cloned().ok_or_else(|| Problem {
            field: Some("Authorization".into()),
            ..Problem::new(
                StatusCode::UNAUTHORIZED,
                "expected `Authorization: Bearer TOKEN` with a token that the aggregator knows",
            )
        })
    }

    async fn store(self, pod: PodIdentity, frames: Vec<Frame>, _room: Room) -> Result<Acknowledged, Problem> {
        let Appended { accepted, duplicates, gaps, too_old } =
            self.history.append(&pod, frames).await.map_err(problem)?;
        self.metrics.frames.inc_by(accepted.len() as u64);
        self.metrics.duplicates.inc_by(duplicates as u64);
        self.metrics.gaps.inc_by(gaps as u64);
        if gaps > 0 {
            tracing::warn!(component = %pod.component, pod = pod.pod, gaps, "frames are missing before these");
        }
        let acknowledged = Acknowledged { accepted: accepted.len(), duplicates, too_old };
        if !accepted.is_empty() && self.live.send(Received { pod, frames: accepted }).await.is_err() {
            // They are on disk, where the live state of the next start finds them.
            tracing::debug!("frames came after the live state had ended");
        }
        Ok(acknowledged)
    }
}

/// When the request was sent, by its sender's clock.
fn sent_at(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(SENT_AT)?.to_str().ok()?.parse().ok().map(Timestamp)
}

/// The length that the request tells, or the longest where it tells none.
fn announced_len(headers: &HeaderMap) -> Result<usize, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(MAX_BODY);
    if length > MAX_BODY { Err(too_long()) } else { Ok(length) }
}

async fn read(request: Request) -> Result<Bytes, Problem> {
    let body = tokio::time::timeout(BODY_WAIT, Bytes::from_request(request, &())).await.map_err(|_| {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s to arrive; send fewer frames a request", BODY_WAIT.as_secs()),
        )
    })?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(),
        status => Problem::new(status, format!("the body did not arrive: {}", rejection.body_text())),
    })
}

fn too_long() -> Problem {
    let detail = format!("expected a body of at most {MAX_BODY} bytes; send fewer frames a request");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn unfinished() -> Problem {
    Problem::unavailable("the aggregator is about to end; send the frames again", RETRY_FAILED)
}

fn problem(error: HistoryError) -> Problem {
    match error {
        HistoryError::Refused { frame, reason } => Problem::bad(format!("frames[{frame}]"), reason),
        HistoryError::Busy => Problem::unavailable(error.to_string(), RETRY_BUSY),
        HistoryError::Full { .. } => {
            Problem::unavailable("the history's disk is full: send the frames again when there is room", RETRY_FAILED)
        }
        // The history has logged what failed; its path is nothing for agents.
        _ => Problem::unavailable("the history cannot be written now; send the frames again", RETRY_FAILED),
    }
}

// === impl Metrics ===

impl Metrics {
    fn register(registry: &mut Registry, clocks: &Clocks) -> Self {
        let metrics = Self {
            frames: Counter::default(),
            duplicates: Counter::default(),
            gaps: Counter::default(),
            bytes: Counter::default(),
            rejected: Family::default(),
            // 1 ms, a fast disk's sync, to 16 s, beyond an agent's patience.
            acknowledgement_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        };
        let registry = registry.sub_registry_with_prefix("forebay_ingest");
        registry.register("frames", "Frames taken", metrics.frames.clone());
        registry.register("duplicates", "Frames that had been taken before", metrics.duplicates.clone());
        registry.register("gaps", "Times that frames were missing before one taken", metrics.gaps.clone());
        registry.register("bytes", "Bytes of the requests taken", metrics.bytes.clone());
        registry.register_collector(Box::new(clocks.clone()));
        registry.register("rejected", "Requests rejected, by status", metrics.rejected.clone());
        registry.register(
            "acknowledgement_seconds",
            "From a request's head to its acknowledgement",
            metrics.acknowledgement_seconds.clone(),
        );
        metrics
    }
}

/// The memory that requests under way may take together.
#[derive(Clone, Debug)]
struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Room {
    budget: Budget,
    taken: OwnedSemaphorePermit,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

impl Budget {
    fn reserve(&self, bytes: usize) -> Result<Room, Problem> {
        Ok(Room { taken: self.acquire(bytes)?, budget: self.clone() })
    }

    fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(bytes).map_err(|_| {
            Problem::unavailable("the aggregator has too many frames under way: try again in a second", RETRY_BUSY)
        })
    }
}

impl Room {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.taken.merge(self.budget.acquire(bytes)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
