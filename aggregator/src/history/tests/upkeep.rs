//! Of what comes with time: older schemas, what is given up, a disk that is full.

use super::records::{decision, forecast, model};
use super::*;

const DAY: u64 = 86_400_000;

/// A file as a build of that schema has written it.
fn golden(schema: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = [&include_bytes!("../schema1.db")[..], include_bytes!("../schema2.db")];
    std::fs::write(directory.path().join("history.db"), files[schema - 1]).unwrap();
    directory
}

#[tokio::test]
async fn a_file_of_schema_2_reads_with_all_its_blocks() {
    let directory = golden(2);
    let layouts = Connection::open(directory.path().join("history.db")).unwrap();
    let layouts: String = layouts
        .query_row(
            "SELECT group_concat(DISTINCT tier || ':' || hex(substr(data, 1, 1))) FROM (SELECT * FROM blocks ORDER BY tier)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(layouts, "0:01,1:01,2:01,3:01", "blocks and roll-ups of layout 1");
    let history = open(&directory);
    let stretch = history.read(&component("parse"), all()).unwrap();
    let mut late = frame(40);
    late.content.samples = vec![late.content.samples[0].clone(); 30];
    let expected: Vec<_> = frames(0..40).into_iter().chain([late]).map(|frame| frame.content).collect();
    let of = |name: &str| -> Vec<_> {
        let frames = stretch.frames.iter().filter(|frame| &*frame.pod == name);
        frames.map(|frame| frame.content.clone()).collect()
    };
    assert!(of("a") == expected && of("b") == [frame(1).content, frame(4).content]);
    assert_eq!((stretch.damaged_blocks, stretch.gaps.len()), (0, 2));
    let range = Timestamp(T0)..Timestamp(T0 + 60_000);
    for (step_ms, aggregate) in [(15_000, Aggregate::Sum), (60_000, Aggregate::Max), (900_000, Aggregate::P95)] {
        let ranged = history.range(&component("parse"), range.clone(), step_ms, aggregate).unwrap();
        let batches: f64 = ranged.rows.iter().filter_map(|(_, row)| row.sums.total(Metric::Arrivals)).sum();
        assert_eq!((ranged.damaged_blocks, batches), (0, 43.0));
    }
    assert_eq!(history.decisions(&component("parse"), 9).unwrap(), [decision(T0 + 1, true)]);
    assert_eq!(history.forecasts(&component("parse"), all()).unwrap(), [forecast(T0)]);
    assert_eq!(history.active_model(&component("parse")).unwrap(), Some(model(1)));
    // A gap of then takes what comes late now.
    assert_eq!(history.append(&pod("b"), frames(0..6)).await.unwrap().accepted.len(), 4);
}

#[tokio::test]
async fn a_file_of_schema_1_is_brought_up_to_date_with_all_that_it_holds() {
    let directory = golden(1);
    let history = open(&directory);
    let stretch = history.read(&component("parse"), all()).unwrap();
    let of = |name: &str| -> Vec<_> {
        let frames = stretch.frames.iter().filter(|frame| &*frame.pod == name);
        frames.map(|frame| frame.content.clone()).collect()
    };
    assert_eq!(of("a"), frames(0..5).into_iter().map(|frame| frame.content).collect::<Vec<_>>());
    assert_eq!(of("b"), [frame(1).content, frame(4).content]);
    assert_eq!((stretch.damaged_blocks, stretch.gaps.len()), (0, 2));
    let (from, to) = (Some(Timestamp(T0)), Some(Timestamp(T0 + 4500)));
    assert_eq!(history.extent(&component("parse")).unwrap(), Extent { from, to, samples: 14, batches: 7 });
    assert_eq!(history.decisions(&component("parse"), 9).unwrap(), [decision(T0 + 1, true)]);
    assert_eq!(history.forecasts(&component("parse"), all()).unwrap(), [forecast(T0)]);
    assert_eq!(history.active_model(&component("parse")).unwrap(), Some(model(1)));
    // What was acknowledged then counts once now.
    assert_eq!(history.append(&pod("a"), frames(0..6)).await.unwrap().duplicates, 5);
    history.compact(Timestamp(T0 + DAY)).await.unwrap();
    assert_eq!(history.read(&component("parse"), all()).unwrap().frames.len(), 8);
    drop(history);
    open(&directory);
}

#[test]
fn a_file_that_was_brought_up_to_date_is_one_that_is_made_anew() {
    let new = tempfile::tempdir().unwrap();
    let shape = |directory: &TempDir| {
        drop(open(directory));
        let file = Connection::open(directory.path().join("history.db")).unwrap();
        let mut select = file
            .prepare(
                "SELECT s.type, s.name, c.name, c.type, c.\"notnull\", c.pk FROM sqlite_schema AS s \
                 LEFT JOIN pragma_table_info(s.name) AS c WHERE s.name NOT LIKE 'sqlite%' ORDER BY s.name, c.name",
            )
            .unwrap();
        let lines = select.query_map([], |row| {
            let texts = (0..4).map(|at| row.get::<_, Option<String>>(at)).collect::<Result<Vec<_>, _>>()?;
            Ok((texts, row.get::<_, Option<i64>>(4)?, row.get::<_, Option<i64>>(5)?))
        });
        lines.unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    for schema in [1, 2] {
        assert_eq!(shape(&golden(schema)), shape(&new), "{schema}");
    }
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    let directory = golden(1);
    let path = directory.path().join("history.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE extents (in_the_way INTEGER); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    let error = History::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Migration { from: 1, to: 3, .. }), "{error}");
    assert!(error.to_string().contains("extents already exists (the file was left as it is)"), "{error}");
    assert!(std::fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn what_is_too_old_is_acknowledged_and_not_stored_and_lets_pods_go() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..3)).await.unwrap();
    history
        .append(
            &pod("b"),
            vec![Frame { content: Content { closed_at: Timestamp(T0 + 3 * DAY), ..Content::default() }, ..frame(0) }],
        )
        .await
        .unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        Connection::open(&history.0.path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    history.prune(Timestamp(T0 + DAY)).await.unwrap();
    assert_eq!((count("pods"), count("watermarks"), count("raw")), (2, 2, 9));
    history.maintain(Timestamp(T0 + 3 * DAY)).await.unwrap();
    assert_eq!((count("pods"), count("watermarks"), count("raw"), count("extents")), (1, 1, 0, 0));
    // Its watermark is gone: that it counts no twice now rests on its age, also after a restart.
    let again = history.append(&pod("a"), frames(0..4)).await.unwrap();
    assert_eq!((again.accepted.len(), again.duplicates, again.too_old), (0, 0, 4));
    drop(history);
    let history = open(&directory);
    let again = history.append(&pod("c"), frames(0..1)).await.unwrap();
    assert_eq!((again.accepted.len(), again.too_old), (0, 1));
    assert_eq!(history.0.metrics.too_old.get(), 1);
}

#[tokio::test]
async fn roll_ups_outlive_the_frames_that_they_are_of() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    history.append(&pod("a"), frames(0..120)).await.unwrap();
    for now in [T0 + DAY, T0 + 4 * DAY] {
        history.maintain(Timestamp(now)).await.unwrap();
    }
    assert!(contents(&history).is_empty());
    let told = |step_ms| {
        let range = Timestamp(T0)..Timestamp(T0 + 600_000);
        history.range(&component("parse"), range, step_ms, Aggregate::Sum).unwrap()
    };
    // Steps of 15 s are no more: the answer says what they have become.
    let minutes = told(15_000);
    assert_eq!((minutes.resolution, minutes.rows.len()), (Resolution { step_ms: 60_000, of_ms: 60_000 }, 2));
    let batches: f64 = minutes.rows.iter().filter_map(|(_, row)| row.sums.total(Metric::Arrivals)).sum();
    assert_eq!(batches, 120.0);
    assert_eq!(told(900_000).rows.len(), 1);
    history.maintain(Timestamp(T0 + 100 * DAY)).await.unwrap();
    assert!(told(60_000).rows.is_empty());
}

#[tokio::test]
async fn a_file_that_is_too_large_gives_up_its_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Keep { max_bytes: Some(300_000), ..Keep::default() };
    let history = History::open_with(&directory.path().join("history.db"), keep).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for hour in 0..40 {
        let mut frame = frame(hour);
        frame.content.samples = (0..3600)
            .map(|second| ResourceSample {
                at: Timestamp(T0 + (hour * 3600 + second) * 1000),
                cpu_us: Some(random.u64(..)),
                ..ResourceSample::default()
            })
            .collect();
        (frame.content.arrivals, frame.content.progress) = (Vec::new(), Vec::new());
        history.append(&pod("a"), vec![frame]).await.unwrap();
        history.maintain(Timestamp(T0 + (hour + 2) * 3_600_000)).await.unwrap();
    }
    let used = history.0.readers.read(retention::used_bytes).unwrap();
    let stretch = history.read(&component("parse"), all()).unwrap();
    assert!(used < 500_000 && (3..30).contains(&stretch.frames.len()), "{used} bytes, {} frames", stretch.frames.len());
    assert_eq!(stretch.frames.last().unwrap().sequence, 39);
    assert_eq!(history.extent(&component("parse")).unwrap().samples, 3600 * stretch.frames.len() as u64);
}

/// A file system of 4 MiB; `None` where this user may not mount one.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(directory.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_makes_it_read_only_until_there_is_room() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: no file system of 4 MiB can be mounted here");
        return;
    };
    let history = History::open(&small.0.path().join("history.db")).unwrap();
    history.append(&pod("a"), frames(0..10)).await.unwrap();
    let rest = small.0.path().join("rest");
    // More than there is room for: what fits of it is written.
    assert!(std::fs::write(&rest, vec![1; 8 << 20]).is_err());
    let mut next = 10;
    let error = loop {
        match history.append(&pod("a"), frames(next..next + 500)).await {
            Ok(_) => next += 500,
            Err(error) => break error,
        }
        assert!(next < 100_000, "the disk does not fill up");
    };
    assert!(error.to_string().contains("disk is full") || error.to_string().contains("I/O"), "{error}");
    let told = history.trouble().unwrap();
    assert!(told.contains("history.db"), "{told}");
    assert_eq!(contents(&history).len() as u64, next, "what was acknowledged reads on");
    std::fs::remove_file(&rest).unwrap();
    let appended = history.append(&pod("a"), frames(next..next + 500)).await.unwrap();
    assert_eq!((appended.accepted.len(), appended.duplicates, appended.gaps), (500, 0, 0));
    assert_eq!(history.trouble(), None);
    assert_eq!(contents(&history).len() as u64, next + 500);
}
