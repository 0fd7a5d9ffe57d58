//! What a component was given, step by step: kept as changes, since most steps have none.

use std::collections::BTreeMap;

use crate::orchestrator::Observed;

/// Changes kept: more than a day of 15 s steps has steps.
const KEPT_CHANGES: usize = 5760;

/// Allocations by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocated(BTreeMap<u64, Option<Observed>>);

impl Allocated {
    /// Takes in what there is from a step on; `None` if that is not known.
    pub fn note(&mut self, step: u64, observed: Option<Observed>) {
        // What is noted twice for a step is known better.
        self.0.remove(&step);
        if self.at(step) != observed {
            self.0.insert(step, observed);
        }
        if self.0.len() > KEPT_CHANGES {
            self.0.pop_first();
        }
    }

    /// What there was in a step.
    pub fn at(&self, step: u64) -> Option<Observed> {
        self.0.range(..=step).next_back().and_then(|(_, observed)| *observed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::Allocation;
    use forebay_shared::Millicores;

    fn replicas(replicas: u32) -> Option<Observed> {
        Some(Observed { allocation: Allocation { replicas, cpu: Millicores(500) }, ready: replicas })
    }

    #[test]
    fn each_step_has_what_was_noted_last_before_it() {
        let mut allocated = Allocated::default();
        for (step, observed) in [(3, replicas(1)), (4, replicas(1)), (6, replicas(2)), (8, None), (9, replicas(2))] {
            allocated.note(step, observed);
        }
        let steps: Vec<_> = (2..11).map(|step| allocated.at(step).map(|observed| observed.ready)).collect();
        assert_eq!(steps, [None, Some(1), Some(1), Some(1), Some(2), Some(2), None, Some(2), Some(2)]);
        assert_eq!(allocated.0.len(), 4, "what does not change takes no room");
        for step in 10..100_000 {
            allocated.note(step, replicas(step as u32));
        }
        assert_eq!(allocated.0.len(), KEPT_CHANGES);
    }
}
