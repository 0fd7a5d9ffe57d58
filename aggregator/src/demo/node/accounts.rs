//! What a component did and what it was given, counted while the demo runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_shared::{Millicores, Timestamp};

/// A component's counts.
#[derive(Default)]
pub(in crate::demo) struct Accounts {
    /// Batches that came into the queue.
    pub(in crate::demo) arrived: u64,
    /// Batches done.
    pub(in crate::demo) finished: u64,
    /// Batches refused by the worker.
    pub(in crate::demo) failed: u64,
    /// Batches that the worker got as their producer had put them.
    pub(in crate::demo) identical: u64,
    /// Batches that it got otherwise.
    pub(in crate::demo) damaged: u64,
    /// Batches put back to the head of the queue since their worker died.
    pub(in crate::demo) put_back: u64,
    /// Bytes of the batches done.
    pub(in crate::demo) bytes_in: u64,
    /// Waits of the batches that were started.
    pub(in crate::demo) waits: Vec<Duration>,
    /// Time in which the oldest waiting batch had waited longer than the objective.
    pub(in crate::demo) bottleneck: Duration,
    /// CPU given to workers, over the time from their request until they were gone, core-seconds.
    pub(in crate::demo) allocated: f64,
    /// CPU time that batches took, core-seconds.
    pub(in crate::demo) used: f64,
    /// Workers that became ready.
    pub(in crate::demo) started: u64,
    /// Workers that ended without having been told to.
    pub(in crate::demo) died: u64,
    /// Changes of the allocation that were asked for over the node's API.
    pub(in crate::demo) changes: Vec<AllocationChange>,
    /// As it is now.
    pub(in crate::demo) now: Snapshot,
}

/// A change of the allocation that was carried out.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct AllocationChange {
    /// When.
    pub(in crate::demo) at: Timestamp,
    /// Replicas before and after.
    pub(in crate::demo) replicas: (u32, u32),
    /// Workers that were asked for because of it.
    pub(in crate::demo) started: u64,
}

/// A component at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::demo) struct Snapshot {
    /// Batches that wait.
    pub(in crate::demo) waiting: usize,
    /// How long the oldest of them has waited.
    pub(in crate::demo) oldest_wait: Duration,
    /// Replicas wished.
    pub(in crate::demo) replicas: u32,
    /// Replicas that take batches.
    pub(in crate::demo) ready: u32,
    /// CPU of each.
    pub(in crate::demo) cpu: Millicores,
}

/// Accounts that the component writes and others read.
#[derive(Clone, Default)]
pub(in crate::demo) struct Shared(Arc<Mutex<Accounts>>);

impl Shared {
    /// For a moment only: never held across an await.
    pub(in crate::demo) fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
