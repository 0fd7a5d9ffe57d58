//! The push tap's routes. They answer loopback peers alone: who can push decides what the component will be given.
//!
//! `POST /v1/batches` takes a batch's bytes, or its vector in their place. A vector is told from a batch of JSON thus:
//! `application/vnd.forebay.vector+json` always is one, and refused if it does not read as one; `application/json` is
//! one if it is at most 4 KiB and reads as a vector, with `dataVolume`, `dataComplexity` and `dataType` and nothing
//! else beyond `compression` and `estimated`; everything else is a batch.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use forebay_shared::problem::Problem;
use forebay_shared::{DataCharacteristics, Outcome, Timestamp, VectorError};
use serde::{Deserialize, Serialize};

use super::Tap;
use super::body::{Collected, collect};

const VECTOR: &str = "application/vnd.forebay.vector+json";
/// A vector with every part is under 500 bytes.
const MOST_VECTOR: usize = 4096;

/// The routes of a push tap.
pub(crate) fn routes(tap: Tap) -> Router {
    Router::new()
        .route("/v1/batches", post(push))
        .route("/v1/batches/{id}/start", post(start))
        .route("/v1/batches/{id}/finish", post(finish))
        .layer(from_fn(loopback_only))
        .with_state(tap)
}

async fn loopback_only(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    let detail = format!("batches are pushed over loopback only, from within the pod; this came from {}", peer.ip());
    Problem::new(StatusCode::FORBIDDEN, detail).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pushed {
    /// Decimal in a string: JavaScript's numbers do not hold 64 bits.
    batch_id: String,
}

async fn push(State(tap): State<Tap>, headers: HeaderMap, request: Request) -> Result<Response, Problem> {
    let arrived_at = Timestamp::now();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let inspection = &tap.0.inspection;
    let body = collect(request.into_body(), &inspection.room).await.inspect_err(|_| {
        tap.0.metrics.tap_refused_batches.inc();
    })?;
    let characteristics = match vector(content_type, &body)? {
        Some(vector) => vector,
        None => inspection.inspect(body, content_type).await,
    };
    let batch_id = tap.arrive(arrived_at, characteristics).to_string();
    Ok((StatusCode::CREATED, Json(Pushed { batch_id })).into_response())
}

/// The vector that the body is, if it is one.
fn vector(content_type: Option<&str>, body: &Collected) -> Result<Option<DataCharacteristics>, Problem> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let declared = essence.eq_ignore_ascii_case(VECTOR);
    if !declared && !essence.eq_ignore_ascii_case("application/json") {
        return Ok(None);
    }
    let bytes = body.kept.as_ref().map_or(&[][..], |kept| &kept.bytes);
    if bytes.len() <= MOST_VECTOR {
        match serde_json::from_slice::<DataCharacteristics>(bytes) {
            Ok(vector) => {
                let refuse = |error: VectorError| Problem::bad(error.field, format!("expected {}", error.expected));
                return vector.check().map(|()| Some(vector)).map_err(refuse);
            }
            Err(error) if declared => return Err(Problem::bad("body", format!("not a vector: {error}"))),
            Err(_) => {}
        }
    }
    if declared {
        return Err(Problem::bad("body", format!("a vector has at most {MOST_VECTOR} bytes")));
    }
    Ok(None)
}

async fn start(State(tap): State<Tap>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let batch_id = parse(&id)?;
    if tap.start(batch_id, Timestamp::now()) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

#[derive(Deserialize)]
struct Finish {
    outcome: Option<String>,
}

async fn finish(
    State(tap): State<Tap>,
    Path(id): Path<String>,
    Query(query): Query<Finish>,
) -> Result<StatusCode, Problem> {
    let batch_id = parse(&id)?;
    let outcome = match query.outcome.as_deref() {
        None | Some("ok") => Outcome::Ok,
        Some("failed") => Outcome::Failed,
        Some(other) => return Err(Problem::bad("outcome", format!("outcome is `{other}`: expected ok or failed"))),
    };
    if tap.finish(batch_id, Timestamp::now(), outcome) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

fn parse(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let detail = format!("no open batch `{id}`: expected a batchId given here that has not finished or been evicted");
    Problem { field: Some("id".into()), ..Problem::not_found(detail) }
}

#[cfg(test)]
mod tests;
