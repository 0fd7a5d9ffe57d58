//! The state of a program's parts, for `/readyz` and `/healthz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::Timestamp;

/// State of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Not there yet.
    Starting,
    /// Works.
    Ok,
    /// Works less well; the pod stays ready.
    Degraded,
    /// Does not work; the pod is not ready.
    Failed,
}

/// A part's state, since when, and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The state.
    pub state: State,
    /// When it came to this state.
    pub since: Timestamp,
    /// In words; empty if there is nothing to say.
    pub detail: String,
}

/// The parts of a program, shared by those who know their state and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Part>>>);

impl Health {
    /// Parts that all start as [`State::Starting`].
    pub fn new(parts: &[&'static str], now: Timestamp) -> Self {
        let part = Part { state: State::Starting, since: now, detail: String::new() };
        Self(Arc::new(Mutex::new(parts.iter().map(|name| (*name, part.clone())).collect())))
    }

    /// Records a part's state; `since` moves only when the state changes.
    pub fn set(&self, name: &'static str, state: State, detail: impl Into<String>, now: Timestamp) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.entry(name).or_insert(Part { state, since: now, detail: String::new() });
        if part.state != state {
            part.since = now;
        }
        part.state = state;
        part.detail = detail.into();
    }

    /// Every part is there and none has failed.
    pub fn ready(&self) -> bool {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.values().all(|part| matches!(part.state, State::Ok | State::Degraded))
    }

    /// All parts, by name.
    pub fn parts(&self) -> BTreeMap<&'static str, Part> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_when_the_state_changes() {
        let health = Health::new(&["sampler"], Timestamp(1));
        assert!(!health.ready());
        health.set("sampler", State::Ok, "", Timestamp(5));
        health.set("sampler", State::Ok, "still", Timestamp(9));
        assert!(health.ready());
        assert_eq!(health.parts()["sampler"].since, Timestamp(5));
    }
}
