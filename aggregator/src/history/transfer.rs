//! The history as files that other programs read, and back.
//!
//! ```text
//! visit, roll-ups ─► Sheet ─► csv │ json │ parquet
//! csv │ parquet ─► Sheet ─► frames ─► append │ prometheus ─► frames ─► append
//! ```
//!
//! A sheet of frames has a line a sample, an arrival or a progress, told by `kind`, and columns for all of them; read back,
//! they are the same frames. A line that is wrong is told by its number, and costs itself. Frames may come in any order,
//! but the lines of one lie side by side.

mod csv;
mod gathered;
mod json;
mod parquet;
pub mod prometheus;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use forebay_shared::{ComponentId, Frame, Timestamp};

use self::gathered::Gathered;
use super::blocks::Tier;
use super::fields::{self, Field, Is};
use super::frames::Origin;
use super::rollup::{Metric, Rolled};
use super::{Aggregate, Appended, History, HistoryError, StoredContent};
use crate::identity::PodIdentity;

/// Events read before they are stored: 100 MB of cells.
const CHUNK: usize = 50_000;

/// A file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values, a header first.
    Csv,
    /// An object a line.
    Json,
    /// Apache Parquet, uncompressed.
    Parquet,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Samples, arrivals and progress, as they were sent.
    Frames,
    /// The roll-up of a minute.
    Minutes,
    /// The roll-up of 15 minutes.
    Quarters,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Integer,
    Float,
    Text,
}

/// One value of a line.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Empty,
    Integer(u64),
    Float(f64),
    Text(String),
}

/// The names and types of a file's columns.
type Columns = Vec<(String, Type)>;

/// Takes lines to a file.
trait Sink {
    fn line(&mut self, cells: Vec<Cell>) -> anyhow::Result<()>;
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// What an import came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Frames stored.
    pub frames: usize,
    /// Frames that had been there already.
    pub duplicates: usize,
    /// Lines that are wrong: the first few, in words.
    pub wrong: Vec<String>,
    /// How many are wrong.
    pub wrong_lines: usize,
}

/// Wrong lines that are told in words.
const TOLD: usize = 20;

// === impl Imported ===

impl Imported {
    fn wrong(&mut self, told: impl FnOnce() -> String) {
        self.wrong_lines += 1;
        if self.wrong.len() < TOLD {
            self.wrong.push(told());
        }
    }

    fn add(&mut self, appended: &Appended) {
        self.frames += appended.accepted.len();
        self.duplicates += appended.duplicates;
    }
}

/// Columns before the fields.
const HEAD: [(&str, Type); 8] = [
    ("component", Type::Text),
    ("pod", Type::Text),
    ("podUid", Type::Text),
    ("boot", Type::Text),
    ("sequence", Type::Integer),
    ("closedAt", Type::Integer),
    ("sampling", Type::Text),
    ("kind", Type::Text),
];

/// Columns of a roll-up before those of the metrics.
const ROLLED: [(&str, Type); 4] = [
    ("component", Type::Text),
    ("at", Type::Integer),
    ("stepSeconds", Type::Integer),
    ("oldestWaitSeconds", Type::Float),
];

fn type_of(is: Is) -> Type {
    match is {
        Is::Integer => Type::Integer,
        Is::Float => Type::Float,
        Is::Name(_) => Type::Text,
    }
}

fn frame_columns() -> Columns {
    let head = HEAD.iter().map(|(name, of)| ((*name).to_owned(), *of));
    let samples = fields::SAMPLE.iter().map(|field| (field.name.to_owned(), type_of(field.of)));
    let arrivals = fields::ARRIVAL.iter().map(|field| (format!("arrival.{}", field.name), type_of(field.of)));
    let progress = fields::PROGRESS.iter().map(|field| (format!("progress.{}", field.name), type_of(field.of)));
    head.chain(samples).chain(arrivals).chain(progress).collect()
}

fn rolled_columns() -> Columns {
    let head = ROLLED.iter().map(|(name, of)| ((*name).to_owned(), *of));
    let metric =
        |metric: Metric| ["mean", "max", "p95", "sum"].map(|of| (format!("{}.{of}", metric.name()), Type::Float));
    head.chain(Metric::ALL.into_iter().flat_map(metric)).collect()
}

fn cells_of<T>(fields: &[Field<T>], row: &T) -> Vec<Cell> {
    let cell = |field: &Field<T>| match ((field.get)(row), field.of) {
        (None, _) => Cell::Empty,
        (Some(value), Is::Integer) => Cell::Integer(value),
        (Some(value), Is::Float) => Cell::Float(f64::from_bits(value)),
        (Some(value), Is::Name(name)) => name(value).map_or(Cell::Empty, |name| Cell::Text(name.to_owned())),
    };
    fields.iter().map(cell).collect()
}

/// Sets the fields of a row from its cells; an error, in words, names the first that is wrong.
fn set<T>(fields: &[Field<T>], cells: &[Cell], row: &mut T) -> Result<(), String> {
    for (field, cell) in fields.iter().zip(cells) {
        let value = match (cell, field.of) {
            (Cell::Empty, _) => continue,
            (Cell::Integer(value), Is::Integer) => Some(*value),
            (Cell::Float(value), Is::Float) => Some(value.to_bits()),
            (Cell::Text(text), Is::Name(name)) => (0..256).find(|value| name(*value) == Some(text)),
            _ => None,
        };
        value.and_then(|value| (field.set)(row, value)).ok_or_else(|| format!("{}: {cell:?} cannot be", field.name))?;
    }
    Ok(())
}

/// Writes the history of components in a range to a file; tells how many lines.
///
/// # Errors
/// The history's, or the file's.
pub fn export(
    history: &History,
    components: &[ComponentId],
    range: &Range<Timestamp>,
    (what, format): (What, Format),
    to: Box<dyn Write + Send>,
) -> anyhow::Result<usize> {
    let columns = if what == What::Frames { frame_columns() } else { rolled_columns() };
    let mut sink: Box<dyn Sink> = match format {
        Format::Csv => Box::new(csv::Writer::new(&columns, to)?),
        Format::Json => Box::new(json::Writer::new(columns, to)),
        Format::Parquet => Box::new(parquet::Writer::new(&columns, to)?),
    };
    let mut lines = 0;
    for component in components {
        let mut line = |cells| {
            lines += 1;
            sink.line(cells)
        };
        match what {
            What::Frames => export_frames(history, component, range, &mut line)?,
            What::Minutes => export_rolled(history, component, range, Tier::Minute, &mut line)?,
            What::Quarters => export_rolled(history, component, range, Tier::QuarterHour, &mut line)?,
        }
    }
    sink.finish()?;
    Ok(lines)
}

fn export_frames(
    history: &History,
    component: &ComponentId,
    range: &Range<Timestamp>,
    line: &mut impl FnMut(Vec<Cell>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let damaged = history.visit(component, range.clone(), |frame| {
        if outcome.is_ok() {
            outcome = lines_of(component, &frame, line);
        }
    })?;
    if damaged > 0 {
        tracing::warn!(%component, damaged, "damaged blocks are not in the export");
    }
    outcome
}

fn lines_of(
    component: &ComponentId,
    frame: &StoredContent,
    line: &mut impl FnMut(Vec<Cell>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let StoredContent { pod_uid, pod, boot, sequence, content } = frame;
    let head = |kind: &str| {
        vec![
            Cell::Text(component.to_string()),
            Cell::Text(pod.to_string()),
            Cell::Text(pod_uid.to_string()),
            Cell::Text(boot.to_string()),
            Cell::Integer(*sequence),
            Cell::Integer(content.closed_at.0),
            Cell::Text(content.sampling.clone()),
            Cell::Text(kind.to_owned()),
        ]
    };
    let none = |fields: usize| std::iter::repeat_n(Cell::Empty, fields);
    let (samples, arrivals, progress) = (fields::SAMPLE.len(), fields::ARRIVAL.len(), fields::PROGRESS.len());
    for sample in &content.samples {
        let cells = head("sample").into_iter().chain(cells_of(fields::SAMPLE, sample));
        line(cells.chain(none(arrivals + progress)).collect())?;
    }
    for arrival in &content.arrivals {
        let cells = head("arrival").into_iter().chain(none(samples)).chain(cells_of(fields::ARRIVAL, arrival));
        line(cells.chain(none(progress)).collect())?;
    }
    for of in &content.progress {
        let cells = head("progress").into_iter().chain(none(samples + arrivals));
        line(cells.chain(cells_of(fields::PROGRESS, of)).collect())?;
    }
    Ok(())
}

fn export_rolled(
    history: &History,
    component: &ComponentId,
    range: &Range<Timestamp>,
    tier: Tier,
    line: &mut impl FnMut(Vec<Cell>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let step_ms = tier.step_ms();
    let float = |value: Option<f64>| value.map_or(Cell::Empty, Cell::Float);
    for (at, Rolled { sums, peaks }) in history.range(component, range.clone(), step_ms, Aggregate::Mean)?.rows {
        let mut cells = vec![
            Cell::Text(component.to_string()),
            Cell::Integer(at.0),
            Cell::Integer(step_ms / 1000),
            float(sums.oldest_wait_ms.map(|wait| wait / 1000.0)),
        ];
        for metric in Metric::ALL {
            let at = metric as usize;
            cells.extend([sums.mean(metric, step_ms), peaks.max[at], peaks.p95[at], sums.total(metric)].map(float));
        }
        line(cells)?;
    }
    Ok(())
}

/// Stores frames of a pod; one that can't be stored is told, and the others are.
async fn store(
    history: &History,
    pod: &PodIdentity,
    mut frames: Vec<Frame>,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    loop {
        match history.import(pod, frames.clone()).await {
            Ok(appended) => {
                imported.add(&appended);
                return Ok(());
            }
            Err(HistoryError::Refused { frame, reason }) => {
                let refused = frames.remove(frame);
                imported.wrong(|| format!("frame {} of pod {}: {reason}", refused.sequence, pod.pod));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// That a file's columns are those of an export: each once, and what tells whose a line is.
fn check_columns(columns: &Columns, found: &[&str]) -> anyhow::Result<()> {
    let expected = "expected the columns of `history export --what frames`";
    for (at, name) in found.iter().enumerate() {
        if !columns.iter().any(|(known, _)| known == name) {
            bail!("column `{}` is not known: {expected}", name.chars().take(60).collect::<String>());
        }
        if found[..at].contains(name) {
            bail!("column `{name}` is there twice: {expected}");
        }
    }
    match HEAD.iter().find(|(name, _)| *name != "sampling" && !found.contains(name)) {
        Some((name, _)) => bail!("there is no column `{name}`: {expected}"),
        None => Ok(()),
    }
}

/// Reads an export of frames back; what is there already counts once.
///
/// # Errors
/// A file that is no such export, or what the history says. Lines that are wrong are in the answer.
pub async fn import(history: &History, path: &Path, format: Format) -> anyhow::Result<Imported> {
    let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
    let columns = frame_columns();
    let mut lines: Box<dyn Iterator<Item = Result<Vec<Cell>, String>> + Send> = match format {
        Format::Csv => Box::new(csv::read(columns, open()?)?),
        Format::Parquet => Box::new(parquet::read(&columns, open()?)?),
        Format::Json => bail!("--format json: expected csv, parquet or prometheus: JSON is exported only"),
    };
    let (mut imported, mut gathered) = (Imported::default(), Gathered::default());
    let mut number = u64::from(format == Format::Csv);
    let mut last_frame: Option<Vec<Cell>> = None;
    loop {
        let next = lines.next();
        number += 1;
        let Some(line) = next else { break };
        match line {
            Err(error) => imported.wrong(|| format!("line {number}: {error}")),
            Ok(cells) => {
                // Between two frames, so that none is cut in two.
                let frame = Some(cells[..5].to_vec());
                if gathered.events >= CHUNK && frame != last_frame {
                    gathered.store(history, &mut imported).await?;
                }
                last_frame = frame;
                if let Err(error) = gathered.take(&cells) {
                    imported.wrong(|| format!("line {number}: {error}"));
                }
            }
        }
    }
    gathered.store(history, &mut imported).await?;
    Ok(imported)
}

impl History {
    /// Stores frames of the past, however old they are.
    ///
    /// # Errors
    /// As of [`append`](Self::append).
    pub async fn import(&self, pod: &PodIdentity, frames: Vec<Frame>) -> Result<Appended, HistoryError> {
        self.store(pod, frames, || Origin::Import).await
    }

    /// Makes a consistent copy of the file, also while it is in use.
    ///
    /// # Errors
    /// A path where there is a file already, or the disk's.
    pub fn copy_to(from: &Path, to: &Path) -> anyhow::Result<()> {
        if to.exists() {
            bail!("{}: there is a file already; expected a path where there is none", to.display());
        }
        let text = to.to_str().with_context(|| format!("{}: expected a path in UTF-8", to.display()))?;
        super::file::open_reader(from)?
            .execute("VACUUM INTO ?1", [text])
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        File::open(to).and_then(|file| file.sync_all()).with_context(|| format!("cannot sync {}", to.display()))
    }
}

#[cfg(test)]
mod tests;
