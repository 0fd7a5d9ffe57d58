//! The state of a program's parts, for `/readyz` and `/healthz`, and the pulse of its loops, for `/livez`.
//!
//! A part that does not work takes the pod out of service; it may come back by itself. A loop that made no turn for
//! long will not: only a restart helps. So a loop that waits for the outside world must wait in bounded steps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// A part's name, such as `sampler` or `tap http=9000->8080`.
pub type Name = Cow<'static, str>;

/// The parts of a program, shared by those who know their state and those who ask.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    parts: Mutex<BTreeMap<Name, Part>>,
    loops: Mutex<Vec<Pulse>>,
}

/// Beats once a turn of a loop; clones share it.
#[derive(Clone, Debug)]
pub struct Pulse {
    name: &'static str,
    /// The longest that a turn may take.
    longest: Duration,
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    beat: Arc<AtomicU64>,
}

impl Health {
    /// Parts that all start as [`State::Starting`].
    pub fn new(parts: &[&'static str], now: Timestamp) -> Self {
        let health = Self::default();
        parts.iter().for_each(|name| health.register(*name, now));
        health
    }

    /// Adds a part that is [`State::Starting`]; one that is there already stays as it is.
    pub fn register(&self, name: impl Into<Name>, now: Timestamp) {
        let starting = Part { state: State::Starting, since: now, detail: String::new() };
        self.lock().entry(name.into()).or_insert(starting);
    }

    /// Records a part's state; `since` moves only when the state changes. A part that was not there comes to be.
    pub fn set(&self, name: impl Into<Name>, state: State, detail: impl Into<String>, now: Timestamp) {
        let mut parts = self.lock();
        let part = parts.entry(name.into()).or_insert(Part { state, since: now, detail: String::new() });
        if part.state != state {
            part.since = now;
        }
        part.state = state;
        part.detail = detail.into();
    }

    /// Every part is there and none has failed.
    pub fn ready(&self) -> bool {
        self.lock().values().all(|part| matches!(part.state, State::Ok | State::Degraded))
    }

    /// All parts, by name.
    pub fn parts(&self) -> BTreeMap<Name, Part> {
        self.lock().clone()
    }

    /// The pulse of a loop whose turns take `longest` at the most; it beats now.
    pub fn pulse(&self, name: &'static str, longest: Duration) -> Pulse {
        let pulse = Pulse { name, longest, start: Instant::now(), beat: Arc::default() };
        self.0.loops.lock().unwrap_or_else(PoisonError::into_inner).push(pulse.clone());
        pulse
    }

    /// The loops that made no turn for too long, and for how long.
    pub fn stalled(&self) -> Vec<(&'static str, Duration)> {
        let loops = self.0.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.iter().filter_map(|pulse| pulse.stalled().map(|silent| (pulse.name, silent))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Part>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// A turn is made.
    pub fn beat(&self) {
        self.beat.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn stalled(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        let silent = self.start.elapsed().saturating_sub(last);
        (silent > self.longest).then_some(silent)
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

    #[test]
    fn a_part_that_comes_late_counts_from_then_on() {
        let health = Health::new(&["sampler"], Timestamp(1));
        health.set("sampler", State::Ok, "", Timestamp(2));
        health.register(format!("tap http={}", 9000), Timestamp(3));
        assert!(!health.ready());
        health.set("tap http=9000", State::Degraded, "", Timestamp(4));
        health.register("tap http=9000", Timestamp(5));
        assert!(health.ready(), "a part that is registered again stays as it is");
    }

    #[test]
    fn a_loop_that_makes_no_turn_is_told_until_it_does() {
        let health = Health::default();
        let slow = health.pulse("slow", Duration::from_secs(3600));
        let quick = health.pulse("quick", Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(health.stalled().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["quick"]);
        quick.beat();
        slow.beat();
        assert!(health.stalled().is_empty());
    }
}
