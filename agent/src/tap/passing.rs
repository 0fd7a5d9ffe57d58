//! A batch that passes through an inline tap: told of from its first byte to the end of its answer, by the data path,
//! which waits for nothing here.
//!
//! ```text
//! request ─► Passing: open, start, chunk …, end ──► inspection's thread ──► arrival ─┐
//! response ─► Ending: finish ───────────────────────────────────────────► progress ─┴─► buffer
//! ```
//!
//! An arrival is told once the batch has been looked at, and its progress after it: the last one told holds, so what
//! happened meanwhile is told at once. A batch is always finished: at the latest when what holds it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use forebay_shared::{BatchArrival, BatchProgress, DataCharacteristics, Outcome, Timestamp};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Tap;
use super::inspection::{Inspection, Look};
use super::inspector::{Inspectors, Job, Kept};
use crate::characteristics::DEFAULT_BUDGET;

/// A batch is handed over in parts of about this much; a shorter one at its end, whole.
pub(super) const HAND_OVER: usize = 128 << 10;
/// Of a batch past the budget its last bytes are looked at, if it said how long it is: a footer may be there.
const TAIL: u64 = 64 << 10;

/// Messages of streams that wait for their answers, over all calls: some 300 B each, 5 MiB.
pub(super) const MOST_MESSAGES: usize = 16 << 10;

/// What data path and inspection share of a batch.
pub(super) struct Record {
    pub(super) tap: Tap,
    pub(super) batch_id: u64,
    pub(super) arrived_at: Timestamp,
    /// A copy: a header's value keeps all that was read with it in memory.
    content_type: Option<Arc<str>>,
    announced: Option<u64>,
    /// What is seen so far, of a batch in parts. Only inspection's thread takes it.
    look: Mutex<Option<Box<Look>>>,
    telling: Mutex<Telling>,
}

#[derive(Default)]
struct Telling {
    /// The arrival has been told.
    told: bool,
    /// The last progress, if it came before the arrival was told.
    kept: Option<(BatchProgress, Timestamp)>,
}

impl Record {
    pub(super) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Goes on looking.
    pub(super) fn look(&self, inspection: &Inspection) -> Look {
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner).take();
        look.map_or_else(|| inspection.begin(self.content_type.clone(), self.announced), |look| *look)
    }

    pub(super) fn put_back(&self, look: Look) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(look));
    }

    /// Keeps inspection's thread from it.
    #[cfg(test)]
    pub(super) fn hold(&self) -> MutexGuard<'_, Option<Box<Look>>> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that the batch arrived, and what became of it meanwhile.
    pub(super) fn tell(&self, characteristics: DataCharacteristics) {
        let (batch_id, arrived_at) = (self.batch_id, self.arrived_at);
        let mut telling = self.telling();
        self.tap.tell(BatchArrival { batch_id, arrived_at, characteristics });
        telling.told = true;
        if let Some((progress, at)) = telling.kept.take() {
            self.tap.0.buffer.progress(progress, at);
        }
    }

    fn progress(&self, progress: BatchProgress, at: Timestamp) {
        let mut telling = self.telling();
        match telling.told {
            true => self.tap.0.buffer.progress(progress, at),
            false => telling.kept = Some((progress, at)),
        }
    }

    fn start(&self, at: Timestamp) {
        if let Some(progress) = self.tap.started(self.batch_id, at) {
            self.progress(progress, at);
        }
    }

    /// The first end counts. A batch that failed before it started never did.
    pub(super) fn finish(&self, at: Timestamp, outcome: Outcome) {
        if let Some(progress) = self.tap.ended(self.batch_id, at, outcome) {
            self.progress(progress, at);
        }
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens batches, and has them inspected; a clone is the same one.
#[derive(Clone)]
pub(super) struct Observer(Arc<Observing>);

struct Observing {
    tap: Tap,
    inspectors: Inspectors,
    /// Has a permit for each message of a stream that may wait for its answer, over all calls.
    messages: Arc<Semaphore>,
}

impl Observer {
    pub(super) fn new(tap: Tap, inspectors: Inspectors) -> Self {
        Self(Arc::new(Observing { tap, inspectors, messages: Arc::new(Semaphore::new(MOST_MESSAGES)) }))
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.0.tap
    }

    fn inspectors(&self) -> &Inspectors {
        &self.0.inspectors
    }

    /// A place for a message that waits for its answer, if there is one.
    pub(super) fn message(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.messages).try_acquire_owned().ok()
    }

    /// A batch whose first byte came at `arrived_at`; `announced` bytes are to come, as far as it was said.
    pub(super) fn open(
        &self,
        arrived_at: Timestamp,
        announced: Option<u64>,
        content_type: Option<Arc<str>>,
    ) -> Passing {
        let tap = self.tap().clone();
        let batch_id = tap.admit(arrived_at, announced.unwrap_or(0));
        let (look, telling) = Default::default();
        Passing {
            record: Arc::new(Record { tap, batch_id, arrived_at, content_type, announced, look, telling }),
            observer: self.clone(),
            announced: announced.unwrap_or(0),
            total: 0,
            given: 0,
            left_out: 0,
            feed: Feed::Unasked,
            part: None,
            handed_over: false,
            started: false,
            ended: false,
        }
    }

    /// A batch that nobody is to look into.
    pub(super) fn open_unseen(&self, arrived_at: Timestamp) -> Passing {
        let mut passing = self.open(arrived_at, None, None);
        passing.feed = Feed::Unseen;
        passing
    }
}

/// How much more of a batch inspection is given.
enum Feed {
    /// Nothing came yet.
    Unasked,
    /// So many bytes more.
    More(usize),
    /// Nothing more, but for the end: it has all that the budget allows.
    Tail,
    /// Nothing more; it has some.
    Enough,
    /// Nothing at all: it could not keep up.
    Nothing,
    /// Nothing, as was meant.
    Unseen,
}

/// A batch on its way, in the hands of what reads it.
pub(super) struct Passing {
    record: Arc<Record>,
    observer: Observer,
    announced: u64,
    total: u64,
    /// What inspection was given, and what it is to know as missing before the next part.
    given: u64,
    left_out: u64,
    feed: Feed,
    /// What is not handed over yet.
    part: Option<Kept>,
    handed_over: bool,
    started: bool,
    ended: bool,
}

impl Passing {
    /// The half that stays with the answer.
    pub(super) fn ending(&self) -> Ending {
        Ending(Some(Arc::clone(&self.record)))
    }

    /// The target takes the batch.
    pub(super) fn start(&mut self, at: Timestamp) {
        if !self.started {
            self.started = true;
            self.record.start(at);
        }
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// Its next bytes.
    pub(super) fn chunk(&mut self, chunk: &Bytes) {
        let mut at = self.total;
        self.total += chunk.len() as u64;
        if let Feed::Unasked = self.feed {
            self.feed = Feed::More(self.observer.inspectors().budget());
        }
        let mut rest = &chunk[..];
        if let Feed::More(budget) = self.feed {
            let (take, more) = rest.split_at(rest.len().min(budget));
            self.give(take, at, budget);
            (rest, at) = (more, at + take.len() as u64);
        }
        if let Feed::Tail = self.feed {
            let before = self.announced.saturating_sub(TAIL).saturating_sub(at).min(rest.len() as u64);
            self.give_tail(&rest[before as usize..], at + before);
        }
    }

    fn give(&mut self, bytes: &[u8], at: u64, budget: usize) {
        let left = self.announced.saturating_sub(at);
        let expected = left.max(bytes.len() as u64).min(HAND_OVER.min(budget) as u64) as usize;
        let part = self.part.get_or_insert_with(|| self.observer.inspectors().part(expected));
        if !part.extend(bytes) {
            self.enough();
            return;
        }
        self.given += bytes.len() as u64;
        self.feed = match budget - bytes.len() {
            0 if self.given == DEFAULT_BUDGET as u64 => Feed::Tail,
            0 => Feed::Enough,
            left => Feed::More(left),
        };
        if part.len() >= HAND_OVER || matches!(self.feed, Feed::Tail) {
            self.hand_over(None);
        }
    }

    /// There is no room for more of it: what is in hand holds no room back.
    fn enough(&mut self) {
        if self.part.as_ref().is_some_and(|part| part.len() > 0) {
            self.hand_over(None);
        }
        self.part = None;
        self.feed = if self.handed_over { Feed::Enough } else { Feed::Nothing };
    }

    /// The next bytes keep it waiting.
    pub(super) fn pause(&mut self) {
        let in_hand = self.part.as_ref().is_some_and(|part| part.len() > 0);
        if in_hand && self.observer.inspectors().busy() {
            self.hand_over(None);
        }
    }

    fn give_tail(&mut self, bytes: &[u8], at: u64) {
        if bytes.is_empty() || self.announced == 0 {
            return;
        }
        let part = self.part.get_or_insert_with(|| self.observer.inspectors().part(TAIL as usize));
        if part.len() == 0 {
            self.left_out = at - self.given;
        }
        if !part.extend(bytes) {
            (self.part, self.left_out, self.feed) = (None, 0, Feed::Enough);
        }
    }

    /// Bytes of a batch that nobody is to look into.
    pub(super) fn count(&mut self, bytes: u64) {
        self.total += bytes;
    }

    /// The batch is whole, or no more of it comes.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let total = if self.started { self.total } else { self.total.max(self.announced) };
        match self.feed {
            Feed::Unseen => self.record.tell(super::inspector::unseen(total)),
            Feed::Unasked | Feed::Nothing => self.uninspected(total),
            Feed::More(_) | Feed::Tail | Feed::Enough => {
                // Past the budget nobody expects more to be looked at.
                if self.given < total.min(DEFAULT_BUDGET as u64) {
                    self.record.tap.0.metrics.tap_sampled_batches.inc();
                }
                self.hand_over(Some(total));
            }
        }
    }

    /// It was none: a body that turned out to have no bytes.
    pub(super) fn withdraw(mut self) {
        self.ended = true;
        self.record.tap.withdraw(self.record.batch_id);
    }

    #[cfg(test)]
    pub(super) fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn hand_over(&mut self, end: Option<u64>) {
        let (left_out, first) = (std::mem::take(&mut self.left_out), !self.handed_over);
        let job = Job { record: Arc::clone(&self.record), left_out, part: self.part.take(), end, first };
        if self.observer.inspectors().submit(job).is_ok() {
            self.handed_over = true;
            return;
        }
        self.feed = if self.handed_over { Feed::Enough } else { Feed::Nothing };
        if let Some(total) = end {
            self.uninspected(total);
        }
    }

    fn uninspected(&self, total: u64) {
        if total > 0 {
            self.record.tap.0.metrics.tap_uninspected_batches.inc();
        }
        self.record.tell(crate::characteristics::volume_only(total, self.record.content_type()));
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of a batch, in the hands of what answers it: failed, unless it is told otherwise before it is dropped.
pub(super) struct Ending(Option<Arc<Record>>);

impl Ending {
    pub(super) fn finish(mut self, at: Timestamp, outcome: Outcome) {
        if let Some(record) = self.0.take() {
            record.finish(at, outcome);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.finish(Timestamp::now(), Outcome::Failed);
        }
    }
}
