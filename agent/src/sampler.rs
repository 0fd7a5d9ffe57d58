//! Sampler: reads what the kernel tells of a component, on a fixed interval, and gives `ResourceSample`s.
//!
//! ```text
//! cgroup v1 or v2, or processes ─┐
//! /proc/net/dev ─────────────────┴─► Reading (counters since the kernel's zero) ─► difference ─► ResourceSample
//! ```
//!
//! It never blocks on the component and never fails with it: what the kernel does not offer is absent, and when
//! nothing can be read it says so and goes on trying. Each file under `sampler/` reads one kernel interface with pure
//! functions; `kernel_file` is the edge. A cgroup, its children and processes may come and go.

mod cgroup;
mod kernel_file;
mod keyed;
mod net_dev;
mod processes;
mod reading;
mod v1;
mod v2;

use std::path::PathBuf;
use std::time::Duration;

use forebay_shared::health::{Health, State};
use forebay_shared::{Backlog, ResourceSample, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use self::kernel_file::KernelFiles;
use self::reading::Reading;
use crate::args::Sampling;
use crate::backlog::Reading as BacklogReading;
use crate::buffer::Buffer;
use crate::metrics::Metrics;
use crate::tap::Tap;

/// Why there is no reading; says what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(String);

/// What is sampled.
enum Source {
    Cgroup(cgroup::Cgroup),
    Processes(processes::Processes),
}

/// Takes readings, and gives the differences between them.
pub(crate) struct Sampler {
    source: Source,
    files: KernelFiles,
    before: Option<(Instant, Reading)>,
}

impl Sampler {
    /// `cgroup_root` is where cgroups are mounted: `/sys/fs/cgroup`, but in tests.
    pub(crate) fn new(sampling: Sampling, cgroup_root: PathBuf) -> Self {
        let source = match sampling {
            Sampling::Cgroup(path) => Source::Cgroup(cgroup::Cgroup::new(cgroup_root, path)),
            Sampling::Pids(file) => Source::Processes(processes::Processes::new(file)),
        };
        Self { source, files: KernelFiles::default(), before: None }
    }

    /// The sample of the time since the last call, and how it was taken. The first call, and the first one after a
    /// failure, only set the start and give none.
    pub(crate) fn sample(&mut self, now: Instant, at: Timestamp) -> Result<Option<Taken>, Unreadable> {
        let before = self.before.take();
        let (mut reading, how) = match &mut self.source {
            Source::Cgroup(cgroup) => cgroup.read(&mut self.files)?,
            Source::Processes(processes) => (processes.read(&mut self.files)?, "processes"),
        };
        net_dev::read(&mut self.files, &mut reading.whole);
        self.files.end_sample();
        let sample = before.map(|(then, before)| ResourceSample {
            at,
            interval_ms: millis(now.duration_since(then)),
            ..reading.since(&before)
        });
        self.before = Some((now, reading));
        Ok(sample.map(|sample| Taken { sample, how }))
    }
}

/// A sample, and how it was taken, such as `cgroup-v2`.
pub(crate) struct Taken {
    pub(crate) sample: ResourceSample,
    pub(crate) how: &'static str,
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
    /// Knows it instead, where a metric tells it.
    pub(crate) reading: Option<BacklogReading>,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

/// Samples until `stop`. A tick that is missed is skipped: the next sample's interval is the longer for it.
pub(crate) async fn run(mut sampler: Sampler, every: Duration, sink: Sink, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        tick(&mut sampler, &sink);
    }
}

fn tick(sampler: &mut Sampler, sink: &Sink) {
    let (start, at) = (Instant::now(), Timestamp::now());
    let taken = sampler.sample(start, at);
    sink.metrics.sampler_duration.observe(start.elapsed().as_secs_f64());
    match taken {
        Ok(taken) => {
            sink.health.set("sampler", State::Ok, taken.as_ref().map_or("", |taken| taken.how), at);
            if let Some(taken) = taken {
                record(taken, at, sink);
            }
        }
        Err(error) => {
            sink.metrics.sampler_failures.inc();
            let news = sink.health.parts().get("sampler").is_none_or(|part| part.state != State::Failed);
            if news {
                tracing::warn!(%error, "cannot sample; trying on");
            }
            sink.health.set("sampler", State::Failed, error.to_string(), at);
        }
    }
}

fn record(taken: Taken, at: Timestamp, sink: &Sink) {
    let taps: Option<Backlog> = sink.tap.as_ref().and_then(|tap| tap.backlog(at));
    let backlog = sink.reading.as_ref().map_or(taps, |reading| reading.backlog(taps));
    sink.buffer.sample(ResourceSample { backlog, ..taken.sample }, taken.how);
    sink.metrics.sampler_samples.inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &std::path::Path, file: &str, text: &str) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(file), text).unwrap();
    }

    fn sampler(root: &std::path::Path) -> Sampler {
        Sampler::new(Sampling::Cgroup("/app".into()), root.to_owned())
    }

    #[test]
    fn a_reset_counter_counts_from_zero_and_an_absent_file_stays_absent() {
        let root = tempfile::tempdir().unwrap();
        let cpuacct = root.path().join("cpuacct/app");
        let mut sampler = sampler(root.path());
        let start = Instant::now();
        let mut next = |nanos: u64, after_ms: u64| {
            write(&cpuacct, "cpuacct.usage", &format!("{nanos}\n"));
            let taken = sampler.sample(start + Duration::from_millis(after_ms), Timestamp(after_ms)).unwrap();
            taken.map(|taken| taken.sample)
        };
        assert_eq!(next(5_000_000, 0), None);
        let grown = next(7_000_000, 1000).unwrap();
        assert_eq!((grown.cpu_us, grown.interval_ms, grown.at), (Some(2000), 1000, Timestamp(1000)));
        assert_eq!((grown.memory, grown.cpu_periods, grown.pids), (None, None, None));
        let reset = next(1_000_000, 2500).unwrap();
        assert_eq!((reset.cpu_us, reset.interval_ms), (Some(1000), 1500));
    }

    #[test]
    fn a_cgroup_that_goes_and_comes_back_starts_anew() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("cpuacct/app");
        let mut sampler = sampler(root.path());
        let mut sample = || sampler.sample(Instant::now(), Timestamp(0));
        let error = sample().err().unwrap().to_string();
        assert!(error.contains("/app") && error.contains("cgroup v2 directory"), "{error}");
        write(&dir, "cpuacct.usage", "5000\n");
        assert!(sample().unwrap().is_none());
        assert!(sample().unwrap().is_some());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(sample().is_err());
        write(&dir, "cpuacct.usage", "9000000\n");
        assert!(sample().unwrap().is_none(), "the time away must not show as one sample's use");
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_samples_once_an_interval_and_tells_its_health() {
        let root = tempfile::tempdir().unwrap();
        let sink = Sink {
            buffer: Buffer::new(forebay_shared::Bytes(1 << 20), Metrics::new().1),
            tap: None,
            reading: None,
            health: Health::new(&["sampler"], Timestamp(0)),
            metrics: Metrics::new().1,
        };
        let (buffer, health, stop) = (sink.buffer.clone(), sink.health.clone(), CancellationToken::new());
        let task = tokio::spawn(run(sampler(root.path()), Duration::from_secs(1), sink, stop.clone()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(health.parts()["sampler"].state, State::Failed);
        write(&root.path().join("cpuacct/app"), "cpuacct.usage", "5000\n");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(health.parts()["sampler"].state, State::Ok);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(buffer.open_samples(), 4);
    }
}
