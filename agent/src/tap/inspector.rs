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
use std::thread::JoinHandle;

use forebay_shared::{DataCharacteristics, DataType};

use super::inspection::Inspection;
use super::passing::Record;
use crate::characteristics::{DEFAULT_BUDGET, volume_only};

/// Bytes that wait to be looked at, over all batches, and what parts in hand have memory for. At 1 GB/s it is 4 ms of them.
const ROOM: usize = 4 << 20;
/// With so much of the room taken, only so much of a batch is looked at: enough for its type, and to estimate the rest.
/// The last eighth is room for 1,024 such looks: a thread that does not run for 50 ms costs no batch its vector.
const GLANCES: [(usize, usize); 3] = [(ROOM / 8 * 7, 512), (ROOM / 4 * 3, 4 << 10), (ROOM / 2, 16 << 10)];
/// With so much taken, a part in hand is handed over when the next bytes keep it waiting: slow bodies hold no more of it.
const BUSY: usize = ROOM / 4;
/// Batches that wait to be looked at, whatever their size. Each takes about 300 bytes beside its own: 600 KiB.
const QUEUE: usize = 2048;

/// Where cores are short, the data path and the component itself go first.
const NICE: i32 = 10;

/// A part of a batch to be looked at, and the room that it takes until then. It is a copy: a reference to what was read
/// would keep the whole read buffer, for longer than the data path needs it. Copying costs a tenth of looking.
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Bytes of the room that are its own: those it has memory for.
    taken: usize,
    room: Arc<AtomicUsize>,
}

impl Kept {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends bytes; false, and nothing is done, if there is no room for them.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> bool {
        let more = (self.bytes.len() + bytes.len()).saturating_sub(self.taken);
        if !self.take(more) {
            return false;
        }
        self.bytes.reserve_exact(self.taken - self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        true
    }

    fn take(&mut self, more: usize) -> bool {
        let before = self.room.fetch_add(more, Ordering::Relaxed);
        if before + more > ROOM {
            self.room.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.taken += more;
        true
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.room.fetch_sub(self.taken, Ordering::Relaxed);
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
}

impl Inspectors {
    /// Starts the thread. It ends when the way to it is dropped, and all that was handed over has been looked at.
    pub(super) fn start(inspection: Inspection) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("inspection".into()).spawn(move || work(&jobs, &inspection))?;
        Ok((Self { queue, room: Arc::default() }, thread))
    }

    /// How much of a batch that begins now may be looked at.
    pub(super) fn budget(&self) -> usize {
        let taken = self.room.load(Ordering::Relaxed);
        GLANCES.iter().find(|(from, _)| taken >= *from).map_or(DEFAULT_BUDGET, |(_, glance)| *glance)
    }

    /// Whether slow bodies are to hold nothing back.
    pub(super) fn busy(&self) -> bool {
        self.room.load(Ordering::Relaxed) >= BUSY
    }

    /// A part of a batch, with nothing in it yet, for about so many bytes: as many are reserved if there is room.
    pub(super) fn part(&self, bytes: usize) -> Kept {
        let mut part = Kept { bytes: Vec::new(), taken: 0, room: Arc::clone(&self.room) };
        part.take(bytes);
        part
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), ()> {
        self.queue.try_send(job).map_err(drop)
    }
}

fn work(jobs: &Receiver<Job>, inspection: &Inspection) {
    // Of this thread alone. Where it is not allowed, the two share the cores as equals.
    let _ = rustix::process::setpriority_process(None, NICE);
    while let Ok(job) = jobs.recv() {
        let (record, end) = (Arc::clone(&job.record), job.end);
        if let Some(vector) = look(job, inspection) {
            record.tell(vector);
        } else if let Some(total) = end {
            record.tell(volume_only(total, record.content_type()));
        }
    }
}

/// The vector, if the part was the last one and could be looked at.
fn look(Job { record, left_out, part, end, first }: Job, inspection: &Inspection) -> Option<DataCharacteristics> {
    let part = part.as_ref().map_or(&[][..], |part| &part.bytes);
    match end {
        // In one go: it needs no room.
        Some(total) if first => inspection.examine(total, record.content_type(), |inspector| inspector.push(part)),
        end => {
            let mut look = record.look(inspection);
            look.pass_over(left_out);
            look.push(part);
            let Some(total) = end else {
                record.put_back(look);
                return None;
            };
            Some(look.finish_here(total))
        }
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
    use crate::metrics::Metrics;
    use crate::tap::Tap;
    use crate::tap::passing::{HAND_OVER, Observer};

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
        let inspectors = Inspectors::start(tap.0.inspection.clone()).unwrap().0;
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

    /// A Parquet file with 77 rows of one column, as its footer tells.
    fn parquet(length: usize) -> Vec<u8> {
        const FOOTER: &[u8] = b"\x15\x02\x19\x2c\x48\x01r\x15\x02\0\x15\x04\x25\0\x18\x01a\0\x16\x9a\x01\x19\x0c\0";
        let filling = (0..length).map(|n| (n % 251) as u8);
        let mut file: Vec<u8> = b"PAR1".iter().copied().chain(filling).chain(FOOTER.iter().copied()).collect();
        file.extend((FOOTER.len() as u32).to_le_bytes());
        file.extend(b"PAR1");
        file
    }

    #[test]
    fn past_the_budget_the_end_is_looked_at_of_a_batch_that_said_how_long_it_is() {
        let observed = observed();
        let batch = parquet(DEFAULT_BUDGET + 1_000_000);
        let pass = |announced| {
            let mut passing = observed.observer.open(Timestamp(1), announced, None);
            for chunk in batch.chunks(60_000) {
                passing.chunk(&Bytes::copy_from_slice(chunk));
                // The thread keeps up: what is waiting is no more than a part or two.
                while observed.room.load(Ordering::Relaxed) > ROOM / 8 {
                    std::thread::yield_now();
                }
            }
            drop(passing);
            observed.told(1).arrivals[0].characteristics
        };
        let vector = pass(Some(batch.len() as u64));
        assert_eq!((vector.data_type, vector.data_volume.records), (DataType::Parquet, Some(77)));
        assert_eq!(vector.data_volume.bytes, batch.len() as u64);
        let unsaid = pass(None);
        assert_eq!((unsaid.data_type, unsaid.data_volume.records), (DataType::Parquet, None));
        assert_eq!(observed.metrics.tap_sampled_batches.get(), 0, "more is not asked for");
    }

    #[test]
    fn bodies_that_are_slow_hold_back_no_more_than_a_quarter_of_the_room() {
        let observed = observed();
        let chunk = Bytes::from(vec![b'a'; 60_000]);
        let mut slow: Vec<_> = (0..200).map(|_| observed.observer.open(Timestamp(1), Some(1 << 20), None)).collect();
        for batch in &mut slow {
            batch.chunk(&chunk);
            batch.pause();
            let began = tokio::time::Instant::now();
            while observed.room.load(Ordering::Relaxed) > BUSY + HAND_OVER {
                assert!(began.elapsed() < std::time::Duration::from_secs(10), "what is in hand takes the room");
                std::thread::yield_now();
            }
        }
        static BODY: [u8; 40_000] = [b'a'; 40_000];
        observed.pass(&BODY);
        assert!(!observed.told(1).arrivals[0].characteristics.estimated, "a batch that comes now is looked at whole");
    }

    #[test]
    fn a_batch_whose_parts_find_the_queue_full_is_told_by_its_volume_and_counted_once() {
        let observed = observed();
        // The thread waits for this batch's look, and the queue fills behind it.
        let mut held = observed.observer.open(Timestamp(1), None, Some("text/csv".into()));
        let record = held.record();
        let look = record.hold();
        let chunk = Bytes::from(vec![b'a'; HAND_OVER]);
        held.chunk(&chunk);
        let full = (0..2 * QUEUE).map(|_| observed.pass(b"a,b\n")).count();
        drop(look);
        drop(held);
        let told = observed.told(full + 1).arrivals;
        let by_volume = told.iter().filter(|told| told.characteristics.data_volume.records.is_none()).count() as u64;
        assert!(by_volume >= QUEUE as u64 - 2, "{by_volume}");
        assert!(told.iter().all(|told| told.characteristics.data_type != DataType::Binary), "the claim is kept");
        assert_eq!(observed.metrics.tap_uninspected_batches.get(), by_volume);
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
        assert_eq!(observed.metrics.tap_sampled_batches.get(), 2, "none counts twice");
    }
}
