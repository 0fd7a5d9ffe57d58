//! How long a component takes from a decision to useful capacity: learned from its own raises.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_shared::Timestamp;
use serde::{Deserialize, Serialize};

/// Raises that are remembered.
const REMEMBERED: usize = 9;

/// The lead time of one component.
#[derive(Clone, Debug)]
pub struct LeadTime {
    prior: Duration,
    learned: Learned,
}

/// What a component's raises have taught: kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    seen: VecDeque<Duration>,
    /// A raise under way: when it was applied, and the replicas that have to be ready.
    pending: Option<(Timestamp, u32)>,
}

impl LeadTime {
    /// Before any raise was seen, `prior` holds.
    pub fn new(prior: Duration) -> Self {
        Self { prior, learned: Learned::default() }
    }

    /// What it has learned.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Goes on from what was learned before a restart.
    pub fn restore(&mut self, mut learned: Learned) {
        learned.seen.truncate(REMEMBERED);
        self.learned = learned;
    }

    /// A raise to `replicas` was applied.
    pub fn raised(&mut self, at: Timestamp, replicas: u32) {
        // A second raise on the way starts the clock anew: its replicas are the ones that are waited for.
        self.learned.pending = Some((at, replicas));
    }

    /// So many replicas are ready.
    pub fn ready(&mut self, at: Timestamp, ready: u32, desired: u32) {
        let Learned { seen, pending } = &mut self.learned;
        match *pending {
            Some((since, wanted)) if ready >= wanted => {
                seen.push_back(at.since(since));
                if seen.len() > REMEMBERED {
                    seen.pop_front();
                }
                *pending = None;
            }
            // Lowered on the way: it will never be known.
            Some((_, wanted)) if desired < wanted => *pending = None,
            _ => {}
        }
    }

    /// The upper median of the prior and the raises seen.
    pub fn value(&self) -> Duration {
        let mut all: Vec<Duration> = self.learned.seen.iter().copied().chain([self.prior]).collect();
        all.sort();
        all[all.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_learned_from_raises_that_came_to_be() {
        let mut lead = LeadTime::new(Duration::from_secs(30));
        for at in [0, 100_000, 200_000] {
            lead.raised(Timestamp(at), 3);
            lead.ready(Timestamp(at + 5_000), 2, 3);
            lead.ready(Timestamp(at + 50_000), 3, 3);
        }
        assert_eq!(lead.value(), Duration::from_secs(50));
        lead.raised(Timestamp(300_000), 9);
        lead.ready(Timestamp(301_000), 3, 4);
        lead.ready(Timestamp(900_000), 9, 9);
        assert_eq!(lead.value(), Duration::from_secs(50), "a raise that was taken back teaches nothing");
    }
}
