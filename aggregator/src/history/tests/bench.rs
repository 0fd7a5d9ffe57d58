//! Figures for docs/BENCHMARKS.md; `tests/bench/history` runs them, with the folder of the series in `FOREBAY_SERIES` and
//! one for what they leave in `FOREBAY_BENCH`.
//!
//! A sample a second is made of the five-minute means of the Bitbrains traces: between two of them the mean moves in a
//! straight line, and a second differs from it as much as those of a busy server do. Times jitter by 2 ms, memory moves by
//! pages, IO comes in bursts.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use forebay_shared::{Backlog, Bytes};

use super::*;
use crate::features::Series;
use crate::history::fields::SAMPLE;

const HOUR: u64 = 3_600_000;
const TRACES: [&str; 4] = [
    "bitbrains_vm384_cpu_mhz",
    "bitbrains_vm408_memory_kb",
    "bitbrains_vm323_disk_write_kbps",
    "bitbrains_vm93_cpu_mhz",
];

fn folder(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: see tests/bench/history")))
}

/// CPU-seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> =
        stat.rsplit_once(')').unwrap().1.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    (fields[11] + fields[12]) / 100.0
}

/// What one pod does, second by second.
struct Source {
    rows: Vec<[f64; 6]>,
    random: fastrand::Rng,
    memory: f64,
    inactive: u64,
    peak: u64,
    waiting: u64,
}

impl Source {
    fn new(pod: usize) -> Self {
        let name = TRACES[pod % TRACES.len()];
        let mut reader = csv::Reader::from_path(folder("FOREBAY_SERIES").join(format!("{name}.csv"))).unwrap();
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        let own = &name[name.find("_vm").unwrap() + 1..];
        let value = &own[own.find('_').unwrap() + 1..];
        let names = ["cpu_mhz", "memory_kb", "disk_read_kbps", "disk_write_kbps", "net_in_kbps", "net_out_kbps"];
        let places = names.map(|of| header.iter().position(|h| h == of || (h == "value" && value == of)).unwrap());
        let rows: Vec<[f64; 6]> = reader
            .records()
            .map(|row| {
                let row = row.unwrap();
                places.map(|at| row[at].parse().unwrap_or(0.0))
            })
            .collect();
        // Pods of one trace start at different days of it.
        let from = pod / TRACES.len() * 997 % rows.len();
        let rows = rows[from..].iter().chain(&rows[..from]).copied().collect();
        Self {
            rows,
            random: fastrand::Rng::with_seed(pod as u64),
            memory: 0.0,
            inactive: 40 << 20,
            peak: 0,
            waiting: 0,
        }
    }

    fn noise(&mut self) -> f64 {
        (0..4).map(|_| self.random.f64()).sum::<f64>() - 2.0
    }

    fn sample(&mut self, start: u64, second: u64) -> ResourceSample {
        let (at, share) = ((second / 300) as usize, (second % 300) as f64 / 300.0);
        let (a, b) = (self.rows[at % self.rows.len()], self.rows[(at + 1) % self.rows.len()]);
        let mean = |of: usize| a[of] + (b[of] - a[of]) * share;
        let mut noisy = |of: usize, much: f64| (mean(of) * (1.0 + much * self.noise())).max(0.0);
        let cpu = (noisy(0, 0.25) / 2600.0 * 1e6) as u64;
        let (rx, tx) = ((noisy(4, 0.6) * 1024.0) as u64, (noisy(5, 0.6) * 1024.0) as u64);
        let user = (cpu as f64 * (0.8 + 0.05 * self.noise())).max(0.0) as u64;
        let system = cpu.saturating_sub(user);
        self.memory += 0.02 * (mean(1) * 1024.0 - self.memory) + self.noise() * 65_536.0;
        if second == 0 {
            self.memory = mean(1) * 1024.0;
        }
        let memory = (self.memory.max(4096.0) as u64) / 4096 * 4096;
        if self.random.u8(..) < 8 {
            self.inactive = (self.inactive as f64 * (1.0 + 0.05 * self.noise())) as u64 / 4096 * 4096;
        }
        self.peak = self.peak.max(memory);
        // A burst every few seconds carries what the mean says.
        let mut burst = |of: usize| {
            let every = 4;
            let pages = if self.random.u64(0..every) == 0 {
                mean(of) * 1024.0 * every as f64 / 4096.0 * (0.5 + self.random.f64())
            } else {
                0.0
            };
            (pages as u64 * 4096, (pages / 8.0).ceil() as u64)
        };
        let ((read, read_ops), (write, write_ops)) = (burst(2), burst(3));
        self.waiting = (self.waiting + self.random.u64(0..3)).saturating_sub(self.random.u64(0..3)).min(20);
        let anon = memory / 10 * 7 / 4096 * 4096;
        let jitter = self.random.u64(0..3);
        let stalled = if self.random.u8(..) < 100 { self.random.u64(0..2000) } else { 0 };
        let mut sample = ResourceSample {
            at: Timestamp(start + second * 1000 + jitter),
            interval_ms: 1000,
            cpu_us: Some(cpu),
            cpu_user_us: Some(user),
            cpu_system_us: Some(system),
            cpu_periods: Some(10),
            cpu_throttled_periods: Some(0),
            cpu_throttled_us: Some(0),
            cpu_quota: Some(Millicores(4000)),
            memory: Some(Bytes(memory)),
            memory_working_set: Some(Bytes(memory.saturating_sub(self.inactive))),
            memory_anon: Some(Bytes(anon)),
            memory_file: Some(Bytes(memory - anon)),
            memory_peak: Some(Bytes(self.peak)),
            memory_limit: Some(Bytes(8 << 30)),
            memory_high_events: Some(0),
            memory_max_events: Some(0),
            oom_events: Some(0),
            oom_kills: Some(0),
            io_read_bytes: Some(read),
            io_write_bytes: Some(write),
            io_read_ops: Some(read_ops),
            io_write_ops: Some(write_ops),
            pids: Some(24 + u64::from(self.random.u8(..) < 4)),
            net_rx_bytes: Some(rx),
            net_tx_bytes: Some(tx),
            backlog: Some(Backlog {
                waiting: self.waiting,
                waiting_bytes: self.waiting * 65_536,
                oldest_wait_ms: self.waiting * 37,
                in_service: 1,
            }),
            ..ResourceSample::default()
        };
        sample.pressure.cpu_some_us = Some(stalled);
        sample.pressure.cpu_full_us = Some(0);
        sample.pressure.memory_some_us = Some(0);
        sample.pressure.memory_full_us = Some(0);
        sample.pressure.io_some_us = Some(if read + write > 0 { stalled / 2 } else { 0 });
        sample.pressure.io_full_us = Some(if read + write > 0 { stalled / 3 } else { 0 });
        sample
    }

    /// Frames of so many samples each.
    fn frames(&mut self, start: u64, seconds: Range<u64>, each: u64) -> Vec<Frame> {
        let starts = (seconds.start..seconds.end).step_by(each as usize);
        starts
            .map(|from| {
                let samples: Vec<_> = (from..(from + each).min(seconds.end)).map(|at| self.sample(start, at)).collect();
                let closed_at = Timestamp(samples.last().unwrap().at.0 + 1);
                let content = Content { closed_at, sampling: "cgroup-v2".into(), samples, ..Content::default() };
                Frame { boot: BootId(7), sequence: from / each, first_retained: 0, content }
            })
            .collect()
    }
}

/// Values of the samples, less the times.
fn values(frames: &[Frame]) -> usize {
    let of = |sample: &ResourceSample| SAMPLE[2..].iter().filter(|field| (field.get)(sample).is_some()).count();
    frames.iter().flat_map(|frame| &frame.content.samples).map(of).sum()
}

fn scratch() -> TempDir {
    tempfile::tempdir_in(folder("FOREBAY_BENCH")).unwrap()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().to_owned()
}

/// Writes what VictoriaMetrics imports: a line a series.
fn write_for_victoria(pods: &[Vec<Frame>]) {
    let path = folder("FOREBAY_BENCH").join("victoria.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    for (pod, frames) in pods.iter().enumerate() {
        let samples: Vec<_> = frames.iter().flat_map(|frame| &frame.content.samples).collect();
        let times: Vec<_> = samples.iter().map(|sample| sample.at.0).collect();
        for field in &SAMPLE[2..] {
            let values: Vec<_> = samples.iter().filter_map(|sample| (field.get)(sample)).collect();
            if values.len() == times.len() {
                // Some 10,000 values a line, as its documents advise.
                for (times, values) in times.chunks(10_000).zip(values.chunks(10_000)) {
                    let line = serde_json::json!({
                        "metric": {"__name__": field.name, "pod": format!("parse-{pod}"), "component": component("parse").to_string()},
                        "values": values, "timestamps": times,
                    });
                    writeln!(file, "{line}").unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn writing_and_bytes_per_value() {
    const SECONDS: u64 = 6 * 3600;
    // VictoriaMetrics takes nothing of the future.
    let start = T0 - 9000 * HOUR;
    let pods: Vec<Vec<Frame>> = (0..8).map(|pod| Source::new(pod).frames(start, 0..SECONDS, 5)).collect();
    let total: usize = pods.iter().map(|frames| values(frames)).sum();
    write_for_victoria(&pods);
    println!("{total} values of {} pods in frames of 5 samples; load {}", pods.len(), load());
    for (each, request, senders) in [(5, 1, 256), (5, 64, 16), (300, 4, 8)] {
        let directory = scratch();
        let history = open(&directory);
        let mut work: Vec<(PodIdentity, Vec<Frame>)> = Vec::new();
        for (number, frames) in pods.iter().enumerate() {
            // Each sender is a pod of its own, with a part of the frames.
            let parts = senders / pods.len();
            for (part, chunk) in frames.chunks(frames.len() / parts).enumerate() {
                let mut joined: Vec<Frame> = Vec::new();
                for frame in chunk {
                    match joined.last_mut() {
                        Some(last) if last.content.samples.len() < each => {
                            last.content.samples.extend(frame.content.samples.clone());
                            last.content.closed_at = frame.content.closed_at;
                        }
                        _ => joined.push(Frame { sequence: joined.len() as u64, ..frame.clone() }),
                    }
                }
                work.push((pod(&format!("{number}-{part}")), joined));
            }
        }
        // As they come over the wire: decoding counts, HTTP does not.
        let bodies = |frames: Vec<Frame>| -> Vec<Vec<u8>> {
            frames
                .chunks(request)
                .map(|frames| frames.iter().flat_map(|frame| frame.encode().unwrap()).collect())
                .collect()
        };
        let work: Vec<_> = work.into_iter().map(|(pod, frames)| (pod, bodies(frames))).collect();
        let (started, before) = (Instant::now(), cpu_seconds());
        let tasks: Vec<_> = work
            .into_iter()
            .map(|(pod, bodies)| {
                let history = history.clone();
                tokio::spawn(async move {
                    for body in bodies {
                        history.append(&pod, Frame::decode_all(&body).unwrap()).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - before);
        println!(
            "acknowledged: frames of {each}, {request} a request, {senders} senders: {:.2} M values/s, {:.2} M values a CPU-second",
            total as f64 / wall / 1e6,
            total as f64 / cpu / 1e6
        );
        let raw = history.0.readers.read(retention::used_bytes).unwrap();
        let (started, before) = (Instant::now(), cpu_seconds());
        history.compact(Timestamp(start + SECONDS * 1000 + 2 * HOUR)).await.unwrap();
        let compaction = cpu_seconds() - before;
        println!(
            "  compaction: {:.1} s, {:.2} M values a CPU-second; with it {:.2} M values a CPU-second",
            started.elapsed().as_secs_f64(),
            total as f64 / compaction / 1e6,
            total as f64 / (cpu + compaction) / 1e6
        );
        let of = |sql: &str| -> i64 {
            let file = Connection::open(&history.0.path).unwrap();
            file.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).unwrap().unwrap_or(0)
        };
        let used = history.0.readers.read(retention::used_bytes).unwrap();
        let columns = of("SELECT sum(length(data)) FROM blocks WHERE tier = 0");
        let rolled = of("SELECT sum(length(data)) FROM blocks WHERE tier > 0");
        assert_eq!(of("SELECT count(*) FROM raw"), 0);
        println!(
            "  bytes a value: {:.3} as rows, {:.3} in columns, {:.3} in steps and roll-ups, {:.3} of the file in all",
            raw as f64 / total as f64,
            columns as f64 / total as f64,
            rolled as f64 / total as f64,
            used as f64 / total as f64
        );
    }
}

#[tokio::test]
#[ignore = "measures"]
async fn reading_a_day() {
    for pods in [1, 10] {
        let directory = scratch();
        let history = open(&directory);
        let start = T0 - 24 * HOUR;
        for number in 0..pods {
            let mut source = Source::new(number);
            for hour in 0..24 {
                let frames = source.frames(start, hour * 3600..(hour + 1) * 3600, 5);
                history.append(&pod(&number.to_string()), frames).await.unwrap();
            }
        }
        // As it is at any time: the last hour is in blocks of ten minutes, or in rows.
        for minutes in (0..24 * 60).step_by(10) {
            history.compact(Timestamp(start + minutes * 60_000)).await.unwrap();
        }
        let range = || Timestamp(start)..Timestamp(T0);
        let time = |what: &str, work: &dyn Fn() -> usize| {
            let mut found = 0;
            let times = (0..30).map(|_| {
                let started = Instant::now();
                found = work();
                started.elapsed().as_secs_f64() * 1000.0
            });
            let ms = median(times.collect());
            println!("{pods} pods, {what}: {ms:.2} ms, {found} steps; load {}", load());
        };
        let name = component("parse");
        let step = |step_ms, aggregate| history.range(&name, range(), step_ms, aggregate).unwrap().rows.len();
        time("24 h at 15 s, mean", &|| step(15_000, Aggregate::Mean));
        time("24 h at 1 min, p95", &|| step(60_000, Aggregate::P95));
        time("24 h at 15 min, max", &|| step(900_000, Aggregate::Max));
        time("24 h at 15 s, as rows of live state", &|| {
            let mut series = Series::new(Duration::from_secs(15));
            let each = |part| match part {
                Window::Step(index, sums) => series.restore(index, &sums),
                Window::Frame(frame) => series.observe(&frame.pod_uid, frame.boot, &frame.content),
            };
            history.window(&name, range(), 15_000, each).unwrap();
            (series.extent().end - series.extent().start) as usize
        });
        time("1 h of frames", &|| {
            let mut frames = 0;
            let hour = Timestamp(start + HOUR)..Timestamp(start + 2 * HOUR);
            history.visit(&name, hour, |_| frames += 1).unwrap();
            frames
        });
        time("extent", &|| usize::try_from(history.extent(&name).unwrap().samples).unwrap());
    }
}

/// Leaves `restart.sqlite`, a manifest and tokens, which `forebay serve` then starts on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn filling_for_a_restart() {
    const COMPONENTS: usize = 1000;
    let hours: u64 = std::env::var("FOREBAY_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(3);
    let place = folder("FOREBAY_BENCH");
    for name in ["restart.sqlite", "restart.sqlite-wal", "restart.sqlite-shm"] {
        let _ = std::fs::remove_file(place.join(name));
    }
    let history = History::open(&place.join("restart.sqlite")).unwrap();
    let now = Timestamp::now().0;
    let (start, seconds) = (now - hours * HOUR, hours * 3600);
    let mut sources: Vec<_> = (0..16).map(|pod| (Source::new(pod), Vec::new())).collect();
    for (source, frames) in &mut sources {
        *frames = source.frames(start, 0..seconds, 5);
    }
    let id = |at: usize| PodIdentity {
        component: component(&format!("c{at}")),
        pod: format!("c{at}-0"),
        uid: format!("uid-{at}"),
    };
    // The worst time: nine minutes after the last compaction.
    let settled = seconds - 540;
    for part in [0..settled / 5, settled / 5..seconds / 5] {
        for at in 0..COMPONENTS {
            let frames = &sources[at % sources.len()].1[part.start as usize..part.end as usize];
            for frames in frames.chunks(720) {
                history.append(&id(at), frames.to_vec()).await.unwrap();
            }
        }
        if part.start == 0 {
            for minutes in (0..=settled).step_by(3600).chain([settled]) {
                history.compact(Timestamp(start + minutes * 1000)).await.unwrap();
            }
        }
    }
    history.close();
    let components: String = (0..COMPONENTS)
        .map(|at| format!("    - name: c{at}\n      container: app\n      targetRef: {{ apiVersion: apps/v1, kind: Deployment, name: c{at} }}\n      resources: {{ cpu: 500m }}\n"))
        .collect();
    let manifest = format!(
        "apiVersion: forebay.io/v1alpha1\nkind: Pipeline\nmetadata: {{ name: many, namespace: demo }}\nspec:\n  components:\n{components}"
    );
    std::fs::write(place.join("pipeline.yaml"), manifest).unwrap();
    let agents = serde_json::json!([{"token": "a-token-of-the-bench", "component": component("c0").to_string(), "pod": "c0-0", "uid": "uid-0"}]);
    std::fs::write(place.join("agents.json"), agents.to_string()).unwrap();
}
