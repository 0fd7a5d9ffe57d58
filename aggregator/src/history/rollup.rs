//! What a component did, over all its pods, in steps of time: sums, and the most and the 0.95 quantile of a second.
//!
//! ```text
//! frames ─► Cells: one a second ─► Rolled: one a step ─► columns
//! ```
//!
//! Counters of a sample are spread over the cells that its interval lies in, an hour at most; levels count for as long as
//! they stood. What no sample tells is absent, never zero. Two parts of one step add up, so that a step at the edge of two buckets is whole
//! again when both are read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forebay_shared::{BatchArrival, BatchProgress, BootId, ResourceSample};

use super::StoredContent;
use super::columns::{As, Columns, Packer};

/// How many [`Metric`]s there are.
pub const METRICS: usize = Metric::ALL.len();
/// The longest that a sample may stand for; one that is longer can only be an error of its sender. Of a batch that took
/// longer, the last hour counts.
pub const LONGEST_MS: u32 = 3_600_000;
/// How long a batch may wait for its service to count, ms.
const WAIT_MS: u64 = 86_400_000;
/// Cells at most, 25 MB of them: a day and a half of seconds.
const CELLS: usize = 1 << 17;
/// pco's level: roll-ups are small, and kept for long.
const LEVEL: usize = 8;

/// What is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU time, µs.
    Cpu,
    /// The working set, bytes; what is charged where there is none.
    Memory,
    /// Bytes read and written.
    Io,
    /// Bytes received and sent.
    Network,
    /// Time held back by the quota, µs.
    Throttled,
    /// Batches that wait.
    Waiting,
    /// Batches being worked on.
    InService,
    /// Batches that arrived.
    Arrivals,
    /// Bytes of them.
    ArrivedBytes,
    /// Batches served, each by the share of its service time.
    Served,
}

impl Metric {
    /// All, in the order of the columns: append only.
    pub const ALL: [Self; 10] = [
        Self::Cpu,
        Self::Memory,
        Self::Io,
        Self::Network,
        Self::Throttled,
        Self::Waiting,
        Self::InService,
        Self::Arrivals,
        Self::ArrivedBytes,
        Self::Served,
    ];

    /// The name of its column in the API and in exports, which tells the unit of mean, max and p95.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "usageCores",
            Self::Memory => "memoryBytes",
            Self::Io => "ioBytesPerSecond",
            Self::Network => "networkBytesPerSecond",
            Self::Throttled => "throttledCores",
            Self::Waiting => "waiting",
            Self::InService => "inService",
            Self::Arrivals => "arrivalsPerSecond",
            Self::ArrivedBytes => "arrivedBytesPerSecond",
            Self::Served => "servedPerSecond",
        }
    }

    /// What stands for a time, rather than adds up over it.
    pub(super) fn is_level(self) -> bool {
        matches!(self, Self::Memory | Self::Waiting | Self::InService)
    }

    /// Told by taps, batch by batch, rather than by samples.
    fn is_tapped(self) -> bool {
        matches!(self, Self::Arrivals | Self::ArrivedBytes | Self::Served)
    }

    /// From the unit of the sum to that of the column's name.
    fn unit(self) -> f64 {
        if matches!(self, Self::Cpu | Self::Throttled) { 1e-6 } else { 1.0 }
    }

    /// What numbers are multiplied by before they are rounded to be stored: counts of batches have shares.
    pub(super) fn scale(self) -> f64 {
        match self {
            Self::Waiting | Self::InService | Self::Arrivals | Self::Served => 1000.0,
            _ => 1.0,
        }
    }
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Pod-milliseconds that samples cover.
    pub covered_ms: f64,
    /// Totals of counters; integrals of levels over ms. By [`Metric::ALL`].
    sums: [f64; METRICS],
    /// A bit a metric: it was told of.
    known: u16,
    /// CFS periods, and those of them in which the quota ran out.
    pub periods: f64,
    /// See [`Self::periods`].
    pub throttled_periods: f64,
    /// MiB x score of the batches that arrived.
    pub arrived_weight: f64,
    /// MiB x score of the batches served.
    pub served_weight: f64,
    /// The longest that a batch had waited, ms.
    pub oldest_wait_ms: Option<f64>,
    /// Processes killed for want of memory; `None` where nothing tells.
    pub oom_kills: Option<f64>,
}

impl Sums {
    /// The total of a counter, or the integral of a level over ms; `None` where nothing tells.
    pub fn sum(&self, metric: Metric) -> Option<f64> {
        (self.known & 1 << metric as u16 != 0).then(|| self.sums[metric as usize])
    }

    /// The total in the unit of the column: core-seconds, bytes, batches; of levels times seconds.
    pub fn total(&self, metric: Metric) -> Option<f64> {
        let per = if metric.is_level() { 1e-3 } else { 1.0 };
        Some(self.sum(metric)? * metric.unit() * per)
    }

    /// The mean over the part of the step that is covered, in the unit of the column.
    pub fn mean(&self, metric: Metric, step_ms: u64) -> Option<f64> {
        let sum = self.sum(metric)?;
        let step_ms = step_ms as f64;
        let over = match metric.is_tapped() {
            // No samples at all: the tap alone tells.
            true if self.covered_ms <= 0.0 => step_ms,
            // Batches are whole, so a second's edge must not make them many.
            true => self.covered_ms.max(1000.0).min(step_ms),
            false => self.covered_ms.min(step_ms),
        };
        let per = if metric.is_level() { 1.0 } else { 1000.0 };
        (over > 0.0).then(|| sum / over * per * metric.unit())
    }

    fn add_to(&mut self, metric: Metric, value: f64) {
        self.sums[metric as usize] += value;
        self.known |= 1 << metric as u16;
    }

    /// Adds another part of the same step, or another step.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        self.known |= other.known;
        self.covered_ms += other.covered_ms;
        self.periods += other.periods;
        self.throttled_periods += other.throttled_periods;
        self.arrived_weight += other.arrived_weight;
        self.served_weight += other.served_weight;
        self.oom_kills = self.oom_kills.into_iter().chain(other.oom_kills).reduce(|a, b| a + b);
        self.oldest_wait_ms = most(self.oldest_wait_ms, other.oldest_wait_ms);
    }
}

fn most(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The most and the 0.95 quantile of the cells of a step, in the units of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peaks {
    /// By [`Metric::ALL`].
    pub max: [Option<f64>; METRICS],
    /// The least value that 95 % of the cells do not exceed.
    pub p95: [Option<f64>; METRICS],
}

/// A step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rolled {
    /// Sums.
    pub sums: Sums,
    /// Peaks; of a tier without, none.
    pub peaks: Peaks,
}

impl Rolled {
    /// Adds another part of the same step. Of the quantiles, that of the part which covers more holds.
    pub(super) fn join(&mut self, other: &Self) {
        let larger = if other.sums.covered_ms > self.sums.covered_ms { other } else { &*self };
        let p95 = larger.peaks.p95;
        for (max, more) in self.peaks.max.iter_mut().zip(other.peaks.max) {
            *max = most(*max, more);
        }
        self.peaks.p95 = p95;
        self.sums.add(&other.sums);
    }
}

/// Sums by step, from frames; of bounded length.
pub(super) struct Cells {
    step_ms: u64,
    cells: BTreeMap<u64, Sums>,
    /// Batches that have arrived, with their weight and when, ms.
    open: HashMap<(Arc<str>, BootId, u64), (f64, u64)>,
    left_out: u64,
}

impl Cells {
    pub(super) fn new(step_ms: u64) -> Self {
        Self { step_ms, cells: BTreeMap::new(), open: HashMap::new(), left_out: 0 }
    }

    /// Times that a cell was not made, since there were too many.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn cell(&mut self, index: u64) -> Option<&mut Sums> {
        let full = self.cells.len() >= CELLS;
        match self.cells.entry(index) {
            Entry::Occupied(cell) => Some(cell.into_mut()),
            Entry::Vacant(_) if full => {
                self.left_out += 1;
                None
            }
            Entry::Vacant(place) => Some(place.insert(Sums::default())),
        }
    }

    /// Takes in a frame.
    pub(super) fn add(&mut self, frame: &StoredContent) {
        self.expect(frame);
        for sample in &frame.content.samples {
            self.sample(sample);
        }
        for arrival in &frame.content.arrivals {
            let Some(cell) = self.cell(arrival.arrived_at.0 / self.step_ms) else { continue };
            cell.add_to(Metric::Arrivals, 1.0);
            cell.add_to(Metric::ArrivedBytes, arrival.characteristics.data_volume.bytes as f64);
            cell.arrived_weight += weight(arrival);
        }
        for progress in &frame.content.progress {
            self.progress(frame, progress);
        }
    }

    /// Takes in batches that arrived earlier, without counting them: only so that their service is.
    pub(super) fn expect(&mut self, frame: &StoredContent) {
        for arrival in &frame.content.arrivals {
            let key = (frame.pod_uid.clone(), frame.boot, arrival.batch_id);
            self.open.insert(key, (weight(arrival), arrival.arrived_at.0));
        }
    }

    fn sample(&mut self, sample: &ResourceSample) {
        if sample.interval_ms > LONGEST_MS {
            return;
        }
        let length = f64::from(sample.interval_ms.max(1));
        let end = sample.at.0 as f64;
        let pair = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some((a.unwrap_or(0) as f64) + b.unwrap_or(0) as f64),
        };
        let number = |value: Option<u64>| value.map(|value| value as f64);
        let told = [
            (Metric::Cpu, number(sample.cpu_us)),
            (Metric::Memory, number(sample.memory_working_set.or(sample.memory).map(|bytes| bytes.0))),
            (Metric::Io, pair(sample.io_read_bytes, sample.io_write_bytes)),
            (Metric::Network, pair(sample.net_rx_bytes, sample.net_tx_bytes)),
            (Metric::Throttled, number(sample.cpu_throttled_us)),
            (Metric::Waiting, sample.backlog.map(|backlog| backlog.waiting as f64)),
            (Metric::InService, sample.backlog.map(|backlog| backlog.in_service as f64)),
        ];
        self.spread(end - length, end, |cell, share| {
            cell.covered_ms += share * length;
            for (metric, value) in told {
                if let Some(value) = value {
                    cell.add_to(metric, share * value * if metric.is_level() { length } else { 1.0 });
                }
            }
            if sample.backlog.is_some() {
                for metric in [Metric::Arrivals, Metric::ArrivedBytes, Metric::Served] {
                    cell.add_to(metric, 0.0);
                }
            }
            cell.periods += share * sample.cpu_periods.unwrap_or(0) as f64;
            cell.throttled_periods += share * sample.cpu_throttled_periods.unwrap_or(0) as f64;
            if let Some(kills) = sample.oom_kills {
                *cell.oom_kills.get_or_insert(0.0) += share * kills as f64;
            }
        });
        if let Some(backlog) = sample.backlog
            && let Some(cell) = self.cell(sample.at.0 / self.step_ms)
        {
            cell.oldest_wait_ms = most(cell.oldest_wait_ms, Some(backlog.oldest_wait_ms as f64));
        }
    }

    fn progress(&mut self, frame: &StoredContent, progress: &BatchProgress) {
        let Some(finished) = progress.finished_at else { return };
        let key = (frame.pod_uid.clone(), frame.boot, progress.batch_id);
        let Some((weight, arrived_at)) = self.open.remove(&key) else { return };
        let started = progress.started_at.map_or(arrived_at, |at| at.0);
        let (from, to) = (started as f64, finished.0.max(started.saturating_add(1)) as f64);
        self.spread(from.max(to - f64::from(LONGEST_MS)), to, |cell, share| {
            cell.add_to(Metric::Served, share);
            cell.served_weight += share * weight;
        });
    }

    /// Calls `add` for each cell that `from..to` (ms, an hour at most) lies in, with the share of the time that it has of it.
    fn spread(&mut self, from: f64, to: f64, mut add: impl FnMut(&mut Sums, f64)) {
        let step = self.step_ms as f64;
        let (first, last) = ((from.max(0.0) / step) as u64, ((to - 1e-3).max(0.0) / step) as u64);
        for index in first..=last {
            let start = index as f64 * step;
            let share = ((start + step).min(to) - start.max(from)).max(0.0) / (to - from);
            if share > 0.0
                && let Some(cell) = self.cell(index)
            {
                add(cell, share);
            }
        }
    }

    /// Takes out the steps that end before a time (ms), and batches that have waited too long by then.
    pub(super) fn take_before(&mut self, step_ms: u64, before_ms: u64) -> BTreeMap<u64, Rolled> {
        let later = self.cells.split_off(&(before_ms / step_ms * step_ms / self.step_ms));
        let gone = std::mem::replace(&mut self.cells, later);
        self.open.retain(|_, (_, arrived_at)| arrived_at.saturating_add(WAIT_MS) > before_ms);
        self.rolled_of(&gone, step_ms)
    }

    /// Steps of a multiple of the cells' length; peaks are over the cells.
    pub(super) fn roll(&self, step_ms: u64) -> BTreeMap<u64, Rolled> {
        self.rolled_of(&self.cells, step_ms)
    }

    fn rolled_of(&self, all: &BTreeMap<u64, Sums>, step_ms: u64) -> BTreeMap<u64, Rolled> {
        let mut rolled: BTreeMap<u64, Rolled> = BTreeMap::new();
        let mut cells: Vec<&Sums> = Vec::new();
        let mut step = None;
        for (index, cell) in all {
            let of = index * self.step_ms / step_ms;
            if let Some(before) = step.filter(|before| *before != of) {
                rolled.insert(before, self.rolled(&cells));
                cells.clear();
            }
            step = Some(of);
            cells.push(cell);
        }
        rolled.extend(step.map(|last| (last, self.rolled(&cells))));
        rolled
    }

    fn rolled(&self, cells: &[&Sums]) -> Rolled {
        let mut out = Rolled::default();
        cells.iter().for_each(|cell| out.sums.add(cell));
        for metric in Metric::ALL {
            let mut values: Vec<f64> = cells.iter().filter_map(|cell| cell.mean(metric, self.step_ms)).collect();
            values.sort_by(f64::total_cmp);
            out.peaks.max[metric as usize] = values.last().copied();
            out.peaks.p95[metric as usize] = quantile95(&values);
        }
        out
    }
}

/// Of sorted values.
pub(super) fn quantile95(sorted: &[f64]) -> Option<f64> {
    sorted.get((sorted.len() * 19).div_ceil(20).saturating_sub(1)).copied()
}

/// MiB x score.
fn weight(arrival: &BatchArrival) -> f64 {
    let score = arrival.characteristics.data_complexity.score;
    let score = if score.is_finite() { score.clamp(0.0, 1e6) } else { 1.0 };
    arrival.characteristics.data_volume.bytes as f64 / f64::from(1 << 20) * score
}

const INDEX: u16 = 0x400;
const COVERED: u16 = 0x401;
const PERIODS: u16 = 0x402;
const THROTTLED_PERIODS: u16 = 0x403;
const ARRIVED_WEIGHT: u16 = 0x404;
const SERVED_WEIGHT: u16 = 0x405;
const OLDEST_WAIT: u16 = 0x406;
const OOM_KILLS: u16 = 0x407;
const SUM: u16 = 0x410;
const MAX: u16 = 0x430;
const P95: u16 = 0x450;
/// Shares of MiB x score that weights are rounded to.
const WEIGHT_SCALE: f64 = 1024.0;
/// Shares of counts that are spread over steps.
const SHARE_SCALE: f64 = 1000.0;

/// Packs steps, rounded to what a model or a chart could tell apart: µs, bytes, thousandths of a batch.
pub(super) fn pack(rows: &BTreeMap<u64, Rolled>, step_ms: u64, peaks: bool) -> Result<Vec<u8>, String> {
    let mut packer = Packer::new(LEVEL);
    packer.all(INDEX, As::Unsigned, &rows.keys().copied().collect::<Vec<_>>())?;
    let mut put = |id: u16, cell: &dyn Fn(&Rolled) -> Option<f64>| {
        let round = |value: f64| value.round() as u64;
        packer.some(id, As::Unsigned, &rows.values().map(|row| cell(row).map(round)).collect::<Vec<_>>())
    };
    put(COVERED, &|row| Some(row.sums.covered_ms))?;
    put(PERIODS, &|row| Some(row.sums.periods * SHARE_SCALE))?;
    put(THROTTLED_PERIODS, &|row| Some(row.sums.throttled_periods * SHARE_SCALE))?;
    put(ARRIVED_WEIGHT, &|row| Some(row.sums.arrived_weight * WEIGHT_SCALE))?;
    put(SERVED_WEIGHT, &|row| Some(row.sums.served_weight * WEIGHT_SCALE))?;
    put(OLDEST_WAIT, &|row| row.sums.oldest_wait_ms)?;
    put(OOM_KILLS, &|row| Some(row.sums.oom_kills? * SHARE_SCALE))?;
    for (at, metric) in (0..).zip(Metric::ALL) {
        // A level as its mean: one that stands still is then the same in every row.
        put(SUM + at, &|row| {
            let value = row.sums.sum(metric)?;
            let over = if metric.is_level() { level_over(&row.sums, step_ms) } else { 1.0 };
            Some(value / over * metric.scale())
        })?;
        if peaks {
            let stored = metric.scale() / metric.unit();
            put(MAX + at, &|row| Some(row.peaks.max[usize::from(at)]? * stored))?;
            put(P95 + at, &|row| Some(row.peaks.p95[usize::from(at)]? * stored))?;
        }
    }
    Ok(packer.finish())
}

/// What the integral of a level is divided by to be its mean; as rounded when stored.
fn level_over(sums: &Sums, step_ms: u64) -> f64 {
    sums.covered_ms.round().min(step_ms as f64).max(1.0)
}

/// Unpacks steps; total on any input, in the memory that `rows` tells.
pub(super) fn unpack(data: &[u8], rows: usize, step_ms: u64, peaks: bool) -> Result<Vec<(u64, Rolled)>, String> {
    let columns = Columns::parse(data)?;
    let index = columns.whole(INDEX, rows)?;
    let mut out: Vec<(u64, Rolled)> = index.into_iter().map(|index| (index, Rolled::default())).collect();
    let mut take = |id: u16, set: &mut dyn FnMut(&mut Rolled, f64)| -> Result<(), String> {
        let column = columns.column(id, rows)?;
        if !column.is_empty() {
            for ((_, row), cell) in out.iter_mut().zip(column.cells()) {
                cell.into_iter().for_each(|cell| set(row, cell as f64));
            }
        }
        Ok(())
    };
    take(COVERED, &mut |row, value| row.sums.covered_ms = value)?;
    take(PERIODS, &mut |row, value| row.sums.periods = value / SHARE_SCALE)?;
    take(THROTTLED_PERIODS, &mut |row, value| row.sums.throttled_periods = value / SHARE_SCALE)?;
    take(ARRIVED_WEIGHT, &mut |row, value| row.sums.arrived_weight = value / WEIGHT_SCALE)?;
    take(SERVED_WEIGHT, &mut |row, value| row.sums.served_weight = value / WEIGHT_SCALE)?;
    take(OLDEST_WAIT, &mut |row, value| row.sums.oldest_wait_ms = Some(value))?;
    take(OOM_KILLS, &mut |row, value| row.sums.oom_kills = Some(value / SHARE_SCALE))?;
    for (at, metric) in (0..).zip(Metric::ALL) {
        take(SUM + at, &mut |row, value| {
            let over = if metric.is_level() { level_over(&row.sums, step_ms) } else { 1.0 };
            row.sums.add_to(metric, value * over / metric.scale());
        })?;
        if peaks {
            let unit = metric.unit() / metric.scale();
            take(MAX + at, &mut |row, value| row.peaks.max[usize::from(at)] = Some(value * unit))?;
            take(P95 + at, &mut |row, value| row.peaks.p95[usize::from(at)] = Some(value * unit))?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
