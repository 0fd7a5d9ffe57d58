//! The command line of `forebay`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use forebay_shared::Bytes;

use crate::history::Keep;
use crate::{app, demo, history_cli};

/// Predictive autoscaler for data pipelines.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes in what agents send, forecasts, and scales.
    Serve(ServeArgs),
    /// Runs the whole system on this machine: no cluster and no root needed.
    Demo(demo::Args),
    /// Takes the history to files and from them, or copies it.
    #[command(subcommand)]
    History(history_cli::Command),
    /// A worker of the demo.
    #[command(hide = true)]
    Worker(demo::worker::Args),
    /// An agent, as `forebay-agent` runs it.
    #[command(hide = true)]
    Agent(Box<forebay_agent::Args>),
}

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address of the API and the page; port 0 takes any.
    #[arg(long, default_value = "0.0.0.0:9400", env = "FOREBAY_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Serves over TLS: PEM file of the certificate and its chain; read again when it changes.
    #[arg(long, value_name = "PATH", requires = "tls_key", env = "FOREBAY_TLS_CERTIFICATE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    #[arg(long, value_name = "PATH", requires = "tls_certificate", env = "FOREBAY_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Connections at a time, of which a fourth may come from one address; more wait. An agent keeps one open.
    #[arg(long, default_value = "16384", value_parser = clap::value_parser!(u32).range(16..=1_000_000), env = "FOREBAY_MAX_CONNECTIONS")]
    pub(crate) max_connections: u32,
    /// Where the address in use is written to.
    #[arg(long)]
    pub(crate) address_file: Option<PathBuf>,
    /// The history's file; made if it is not there.
    #[arg(long, default_value = "forebay.sqlite", env = "FOREBAY_STORE")]
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    /// The `Pipeline` manifest.
    #[arg(long, env = "FOREBAY_PIPELINE")]
    pub(crate) pipeline: PathBuf,
    /// Tokens of the agents: JSON, `[{"token", "component", "pod", "uid"}]`.
    #[arg(long, env = "FOREBAY_AGENTS")]
    pub(crate) agents: PathBuf,
    /// Who carries decisions out: `local=URL` of a node, `dry-run=URL` to only look at one, or `dry-run` for none.
    #[arg(long, default_value = "dry-run", value_parser = parse_target, env = "FOREBAY_ORCHESTRATOR")]
    pub(crate) orchestrator: Target,
    /// Length of a step and of a tick.
    #[arg(long, default_value = "15s", value_parser = duration, env = "FOREBAY_STEP")]
    pub(crate) step: Duration,
    /// From a decision to useful capacity, until it is learned.
    #[arg(long, default_value = "30s", value_parser = duration, env = "FOREBAY_LEAD")]
    pub(crate) lead: Duration,
    /// From one training of a component to the next.
    #[arg(long, default_value = "1h", value_parser = duration, env = "FOREBAY_RETRAIN")]
    pub(crate) retrain: Duration,
    /// Exits when standard input closes, so that a parent that dies takes it along.
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

/// How long and how much of the history is kept.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct KeepArgs {
    /// Age at which frames are given up; frames that come later than that are acknowledged and not stored.
    #[arg(long, default_value = "48h", value_parser = age, env = "FOREBAY_KEEP_RAW")]
    pub(crate) keep_raw: Duration,
    /// Age at which roll-ups of one and of 15 minutes are given up.
    #[arg(long, default_value = "90d", value_parser = age, env = "FOREBAY_KEEP_ROLLUPS")]
    pub(crate) keep_rollups: Duration,
    /// Size of the history beyond which the oldest is given up before its time, such as 10Gi; without it there is none.
    #[arg(long, value_parser = size, env = "FOREBAY_MAX_SIZE")]
    pub(crate) max_size: Option<Bytes>,
}

impl From<KeepArgs> for Keep {
    fn from(args: KeepArgs) -> Self {
        Self { raw: args.keep_raw, rollups: args.keep_rollups, max_bytes: args.max_size.map(|size| size.0) }
    }
}

/// Who carries decisions out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nobody; a node is looked at, if there is one.
    DryRun(Option<String>),
    /// The node at a URL.
    Local(String),
}

fn parse_target(text: &str) -> Result<Target, String> {
    match text.split_once('=') {
        None if text == "dry-run" => Ok(Target::DryRun(None)),
        Some(("dry-run", url)) if !url.is_empty() => Ok(Target::DryRun(Some(url.into()))),
        Some(("local", url)) if !url.is_empty() => Ok(Target::Local(url.into())),
        _ => Err("expected `dry-run`, or `local=URL` such as local=http://127.0.0.1:9500".into()),
    }
}

/// 10 ms to 30 days.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration of 10ms to 30days, such as 15s";
    let value = humantime::parse_duration(text).map_err(|error| format!("{expected}: {error}"))?;
    if (Duration::from_millis(10)..=Duration::from_secs(30 * 86_400)).contains(&value) {
        Ok(value)
    } else {
        Err(expected.into())
    }
}

/// An hour to ten years.
fn age(text: &str) -> Result<Duration, String> {
    let expected = "expected an age of 1h to 3650d, such as 48h";
    let value = humantime::parse_duration(text).map_err(|error| format!("{expected}: {error}"))?;
    if (Duration::from_secs(3600)..=Duration::from_secs(3650 * 86_400)).contains(&value) {
        Ok(value)
    } else {
        Err(expected.into())
    }
}

/// 1 MiB and more.
fn size(text: &str) -> Result<Bytes, String> {
    let value: Bytes =
        text.parse().map_err(|error| format!("expected a size of 1Mi and more, such as 10Gi: {error}"))?;
    if value.0 >= 1 << 20 { Ok(value) } else { Err("expected a size of 1Mi and more, such as 10Gi".into()) }
}

/// Runs the program.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Agent(args) => forebay_agent::main(*args),
        Command::Worker(args) => exit(demo::worker::main(args)),
        Command::Serve(args) => block_on(async { app::App::build(args)?.run(app::shutdown_signal()).await }),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::History(command) => block_on(history_cli::run(command)),
    }
}

fn block_on(run: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    app::telemetry();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run));
    exit(outcome)
}

fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forebay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bad_value_is_named_with_what_would_be_right() {
        for (flag, value, says) in [
            ("--orchestrator", "k8s", "expected `dry-run`, or `local=URL`"),
            ("--step", "soon", "expected a duration"),
            ("--step", "1ms", "10ms to 30days"),
            ("--listen", "9400", "invalid"),
            ("--keep-raw", "1s", "1h to 3650d"),
            ("--max-size", "10", "1Mi and more"),
        ] {
            let args = ["forebay", "serve", "--pipeline", "p", "--agents", "a", flag, value];
            let error = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(flag) && error.contains(value), "{error}");
        }
    }
}
