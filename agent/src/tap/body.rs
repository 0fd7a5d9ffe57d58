//! A pushed batch's body: counted to its end, kept up to the inspection's budget.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use forebay_shared::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::characteristics::DEFAULT_BUDGET;

/// The longest batch that can be pushed.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// The longest pause within a body, and the longest a body may take: senders are in the same pod.
const PAUSE: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);

/// A body that came whole.
pub(super) struct Collected {
    pub(super) total: u64,
    /// The first bytes, and the room that they take until they are inspected; nothing if there was no room.
    pub(super) kept: Option<Kept>,
}

pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads a body to its end. `room` has a permit for each byte that may be kept, over all bodies.
pub(super) async fn collect(body: Body, room: &Arc<Semaphore>) -> Result<Collected, Problem> {
    timeout(WHOLE, read(body, room)).await.map_err(|_| slow(WHOLE))?
}

async fn read(mut body: Body, room: &Arc<Semaphore>) -> Result<Collected, Problem> {
    let announced = body.size_hint();
    if announced.lower() > MOST_BYTES {
        return Err(too_long());
    }
    // Capped by the budget, and only touched as bytes come.
    let capacity = announced.upper().unwrap_or(0).min(DEFAULT_BUDGET as u64) as usize;
    let mut kept = Some(Kept { bytes: Vec::with_capacity(capacity), _room: None });
    let mut total = 0;
    while let Some(chunk) = next(&mut body).await? {
        total += chunk.len() as u64;
        if total > MOST_BYTES {
            return Err(too_long());
        }
        kept = kept.and_then(|kept| kept.with(&chunk, room));
    }
    Ok(Collected { total, kept })
}

impl Kept {
    /// With as much of `chunk` as the budget allows; nothing if there is no room for it.
    fn with(mut self, chunk: &[u8], room: &Arc<Semaphore>) -> Option<Self> {
        let take = chunk.len().min(DEFAULT_BUDGET - self.bytes.len());
        let permits = u32::try_from(take).ok()?;
        let more = Arc::clone(room).try_acquire_many_owned(permits).ok()?;
        match &mut self._room {
            Some(room) => room.merge(more),
            None => self._room = Some(more),
        }
        self.bytes.extend_from_slice(&chunk[..take]);
        Some(self)
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match timeout(PAUSE, frame).await {
            Err(_) => return Err(slow(PAUSE)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Problem::bad("body", "the body was cut short: send it whole")),
            Ok(Some(Ok(frame))) => {
                // Trailers tell nothing.
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

fn slow(limit: Duration) -> Problem {
    Problem::bad("body", format!("the body came too slowly: expected its next part or its end within {limit:?}"))
}

fn too_long() -> Problem {
    let detail = format!("the body is longer than {MOST_BYTES} bytes: push the batch's vector instead");
    Problem { field: Some("body".into()), ..Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail) }
}
