//! The push tap's routes. They answer loopback peers alone: who can push decides what the component will be given.
//!
//! `POST /v1/batches` takes a batch's bytes, or its vector in their place. A vector is told from a batch of JSON thus:
//! `application/vnd.forebay.vector+json` always is one, and refused if it does not read as one; `application/json` is
//! one if it is at most 4 KiB and reads as a vector, with `dataVolume`, `dataComplexity` and `dataType` and nothing
//! else beyond `compression` and `estimated`; everything else is a batch. The first 4 KiB of what may be a vector are
//! kept apart from inspection's memory: however large the batches are that come meanwhile, a vector is read as one.

use std::net::SocketAddr;

use axum::body::HttpBody as _;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};
use forebay_shared::problem::Problem;
use forebay_shared::{DataCharacteristics, Outcome, Timestamp, VectorError};
use serde::{Deserialize, Serialize};

use super::Tap;
use super::body::{Passed, pass};

const VECTOR: &str = "application/vnd.forebay.vector+json";
/// A vector with every part is under 500 bytes.
const MOST_VECTOR: usize = 4096;

/// The routes of a push tap.
pub(crate) fn routes(tap: Tap) -> Router {
    Router::new()
        .route("/v1/batches", only(post(push)))
        .route("/v1/batches/{id}/start", only(post(start)))
        .route("/v1/batches/{id}/finish", only(post(finish)))
        .layer(from_fn(loopback_only))
        .with_state(tap)
}

/// A route of POST alone.
fn only(route: MethodRouter<Tap>) -> MethodRouter<Tap> {
    route.fallback(|method: Method| async move {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("the method is {method}: expected POST"));
        ([(header::ALLOW, "POST")], problem)
    })
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
    let claim = Claim::of(content_type);
    let body = request.into_body();
    let look = tap.0.inspection.begin(content_type.map(Into::into), body.size_hint().exact());
    // One byte more than a vector has tells that it is none.
    let head = if claim == Claim::Batch { 0 } else { MOST_VECTOR + 1 };
    let body = pass(body, look, head).await.inspect_err(|_| {
        tap.0.metrics.tap_refused_batches.inc();
    })?;
    let characteristics = match vector(claim, &body)? {
        Some(vector) => vector,
        None => body.look.finish(body.total).await,
    };
    let batch_id = tap.arrive(arrived_at, characteristics).to_string();
    Ok((StatusCode::CREATED, Json(Pushed { batch_id })).into_response())
}

/// What a Content-Type says a body is.
#[derive(Clone, Copy, PartialEq)]
enum Claim {
    Vector,
    /// JSON: a vector or a batch.
    Either,
    Batch,
}

impl Claim {
    fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(VECTOR) {
            Self::Vector
        } else if essence.eq_ignore_ascii_case("application/json") {
            Self::Either
        } else {
            Self::Batch
        }
    }
}

/// The vector that the body is, if it is one.
fn vector(claim: Claim, body: &Passed) -> Result<Option<DataCharacteristics>, Problem> {
    if claim == Claim::Batch || (claim == Claim::Either && body.head.len() > MOST_VECTOR) {
        return Ok(None);
    }
    if body.head.len() > MOST_VECTOR {
        return Err(Problem::bad("body", format!("a vector has at most {MOST_VECTOR} bytes")));
    }
    match serde_json::from_slice::<DataCharacteristics>(&body.head) {
        Ok(vector) => {
            let refuse = |error: VectorError| Problem::bad(error.field, format!("expected {}", error.expected));
            vector.check().map(|()| Some(vector)).map_err(refuse)
        }
        Err(error) if claim == Claim::Vector => Err(Problem::bad("body", format!("not a vector: {error}"))),
        Err(_) => Ok(None),
    }
}

type Id = Result<Path<String>, PathRejection>;

async fn start(State(tap): State<Tap>, id: Id) -> Result<StatusCode, Problem> {
    let batch_id = parse(id)?;
    if tap.start(batch_id, Timestamp::now()) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(batch_id)) }
}

#[derive(Deserialize)]
struct Finish {
    outcome: Option<String>,
}

async fn finish(
    State(tap): State<Tap>,
    id: Id,
    query: Result<Query<Finish>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let batch_id = parse(id)?;
    let expected = "expected ok or failed, once";
    let Query(query) = query.map_err(|_| Problem::bad("outcome", format!("the query does not read: {expected}")))?;
    let outcome = match query.outcome.as_deref() {
        None | Some("ok") => Outcome::Ok,
        Some("failed") => Outcome::Failed,
        Some(other) => return Err(Problem::bad("outcome", format!("outcome is `{other}`: {expected}"))),
    };
    if tap.finish(batch_id, Timestamp::now(), outcome) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(batch_id)) }
}

fn parse(id: Id) -> Result<u64, Problem> {
    let Path(id) = id.map_err(|_| Problem::bad("id", "the id is not UTF-8: expected a batchId given here"))?;
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: impl std::fmt::Display) -> Problem {
    let expected = "expected a batchId given here that has not finished, or been evicted or forgotten since";
    Problem { field: Some("id".into()), ..Problem::not_found(format!("no open batch `{id}`: {expected}")) }
}

#[cfg(test)]
mod tests;
