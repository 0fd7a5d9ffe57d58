//! Sampler: reads what the kernel tells of a component, on a fixed interval, and gives `ResourceSample`s.
//!
//! ```text
//! discovery ─► source: cgroup v1 or v2, processes, machine ─┐
//!                                   /proc/net/dev ──────────┴─► Reading (counters since the kernel's zero)
//!                                                                   └─► difference ─► ResourceSample
//! ```
//!
//! It never blocks on the component and never fails with it: what the kernel does not offer is absent, and when
//! nothing can be read it says so and goes on trying. Each file under `sampler/` reads one kernel interface with pure
//! functions; `kernel_file` is the edge. A container, a cgroup, its children and processes may come and go: with
//! another container readings start anew, so that no difference spans two of them.

mod cgroup;
mod discovery;
mod host;
mod kernel_file;
mod keyed;
mod net_dev;
mod processes;
#[cfg(any(test, fuzzing))]
pub(crate) mod readers;
mod reading;
mod source;
mod teller;
#[cfg(test)]
mod testing;
mod v1;
mod v2;

use std::time::Duration;

use forebay_shared::health::Health;
use forebay_shared::{Backlog, ResourceSample, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use self::discovery::Found;
pub(crate) use self::discovery::{Pod, Roots, Target};
use self::kernel_file::Reader;
use self::net_dev::NetDev;
use self::reading::Reading;
use self::source::Lost;
use self::teller::Teller;
use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::Tap;

/// A turn beside its interval: a node may starve its pods for a while.
const LONGEST_TURN: Duration = Duration::from_secs(120);
/// A container that is sought and not found is looked for again after this, then after twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// It may start at any time, and should not be long without an eye on it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Now and then a better way is looked for, and another container in the place of one that ended unseen.
const LOOK_AROUND: Duration = Duration::from_secs(60);

/// Why there is no reading; says what would be right.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(String);

/// Takes readings, and gives the differences between them.
pub(crate) struct Sampler {
    target: Target,
    state: State,
    reader: Reader,
    net: NetDev,
    now: Box<Reading>,
    before: Box<Reading>,
    /// When `before` was read; nothing if it is no start for the next one.
    read_at: Option<Instant>,
}

enum State {
    Seeking { from: Instant, wait: Duration, why: Unreadable },
    Found { found: Box<Found>, look_around: Instant },
}

impl Sampler {
    pub(crate) fn new(target: Target) -> Self {
        let net = NetDev::new(&target.roots.proc);
        Self {
            state: State::seeking(),
            target,
            reader: Reader::default(),
            net,
            now: Box::default(),
            before: Box::default(),
            read_at: None,
        }
    }

    /// The sample of the time since the last call, and how it was taken. The first call, and the first one of another
    /// container or after a failure, only set the start and give none. `now` is of the monotonic clock, which alone
    /// measures intervals; `at` of the wall clock, which may step.
    pub(crate) fn sample(&mut self, now: Instant, at: Timestamp) -> Result<Taken, Unreadable> {
        self.reader.begin();
        let (how, note) = self.read(now)?;
        self.net.read(&mut self.reader, &mut self.now.whole);
        let sample = self.read_at.replace(now).map(|then| ResourceSample {
            at,
            interval_ms: millis(now.duration_since(then)),
            ..self.now.since(&self.before)
        });
        std::mem::swap(&mut self.now, &mut self.before);
        Ok(Taken { sample, how, note })
    }

    fn read(&mut self, now: Instant) -> Result<(&'static str, Option<String>), Unreadable> {
        self.look_around(now);
        // Twice: what is gone may have been replaced already.
        for _ in 0..2 {
            self.seek(now)?;
            let State::Found { found, look_around } = &mut self.state else { continue };
            *self.now = Reading::default();
            match found.source.read(&mut self.reader, &mut self.now) {
                Ok(()) => {
                    if self.now.whole.pids == Some(0) && self.target.is_sought() {
                        // It has ended, or its cgroup is there before it: another may be the component's now.
                        *look_around = (*look_around).min(now + FIRST_WAIT);
                    }
                    return Ok((found.how.as_str(), found.note.clone()));
                }
                Err(Lost::Gone) => self.lose(self.target.lost(), now),
                Err(Lost::Unreadable(why)) => {
                    self.lose(why.clone(), now);
                    return Err(why);
                }
            }
        }
        match &self.state {
            State::Seeking { why, .. } => Err(why.clone()),
            State::Found { .. } => Err(self.target.lost()),
        }
    }

    /// Forgets the source; looks for one at once.
    fn lose(&mut self, why: Unreadable, now: Instant) {
        self.read_at = None;
        self.state = State::Seeking { from: now, wait: Duration::ZERO, why };
    }

    fn seek(&mut self, now: Instant) -> Result<(), Unreadable> {
        let State::Seeking { from, wait, why } = &mut self.state else { return Ok(()) };
        if now < *from {
            return Err(why.clone());
        }
        match self.target.find() {
            Ok(found) => self.take(found, now),
            Err(error) => {
                self.read_at = None;
                // A path that was given costs next to nothing to look for.
                if self.target.is_sought() {
                    *wait = (*wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                }
                *from = now + *wait;
                *why = error.clone();
                return Err(error);
            }
        }
        Ok(())
    }

    fn look_around(&mut self, now: Instant) {
        let State::Found { found, look_around } = &mut self.state else { return };
        if !self.target.is_sought() || now < *look_around {
            return;
        }
        *look_around = now + LOOK_AROUND;
        match self.target.find() {
            Ok(other) if !other.is_as(found) => self.take(other, now),
            // The one that is read is still the best, or nothing else is in sight.
            _ => {}
        }
    }

    fn take(&mut self, found: Found, now: Instant) {
        self.read_at = None;
        self.reader.restart();
        self.reader.begin();
        self.state = State::Found { found: Box::new(found), look_around: now + LOOK_AROUND };
    }
}

impl State {
    fn seeking() -> Self {
        Self::Seeking { from: Instant::now(), wait: Duration::ZERO, why: Unreadable(String::new()) }
    }
}

/// A sample, unless this was the start of one, and how it was taken, such as `cgroup-v2`.
pub(crate) struct Taken {
    pub(crate) sample: Option<ResourceSample>,
    pub(crate) how: &'static str,
    /// Why it was not taken in a better way.
    pub(crate) note: Option<String>,
}

/// Rounded to the nearest; never 0, since rates divide by it.
fn millis(interval: Duration) -> u32 {
    u32::try_from((interval.as_micros() + 500) / 1000).unwrap_or(u32::MAX).max(1)
}

/// Where samples go, and who is told.
pub(crate) struct Sink {
    pub(crate) buffer: Buffer,
    /// Knows the backlog, where batches are pushed.
    pub(crate) tap: Option<Tap>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

/// Samples until `stop`. A tick that is missed is skipped: the next sample's interval is the longer for it.
pub(crate) async fn run(mut sampler: Sampler, every: Duration, sink: Sink, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let pulse = sink.health.pulse("sampler", LONGEST_TURN + 2 * every);
    let mut teller = Teller::new(sampler.target.is_sought());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        pulse.beat();
        tick(&mut sampler, &sink, &mut teller);
    }
}

fn tick(sampler: &mut Sampler, sink: &Sink, teller: &mut Teller) {
    let (start, at) = (Instant::now(), Timestamp::now());
    let taken = sampler.sample(start, at);
    sink.metrics.sampler_duration.observe(start.elapsed().as_secs_f64());
    teller.tell(&taken, at, &sink.health, &sink.metrics);
    match taken {
        Ok(Taken { sample: Some(sample), how, .. }) => record(sample, how, at, sink),
        Ok(_) => {}
        Err(_) => {
            sink.metrics.sampler_failures.inc();
        }
    }
}

fn record(sample: ResourceSample, how: &'static str, at: Timestamp, sink: &Sink) {
    let backlog: Option<Backlog> = sink.tap.as_ref().and_then(|tap| tap.backlog(at));
    sink.buffer.sample(ResourceSample { backlog, ..sample }, how);
    sink.metrics.sampler_samples.inc();
}

#[cfg(test)]
mod tests;
