//! How long the oldest waiting batch has waited at most, from nothing but how many wait.
//!
//! Batches are taken in order. What waited at a time `s` has all been taken once as many have been taken since: then no
//! batch that waits is older than `s`. Of those taken between two readings one knows at least by how many fewer wait.
//! It is an upper bound, and a loose one where as many arrive as are taken; where an exporter tells the age, that is
//! read instead. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Readings that are remembered: at one in 5 s, 85 minutes; 24 B each. If the oldest are forgotten the bound holds all
/// the same: a later one may prove less.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Oldest {
    /// When each reading was, and how many must have been taken in all until what waited then is gone.
    readings: VecDeque<(Instant, u64)>,
    /// Taken in all, at least.
    taken: u64,
    waiting: u64,
    /// What waits came after it.
    since: Option<Instant>,
}

impl Oldest {
    /// The longest that one of `waiting` batches can have waited, as far as it is known since the first reading.
    pub(super) fn observe(&mut self, now: Instant, waiting: u64) -> Duration {
        self.taken = self.taken.saturating_add(self.waiting.saturating_sub(waiting));
        self.waiting = waiting;
        if self.readings.len() >= MOST {
            self.readings.pop_front();
        }
        self.readings.push_back((now, self.taken.saturating_add(waiting)));
        let gone = self.readings.iter().rposition(|(_, until)| *until <= self.taken);
        if let Some(at) = gone.and_then(|last| self.readings.drain(..=last).next_back()) {
            self.since = Some(at.0);
        }
        let since = *self.since.get_or_insert(now);
        if waiting == 0 { Duration::ZERO } else { now - since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observed(waiting: &[u64]) -> Vec<u64> {
        let (mut oldest, start) = (Oldest::default(), Instant::now());
        let at = |index: usize| start + Duration::from_secs(index as u64);
        waiting.iter().enumerate().map(|(index, waiting)| oldest.observe(at(index), *waiting).as_secs()).collect()
    }

    #[test]
    fn it_waits_since_nothing_waited() {
        assert_eq!(observed(&[0, 0, 5, 7, 9, 0, 3]), [0, 0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn what_waited_first_is_gone_once_as_many_were_taken() {
        // 10 wait at 0; 4, 3 and 3 are taken, with arrivals between: at 5 those 10 are gone, and so are the 6 of 1.
        assert_eq!(observed(&[10, 6, 11, 8, 12, 9]), [0, 1, 2, 3, 4, 5 - 1]);
        assert_eq!(observed(&[4, 1, 9, 5, 9, 8]), [0, 1, 2, 3 - 1, 4 - 1, 5 - 1]);
    }

    proptest! {
        #[test]
        fn it_is_never_less_than_the_truth(steps in proptest::collection::vec((0..6u64, 0..6usize), 1..100)) {
            let (mut queue, mut oldest, start) = (VecDeque::new(), Oldest::default(), Instant::now());
            for (second, (arrive, take)) in steps.into_iter().enumerate() {
                let now = start + Duration::from_secs(second as u64);
                queue.drain(..take.min(queue.len()));
                (0..arrive).for_each(|_| queue.push_back(now));
                let bound = oldest.observe(now, queue.len() as u64);
                let truth = queue.front().map_or(Duration::ZERO, |first| now - *first);
                prop_assert!(bound >= truth, "{bound:?} < {truth:?}");
            }
        }
    }
}
