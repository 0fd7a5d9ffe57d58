//! The demo: the whole real system on one machine, without a cluster and without root.
//!
//! ```text
//!              ┌── agent ──┐ ┌── agent ──┐ ┌── agent ──┐
//! workload ─►  │  ingest   ├►│ transform ├►│   load    ├─► output        a worker is a process
//!              └─────▲─────┘ └─────▲─────┘ └─────▲─────┘
//!                    └──── node: starts, stops, limits ◄── aggregator    a process, with its store
//! ```
//!
//! This process is the platform (the node), the way of the batches and the terminal; aggregator, agents and workers
//! are processes of their own, this program with other arguments. They end with it: each watches its stdin.
//! What a real platform adds in time, the start-up of a worker, is emulated; all else is what it seems.

mod children;
mod client;
mod clock;
mod limiter;
mod manifest;
mod node;
mod notices;
mod path;
mod queue;
mod record;
mod recorder;
mod recording;
mod replay;
mod run_directory;
mod session;
mod signal;
mod stand;
mod summary;
mod tap;
mod terminal;
mod text;
pub mod worker;
mod workload;

use std::env;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;

use self::clock::Clock;
use self::limiter::Choice;
use self::notices::Notices;
use self::run_directory::RunDirectory;
use self::stand::Site;
use self::terminal::Terminal;

/// How to run the demo.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long it runs; Ctrl-C ends it sooner.
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = positive)]
    minutes: f64,
    /// How many times faster than life: scales whatever has a clock.
    #[arg(long, value_name = "TIMES", default_value_t = 8.0, value_parser = speed)]
    speed: f64,
    /// Address of the page; port 9400 on loopback if it is free, else any.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where store, logs and output are kept; a directory that is removed at the end if left out.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the workload's texts are made from.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Where the summary is written to as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Plain lines, also on a terminal.
    #[arg(long)]
    plain: bool,
    /// What keeps workers to their share of a core.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    limiter: Choice,
    /// Records the history that models are trained on to a file, instead of running the demo.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Makes about one batch a minute of the workload malformed.
    #[arg(long, hide = true)]
    malformed: bool,
}

/// Runs the demo until its time is over or Ctrl-C.
///
/// # Errors
/// If a part of it can't be started, with what its log says.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stopped = signal::stops()?;
    let directory = RunDirectory::create(args.dir.as_deref())?;
    let (notices, receiver) = Notices::new();
    let log = File::create(directory.path().join("logs/demo.log")).context("cannot create the demo's log")?;
    let mut terminal = Terminal::new(args.plain, receiver, Some(log));
    let site = Site {
        run: directory.path().to_owned(),
        binary: env::current_exe().context("cannot find this program's own file")?,
        clock: Clock::new(args.speed),
        notices,
        stopped: stopped.clone(),
    };
    let outcome = match &args.record {
        Some(file) => record::record(&args, &site, file, &mut terminal).await,
        None => match session::play(&args, &site, &mut terminal).await {
            Ok(summary) => session::conclude(&args, &summary, &mut terminal),
            Err(error) => Err(error),
        },
    };
    if stopped.is_cancelled() {
        return outcome;
    }
    outcome.with_context(|| directory.keep())
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| *value > 0.0 && *value <= 1e6).ok_or("expected a number above 0, such as 3".into())
}

/// Agents sample each second of life, and not more often than each 20 ms.
fn speed(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value| (1.0..=40.0).contains(value)).ok_or("expected a number from 1 to 40".into())
}
