//! What was acknowledged is synced before, and there after the power was cut at any moment.
//!
//! The aggregator runs under strace, which tells each write, sync and answer; it is passed over where there is no strace.
//! `FOREBAY_POWER_CUTS` says how many cuts are looked at.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use forebay_shared::Frame;
use forebay_tests::aggregator::{Aggregator, TOKEN, frame, prepare};
use forebay_tests::power::{STRACE, Step, cut, steps};
use forebay_tests::{children, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Cuts looked at where nothing else is said.
const CUTS: usize = 40;
/// Senders that each have a connection and a boot of their own.
const SENDERS: u64 = 3;
/// Frames that each sender sends while the others are still: what is synced is synced for them.
const ALONE: u64 = 5;
/// Long enough for rows to become columns meanwhile, and for the log to go into the file some times.
const TIME: Duration = Duration::from_secs(14);
/// Old enough for that.
const AGO: Duration = Duration::from_secs(1200);
const STORE: &str = "store.sqlite";
const LOG: &str = "store.sqlite-wal";

/// A sender with one connection for all that it sends, by which strace's log tells it from the others: a client with a
/// pool may open another.
struct Sender(TcpStream);

impl Sender {
    async fn connect(aggregator: &Aggregator) -> Self {
        let address = aggregator.url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap();
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Sends a frame until it is acknowledged; the aggregator may still read its history.
    async fn post(&mut self, frame: &Frame) {
        let body = frame.encode().unwrap();
        let head = format!(
            "POST /api/v1/observations HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        loop {
            self.0.write_all(&request).await.unwrap();
            let mut answer = Vec::new();
            while !is_whole(&answer) {
                assert!(self.0.read_buf(&mut answer).await.unwrap() > 0, "the connection ended");
            }
            let answer = String::from_utf8(answer).unwrap();
            if answer.starts_with("HTTP/1.1 200 ") {
                assert!(answer.contains("\"accepted\":1"), "{answer}");
                return;
            }
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.unwrap().parse().unwrap()
}

/// Runs an aggregator under strace with all senders; gives its store before, and what it did.
async fn record(folder: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Step>) {
    prepare(folder).unwrap();
    let mut first = Aggregator::start(folder, &[]).unwrap();
    let pid = first.running.pid();
    first.terminate(pid, Duration::from_secs(10)).unwrap();
    let store = std::fs::read(folder.join(STORE)).unwrap();

    let log = folder.join("strace.log");
    let under: Vec<_> = STRACE.into_iter().chain(["-o", log.to_str().unwrap()]).collect();
    let mut aggregator = Aggregator::start(folder, &under).unwrap();
    let mut senders = Vec::new();
    for boot in 0..SENDERS {
        let mut sender = Sender::connect(&aggregator).await;
        for sequence in 0..ALONE {
            sender.post(&frame(boot, sequence, AGO)).await;
        }
        senders.push(sender);
    }
    let until = Instant::now() + TIME;
    let senders: Vec<_> = (0..)
        .zip(senders)
        .map(|(boot, mut sender)| {
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(boot);
                let mut sequence = ALONE;
                while Instant::now() < until {
                    sender.post(&frame(boot, sequence, AGO)).await;
                    sequence += 1;
                    tokio::time::sleep(Duration::from_millis(random.u64(0..40))).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let traced = children(aggregator.running.pid(), &["serve"])[0];
    aggregator.terminate(traced, Duration::from_secs(30)).unwrap();
    ([(STORE.to_owned(), store)].into(), steps(&log).unwrap())
}

/// Frames of each sender acknowledged before a step: senders came one after another, each over a socket of its own.
fn acknowledged(steps: &[Step]) -> Vec<u64> {
    let mut places = HashMap::new();
    let mut counts = Vec::new();
    for step in steps {
        if let Step::Acknowledged { socket } = step {
            let place = *places.entry(*socket).or_insert_with(|| {
                counts.push(0);
                counts.len() - 1
            });
            counts[place] += 1;
        }
    }
    counts
}

/// The frames that a store holds, read by the program itself, which has to open it.
fn frames(folder: &Path) -> Vec<(u64, u64)> {
    let output = Command::new(program("forebay").unwrap())
        .args(["history", "export", "--store"])
        .arg(folder.join(STORE))
        .arg("-")
        .output()
        .unwrap();
    let (text, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !told.contains("damaged"), "{told}");
    let of = |line: &str| {
        let cells: Vec<_> = line.split(',').collect();
        // A frame is a sample and an arrival.
        (cells[7] == "sample").then(|| (u64::from_str_radix(cells[3], 16).unwrap(), cells[4].parse().unwrap()))
    };
    text.lines().skip(1).filter_map(of).collect()
}

/// The frames that a store holds in blocks of columns, rather than as they arrived.
fn in_blocks(folder: &Path) -> i64 {
    let store = rusqlite::Connection::open(folder.join(STORE)).unwrap();
    store.query_row("SELECT ifnull(sum(rows), 0) FROM blocks WHERE tier = 0", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_synced_and_there_whenever_the_power_is_cut() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: there is no strace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (before, steps) = record(folder.path()).await;
    let total = acknowledged(&steps);
    assert_eq!(total.len(), SENDERS as usize, "a sender is a socket");

    // While one sender is alone, something is written and synced before each answer leaves.
    let (mut written, mut synced, mut answers) = (None, false, 0);
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Write { file, .. } if file == LOG => written = written.or(Some(index)),
            Step::Synced { file, from } if file == LOG => synced |= written.is_some_and(|write| write < *from),
            Step::Acknowledged { .. } if answers < SENDERS * ALONE => {
                answers += 1;
                assert!(synced, "answer {answers} left before its frame was synced");
                (written, synced) = (None, false);
            }
            _ => {}
        }
    }
    assert_eq!(answers, SENDERS * ALONE);
    let of = |wanted: fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
    let checkpoints = of(|step| matches!(step, Step::Synced { file, .. } if file == STORE));
    assert!(checkpoints > 0, "the log never went into the file");

    let cuts = std::env::var("FOREBAY_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(9);
    let mut with_blocks = 0;
    for index in 0..cuts {
        // The first right at the end, when most is in blocks.
        let at = if index == 0 { steps.len() } else { random.usize(1..=steps.len()) };
        let disk = tempfile::tempdir().unwrap();
        for (name, bytes) in cut(&before, &steps, at, &mut random) {
            std::fs::write(disk.path().join(name), bytes).unwrap();
        }
        let found = frames(disk.path());
        with_blocks += usize::from(in_blocks(disk.path()) > 0);
        let once: HashSet<_> = found.iter().copied().collect();
        assert_eq!(once.len(), found.len(), "a frame is there twice, cut at step {at}");
        for (boot, count) in (0..).zip(acknowledged(&steps[..at])) {
            let lost = (0..count).find(|sequence| !once.contains(&(boot, *sequence)));
            assert_eq!(lost, None, "an acknowledged frame of boot {boot} is lost, cut at step {at} of {}", steps.len());
        }
    }
    assert!(with_blocks > 0, "no cut came after rows had become blocks");
    println!(
        "{cuts} power cuts, {with_blocks} of them with blocks, among {} steps with {checkpoints} checkpoints: none of {} acknowledged frames lost or doubled",
        steps.len(),
        total.iter().sum::<u64>()
    );
}
