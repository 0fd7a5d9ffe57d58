//! `/api/v1/pipelines`.

use axum::Json;
use axum::extract::{Path, State};
use forebay_shared::problem::Problem;
use serde_json::{Value, json};

use super::Api;
use crate::view::PipelineView;

pub(super) async fn list(State(shared): Api) -> Json<Value> {
    let state = shared.state();
    let metadata = &state.pipeline.metadata;
    Json(json!({ "pipelines": [{ "namespace": metadata.namespace, "name": metadata.name }] }))
}

pub(super) async fn one(
    State(shared): Api,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<PipelineView>, Problem> {
    let view = shared.state().view();
    if (view.namespace.as_str(), view.name.as_str()) != (namespace.as_str(), name.as_str()) {
        return Err(Problem::not_found(format!("there is no pipeline {namespace}/{name}: see /api/v1/pipelines")));
    }
    Ok(Json(view))
}
