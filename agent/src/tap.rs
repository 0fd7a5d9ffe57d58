//! Tap: the component's batches: those that it tells of by pushing, and those that pass through on their way to it.
//!
//! ```text
//! POST /v1/batches ─► body, bounded ─► inspection ─► BatchArrival ─┐
//! …/{id}/start, …/{id}/finish ─► ledger ─► BatchProgress ──────────┼─► buffer
//!                                   └─► Backlog ─► sampler         │
//! http=…, tcp=… ─► inline ─► passing ─► inspector, ledger ─────────┘
//! ```
//!
//! Memory is bounded at each step, and what gives way is counted. Inspection that cannot keep up, or that panics,
//! costs the batch its vector, never its place: the batch is recorded by its volume.

mod body;
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

use forebay_shared::{Backlog, BatchArrival, BatchProgress, DataCharacteristics, Outcome, Timestamp};

pub(crate) use self::inline::Inline;
use self::inspection::Inspection;
use self::ledger::Ledger;
pub(crate) use self::routes::routes;
use crate::buffer::Buffer;
use crate::metrics::Metrics;

/// Shared by the routes and the sampler; a clone is the same tap.
#[derive(Clone)]
pub(crate) struct Tap(Arc<Shared>);

struct Shared {
    ledger: Mutex<Ledger>,
    inspection: Inspection,
    buffer: Buffer,
    metrics: Metrics,
}

impl Tap {
    pub(crate) fn new(buffer: Buffer, metrics: Metrics) -> Self {
        // Ids are unique among the pod's batches, over restarts of the agent too: a random upper half a boot.
        let first_id = u64::from(fastrand::u32(..) >> 1) << 32;
        let ledger = Mutex::new(Ledger::new(first_id));
        let inspection = Inspection::new(crate::characteristics::examine, metrics.clone());
        Self(Arc::new(Shared { ledger, inspection, buffer, metrics }))
    }

    /// What waits and what is worked on at `at`.
    pub(crate) fn backlog(&self, at: Timestamp) -> Option<Backlog> {
        self.ledger().backlog(at)
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
        let (batch_id, evicted) = self.ledger().arrive(arrived_at, bytes);
        self.0.metrics.tap_evicted_batches.inc_by(u64::from(evicted));
        batch_id
    }

    fn tell(&self, arrival: BatchArrival) {
        let (metrics, characteristics) = (&self.0.metrics, &arrival.characteristics);
        metrics.tap_batches.get_or_create(&[("type", characteristics.data_type.as_str())]).inc();
        metrics.tap_bytes.inc_by(characteristics.data_volume.bytes);
        self.0.buffer.arrival(arrival);
    }

    /// Work on a batch starts: what is to be told of it, if that is news.
    fn started(&self, batch_id: u64, at: Timestamp) -> Option<BatchProgress> {
        match self.ledger().start(batch_id, at) {
            ledger::Started::Now(progress) => Some(progress),
            ledger::Started::Before | ledger::Started::Unknown => None,
        }
    }

    /// Work on a batch starts; false if there is no such batch.
    fn start(&self, batch_id: u64, at: Timestamp) -> bool {
        let started = self.ledger().start(batch_id, at);
        match started {
            ledger::Started::Now(progress) => self.0.buffer.progress(progress, at),
            ledger::Started::Before => {}
            ledger::Started::Unknown => return false,
        }
        true
    }

    /// Work on a batch has ended; false if there is no such batch.
    fn finish(&self, batch_id: u64, at: Timestamp, outcome: Outcome) -> bool {
        let finished = self.ledger().finish(batch_id, at, outcome);
        finished.map(|progress| self.0.buffer.progress(progress, at)).is_some()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
