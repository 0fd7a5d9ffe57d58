//! The agent's own HTTP server: is it alive, is it ready, how is it, what has it counted; and the push tap.
//!
//! It has a thread and a runtime of its own, so that whoever asks how the agent is gets an answer however busy the
//! agent is. What belongs to the tap is handed to the agent's own runtime, where its timers and its work are; only the
//! bytes pass through here.
//!
//! `/livez` fails when a loop of the agent has made no turn for minutes: only a restart helps then. `/readyz` fails
//! while a part does not work: what is sampled, where taps listen, to whom they forward.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forebay_shared::health::Health;
use forebay_shared::problem::{self, Problem};
use forebay_shared::serve::{Counters, Limits, Server};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::{self, Tap};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A component may push many batches at a time; probes and scrapers need a few connections.
const LIMITS: Limits = Limits {
    connections: 320,
    per_peer: 256,
    handshakes: 0,
    handshake: Duration::ZERO,
    head: Duration::from_secs(30),
    grace: Duration::from_secs(1),
};
/// Encoding metrics and parsing heads take less than half of it.
const STACK: usize = 512 << 10;

/// What the server tells of.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) health: Health,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    pub(crate) buffer: Buffer,
    pub(crate) tap: Option<Tap>,
}

/// Serves on a thread of its own until `stop`; gives what tells of its end, and why.
pub(crate) fn start(
    listener: TcpListener,
    facts: Facts,
    counters: Counters,
    stop: CancellationToken,
) -> std::io::Result<oneshot::Receiver<String>> {
    let app = routes(facts, Handle::current());
    let (ended, told) = oneshot::channel();
    let serve = move || {
        let why = serve(listener, app, counters, stop).map_or_else(|error| error.to_string(), |()| "it ended".into());
        let _ = ended.send(why);
    };
    std::thread::Builder::new().name("server".into()).stack_size(STACK).spawn(serve)?;
    Ok(told)
}

fn serve(listener: TcpListener, app: Router, counters: Counters, stop: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    runtime.block_on(async {
        let server = Server::new(tokio::net::TcpListener::from_std(listener)?);
        server.limits(LIMITS).counters(counters).run(app, stop).await;
        Ok(())
    })
}

/// All routes; the tap's run on `agent`.
fn routes(facts: Facts, agent: Handle) -> Router {
    let hand_over = move |request: Request, next: Next| {
        let answer = agent.spawn(next.run(request));
        async move {
            answer.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a request to the tap ended without an answer");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the agent failed; the batch may not be recorded")
                    .into_response()
            })
        }
    };
    let tap = facts.tap.clone().map(tap::routes).unwrap_or_default().layer(from_fn(hand_over));
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(facts)
        .merge(tap)
        .fallback(unknown)
        .layer(from_fn(problem::uniform))
}

async fn livez(State(facts): State<Facts>) -> Result<&'static str, Problem> {
    let stalled = facts.health.stalled();
    let told: Vec<String> = stalled
        .iter()
        .map(|(name, silent)| format!("the {name} has made no turn for {} s", silent.as_secs()))
        .collect();
    if told.is_empty() { Ok("ok") } else { Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, told.join("; "))) }
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
    let (bytes, frames) = facts.buffer.spilled();
    facts.metrics.buffer_spill_bytes.set(bytes as i64);
    facts.metrics.buffer_spill_frames.set(frames as i64);
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

#[cfg(test)]
mod tests;
