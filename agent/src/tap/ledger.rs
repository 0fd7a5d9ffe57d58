//! The open batches: which wait, which are worked on, and the backlog that they make. Pure: time comes in as a value.
//!
//! ```text
//! push ─► lane ─┐
//! dir  ─► lane ─┼─► Backlog: the sum of the lanes of which it is known what waits
//! inline ► lane ┘
//! ```
//!
//! One ledger for all taps, and one count of ids; a lane for each way that batches come, since what is known of them
//! differs: a component may push batches and never tell of their ends, while its directory is followed by nature.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_shared::{Backlog, BatchProgress, Outcome, Timestamp};

/// Open batches that are remembered: 40 B each (id, time, bytes, seconds, and its place in the order), and half as
/// much again for the trees' slack, is 65,536 x 60 B = 3.8 MiB. At 100 batches/s it is 11 minutes of work not finished.
const MOST_OPEN: usize = 65_536;
/// A pushed batch of which nothing more is heard for so long is no longer counted as open.
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The component told of it, and may never tell of its end.
    Push,
    /// It passes through the agent, which sees its end.
    Inline,
    /// A file: open for as long as it lies there.
    Dir,
}

const SOURCES: usize = 3;

pub(super) struct Ledger {
    next_id: u64,
    lanes: [Lane; SOURCES],
    forget_after: u32,
    /// When batches are looked through for what is to be forgotten.
    forget_at: u32,
}

#[derive(Default)]
struct Lane {
    waiting: BTreeMap<u64, Waiting>,
    /// The waiting ones by arrival: files arrive with ages of their own.
    order: BTreeSet<(Timestamp, u64)>,
    waiting_bytes: u64,
    in_service: BTreeMap<u64, InService>,
    /// It is told when batches start or end: what has not started waits. If it never is, no backlog is known.
    followed: bool,
    /// Parts of the source that are not followed, such as directories that are gone: what waits in all is not known.
    unfollowed: usize,
}

struct Waiting {
    arrived_at: Timestamp,
    bytes: u64,
    heard_at: u32,
}

struct InService {
    started_at: Timestamp,
    heard_at: u32,
}

/// What starting a batch did.
#[derive(Debug, PartialEq)]
pub(super) enum Started {
    Now(BatchProgress),
    /// It had started before: nothing is to be told.
    Before,
    Unknown,
}

impl Ledger {
    pub(super) fn new(first_id: u64) -> Self {
        let mut ledger = Self { next_id: first_id, lanes: Default::default(), forget_after: 0, forget_at: 0 };
        ledger.forget_after(FORGET_AFTER);
        ledger
    }

    /// After how long pushed batches are forgotten of which nothing more is heard.
    pub(super) fn forget_after(&mut self, after: Duration) {
        self.forget_after = u32::try_from(after.as_secs()).unwrap_or(u32::MAX).max(1);
    }

    /// The id of a batch that has arrived, and whether an open one had to go for it. `clock` counts seconds, steadily.
    pub(super) fn arrive(&mut self, source: Source, arrived_at: Timestamp, bytes: u64, clock: u32) -> (u64, bool) {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        (id, self.admit(source, id, arrived_at, bytes, clock))
    }

    /// As [`Self::arrive`], for a batch that has an id of its own.
    pub(super) fn admit(&mut self, source: Source, id: u64, arrived_at: Timestamp, bytes: u64, clock: u32) -> bool {
        let full = self.open() >= MOST_OPEN;
        if full {
            self.evict();
        }
        self.lane(source).wait(id, Waiting { arrived_at, bytes, heard_at: clock });
        full
    }

    pub(super) fn start(&mut self, source: Source, batch_id: u64, at: Timestamp, clock: u32) -> Started {
        let lane = self.lane(source);
        if lane.in_service.contains_key(&batch_id) {
            return Started::Before;
        }
        if lane.leave_waiting(batch_id).is_none() {
            return Started::Unknown;
        }
        lane.followed = true;
        lane.in_service.insert(batch_id, InService { started_at: at, heard_at: clock });
        Started::Now(BatchProgress { batch_id, started_at: Some(at), finished_at: None, outcome: Outcome::Pending })
    }

    /// A batch that never said that it started has been in the component's hands since it arrived; of a file it is
    /// not known.
    pub(super) fn finish(
        &mut self,
        source: Source,
        batch_id: u64,
        at: Timestamp,
        outcome: Outcome,
    ) -> Option<BatchProgress> {
        let lane = self.lane(source);
        let started_at = match lane.in_service.remove(&batch_id) {
            Some(batch) => Some(batch.started_at),
            None => Some(lane.leave_waiting(batch_id)?.arrived_at).filter(|_| source != Source::Dir),
        };
        lane.followed = true;
        Some(BatchProgress { batch_id, started_at, finished_at: Some(at), outcome })
    }

    /// As [`Self::finish`], of a batch that failed: one that had not started never did.
    pub(super) fn give_up(&mut self, source: Source, batch_id: u64, at: Timestamp) -> Option<BatchProgress> {
        let lane = self.lane(source);
        let started_at = lane.in_service.remove(&batch_id).map(|batch| batch.started_at);
        if started_at.is_none() {
            lane.leave_waiting(batch_id)?;
        }
        lane.followed = true;
        Some(BatchProgress { batch_id, started_at, finished_at: Some(at), outcome: Outcome::Failed })
    }

    /// Forgets a batch that turned out to be none.
    pub(super) fn withdraw(&mut self, source: Source, batch_id: u64) {
        let lane = self.lane(source);
        if lane.in_service.remove(&batch_id).is_none() {
            lane.leave_waiting(batch_id);
        }
    }

    /// Whether it is known what waits of a part of a source, told when that changes. Of a part that was not heard of
    /// it is.
    pub(super) fn follow(&mut self, source: Source, followed: bool) {
        let lane = self.lane(source);
        if followed {
            lane.followed = true;
            lane.unfollowed = lane.unfollowed.saturating_sub(1);
        } else {
            lane.unfollowed += 1;
        }
    }

    /// What waits; `None` where nobody has ever told of a start or an end.
    pub(super) fn backlog(&self, at: Timestamp) -> Option<Backlog> {
        let mut total: Option<Backlog> = None;
        for lane in self.lanes.iter().filter(|lane| lane.known()) {
            let total = total.get_or_insert_default();
            let oldest = lane.order.first().map_or(Duration::ZERO, |(arrived_at, _)| at.since(*arrived_at));
            total.waiting += lane.waiting.len() as u64;
            total.waiting_bytes = total.waiting_bytes.saturating_add(lane.waiting_bytes);
            total.oldest_wait_ms = total.oldest_wait_ms.max(oldest.as_millis() as u64);
            total.in_service += lane.in_service.len() as u64;
        }
        total
    }

    /// Forgets pushed batches whose end is not told; gives their number. The taps see the ends of all others.
    pub(super) fn forget(&mut self, clock: u32) -> u64 {
        if clock < self.forget_at {
            return 0;
        }
        self.forget_at = clock.saturating_add((self.forget_after / 16).max(1));
        let Some(oldest) = clock.checked_sub(self.forget_after) else { return 0 };
        let lane = self.lane(Source::Push);
        let before = lane.open();
        lane.in_service.retain(|_, batch| batch.heard_at > oldest);
        let silent = |(id, batch): (&u64, &Waiting)| (batch.heard_at <= oldest).then_some(*id);
        let gone: Vec<u64> = lane.waiting.iter().filter_map(silent).collect();
        for id in gone {
            lane.leave_waiting(id);
        }
        (before - lane.open()) as u64
    }

    pub(super) fn open(&self) -> usize {
        self.lanes.iter().map(Lane::open).sum()
    }

    fn lane(&mut self, source: Source) -> &mut Lane {
        &mut self.lanes[source as usize]
    }

    /// Of the fullest lane: a component that never tells of ends pushes out its own batches only.
    fn evict(&mut self) {
        if let Some(lane) = self.lanes.iter_mut().max_by_key(|lane| lane.open()) {
            lane.evict();
        }
    }
}

impl Lane {
    /// Whether it is known what waits.
    fn known(&self) -> bool {
        self.followed && self.unfollowed == 0
    }

    fn open(&self) -> usize {
        self.waiting.len() + self.in_service.len()
    }

    fn wait(&mut self, id: u64, batch: Waiting) {
        self.leave_waiting(id);
        self.order.insert((batch.arrived_at, id));
        self.waiting_bytes = self.waiting_bytes.saturating_add(batch.bytes);
        self.waiting.insert(id, batch);
    }

    fn leave_waiting(&mut self, batch_id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&batch_id)?;
        self.order.remove(&(waiting.arrived_at, batch_id));
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    fn evict(&mut self) {
        let waiting = self.order.first().copied();
        let in_service = self.in_service.first_key_value().map(|(id, batch)| (batch.started_at, *id));
        match (waiting, in_service) {
            (Some(oldest), other) if other.is_none_or(|other| oldest < other) => drop(self.leave_waiting(oldest.1)),
            _ => drop(self.in_service.pop_first()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Source::{Dir, Inline, Push};
    use super::*;

    #[test]
    fn the_backlog_follows_batches_from_arrival_to_end() {
        let mut ledger = Ledger::new(10);
        let (first, _) = ledger.arrive(Push, Timestamp(100), 50, 0);
        let (second, _) = ledger.arrive(Push, Timestamp(300), 7, 0);
        assert_eq!(ledger.backlog(Timestamp(1100)), None, "nobody tells of starts: none is known to wait");
        assert!(matches!(ledger.start(Push, first, Timestamp(1200), 0), Started::Now(_)));
        assert_eq!(ledger.start(Push, first, Timestamp(1300), 0), Started::Before);
        let backlog = ledger.backlog(Timestamp(1300));
        assert_eq!(backlog, Some(Backlog { waiting: 1, waiting_bytes: 7, oldest_wait_ms: 1000, in_service: 1 }));
        let end = ledger.finish(Push, first, Timestamp(1500), Outcome::Ok).unwrap();
        assert_eq!((end.started_at, end.finished_at), (Some(Timestamp(1200)), Some(Timestamp(1500))));
        let end = ledger.finish(Push, second, Timestamp(1600), Outcome::Failed).unwrap();
        assert_eq!((end.started_at, end.outcome), (Some(Timestamp(300)), Outcome::Failed));
        assert_eq!(ledger.backlog(Timestamp(2000)), Some(Backlog::default()));
        assert_eq!(ledger.finish(Push, first, Timestamp(1), Outcome::Ok), None);
        assert_eq!(ledger.start(Push, 77, Timestamp(1), 0), Started::Unknown);
    }

    #[test]
    fn the_backlogs_of_several_taps_add_up_and_one_that_is_not_known_is_left_out() {
        let mut ledger = Ledger::new(0);
        let (pushed, _) = ledger.arrive(Push, Timestamp(50), 1000, 0);
        ledger.follow(Dir, true);
        assert!(!ledger.admit(Dir, 1 << 40, Timestamp(400), 5, 0));
        assert!(!ledger.admit(Dir, 1 << 41, Timestamp(200), 6, 0));
        let (inline, _) = ledger.arrive(Inline, Timestamp(300), 1, 0);
        assert_ne!(pushed, inline);
        let files = Backlog { waiting: 2, waiting_bytes: 11, oldest_wait_ms: 800, in_service: 0 };
        assert_eq!(ledger.backlog(Timestamp(1000)), Some(files), "of pushed ones nobody tells the ends");
        ledger.start(Inline, inline, Timestamp(300), 0);
        assert_eq!(ledger.backlog(Timestamp(1000)), Some(Backlog { in_service: 1, ..files }));
        assert_eq!(ledger.finish(Push, inline, Timestamp(1), Outcome::Ok), None, "a lane ends its own batches only");
        ledger.start(Push, pushed, Timestamp(500), 0);
        assert_eq!(ledger.backlog(Timestamp(1000)), Some(Backlog { in_service: 2, ..files }));
        let end = ledger.finish(Dir, 1 << 41, Timestamp(900), Outcome::Ok).unwrap();
        assert_eq!((end.started_at, end.finished_at), (None, Some(Timestamp(900))));
        assert_eq!(ledger.backlog(Timestamp(1000)).unwrap().oldest_wait_ms, 600);
        ledger.follow(Dir, false);
        assert_eq!(ledger.backlog(Timestamp(1000)).unwrap(), Backlog { in_service: 2, ..Backlog::default() });
    }

    #[test]
    fn the_backlog_of_a_source_is_known_while_each_of_its_parts_is_followed() {
        let mut ledger = Ledger::new(0);
        ledger.follow(Dir, false);
        ledger.follow(Dir, false);
        ledger.admit(Dir, 7, Timestamp(0), 5, 0);
        ledger.follow(Dir, true);
        assert_eq!(ledger.backlog(Timestamp(0)), None, "there is another one");
        ledger.start(Dir, 7, Timestamp(0), 0);
        ledger.finish(Dir, 7, Timestamp(0), Outcome::Ok);
        assert_eq!(ledger.backlog(Timestamp(0)), None, "a file of the first tells nothing of the other");
        ledger.follow(Dir, true);
        assert_eq!(ledger.backlog(Timestamp(0)), Some(Backlog::default()));
        ledger.follow(Dir, false);
        assert_eq!(ledger.backlog(Timestamp(0)), None);
    }

    #[test]
    fn a_batch_that_failed_before_it_started_never_did_and_one_withdrawn_was_none() {
        let mut ledger = Ledger::new(0);
        let ids: Vec<u64> = (0..4).map(|_| ledger.arrive(Inline, Timestamp(1), 10, 0).0).collect();
        ledger.start(Inline, ids[1], Timestamp(2), 0);
        ledger.start(Inline, ids[3], Timestamp(2), 0);
        assert_eq!(ledger.give_up(Inline, ids[0], Timestamp(5)).unwrap().started_at, None);
        let failed = ledger.give_up(Inline, ids[1], Timestamp(5)).unwrap();
        assert_eq!((failed.started_at, failed.outcome), (Some(Timestamp(2)), Outcome::Failed));
        assert_eq!(ledger.give_up(Inline, ids[1], Timestamp(6)), None);
        for n in [2, 3, 3] {
            ledger.withdraw(Inline, ids[n]);
        }
        assert_eq!(ledger.backlog(Timestamp(9)), Some(Backlog::default()));
    }

    #[test]
    fn the_oldest_open_batch_goes_when_there_are_too_many() {
        let mut ledger = Ledger::new(0);
        for n in 0..MOST_OPEN as u64 {
            assert_eq!(ledger.arrive(Push, Timestamp(n), 1, 0), (n, false));
        }
        ledger.start(Push, 0, Timestamp(0), 0);
        assert!(ledger.arrive(Push, Timestamp(9), 1, 0).1);
        assert_eq!(ledger.start(Push, 0, Timestamp(5), 0), Started::Unknown, "the one in service was the oldest");
        assert!(ledger.admit(Dir, 1 << 40, Timestamp(0), 1, 0));
        assert_eq!(ledger.start(Push, 1, Timestamp(5), 0), Started::Unknown);
        assert!(ledger.finish(Dir, 1 << 40, Timestamp(5), Outcome::Ok).is_some(), "the fullest lane gave way");
        assert_eq!(ledger.open(), MOST_OPEN - 1);
    }

    #[test]
    fn a_pushed_batch_whose_end_is_never_told_does_not_count_for_good() {
        let mut ledger = Ledger::new(0);
        ledger.forget_after(Duration::from_secs(160));
        let (silent, _) = ledger.arrive(Push, Timestamp(0), 5, 0);
        let (works, _) = ledger.arrive(Push, Timestamp(0), 5, 0);
        ledger.admit(Dir, 99, Timestamp(0), 5, 0);
        ledger.follow(Dir, true);
        assert_eq!(ledger.forget(150), 0);
        ledger.start(Push, works, Timestamp(0), 150);
        assert_eq!(ledger.forget(160), 1);
        assert_eq!(ledger.finish(Push, silent, Timestamp(0), Outcome::Ok), None);
        let backlog = ledger.backlog(Timestamp(0)).unwrap();
        assert_eq!((backlog.waiting, backlog.waiting_bytes, backlog.in_service), (1, 5, 1), "files lie there for long");
        assert_eq!(ledger.forget(161), 0, "not looked through each second");
        assert_eq!(ledger.forget(310), 1, "one in service too");
        assert_eq!(ledger.open(), 1);
    }
}
