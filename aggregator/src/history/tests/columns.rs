//! Of compaction: it changes nothing that is read.

use super::*;
use crate::forecast::Resource;

/// An hour, in ms: `T0` is the start of one.
const HOUR: u64 = 3_600_000;

/// A frame of five seconds from an hour on, as an agent sends it.
fn five(hour: u64, sequence: u64) -> Frame {
    let mut frame = frame(sequence);
    let at = T0 + hour * HOUR + sequence % 720 * 5000;
    frame.content.closed_at = Timestamp(at + 4003);
    frame.content.samples = (0..5)
        .map(|second| ResourceSample {
            at: Timestamp(at + second * 1000),
            interval_ms: 1000,
            cpu_us: Some(100_000 + (sequence * 7919 + second * 104_729) % 50_000),
            memory: Some(forebay_shared::Bytes((64 << 20) + sequence * 4096)),
            backlog: Some(forebay_shared::Backlog::default()),
            ..ResourceSample::default()
        })
        .collect();
    frame.content.arrivals[0].arrived_at = Timestamp(at + 200);
    frame.content.progress[0].started_at = Some(Timestamp(at + 300));
    frame.content.progress[0].finished_at = Some(Timestamp(at + 1300 + sequence % 9 * 1000));
    frame
}

async fn three_hours(history: &History) {
    for name in ["a", "b"] {
        for hour in 0..3 {
            let frames = (hour * 720..(hour + 1) * 720).map(|sequence| five(hour, sequence)).collect();
            history.append(&pod(name), frames).await.unwrap();
        }
    }
}

fn count(history: &History, sql: &str) -> i64 {
    Connection::open(&history.0.path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn compaction_changes_nothing_that_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    three_hours(&history).await;
    let ranges =
        [all(), Timestamp(T0 + HOUR - 3000)..Timestamp(T0 + HOUR + 2500), Timestamp(T0 + 1)..Timestamp(T0 + 2)];
    let read = || ranges.clone().map(|range| history.read(&component("parse"), range).unwrap());
    let extent = || history.extent(&component("parse")).unwrap();
    let (before, extent_before) = (read(), extent());
    assert_eq!((before[0].frames.len(), extent_before.samples, extent_before.batches), (4320, 21_600, 4320));
    // In the middle of the third hour, then after its end, then again: nothing is left to do.
    for (now, rows, blocks) in [(T0 + HOUR * 5 / 2, 719, 3), (T0 + HOUR * 4, 0, 3), (T0 + HOUR * 5, 0, 3)] {
        history.compact(Timestamp(now)).await.unwrap();
        assert!(read() == before, "at {now}");
        assert_eq!(extent(), extent_before);
        let left = count(&history, "SELECT count(*) FROM raw WHERE kind = 2");
        assert!(left.abs_diff(rows) <= 30, "{left} rows are left at {now}");
        assert_eq!(count(&history, "SELECT count(*) FROM blocks WHERE tier = 0"), blocks);
    }
    assert_eq!(count(&history, "SELECT count(*) FROM blocks WHERE tier > 0"), 9);
    drop(history);
    let history = open(&directory);
    assert!(history.read(&component("parse"), all()).unwrap() == before[0]);
}

#[tokio::test]
async fn what_comes_late_finds_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    three_hours(&history).await;
    history.compact(Timestamp(T0 + 4 * HOUR)).await.unwrap();
    let late: Vec<_> = (0..20).map(|sequence| Frame { sequence, ..five(1, sequence) }).collect();
    assert_eq!(history.append(&pod("late"), late.clone()).await.unwrap().accepted.len(), 20);
    let mean = || {
        let range = Timestamp(T0 + HOUR)..Timestamp(T0 + HOUR + 60_000);
        let minute = history.range(&component("parse"), range, 60_000, Aggregate::Mean).unwrap();
        minute.rows[0].1.sums.mean(Metric::Cpu, 60_000).unwrap()
    };
    let early = mean();
    let before = history.read(&component("parse"), all()).unwrap();
    // A gathering each ten minutes: the next one takes them.
    history.compact(Timestamp(T0 + 5 * HOUR)).await.unwrap();
    assert_eq!(count(&history, "SELECT count(*) FROM raw"), 0);
    assert_eq!(count(&history, "SELECT count(*) FROM blocks WHERE tier = 0"), 3, "merged into its hour");
    let after = history.read(&component("parse"), all()).unwrap();
    assert!(before == after && after.frames.iter().filter(|frame| &*frame.pod == "late").count() == 20);
    assert!((mean() - early).abs() < 1e-3, "{early} of frames, {} of the roll-up", mean());
}

#[tokio::test]
async fn a_bit_flipped_in_a_column_block_costs_that_block_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let history = open(&directory);
    three_hours(&history).await;
    history.compact(Timestamp(T0 + 4 * HOUR)).await.unwrap();
    drop(history);
    let sql = "SELECT data FROM blocks WHERE tier = 0 ORDER BY start_ms LIMIT 1 OFFSET 1";
    let block: Vec<u8> = Connection::open(&path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Not all of it need lie side by side, and pages that are free now may hold copies.
    let places = |from: usize| -> Vec<_> {
        (0..bytes.len() - 64).filter(|at| bytes[*at..at + 64] == block[from..from + 64]).collect()
    };
    let starts = (block.len() / 2..).step_by(50).map(places).find(|places| !places.is_empty()).unwrap();
    starts.into_iter().for_each(|at| bytes[at + 40] ^= 1);
    std::fs::write(&path, bytes).unwrap();

    let history = open(&directory);
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert_eq!((stretch.damaged_blocks, stretch.frames.len()), (1, 2880));
    // Late frames of its hour: it can't be merged, is told of once, and nothing else is lost.
    history.append(&pod("late"), vec![five(1, 0)]).await.unwrap();
    for hours in [6, 7, 8] {
        history.compact(Timestamp(T0 + hours * HOUR)).await.unwrap();
    }
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert_eq!((stretch.damaged_blocks, stretch.frames.len()), (1, 2881));
    assert_eq!(history.0.metrics.damaged_blocks.get(), 1, "one block is one report");
}

#[tokio::test]
async fn a_damaged_row_is_left_out_of_its_block_and_of_the_counts() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), (0..10).map(|sequence| five(0, sequence)).collect()).await.unwrap();
    let other = Connection::open(directory.path().join("history.db")).unwrap();
    other.execute("UPDATE raw SET crc32c = 0 WHERE sequence = 3 AND kind = 2", []).unwrap();
    history.compact(Timestamp(T0 + 2 * HOUR)).await.unwrap();
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert_eq!((stretch.damaged_blocks, stretch.frames.len()), (0, 10));
    let samples: usize = stretch.frames.iter().map(|frame| frame.content.samples.len()).sum();
    assert_eq!((samples, history.extent(&component("parse")).unwrap().samples), (45, 45));
    assert_eq!(history.0.metrics.damaged_blocks.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_time_of_a_compaction_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    three_hours(&history).await;
    let whole = history.read(&component("parse"), all()).unwrap();
    let (path, done) = (directory.path().to_owned(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let copies = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut crashed = Vec::new();
            while crashed.len() < 20 && !done.load(Ordering::Relaxed) {
                let to = tempfile::tempdir().unwrap();
                // The log last: what is in neither would be torn, which a crash is not.
                for name in ["history.db", "history.db-wal"] {
                    std::fs::copy(path.join(name), to.path().join(name)).unwrap();
                }
                crashed.push(to);
            }
            crashed
        }
    });
    // No checkpoint between the copies of file and log.
    let hold = Connection::open(directory.path().join("history.db")).unwrap();
    hold.execute_batch("BEGIN; SELECT count(*) FROM blocks").unwrap();
    for now in [T0 + HOUR * 2, T0 + HOUR * 3, T0 + HOUR * 5] {
        history.compact(Timestamp(now)).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let crashed = copies.join().unwrap();
    assert!(!crashed.is_empty());
    for copy in crashed {
        assert!(open(&copy).read(&component("parse"), all()).unwrap() == whole);
    }
}

#[tokio::test]
async fn a_step_is_told_alike_from_frames_and_from_roll_ups() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    three_hours(&history).await;
    let tell = |step_ms, aggregate| {
        let range = Timestamp(T0 + 900_000)..Timestamp(T0 + 2 * HOUR);
        history.range(&component("parse"), range, step_ms, aggregate).unwrap()
    };
    let cases =
        [(15_000, Aggregate::Mean), (60_000, Aggregate::P95), (900_000, Aggregate::Max), (5000, Aggregate::Max)];
    let before = cases.map(|(step_ms, aggregate)| tell(step_ms, aggregate));
    assert_eq!(before.each_ref().map(|ranged| ranged.rows.len()), [420, 105, 7, 1260]);
    history.compact(Timestamp(T0 + 4 * HOUR)).await.unwrap();
    for ((step_ms, aggregate), before) in cases.into_iter().zip(before) {
        let after = tell(step_ms, aggregate);
        assert_eq!(after.resolution, before.resolution);
        for ((at, after), (expected_at, expected)) in after.rows.iter().zip(&before.rows) {
            assert_eq!(at, expected_at);
            for metric in Metric::ALL {
                let pairs = [
                    (after.sums.mean(metric, step_ms), expected.sums.mean(metric, step_ms)),
                    (after.peaks.max[metric as usize], expected.peaks.max[metric as usize]),
                    (after.peaks.p95[metric as usize], expected.peaks.p95[metric as usize]),
                ];
                // Of the 15 s steps no peaks are kept.
                for (after, expected) in pairs.into_iter().take(if step_ms == 15_000 { 1 } else { 3 }) {
                    let (Some(after), Some(expected)) = (after, expected) else {
                        assert_eq!((after, expected), (None, None), "{metric:?}");
                        continue;
                    };
                    let edge = at.0 % HOUR == 0; // Where two buckets meet, the quantile is of the larger part.
                    let near = 1e-4 * expected.abs() + if edge { 0.1 } else { 2e-3 };
                    assert!((after - expected).abs() <= near, "{metric:?} at {at:?}, {step_ms}: {after} {expected}");
                }
            }
        }
        assert_eq!(after.rows.len(), before.rows.len());
    }
}

#[tokio::test]
async fn live_state_from_steps_is_that_from_frames() {
    use crate::features::Series;
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    three_hours(&history).await;
    let step = Duration::from_secs(15);
    let series = || {
        let mut series = Series::new(step);
        let from = Timestamp(T0)..Timestamp(u64::MAX);
        let (mut steps, mut frames) = (0, 0);
        let each = |part| match part {
            Window::Step(index, sums) => {
                steps += 1;
                series.restore(index, &sums);
            }
            Window::Frame(frame) => {
                frames += 1;
                series.observe(&frame.pod_uid, frame.boot, &frame.content);
            }
        };
        history.window(&component("parse"), from, 15_000, each).unwrap();
        series.settle(Timestamp(T0 + 3 * HOUR));
        (series, steps, frames)
    };
    let (before, steps, frames) = series();
    assert_eq!((steps, frames), (0, 4320));
    history.compact(Timestamp(T0 + HOUR * 5 / 2)).await.unwrap();
    let (after, steps, frames) = series();
    assert!((480..490).contains(&steps) && (1430..1450).contains(&frames), "{steps} {frames}");
    assert_eq!(before.extent().end, after.extent().end);
    for index in after.extent() {
        for resource in Resource::ALL {
            let (a, b) = (after.fact(resource, index), before.fact(resource, index));
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-3 * b.abs() + 1e-9;
            assert_eq!(a.is_some(), b.is_some(), "{resource:?} of {index}");
            assert!(a.zip(b).is_none_or(|(a, b)| near(a, b)), "{resource:?} of {index}: {a:?} {b:?}");
        }
    }
}
