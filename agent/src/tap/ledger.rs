//! The open batches: which wait, which are worked on, and the backlog that they make. Pure: time comes in as a value.

use std::collections::BTreeMap;

use forebay_shared::{Backlog, BatchProgress, Outcome, Timestamp};

/// Open batches that are remembered: 24 B each (id, time, bytes), and half as much again for the trees' slack, is
/// 65,536 x 36 B = 2.3 MiB. At 100 batches/s it is 11 minutes of work not finished.
const MOST_OPEN: usize = 65_536;

#[derive(Default)]
pub(super) struct Ledger {
    next_id: u64,
    /// By id, which is the order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    waiting_bytes: u64,
    /// When work on each started, by id.
    in_service: BTreeMap<u64, Timestamp>,
    /// The component tells of starts or ends: what has not started waits. If it never does, no backlog is known.
    followed: bool,
}

struct Waiting {
    arrived_at: Timestamp,
    bytes: u64,
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
        Self { next_id: first_id, ..Self::default() }
    }

    /// Starts are told of from now on, though none has been yet.
    pub(super) fn follow(&mut self) {
        self.followed = true;
    }

    /// The id of a batch that has arrived, and whether the oldest open one had to go for it.
    pub(super) fn arrive(&mut self, arrived_at: Timestamp, bytes: u64) -> (u64, bool) {
        let full = self.open() >= MOST_OPEN;
        if full {
            self.evict();
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.waiting.insert(id, Waiting { arrived_at, bytes });
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        (id, full)
    }

    pub(super) fn start(&mut self, batch_id: u64, at: Timestamp) -> Started {
        if self.in_service.contains_key(&batch_id) {
            return Started::Before;
        }
        if self.leave_waiting(batch_id).is_none() {
            return Started::Unknown;
        }
        self.followed = true;
        self.in_service.insert(batch_id, at);
        Started::Now(BatchProgress { batch_id, started_at: Some(at), finished_at: None, outcome: Outcome::Pending })
    }

    /// A batch that never said that it started has been in the component's hands since it arrived.
    pub(super) fn finish(&mut self, batch_id: u64, at: Timestamp, outcome: Outcome) -> Option<BatchProgress> {
        let started_at = match self.in_service.remove(&batch_id) {
            Some(started_at) => started_at,
            None => self.leave_waiting(batch_id)?.arrived_at,
        };
        self.followed = true;
        Some(BatchProgress { batch_id, started_at: Some(started_at), finished_at: Some(at), outcome })
    }

    /// As [`Self::finish`], of a batch that failed: one that had not started never did.
    pub(super) fn give_up(&mut self, batch_id: u64, at: Timestamp) -> Option<BatchProgress> {
        let started_at = self.in_service.remove(&batch_id);
        if started_at.is_none() {
            self.leave_waiting(batch_id)?;
        }
        self.followed = true;
        Some(BatchProgress { batch_id, started_at, finished_at: Some(at), outcome: Outcome::Failed })
    }

    /// Forgets a batch that turned out to be none.
    pub(super) fn withdraw(&mut self, batch_id: u64) {
        if self.in_service.remove(&batch_id).is_none() {
            self.leave_waiting(batch_id);
        }
    }

    /// What waits; `None` from a component that has never told of a start or an end.
    pub(super) fn backlog(&self, at: Timestamp) -> Option<Backlog> {
        let oldest = self.waiting.first_key_value().map(|(_, waiting)| at.since(waiting.arrived_at));
        self.followed.then(|| Backlog {
            waiting: self.waiting.len() as u64,
            waiting_bytes: self.waiting_bytes,
            oldest_wait_ms: oldest.map_or(0, |wait| wait.as_millis() as u64),
            in_service: self.in_service.len() as u64,
        })
    }

    pub(super) fn open(&self) -> usize {
        self.waiting.len() + self.in_service.len()
    }

    fn leave_waiting(&mut self, batch_id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&batch_id)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }

    fn evict(&mut self) {
        let waiting = self.waiting.first_key_value().map(|(id, _)| *id);
        let in_service = self.in_service.first_key_value().map(|(id, _)| *id);
        match (waiting, in_service) {
            (Some(oldest), other) if other.is_none_or(|other| oldest < other) => drop(self.leave_waiting(oldest)),
            _ => drop(self.in_service.pop_first()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_follows_batches_from_arrival_to_end() {
        let mut ledger = Ledger::new(10);
        let (first, _) = ledger.arrive(Timestamp(100), 50);
        let (second, _) = ledger.arrive(Timestamp(300), 7);
        assert_eq!(ledger.backlog(Timestamp(1100)), None, "nobody tells of starts: none is known to wait");
        assert!(matches!(ledger.start(first, Timestamp(1200)), Started::Now(_)));
        assert_eq!(ledger.start(first, Timestamp(1300)), Started::Before);
        let backlog = ledger.backlog(Timestamp(1300));
        assert_eq!(backlog, Some(Backlog { waiting: 1, waiting_bytes: 7, oldest_wait_ms: 1000, in_service: 1 }));
        let end = ledger.finish(first, Timestamp(1500), Outcome::Ok).unwrap();
        assert_eq!((end.started_at, end.finished_at), (Some(Timestamp(1200)), Some(Timestamp(1500))));
        let end = ledger.finish(second, Timestamp(1600), Outcome::Failed).unwrap();
        assert_eq!((end.started_at, end.outcome), (Some(Timestamp(300)), Outcome::Failed));
        assert_eq!(ledger.backlog(Timestamp(2000)), Some(Backlog::default()));
        assert_eq!(ledger.finish(first, Timestamp(1), Outcome::Ok), None);
        assert_eq!(ledger.start(77, Timestamp(1)), Started::Unknown);
    }

    #[test]
    fn a_batch_that_failed_before_it_started_never_did_and_one_withdrawn_was_none() {
        let mut ledger = Ledger::new(0);
        let ids: Vec<u64> = (0..4).map(|_| ledger.arrive(Timestamp(1), 10).0).collect();
        ledger.start(ids[1], Timestamp(2));
        ledger.start(ids[3], Timestamp(2));
        assert_eq!(ledger.give_up(ids[0], Timestamp(5)).unwrap().started_at, None);
        let failed = ledger.give_up(ids[1], Timestamp(5)).unwrap();
        assert_eq!((failed.started_at, failed.outcome), (Some(Timestamp(2)), Outcome::Failed));
        assert_eq!(ledger.give_up(ids[1], Timestamp(6)), None);
        ledger.withdraw(ids[2]);
        ledger.withdraw(ids[3]);
        ledger.withdraw(ids[3]);
        assert_eq!(ledger.backlog(Timestamp(9)), Some(Backlog::default()));
    }

    #[test]
    fn the_oldest_open_batch_goes_when_there_are_too_many() {
        let mut ledger = Ledger::new(0);
        for n in 0..MOST_OPEN as u64 {
            assert_eq!(ledger.arrive(Timestamp(n), 1), (n, false));
        }
        ledger.start(0, Timestamp(5));
        assert!(ledger.arrive(Timestamp(9), 1).1);
        assert_eq!(ledger.start(0, Timestamp(5)), Started::Unknown, "the one in service was the oldest");
        assert!(ledger.arrive(Timestamp(9), 1).1);
        assert_eq!(ledger.start(1, Timestamp(5)), Started::Unknown);
        assert_eq!((ledger.open(), ledger.waiting_bytes), (MOST_OPEN, MOST_OPEN as u64));
    }
}
