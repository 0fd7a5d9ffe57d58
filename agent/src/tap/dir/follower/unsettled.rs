//! What is told and not acknowledged.

use std::collections::VecDeque;

use super::super::journal::Entry;

/// 24 B each, 1.5 MiB. Beyond it the oldest counts as acknowledged.
pub(super) const MOST_UNSETTLED: usize = 65_536;

/// What the aggregator has to have before it can be noted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    Arrival(u64),
    End(u64),
}

/// In which frame, and what to note then.
#[derive(Default)]
pub(super) struct Unsettled(VecDeque<(u64, Awaited)>);

impl Unsettled {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives the oldest if there is no room for it: what is held doubles whenever it grows.
    pub(super) fn push(&mut self, in_frame: u64, awaited: Awaited) -> Option<Entry> {
        let oldest = if self.len() >= MOST_UNSETTLED { self.0.pop_front() } else { None };
        self.0.push_back((in_frame, awaited));
        oldest.map(|(_, awaited)| awaited.into())
    }

    /// The next one that is in a frame before `below`.
    pub(super) fn settle(&mut self, below: u64) -> Option<Entry> {
        self.0.pop_front_if(|(in_frame, _)| *in_frame < below).map(|(_, awaited)| awaited.into())
    }
}

impl From<Awaited> for Entry {
    fn from(awaited: Awaited) -> Self {
        match awaited {
            Awaited::Arrival(id) => Self::Settled(id),
            Awaited::End(id) => Self::Done(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_acknowledged_takes_so_much_memory_and_no_more() {
        let mut unsettled = Unsettled::default();
        let most = MOST_UNSETTLED as u64;
        for id in 0..most {
            assert_eq!(unsettled.push(id / 2, Awaited::Arrival(id)), None);
        }
        assert_eq!(unsettled.push(most, Awaited::End(most)), Some(Entry::Settled(0)));
        assert_eq!(unsettled.push(most, Awaited::End(most + 1)), Some(Entry::Settled(1)));
        assert_eq!(unsettled.len(), MOST_UNSETTLED);
        let bytes = unsettled.0.capacity() * size_of_val(&unsettled.0[0]);
        assert!(bytes <= 3 << 19, "{bytes}");
        assert_eq!((unsettled.settle(1), unsettled.settle(2)), (None, Some(Entry::Settled(2))));
        while unsettled.settle(most).is_some() {}
        assert_eq!(unsettled.settle(u64::MAX), Some(Entry::Done(most)));
    }
}
