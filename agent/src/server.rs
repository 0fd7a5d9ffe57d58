//! The agent's own HTTP server: is it alive, is it ready, how is it, what has it counted; and the push tap.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forebay_shared::health::Health;
use forebay_shared::problem::Problem;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::{self, Tap};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server tells of.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) health: Health,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) buffer: Buffer,
    pub(crate) tap: Option<Tap>,
    /// Batches may be pushed.
    pub(crate) push: bool,
}

/// All routes.
pub(crate) fn routes(facts: Facts) -> Router {
    let tap = facts.tap.clone().filter(|_| facts.push).map(tap::routes).unwrap_or_default();
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(facts)
        .merge(tap)
        .fallback(unknown)
}

async fn readyz(State(facts): State<Facts>) -> Response {
    let status = if facts.health.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(facts.health.parts())).into_response()
}

async fn healthz(State(facts): State<Facts>) -> Response {
    Json(facts.health.parts()).into_response()
}

/// States are read here, when they are asked for.
async fn metrics(State(facts): State<Facts>) -> Result<Response, Problem> {
    let (bytes, frames) = facts.buffer.size();
    facts.metrics.buffer_bytes.set(bytes as i64);
    facts.metrics.buffer_frames.set(frames as i64);
    facts.metrics.tap_open_batches.set(facts.tap.as_ref().map_or(0, Tap::open) as i64);
    if let Some(resident) = resident() {
        facts.metrics.process_resident_memory.set(resident as i64);
    }
    let mut text = String::new();
    encode(&mut text, &facts.registry)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn resident() -> Option<u64> {
    let statm = procfs::process::Process::myself().ok()?.statm().ok()?;
    Some(statm.resident * procfs::page_size())
}

async fn unknown() -> Problem {
    Problem::not_found("nothing here: expected /livez, /readyz, /healthz, /metrics or, with --tap push, /v1/batches")
}
