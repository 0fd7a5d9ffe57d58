//! The flags, each also a variable `FOREBAY_…`, and the configuration that they make. All of it is checked before any
//! port is bound.

mod tap;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use forebay_shared::Bytes;
use reqwest::Url;

pub use self::tap::{Route, TapKind};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const SMALLEST_BUFFER: Bytes = Bytes(64 << 10);
const LARGEST_BUFFER: Bytes = Bytes(1 << 30);

/// Flags of the agent.
#[derive(Clone, Debug, Parser)]
#[command(name = "forebay-agent")]
pub struct Args {
    /// Address of the health checks, the metrics and the push tap; port 0 takes a free one.
    #[arg(long, env = "FOREBAY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9410")]
    pub listen: SocketAddr,

    /// File to which the address that was bound is written.
    #[arg(long, env = "FOREBAY_ADDRESS_FILE", value_name = "PATH")]
    pub address_file: Option<PathBuf>,

    /// URL of the aggregator, such as http://forebay:9400.
    #[arg(long, env = "FOREBAY_AGGREGATOR", value_name = "URL")]
    pub aggregator: Option<String>,

    /// File with the token that the aggregator is shown; read again when it changes.
    #[arg(long, env = "FOREBAY_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// What to sample: a cgroup, or the processes that a file lists, a PID a line.
    #[arg(long, env = "FOREBAY_SAMPLING", value_name = "cgroup=PATH|pids=FILE")]
    pub sampling: Option<Sampling>,

    /// Where cgroups are mounted.
    #[arg(long, env = "FOREBAY_CGROUP_ROOT", value_name = "PATH", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,

    /// How batches are seen: push, dir=PATH, http=LISTEN->TARGET, tcp=LISTEN->TARGET; any number, apart or with commas.
    #[arg(long, env = "FOREBAY_TAP", value_name = "TAP", value_delimiter = ',')]
    pub tap: Vec<TapKind>,

    /// Time between samples.
    #[arg(long, env = "FOREBAY_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,

    /// Time between shipments; batches are told of at once.
    #[arg(long, env = "FOREBAY_FLUSH", value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub flush: Duration,

    /// Memory for what the aggregator has not acknowledged.
    #[arg(long, env = "FOREBAY_BUFFER", value_name = "BYTES", default_value = "4Mi", value_parser = buffer)]
    pub buffer: Bytes,

    /// How log lines look.
    #[arg(long, env = "FOREBAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Exit when the standard input closes: with the parent that holds its other end.
    #[arg(long, env = "FOREBAY_EXIT_WITH_STDIN", hide = true)]
    pub exit_with_stdin: bool,
}

/// What is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// A cgroup v2 directory, or a cgroup v1 path below each controller's mount.
    Cgroup(PathBuf),
    /// The processes that a file lists, a PID a line.
    Pids(PathBuf),
}

impl FromStr for Sampling {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once('=') {
            Some(("cgroup", path)) if !path.is_empty() => Ok(Self::Cgroup(path.into())),
            Some(("pids", file)) if !file.is_empty() => Ok(Self::Pids(file.into())),
            _ => anyhow::bail!("expected cgroup=PATH or pids=FILE"),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

fn interval(text: &str) -> anyhow::Result<Duration> {
    let expected = "expected a duration from 20ms to 1h, such as 1s";
    let interval = humantime::parse_duration(text).context(expected)?;
    ensure!((SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval), expected);
    Ok(interval)
}

fn buffer(text: &str) -> anyhow::Result<Bytes> {
    let expected = "expected a size from 64Ki to 1Gi, such as 4Mi";
    let bytes: Bytes = text.parse().context(expected)?;
    ensure!((SMALLEST_BUFFER..=LARGEST_BUFFER).contains(&bytes), expected);
    Ok(bytes)
}

/// Flags that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) address_file: Option<PathBuf>,
    /// Where observations are posted.
    pub(crate) observations: Url,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) sampling: Sampling,
    pub(crate) cgroup_root: PathBuf,
    pub(crate) taps: Vec<TapKind>,
    pub(crate) interval: Duration,
    pub(crate) flush: Duration,
    pub(crate) buffer: Bytes,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let aggregator =
            args.aggregator.context("--aggregator is missing: expected a URL such as http://forebay:9400")?;
        let sampling = args.sampling.context("--sampling is missing: expected cgroup=PATH or pids=FILE")?;
        tap::check(&args.tap, args.listen)?;
        Ok(Self {
            listen: args.listen,
            address_file: args.address_file,
            observations: observations(&aggregator)?,
            token_file: args.token_file,
            sampling,
            cgroup_root: args.cgroup_root,
            taps: args.tap,
            interval: args.interval,
            flush: args.flush,
            buffer: args.buffer,
        })
    }
}

/// The URL of `POST /api/v1/observations` at an aggregator.
fn observations(aggregator: &str) -> anyhow::Result<Url> {
    let expected = || format!("--aggregator is `{aggregator}`: expected a URL such as http://forebay:9400");
    let mut url: Url = aggregator.parse().with_context(expected)?;
    ensure!(url.scheme() == "http" && url.has_host() && url.query().is_none() && url.fragment().is_none(), expected());
    let path = format!("{}/api/v1/observations", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, String> {
        let flags = std::iter::once("forebay-agent").chain(flags.iter().copied());
        Args::try_parse_from(flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_documents() {
        let args = parse(&["--aggregator", "http://forebay:9400/", "--sampling", "cgroup=/forebay/ingest"]).unwrap();
        let config = Config::try_from(args).unwrap();
        assert_eq!(config.observations.as_str(), "http://forebay:9400/api/v1/observations");
        assert_eq!(config.sampling, Sampling::Cgroup("/forebay/ingest".into()));
        assert_eq!((config.interval, config.flush), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!((config.buffer, config.taps.len()), (Bytes(4 << 20), 0));
        assert_eq!(config.listen.port(), 9410);
    }

    #[test]
    fn a_bad_value_is_told_with_its_flag_and_what_would_be_right() {
        for (flag, value, right) in [
            ("--sampling", "host", "cgroup=PATH or pids=FILE"),
            ("--interval", "5ms", "20ms to 1h"),
            ("--interval", "often", "such as 1s"),
            ("--flush", "2h", "20ms to 1h"),
            ("--buffer", "1Ki", "64Ki to 1Gi"),
            ("--tap", "pull", "push"),
            ("--tap", "http=9000", "http=9000->8080"),
            ("--listen", "nowhere", "socket address"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(flag) && error.contains(value) && error.contains(right), "{error}");
        }
    }

    #[test]
    fn several_taps_are_told_one_by_one_or_with_commas_between() {
        let args = parse(&["--tap", "push,http=9000->8080", "--tap", "tcp=9001->8081"]).unwrap();
        assert_eq!(args.tap, ["push", "http=9000->8080", "tcp=9001->8081"].map(|tap| tap.parse().unwrap()));
    }

    #[test]
    fn an_aggregator_that_is_no_http_url_is_refused() {
        for bad in ["forebay:9400", "https://forebay:9400", "http://", "http://a/?x=1"] {
            let error = observations(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("http://forebay:9400"), "{error}");
        }
        let error = Config::try_from(parse(&[]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("--aggregator is missing"), "{error}");
    }
}
