//! Inspection of batches as they pass: chunk by chunk, within bounded memory, and fenced against panics.
//!
//! ```text
//! begin ─► push, chunk by chunk ─► finish, off the async thread where it takes long ─► DataCharacteristics
//! ```
//!
//! Every batch is looked at from its start. How far depends on the budget and on the room that others leave: what
//! lies beyond is estimated from what was seen, told to be, and counted.

mod prefix;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use forebay_shared::DataCharacteristics;
use tokio::sync::Semaphore;

use self::prefix::{Examine, Inspector};
use crate::characteristics::{DEFAULT_BUDGET, volume_only};
use crate::metrics::Metrics;

/// Bytes that inspections hold, over all batches: one of the largest. What comes meanwhile is looked at in part.
const ROOM: usize = DEFAULT_BUDGET;
/// Shorter batches are finished where they are: 256 KiB take half a millisecond, about what a hand-over costs.
const INLINE: usize = 256 << 10;

/// Shared by the taps; a clone has the same room.
#[derive(Clone)]
pub(super) struct Inspection(Arc<Shared>);

struct Shared {
    room: Arc<Semaphore>,
    examine: Examine,
    metrics: Metrics,
}

/// One batch under inspection.
pub(super) struct Look {
    shared: Arc<Shared>,
    /// None once it has panicked.
    inspector: Option<Inspector>,
    content_type: Option<String>,
}

impl Inspection {
    pub(super) fn new(examine: Examine, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { room: Arc::new(Semaphore::new(ROOM)), examine, metrics }))
    }

    /// Bytes of a batch that are worth pushing: what lies beyond is not looked at.
    pub(super) const BUDGET: usize = DEFAULT_BUDGET;

    pub(super) fn begin(&self, content_type: Option<&str>) -> Look {
        let inspector = Inspector::new(self.0.examine, Arc::clone(&self.0.room), Self::BUDGET);
        Look { shared: Arc::clone(&self.0), inspector: Some(inspector), content_type: content_type.map(str::to_owned) }
    }

    /// The vector of a batch into which nobody could look.
    pub(super) fn volume_only(&self, total: u64, content_type: Option<&str>) -> DataCharacteristics {
        self.0.metrics.tap_uninspected_batches.inc();
        volume_only(total, content_type)
    }
}

impl Look {
    /// The next bytes of the batch.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let Some(inspector) = &mut self.inspector else { return };
        if catch_unwind(AssertUnwindSafe(|| inspector.push(chunk))).is_err() {
            self.inspector = None;
        }
    }

    /// The vector of a batch of `total` bytes, of which those that were pushed are the first.
    pub(super) async fn finish(mut self, total: u64) -> DataCharacteristics {
        if self.inspector.as_ref().is_none_or(|inspector| inspector.held() <= INLINE) {
            return self.finish_here(total);
        }
        // The task is fenced: it ends, unless the runtime does.
        let content_type = self.content_type.take();
        let claim = content_type.clone();
        let finished = tokio::task::spawn_blocking(move || {
            self.content_type = claim;
            self.finish_here(total)
        });
        finished.await.unwrap_or_else(|_| volume_only(total, content_type.as_deref()))
    }

    /// As [`Self::finish`], on this thread.
    pub(super) fn finish_here(self, total: u64) -> DataCharacteristics {
        let Self { shared, inspector, content_type } = self;
        let content_type = content_type.as_deref();
        let sampled = inspector.as_ref().is_some_and(Inspector::short_of_room);
        let finish =
            |inspector: Inspector| catch_unwind(AssertUnwindSafe(|| inspector.finish(total, content_type))).ok();
        let Some(finding) = inspector.and_then(finish) else {
            shared.metrics.tap_inspection_panics.inc();
            tracing::error!(bytes = total, "inspection of a batch panicked; the batch is recorded by its volume");
            return volume_only(total, content_type);
        };
        shared.metrics.tap_sampled_batches.inc_by(u64::from(sampled));
        finding.characteristics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::DataType;

    async fn inspect(inspection: &Inspection, bytes: &[u8]) -> DataCharacteristics {
        let mut look = inspection.begin(Some("text/csv"));
        bytes.chunks(5000).for_each(|chunk| look.push(chunk));
        look.finish(bytes.len() as u64).await
    }

    fn lines(count: usize) -> Vec<u8> {
        b"abc,def\n".repeat(count)
    }

    #[tokio::test]
    async fn a_panic_costs_the_batch_its_vector_only() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(|_, _, _| panic!("caught on purpose"), metrics.clone());
        for len in [10, INLINE + 1] {
            let vector = inspect(&inspection, &vec![b'a'; len]).await;
            assert_eq!((vector.data_volume.bytes, vector.data_type), (len as u64, DataType::Csv));
            assert!(vector.estimated);
        }
        assert_eq!(metrics.tap_inspection_panics.get(), 2);
        assert_eq!(inspection.0.room.available_permits(), ROOM, "room comes back after a panic");
    }

    #[tokio::test]
    async fn a_batch_for_which_there_is_no_room_is_estimated_from_its_start_and_counted() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(crate::characteristics::examine, metrics.clone());
        let taken = Arc::clone(&inspection.0.room).try_acquire_many_owned(ROOM as u32).unwrap();
        let vector = inspect(&inspection, &lines(10_000)).await;
        assert_eq!((vector.data_volume.bytes, vector.data_volume.records), (80_000, Some(10_000)));
        assert!(vector.estimated && vector.data_type == DataType::Csv);
        assert_eq!(metrics.tap_sampled_batches.get(), 1);
        let small = inspect(&inspection, &lines(100)).await;
        assert!(!small.estimated, "the first bytes need no room");
        drop(taken);
        let whole = inspect(&inspection, &lines(100_000)).await;
        assert_eq!((whole.estimated, whole.data_volume.records), (false, Some(100_000)));
        assert_eq!(metrics.tap_sampled_batches.get(), 1);
        assert_eq!(inspection.0.room.available_permits(), ROOM);
    }

    #[tokio::test]
    async fn what_was_not_pushed_counts_as_volume() {
        let inspection = Inspection::new(crate::characteristics::examine, Metrics::new().1);
        let mut look = inspection.begin(None);
        look.push(&lines(1000));
        let vector = look.finish(800_000).await;
        assert_eq!((vector.data_volume.bytes, vector.data_volume.records), (800_000, Some(100_000)));
        assert!(vector.estimated);
    }
}
