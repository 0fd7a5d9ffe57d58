//! A reading: counters as the kernel counts them, and the sample that two of them make.
//!
//! Invariant: a difference is never negative and never a counter's whole history. A counter that shrank was reset and
//! counts from zero; one that was not there before has no start to count from and is absent.

use std::collections::BTreeMap;

use forebay_shared::ResourceSample;
use forebay_shared::sample::Pressure;

/// What is told apart within the whole: it may come and go between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A child cgroup, by an id that another one never gets.
    Child(u64),
    /// A process, by PID and start (ticks since boot): PIDs are used again.
    Process(i32, u64),
}

/// One reading. Levels of a [`ResourceSample`] are as they will be told, counters are the kernel's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) whole: ResourceSample,
    /// Counters that are told by part, and summed over the parts' differences.
    pub(super) parts: BTreeMap<Part, ResourceSample>,
    /// When it was taken, in ticks since boot: a process that started later counts from zero.
    pub(super) ticks: u64,
}

impl Reading {
    /// The sample from `before` to `self`.
    pub(super) fn since(&self, before: &Self) -> ResourceSample {
        let mut sample = difference(&self.whole, &before.whole);
        for (part, now) in &self.parts {
            let start = match before.parts.get(part) {
                Some(then) => then.clone(),
                None if is_new(part, before.ticks) => ResourceSample::default(),
                // It was there before, but not looked at: nothing is known of this interval.
                None => now.clone(),
            };
            add(&mut sample, &grown(now, &start));
        }
        sample
    }
}

fn is_new(part: &Part, before: u64) -> bool {
    match part {
        // A cgroup that was not there counts from zero itself.
        Part::Child(_) => true,
        Part::Process(_, start) => *start >= before,
    }
}

/// Applies `$op(&mut field, other)` to every counter.
macro_rules! counters {
    ($one:expr, $other:expr, $op:expr) => {{
        let (one, other, op) = ($one, $other, $op);
        op(&mut one.cpu_us, other.cpu_us);
        op(&mut one.cpu_user_us, other.cpu_user_us);
        op(&mut one.cpu_system_us, other.cpu_system_us);
        op(&mut one.cpu_periods, other.cpu_periods);
        op(&mut one.cpu_throttled_periods, other.cpu_throttled_periods);
        op(&mut one.cpu_throttled_us, other.cpu_throttled_us);
        op(&mut one.memory_high_events, other.memory_high_events);
        op(&mut one.memory_max_events, other.memory_max_events);
        op(&mut one.oom_events, other.oom_events);
        op(&mut one.oom_kills, other.oom_kills);
        op(&mut one.io_read_bytes, other.io_read_bytes);
        op(&mut one.io_write_bytes, other.io_write_bytes);
        op(&mut one.io_read_ops, other.io_read_ops);
        op(&mut one.io_write_ops, other.io_write_ops);
        op(&mut one.net_rx_bytes, other.net_rx_bytes);
        op(&mut one.net_tx_bytes, other.net_tx_bytes);
        let (one, other): (&mut Pressure, Pressure) = (&mut one.pressure, other.pressure);
        op(&mut one.cpu_some_us, other.cpu_some_us);
        op(&mut one.cpu_full_us, other.cpu_full_us);
        op(&mut one.memory_some_us, other.memory_some_us);
        op(&mut one.memory_full_us, other.memory_full_us);
        op(&mut one.io_some_us, other.io_some_us);
        op(&mut one.io_full_us, other.io_full_us);
    }};
}

fn difference(now: &ResourceSample, before: &ResourceSample) -> ResourceSample {
    let mut sample = now.clone();
    counters!(&mut sample, before, |now: &mut Option<u64>, before: Option<u64>| {
        *now = match (*now, before) {
            (Some(now), Some(before)) => Some(now.checked_sub(before).unwrap_or(now)),
            _ => None,
        };
    });
    sample
}

/// As [`difference`], for a part: what was not counted before counts from zero.
fn grown(now: &ResourceSample, before: &ResourceSample) -> ResourceSample {
    let mut sample = now.clone();
    counters!(&mut sample, before, |now: &mut Option<u64>, before: Option<u64>| {
        *now = now.map(|now| now.checked_sub(before.unwrap_or(0)).unwrap_or(now));
    });
    sample
}

fn add(sum: &mut ResourceSample, more: &ResourceSample) {
    counters!(sum, more, |sum: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(more));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, start: u64, cpu: u64) -> (Part, ResourceSample) {
        (Part::Process(pid, start), ResourceSample { cpu_us: Some(cpu), ..ResourceSample::default() })
    }

    fn reading(ticks: u64, parts: impl IntoIterator<Item = (Part, ResourceSample)>) -> Reading {
        Reading { parts: parts.into_iter().collect(), ticks, ..Reading::default() }
    }

    #[test]
    fn processes_that_come_and_go_never_show_as_a_spike() {
        let before = reading(1000, [process(1, 10, 500), process(2, 20, 9000)]);
        // 2 is gone and its PID used again; 3 was there for long but is looked at for the first time.
        let now = reading(2000, [process(1, 10, 700), process(2, 1500, 30), process(3, 30, 80_000)]);
        assert_eq!(now.since(&before).cpu_us, Some(230));
    }

    #[test]
    fn a_child_cgroup_that_is_made_anew_counts_from_zero() {
        let child = |id, periods| {
            let counters = ResourceSample { cpu_periods: Some(periods), ..ResourceSample::default() };
            (Part::Child(id), counters)
        };
        let before = reading(0, [child(1, 100), child(2, 50)]);
        let now = reading(0, [child(1, 7), child(3, 3)]);
        assert_eq!(now.since(&before).cpu_periods, Some(10));
    }

    #[test]
    fn a_counter_that_appears_has_no_start_to_count_from() {
        let mut now = Reading::default();
        now.whole.io_read_bytes = Some(1 << 40);
        assert_eq!(now.since(&Reading::default()).io_read_bytes, None);
    }
}
