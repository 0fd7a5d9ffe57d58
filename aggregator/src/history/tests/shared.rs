//! Of a file that several write to, and of what comes late or is damaged: nothing is lost, nothing counts twice.

use super::records::decision;
use super::*;
use crate::history::compact::{self, Job};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn other(history: &History) -> Connection {
    Connection::open(&history.0.path).unwrap()
}

fn count(history: &History, sql: &str) -> i64 {
    other(history).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Batches that minutes tell of from `T0` on.
fn arrivals(history: &History, hours: u64) -> f64 {
    let range = Timestamp(T0)..Timestamp(T0 + hours * HOUR);
    let minutes = history.range(&component("parse"), range, 60_000, Aggregate::Sum).unwrap();
    minutes.rows.iter().filter_map(|(_, row)| row.sums.total(Metric::Arrivals)).sum()
}

#[tokio::test]
async fn an_import_beside_a_running_aggregator_is_in_the_roll_ups_however_old_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (running, importing) = (open(&directory), open(&directory));
    let now = |seconds: u64| Timestamp(T0 + 30 * DAY + seconds * 1000);
    running.maintain(now(0)).await.unwrap();
    // A gathering of the component has just been, so that what is imported has to wait for the next.
    running.append(&pod("live"), vec![Frame { boot: BootId(1), ..frame(30 * 86_400 - 1200) }]).await.unwrap();
    running.maintain(now(60)).await.unwrap();
    importing.import(&pod("a"), frames(0..120)).await.unwrap();
    running.maintain(now(120)).await.unwrap();
    assert_eq!(arrivals(&importing, 1), 120.0, "pruned before they were gathered");
    // Gathered, and not yet merged.
    let gather = |history: &History| history.0.readers.read(|file| compact::jobs(file, now(180), &BTreeMap::new()));
    for job in gather(&running).unwrap() {
        let built = running.0.readers.read(|file| compact::build(file, job)).unwrap();
        assert!(running.0.writer.write(move |file| built.apply(file)).await.unwrap());
    }
    running.prune(now(240)).await.unwrap();
    assert_eq!(arrivals(&importing, 1), 120.0, "pruned before they were merged");
    running.maintain(now(900)).await.unwrap();
    running.maintain(now(1000)).await.unwrap();
    assert_eq!(arrivals(&importing, 1), 120.0);
    assert_eq!(count(&running, "SELECT count(*) FROM blocks WHERE tier = 0 AND bucket_ms < 1800003600000"), 0);
}

#[tokio::test]
async fn a_step_that_two_have_built_is_done_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..60)).await.unwrap();
    let now = Timestamp(T0 + 2 * HOUR);
    let jobs = || history.0.readers.read(|file| compact::jobs(file, now, &BTreeMap::new())).unwrap();
    let build = |job| history.0.readers.read(|file| compact::build(file, job)).unwrap();
    for round in 0..3 {
        // New rows take the ids of those that went.
        if round == 2 {
            history.append(&pod("late"), frames(0..60)).await.unwrap();
        }
        for job in jobs() {
            let (first, second) = (build(job), build(job));
            assert!(history.0.writer.write(move |file| first.apply(file)).await.unwrap());
            if matches!(job, Job::Gather { .. }) {
                history.append(&pod(&format!("{round}")), frames(60..120)).await.unwrap();
            }
            assert!(!history.0.writer.write(move |file| second.apply(file)).await.unwrap(), "{job:?}");
        }
    }
    history.compact(now).await.unwrap();
    let frames = history.read(&component("parse"), all()).unwrap().frames.len();
    assert_eq!(arrivals(&history, 1), frames as f64);
    assert!(frames >= 180, "{frames}");
}

#[tokio::test]
async fn roll_ups_are_not_made_anew_of_less_than_they_were_made_of() {
    for (sql, left) in [
        ("UPDATE blocks SET crc32c = 0 WHERE tier = 0", 140),
        ("DELETE FROM blocks WHERE tier = 0", 140),
        ("UPDATE blocks SET crc32c = 0 WHERE tier = 2", 260),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let history = open(&directory);
        history.append(&pod("a"), frames(0..120)).await.unwrap();
        history.compact(Timestamp(T0 + 2 * HOUR)).await.unwrap();
        assert_eq!(arrivals(&history, 1), 120.0);
        other(&history).execute(sql, []).unwrap();
        // The later ones are more than there were: it is not the amount that counts.
        for (at, name, late) in [(4, "late", 10), (6, "later", 130)] {
            history.append(&pod(name), frames(0..late)).await.unwrap();
            history.compact(Timestamp(T0 + at * HOUR)).await.unwrap();
        }
        assert_eq!(arrivals(&history, 1), 260.0, "{sql}");
        assert_eq!(history.read(&component("parse"), all()).unwrap().frames.len(), left, "{sql}");
        assert_eq!(history.0.metrics.failed_steps.get(), 0);
        let minutes = history.range(&component("parse"), all(), 60_000, Aggregate::Sum).unwrap();
        assert_eq!(minutes.damaged_blocks, 0, "roll-ups that are damaged are made anew of frames that are not");
    }
}

#[tokio::test]
async fn a_frame_that_falls_in_a_gap_finds_its_place_once() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..2)).await.unwrap();
    history.append(&pod("a"), vec![frame(6), frame(3)]).await.unwrap();
    let gaps = || history.read(&component("parse"), all()).unwrap().gaps.into_iter().map(|gap| gap.sequences).collect();
    let left: Vec<Range<u64>> = gaps();
    assert_eq!(left, [2..3, 4..6]);
    assert_eq!(history.gaps(&component("parse"), all(), 1).unwrap().1, 3);
    let again = history.append(&pod("a"), vec![frame(3), frame(5), frame(5), frame(1)]).await.unwrap();
    assert_eq!((again.accepted.len(), again.duplicates, again.gaps), (1, 3, 0));
    let again = history.append(&pod("a"), frames(0..8)).await.unwrap();
    assert_eq!((again.accepted.len(), again.duplicates, again.gaps), (3, 5, 0));
    let left: Vec<Range<u64>> = gaps();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(contents(&history), frames(0..8).into_iter().map(|frame| frame.content).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_import_and_the_agent_that_it_is_of_take_nothing_from_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    // The agent has gone on from where the file ends, and the file begins somewhere in its run.
    history.append(&pod("a"), frames(8..10)).await.unwrap();
    assert_eq!(history.import(&pod("a"), frames(4..9)).await.unwrap().accepted.len(), 4);
    let later = history.import(&pod("b"), frames(4..6)).await.unwrap();
    assert_eq!((later.accepted.len(), later.gaps), (2, 0));
    assert_eq!(history.append(&pod("b"), frames(0..7)).await.unwrap().accepted.len(), 5);
    let missing = history.gaps(&component("parse"), all(), 9).unwrap();
    assert_eq!((missing.0.len(), missing.1), (1, 4), "of the agent alone");
}

#[tokio::test]
async fn a_component_whose_rows_do_not_read_leaves_the_others_to_be_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let load = PodIdentity { component: component("load"), ..pod("l") };
    history.append(&pod("a"), frames(0..60)).await.unwrap();
    history.append(&load, frames(0..60)).await.unwrap();
    let rows = || count(&history, "SELECT count(DISTINCT component_id) FROM raw");
    other(&history).execute("UPDATE pods SET name = CAST(x'ff' AS TEXT) WHERE uid = 'uid-a'", []).unwrap();
    for seconds in [0, 10] {
        history.maintain(Timestamp(T0 + 2 * HOUR + seconds * 1000)).await.unwrap();
        assert_eq!((rows(), history.0.metrics.failed_steps.get()), (1, 1), "it rests");
    }
    other(&history).execute("UPDATE pods SET name = 'a' WHERE uid = 'uid-a'", []).unwrap();
    history.maintain(Timestamp(T0 + 3 * HOUR)).await.unwrap();
    assert_eq!((rows(), history.0.metrics.failed_steps.get()), (0, 1));
}

#[tokio::test]
async fn a_clock_that_was_days_ahead_and_came_back_has_nothing_be_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    history.prune(Timestamp(T0 + 10 * DAY)).await.unwrap();
    assert_eq!(history.append(&pod("a"), frames(3..4)).await.unwrap().too_old, 1);
    drop(history);
    let history = open(&directory);
    history.prune(Timestamp(T0 + 5000)).await.unwrap();
    let appended = history.append(&pod("a"), frames(4..6)).await.unwrap();
    assert_eq!((appended.accepted.len(), appended.too_old), (2, 0));
    // By no more than it may: a little behind is no reason to forget what is too old.
    history.prune(Timestamp(T0 + 3 * DAY)).await.unwrap();
    history.prune(Timestamp(T0 + 3 * DAY - 5000)).await.unwrap();
    assert_eq!(history.0.oldest.load(Ordering::Relaxed), T0 + DAY);
}

#[tokio::test]
async fn decisions_that_a_full_disk_did_not_take_are_recorded_when_it_takes_some_again() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    let limit = |pages: i64| {
        let history = history.clone();
        let work = move |connection: &Connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        };
        async move { history.0.writer.write(work).await.unwrap() }
    };
    limit(1).await;
    let large = |at: u64| Decision { reason: "r".repeat(20_000), ..decision(T0 + at, true) };
    for at in 0..3 {
        let error = history.record_decisions(vec![large(at)]).await.unwrap_err();
        assert!(matches!(error, HistoryError::Full { .. }), "{error}");
    }
    // One of them is better known now.
    let known = Decision { applied: false, ..large(1) };
    history.record_tick(Left { decisions: vec![known], ..Left::default() }).await.unwrap_err();
    limit(1_000_000).await;
    history.record_tick(Left { at: Timestamp(T0), ..Left::default() }).await.unwrap();
    let kept = history.decisions(&component("parse"), 9).unwrap();
    let kept: Vec<_> = kept.iter().map(|decision| (decision.at.0 - T0, decision.applied)).collect();
    assert_eq!(kept, [(2, true), (1, false), (0, true)]);
    limit(1).await;
    let many = (0..1100).map(|at| large(10 + at)).collect();
    history.record_decisions(many).await.unwrap_err();
    assert_eq!(history.0.unrecorded.lock().unwrap().len(), 1024, "bounded");
    assert_eq!(history.0.unrecorded.lock().unwrap()[0].at, Timestamp(T0 + 86));
}

#[tokio::test]
async fn events_of_a_range_are_counted_wherever_they_lie() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..60)).await.unwrap();
    let count = |range| history.events(&component("parse"), &range).unwrap();
    assert_eq!((count(all()), count(Timestamp(T0)..Timestamp(T0 + 30_000))), (240, 120));
    history.compact(Timestamp(T0 + 2 * HOUR)).await.unwrap();
    // Of a block that reaches into the range, all are read.
    assert_eq!((count(all()), count(Timestamp(T0)..Timestamp(T0 + 30_000))), (240, 240));
    assert_eq!(count(Timestamp(T0 + HOUR)..Timestamp(T0 + 2 * HOUR)), 0);
    assert_eq!(history.events(&component("load"), &all()).unwrap(), 0);
}
