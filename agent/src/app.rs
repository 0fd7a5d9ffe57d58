//! The agent, wired: the one place that spawns.
//!
//! ```text
//! sampler ──► buffer ◄── tap ◄── server
//!                └──► shipper
//! ```

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use forebay_shared::Timestamp;
use forebay_shared::health::Health;
use forebay_shared::serve::Counters;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, Config};
use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::sampler::{self, Sampler, Sink};
use crate::server::{self, Facts};
use crate::shipper::{self, Shipper};
use crate::tap::Tap;
use crate::telemetry;

/// Threads for the inspection of large batches and for looking up names.
const BLOCKING_THREADS: usize = 2;
/// Time for requests under way when the agent stops, of which the server gives one second; the shipper's own comes
/// after it.
const GRACE: Duration = Duration::from_millis(1500);

/// Runs the agent as a program does: with its log, its own small runtime, and until it is told to stop.
pub fn main(args: Args) -> ExitCode {
    telemetry::start(args.log_format);
    match supervise(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the agent cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn supervise(args: Args) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    let runtime = runtime.context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let shutdown = shutdown(args.exit_with_stdin)?;
        run(args, shutdown).await
    });
    // A thread may still look up a name: it holds nothing that matters.
    runtime.shutdown_background();
    ended
}

/// Runs the agent until `shutdown`, then ships what is left, for 3 s at most.
///
/// # Errors
/// If the flags are wrong, the address cannot be bound, or a part of the agent ends that must not.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    App::build(args.try_into()?)?.run(shutdown).await
}

struct App {
    config: Config,
    listener: TcpListener,
    sampler: Sampler,
    shipper: Shipper,
    sink: Sink,
    facts: Facts,
    connections: Counters,
}

impl App {
    fn build(config: Config) -> anyhow::Result<Self> {
        let (mut registry, metrics) = Metrics::new();
        let connections = Counters::register("server", &mut registry);
        let health = Health::new(&["sampler", "shipper"], Timestamp::now());
        let buffer = Buffer::with_spill(config.buffer, config.spill.clone(), metrics.clone());
        let buffer = buffer.context("cannot start the thread of the spill")?;
        let tap = config.push.then(|| Tap::new(buffer.clone(), metrics.clone()));
        let shipper = Shipper::new(buffer.clone(), config.way.clone(), health.clone(), metrics.clone());
        let sampler = Sampler::new(config.sampled.clone());
        let listener = TcpListener::bind(config.listen);
        let listener = listener.with_context(|| format!("cannot listen on {}: is it taken?", config.listen))?;
        Ok(Self {
            listener,
            sampler,
            shipper,
            sink: Sink { buffer: buffer.clone(), tap: tap.clone(), health: health.clone(), metrics: metrics.clone() },
            facts: Facts { health, registry: Arc::new(registry), metrics, buffer, tap },
            connections,
            config,
        })
    }

    async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { config, listener, sampler, shipper, sink, facts, connections } = self;
        let (stop, drain) = (CancellationToken::new(), CancellationToken::new());
        let address = listener.local_addr().context("cannot tell the address that was bound")?;
        let served = server::start(listener, facts, connections, stop.clone()).context("cannot start the server")?;

        let mut parts = JoinSet::new();
        parts.spawn(async { ("server", served.await.unwrap_or_else(|_| "its thread panicked".into())) });
        let sample = sampler::run(sampler, config.interval, sink, stop.clone());
        parts.spawn(async { (sample.await, ("sampler", "it ended".to_owned())).1 });
        let mut ship = tokio::spawn(shipper::run(shipper, drain.clone()));
        announce(address, config.address_file.as_deref())?;

        tokio::select! {
            () = shutdown => {}
            Some(ended) = parts.join_next() => {
                let (part, why) = ended.context("a part of the agent panicked")?;
                bail!("the {part} stopped by itself: {why}");
            }
            ended = &mut ship => {
                ended.context("the shipper panicked")?;
                bail!("the shipper stopped by itself");
            }
        }
        tracing::info!("stopping");
        stop.cancel();
        // Requests that take longer are cut: their batches were not acknowledged.
        let _ = timeout(GRACE, async { while parts.join_next().await.is_some() {} }).await;
        drain.cancel();
        ship.await.context("the shipper panicked")
    }
}

/// Tells where the agent listens, in the log and in a file that is there whole or not at all.
fn announce(address: SocketAddr, file: Option<&Path>) -> anyhow::Result<()> {
    tracing::info!(%address, "listening");
    let Some(file) = file else { return Ok(()) };
    let half = file.with_extension("tmp");
    let written = std::fs::write(&half, address.to_string()).and_then(|()| std::fs::rename(&half, file));
    written.with_context(|| format!("cannot write --address-file `{}`: expected a path to create", file.display()))
}

/// Returns what ends the agent: SIGTERM, SIGINT, or the end of standard input where that was asked for.
fn shutdown(with_stdin: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stdin = with_stdin.then(stdin_closes).transpose()?;
    Ok(async move {
        let stdin_closed = async {
            match stdin {
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closed => {}
        }
    })
}

/// A thread of its own: a read of standard input cannot be given up, and would hold the runtime.
pub fn stdin_closes() -> anyhow::Result<oneshot::Receiver<()>> {
    let (closed, told) = oneshot::channel();
    let wait = move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    };
    std::thread::Builder::new().name("stdin".into()).spawn(wait).context("cannot watch the standard input")?;
    Ok(told)
}

#[cfg(test)]
mod tests;
