//! Wires the aggregator together; this file alone spawns.
//!
//! ```text
//! agents ─► ingest ─► history
//!              └────► receive ─► State ◄─ tick ─► orchestrator
//!                                  ▲        │
//!                       trainer ◄──┴────────┘      API and page read State and history
//! ```

mod rebuild;
mod tick;
mod upkeep;

use std::future::Future;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use forebay_shared::Timestamp;
use forebay_shared::health::{self, Health};
use forebay_shared::problem::{self, Problem};
use forebay_shared::serve::{Counters, Limits, Server};
use forebay_shared::tls::ServerTls;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::api;
use crate::args::{ServeArgs, Target};
use crate::history::History;
use crate::identity::Tokens;
use crate::ingest::{self, Ingest, Received};
use crate::live::{Pace, State};
use crate::metrics::Metrics;
use crate::orchestrator::{DryRun, Local, Observed, Orchestrator};
use crate::pipeline::Pipeline;

/// Appends on their way from ingest to live state: each is a few kilobytes, and the receiver is as fast as memory.
const RECEIVED: usize = 256;
/// Events that a slow browser may lag behind before it misses some: a minute of ticks and decisions.
const EVENTS: usize = 256;
/// Files beside those of connections: the history's and the orchestrator's.
const OWN_FILES: u64 = 256;
/// What open requests have to end after a shutdown was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// What the tasks and the API share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) history: History,
    pub(crate) health: Health,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Registry,
    /// Cancelled when the aggregator is to end.
    pub(crate) stop: CancellationToken,
    rebuilt: AtomicBool,
}

/// Something that the page wants to know at once.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    pub(crate) data: String,
}

impl Shared {
    /// The live state; held for the work of one component, never across an await. A tick takes it again and
    /// again: those who wait come in between, since a lock of `parking_lot` is passed on fairly each half a millisecond or so.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn publish(&self, name: &'static str, data: &impl serde::Serialize) {
        // Nobody listening is fine.
        let _ = serde_json::to_string(data).map(|data| self.events.send(Event { name, data }));
    }
}

/// The aggregator, checked and ready to run.
pub(crate) struct App {
    shared: Arc<Shared>,
    orchestrator: Box<dyn Orchestrator>,
    ingest: Ingest,
    received: mpsc::Receiver<Received>,
    listen: std::net::SocketAddr,
    tls: Option<ServerTls>,
    connections: Counters,
    limits: Limits,
    address_file: Option<PathBuf>,
    exit_with_stdin: bool,
}

impl App {
    /// Reads and checks everything before any port is bound.
    pub(crate) fn build(args: ServeArgs) -> anyhow::Result<Self> {
        let pipeline = Pipeline::load(&args.pipeline)?;
        let tokens = Arc::new(Tokens::load(&args.agents)?);
        let pace = Pace { step: args.step, lead_prior: args.lead, retrain: args.retrain };
        let state = State::new(pipeline, pace)?;
        let orchestrator = orchestrator(&args.orchestrator, &state)?;
        let history = History::open_with(&args.store, args.keep.into())?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        history.register(&mut registry);
        let (live, received) = mpsc::channel(RECEIVED);
        let ingest = Ingest::new(tokens, history.clone(), live, &mut registry);
        let connections = Counters::register("forebay_server", &mut registry);
        let files = args.tls_certificate.as_deref().zip(args.tls_key.as_deref());
        let tls = files.map(|(certificate, key)| ServerTls::new(certificate, key)).transpose();
        let tls = tls.map_err(anyhow::Error::msg).context("--tls-certificate and --tls-key")?;
        let health = Health::new(&["history", "live", "orchestrator", "planner"], Timestamp::now());
        let (events, _) = broadcast::channel(EVENTS);
        let shared = Shared {
            state: Mutex::new(state),
            history,
            health,
            events,
            metrics,
            registry,
            stop: CancellationToken::new(),
            rebuilt: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            orchestrator,
            ingest,
            received,
            listen: args.listen,
            tls,
            connections,
            limits: limits(args.max_connections),
            address_file: args.address_file,
            exit_with_stdin: args.exit_with_stdin,
        })
    }

    /// Runs until `shutdown`, or until a part that it cannot do without ends.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.with_context(|| format!("--listen {}: cannot listen there", self.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        tracing::info!(%address, "listening");
        if let Some(path) = &self.address_file {
            write_whole(path, &address.to_string())?;
        }
        let stop = self.shared.stop.clone();
        let mut tasks = JoinSet::new();
        let gate = from_fn_with_state(self.shared.clone(), once_rebuilt);
        let routes = api::router(self.shared.clone()).merge(ingest::router(self.ingest).layer(gate));
        let server = Server::new(listener).tls(self.tls).counters(self.connections).limits(self.limits);
        tasks.spawn(serve(server, routes.layer(from_fn(problem::uniform)), stop.clone()));
        rebuild::rebuild(&self.shared).await?;
        self.shared.rebuilt.store(true, Ordering::Release);
        tasks.spawn(receive(self.shared.clone(), self.received, stop.clone()));
        tasks.spawn(tick::run(self.shared.clone(), self.orchestrator, stop.clone()));
        tasks.spawn(upkeep::run(self.shared.clone(), stop.clone()));

        let stdin = self.exit_with_stdin;
        let closes = if stdin { Some(forebay_agent::stdin_closes()?) } else { None };
        let stdin_closed = async {
            if let Some(closes) = closes {
                drop(closes.await)
            }
        };
        let ended = tokio::select! {
            () = shutdown => None,
            () = stdin_closed, if stdin => None,
            ended = tasks.join_next() => ended,
        };
        stop.cancel();
        let rest = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, rest).await;
        let history = self.shared.history.clone();
        tokio::task::spawn_blocking(move || history.close()).await.context("closing the history")?;
        match ended {
            None => Ok(()),
            Some(ended) => {
                ended.context("a task panicked")?.and_then(|()| anyhow::bail!("a task ended before its time"))
            }
        }
    }
}

/// Each connection is a file of the process; more than the usual 1,024 have to be asked for.
fn limits(connections: u32) -> Limits {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(connections) + OWN_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| needed.min(maximum));
        let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        if set.is_err() || raised < needed {
            tracing::warn!(needed, raised, "fewer files may be open than --max-connections needs: raise `ulimit -n`");
        }
    }
    let connections = connections as usize;
    Limits { connections, per_peer: (connections / 4).max(16), ..Limits::default() }
}

fn orchestrator(target: &Target, state: &State) -> anyhow::Result<Box<dyn Orchestrator>> {
    let ids = state.components.iter().map(|component| component.id.clone());
    Ok(match target {
        Target::Local(url) => Box::new(Local::new(url, ids)?),
        Target::DryRun(Some(url)) => Box::new(DryRun::over(Box::new(Local::new(url, ids)?))),
        Target::DryRun(None) => {
            let declared = state.components.iter().map(|component| {
                let allocation = component.declared();
                (component.id.clone(), Observed { allocation, ready: allocation.replicas })
            });
            Box::new(DryRun::declared(declared.collect()))
        }
    })
}

/// Frames that came while the history is read would be read, and then received again.
async fn once_rebuilt(
    axum::extract::State(shared): axum::extract::State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if shared.rebuilt.load(Ordering::Acquire) {
        return next.run(request).await;
    }
    Problem::unavailable("the history is being read after a start: frames are taken when that is done", 1)
        .into_response()
}

async fn serve(server: Server, routes: axum::Router, stop: CancellationToken) -> anyhow::Result<()> {
    server.run(routes, stop).await;
    Ok(())
}

/// Frames that are durable go into the live state.
async fn receive(
    shared: Arc<Shared>,
    mut received: mpsc::Receiver<Received>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            next = received.recv() => next,
        };
        let Some(Received { pod, frames }) = next else { return Ok(()) };
        let mut state = shared.state();
        for frame in frames {
            state.receive(&pod.component, &pod.uid, frame.boot, &frame.content);
        }
        MutexGuard::unlock_fair(state);
    }
}

/// Logs to standard error.
pub(crate) fn telemetry() {
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(lines.with_filter(forebay_shared::log::filter())).try_init();
}

/// SIGTERM or SIGINT.
pub(crate) async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A reader sees the whole file or none.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Sets a part's health.
pub(crate) fn set_health(shared: &Shared, part: &'static str, outcome: Result<(), String>) {
    let (state, detail) = match outcome {
        Ok(()) => (health::State::Ok, String::new()),
        Err(detail) => (health::State::Degraded, detail),
    };
    shared.health.set(part, state, detail, Timestamp::now());
}
