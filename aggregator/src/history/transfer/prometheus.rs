//! Answers of Prometheus to range queries: the history that a team has already.
//!
//! ```text
//! {"status": "success", "data": {"resultType": "matrix", "result": [
//!     {"metric": {"pod": "parse-0", …}, "values": [[1700000000, "0.25"], …]}, …]}}
//! ```
//!
//! One file is one column of one component; each series of it is a pod, named by its label `pod`, else `instance`. A value
//! holds for the time since the one before it, at most twice the usual distance and an hour: what is missing stays missing.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use forebay_shared::{BootId, Bytes, ComponentId, Content, Frame, ResourceSample, Timestamp};
use serde::Deserialize;

use super::Imported;
use crate::history::{History, LONGEST_MS};
use crate::identity::PodIdentity;

/// The largest file: an answer of 11,000 points and 1,000 series.
const MAX_FILE: u64 = 1 << 30;
/// What a frame spans at most.
const SPAN_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * SPAN_MS;
/// Frames stored at a time.
const CHUNK: usize = 256;

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// Cores, such as of `rate(container_cpu_usage_seconds_total[1m])`.
    Cpu,
    /// Seconds of CPU so far: a counter, such as `container_cpu_usage_seconds_total` itself.
    CpuTotal,
    /// Bytes in use, such as `container_memory_working_set_bytes`.
    Memory,
    /// Bytes read and written a second.
    Io,
    /// Bytes received and sent a second.
    Network,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Reads a file as one column of a component.
///
/// # Errors
/// A file that is no such answer, or what the history says. Values that are wrong are in the answer.
pub async fn import(
    history: &History,
    path: &Path,
    component: &ComponentId,
    column: Column,
) -> anyhow::Result<Imported> {
    let name = || path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {}", name()))?;
    if file.metadata()?.len() > MAX_FILE {
        bail!("{}: expected at most {MAX_FILE} bytes; ask for shorter ranges", name());
    }
    let mut text = String::new();
    BufReader::new(file).read_to_string(&mut text).with_context(|| format!("cannot read {}", name()))?;
    let answer: Answer = serde_json::from_str(&text)
        .with_context(|| format!("{}: no answer of Prometheus to a range query, as of /api/v1/query_range", name()))?;
    let data = match answer {
        Answer { status, data: Some(data), .. } if status == "success" => data,
        Answer { status, error, .. } => {
            bail!("{}: the answer's status is `{status}`: {}", name(), error.unwrap_or_default())
        }
    };
    if data.result_type != "matrix" {
        bail!("{}: resultType is `{}`: expected `matrix`, of /api/v1/query_range", name(), data.result_type);
    }
    let mut imported = Imported::default();
    for (at, series) in data.result.into_iter().enumerate() {
        let pod = identity(component, column, &series);
        let frames = frames(&series, column, at, &mut imported);
        for frames in frames.chunks(CHUNK) {
            let appended = history.import(&pod, frames.to_vec()).await?;
            imported.add(&appended);
        }
    }
    Ok(imported)
}

/// Each series and column is a pod of its own, so that files can be imported in any order.
fn identity(component: &ComponentId, column: Column, series: &Series) -> PodIdentity {
    let label = |name| series.metric.get(name).cloned();
    let pod = label("pod").or_else(|| label("instance")).unwrap_or_else(|| "prometheus".into());
    let labels = format!("{:?}", series.metric);
    let uid = format!("prometheus-{column:?}-{:08x}", crc32c::crc32c(labels.as_bytes())).to_lowercase();
    PodIdentity { component: component.clone(), pod, uid }
}

/// Frames of an hour at most, and a boot a day: the hours of a day that are there already count once, and whole days come
/// in any order.
fn frames(series: &Series, column: Column, place: usize, imported: &mut Imported) -> Vec<Frame> {
    let points = points(series, place, imported);
    let usual = usual_distance(&points);
    let mut frames: Vec<Frame> = Vec::new();
    for (at, (time, value)) in points.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| points[before]);
        let distance = before.map_or(usual, |(before, _)| time - before);
        // A counter counts on where values are missing.
        let interval_ms =
            if column == Column::CpuTotal { distance } else { distance.min(2 * usual).min(LONGEST_MS.into()) };
        let Some(sample) = sample(column, *time, interval_ms, *value, before.map(|(_, value)| value)) else { continue };
        let (day, sequence) = (BootId(u128::from(time / DAY_MS)), time % DAY_MS / SPAN_MS);
        let frame = match frames.last_mut() {
            Some(frame) if (frame.boot, frame.sequence) == (day, sequence) => frame,
            _ => {
                let content = Content { sampling: "prometheus".into(), ..Content::default() };
                frames.push(Frame { boot: day, sequence, first_retained: 0, content });
                let Some(frame) = frames.last_mut() else { continue };
                frame
            }
        };
        frame.content.closed_at = sample.at;
        frame.content.samples.push(sample);
    }
    frames
}

/// Times in ms and values, in order; what is no number is told.
fn points(series: &Series, place: usize, imported: &mut Imported) -> Vec<(u64, f64)> {
    let mut points: Vec<(u64, f64)> = Vec::with_capacity(series.values.len());
    let mut values: Vec<_> = series.values.iter().enumerate().collect();
    values.sort_by(|a, b| a.1.0.total_cmp(&b.1.0));
    for (number, (time, text)) in values {
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        let time_ms = (time * 1000.0).round();
        let told = |what: &str| format!("series {place}, value {number}: {what}");
        match value {
            None => imported
                .wrong(|| told(&format!("`{}` is no number of 0 and more", text.chars().take(40).collect::<String>()))),
            Some(_) if !(0.0..9e15).contains(&time_ms) => {
                imported.wrong(|| told("its time is no Unix time in seconds"))
            }
            Some(_) if points.last().is_some_and(|(before, _)| *before >= time_ms as u64) => {
                imported.wrong(|| told("there is a value of its time already"));
            }
            Some(value) => points.push((time_ms as u64, value)),
        }
    }
    points
}

/// The median distance of points; a minute where there is one point.
fn usual_distance(points: &[(u64, f64)]) -> u64 {
    let mut distances: Vec<u64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied().unwrap_or(60_000).clamp(1, SPAN_MS)
}

fn sample(column: Column, time: u64, interval_ms: u64, value: f64, before: Option<f64>) -> Option<ResourceSample> {
    let seconds = interval_ms as f64 / 1000.0;
    let mut sample = ResourceSample {
        at: Timestamp(time),
        interval_ms: u32::try_from(interval_ms).unwrap_or(u32::MAX),
        ..ResourceSample::default()
    };
    let whole = |number: f64| number.round() as u64;
    match column {
        Column::Cpu => sample.cpu_us = Some(whole(value * seconds * 1e6)),
        Column::CpuTotal => {
            // A counter that falls has started anew.
            let used = before.map(|before| if value >= before { value - before } else { value })?;
            // Over more than an hour nobody knows when it was used.
            if interval_ms > LONGEST_MS.into() {
                return None;
            }
            sample.cpu_us = Some(whole(used * 1e6));
        }
        Column::Memory => sample.memory_working_set = Some(Bytes(whole(value))),
        Column::Io => sample.io_read_bytes = Some(whole(value * seconds)),
        Column::Network => sample.net_rx_bytes = Some(whole(value * seconds)),
    }
    Some(sample)
}
