//! Of the history as a whole: what is acknowledged, what is read back, what is refused.

mod bench;
mod columns;
mod opening;
mod records;
mod shared;
mod upkeep;

use std::sync::mpsc;
use std::time::Duration;

use forebay_shared::{
    BatchArrival, BatchProgress, Compression, DataCharacteristics, DataComplexity, DataType, DataVolume, Millicores,
    Outcome, ResourceSample,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

const T0: u64 = 1_800_000_000_000;

pub(super) fn component(name: &str) -> ComponentId {
    format!("demo/Deployment.apps/{name}/app").parse().unwrap()
}

pub(super) fn pod(name: &str) -> PodIdentity {
    PodIdentity { component: component("parse"), pod: name.into(), uid: format!("uid-{name}") }
}

pub(super) fn all() -> Range<Timestamp> {
    Timestamp(0)..Timestamp(u64::MAX)
}

/// A frame of one second: samples at its start and its end, a batch that arrives and starts between.
fn frame(sequence: u64) -> Frame {
    let at = T0 + sequence * 1000;
    let sample = |at| ResourceSample { at: Timestamp(at), interval_ms: 500, cpu_us: Some(at), ..Default::default() };
    let arrival = BatchArrival {
        batch_id: sequence,
        arrived_at: Timestamp(at + 200),
        characteristics: DataCharacteristics {
            data_volume: DataVolume { bytes: 4096, ..DataVolume::default() },
            data_complexity: DataComplexity { score: 1.5, ..DataComplexity::default() },
            data_type: DataType::Csv,
            compression: Compression::None,
            estimated: false,
        },
    };
    let started = BatchProgress {
        batch_id: sequence,
        started_at: Some(Timestamp(at + 300)),
        finished_at: None,
        outcome: Outcome::Pending,
    };
    Frame {
        boot: BootId(7),
        sequence,
        first_retained: 0,
        content: Content {
            closed_at: Timestamp(at + 999),
            sampling: "cgroup-v2".into(),
            samples: vec![sample(at), sample(at + 500)],
            arrivals: vec![arrival],
            progress: vec![started],
        },
    }
}

pub(super) fn frames(sequences: Range<u64>) -> Vec<Frame> {
    sequences.map(frame).collect()
}

pub(super) fn open(directory: &TempDir) -> History {
    History::open(&directory.path().join("history.db")).unwrap()
}

fn contents(history: &History) -> Vec<Content> {
    let stretch = history.read(&component("parse"), all()).unwrap();
    stretch.frames.into_iter().map(|frame| frame.content).collect()
}

/// A copy of the file and its log as they are now: what is there after a `kill -9`.
fn copy(of: &TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ["history.db", "history.db-wal"] {
        if of.path().join(name).exists() {
            std::fs::copy(of.path().join(name), to.path().join(name)).unwrap();
        }
    }
    to
}

#[tokio::test]
async fn frames_read_back_as_they_were_appended() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let appended = history.append(&pod("a"), frames(0..3)).await.unwrap();
    assert_eq!(appended, Appended { accepted: frames(0..3), duplicates: 0, gaps: 0, too_old: 0 });
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert_eq!((stretch.damaged_blocks, stretch.gaps), (0, vec![]));
    for (stored, sent) in stretch.frames.iter().zip(frames(0..3)) {
        assert_eq!((&*stored.pod, &*stored.pod_uid), ("a", "uid-a"));
        assert_eq!((stored.boot, stored.sequence), (sent.boot, sent.sequence));
        assert_eq!(stored.content, sent.content);
    }
    assert_eq!(stretch.frames.len(), 3);
    assert_eq!(history.components().unwrap(), [component("parse")]);
}

#[tokio::test]
async fn pods_are_read_together_in_the_order_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("b"), frames(1..4)).await.unwrap();
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    let stretch = history.read(&component("parse"), all()).unwrap();
    let order: Vec<_> = stretch.frames.iter().map(|frame| (frame.sequence, &*frame.pod)).collect();
    assert_eq!(order, [(0, "a"), (1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "b")]);
    assert!(history.read(&component("load"), all()).unwrap().frames.is_empty());
}

#[tokio::test]
async fn a_range_cuts_frames_to_the_event() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..5)).await.unwrap();
    let stretch = history.read(&component("parse"), Timestamp(T0 + 1300)..Timestamp(T0 + 2200)).unwrap();
    let [first, second] = &stretch.frames[..] else { panic!("{stretch:?}") };
    assert_eq!((first.content.samples.len(), first.content.arrivals.len(), first.content.progress.len()), (1, 0, 1));
    assert_eq!((second.content.samples.len(), second.content.arrivals.len()), (1, 0));
}

#[tokio::test]
async fn a_frame_as_large_as_a_body_may_be_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let mut large = frame(0);
    large.content.samples = vec![ResourceSample { at: Timestamp(T0), ..ResourceSample::default() }; 80_000];
    history.append(&pod("a"), vec![large.clone()]).await.unwrap();
    assert!(contents(&history) == [large.content]);
    let mut beyond = frame(1);
    beyond.content.samples = vec![beyond.content.samples[0].clone(); 200_000];
    let error = history.append(&pod("a"), vec![beyond]).await.unwrap_err();
    assert!(matches!(error, HistoryError::Refused { frame: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_long_frame_is_found_by_what_lies_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let mut long = frame(0);
    long.content.samples[1].at = Timestamp(T0 + 86_400_000);
    history.append(&pod("a"), vec![long, frame(1), frame(2)]).await.unwrap();
    let end = Timestamp(T0 + 86_400_000)..Timestamp(T0 + 86_400_001);
    assert_eq!(history.read(&component("parse"), end).unwrap().frames.len(), 1);
}

#[tokio::test]
async fn a_frame_sent_twice_counts_once_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    let again = history.append(&pod("a"), frames(1..5)).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (frames(3..5), 2));
    drop(history);
    let history = open(&directory);
    let again = history.append(&pod("a"), frames(0..6)).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (frames(5..6), 5));
    let twice = history.append(&pod("a"), vec![frame(6), frame(6)]).await.unwrap();
    assert_eq!((twice.accepted, twice.duplicates), (frames(6..7), 1));
    assert_eq!(contents(&history).len(), 7);
    // Another pod, and another run of the same pod, count for themselves.
    assert_eq!(history.append(&pod("b"), frames(0..1)).await.unwrap().duplicates, 0);
    let reboot = Frame { boot: BootId(8), ..frame(0) };
    assert_eq!(history.append(&pod("a"), vec![reboot]).await.unwrap().duplicates, 0);
}

#[tokio::test]
async fn every_acknowledged_frame_is_in_a_copy_taken_right_after() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    for sequence in 0..20 {
        history.append(&pod("a"), frames(sequence..sequence + 1)).await.unwrap();
        if sequence % 5 != 4 {
            continue;
        }
        let crashed = copy(&directory);
        let survivor = open(&crashed);
        let kept = frames(0..sequence + 1).into_iter().map(|frame| frame.content).collect::<Vec<_>>();
        assert_eq!(contents(&survivor), kept);
        let next = survivor.append(&pod("a"), frames(sequence..sequence + 2)).await.unwrap();
        assert_eq!((next.accepted.len(), next.duplicates), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_mid_load_holds_what_was_acknowledged_before() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let (acknowledged, told) = mpsc::channel();
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let (history, acknowledged) = (history.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for sequence in 0..100 {
                    history.append(&pod(&sender.to_string()), frames(sequence..sequence + 1)).await.unwrap();
                    acknowledged.send((sender.to_string(), sequence)).unwrap();
                }
            })
        })
        .collect();
    drop(acknowledged);
    for _ in 0..5 {
        // Fewer once all is sent.
        let mut before: Vec<_> = told.iter().take(40).collect();
        before.extend(told.try_iter());
        let crashed = copy(&directory);
        let survivor = open(&crashed);
        let stretch = survivor.read(&component("parse"), all()).unwrap();
        let kept: HashSet<_> = stretch.frames.iter().map(|frame| (frame.pod.to_string(), frame.sequence)).collect();
        assert!(before.iter().all(|frame| kept.contains(frame)), "{before:?}");
    }
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn a_gap_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..2)).await.unwrap();
    let appended = history.append(&pod("a"), vec![frame(5), frame(6)]).await.unwrap();
    assert_eq!((appended.accepted.len(), appended.gaps), (2, 1));
    let gap = Gap { pod_uid: "uid-a".into(), boot: BootId(7), sequences: 2..5, at: frame(5).content.closed_at };
    assert_eq!(history.read(&component("parse"), all()).unwrap().gaps, [gap]);
}

#[tokio::test]
async fn a_bit_flipped_in_a_block_costs_that_block_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let history = open(&directory);
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    drop(history);
    let block: Vec<u8> = Connection::open(&path)
        .unwrap()
        .query_row("SELECT data FROM raw WHERE sequence = 1 AND kind = 2", [], |row| row.get(0))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(block.len()).position(|window| window == block).unwrap();
    bytes[at + block.len() / 2] ^= 8;
    std::fs::write(&path, bytes).unwrap();

    let history = open(&directory);
    for _ in 0..2 {
        let stretch = history.read(&component("parse"), all()).unwrap();
        assert_eq!(stretch.damaged_blocks, 1);
        let [first, second, third] = &stretch.frames[..] else { panic!("{stretch:?}") };
        assert_eq!((&first.content, &third.content), (&frame(0).content, &frame(2).content));
        assert_eq!(second.content, Content { samples: vec![], ..frame(1).content });
    }
    assert_eq!(history.0.metrics.damaged_blocks.get(), 1, "one block is one report");
}

#[tokio::test]
async fn a_column_changed_beside_the_data_is_found_too() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..2)).await.unwrap();
    let other = Connection::open(directory.path().join("history.db")).unwrap();
    other.execute("UPDATE raw SET end_ms = end_ms + 1 WHERE sequence = 0", []).unwrap();
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert_eq!((stretch.damaged_blocks, stretch.frames.len()), (3, 1));
}

/// Keeps the writer in a transaction until the sender is dropped.
fn hold(history: &History) -> (mpsc::Sender<()>, tokio::task::JoinHandle<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    let writer = history.clone();
    let task = tokio::spawn(async move {
        let work = move |_: &Connection| {
            started.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        };
        writer.0.writer.try_write(work).await.unwrap();
    });
    running.recv().unwrap();
    (release, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_busy_and_drains() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let (release, held) = hold(&history);
    let waiting: Vec<_> = (0..writer::QUEUE)
        .map(|sender| {
            let history = history.clone();
            let mut append = Box::pin(async move { history.append(&pod(&sender.to_string()), frames(0..1)).await });
            // Polled once, it lies in the queue.
            assert!(futures_util::FutureExt::now_or_never(&mut append).is_none());
            append
        })
        .collect();
    let error = history.append(&pod("late"), frames(0..1)).await.unwrap_err();
    assert!(matches!(error, HistoryError::Busy), "{error}");
    assert_eq!(history.0.metrics.busy.get(), 1);
    drop(release);
    held.await.unwrap();
    for append in waiting {
        assert_eq!(append.await.unwrap().accepted.len(), 1);
    }
    assert_eq!(history.append(&pod("late"), frames(0..1)).await.unwrap().accepted.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_was_accepted_and_takes_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let (release, held) = hold(&history);
    let appending = history.clone();
    let mut append = Box::pin(async move { appending.append(&pod("a"), frames(0..1)).await });
    assert!(futures_util::FutureExt::now_or_never(&mut append).is_none());
    let closing = std::thread::spawn({
        let history = history.clone();
        move || history.close()
    });
    drop(release);
    held.await.unwrap();
    assert_eq!(append.await.unwrap().accepted.len(), 1);
    closing.join().unwrap();
    assert!(matches!(history.append(&pod("a"), frames(1..2)).await, Err(HistoryError::Closed)));
    assert!(matches!(history.components(), Err(HistoryError::Closed)));
    assert!(!directory.path().join("history.db-wal").exists(), "the log was taken into the file");
    assert_eq!(contents(&open(&directory)).len(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_writer_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..1)).await.unwrap();
    let limit = |pages: i64| {
        let history = history.clone();
        let work = move |connection: &Connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        };
        async move { history.0.writer.write(work).await.unwrap() }
    };
    limit(1).await; // The least is what there is.
    let error = history.append(&pod("a"), frames(1..1000)).await.unwrap_err();
    assert!(matches!(error, HistoryError::Full { .. }) && error.to_string().contains("until there is room"), "{error}");
    assert_eq!(contents(&history).len(), 1, "nothing of the request is there");
    assert!(history.trouble().unwrap().contains("disk is full"));
    limit(1_000_000).await;
    let appended = history.append(&pod("a"), frames(1..1000)).await.unwrap();
    assert_eq!((appended.accepted.len(), appended.duplicates, appended.gaps), (999, 0, 0));
    assert_eq!(history.trouble(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_leaves_those_in_its_transaction_alone() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let (release, held) = hold(&history);
    let (left, right, bad) = (pod("l"), pod("r"), |connection: &Connection| {
        connection.execute("INSERT INTO components (key) VALUES ('demo/Deployment.apps/half/app')", [])?;
        connection.execute("INSERT INTO components (key) VALUES (NULL)", [])
    });
    let writes = async {
        tokio::join!(
            history.append(&left, frames(0..1)),
            history.0.writer.write(bad),
            history.append(&right, frames(0..1))
        )
    };
    let mut writes = Box::pin(writes);
    assert!(futures_util::FutureExt::now_or_never(&mut writes).is_none());
    drop(release);
    held.await.unwrap();
    let (left, bad, right) = writes.await;
    assert!(left.is_ok() && right.is_ok());
    assert!(bad.unwrap_err().to_string().contains("NOT NULL"));
    assert_eq!(history.components().unwrap(), [component("parse")]);
    assert_eq!(history.0.metrics.failed_writes.get(), 1);
}

#[tokio::test]
async fn a_number_that_sqlite_cannot_hold_is_refused_by_its_frame() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let mut late = frame(1);
    late.content.closed_at = Timestamp(i64::MAX as u64 + 1);
    let error = history.append(&pod("a"), vec![frame(0), late]).await.unwrap_err();
    assert!(matches!(error, HistoryError::Refused { frame: 1, .. }), "{error}");
    assert_eq!(contents(&history).len(), 0);
}

#[tokio::test]
async fn the_extent_tells_counts_and_times() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    assert_eq!(history.extent(&component("parse")).unwrap(), Extent::default());
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    let (from, to) = (Some(Timestamp(T0)), Some(Timestamp(T0 + 2500)));
    assert_eq!(history.extent(&component("parse")).unwrap(), Extent { from, to, samples: 6, batches: 3 });
}

#[tokio::test]
async fn the_view_contents_tells_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), vec![frame(0), frame(2)]).await.unwrap();
    history.record_model(records::model(1)).await.unwrap();
    let shell = Connection::open(directory.path().join("history.db")).unwrap();
    let mut select = shell.prepare("SELECT component, kind, rows, blocks, \"from\" FROM contents").unwrap();
    let lines = select.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    });
    let mut lines: Vec<_> = lines.unwrap().map(Result::unwrap).collect();
    lines.sort();
    let name = component("parse").to_string();
    let expected =
        [("gaps", 1, 1), ("models", 1, 1), ("raw arrivals", 2, 2), ("raw progress", 2, 2), ("raw samples", 4, 2)];
    assert_eq!(lines, expected.map(|(kind, rows, blocks)| (name.clone(), kind.to_owned(), rows, blocks)));
    let from: String = shell.query_row("SELECT \"from\" FROM contents", [], |row| row.get(0)).unwrap();
    assert_eq!(from, "2027-01-15T08:00:00.000Z");
}

/// `nextest run --run-ignored all throughput --no-capture` tells this machine's numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and takes seconds"]
async fn throughput_of_acknowledged_frames() {
    for senders in [1, 64, 512] {
        // Beside the sources: where temporary files lie in memory, a sync costs nothing.
        let directory = tempfile::tempdir_in(".").unwrap();
        let history = open(&directory);
        let started = std::time::Instant::now();
        let tasks: Vec<_> = (0..senders)
            .map(|sender: usize| {
                let history = history.clone();
                tokio::spawn(async move {
                    let pod = pod(&sender.to_string());
                    let mut sequence = 0;
                    while started.elapsed() < Duration::from_secs(3) {
                        history.append(&pod, frames(sequence..sequence + 1)).await.unwrap();
                        sequence += 1;
                    }
                    sequence
                })
            })
            .collect();
        let mut sent = 0;
        for task in tasks {
            sent += task.await.unwrap();
        }
        println!("{senders} senders: {:.0} frames/s", sent as f64 / started.elapsed().as_secs_f64());
    }
}
