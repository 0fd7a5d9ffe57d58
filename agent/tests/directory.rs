//! The directory tap of a real agent that is killed: what it told the aggregator, over all its lives.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use forebay_shared::{Backlog, BootId, Frame};
use tokio::net::TcpListener;

const FILES: usize = 10_000;
const KILLS: usize = 8;

/// What an aggregator keeps: each frame once.
#[derive(Default)]
struct Kept {
    frames: HashSet<(BootId, u64)>,
    /// Size of each batch, by its id.
    arrived: HashMap<u64, u64>,
    ended: HashSet<u64>,
    backlog: Option<Backlog>,
}

impl Kept {
    fn take(&mut self, frame: Frame) {
        if !self.frames.insert((frame.boot, frame.sequence)) {
            return;
        }
        for arrival in frame.content.arrivals {
            self.arrived.insert(arrival.batch_id, arrival.characteristics.data_volume.bytes);
        }
        let ended = frame.content.progress.iter().filter(|progress| progress.finished_at.is_some());
        self.ended.extend(ended.map(|progress| progress.batch_id));
        self.backlog = frame.content.samples.last().map_or(self.backlog, |sample| sample.backlog);
    }
}

async fn aggregator() -> (Arc<Mutex<Kept>>, String) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let shared = Arc::clone(&kept);
    let take = move |body: Bytes| async move {
        let frames = Frame::decode_all(&body).unwrap();
        let answer = format!("{{\"accepted\":{},\"duplicates\":0}}", frames.len());
        frames.into_iter().for_each(|frame| shared.lock().unwrap().take(frame));
        answer
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/api/v1/observations", post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (kept, url)
}

/// An agent, killed when it is dropped.
struct Agent(Child);

impl Agent {
    fn start(root: &Path, url: &str) -> Self {
        let path = |name: &str| root.join(name).display().to_string();
        std::fs::write(root.join("pids"), std::process::id().to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay-agent"));
        command.args(["--listen=127.0.0.1:0", "--interval=100ms", "--flush=100ms"]);
        command.args(["--aggregator", url, "--sampling", &format!("pids={}", path("pids"))]);
        command.args(["--tap", &format!("dir={}", path("inbox")), "--state", &path("state")]);
        Self(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Writes a file of each size up to [`FILES`], half of them under another name first.
fn write(inbox: PathBuf) {
    for size in 1..=FILES {
        let (name, half) = (inbox.join(format!("f{size}")), inbox.join(format!("f{size}.tmp")));
        if size % 2 == 0 {
            std::fs::write(&half, vec![b'x'; size]).unwrap();
            std::fs::rename(&half, &name).unwrap();
        } else {
            std::fs::write(&name, vec![b'x'; size]).unwrap();
        }
    }
}

async fn until(mut ready: impl FnMut() -> bool) {
    let wait = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), wait).await.expect("ready in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_a_storm_of_10000_files_misses_none_and_doubles_none() {
    let root = tempfile::tempdir().unwrap();
    let inbox = root.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let (kept, url) = aggregator().await;
    let writer = std::thread::spawn({
        let inbox = inbox.clone();
        move || write(inbox)
    });
    let mut taken = HashSet::new();
    // The component takes what has been told of.
    let mut take = || {
        let kept = kept.lock().unwrap();
        for (id, size) in &kept.arrived {
            if taken.insert(*id) {
                let _ = std::fs::remove_file(inbox.join(format!("f{size}")));
            }
        }
        kept.arrived.len()
    };
    for kill in 1..=KILLS {
        let agent = Agent::start(root.path(), &url);
        until(|| take() >= kill * FILES / (KILLS + 1)).await;
        drop(agent);
    }
    let _agent = Agent::start(root.path(), &url);
    until(|| take() >= FILES).await;
    until(|| kept.lock().unwrap().ended.len() >= FILES).await;
    writer.join().unwrap();
    until(|| kept.lock().unwrap().backlog == Some(Backlog::default())).await;
    let kept = kept.lock().unwrap();
    let sizes: HashSet<u64> = kept.arrived.values().copied().collect();
    assert_eq!((kept.arrived.len(), sizes.len()), (FILES, FILES), "none is missed, and none is two");
    assert!(kept.ended.iter().all(|id| kept.arrived.contains_key(id)), "nothing else is told of");
}
