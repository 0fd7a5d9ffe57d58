//! A demo from its start to its summary.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use forebay_shared::{BootId, Timestamp};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::children::Supervised;
use super::client::Aggregator;
use super::limiter::Limiter;
use super::manifest::{self, Tokens};
use super::node;
use super::recording::Recording;
use super::replay::Replay;
use super::stand::{Site, Stand};
use super::summary::{self, Conditions, Summary};
use super::terminal::{self, Terminal, View};
use super::worker::Stage;
use super::workload::{self, Part, Workload};

/// The page's usual port.
const USUAL_PORT: u16 = 9400;
/// How long the aggregator may take to start.
const AGGREGATOR_START: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest body of recorded frames that is sent at once, bytes.
const SEND_AT_ONCE: usize = 256 << 10;
/// At the end, batches that are on their way may come out for so long.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs a demo; gives its summary.
pub(super) async fn play(args: &Args, site: &Site, terminal: &mut Terminal) -> anyhow::Result<Summary> {
    let started_at = Timestamp::now();
    if site.run.join("history.sqlite").exists() {
        bail!("--dir {}: it holds the history of another run; expected a new or empty directory", site.run.display());
    }
    if let Some(file) = &args.json {
        fs::write(file, "").with_context(|| format!("cannot write the summary to {}", file.display()))?;
    }
    let limiter = Limiter::set_up(args.limiter, &site.run)?;
    let described = limiter.describe();
    let workload = Workload::new(args.seed, args.malformed)?;
    let address = page_address(args.listen).await?;
    let tokens = Tokens::draw();
    Tokens::write(&tokens, &site.run.join("agents.json"))?;
    fs::write(site.run.join("pipeline.yaml"), manifest::text(site.clock.objective()))
        .context("cannot write the manifest")?;

    let mut targets = Vec::new();
    for stage in Stage::ALL {
        targets.push(manifest::start(stage)?);
    }
    let targets = targets.try_into().map_err(|_| anyhow::anyhow!("expected a target a stage"))?;
    let platform = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let node_address = platform.local_addr()?;
    let mut stand = Stand::start(site, limiter, targets).await?;
    let stop = CancellationToken::new();
    tokio::spawn(node::serve(platform, stand.components.clone(), stop.clone().cancelled_owned()));

    let aggregator = Aggregator::new(format!("http://{address}"));
    terminal.print(&banner(site, &described, aggregator.base()));
    let server =
        Supervised::start(site.program("aggregator", serve_args(site, address, node_address)), site.notices.clone());
    let outcome = async {
        let start = async {
            wait_for(&aggregator, &server).await?;
            terminal.print("aggregator ready; sending it the recorded history");
            let sent = send_history(site, &aggregator, &tokens).await?;
            stand.start_agents(aggregator.base(), &tokens).await?;
            anyhow::Ok(sent)
        };
        let sent = tokio::select! {
            sent = start => sent?,
            () = site.stopped.cancelled() => bail!("stopped before the replay began"),
        };
        terminal.print(&format!("{sent} recorded frames sent, agents ready; the replay starts"));
        let replay = Replay::start(workload, Part::Replay, site.clock.speed(), true, stand.entry.clone());
        let length = watch(args, &site.stopped, &stand, &replay, &aggregator, &server, terminal).await;
        replay.stop().await;
        stand.drain(replay.put(), DRAIN).await;
        terminal.print_notices();
        let speed = site.clock.speed();
        let aggregator_restarts = server.restarts();
        let conditions = Conditions { speed, started_at, length, limiter: described, aggregator_restarts };
        summary::gather(conditions, &stand, &replay, &aggregator).await
    };
    let outcome = outcome.await;
    stand.stop_agents().await;
    server.stop().await;
    stop.cancel();
    stand.stop().await;
    terminal.print_notices();
    outcome
}

/// Shows how things are until the time is over or somebody wants it to stop; gives the time that has passed.
async fn watch(
    args: &Args,
    stopped: &CancellationToken,
    stand: &Stand,
    replay: &Replay,
    aggregator: &Aggregator,
    server: &Supervised,
    terminal: &mut Terminal,
) -> Duration {
    let start = Instant::now();
    let end = sleep_until(start + Duration::from_secs_f64(args.minutes * 60.0));
    tokio::pin!(end);
    let mut look = interval(terminal.pace());
    loop {
        tokio::select! {
            () = &mut end => break,
            () = stopped.cancelled() => {
                terminal.print("stopping: the summary follows");
                break;
            }
            _ = look.tick() => {
                let pipeline = aggregator.pipeline().await.ok();
                terminal.show(&View {
                    elapsed: start.elapsed(),
                    trace_seconds: workload::SPLIT_SECONDS as u64 + replay.seconds(),
                    put: replay.put(),
                    out: stand.sink.batches(),
                    failed: stand.components.iter().map(|component| component.accounts.lock().failed).sum(),
                    components: stand.components.iter().map(|it| (it.name(), it.accounts.lock().now)).collect(),
                    pipeline,
                    restarts: server.restarts(),
                });
            }
        }
    }
    start.elapsed()
}

fn banner(site: &Site, limiter: &str, page: &str) -> String {
    let clock = site.clock;
    format!(
        "Forebay demo: ingest → transform → load, an agent each, and the aggregator, on this machine\n\
         workload   {}; what was said is made up\n\
         speed      {} times life: step {:?}, start-up of a worker {:?}, objective {:?}\n\
         CPU        {limiter}\n\
         page       {page}/\n\
         run        {} (logs in logs/)\n",
        workload::ORIGIN,
        clock.speed(),
        clock.step(),
        clock.start_up(),
        clock.objective(),
        site.run.display(),
    )
}

/// The page's usual address if it is free, else any; or the one that was asked for.
async fn page_address(asked: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_PORT));
    let listener = match asked {
        Some(address) => listen(address).await?,
        None => match listen(usual).await {
            Ok(listener) => listener,
            Err(_) => listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?,
        },
    };
    // Given back for the aggregator to take.
    Ok(listener.local_addr()?)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn serve_args(site: &Site, address: SocketAddr, node: SocketAddr) -> Vec<String> {
    let text = |name: &str| path(&site.run.join(name));
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let args = [
        ("--listen", address.to_string()),
        ("--store", text("history.sqlite")),
        ("--pipeline", text("pipeline.yaml")),
        ("--agents", text("agents.json")),
        ("--orchestrator", format!("local=http://{node}")),
        ("--step", millis(site.clock.step())),
        ("--lead", millis(site.clock.start_up())),
        ("--retrain", millis(site.clock.retrain())),
    ];
    let flags = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    ["serve".to_owned()].into_iter().chain(flags).chain(["--exit-with-stdin".to_owned()]).collect()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Waits until the aggregator is ready.
async fn wait_for(aggregator: &Aggregator, server: &Supervised) -> anyhow::Result<()> {
    let deadline = Instant::now() + AGGREGATOR_START;
    while !aggregator.is_ready().await {
        if server.restarts() > 0 {
            bail!("the aggregator ended at its start; {}", server.log_tail());
        }
        if Instant::now() > deadline {
            bail!("the aggregator is not ready after {AGGREGATOR_START:?}; {}", server.log_tail());
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Sends the committed recording through the aggregator's ingest, as of now; gives the number of frames.
async fn send_history(site: &Site, aggregator: &Aggregator, tokens: &[Tokens]) -> anyhow::Result<usize> {
    let recording = Recording::committed()?;
    let now = Timestamp::now();
    let mut sent = 0;
    for tokens in tokens {
        let boot = BootId(fastrand::u128(..));
        let frames = recording.retimed(tokens.stage, now, site.clock.speed(), boot)?;
        sent += frames.len();
        let mut body = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            body.extend_from_slice(frame);
            if body.len() > SEND_AT_ONCE || at + 1 == frames.len() {
                let body = std::mem::take(&mut body);
                aggregator.observe(&tokens.recorded, body).await.context("cannot send the recorded history")?;
            }
        }
    }
    Ok(sent)
}

/// Says the summary.
pub(super) fn conclude(args: &Args, summary: &Summary, terminal: &mut Terminal) -> anyhow::Result<()> {
    terminal.print(&format!("\n{}", summary::print(summary, terminal::width())));
    if let Some(file) = &args.json {
        let text = serde_json::to_vec_pretty(summary)?;
        fs::write(file, text).with_context(|| format!("cannot write the summary to {}", file.display()))?;
    }
    Ok(())
}
