use std::path::Path;

use super::testing::{Tree, id, remove};
use super::*;
use crate::args::Sampling;
use forebay_shared::health::State as Standing;

fn target(tree: &Tree, sampling: Sampling) -> Target {
    let below = |dir: &str| tree.path().join(dir);
    let pod = Pod { uid: Some("1-2".into()), container: Some("ingest".into()), ..Pod::default() };
    let pod = Pod { name: Some("pod".into()), namespace: Some("shop".into()), ..pod };
    let roots = Roots {
        proc: below("proc"),
        cgroup: tree.path().to_owned(),
        host_cgroup: below("host"),
        host_logs: below("logs"),
    };
    Target { sampling, pod, roots, in_pod: true }
}

fn given(tree: &Tree) -> Sampler {
    Sampler::new(target(tree, Sampling::Cgroup("/app".into())))
}

fn usage(tree: &Tree, nanos: u64) {
    tree.write("cpuacct/app/cpuacct.usage", &format!("{nanos}\n"));
}

#[test]
fn a_reset_counter_counts_from_zero_and_an_absent_file_stays_absent() {
    let tree = Tree::new(&[]);
    let mut sampler = given(&tree);
    let start = Instant::now();
    let mut next = |nanos: u64, after_ms: u64| {
        usage(&tree, nanos);
        sampler.sample(start + Duration::from_millis(after_ms), Timestamp(after_ms)).unwrap().sample
    };
    usage(&tree, 1);
    assert_eq!(next(5_000_000, 0), None);
    let grown = next(7_000_000, 1000).unwrap();
    assert_eq!((grown.cpu_us, grown.interval_ms, grown.at), (Some(2000), 1000, Timestamp(1000)));
    assert_eq!((grown.memory, grown.cpu_periods, grown.pids), (None, None, None));
    let reset = next(1_000_000, 2500).unwrap();
    assert_eq!((reset.cpu_us, reset.interval_ms), (Some(1000), 1500));
}

#[test]
fn a_step_of_the_wall_clock_changes_no_interval() {
    let tree = Tree::new(&[]);
    usage(&tree, 0);
    let (mut sampler, start) = (given(&tree), Instant::now());
    let mut at = |after_ms: u64, wall: u64| {
        usage(&tree, after_ms * 1_000_000);
        let taken = sampler.sample(start + Duration::from_millis(after_ms), Timestamp(wall)).unwrap();
        taken.sample.map(|sample| (sample.at, sample.interval_ms, sample.cpu_us))
    };
    assert_eq!(at(0, 1_000_000), None);
    assert_eq!(at(1000, 5), Some((Timestamp(5), 1000, Some(1_000_000))), "an hour back");
    assert_eq!(at(2000, 90_000_000), Some((Timestamp(90_000_000), 1000, Some(1_000_000))), "a day forth");
    assert_eq!(at(2100, 90_000_100), Some((Timestamp(90_000_100), 100, Some(100_000))));
    assert_eq!(at(2100, 90_000_100), Some((Timestamp(90_000_100), 1, Some(0))), "no interval divides by zero");
}

#[test]
fn a_cgroup_that_goes_and_comes_back_starts_anew() {
    let tree = Tree::new(&[]);
    let dir = tree.path().join("cpuacct/app");
    let mut sampler = given(&tree);
    let mut sample = || sampler.sample(Instant::now(), Timestamp(0)).map(|taken| taken.sample);
    let error = sample().err().unwrap().to_string();
    assert!(error.contains("/app") && error.contains("cgroup v2 directory"), "{error}");
    usage(&tree, 5000);
    assert!(sample().unwrap().is_none());
    assert!(sample().unwrap().is_some());
    remove(&dir);
    assert!(sample().is_err());
    usage(&tree, 9_000_000);
    assert!(sample().unwrap().is_none(), "the time away must not show as one sample's use");
    remove(&dir);
    usage(&tree, 99_000_000);
    assert!(sample().unwrap().is_none(), "nor that of one that took its place between two samples");
}

fn sink() -> Sink {
    Sink {
        buffer: Buffer::new(forebay_shared::Bytes(1 << 20), Metrics::new().1),
        tap: None,
        health: Health::new(&["sampler"], Timestamp(0)),
        metrics: Metrics::new().1,
    }
}

/// A sampler's loop, and what it tells.
struct Running {
    buffer: Buffer,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(target: Target) -> Self {
        let (sink, stop) = (sink(), CancellationToken::new());
        let (buffer, health, metrics) = (sink.buffer.clone(), sink.health.clone(), sink.metrics.clone());
        let task = tokio::spawn(run(Sampler::new(target), Duration::from_secs(1), sink, stop.clone()));
        Self { buffer, health, metrics, stop, task }
    }

    fn state(&self) -> (Standing, String) {
        let part = self.health.parts()["sampler"].clone();
        (part.state, part.detail)
    }

    fn sources(&self) -> Vec<&'static str> {
        let known = ["none", "host-mount/cgroup-v2", "shared-pid/cgroup-v2", "cgroup-v1"];
        let is_set = |source: &&&'static str| self.metrics.sampler_source.get(&[("source", **source)]).is_some();
        known.iter().filter(is_set).copied().collect()
    }

    async fn end(self) -> Vec<ResourceSample> {
        self.stop.cancel();
        self.task.await.unwrap();
        self.buffer.close(Timestamp(0));
        let Some(request) = self.buffer.request(usize::MAX, usize::MAX) else { return Vec::new() };
        let frames = forebay_shared::Frame::decode_all(&request.body).unwrap();
        frames.into_iter().flat_map(|frame| frame.content.samples).collect()
    }
}

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn the_loop_samples_once_an_interval_and_tells_its_health() {
    let tree = Tree::new(&[]);
    let running = Running::start(target(&tree, Sampling::Cgroup("/app".into())));
    pass(500).await;
    assert_eq!(running.state().0, Standing::Failed, "what was named by hand and is not there is a mistake");
    assert_eq!(running.sources(), ["none"]);
    usage(&tree, 5000);
    pass(5000).await;
    assert_eq!(running.state(), (Standing::Ok, "cgroup-v1".into()));
    assert_eq!(running.sources(), ["cgroup-v1"]);
    assert_eq!(running.buffer.open_samples(), 4);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missed_tick_makes_the_next_interval_longer_and_loses_no_use() {
    let tree = Tree::new(&[]);
    usage(&tree, 0);
    let running = Running::start(target(&tree, Sampling::Cgroup("/app".into())));
    pass(1500).await;
    usage(&tree, 9_000_000);
    // Nothing runs meanwhile: the machine was suspended, or the agent stopped.
    tokio::time::advance(Duration::from_millis(3700)).await;
    pass(1500).await;
    let samples = running.end().await;
    let intervals: Vec<u32> = samples.iter().map(|sample| sample.interval_ms).collect();
    assert!(intervals.iter().any(|interval| *interval > 3000), "{intervals:?}");
    assert!(intervals.len() <= 5, "missed ticks are not made up for: {intervals:?}");
    assert_eq!(samples.iter().filter_map(|sample| sample.cpu_us).sum::<u64>(), 9000);
}

const POD: &str = "host/kubepods/burstable/pod1-2";

/// A container on a host of v2, and the kubelet's link to its log.
fn container(tree: &Tree, n: u32, cpu_us: u64) {
    let dir = format!("{POD}/{}", id(n));
    for dir in ["host", &dir] {
        tree.write(&format!("{dir}/cgroup.controllers"), "cpu\n");
    }
    tree.write(&format!("{dir}/pids.current"), "1\n");
    tree.write(&format!("{dir}/cpu.stat"), &format!("usage_usec {cpu_us}\n"));
    let logs = tree.path().join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    let link = logs.join(format!("pod_shop_ingest-{}.log", id(n)));
    if !link.is_symlink() {
        std::os::unix::fs::symlink("/nowhere", link).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_restarts_is_followed_without_a_spike() {
    let tree = Tree::new(&[("proc/self/cgroup", "0::/\n")]);
    container(&tree, 7, 50_000_000);
    let running = Running::start(target(&tree, Sampling::Auto));
    pass(1500).await;
    container(&tree, 7, 50_200_000);
    pass(1000).await;
    assert_eq!(running.state(), (Standing::Ok, "host-mount/cgroup-v2".into()));
    remove(&tree.path().join(POD).join(id(7)));
    pass(7000).await;
    let (state, detail) = running.state();
    assert_eq!(state, Standing::Degraded, "the pod stays ready while its component restarts");
    assert!(detail.contains("shareProcessNamespace") && detail.contains("`ingest`"), "{detail}");
    container(&tree, 8, 900_000_000);
    pass(6000).await;
    assert_eq!(running.state().0, Standing::Ok);
    container(&tree, 8, 900_300_000);
    pass(1000).await;
    let used: Vec<u64> = running.end().await.iter().filter_map(|sample| sample.cpu_us).collect();
    assert_eq!(used.iter().sum::<u64>(), 500_000, "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_cgroup_outlives_it_is_left_for_the_one_that_follows() {
    let tree = Tree::new(&[("proc/self/cgroup", "0::/\n")]);
    container(&tree, 7, 1000);
    let running = Running::start(target(&tree, Sampling::HostMount));
    pass(1500).await;
    tree.write(&format!("{POD}/{}/pids.current", id(7)), "0\n");
    // File systems tell the times of links to a few ms.
    std::thread::sleep(Duration::from_millis(30));
    container(&tree, 8, 700_000_000);
    pass(4000).await;
    container(&tree, 8, 700_000_400);
    pass(1000).await;
    let samples = running.end().await;
    assert_eq!(samples.iter().filter_map(|sample| sample.cpu_us).sum::<u64>(), 400);
    assert_eq!(samples.last().unwrap().pids, Some(1));
}

#[tokio::test(start_paused = true)]
async fn auto_goes_on_looking_and_goes_over_to_a_better_way() {
    let tree = Tree::new(&[("proc/self/cgroup", "0::/\n")]);
    let running = Running::start(target(&tree, Sampling::Auto));
    pass(20_000).await;
    assert_eq!(running.state().0, Standing::Degraded);
    assert!(running.health.ready(), "an agent that finds nothing never makes the pod unready");
    assert_eq!(running.sources(), ["none"]);
    container(&tree, 7, 1000);
    pass(8000).await;
    assert_eq!(running.sources(), ["host-mount/cgroup-v2"]);
    tree.write("proc/7/cgroup", &testing::cgroup_line(7));
    let view = [("cgroup.controllers", "\n"), ("cgroup.type", "domain\n"), ("cpu.stat", "usage_usec 9000000\n")];
    for (file, text) in view {
        tree.write(&format!("proc/7/root/sys/fs/cgroup/{file}"), text);
    }
    pass(61_000).await;
    assert_eq!(running.sources(), ["shared-pid/cgroup-v2"]);
    let used: u64 = running.end().await.iter().filter_map(|sample| sample.cpu_us).sum();
    assert_eq!(used, 0, "a change of the way is no use");
}

/// Reads a true cgroup of this machine once a second and tells what that costs, cold and warm:
/// `FOREBAY_SAMPLE=/path cargo test --release -p forebay-agent -- --ignored --nocapture a_sample_costs`
#[test]
#[ignore = "a measurement: takes a minute and an idle machine"]
fn a_sample_costs_little_when_caches_are_cold() {
    let path = std::env::var("FOREBAY_SAMPLE").unwrap_or_else(|_| "/".into());
    let roots = Roots {
        proc: "/proc".into(),
        cgroup: "/sys/fs/cgroup".into(),
        host_cgroup: "/none".into(),
        host_logs: "/none".into(),
    };
    let sampling = Sampling::Cgroup(Path::new(&path).to_owned());
    let mut sampler = Sampler::new(Target { sampling, pod: Pod::default(), roots, in_pod: false });
    let mut cost = |pause: Duration, samples: usize| {
        let mut costs: Vec<Duration> = (0..samples)
            .map(|_| {
                std::thread::sleep(pause);
                let start = std::time::Instant::now();
                sampler.sample(Instant::now(), Timestamp::now()).unwrap();
                start.elapsed()
            })
            .collect();
        costs.sort_unstable();
        (costs[samples / 2], costs[samples * 9 / 10])
    };
    let warm = cost(Duration::from_micros(100), 1000);
    let cold = cost(Duration::from_secs(1), 60);
    println!("{path}: median and p90 at 1 Hz {cold:?}, back to back {warm:?}");
    assert!(cold.0 < Duration::from_micros(100), "{cold:?}");
}
