//! `forebay history`: export, import, copy. The aggregator may run meanwhile.

use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use forebay_shared::{ComponentId, Timestamp};

use crate::history::History;
use crate::history::transfer::prometheus::Column;
use crate::history::transfer::{self, Format, Imported, What, prometheus};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes frames, or roll-ups, to a file.
    Export(ExportArgs),
    /// Reads an export of frames, or what Prometheus answered to a range query.
    Import(ImportArgs),
    /// Makes a consistent copy of the store, also while it is in use.
    Copy(CopyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    /// The history's file.
    #[arg(long, default_value = "forebay.sqlite", env = "FOREBAY_STORE")]
    store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// `frames` alone can be imported again.
    #[arg(long, value_enum, default_value = "frames")]
    what: What,
    /// Only these, as namespace/kind.group/name/container; all without it.
    #[arg(long)]
    component: Vec<ComponentId>,
    /// From this time on: milliseconds since the epoch, or 2027-01-15T08:00:00Z.
    #[arg(long, value_parser = time)]
    from: Option<Timestamp>,
    /// Up to this time.
    #[arg(long, value_parser = time)]
    to: Option<Timestamp>,
    /// The file to write; `-` is standard output.
    output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[arg(long, value_enum, default_value = "csv")]
    format: From,
    /// Whose history it is; for prometheus.
    #[arg(long, required_if_eq("format", "prometheus"))]
    component: Option<ComponentId>,
    /// What its values are; for prometheus.
    #[arg(long, value_enum, required_if_eq("format", "prometheus"))]
    column: Option<Column>,
    /// The file to read.
    input: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// An export of frames as CSV.
    Csv,
    /// An export of frames as Parquet.
    Parquet,
    /// JSON of Prometheus' `/api/v1/query_range`.
    Prometheus,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Where to; there must be no file yet.
    to: PathBuf,
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp(ms));
    }
    let expected = "expected milliseconds since the epoch, or a time such as 2027-01-15T08:00:00Z";
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| format!("{expected}: {error}"))?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| expected.to_owned())?;
    Ok(Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Export(args) => tokio::task::spawn_blocking(|| export(args)).await?,
        Command::Import(args) => import(args).await,
        Command::Copy(CopyArgs { store: StoreArgs { store }, to }) => {
            there(&store)?;
            tokio::task::spawn_blocking(move || History::copy_to(&store, &to)).await?
        }
    }
}

fn there(store: &Path) -> anyhow::Result<()> {
    if !store.is_file() {
        bail!("--store {}: there is no history; expected the file that `serve --store` writes", store.display());
    }
    Ok(())
}

fn export(args: ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { store: StoreArgs { store }, format, what, component, from, to, output } = args;
    there(&store)?;
    let history = History::open(&store)?;
    let known = history.components()?;
    if let Some(unknown) = component.iter().find(|component| !known.contains(component)) {
        bail!("--component {unknown}: there is nothing of it in {}", store.display());
    }
    let components = if component.is_empty() { known } else { component };
    let to_stdout = output.as_os_str() == "-";
    let sink: Box<dyn Write + Send> = if to_stdout {
        Box::new(stdout())
    } else {
        Box::new(File::create(&output).with_context(|| format!("cannot write {}", output.display()))?)
    };
    let range = from.unwrap_or_default()..to.unwrap_or(Timestamp(u64::MAX));
    let lines = transfer::export(&history, &components, &range, (what, format), sink)?;
    eprintln!("{lines} lines of {} components", components.len());
    Ok(())
}

async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let ImportArgs { store: StoreArgs { store }, format, component, column, input } = args;
    let history = History::open(&store)?;
    let imported = match (format, component, column) {
        (From::Csv, ..) => transfer::import(&history, &input, Format::Csv).await?,
        (From::Parquet, ..) => transfer::import(&history, &input, Format::Parquet).await?,
        (From::Prometheus, Some(component), Some(column)) => {
            prometheus::import(&history, &input, &component, column).await?
        }
        (From::Prometheus, ..) => bail!("--format prometheus: expected --component and --column as well"),
    };
    history.compact(Timestamp::now()).await?;
    tokio::task::spawn_blocking(move || history.close()).await?;
    let Imported { frames, duplicates, wrong, wrong_lines } = imported;
    for told in &wrong {
        eprintln!("{}: {told}", input.display());
    }
    if wrong_lines > wrong.len() {
        eprintln!("{}: {} more", input.display(), wrong_lines - wrong.len());
    }
    eprintln!("{frames} frames imported, {duplicates} were there already, {wrong_lines} lines or values left out");
    Ok(())
}
