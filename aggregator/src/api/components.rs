//! `/api/v1/components`: profiles, and what lies below each.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use forebay_shared::problem::Problem;
use forebay_shared::{ComponentId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use crate::app::Shared;
use crate::history::{Extent, HistoryError};
use crate::live::Component;
use crate::view::{ForecastsView, HistoryExtent, Profile};

/// Namespace, kind, name, container.
pub(super) type ComponentPath = (String, String, String, String);

/// Decisions told where the request does not say how many.
const DECISIONS: usize = 100;
/// The most decisions told.
const MOST_DECISIONS: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Include {
    include: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Range {
    from: Option<u64>,
    to: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// Text of a query whose parameters do not read.
type Params<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

pub(super) async fn list(State(shared): Api) -> Result<Json<Value>, Problem> {
    let extents = blocking(&shared, |shared| shared.history.extents()).await?;
    let state = shared.state();
    let profile_of = |component| profile_view(component, extents.get(&component.id).copied().unwrap_or_default());
    let profiles: Vec<Profile> = state.components.iter().map(profile_of).collect();
    drop(state);
    Ok(Json(json!({ "components": profiles })))
}

pub(super) async fn profile(
    State(shared): Api,
    Path(path): Path<ComponentPath>,
    include: Params<Include>,
) -> Result<Json<Profile>, Problem> {
    let id = known(&shared, path)?;
    let Query(Include { include }) = include.map_err(|error| Problem::bad("include", error.body_text()))?;
    let mut profile = read_profile(&shared, &id).await?;
    match include.as_deref() {
        None => {}
        Some("history") => {
            profile.historical_data.series =
                with(&shared, &id, |component| component.history_view(None, Timestamp::now()));
        }
        Some(other) => return Err(Problem::bad("include", format!("`{other}` is not known: expected `history`"))),
    }
    Ok(Json(profile))
}

pub(super) async fn forecast(
    State(shared): Api,
    Path(path): Path<ComponentPath>,
    range: Params<Range>,
) -> Result<Json<ForecastsView>, Problem> {
    let id = known(&shared, path)?;
    let from = Timestamp(times(range)?.from.unwrap_or(0));
    let view = with(&shared, &id, |component| component.forecasts_view(from));
    view.map(Json).ok_or_else(|| Problem::not_found(format!("there is no component {id}")))
}

pub(super) async fn decisions(
    State(shared): Api,
    Path(path): Path<ComponentPath>,
    limit: Params<Limit>,
) -> Result<Json<Value>, Problem> {
    let id = known(&shared, path)?;
    let Query(Limit { limit }) = limit
        .map_err(|error| Problem::bad("limit", format!("expected a number of decisions: {}", error.body_text())))?;
    let limit = limit.unwrap_or(DECISIONS).min(MOST_DECISIONS);
    let decisions = blocking(&shared, move |shared| shared.history.decisions(&id, limit)).await?;
    Ok(Json(json!({ "decisions": decisions })))
}

pub(super) async fn models(State(shared): Api, Path(path): Path<ComponentPath>) -> Result<Json<Value>, Problem> {
    let id = known(&shared, path)?;
    let models = blocking(&shared, move |shared| shared.history.models(&id)).await?;
    let view = |(at, model): (usize, crate::history::StoredModel)| {
        json!({
            "kind": model.kind, "version": model.version, "trainedAt": model.trained_at, "active": at == 0,
            "confidence": model.confidence, "backtestScores": model.scores, "bytes": model.weights.len(),
        })
    };
    Ok(Json(json!({ "models": models.into_iter().enumerate().map(view).collect::<Vec<_>>() })))
}

/// The next tick trains it; a training under way is not repeated.
pub(super) async fn retrain(State(shared): Api, Path(path): Path<ComponentPath>) -> Result<StatusCode, Problem> {
    let id = known(&shared, path)?;
    let mut state = shared.state();
    if let Some(at) = state.place(&id) {
        state.components[at].train_after = Timestamp(0);
    }
    Ok(StatusCode::ACCEPTED)
}

async fn read_profile(shared: &Arc<Shared>, id: &ComponentId) -> Result<Profile, Problem> {
    let of = id.clone();
    let extent = blocking(shared, move |shared| shared.history.extent(&of)).await?;
    let profile = with(shared, id, |component| profile_view(component, extent));
    profile.ok_or_else(|| Problem::not_found(format!("there is no component {id}")))
}

fn profile_view(component: &Component, extent: Extent) -> Profile {
    Profile {
        component: component.id.clone(),
        resource_model: component.model_view(),
        historical_data: extent_view(&component.id, &extent),
        current_allocation: component.allocation_view(),
        feedback: component.feedback.view(),
    }
}

fn extent_view(id: &ComponentId, extent: &Extent) -> HistoryExtent {
    let links = ["history", "forecast", "decisions", "models"];
    let links: BTreeMap<_, _> =
        links.iter().map(|name| ((*name).to_owned(), format!("/api/v1/components/{id}/{name}"))).collect();
    HistoryExtent {
        from: extent.from,
        to: extent.to,
        samples: extent.samples,
        batches: extent.batches,
        links,
        series: None,
    }
}

fn times(range: Params<Range>) -> Result<Range, Problem> {
    let expected = "expected milliseconds since the epoch";
    let Query(range) = range.map_err(|error| Problem::bad("from, to", format!("{expected}: {}", error.body_text())))?;
    match (range.from, range.to) {
        (Some(from), Some(to)) if from > to => Err(Problem::bad("from", format!("{from} is after `to`, {to}"))),
        _ => Ok(range),
    }
}

pub(super) fn known(
    shared: &Shared,
    (namespace, kind, name, container): (String, String, String, String),
) -> Result<ComponentId, Problem> {
    let id = ComponentId { namespace, kind, name, container };
    match shared.state().place(&id) {
        Some(_) => Ok(id),
        None => Err(Problem::not_found(format!("there is no component {id}: see /api/v1/components"))),
    }
}

/// Reads a component's live state.
pub(super) fn with<T>(shared: &Shared, id: &ComponentId, read: impl FnOnce(&Component) -> T) -> Option<T> {
    let state = shared.state();
    Some(read(&state.components[state.place(id)?]))
}

pub(super) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&Shared) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Problem> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || read(&shared)).await.map_err(internal)?.map_err(internal)
}

pub(super) fn internal(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a request failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
