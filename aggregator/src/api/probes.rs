//! Health and metrics. They read memory alone, so that they answer while the rest is busy.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forebay_shared::problem::Problem;

use super::Api;
use crate::app::Shared;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
}

async fn ready(State(shared): Api) -> Response {
    let status = if shared.health.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(shared.health.parts())).into_response()
}

async fn health(State(shared): Api) -> Response {
    Json(shared.health.parts()).into_response()
}

async fn metrics(State(shared): Api) -> Result<Response, Problem> {
    shared.metrics.read(&shared.state());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &shared.registry)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
