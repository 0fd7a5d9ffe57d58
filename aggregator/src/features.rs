//! A component's history as rows of one step each: what models learn from and forecast on.
//!
//! ```text
//! frames of all pods ─► Series: rows on a fixed grid ─► Dataset: channels and targets, a row a step
//! ```
//!
//! Rows are found by the data's own time, so late and out-of-order frames land where they belong. A row at `t` holds
//! nothing later than `t`'s end: there is no look-ahead.

mod dataset;
mod restore;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use forebay_shared::{BatchArrival, BatchProgress, BootId, Content, ResourceSample, Timestamp};

use crate::cost::{Cost, CostModel};
use crate::forecast::Resource;

pub use dataset::{CALENDAR, CHANNELS, Dataset};

/// Rows kept in memory: a day of 15 s steps, about 1 MB a component.
pub const RETAINED_ROWS: usize = 5760;
/// Batches followed from arrival to end, a component; beyond it the oldest is forgotten. About 100 bytes each.
const OPEN_BATCHES: usize = 65_536;
/// Ended batches whose place in the order of arrival is still kept, beside as many as are open.
const ORDER_SLACK: usize = 1024;
/// Closed rows that the cost model waits for the news of batches that ran in them.
const SETTLE_ROWS: u64 = 4;
/// What is later than now by more than this comes of a wrong clock: twice what ingest takes.
const AHEAD: Duration = Duration::from_secs(120);
/// A row is censored when more than this share of its CFS periods was throttled: demand was at least the usage.
const CENSORED_SHARE: f64 = 0.05;
/// Arrivals of a part of a step stand for at most so many times as many: a moment tells little of the rest.
const MOST_MISSING: f64 = 4.0;

/// What happened to a component in one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    /// Pod-milliseconds that samples cover.
    covered_ms: f64,
    cpu_us: Option<f64>,
    /// Integral over time, byte-milliseconds.
    memory_byte_ms: Option<f64>,
    io_bytes: Option<f64>,
    periods: f64,
    throttled_periods: f64,
    /// Batches that arrived.
    pub arrivals: f64,
    /// Bytes of them.
    pub arrived_bytes: f64,
    /// MiB x score of them.
    pub arrived_weight: f64,
    /// Batches served, each by the share of its service time in the row.
    served: f64,
    served_weight: f64,
    /// Integrals over time, batch-milliseconds.
    waiting_ms: Option<f64>,
    in_service_ms: Option<f64>,
    /// The longest that a batch had waited, seconds.
    pub oldest_wait: Option<f64>,
    /// The taps spoke: arrivals are known, even where they are none.
    tapped: bool,
}

impl Row {
    /// CPU used, cores; `None` where no sample tells.
    pub fn usage(&self, step_ms: u64) -> Option<f64> {
        Some(self.cpu_us? / 1000.0 / self.covered(step_ms)?)
    }

    /// Memory, bytes, summed over pods.
    pub fn memory(&self, step_ms: u64) -> Option<f64> {
        Some(self.memory_byte_ms? / self.covered(step_ms)?)
    }

    /// Bytes read and written a second.
    pub fn io(&self, step_ms: u64) -> Option<f64> {
        Some(self.io_bytes? / self.covered(step_ms)? * 1000.0)
    }

    /// Batches waiting, summed over pods, in the mean over the step.
    pub fn waiting(&self, step_ms: u64) -> Option<f64> {
        Some(self.waiting_ms? / self.covered(step_ms)?)
    }

    /// Batches being worked on, likewise.
    pub fn in_service(&self, step_ms: u64) -> Option<f64> {
        Some(self.in_service_ms? / self.covered(step_ms)?)
    }

    /// Batches arriving a second; `None` where no tap tells.
    pub fn arrival_rate(&self, step_ms: u64) -> Option<f64> {
        self.tapped.then(|| self.arrivals / self.heard_ms(step_ms) * 1000.0)
    }

    /// The time that arrivals are known of, ms: what frames that never came held is unknown, not zero.
    fn heard_ms(&self, step_ms: u64) -> f64 {
        self.covered(step_ms).unwrap_or(step_ms as f64).max(step_ms as f64 / MOST_MISSING)
    }

    /// Usage is a lower bound of demand here: CPU was throttled, or batches had to wait.
    pub fn censored(&self) -> bool {
        self.throttled_periods > CENSORED_SHARE * self.periods.max(1.0) || self.waiting_ms.is_some_and(|w| w > 0.0)
    }

    /// What the rates are over: the step, or the part of it that is covered where that is less.
    fn covered(&self, step_ms: u64) -> Option<f64> {
        (self.covered_ms > 0.0).then(|| self.covered_ms.min(step_ms as f64))
    }
}

type BatchKey = (String, BootId, u64);

struct OpenBatch {
    weight: f64,
    arrived_at: Timestamp,
}

/// The rows of a component.
pub struct Series {
    step_ms: u64,
    /// Index of the first row: rows start at `index x step`.
    first: u64,
    rows: VecDeque<Row>,
    /// Rows that something is known of.
    known: usize,
    open: HashMap<BatchKey, OpenBatch>,
    order: VecDeque<BatchKey>,
    cost_model: CostModel,
    cost: Option<Cost>,
    /// The next row that the cost model learns from.
    learned: u64,
    /// The newest sample's time and backlog, by pod.
    pods: HashMap<String, ResourceSample>,
    heard_at: Option<Timestamp>,
    sampling: Option<String>,
}

impl Series {
    /// No rows yet.
    pub fn new(step: Duration) -> Self {
        Self {
            step_ms: (step.as_millis() as u64).max(1),
            first: 0,
            rows: VecDeque::new(),
            known: 0,
            open: HashMap::new(),
            order: VecDeque::new(),
            cost_model: CostModel::default(),
            cost: None,
            learned: 0,
            pods: HashMap::new(),
            heard_at: None,
            sampling: None,
        }
    }

    /// Length of a step, ms.
    pub fn step_ms(&self) -> u64 {
        self.step_ms
    }

    /// When a pod's news last came in, by the newest sample's own time.
    pub fn heard_at(&self) -> Option<Timestamp> {
        self.heard_at
    }

    /// How the agents sample.
    pub fn sampling(&self) -> Option<&str> {
        self.sampling.as_deref()
    }

    /// What the fit of costs says; `None` before it has seen enough.
    pub fn cost(&self) -> Option<Cost> {
        self.cost
    }

    /// The step that `at` lies in.
    pub fn index(&self, at: Timestamp) -> u64 {
        at.0 / self.step_ms
    }

    /// The row of a step.
    pub fn row(&self, index: u64) -> Option<&Row> {
        self.rows.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Indices of the first row and of the one after the last.
    pub fn extent(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.rows.len() as u64
    }

    /// Rows that samples tell of: neither gaps nor what lies between a start and a wild time.
    pub fn known_rows(&self) -> usize {
        self.known
    }

    /// CPU work that arrived in a step, cores. From the batches that arrived and their cost where taps tell, which
    /// throttling and waiting cannot hide; else from usage.
    pub fn demand(&self, index: u64) -> Option<f64> {
        let row = self.row(index)?;
        match self.cost {
            // A tap that never tells of ends teaches no cost of batches.
            Some(cost) if row.tapped && cost.per_batch + cost.per_mib > 0.0 => {
                let work = cost.of(row.arrivals, row.arrived_weight);
                Some(cost.base + work / row.heard_ms(self.step_ms) * 1000.0)
            }
            _ => row.usage(self.step_ms),
        }
    }

    /// A resource's fact in a step.
    pub fn fact(&self, resource: Resource, index: u64) -> Option<f64> {
        let row = self.row(index)?;
        match resource {
            Resource::Cpu => self.demand(index),
            Resource::Memory => row.memory(self.step_ms),
            Resource::Io => row.io(self.step_ms),
            Resource::Arrivals => row.arrival_rate(self.step_ms),
        }
    }

    /// CPU-seconds of the batches that wait, and batches in service; from the newest sample of each pod heard of
    /// since `since`.
    pub fn backlog(&self, since: Timestamp) -> Option<Waiting> {
        let mut total: Option<Waiting> = None;
        for sample in self.pods.values().filter(|sample| sample.at >= since) {
            if let Some(backlog) = sample.backlog {
                let total = total.get_or_insert_default();
                total.batches += backlog.waiting;
                total.bytes += backlog.waiting_bytes;
                total.in_service += backlog.in_service;
                total.oldest = total.oldest.max(Duration::from_millis(backlog.oldest_wait_ms));
            }
        }
        total
    }

    /// CPU-seconds that `waiting` will take, by the fit of costs and the mean score of late.
    pub fn work_of(&self, waiting: &Waiting) -> f64 {
        let (bytes, weight) = self
            .rows
            .iter()
            .rev()
            .take(40)
            .fold((0.0, 0.0), |(b, w), row| (b + row.arrived_bytes, w + row.arrived_weight));
        let per_byte = if bytes > 0.0 { weight / bytes } else { 1.0 / f64::from(1 << 20) };
        self.cost.map_or(0.0, |cost| cost.of(waiting.batches as f64, waiting.bytes as f64 * per_byte))
    }

    /// Mean CPU-seconds of a batch of late; `None` where nothing tells.
    pub fn service_seconds(&self) -> Option<f64> {
        let cost = self.cost?;
        let (batches, weight) =
            self.rows.iter().rev().take(40).fold((0.0, 0.0), |(b, w), row| (b + row.arrivals, w + row.arrived_weight));
        (batches > 0.0).then(|| cost.of(batches, weight) / batches)
    }

    /// Takes in what a pod has sent.
    pub fn observe(&mut self, pod: &str, boot: BootId, content: &Content) {
        for sample in &content.samples {
            self.sample(pod, sample);
        }
        for arrival in &content.arrivals {
            self.arrival((pod.to_owned(), boot, arrival.batch_id), arrival);
        }
        for progress in &content.progress {
            self.progress(&(pod.to_owned(), boot, progress.batch_id), progress);
        }
        self.sampling = Some(content.sampling.clone());
    }

    /// Lets the cost model learn from the rows that have settled by `now`.
    pub fn settle(&mut self, now: Timestamp) {
        self.forget_after(now.plus(AHEAD));
        let until = self.index(now).saturating_sub(SETTLE_ROWS).min(self.extent().end);
        self.learned = self.learned.max(self.first);
        while self.learned < until {
            if let Some(row) = self.row(self.learned).copied()
                && let (Some(usage), true) = (row.usage(self.step_ms), row.tapped)
            {
                let seconds = self.step_ms as f64 / 1000.0;
                self.cost_model.learn(seconds, row.served, row.served_weight, usage * seconds);
            }
            self.learned += 1;
        }
        self.cost = self.cost_model.fit();
    }

    /// Forgets what is later than anything can be: it comes of a clock that was ahead and came back, and would stand before
    /// all that follows until its time is there.
    fn forget_after(&mut self, latest: Timestamp) {
        if self.heard_at.is_none_or(|at| at <= latest) {
            return;
        }
        self.pods.retain(|_, newest| newest.at <= latest);
        self.heard_at = self.pods.values().map(|newest| newest.at).max();
        let end = self.index(latest) + 1;
        let kept = usize::try_from(end.saturating_sub(self.first)).unwrap_or(usize::MAX);
        while self.rows.len() > kept {
            let gone = self.rows.pop_back();
            self.known = self.known.saturating_sub(usize::from(gone.is_some_and(|row| row.covered_ms > 0.0)));
        }
        (self.first, self.learned) = (self.first.min(end), self.learned.min(end));
    }

    fn sample(&mut self, pod: &str, sample: &ResourceSample) {
        let end = sample.at.0 as f64;
        let length = f64::from(sample.interval_ms.max(1));
        let io = match (sample.io_read_bytes, sample.io_write_bytes) {
            (None, None) => None,
            (read, write) => Some((read.unwrap_or(0) + write.unwrap_or(0)) as f64),
        };
        let memory = sample.memory_working_set.or(sample.memory);
        let mut known = 0;
        self.spread(end - length, end, |row, share| {
            known += usize::from(row.covered_ms == 0.0 && share > 0.0);
            row.covered_ms += share * length;
            if let Some(cpu) = sample.cpu_us {
                *row.cpu_us.get_or_insert(0.0) += share * cpu as f64;
            }
            if let Some(backlog) = sample.backlog {
                *row.waiting_ms.get_or_insert(0.0) += share * length * backlog.waiting as f64;
                *row.in_service_ms.get_or_insert(0.0) += share * length * backlog.in_service as f64;
            }
            if let Some(memory) = memory {
                *row.memory_byte_ms.get_or_insert(0.0) += share * length * memory.0 as f64;
            }
            if let Some(io) = io {
                *row.io_bytes.get_or_insert(0.0) += share * io;
            }
            row.periods += share * sample.cpu_periods.unwrap_or(0) as f64;
            row.throttled_periods += share * sample.cpu_throttled_periods.unwrap_or(0) as f64;
            row.tapped |= sample.backlog.is_some();
        });
        self.known += known;
        if let (Some(backlog), Some(row)) = (sample.backlog, self.row_mut(self.index(sample.at))) {
            let wait = backlog.oldest_wait_ms as f64 / 1000.0;
            row.oldest_wait = Some(row.oldest_wait.map_or(wait, |longest| longest.max(wait)));
        }
        if self.pods.get(pod).is_none_or(|newest| newest.at < sample.at) {
            self.pods.retain(|_, known| sample.at.since(known.at) < Duration::from_secs(3600));
            self.pods.insert(pod.to_owned(), sample.clone());
        }
        self.heard_at = self.heard_at.max(Some(sample.at));
    }

    fn arrival(&mut self, key: BatchKey, arrival: &BatchArrival) {
        let bytes = arrival.characteristics.data_volume.bytes as f64;
        let score = arrival.characteristics.data_complexity.score;
        let score = if score.is_finite() { score.clamp(0.0, 1e6) } else { 1.0 };
        let weight = bytes / f64::from(1 << 20) * score;
        if let Some(row) = self.row_mut(self.index(arrival.arrived_at)) {
            row.arrivals += 1.0;
            row.arrived_bytes += bytes;
            row.arrived_weight += weight;
            row.tapped = true;
        }
        while self.open.len() >= OPEN_BATCHES
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        // One batch that never ends would hold all that came after it.
        if self.order.len() > 2 * self.open.len() + ORDER_SLACK {
            self.order.retain(|key| self.open.contains_key(key));
        }
        self.order.push_back(key.clone());
        self.open.insert(key, OpenBatch { weight, arrived_at: arrival.arrived_at });
    }

    fn progress(&mut self, key: &BatchKey, progress: &BatchProgress) {
        let Some(finished) = progress.finished_at else { return };
        let Some(batch) = self.open.remove(key) else { return };
        let started = progress.started_at.unwrap_or(batch.arrived_at);
        let (from, to) = (started.0 as f64, finished.0.max(started.0 + 1) as f64);
        self.spread(from, to, |row, share| {
            row.served += share;
            row.served_weight += share * batch.weight;
        });
    }

    /// Calls `add` for each row that `from..to` (ms) lies in, with the share of the time that it has of it.
    fn spread(&mut self, from: f64, to: f64, mut add: impl FnMut(&mut Row, f64)) {
        let step = self.step_ms as f64;
        let (first, last) = ((from.max(0.0) / step) as u64, ((to - 1e-3).max(0.0) / step) as u64);
        // A stretch longer than what is kept can only be an error of its sender.
        if last.saturating_sub(first) > RETAINED_ROWS as u64 {
            return;
        }
        for index in first..=last {
            let start = index as f64 * step;
            let share = ((start + step).min(to) - start.max(from)).max(0.0) / (to - from);
            if let Some(row) = self.row_mut(index) {
                add(row, share);
            }
        }
    }

    /// The row of a step, made if need be; `None` for a step older than what is kept.
    fn row_mut(&mut self, index: u64) -> Option<&mut Row> {
        if self.rows.is_empty() {
            self.first = index;
        }
        let end = self.first + self.rows.len() as u64;
        if index.saturating_add(RETAINED_ROWS as u64) < end {
            return None;
        }
        while index < self.first {
            self.first -= 1;
            self.rows.push_front(Row::default());
        }
        if index >= self.first + 2 * RETAINED_ROWS as u64 {
            self.rows.clear();
            self.known = 0;
            self.first = index;
        }
        while index >= self.first + self.rows.len() as u64 {
            self.rows.push_back(Row::default());
        }
        while self.rows.len() > RETAINED_ROWS {
            let gone = self.rows.pop_front();
            self.known = self.known.saturating_sub(usize::from(gone.is_some_and(|row| row.covered_ms > 0.0)));
            self.first += 1;
        }
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.rows.get_mut(at)
    }
}

/// What waits in front of a component, over its pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Batches arrived and not started.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Batches started and not finished.
    pub in_service: u64,
    /// The longest wait.
    pub oldest: Duration,
}

#[cfg(test)]
mod tests;
