//! Records the history that the demo trains on: the workload's first part goes through the real pipeline with ample,
//! unchanging replicas, watched by the real agents.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_shared::{Millicores, Timestamp};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::limiter::Limiter;
use super::manifest::Tokens;
use super::node::Target;
use super::recorder::Recorder;
use super::recording::{Given, Header, Recording};
use super::replay::Replay;
use super::stand::{Site, Stand};
use super::terminal::Terminal;
use super::worker::Stage;
use super::workload::{Part, Workload};

/// What each stage has: more than it ever needs.
const AMPLE: [Target; 3] = [
    Target { replicas: 1, cpu: Millicores(600) },
    Target { replicas: 8, cpu: Millicores(150) },
    Target { replicas: 4, cpu: Millicores(150) },
];
/// At the end, batches that are on their way may come out for so long.
const DRAIN: Duration = Duration::from_secs(10);

/// Records to `file`.
pub(super) async fn record(args: &Args, site: &Site, file: &Path, terminal: &mut Terminal) -> anyhow::Result<()> {
    let limiter = Limiter::set_up(args.limiter, &site.run)?;
    let described = limiter.describe();
    terminal.print(&format!("recording to {}; CPU {described}", file.display()));
    let tokens = Tokens::draw();
    let recorder = Recorder::new(tokens.iter().map(|tokens| tokens.live.clone()).zip(0..).collect::<HashMap<_, _>>());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
    let aggregator = format!("http://{}", listener.local_addr()?);
    let routes = recorder.routes();
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let workload = Workload::new(args.seed, false)?;
    let mut stand = Stand::start(site, limiter, AMPLE).await?;
    let outcome = async {
        stand.start_agents(&aggregator, &tokens).await?;
        let start = Instant::now();
        let replay = Replay::start(workload, Part::History, site.clock.speed(), false, stand.entry.clone());
        watch(&site.stopped, &stand, &replay, terminal).await?;
        stand.drain(replay.put(), DRAIN).await;
        let (ended_at, seconds) = (Timestamp::now(), start.elapsed().as_secs_f64());
        anyhow::Ok(Header {
            speed: site.clock.speed(),
            seconds,
            ended_at,
            seed: args.seed,
            components: given(),
            cores: available_parallelism().map_or(0, usize::from),
            limiter: described,
        })
    };
    let outcome = outcome.await;
    // The agents send what they still have before they go.
    stand.stop_agents().await;
    let used: Vec<f64> = stand.components.iter().map(|component| component.accounts.lock().used).collect();
    stand.stop().await;
    terminal.print_notices();
    let recording = Recording::joined(outcome?, &recorder.frames())?;
    let bytes = recording.write()?;
    fs::write(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    terminal.print(&format!(
        "{} frames, {} bytes; core-seconds used by {:?}: {used:.1?}",
        recording.frames.len(),
        bytes.len(),
        Stage::ALL.map(Stage::name),
    ));
    Ok(())
}

async fn watch(
    stopped: &CancellationToken,
    stand: &Stand,
    replay: &Replay,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut look = interval(terminal.pace());
    let ended = replay.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return Ok(()),
            () = stopped.cancelled() => bail!("stopped before the end: nothing is recorded"),
            _ = look.tick() => terminal.replace(&format!(
                "{:>4.0} s · minute {:.1} of the trace · batches in {}, out {}",
                start.elapsed().as_secs_f64(),
                replay.seconds() as f64 / 60.0,
                replay.put(),
                stand.sink.batches(),
            )),
        }
    }
}

fn given() -> BTreeMap<String, Given> {
    let given = |target: Target| Given { replicas: target.replicas, cpu: target.cpu.to_string() };
    Stage::ALL.into_iter().zip(AMPLE).map(|(stage, target)| (stage.name().to_owned(), given(target))).collect()
}
