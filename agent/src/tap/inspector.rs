//! Inspection beside the data path: one thread looks at what the inline taps hand it, and nothing waits for it.
//!
//! ```text
//! chunk ─► room? ─► queue ─► thread: Inspector, one a batch ─► Finding ─► arrival
//!             └─ no: less of the batch is looked at, or nothing; counted
//! ```
//!
//! Memory is bounded by the room for bytes and the queue's length. The busier it gets, the less of each batch is
//! looked at, so that as many as possible are looked at at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use forebay_shared::{DataCharacteristics, DataType};

use super::inspection::Inspection;
use super::passing::Record;
use crate::characteristics::{DEFAULT_BUDGET, volume_only};
use crate::metrics::Metrics;

/// Bytes that wait to be looked at, over all batches. At 1 GB/s it is 4 ms of them.
const ROOM: usize = 4 << 20;
/// With so much of the room taken, only so much of a batch is looked at: enough for its type, and to estimate the rest.
/// The last eighth is room for 1,024 such looks: a thread that does not run for 50 ms costs no batch its vector.
const GLANCES: [(usize, usize); 3] = [(ROOM / 8 * 7, 512), (ROOM / 4 * 3, 4 << 10), (ROOM / 2, 16 << 10)];
/// Batches that wait to be looked at, whatever their size. Each takes about 300 bytes beside its own: 600 KiB.
const QUEUE: usize = 2048;

/// Where cores are short, the data path and the component itself go first.
const NICE: i32 = 10;

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

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
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
    /// Bytes before the part that are left out.
    pub(super) left_out: u64,
    pub(super) part: Option<Kept>,
    pub(super) end: Option<u64>,
    /// Nothing of the batch came before.
    pub(super) first: bool,
}

/// The way to the thread.
pub(super) struct Inspectors {
    queue: SyncSender<Job>,
    room: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Inspectors {
    /// Starts the thread. It ends when the way to it is dropped.
    pub(super) fn start(inspection: Inspection, metrics: Metrics) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        std::thread::Builder::new().name("inspection".into()).spawn(move || work(&jobs, &inspection))?;
        Ok(Self { queue, room: Arc::default(), metrics })
    }

    /// How much of a batch that begins now may be looked at.
    pub(super) fn budget(&self) -> usize {
        let taken = self.room.load(Ordering::Relaxed);
        let Some((_, glance)) = GLANCES.iter().find(|(from, _)| taken >= *from) else { return DEFAULT_BUDGET };
        self.metrics.tap_sampled_batches.inc();
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

fn work(jobs: &Receiver<Job>, inspection: &Inspection) {
    // Of this thread alone. Where it is not allowed, the two share the cores as equals.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Ok(Job { record, left_out, part, end, first }) = jobs.recv() {
        let part = part.as_ref().map_or(&[][..], |part| &part.bytes);
        match end {
            Some(total) if first => record.tell(whole(inspection, part, total, record.content_type())),
            end => {
                let mut look = record.look(inspection);
                look.pass_over(left_out);
                look.push(part);
                match end {
                    Some(total) => record.tell(look.finish_here(total)),
                    None => record.put_back(look),
                }
            }
        }
    }
}

/// The vector of a batch that is looked at in one go: it needs no room.
fn whole(inspection: &Inspection, part: &[u8], total: u64, content_type: Option<&str>) -> DataCharacteristics {
    let fed = inspection.examine(content_type, |inspector| {
        inspector.push(part);
        inspector.pass_over(total.saturating_sub(part.len() as u64));
        Ok::<_, ()>(())
    });
    fed.unwrap_or_else(|_| volume_only(total, content_type))
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

    fn observed() -> Observed {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::new(forebay_shared::Bytes(1 << 20), metrics.clone());
        let tap = Tap::new(buffer.clone(), metrics.clone());
        let inspectors = Inspectors::start(tap.0.inspection.clone(), metrics.clone()).unwrap();
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
    fn a_batch_in_parts_is_looked_at_whole() {
        let observed = observed();
        let lines = b"abc,def\n".repeat(100_000);
        let mut batch = observed.observer.open(Timestamp(1), None, Some("text/csv".into()));
        for chunk in lines.chunks(50_000) {
            batch.chunk(&Bytes::copy_from_slice(chunk));
        }
        drop(batch);
        let vector = observed.told(1).arrivals[0].characteristics;
        assert_eq!((vector.data_volume.bytes, vector.data_volume.records), (800_000, Some(100_000)));
        assert!(!vector.estimated);
        assert_eq!(observed.room.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn past_the_budget_the_end_is_looked_at_of_a_batch_that_said_how_long_it_is() {
        let observed = observed();
        // An Arrow file's end names its length; the middle is anything.
        let batch: Vec<u8> = (0..DEFAULT_BUDGET + 1_000_000).map(|n| (n % 251) as u8).collect();
        let mut passing = observed.observer.open(Timestamp(1), Some(batch.len() as u64), None);
        for chunk in batch.chunks(60_000) {
            passing.chunk(&Bytes::copy_from_slice(chunk));
            // The thread keeps up: what is waiting is no more than a part or two.
            while observed.room.load(Ordering::Relaxed) > ROOM / 8 {
                std::thread::yield_now();
            }
        }
        assert_eq!(passing.tail(), &batch[batch.len() - (64 << 10)..]);
        drop(passing);
        let vector = observed.told(1).arrivals[0].characteristics;
        assert_eq!(vector.data_volume.bytes, batch.len() as u64);
        assert_eq!(vector.data_type, DataType::Binary);
    }

    #[test]
    fn the_less_room_there_is_the_less_of_a_batch_is_looked_at() {
        static BODY: [u8; 40_000] = [b'a'; 40_000];
        let observed = observed();
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
        assert_eq!(observed.metrics.tap_sampled_batches.get(), 3);
    }
}
