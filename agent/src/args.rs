//! The flags, each also a variable `FOREBAY_…`, and the configuration that they make. All of it is checked before any
//! port is bound.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use forebay_shared::Bytes;

pub use self::sampling::{Sampling, SamplingArgs};

use crate::buffer::Place;
use crate::sampler;
use crate::shipper::{Target, Way};

mod sampling;

const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const SMALLEST_BUFFER: Bytes = Bytes(64 << 10);
const LARGEST_BUFFER: Bytes = Bytes(1 << 30);
const SMALLEST_SPILL: Bytes = Bytes(1 << 20);
const LARGEST_SPILL: Bytes = Bytes(1 << 40);
const SLOWEST_CATCH_UP: Bytes = Bytes(16 << 10);
const FASTEST_CATCH_UP: Bytes = Bytes(1 << 30);

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

    /// URL of the aggregator, such as https://forebay:9400.
    #[arg(long, env = "FOREBAY_AGGREGATOR", value_name = "URL")]
    pub aggregator: Option<String>,

    /// PEM of the CA that has signed the aggregator's certificate, if it is none of this system's; read again when it
    /// changes.
    #[arg(long, env = "FOREBAY_CA_FILE", value_name = "PATH")]
    pub ca_file: Option<PathBuf>,

    /// File with the token that the aggregator is shown; read again when it changes.
    #[arg(long, env = "FOREBAY_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// What to sample.
    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// How batches are seen; may be given more than once.
    #[arg(long, env = "FOREBAY_TAP", value_delimiter = ',')]
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

    /// Directory for what does not fit into the buffer, and for what is left when the agent ends.
    #[arg(long, env = "FOREBAY_SPILL", value_name = "DIRECTORY")]
    pub spill: Option<PathBuf>,

    /// Disk for it.
    #[arg(long, env = "FOREBAY_SPILL_LIMIT", value_name = "BYTES", default_value = "64Mi", value_parser = spill_limit)]
    pub spill_limit: Bytes,

    /// Bytes a second at which what has waited longer than a flush is shipped.
    #[arg(long, env = "FOREBAY_CATCH_UP", value_name = "BYTES", default_value = "256Ki", value_parser = catch_up)]
    pub catch_up: Bytes,

    /// How log lines look.
    #[arg(long, env = "FOREBAY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Exit when the standard input closes: with the parent that holds its other end.
    #[arg(long, env = "FOREBAY_EXIT_WITH_STDIN", hide = true)]
    pub exit_with_stdin: bool,
}

/// How batches are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TapKind {
    /// The component pushes them, or their vectors, over loopback.
    Push,
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

fn spill_limit(text: &str) -> anyhow::Result<Bytes> {
    let expected = "expected a size from 1Mi to 1Ti, such as 64Mi";
    let bytes: Bytes = text.parse().context(expected)?;
    ensure!((SMALLEST_SPILL..=LARGEST_SPILL).contains(&bytes), expected);
    Ok(bytes)
}

fn catch_up(text: &str) -> anyhow::Result<Bytes> {
    let expected = "expected bytes a second from 16Ki to 1Gi, such as 256Ki";
    let bytes: Bytes = text.parse().context(expected)?;
    ensure!((SLOWEST_CATCH_UP..=FASTEST_CATCH_UP).contains(&bytes), expected);
    Ok(bytes)
}

/// Flags that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) address_file: Option<PathBuf>,
    /// To whom frames are shipped, and how.
    pub(crate) way: Way,
    /// What is sampled.
    pub(crate) sampled: sampler::Target,
    pub(crate) push: bool,
    pub(crate) interval: Duration,
    pub(crate) buffer: Bytes,
    pub(crate) spill: Option<Place>,
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let aggregator =
            args.aggregator.context("--aggregator is missing: expected a URL such as https://forebay:9400")?;
        Ok(Self {
            listen: args.listen,
            address_file: args.address_file,
            way: Way {
                target: Target::of_aggregator(&aggregator)?,
                ca_file: args.ca_file,
                token_file: args.token_file,
                flush: args.flush,
                catch_up: args.catch_up,
            },
            sampled: args.sampling.target()?,
            push: args.tap.contains(&TapKind::Push),
            interval: args.interval,
            buffer: args.buffer,
            spill: args.spill.map(|directory| Place { directory, limit: args.spill_limit }),
        })
    }
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
        assert_eq!(config.way.target.to_string(), "http://forebay:9400/api/v1/observations");
        assert_eq!(config.sampled.sampling, Sampling::Cgroup("/forebay/ingest".into()));
        assert_eq!((config.interval, config.way.flush), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!((config.way.catch_up, &config.spill), (Bytes(256 << 10), &None));
        assert_eq!((config.buffer, config.push), (Bytes(4 << 20), false));
        assert_eq!(config.listen.port(), 9410);
    }

    #[test]
    fn a_bad_value_is_told_with_its_flag_and_what_would_be_right() {
        for (flag, value, right) in [
            ("--sampling", "hosts", "cgroup=PATH, pids=FILE or pid=PID"),
            ("--interval", "5ms", "20ms to 1h"),
            ("--interval", "often", "such as 1s"),
            ("--flush", "2h", "20ms to 1h"),
            ("--buffer", "1Ki", "64Ki to 1Gi"),
            ("--spill-limit", "1Ki", "1Mi to 1Ti"),
            ("--catch-up", "0", "16Ki to 1Gi"),
            ("--tap", "pull", "push"),
            ("--listen", "nowhere", "socket address"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(flag) && error.contains(value) && error.contains(right), "{error}");
        }
    }

    #[test]
    fn an_aggregator_is_asked_for_where_it_is_missing_or_no_url() {
        let error = Config::try_from(parse(&[]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("--aggregator is missing"), "{error}");
        let error = Config::try_from(parse(&["--aggregator", "forebay:9400", "--sampling", "pids=x"]).unwrap());
        assert!(error.unwrap_err().to_string().contains("https://forebay:9400"));
    }

    #[test]
    fn a_spill_has_its_limit() {
        let flags = ["--aggregator=https://a", "--sampling=pids=x", "--spill=/spill", "--spill-limit=8Mi"];
        let config = Config::try_from(parse(&flags).unwrap()).unwrap();
        assert_eq!(config.spill, Some(Place { directory: "/spill".into(), limit: Bytes(8 << 20) }));
    }
}
