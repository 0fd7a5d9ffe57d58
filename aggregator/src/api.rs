//! The HTTP API, health, metrics and the page.

mod components;
mod events;
mod history;
mod page;
mod pipelines;
mod probes;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::routing::{get, post};
use forebay_shared::problem::Problem;

use crate::app::Shared;

type Api = axum::extract::State<Arc<Shared>>;

/// Every route but the agents' own.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let component = Router::new()
        .route("/", get(components::profile))
        .route("/history", get(history::history))
        .route("/forecast", get(components::forecast))
        .route("/decisions", get(components::decisions))
        .route("/models", get(components::models))
        .route("/retrain", post(components::retrain));
    let api = Router::new()
        .route("/components", get(components::list))
        .nest("/components/{namespace}/{kind}/{name}/{container}", component)
        .route("/pipelines", get(pipelines::list))
        .route("/pipelines/{namespace}/{name}", get(pipelines::one))
        .route("/events", get(events::stream));
    Router::new()
        .nest("/api/v1", api)
        .merge(probes::router())
        .merge(page::router())
        .fallback(async |uri: Uri| Problem::not_found(format!("there is no {}", uri.path())))
        .with_state(shared)
}
