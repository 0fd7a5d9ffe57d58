//! Inspection of batches as they pass: chunk by chunk, within bounded memory, and fenced against panics.
//!
//! ```text
//! begin ─► the first bytes are kept ─► room? ─┬─ yes: Inspector, chunk by chunk ─► finish ─► DataCharacteristics
//!                                             └─ no: the first bytes are all that is looked at; counted
//! ```
//!
//! Every batch is looked at from its start. How far depends on the budget and on the room that others leave: what
//! lies beyond is estimated from what was seen, and told to be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::Bytes;
use forebay_shared::DataCharacteristics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::characteristics::{DEFAULT_BUDGET, Inspector, is_packed, most_memory, volume_only};
use crate::metrics::Metrics;

/// Bytes that inspections hold, over all batches that come part by part: one of the hungriest, and some others.
const ROOM: usize = 16 << 20;
/// Bytes that are kept whether there is room or not: the type of most batches shows in them.
const HEAD: usize = 4096;
/// Shorter batches are finished where they are, unless they are packed: what is left to do is short.
const HERE: u64 = 256 << 10;

/// Shared by the taps; a clone has the same room.
#[derive(Clone)]
pub(super) struct Inspection(Arc<Shared>);

struct Shared {
    room: Arc<Semaphore>,
    metrics: Metrics,
}

/// One batch under inspection.
pub(super) struct Look {
    inspection: Inspection,
    stage: Stage,
    content_type: Option<Arc<str>>,
    /// Of the batch, as far as it was said.
    announced: u64,
}

enum Stage {
    /// Its first bytes, and no more so far.
    Head(Vec<u8>),
    Look(Box<Inspector>, OwnedSemaphorePermit),
    /// Its first bytes; there was no room for more.
    Short(Vec<u8>),
    Panicked,
}

impl Inspection {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Shared { room: Arc::new(Semaphore::new(ROOM)), metrics }))
    }

    /// A batch that comes part by part; `announced` bytes, as far as it was said.
    pub(super) fn begin(&self, content_type: Option<Arc<str>>, announced: Option<u64>) -> Look {
        let (stage, announced) = (Stage::Head(Vec::new()), announced.unwrap_or(u64::MAX));
        Look { inspection: self.clone(), stage, content_type, announced }
    }

    /// The vector of a batch of `total` bytes that is looked at here and now: those that `feed` gives are its first.
    /// None if it panicked.
    pub(super) fn examine(
        &self,
        total: u64,
        content_type: Option<&str>,
        feed: impl FnOnce(&mut Inspector),
    ) -> Option<DataCharacteristics> {
        self.fenced(|| {
            let mut inspector = Inspector::new(content_type, DEFAULT_BUDGET);
            feed(&mut inspector);
            finish(inspector, total)
        })
    }

    /// The vector of a batch into which nobody could look.
    pub(super) fn volume_only(&self, total: u64, content_type: Option<&str>) -> DataCharacteristics {
        self.0.metrics.tap_uninspected_batches.inc();
        volume_only(total, content_type)
    }

    fn fenced<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        let looked = catch_unwind(AssertUnwindSafe(look));
        if looked.is_err() {
            self.0.metrics.tap_inspection_panics.inc();
            tracing::error!("inspection of a batch panicked; the batch is recorded by its volume");
        }
        looked.ok()
    }

    /// Room to look at a batch that starts so.
    fn room_for(&self, first: &[u8], announced: u64) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(most_memory(first, announced)).ok()?;
        Arc::clone(&self.0.room).try_acquire_many_owned(permits).ok()
    }
}

impl Look {
    /// The next bytes of the batch.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let stage = match &mut self.stage {
            Stage::Head(head) if head.len() + chunk.len() <= HEAD => return head.extend_from_slice(chunk),
            Stage::Head(head) => {
                let more = HEAD - head.len();
                head.extend_from_slice(&chunk[..more]);
                let (head, rest) = (std::mem::take(head), &chunk[more..]);
                self.go_on(head, rest)
            }
            Stage::Look(inspector, _) => match self.inspection.fenced(|| inspector.push(chunk)) {
                Some(()) => return,
                None => Stage::Panicked,
            },
            Stage::Short(_) | Stage::Panicked => return,
        };
        self.stage = stage;
    }

    /// More than the first bytes came.
    fn go_on(&self, head: Vec<u8>, rest: &[u8]) -> Stage {
        let Some(room) = self.inspection.room_for(&head, self.announced) else {
            self.inspection.0.metrics.tap_sampled_batches.inc();
            return Stage::Short(head);
        };
        let begun = self.inspection.fenced(|| {
            let mut inspector = Box::new(Inspector::new(self.content_type.as_deref(), DEFAULT_BUDGET));
            inspector.push(&head);
            inspector.push(rest);
            inspector
        });
        begun.map_or(Stage::Panicked, |inspector| Stage::Look(inspector, room))
    }

    /// As [`Self::push`], off the async thread where it takes long.
    pub(super) async fn take(mut self, chunk: Bytes) -> Self {
        if !self.is_packed(&chunk) {
            self.push(&chunk);
            return self;
        }
        let ended = Self { stage: Stage::Panicked, ..self.again() };
        let pushed = tokio::task::spawn_blocking(move || {
            self.push(&chunk);
            self
        });
        // The task is fenced: it ends, unless the runtime does.
        pushed.await.unwrap_or(ended)
    }

    /// Bytes that come next and are not at hand.
    pub(super) fn pass_over(&mut self, bytes: u64) {
        if let Stage::Look(inspector, _) = &mut self.stage
            && self.inspection.fenced(|| inspector.pass_over(bytes)).is_none()
        {
            self.stage = Stage::Panicked;
        }
    }

    /// Whether it unpacks to more than its length tells, as far as its first bytes and `next` show.
    fn is_packed(&self, next: &[u8]) -> bool {
        match &self.stage {
            Stage::Head(head) | Stage::Short(head) if head.is_empty() => is_packed(next),
            Stage::Head(head) | Stage::Short(head) => is_packed(head),
            Stage::Look(inspector, _) => inspector.is_packed(),
            Stage::Panicked => false,
        }
    }

    fn again(&self) -> Self {
        self.inspection.begin(self.content_type.clone(), Some(self.announced))
    }

    /// The vector of the batch, which had `total` bytes, off the async thread where it takes long.
    pub(super) async fn finish(self, total: u64) -> DataCharacteristics {
        let long = matches!(&self.stage, Stage::Look(inspector, _) if inspector.total() > HERE);
        if !long && !self.is_packed(&[]) {
            return self.finish_here(total);
        }
        let content_type = self.content_type.clone();
        let finished = tokio::task::spawn_blocking(move || self.finish_here(total));
        finished.await.unwrap_or_else(|_| volume_only(total, content_type.as_deref()))
    }

    /// As [`Self::finish`], on this thread.
    pub(super) fn finish_here(self, total: u64) -> DataCharacteristics {
        let Self { inspection, stage, content_type, .. } = self;
        let content_type = content_type.as_deref();
        let vector = match stage {
            Stage::Head(head) | Stage::Short(head) => {
                inspection.examine(total, content_type, |inspector| inspector.push(&head))
            }
            Stage::Look(inspector, _room) => inspection.fenced(|| finish(*inspector, total)),
            Stage::Panicked => None,
        };
        vector.unwrap_or_else(|| volume_only(total, content_type))
    }
}

/// What a batch of `total` bytes is of which the inspector has seen the first.
fn finish(mut inspector: Inspector, total: u64) -> DataCharacteristics {
    inspector.pass_over(total.saturating_sub(inspector.total()));
    inspector.finish().characteristics
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::DataType;

    fn begin(inspection: &Inspection, announced: Option<u64>) -> Look {
        inspection.begin(Some("text/csv".into()), announced)
    }

    async fn inspect(inspection: &Inspection, bytes: &[u8]) -> DataCharacteristics {
        let mut look = begin(inspection, None);
        for chunk in bytes.chunks(5000) {
            look = look.take(Bytes::copy_from_slice(chunk)).await;
        }
        look.finish(bytes.len() as u64).await
    }

    fn lines(count: usize) -> Vec<u8> {
        b"abc,def\n".repeat(count)
    }

    #[test]
    fn a_panic_costs_the_batch_its_vector_only() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(metrics.clone());
        assert_eq!(inspection.examine(9, None, |_| panic!("caught on purpose")), None);
        let mut look = begin(&inspection, None);
        look.push(&lines(1000));
        look.stage = inspection.fenced(|| panic!("caught on purpose")).unwrap_or(Stage::Panicked);
        look.push(b"more");
        let vector = look.finish_here(8004);
        assert_eq!((vector.data_volume.bytes, vector.data_type), (8004, DataType::Csv));
        assert!(vector.estimated);
        assert_eq!(metrics.tap_inspection_panics.get(), 2);
        assert_eq!(inspection.0.room.available_permits(), ROOM, "room comes back after a panic");
    }

    #[tokio::test]
    async fn a_batch_for_which_there_is_no_room_is_estimated_from_its_start_and_counted() {
        let (_, metrics) = Metrics::new();
        let inspection = Inspection::new(metrics.clone());
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
    async fn what_unpacks_is_looked_at_off_the_thread_and_takes_the_room_of_its_window() {
        let inspection = Inspection::new(Metrics::new().1);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        std::io::Write::write_all(&mut packed, &lines(10_000)).unwrap();
        let packed = packed.finish().unwrap();
        let vector = inspect(&inspection, &packed).await;
        assert_eq!((vector.data_volume.records, vector.estimated), (Some(10_000), false));
        assert!(begin(&inspection, None).is_packed(&packed) && !begin(&inspection, None).is_packed(&lines(10)));
        let mut one = begin(&inspection, None);
        one.push(&packed[..10]);
        assert!(one.is_packed(b"abc"), "however little came at first");
        let mut long = begin(&inspection, None);
        long.push(&[&b"\xfd7zXZ\0"[..], &[0; HEAD]].concat());
        assert!(inspection.0.room.available_permits() < ROOM / 2, "a window of 8 MiB");
        drop(long);
        let mut short = begin(&inspection, Some(10_000));
        short.push(&[&b"\xfd7zXZ\0"[..], &[0; HEAD]].concat());
        assert!(inspection.0.room.available_permits() > ROOM / 2, "what is short unpacks to little");
    }

    #[tokio::test]
    async fn what_was_not_pushed_counts_as_volume() {
        let inspection = Inspection::new(Metrics::new().1);
        let mut look = begin(&inspection, None);
        look.push(&lines(1000));
        let vector = look.finish(800_000).await;
        assert_eq!((vector.data_volume.bytes, vector.data_volume.records), (800_000, Some(100_000)));
        assert!(vector.estimated);
    }
}
