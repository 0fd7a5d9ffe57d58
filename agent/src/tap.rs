//! Tap: the component's batches: those that it tells of by pushing, those that pass through on their way to it, and the
//! files that come to lie in its directory and go.
//!
//! ```text
//! POST /v1/batches ─► body, bounded ─► inspection ─► BatchArrival ─┐
//! …/{id}/start, …/{id}/finish ─► ledger ─► BatchProgress ──────────┼─► buffer
//! dir: a file completed, opened, gone ─► inspection, ledger ───────┤
//! http=…, tcp=… ─► inline ─► passing ─► inspector, ledger ─────────┘
//!                                          └─► Backlog ─► sampler
//! ```
//!
//! Memory is bounded at each step, and what gives way is counted. Inspection that cannot keep up, or that panics,
//! costs the batch its vector, never its place: the batch is recorded by its volume.

mod body;
pub(crate) mod dir;
mod http;
mod inline;
mod inspection;
mod inspector;
mod ledger;
mod passing;
mod routes;
mod target;
mod tcp;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_shared::{Backlog, BatchArrival, BatchProgress, DataCharacteristics, Outcome, Timestamp};
use tokio::time::Instant;

pub(crate) use self::inline::Inline;
use self::inspection::Inspection;
#[cfg(test)]
pub(crate) use self::ledger::FORGET_AFTER;
use self::ledger::Ledger;
pub(crate) use self::ledger::Source;
pub(crate) use self::routes::routes;
use crate::buffer::Buffer;
use crate::metrics::Metrics;

/// Shared by all taps and the sampler; a clone is the same tap. What it records, it records as of its source.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Shared>, Source);

struct Shared {
    ledger: Mutex<Ledger>,
    /// Ages in the ledger count from here: the steps of a wall clock must not make batches old.
    born: Instant,
    inspection: Inspection,
    buffer: Buffer,
    metrics: Metrics,
}

impl Tap {
    /// A tap of what is pushed.
    pub(crate) fn new(buffer: Buffer, metrics: Metrics) -> Self {
        // Ids are unique among the pod's batches, over restarts of the agent too: a random upper half a boot.
        let first_id = u64::from(fastrand::u32(..) >> 1) << 32;
        let ledger = Mutex::new(Ledger::new(first_id));
        let inspection = Inspection::new(metrics.clone());
        Self(Arc::new(Shared { ledger, born: Instant::now(), inspection, buffer, metrics }), Source::Push)
    }

    /// After how long pushed batches are forgotten whose end is never told.
    pub(crate) fn forgetting_after(self, after: Duration) -> Self {
        self.ledger().forget_after(after);
        self
    }

    /// The same tap, for what comes from another source.
    pub(crate) fn of(&self, source: Source) -> Self {
        Self(Arc::clone(&self.0), source)
    }

    /// What waits and what is worked on at `at`.
    pub(crate) fn backlog(&self, at: Timestamp) -> Option<Backlog> {
        let clock = self.clock();
        let mut ledger = self.ledger();
        let forgotten = ledger.forget(clock);
        let backlog = ledger.backlog(at);
        drop(ledger);
        self.0.metrics.tap_expired_batches.inc_by(forgotten);
        backlog
    }

    /// Batches that have not finished.
    pub(crate) fn open(&self) -> usize {
        self.ledger().open()
    }

    /// Records a batch, and gives its id.
    fn arrive(&self, arrived_at: Timestamp, characteristics: DataCharacteristics) -> u64 {
        let batch_id = self.admit(arrived_at, characteristics.data_volume.bytes);
        self.tell(BatchArrival { batch_id, arrived_at, characteristics });
        batch_id
    }

    /// A batch that has begun to arrive waits from now on; its arrival is told once it has been looked at.
    fn admit(&self, arrived_at: Timestamp, bytes: u64) -> u64 {
        let clock = self.clock();
        let (batch_id, evicted) = self.ledger().arrive(self.1, arrived_at, bytes, clock);
        self.0.metrics.tap_evicted_batches.inc_by(u64::from(evicted));
        batch_id
    }

    /// As [`Self::admit`], for a batch that has an id of its own.
    fn admit_as(&self, batch_id: u64, arrived_at: Timestamp, bytes: u64) {
        let clock = self.clock();
        let evicted = self.ledger().admit(self.1, batch_id, arrived_at, bytes, clock);
        self.0.metrics.tap_evicted_batches.inc_by(u64::from(evicted));
    }

    fn tell(&self, arrival: BatchArrival) {
        let (metrics, characteristics) = (&self.0.metrics, &arrival.characteristics);
        metrics.tap_batches.get_or_create(&[("type", characteristics.data_type.as_str())]).inc();
        metrics.tap_bytes.inc_by(characteristics.data_volume.bytes);
        self.0.buffer.arrival(arrival);
    }

    /// Work on a batch starts: what is to be told of it, if that is news.
    fn started(&self, batch_id: u64, at: Timestamp) -> Option<BatchProgress> {
        let clock = self.clock();
        match self.ledger().start(self.1, batch_id, at, clock) {
            ledger::Started::Now(progress) => Some(progress),
            ledger::Started::Before | ledger::Started::Unknown => None,
        }
    }

    /// Work on a batch has ended: what is to be told of it. One that failed before it started never did.
    fn ended(&self, batch_id: u64, at: Timestamp, outcome: Outcome) -> Option<BatchProgress> {
        match outcome {
            Outcome::Failed => self.ledger().give_up(self.1, batch_id, at),
            _ => self.ledger().finish(self.1, batch_id, at, outcome),
        }
    }

    /// A batch turned out to be none.
    fn withdraw(&self, batch_id: u64) {
        self.ledger().withdraw(self.1, batch_id);
    }

    /// Work on a batch starts; false if there is no such batch.
    fn start(&self, batch_id: u64, at: Timestamp) -> bool {
        let clock = self.clock();
        let started = self.ledger().start(self.1, batch_id, at, clock);
        match started {
            ledger::Started::Now(progress) => self.0.buffer.progress(progress, at),
            ledger::Started::Before => {}
            ledger::Started::Unknown => return false,
        }
        true
    }

    /// Work on a batch has ended; false if there is no such batch.
    fn finish(&self, batch_id: u64, at: Timestamp, outcome: Outcome) -> bool {
        let finished = self.ledger().finish(self.1, batch_id, at, outcome);
        finished.map(|progress| self.0.buffer.progress(progress, at)).is_some()
    }

    /// A batch of which nothing was told is gone.
    fn forget(&self, batch_id: u64) {
        self.ledger().finish(self.1, batch_id, Timestamp::now(), Outcome::Ok);
    }

    /// Whether it is known what waits of this source.
    fn follow(&self, followed: bool) {
        self.ledger().follow(self.1, followed);
    }

    fn clock(&self) -> u32 {
        u32::try_from(self.0.born.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
