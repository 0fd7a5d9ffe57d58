//! Stands in for the aggregator while a history is recorded: takes frames in and keeps them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use forebay_shared::problem::Problem;
use forebay_shared::{BootId, Frame};
use serde::Serialize;

/// The longest request, bytes.
const MAX_REQUEST: usize = 16 << 20;

/// What has been recorded.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Inner>);

struct Inner {
    /// The component's place by its agent's token.
    tokens: HashMap<String, u8>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    seen: HashSet<(u8, BootId, u64)>,
    frames: Vec<(u8, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Accepted {
    accepted: u64,
    duplicates: u64,
}

impl Recorder {
    /// Takes frames from agents with these tokens.
    pub(super) fn new(tokens: HashMap<String, u8>) -> Self {
        Self(Arc::new(Inner { tokens, kept: Mutex::default() }))
    }

    /// The API that agents send to.
    pub(super) fn routes(&self) -> Router {
        Router::new()
            .route("/api/v1/observations", post(observe))
            .layer(DefaultBodyLimit::max(MAX_REQUEST))
            .with_state(self.clone())
    }

    /// The frames so far, in the order in which they came.
    pub(super) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).frames.clone()
    }
}

async fn observe(State(recorder): State<Recorder>, headers: HeaderMap, body: Bytes) -> Result<Json<Accepted>, Problem> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let component = token.and_then(|token| recorder.0.tokens.get(token).copied());
    let component =
        component.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "expected the token of an agent"))?;
    let mut kept = recorder.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = Accepted { accepted: 0, duplicates: 0 };
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (frame, after) = Frame::decode(rest).map_err(|error| Problem::bad("body", error.to_string()))?;
        if kept.seen.insert((component, frame.boot, frame.sequence)) {
            kept.frames.push((component, rest[..rest.len() - after.len()].to_vec()));
            answer.accepted += 1;
        } else {
            answer.duplicates += 1;
        }
        rest = after;
    }
    Ok(Json(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    async fn send(recorder: &Recorder, token: &str, body: Vec<u8>) -> StatusCode {
        let request = Request::post("/api/v1/observations").header("authorization", format!("Bearer {token}"));
        recorder.routes().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_frame_sent_twice_is_kept_once() {
        let recorder = Recorder::new(HashMap::from([("secret".into(), 2)]));
        let first = Frame::default().encode().unwrap();
        let second = Frame { sequence: 1, ..Frame::default() }.encode().unwrap();
        assert_eq!(send(&recorder, "secret", first.clone()).await, StatusCode::OK);
        assert_eq!(send(&recorder, "secret", [first.clone(), second.clone()].concat()).await, StatusCode::OK);
        assert_eq!(send(&recorder, "other", first.clone()).await, StatusCode::UNAUTHORIZED);
        assert_eq!(send(&recorder, "secret", b"nonsense".to_vec()).await, StatusCode::BAD_REQUEST);
        assert_eq!(recorder.frames(), [(2, first), (2, second)]);
    }
}
