//! A running agent whose samples a test reads: the built program, and behind it the smallest aggregator there can be.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use forebay_shared::{Frame, ResourceSample, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{Running, program, until_some};

/// How long a sample may take to come: an emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(30);

type Samples = Arc<Mutex<Vec<ResourceSample>>>;

/// An agent that samples a cgroup, and what it has told so far.
#[derive(Debug)]
pub struct Agent {
    _program: Running,
    _aggregator: Runtime,
    samples: Samples,
}

impl Agent {
    /// Starts one; `cgroup` is as `--sampling cgroup=` wants it. Its first reading is taken when this returns: what
    /// happens from now on is sampled.
    ///
    /// # Errors
    /// The agent is not built, or tells nothing.
    pub fn start(cgroup: &Path, every: Duration) -> anyhow::Result<Self> {
        let samples = Samples::default();
        let (aggregator, url) = collect(samples.clone())?;
        let mut command = Command::new(program("forebay-agent")?);
        command.args(["--listen", "127.0.0.1:0", "--flush", "100ms", "--aggregator", &url]);
        command.args(["--interval", &format!("{}ms", every.as_millis())]);
        command.arg("--sampling").arg(format!("cgroup={}", cgroup.display()));
        command.env("FOREBAY_LOG", "warn").env("NO_COLOR", "1");
        let program = Running::start(command.stderr(Stdio::inherit()))?;
        let agent = Self { _program: program, _aggregator: aggregator, samples };
        agent.next()?;
        Ok(agent)
    }

    /// All samples so far, oldest first.
    pub fn samples(&self) -> Vec<ResourceSample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a sample that is taken after this call.
    ///
    /// # Errors
    /// None comes.
    pub fn next(&self) -> anyhow::Result<ResourceSample> {
        let now = Timestamp::now();
        let newest = || self.samples().pop().filter(|sample| sample.at > now);
        until_some(Instant::now() + PATIENCE, newest).context("the agent tells no samples")
    }
}

/// Takes observations as the aggregator does, and keeps their samples. Ends with the runtime.
fn collect(samples: Samples) -> anyhow::Result<(Runtime, String)> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("cannot start tokio")?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
    let url = format!("http://{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let listener = runtime.block_on(async { tokio::net::TcpListener::from_std(listener) })?;
    let routes = Router::new().route("/api/v1/observations", post(observe)).with_state(samples);
    runtime.spawn(async { axum::serve(listener, routes).await });
    Ok((runtime, url))
}

async fn observe(State(samples): State<Samples>, body: Bytes) -> Result<Json<Value>, StatusCode> {
    let frames = Frame::decode_all(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let accepted = frames.len();
    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
    samples.extend(frames.into_iter().flat_map(|frame| frame.content.samples));
    Ok(Json(json!({ "accepted": accepted, "duplicates": 0 })))
}
