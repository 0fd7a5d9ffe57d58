//! The tap on real directories.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use forebay_shared::health::State;
use forebay_shared::{BatchArrival, BatchProgress, Bytes, DataType, Frame, Outcome};

use super::*;
use crate::buffer::Buffer;
use crate::metrics::Metrics;

mod full;

/// A directory, what stays over restarts of its agent, and what the aggregator has.
struct World {
    root: tempfile::TempDir,
    arrivals: Vec<BatchArrival>,
    progress: Vec<BatchProgress>,
}

/// A run of the agent's tap.
struct Agent {
    tap: Tap,
    buffer: Buffer,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("inbox")).unwrap();
        Self { root, arrivals: Vec::new(), progress: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("inbox").join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    async fn agent(&self) -> Agent {
        self.start(Some(self.root.path().join("state"))).await
    }

    /// Starts an agent, and waits until it has looked through the directory.
    async fn start(&self, state: Option<PathBuf>) -> Agent {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::new(Bytes(16 << 20), metrics.clone());
        let tap = Tap::new(buffer.clone(), metrics.clone());
        let (health, stop) = (Health::new(&[], Timestamp(0)), CancellationToken::new());
        let path = self.root.path().join("inbox");
        let task = tokio::spawn(run(path, tap.clone(), state, health.clone(), stop.clone()));
        let agent = Agent { tap, buffer, metrics, health, stop, task };
        agent.scanned("start").await;
        agent
    }

    /// Takes what the agent has to tell, as an aggregator does.
    fn take(&mut self, agent: &Agent) {
        agent.buffer.close(Timestamp(0));
        while let Some(request) = at_once(agent.buffer.take(1 << 20, usize::MAX)) {
            for frame in Frame::decode_all(&request.body().whole()).unwrap() {
                self.arrivals.extend(frame.content.arrivals);
                self.progress.extend(frame.content.progress);
            }
            agent.buffer.acknowledge(request.count());
        }
    }

    /// Takes what the agent tells until so many batches have arrived and ended.
    async fn takes(&mut self, agent: &Agent, arrivals: usize, ended: usize) {
        until(|| {
            self.take(agent);
            let have = self.progress.iter().filter(|progress| progress.finished_at.is_some()).count();
            (self.arrivals.len() >= arrivals && have >= ended).then_some(())
        })
        .await;
        let have = self.progress.iter().filter(|progress| progress.finished_at.is_some()).count();
        assert_eq!((self.arrivals.len(), have), (arrivals, ended));
    }

    /// What the agent has told by the time that it tells of this file, written now.
    async fn up_to(&mut self, agent: &Agent, marker: &str) {
        self.write(marker, vec![b'm'; 4321]);
        until(|| {
            self.take(agent);
            self.arrivals.iter().any(|arrival| arrival.characteristics.data_volume.bytes == 4321).then_some(())
        })
        .await;
    }
}

impl Agent {
    async fn scanned(&self, reason: &'static str) {
        until(|| (self.scans(reason) > 0 && self.tap.backlog(Timestamp(0)).is_some()).then_some(())).await;
    }

    fn scans(&self, reason: &'static str) -> u64 {
        self.metrics.tap_dir_scans.get_or_create(&[("reason", reason)]).get()
    }

    fn waiting(&self) -> (u64, u64) {
        let backlog = self.tap.backlog(Timestamp::now()).unwrap_or_default();
        (backlog.waiting, backlog.in_service)
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// What waits for nothing: there is no spill.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

async fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = ready() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("ready in time")
}

#[tokio::test]
async fn a_file_is_a_batch_from_its_completion_until_it_is_gone() {
    let mut world = World::new();
    let agent = world.agent().await;
    assert_eq!(agent.waiting(), (0, 0), "the backlog is known from the start");
    world.write("a.csv", "a,b\n1,2\n3,4\n");
    world.takes(&agent, 1, 0).await;
    let vector = world.arrivals[0].characteristics;
    assert_eq!((vector.data_type, vector.data_volume.records, vector.estimated), (DataType::Csv, Some(3), false));
    until(|| (agent.waiting() == (1, 0)).then_some(())).await;
    drop(File::open(world.path("a.csv")).unwrap());
    until(|| (agent.waiting() == (0, 1)).then_some(())).await;
    std::fs::remove_file(world.path("a.csv")).unwrap();
    world.takes(&agent, 1, 1).await;
    let end = world.progress.last().unwrap();
    assert_eq!((end.batch_id, end.outcome), (world.arrivals[0].batch_id, Outcome::Ok));
    assert!(end.started_at.is_some() && end.started_at <= end.finished_at);
    assert_eq!(agent.waiting(), (0, 0));
    // One that nobody was seen to open.
    world.write("b", "b\n");
    world.takes(&agent, 2, 1).await;
    std::fs::rename(world.path("b"), world.root.path().join("taken")).unwrap();
    world.takes(&agent, 2, 2).await;
    assert_eq!(world.progress.last().unwrap().started_at, None);
    agent.stop().await;
}

/// Opens each file that starts with `f` as soon as it is closed, until so many are open.
fn consumer(inbox: &Path, files: usize) -> std::thread::JoinHandle<Vec<File>> {
    let (watch, inbox) = (Watch::new(inbox).unwrap(), inbox.to_owned());
    std::thread::spawn(move || {
        let (mut open, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(60));
        while open.len() < files && Instant::now() < deadline {
            watch.read(|event| match event {
                Event::Closed(name) if name.as_encoded_bytes().starts_with(b"f") => {
                    open.push(File::open(inbox.join(name)).unwrap());
                }
                _ => {}
            });
        }
        open
    })
}

#[tokio::test]
async fn a_file_that_is_opened_at_once_has_started() {
    const FILES: usize = 100;
    let mut world = World::new();
    let agent = world.agent().await;
    let consumer = consumer(&world.path(""), FILES);
    for n in 1..=FILES {
        world.write(&format!("f{n}"), "a,b\n1,2\n");
        world.takes(&agent, n, 0).await;
    }
    let open = consumer.join().unwrap();
    assert_eq!(open.len(), FILES);
    // Our own closes are told by then.
    world.up_to(&agent, "marker").await;
    drop(open);
    until(|| (agent.waiting() == (1, FILES as u64)).then_some(())).await;
    // One of which the name has gone to another tells nothing of that.
    let old = File::open(world.path("f1")).unwrap();
    world.write("f1.tmp", "another\n");
    std::fs::rename(world.path("f1.tmp"), world.path("f1")).unwrap();
    world.takes(&agent, FILES + 2, 1).await;
    drop(old);
    world.write("last", "last\n");
    world.takes(&agent, FILES + 3, 1).await;
    assert_eq!(agent.waiting(), (3, FILES as u64 - 1));
    agent.stop().await;
}

#[tokio::test]
async fn a_file_under_a_temporary_name_is_a_batch_once_it_is_renamed() {
    let mut world = World::new();
    let agent = world.agent().await;
    for name in [".a", "a.tmp", "a.part", "a~"] {
        world.write(name, "1\n");
    }
    std::fs::rename(world.path("a.tmp"), world.path("a")).unwrap();
    std::fs::write(world.root.path().join("outside"), "moved in\n").unwrap();
    std::fs::rename(world.root.path().join("outside"), world.path("inside")).unwrap();
    world.takes(&agent, 2, 0).await;
    // Renamed within the directory it is the same; under a temporary name somebody works on it.
    std::fs::rename(world.path("a"), world.path("b")).unwrap();
    std::fs::rename(world.path("b"), world.path("b.tmp")).unwrap();
    until(|| (agent.waiting() == (1, 1)).then_some(())).await;
    std::fs::remove_file(world.path("b.tmp")).unwrap();
    world.takes(&agent, 2, 1).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_lies_there_at_the_start_is_backlog_with_its_age_and_told_once() {
    let mut world = World::new();
    world.write("a", "12345");
    let modified = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(world.path("a")).unwrap().set_modified(modified).unwrap();
    let agent = world.agent().await;
    world.takes(&agent, 1, 0).await;
    let backlog = agent.tap.backlog(Timestamp::now()).unwrap();
    assert_eq!((backlog.waiting, backlog.waiting_bytes), (1, 5));
    assert!((3_600_000..3_700_000).contains(&backlog.oldest_wait_ms), "{backlog:?}");
    agent.stop().await;
}

#[tokio::test]
async fn only_regular_files_of_the_directory_itself_are_touched() {
    let mut world = World::new();
    let outside = world.root.path().join("outside");
    std::fs::write(&outside, "not in the directory\n").unwrap();
    std::fs::create_dir(world.path("below")).unwrap();
    std::fs::write(world.path("below/a"), "below\n").unwrap();
    std::os::unix::fs::symlink(&outside, world.path("link")).unwrap();
    // Opening it would wait for a writer that never comes.
    assert!(Command::new("mkfifo").arg(world.path("fifo")).status().unwrap().success());
    let agent = world.agent().await;
    std::os::unix::fs::symlink(&outside, world.path("moved.tmp")).unwrap();
    std::fs::rename(world.path("moved.tmp"), world.path("moved")).unwrap();
    std::fs::rename(world.path("fifo"), world.path("fifo2")).unwrap();
    world.up_to(&agent, "marker").await;
    assert_eq!(world.arrivals.len(), 1);
    assert_eq!(agent.waiting(), (1, 0));
    agent.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_anew_is_another_batch_and_one_that_is_touched_is_not() {
    let mut world = World::new();
    let agent = world.agent().await;
    world.write("a", "one\n");
    world.takes(&agent, 1, 0).await;
    // As a copy does that keeps times: set back once it is written.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(world.path("a")).unwrap().set_modified(old).unwrap();
    drop(File::options().append(true).open(world.path("a")).unwrap());
    world.up_to(&agent, "marker").await;
    assert_eq!(world.arrivals.len(), 2);
    world.write("a", "another\n");
    world.takes(&agent, 3, 1).await;
    assert_eq!(world.arrivals[2].characteristics.data_volume.bytes, 8);
    assert_eq!(world.progress.last().unwrap().batch_id, world.arrivals[0].batch_id);
    agent.stop().await;
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back_is_followed_on() {
    let mut world = World::new();
    let agent = world.agent().await;
    world.write("a", "1\n");
    world.takes(&agent, 1, 0).await;
    let (inbox, moved) = (world.root.path().join("inbox"), world.root.path().join("moved"));
    std::fs::rename(&inbox, &moved).unwrap();
    until(|| agent.tap.backlog(Timestamp::now()).is_none().then_some(())).await;
    let part = until(|| agent.health.parts().into_iter().find(|(_, part)| part.detail.contains("No such file"))).await;
    assert_eq!(part.1.state, State::Degraded, "the pod stays ready");
    // Another one in its place: what was in the first is not there.
    std::fs::create_dir(&inbox).unwrap();
    world.takes(&agent, 1, 1).await;
    assert_eq!(agent.waiting(), (0, 0));
    world.write("b", "2\n");
    world.takes(&agent, 2, 1).await;
    assert_eq!(agent.health.parts()[&part.0].detail, "");
    // Removed with what is in it, and made anew.
    std::fs::remove_dir_all(&inbox).unwrap();
    std::fs::create_dir(&inbox).unwrap();
    until(|| (agent.scans("lost") >= 2).then_some(())).await;
    world.write("c", "3\n");
    world.takes(&agent, 3, 2).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_tells_of_what_came_and_went_meanwhile_and_of_nothing_else() {
    let mut world = World::new();
    let agent = world.agent().await;
    for name in ["a", "b", "c"] {
        world.write(name, format!("{name}\n"));
    }
    world.takes(&agent, 3, 0).await;
    let ids: BTreeMap<u64, Timestamp> = world.arrivals.iter().map(|a| (a.batch_id, a.arrived_at)).collect();
    agent.stop().await;
    std::fs::remove_file(world.path("b")).unwrap();
    std::fs::rename(world.path("c"), world.path("c2")).unwrap();
    world.write("d", "longer\n");
    let agent = world.agent().await;
    let oldest = *ids.values().min().unwrap();
    let backlog = agent.tap.backlog(oldest.plus(Duration::from_secs(9))).unwrap();
    assert_eq!(backlog.oldest_wait_ms, 9000, "they waited on meanwhile");
    world.takes(&agent, 4, 1).await;
    assert_eq!(world.arrivals[3].characteristics.data_volume.bytes, 7);
    assert!(ids.contains_key(&world.progress[0].batch_id), "under the id that it had");
    until(|| (agent.waiting() == (3, 0)).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_the_aggregator_did_not_get_before_a_restart_is_told_again_under_the_same_id() {
    let mut world = World::new();
    world.write("a", "a\n");
    let lost = world.agent().await;
    world.write("b", "bb\n");
    until(|| (lost.waiting() == (2, 0)).then_some(())).await;
    std::fs::remove_file(world.path("b")).unwrap();
    until(|| (lost.waiting() == (1, 0)).then_some(())).await;
    // Nothing of it left the agent.
    let mut never = World { root: tempfile::tempdir().unwrap(), arrivals: Vec::new(), progress: Vec::new() };
    lost.stop.cancel();
    until(|| lost.task.is_finished().then_some(())).await;
    never.take(&lost);
    let agent = world.agent().await;
    world.takes(&agent, 2, 1).await;
    let id = |arrivals: &[BatchArrival]| arrivals.iter().map(|arrival| arrival.batch_id).collect::<HashSet<_>>();
    assert_eq!(id(&world.arrivals), id(&never.arrivals));
    let b = world.arrivals.iter().find(|arrival| arrival.characteristics.data_volume.bytes == 3).unwrap();
    assert_eq!(world.progress[0].batch_id, b.batch_id);
    agent.stop().await;
    let agent = world.agent().await;
    world.up_to(&agent, "marker").await;
    assert_eq!((world.arrivals.len(), world.progress.len()), (3, 1), "then it has it");
    agent.stop().await;
}

#[tokio::test]
async fn without_a_state_a_restart_tells_again_under_the_same_ids() {
    let mut world = World::new();
    world.write("a", "a\n");
    world.write("b", "bb\n");
    for _ in 0..2 {
        let agent = world.start(None).await;
        let before = world.arrivals.len();
        world.takes(&agent, before + 2, 0).await;
        agent.stop().await;
    }
    let ids: HashSet<u64> = world.arrivals.iter().map(|arrival| arrival.batch_id).collect();
    assert_eq!((world.arrivals.len(), ids.len()), (4, 2));
}

#[tokio::test]
async fn a_state_that_cannot_be_used_is_told_and_costs_nothing_else() {
    let mut world = World::new();
    let state = world.root.path().join("state");
    std::fs::write(&state, "a file").unwrap();
    let agent = world.start(Some(state)).await;
    assert!(agent.health.parts().into_values().any(|part| part.detail.contains("--state")));
    assert_eq!(agent.metrics.tap_dir_state_failures.get(), 1);
    world.write("a", "1\n");
    world.takes(&agent, 1, 0).await;
    agent.stop().await;
}

/// The queue of the kernel holds 16,384 events: it overflows here, since nobody reads while files are written.
#[test]
fn what_an_overflow_has_dropped_is_found() {
    const FILES: usize = 12_000;
    let world = World::new();
    let (_, metrics) = Metrics::new();
    let buffer = Buffer::new(Bytes(64 << 20), metrics.clone());
    let tap = Tap::new(buffer.clone(), metrics.clone()).of(Source::Dir);
    let mut dir = Dir::new(world.root.path().join("inbox"), tap.clone(), None, &Health::default());
    dir.turn();
    (0..FILES).for_each(|n| world.write(&format!("f{n}"), format!("{n}\n")));
    let deadline = Instant::now() + Duration::from_secs(60);
    while tap.backlog(Timestamp::now()).unwrap().waiting < FILES as u64 {
        assert!(Instant::now() < deadline, "{:?}", tap.backlog(Timestamp::now()));
        let wait = dir.turn();
        std::thread::park_timeout(wait.min(Duration::from_millis(20)));
    }
    assert!(metrics.tap_dir_scans.get_or_create(&[("reason", "overflow")]).get() > 0);
    let ids = arrived(&buffer);
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (FILES, FILES));
}

fn arrived(buffer: &Buffer) -> Vec<u64> {
    buffer.close(Timestamp(0));
    let frames = Frame::decode_all(&buffer.request(usize::MAX, usize::MAX).unwrap().body).unwrap();
    frames.iter().flat_map(|frame| &frame.content.arrivals).map(|arrival| arrival.batch_id).collect()
}

/// Writes files of all sizes up to `count`, half of them under another name first.
fn storm(inbox: &Path, count: usize) {
    for size in 1..=count {
        let (name, half) = (inbox.join(format!("f{size}")), inbox.join(format!("f{size}.tmp")));
        let first = if size % 2 == 0 { &half } else { &name };
        std::fs::write(first, vec![b'x'; size]).unwrap();
        if size % 2 == 0 {
            std::fs::rename(first, &name).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_10000_files_with_restarts_misses_none_and_doubles_none() {
    const FILES: usize = 10_000;
    let mut world = World::new();
    let inbox = world.root.path().join("inbox");
    let writer = std::thread::spawn(move || storm(&inbox, FILES));
    let (mut taken, mut ids) = (0, HashSet::new());
    let mut agent = world.agent().await;
    for restart in 1.. {
        let target = (restart * FILES / 8).min(FILES);
        until(|| {
            world.take(&agent);
            // The component takes what has been told of, and is seen to.
            for arrival in &world.arrivals[taken..] {
                let _ = std::fs::remove_file(world.path(&format!("f{}", arrival.characteristics.data_volume.bytes)));
                ids.insert(arrival.batch_id);
            }
            taken = world.arrivals.len();
            (ids.len() >= target).then_some(())
        })
        .await;
        if target == FILES {
            break;
        }
        agent.stop.cancel();
        until(|| agent.task.is_finished().then_some(())).await;
        // What it told on its way out was shipped.
        world.take(&agent);
        agent = world.agent().await;
    }
    writer.join().unwrap();
    until(|| {
        world.take(&agent);
        (agent.waiting() == (0, 0)).then_some(())
    })
    .await;
    world.take(&agent);
    let sizes: HashSet<u64> = world.arrivals.iter().map(|arrival| arrival.characteristics.data_volume.bytes).collect();
    assert_eq!((sizes.len(), ids.len()), (FILES, FILES), "none is missed, and none is two");
    let ended: HashSet<u64> = world
        .progress
        .iter()
        .filter(|progress| progress.finished_at.is_some())
        .map(|progress| progress.batch_id)
        .collect();
    assert_eq!(ended, ids, "and all are told to be gone");
    agent.stop().await;
}
