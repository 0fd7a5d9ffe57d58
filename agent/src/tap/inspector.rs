//! Inspection beside the data path: one thread looks at what the inline taps hand it, and nothing waits for it.
//!
//! ```text
//! chunk ─► room? ─► queue ─► thread: Inspector, one a batch ─► Finding ─► arrival
//!             └─ no: less of the batch is looked at, or nothing; counted
//! ```
//!
//! Memory is bounded by the room for bytes and the queue's length. The busier it gets, the less of each batch is
//! looked at, so that as many as possible are looked at at all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};

use forebay_shared::{DataCharacteristics, DataType};

use super::passing::Record;
use crate::characteristics::{DEFAULT_BUDGET, Finding, examine, volume_only};
use crate::metrics::Metrics;

/// Bytes that wait to be looked at, over all batches. At 1 GB/s it is 4 ms of them.
const ROOM: usize = 4 << 20;
/// With so much of the room taken, only so much of a batch is looked at: enough for its type, and to estimate the rest.
/// The last eighth is room for 1,024 such looks: a thread that does not run for 50 ms costs no batch its vector.
const GLANCES: [(usize, usize); 3] = [(ROOM / 8 * 7, 512), (ROOM / 4 * 3, 4 << 10), (ROOM / 2, 16 << 10)];
/// What is looked at of one batch: an [`Inspector`] holds it until the batch is whole, and a slow one must leave room.
const MOST_OF_ONE: usize = if DEFAULT_BUDGET < ROOM / 4 { DEFAULT_BUDGET } else { ROOM / 4 };
/// Batches that wait to be looked at, whatever their size. Each takes about 300 bytes beside its own: 600 KiB.
const QUEUE: usize = 2048;

/// Where cores are short, the data path and the component itself go first.
const NICE: i32 = 10;

/// The seam to `characteristics`: a batch, part by part.
#[derive(Default)]
pub(super) struct Inspector {
    kept: Vec<Kept>,
}

impl Inspector {
    fn push(&mut self, part: Kept) {
        self.kept.push(part);
    }

    /// `total` counts what was not pushed, too.
    fn finish(self, total: u64, content_type: Option<&str>) -> Finding {
        match &self.kept[..] {
            [whole] => examine(&whole.bytes, total, content_type),
            parts => {
                examine(&parts.iter().map(|part| &part.bytes[..]).collect::<Vec<_>>().concat(), total, content_type)
            }
        }
    }
}

/// A part of a batch to be looked at, and the room that it takes until then. It is a copy: a reference to what was read
/// would keep the whole read buffer, for longer than the data path needs it. Copying costs a tenth of looking.
pub(super) struct Kept {
    bytes: Vec<u8>,
    room: Arc<AtomicUsize>,
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends bytes; false, and nothing is done, if there is no room for them.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> bool {
        let before = self.room.fetch_add(bytes.len(), Ordering::Relaxed);
        if before + bytes.len() > ROOM {
            self.room.fetch_sub(bytes.len(), Ordering::Relaxed);
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The next part of a batch; with its total length, its last.
pub(super) struct Job {
    pub(super) record: Arc<Record>,
    pub(super) part: Option<Kept>,
    pub(super) end: Option<u64>,
}

/// The way to the thread.
pub(super) struct Inspectors {
    queue: SyncSender<Job>,
    room: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Inspectors {
    /// Starts the thread. It ends when the way to it is dropped.
    pub(super) fn start(metrics: Metrics) -> std::io::Result<Self> {
        Self::start_with(metrics, Inspector::finish)
    }

    fn start_with(metrics: Metrics, finish: Finish) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let counted = metrics.clone();
        std::thread::Builder::new().name("inspection".into()).spawn(move || work(&jobs, finish, &counted))?;
        Ok(Self { queue, room: Arc::default(), metrics })
    }

    /// How much of a batch that begins now may be looked at.
    pub(super) fn budget(&self) -> usize {
        let taken = self.room.load(Ordering::Relaxed);
        let Some((_, glance)) = GLANCES.iter().find(|(from, _)| taken >= *from) else { return MOST_OF_ONE };
        self.metrics.tap_glanced_batches.inc();
        *glance
    }

    /// A part of a batch, with nothing in it yet, for about so many bytes.
    pub(super) fn part(&self, bytes: usize) -> Kept {
        Kept { bytes: Vec::with_capacity(bytes), room: Arc::clone(&self.room) }
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), ()> {
        self.queue.try_send(job).map_err(drop)
    }
}

type Finish = fn(Inspector, u64, Option<&str>) -> Finding;

fn work(jobs: &Receiver<Job>, finish: Finish, metrics: &Metrics) {
    // Of this thread alone. Where it is not allowed, the two share the cores as equals.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Ok(Job { record, part, end }) = jobs.recv() {
        let mut inspector = record.inspector.lock().unwrap_or_else(PoisonError::into_inner);
        part.into_iter().for_each(|part| inspector.push(part));
        let Some(total) = end else { continue };
        let inspector = std::mem::take(&mut *inspector);
        let content_type = record.content_type();
        let fenced = || finish(inspector, total, content_type).characteristics;
        let characteristics = catch_unwind(AssertUnwindSafe(fenced)).unwrap_or_else(|_| {
            metrics.tap_inspection_panics.inc();
            tracing::error!(bytes = total, "inspection of a batch panicked; the batch is recorded by its volume");
            volume_only(total, content_type)
        });
        record.tell(characteristics);
    }
}

/// The vector of bytes that nobody was to look into.
pub(super) fn unseen(total: u64) -> DataCharacteristics {
    DataCharacteristics { data_type: DataType::Binary, ..volume_only(total, None) }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use forebay_shared::{Content, Timestamp};

    use super::*;
    use crate::buffer::Buffer;
    use crate::tap::Tap;
    use crate::tap::passing::Observer;

    struct Observed {
        observer: Observer,
        buffer: Buffer,
        metrics: Metrics,
        room: Arc<AtomicUsize>,
    }

    fn observed(finish: Finish) -> Observed {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::new(forebay_shared::Bytes(1 << 20), metrics.clone());
        let tap = Tap::new(buffer.clone(), metrics.clone());
        let inspectors = Inspectors::start_with(metrics.clone(), finish).unwrap();
        let room = Arc::clone(&inspectors.room);
        Observed { observer: Observer::new(tap, inspectors), buffer, metrics, room }
    }

    impl Observed {
        fn pass(&self, body: &'static [u8]) {
            let mut batch = self.observer.open(Timestamp(1), Some(body.len() as u64), Some("text/csv".into()));
            batch.start(Timestamp(2));
            batch.chunk(&Bytes::from_static(body));
        }

        /// What was told, once `batches` have been.
        fn told(&self, batches: usize) -> Content {
            let until = std::time::Duration::from_secs(10);
            let began = tokio::time::Instant::now();
            let mut all = Content::default();
            while all.arrivals.len() < batches {
                assert!(began.elapsed() < until, "{} of {batches} batches", all.arrivals.len());
                all.arrivals
                    .extend(self.buffer.drain(Timestamp(3)).into_iter().flat_map(|frame| frame.content.arrivals));
                std::thread::yield_now();
            }
            all
        }
    }

    #[test]
    fn a_panic_costs_the_batch_its_vector_only_and_the_next_one_nothing() {
        let observed = observed(|inspector, total, content_type| {
            assert_ne!(total, 5, "caught on purpose");
            inspector.finish(total, content_type)
        });
        observed.pass(b"a,b\n1");
        observed.pass(b"a,b\n1,2\n");
        let told = observed.told(2).arrivals;
        let records: Vec<_> = told.iter().map(|arrival| arrival.characteristics.data_volume.records).collect();
        assert_eq!(records, [None, Some(2)]);
        assert_eq!(told[0].characteristics.data_type, DataType::Csv);
        assert_eq!(observed.metrics.tap_inspection_panics.get(), 1);
        assert_eq!(observed.room.load(Ordering::Relaxed), 0, "room comes back after a panic");
    }

    #[test]
    fn the_less_room_there_is_the_less_of_a_batch_is_looked_at() {
        static BODY: [u8; 40_000] = [b'a'; 40_000];
        let observed = observed(Inspector::finish);
        for (taken, whole, uninspected) in
            [(0, true, 0), (ROOM / 2, false, 0), (ROOM - 600, false, 0), (ROOM, false, 1)]
        {
            observed.room.fetch_add(taken, Ordering::Relaxed);
            observed.pass(&BODY);
            let vector = observed.told(1).arrivals[0].characteristics;
            assert_eq!((vector.data_volume.bytes, !vector.estimated), (40_000, whole), "{taken}");
            assert_eq!(observed.metrics.tap_uninspected_batches.get(), uninspected, "{taken}");
            assert_eq!(observed.room.fetch_sub(taken, Ordering::Relaxed), taken);
        }
        assert_eq!(observed.metrics.tap_glanced_batches.get(), 3);
    }
}
