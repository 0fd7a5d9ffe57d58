//! What is acknowledged is on disk, and counts once.
//!
//! One SQLite file holds the frames of every pod, the watermarks that tell new frames from those sent again, and
//! what the forecaster and the planner leave. One thread writes, many tasks to a transaction; readers have
//! connections of their own and never wait for it. The log is synced before a write resolves, and a frame's
//! watermark moves in the transaction that stores it: after a crash both are there, or neither.
//!
//! ```text
//! append ─► pack ─► queue ─► writer ─► raw rows, watermarks, gaps ─┐
//! record_* ────────────┘       ▲   └─► models, forecasts, ...      ├─► readers ─► visit, range, window, ...
//! maintain ─► compact ─────────┴─────► columns, roll-ups  (one file)┘
//! ```
//!
//! What arrives is a row a frame, durable at once; in the background rows become blocks of columns, and those roll-ups.
//! What is read is the same before and after. `sql/` tells the tables; the view `contents` is for the `sqlite3` shell.

mod blocks;
mod codec;
mod columns;
mod compact;
mod error;
mod extent;
mod fields;
mod file;
mod frames;
mod pack;
mod range;
mod readers;
mod records;
pub mod retention;
mod rollup;
mod ticks;
pub mod transfer;
mod upkeep;
mod visit;
mod writer;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use forebay_shared::{BootId, ComponentId, Content, Frame, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

pub use self::error::HistoryError;
pub use self::range::{Aggregate, Ranged, Resolution, Window};
pub use self::retention::Keep;
pub use self::rollup::{LONGEST_MS, METRICS, Metric, Peaks, Rolled, Sums};
pub use self::ticks::{Found, Left};

use self::frames::{Fate, Origin, Prepared};
use self::pack::Wanted;
use self::readers::Readers;
use self::visit::Which;
use self::writer::Writer;
use crate::forecast::Forecast;
use crate::identity::PodIdentity;
use crate::planner::Decision;
use crate::view::Scores;

/// Rows of a request from which packing is done off the async threads: some 2 ms of it.
const PACK_APART: usize = 1000;
/// Damaged blocks whose report is remembered, so that each is told once.
const DAMAGE_REMEMBERED: usize = 4096;

/// The history; clones share it.
#[derive(Clone)]
pub struct History(Arc<Inner>);

/// The readers go first: the last connection to close takes the log into the file.
struct Inner {
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    metrics: Metrics,
    keep: Keep,
    damaged: Mutex<HashSet<(&'static str, i64)>>,
    pruned_at: Mutex<Option<Timestamp>>,
    /// What ends before it is too old to be stored, ms.
    oldest: Arc<AtomicU64>,
    /// When each component's rows were last gathered.
    gathered: Mutex<BTreeMap<i64, Timestamp>>,
    /// Steps of compaction that failed, by component and hour, and when.
    resting: Mutex<BTreeMap<(i64, Option<i64>), Timestamp>>,
    /// What is carried over of each component, as it was recorded last.
    carried: Mutex<BTreeMap<ComponentId, String>>,
    /// Decisions that the disk did not take, oldest first.
    unrecorded: Mutex<VecDeque<Decision>>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("History").field(&self.0.path).finish()
    }
}

/// What became of an append.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// The frames that are new, in the order they came.
    pub accepted: Vec<Frame>,
    /// Frames that had been taken before.
    pub duplicates: usize,
    /// Times that frames were missing before an accepted one.
    pub gaps: usize,
    /// Frames that are older than what is kept: taken, and not stored.
    pub too_old: usize,
}

/// A frame of the past, cut to the range asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredContent {
    /// UID of the pod.
    pub pod_uid: Arc<str>,
    /// Name of the pod.
    pub pod: Arc<str>,
    /// The run of the pod's agent.
    pub boot: BootId,
    /// The frame of that run.
    pub sequence: u64,
    /// What it held.
    pub content: Content,
}

/// Frames that never came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// UID of the pod.
    pub pod_uid: String,
    /// The run of the pod's agent.
    pub boot: BootId,
    /// The missing frames of that run.
    pub sequences: Range<u64>,
    /// When the frame after them was closed.
    pub at: Timestamp,
}

/// A stretch of a component's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretch {
    /// The frames of all pods, by the time of their earliest event.
    pub frames: Vec<StoredContent>,
    /// Blocks left out since they are damaged.
    pub damaged_blocks: usize,
    /// Frames that never came.
    pub gaps: Vec<Gap>,
}

/// How much raw history there is of a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The oldest event.
    pub from: Option<Timestamp>,
    /// The newest event.
    pub to: Option<Timestamp>,
    /// Samples.
    pub samples: u64,
    /// Batches that arrived.
    pub batches: u64,
}

/// A trained model at rest.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// Whose model.
    pub component: ComponentId,
    /// Such as `lstm`.
    pub kind: String,
    /// Counts the component's models.
    pub version: u64,
    /// When it was trained.
    pub trained_at: Timestamp,
    /// On held-out history.
    pub scores: Scores,
    /// 0 (as good as nothing) to 1.
    pub confidence: f64,
    /// The weights, under their own header.
    pub weights: Vec<u8>,
}

/// A row or block that can't be read.
#[derive(Debug)]
struct Damage {
    table: &'static str,
    id: i64,
    start_ms: i64,
    detail: String,
}

/// Counters; clones share them.
#[derive(Clone, Debug)]
struct Metrics {
    too_old: Counter,
    compactions: Counter,
    compacted_rows: Counter,
    damaged_blocks: Counter,
    failed_steps: Counter,
    failed_writes: Counter,
    busy: Counter,
    commit_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            too_old: Counter::default(),
            compactions: Counter::default(),
            compacted_rows: Counter::default(),
            damaged_blocks: Counter::default(),
            failed_steps: Counter::default(),
            failed_writes: Counter::default(),
            busy: Counter::default(),
            // 0.5 ms, a fast disk's sync, to 8 s, a disk that is overrun.
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
        }
    }
}

// === impl History ===

impl History {
    /// Opens the history at `path`; makes it where there is none.
    ///
    /// # Errors
    /// A path that can't be a file, another program's file, a newer Forebay's, a damaged one: all left untouched.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Self::open_with(path, Keep::default())
    }

    /// The same, and keeps what it holds for other times.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn open_with(path: &Path, keep: Keep) -> Result<Self, HistoryError> {
        let metrics = Metrics::default();
        let connection = file::open_writer(path)?;
        let oldest = retention::oldest(&connection).map_err(|error| HistoryError::sqlite(path, &error))?;
        Ok(Self(Arc::new(Inner {
            readers: Readers::new(path.to_owned()),
            writer: Writer::start(path.to_owned(), connection, metrics.clone())?,
            path: path.to_owned(),
            metrics,
            keep,
            damaged: Mutex::default(),
            pruned_at: Mutex::default(),
            oldest: Arc::new(AtomicU64::new(oldest.0)),
            gathered: Mutex::default(),
            resting: Mutex::default(),
            carried: Mutex::default(),
            unrecorded: Mutex::default(),
        })))
    }

    /// Registers the counters, `forebay_history_*`.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = &self.0.metrics;
        let registry = registry.sub_registry_with_prefix("forebay_history");
        registry.register("too_old", "Frames taken and not stored, older than what is kept", metrics.too_old.clone());
        registry.register(
            "compactions",
            "Transactions that put rows or blocks into columns",
            metrics.compactions.clone(),
        );
        registry.register("compacted_rows", "Rows put into columns", metrics.compacted_rows.clone());
        registry.register("damaged_blocks", "Damaged blocks found and left out", metrics.damaged_blocks.clone());
        registry.register("failed_steps", "Steps of the upkeep that failed", metrics.failed_steps.clone());
        registry.register("failed_writes", "Writes that failed, as on a full disk", metrics.failed_writes.clone());
        registry.register("busy", "Appends refused since the queue was full", metrics.busy.clone());
        registry.register("commit_seconds", "Time of a transaction with its sync", metrics.commit_seconds.clone());
    }

    /// Stores the frames of a pod that are new. Resolves when the transaction that holds them is synced.
    ///
    /// A frame is new if its sequence is not below the watermark of its pod and boot, since an agent sends in order, or if
    /// it falls in a gap that was left before one.
    /// Dropping the future does not take back what is queued.
    ///
    /// # Errors
    /// [`HistoryError::Busy`] if the queue is full, [`HistoryError::Refused`] if a frame can't be stored,
    /// [`HistoryError::Full`] on a full disk: nothing is stored then, and the same frames may be sent again.
    pub async fn append(&self, pod: &PodIdentity, frames: Vec<Frame>) -> Result<Appended, HistoryError> {
        let oldest = self.0.oldest.clone();
        // The time is looked at when the turn has come: prunings that went before have moved it.
        let origin = move || Origin::Agent { oldest: Timestamp(oldest.load(Ordering::Relaxed)) };
        self.store(pod, frames, origin).await
    }

    async fn store(
        &self,
        pod: &PodIdentity,
        frames: Vec<Frame>,
        origin: impl FnOnce() -> Origin + Send + 'static,
    ) -> Result<Appended, HistoryError> {
        let rows = frames.iter().map(|Frame { content: c, .. }| c.samples.len() + c.arrivals.len() + c.progress.len());
        let (frames, prepared) = if rows.sum::<usize>() < PACK_APART {
            prepare(frames)?
        } else {
            tokio::task::spawn_blocking(move || prepare(frames)).await.map_err(|_| HistoryError::Closed)??
        };
        let pod = pod.clone();
        let store = move |connection: &rusqlite::Connection| frames::store(connection, &pod, &prepared, origin());
        let stored = self.0.writer.try_write(store).await.inspect_err(|error| {
            self.0.metrics.busy.inc_by(u64::from(matches!(error, HistoryError::Busy)));
        })?;
        let count = |of| stored.fates.iter().filter(|fate| **fate == of).count();
        let (duplicates, too_old) = (count(Fate::Duplicate), count(Fate::TooOld));
        if too_old > 0 {
            self.0.metrics.too_old.inc_by(too_old as u64);
            tracing::warn!(too_old, "frames are older than what is kept: acknowledged, and not stored");
        }
        let new = frames.into_iter().zip(&stored.fates).filter(|(_, fate)| **fate == Fate::New);
        let accepted = new.map(|(frame, _)| frame).collect();
        Ok(Appended { accepted, duplicates, gaps: stored.gaps, too_old })
    }

    /// The components that there is something of, by name.
    pub fn components(&self) -> Result<Vec<ComponentId>, HistoryError> {
        let keys = self.0.readers.read(|connection| {
            let mut select = connection.prepare_cached("SELECT key FROM components ORDER BY key")?;
            select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        })?;
        let named = |key: String| {
            key.parse().inspect_err(|error| tracing::error!(%error, "the history holds a component without a name"))
        };
        Ok(keys.into_iter().filter_map(|key| named(key).ok()).collect())
    }

    /// All of a component in a range. Blocks: for the blocking threads.
    pub fn read(&self, component: &ComponentId, range: Range<Timestamp>) -> Result<Stretch, HistoryError> {
        let mut stretch = Stretch::default();
        stretch.damaged_blocks = self.visit(component, range.clone(), |frame| stretch.frames.push(frame))?;
        stretch.gaps = self.0.readers.read(|connection| frames::gaps(connection, component, &range, usize::MAX))?;
        Ok(stretch)
    }

    /// Gives `each` frame of a component in a range, in the order of [`Stretch::frames`], one at a time: for ranges
    /// that would not fit into memory as samples. Tells how many damaged blocks were left out. `each` must not read
    /// the history itself. Blocks: for the blocking threads.
    pub fn visit(
        &self,
        component: &ComponentId,
        range: Range<Timestamp>,
        each: impl FnMut(StoredContent),
    ) -> Result<usize, HistoryError> {
        let mut damaged = 0;
        let damage = |damage| {
            damaged += 1;
            self.report(component, &damage);
        };
        let what = (Which::All, Wanted::All);
        self.0.readers.read(|connection| visit::visit(connection, component, &range, what, each, damage))?;
        Ok(damaged)
    }

    /// The frames that never came, of a component in a range: the newest `most` gaps, oldest first, and the number of frames
    /// in all. The time of a gap is that of the frame after it. Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The disk's.
    pub fn gaps(
        &self,
        component: &ComponentId,
        range: Range<Timestamp>,
        most: usize,
    ) -> Result<(Vec<Gap>, u64), HistoryError> {
        self.0.readers.read(|connection| {
            let gaps = frames::gaps(connection, component, &range, most)?;
            Ok((gaps, frames::missing(connection, component, &range)?))
        })
    }

    /// How much there is of every component. Blocks: for the blocking threads.
    ///
    /// # Errors
    /// The disk's.
    pub fn extents(&self) -> Result<BTreeMap<ComponentId, Extent>, HistoryError> {
        self.0.readers.read(extent::extents)
    }

    /// How much there is of a component. Blocks: for the blocking threads.
    pub fn extent(&self, component: &ComponentId) -> Result<Extent, HistoryError> {
        self.0.readers.read(|connection| extent::extent(connection, component))
    }

    /// The newest decisions of a component, newest first.
    pub fn decisions(&self, component: &ComponentId, limit: usize) -> Result<Vec<Decision>, HistoryError> {
        let read = self.0.readers.read(|connection| records::decisions(connection, component, limit))?;
        Ok(self.intact(component, read))
    }

    /// The forecasts of a component that were made in a range, oldest first.
    pub fn forecasts(&self, component: &ComponentId, made: Range<Timestamp>) -> Result<Vec<Forecast>, HistoryError> {
        let read = self.0.readers.read(|connection| records::forecasts(connection, component, &made))?;
        Ok(self.intact(component, read))
    }

    /// Records a model, which becomes the active one; the newest three are kept.
    pub async fn record_model(&self, model: StoredModel) -> Result<(), HistoryError> {
        let scores = serde_json::to_string(&model.scores).map_err(|error| self.unstorable(error))?;
        self.0.writer.write(move |connection| records::store_model(connection, &model, &scores)).await
    }

    /// The models of a component that are kept: the active one, then the newest first.
    pub fn models(&self, component: &ComponentId) -> Result<Vec<StoredModel>, HistoryError> {
        let read = self.0.readers.read(|connection| records::models(connection, component))?;
        Ok(self.intact(component, read))
    }

    /// The active model of a component; the newest that is intact, should it be damaged.
    pub fn active_model(&self, component: &ComponentId) -> Result<Option<StoredModel>, HistoryError> {
        Ok(self.models(component)?.into_iter().next())
    }

    /// Takes no more, and waits for what was taken; what comes later is [`HistoryError::Closed`]. Dropping the last
    /// clone does the same.
    pub fn close(&self) {
        self.0.readers.close();
        self.0.writer.close();
    }

    fn report(&self, component: &dyn fmt::Display, damage: &Damage) {
        let mut told = self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < DAMAGE_REMEMBERED && told.insert((damage.table, damage.id)) {
            let Damage { table, id, start_ms, detail } = damage;
            tracing::error!(%component, start_ms, table, id, detail, "a block of the history is damaged and left out");
            self.0.metrics.damaged_blocks.inc();
        }
    }

    fn intact<T>(&self, component: &ComponentId, (values, damaged): (Vec<T>, Vec<String>)) -> Vec<T> {
        for detail in damaged {
            tracing::error!(%component, detail, "a record of the history is damaged and left out");
            self.0.metrics.damaged_blocks.inc();
        }
        values
    }

    fn unstorable(&self, error: impl fmt::Display) -> HistoryError {
        HistoryError::Failed { path: self.0.path.clone(), detail: format!("cannot be encoded: {error}") }
    }
}

fn prepare(frames: Vec<Frame>) -> Result<(Vec<Frame>, Vec<Prepared>), HistoryError> {
    let prepared = frames
        .iter()
        .enumerate()
        .map(|(frame, of)| frames::prepare(of).map_err(|reason| HistoryError::Refused { frame, reason }))
        .collect::<Result<_, _>>()?;
    Ok((frames, prepared))
}

#[cfg(test)]
mod tests;
