//! What a component carries over a restart beside its history: what the planner and feedback had in mind of it.
//!
//! Without it a start would forget how long raises take, take back what was just wanted, and leave raises unjudged.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::State;
use crate::feedback::Raise;
use crate::lead_time::Learned;
use crate::planner::Memory;

/// What one component carries over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Carried {
    /// Length of a step, ms: what counts steps is of no use in others.
    step_ms: u64,
    lead: Learned,
    raises: VecDeque<Raise>,
    planner: Memory,
}

impl State {
    /// What a component is to carry over.
    pub fn carried(&self, at: usize) -> Carried {
        let component = &self.components[at];
        Carried {
            step_ms: component.series.step_ms(),
            lead: component.lead.learned().clone(),
            raises: component.feedback.raises().clone(),
            planner: self.memory.get(at).cloned().unwrap_or_default(),
        }
    }

    /// Goes on with what a component has carried over.
    pub fn carry_on(&mut self, at: usize, carried: Carried) {
        let component = &mut self.components[at];
        component.lead.restore(carried.lead);
        if carried.step_ms == component.series.step_ms() {
            component.feedback.restore(carried.raises);
        }
        self.memory.resize(self.memory.len().max(at + 1), Memory::default());
        self.memory[at] = carried.planner;
    }
}
