//! The node's HTTP API, on loopback: what components have, and how they are scaled.

use std::collections::BTreeMap;
use std::future::Future;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State as Shared};
use axum::routing::{get, put};
use axum::{Json, Router};
use forebay_shared::problem::Problem;
use serde::Serialize;
use tokio::net::TcpListener;

use super::{Component, State, Target};

/// The answer to `GET /v1/components`.
#[derive(Serialize)]
struct Components {
    components: BTreeMap<&'static str, State>,
}

/// Answers until `stop`.
///
/// # Errors
/// If the listener fails.
pub(in crate::demo) async fn serve(
    listener: TcpListener,
    components: Vec<Component>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes(components)).with_graceful_shutdown(stop).await
}

fn routes(components: Vec<Component>) -> Router {
    Router::new().route("/v1/components", get(list)).route("/v1/components/{name}", put(scale)).with_state(components)
}

async fn list(Shared(components): Shared<Vec<Component>>) -> Result<Json<Components>, Problem> {
    let mut states = BTreeMap::new();
    for component in &components {
        states.insert(component.name(), component.state().await.ok_or_else(stopping)?);
    }
    Ok(Json(Components { components: states }))
}

async fn scale(
    Shared(components): Shared<Vec<Component>>,
    Path(name): Path<String>,
    target: Result<Json<Target>, JsonRejection>,
) -> Result<Json<State>, Problem> {
    let component = components.iter().find(|component| component.name() == name).ok_or_else(|| {
        let names: Vec<&str> = components.iter().map(Component::name).collect();
        Problem::not_found(format!("`{name}` is no component: there are {names:?}"))
    })?;
    let Json(target) = target.map_err(|rejection| {
        let detail = rejection.body_text();
        let field = if detail.contains("cpu:") { "cpu" } else { "replicas" };
        Problem::bad(field, format!("{detail}; expected such as {{\"replicas\":3,\"cpu\":\"100m\"}}"))
    })?;
    component.scale(target).await.map(Json).ok_or_else(stopping)
}

fn stopping() -> Problem {
    Problem::unavailable("the demo is stopping", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    async fn ask(method: &str, path: &str, body: &str) -> (StatusCode, serde_json::Value) {
        let component = Component::fake("ingest", 2);
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = routes(vec![component]).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_component_is_scaled_and_tells_its_new_state() {
        let (status, state) = ask("PUT", "/v1/components/ingest", r#"{"replicas":3,"cpu":"0.25"}"#).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(state, serde_json::json!({"replicas": 3, "ready": 2, "cpu": "250m"}));
    }

    #[tokio::test]
    async fn all_components_are_told() {
        let (status, all) = ask("GET", "/v1/components", "").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(all, serde_json::json!({"components": {"ingest": {"replicas": 2, "ready": 2, "cpu": "100m"}}}));
    }

    #[tokio::test]
    async fn what_is_out_of_bounds_is_refused_by_its_field() {
        for (path, body, status, says) in [
            ("extract", r#"{"replicas":3,"cpu":"100m"}"#, 404, "`extract` is no component: there are [\"ingest\"]"),
            ("ingest", r#"{"replicas":0,"cpu":"100m"}"#, 400, "expected 1 to 32"),
            ("ingest", r#"{"replicas":33,"cpu":"100m"}"#, 400, "expected 1 to 32"),
            ("ingest", r#"{"replicas":3,"cpu":"5m"}"#, 400, "expected 10m to 1000m"),
            ("ingest", r#"{"replicas":3,"cpu":"lots"}"#, 400, "`lots` is not a CPU quantity"),
            ("ingest", r#"{"replicas":3}"#, 400, "missing field `cpu`"),
            ("ingest", "nonsense", 400, "expected such as"),
        ] {
            let (found, problem) = ask("PUT", &format!("/v1/components/{path}"), body).await;
            let detail = problem["detail"].as_str().unwrap();
            assert!(found == status && detail.contains(says), "{body}: {found} {detail}");
        }
    }
}
