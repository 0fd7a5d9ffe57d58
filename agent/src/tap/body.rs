//! A pushed batch's body: it passes chunk by chunk through inspection, and is counted to its end.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use forebay_shared::problem::Problem;
use tokio::time::timeout;

use super::inspection::Look;

/// The longest batch that can be pushed. It costs no memory, but a sender's and the agent's time.
pub(super) const MOST_BYTES: u64 = 1 << 30;
/// The longest pause within a body, and the longest a body may take: senders are in the same pod.
const PAUSE: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);

/// A body that came whole.
pub(super) struct Passed {
    pub(super) total: u64,
    /// The first bytes, as many as were asked for.
    pub(super) head: Vec<u8>,
    pub(super) look: Look,
}

/// Reads a body to its end, and has `look` see it. `head` bytes of it are kept whatever else is kept.
pub(super) async fn pass(body: Body, look: Look, head: usize) -> Result<Passed, Problem> {
    timeout(WHOLE, read(body, look, head)).await.map_err(|_| slow(WHOLE))?
}

async fn read(mut body: Body, look: Look, head: usize) -> Result<Passed, Problem> {
    if body.size_hint().lower() > MOST_BYTES {
        return Err(too_long());
    }
    let mut passed = Passed { total: 0, head: Vec::new(), look };
    while let Some(chunk) = next(&mut body).await? {
        passed.total += chunk.len() as u64;
        if passed.total > MOST_BYTES {
            return Err(too_long());
        }
        let more = chunk.len().min(head - passed.head.len());
        passed.head.extend_from_slice(&chunk[..more]);
        passed.look = passed.look.take(chunk).await;
    }
    Ok(passed)
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
