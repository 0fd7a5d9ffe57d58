//! What is exported reads back; what is wrong is told and costs itself.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::gathered::hash;
use super::prometheus::Column;
use super::*;
use crate::history::tests::{all, component, frames, open, pod};

const HOUR: u64 = 3_600_000;
const T0: u64 = 1_800_000_000_000;

/// A history of two pods with batches, half of it in columns.
async fn filled(directory: &TempDir) -> History {
    let history = open(directory);
    for name in ["a", "b"] {
        history.append(&pod(name), frames(0..300)).await.unwrap();
    }
    history.compact(Timestamp(T0 + 2 * HOUR)).await.unwrap();
    history.append(&pod("a"), frames(300..320)).await.unwrap();
    history
}

/// What an export writes.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn exported(history: &History, what: What, format: Format) -> Vec<u8> {
    let to = Bytes::default();
    export(history, &history.components().unwrap(), &all(), (what, format), Box::new(to.clone())).unwrap();
    to.0.lock().unwrap().clone()
}

async fn imported(bytes: &[u8], format: Format) -> (TempDir, History, Imported) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("export");
    std::fs::write(&file, bytes).unwrap();
    let history = open(&directory);
    let outcome = import(&history, &file, format).await.unwrap();
    (directory, history, outcome)
}

#[tokio::test]
async fn an_export_of_frames_imports_as_the_same_history() {
    let directory = tempfile::tempdir().unwrap();
    let history = filled(&directory).await;
    let whole = history.read(&component("parse"), all()).unwrap();
    for format in [Format::Csv, Format::Parquet] {
        let bytes = exported(&history, What::Frames, format);
        let (place, copy, outcome) = imported(&bytes, format).await;
        assert_eq!(outcome, Imported { frames: 620, ..Imported::default() }, "{format:?}");
        assert!(copy.read(&component("parse"), all()).unwrap() == whole, "{format:?}");
        let again = import(&copy, &place.path().join("export"), format).await.unwrap();
        assert_eq!((again.frames, again.duplicates), (0, 620));
        copy.compact(Timestamp(T0 + 2 * HOUR)).await.unwrap();
        assert!(copy.read(&component("parse"), all()).unwrap() == whole, "{format:?}");
    }
}

#[tokio::test]
async fn json_and_roll_ups_are_lines_that_other_programs_read() {
    let directory = tempfile::tempdir().unwrap();
    let history = filled(&directory).await;
    let json = String::from_utf8(exported(&history, What::Frames, Format::Json)).unwrap();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["kind"].as_str(), first["cpuUs"].as_u64()), (Some("sample"), Some(T0)));
    assert_eq!(json.lines().count(), 620 * 4);
    let minutes = String::from_utf8(exported(&history, What::Minutes, Format::Csv)).unwrap();
    let mut lines = minutes.lines();
    assert!(lines.next().unwrap().contains("usageCores.p95"));
    assert_eq!(lines.count(), 7, "the first sample reaches into the minute before");
}

#[tokio::test]
async fn a_line_that_is_wrong_is_told_by_its_number_and_costs_itself() {
    let directory = tempfile::tempdir().unwrap();
    let history = filled(&directory).await;
    let text = String::from_utf8(exported(&history, What::Frames, Format::Csv)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2] = lines[2].replace(",sample,", ",sampel,");
    lines[4].truncate(20);
    lines[6] = lines[6].replacen("demo/Deployment.apps/parse/app", "parse", 1);
    lines[9] = lines[9].replace(&T0.to_string()[..4], "184467440");
    let arrival = lines.iter().position(|line| line.contains(",arrival,")).unwrap();
    lines[arrival] = lines[arrival].replace(",1.5,", ",NaN,");
    let (_place, copy, outcome) = imported(lines.join("\n").as_bytes(), Format::Csv).await;
    assert_eq!((outcome.frames, outcome.wrong_lines), (620, 5));
    for (told, says) in outcome.wrong.iter().zip([
        "line 3: kind",
        "line 4: arrival.dataComplexity.score",
        "line 5: 1 values",
        "line 7: `parse` is not a component",
        "line 10: a time is beyond",
    ]) {
        assert!(told.starts_with(says), "{told}");
    }
    let events = |history: &History| {
        let frames = history.read(&component("parse"), all()).unwrap().frames;
        frames
            .iter()
            .map(|f| f.content.samples.len() + f.content.arrivals.len() + f.content.progress.len())
            .sum::<usize>()
    };
    assert_eq!(events(&copy), events(&history) - 5);
    let other = tempfile::tempdir().unwrap();
    let twice = format!("{},podUid", lines[0]);
    for (text, says) in [
        ("time,cpu\n1,2\n", "column `time` is not known"),
        ("", "no column `component`"),
        ("component,pod,podUid,boot,sequence,closedAt\n", "no column `kind`"),
        (&twice, "column `podUid` is there twice"),
    ] {
        std::fs::write(other.path().join("export"), text).unwrap();
        let error = import(&copy, &other.path().join("export"), Format::Csv).await.unwrap_err();
        assert!(format!("{error:#}").contains(says), "{error:#}");
        let error = import(&copy, &other.path().join("export"), Format::Parquet).await.unwrap_err().to_string();
        assert!(error.contains("no Parquet file"), "{error}");
    }
}

#[tokio::test]
async fn lines_in_another_order_import_as_the_same_history() {
    let directory = tempfile::tempdir().unwrap();
    let history = filled(&directory).await;
    let whole = history.read(&component("parse"), all()).unwrap();
    let text = String::from_utf8(exported(&history, What::Frames, Format::Csv)).unwrap();
    let (header, lines) = text.split_once('\n').unwrap();
    let lines: Vec<_> = lines.lines().collect();
    let frame = |line: &str| line.split(',').take(5).collect::<Vec<_>>().join(",");
    let mut frames: Vec<_> = lines.chunk_by(|a, b| frame(a) == frame(b)).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut frames);
    let shuffled: Vec<_> = frames.concat();
    // In two files, the later half first, so that what lies before has its place in a history that has gone on.
    let directory = tempfile::tempdir().unwrap();
    let copy = open(&directory);
    let mut taken = 0;
    for half in shuffled.chunks(shuffled.len() / 2 + 1) {
        let file = directory.path().join("half");
        std::fs::write(&file, [header, &half.join("\n")].join("\n")).unwrap();
        taken += import(&copy, &file, Format::Csv).await.unwrap().frames;
    }
    // One frame may be cut in two by the halves: its second half is there already.
    assert!((619..=620).contains(&taken), "{taken}");
    let read = copy.read(&component("parse"), all()).unwrap();
    assert!(read.gaps.is_empty() && read.frames.len() == whole.frames.len());
    let mut gathered = Gathered::default();
    let mut cells = vec![Cell::Empty; frame_columns().len()];
    let head = ["demo/Deployment.apps/parse/app", "a", "uid", "1"].map(|text| Cell::Text(text.into()));
    cells[..4].clone_from_slice(&head);
    (cells[4], cells[5], cells[7]) = (Cell::Integer(2), Cell::Integer(T0), Cell::Text("sample".into()));
    gathered.take(&cells).unwrap();
    let key = gathered.frames.keys().next().unwrap().clone();
    gathered.stored.insert(hash(&key));
    assert!(gathered.take(&cells).unwrap_err().contains("side by side"));
}

fn prometheus_file(directory: &TempDir, text: &str) -> std::path::PathBuf {
    let path = directory.path().join("answer.json");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn what_prometheus_answers_becomes_history_however_old_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    // A month ago; the store has long given up frames of that time.
    let now = Timestamp(T0 + 30 * 24 * HOUR);
    history.maintain(now).await.unwrap();
    let values: Vec<_> = (0..240).map(|at| format!("[{}, \"0.25\"]", T0 / 1000 + at * 60)).collect();
    let bad = format!("[{}, \"NaN\"]", T0 / 1000 + 240 * 60);
    let (mut unsorted, twice) = (values.clone(), format!("[{}, \"7\"]", T0 / 1000 + 600));
    unsorted.reverse();
    let text = format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[
            {{"metric":{{"pod":"parse-0"}},"values":[{},{bad}]}}, {{"metric":{{"pod":"parse-1"}},"values":[{}]}}]}}}}"#,
        values.join(","),
        [unsorted.join(","), twice].join(",")
    );
    let file = prometheus_file(&directory, &text);
    for (frames, duplicates) in [(8, 0), (0, 8)] {
        let outcome = prometheus::import(&history, &file, &component("parse"), Column::Cpu).await.unwrap();
        assert_eq!((outcome.frames, outcome.duplicates, outcome.wrong_lines), (frames, duplicates, 2));
        assert!(outcome.wrong[0].starts_with("series 0, value 240: `NaN`"), "{:?}", outcome.wrong);
        assert_eq!(outcome.wrong[1], "series 1, value 240: there is a value of its time already");
    }
    history.compact(now).await.unwrap();
    history.maintain(now.plus(std::time::Duration::from_secs(100))).await.unwrap();
    assert!(history.read(&component("parse"), all()).unwrap().frames.is_empty(), "its frames are as old as they are");
    let quarters =
        history.range(&component("parse"), Timestamp(T0)..Timestamp(T0 + 4 * HOUR), 900_000, Aggregate::Mean).unwrap();
    assert_eq!(quarters.rows.len(), 16);
    for (_, row) in &quarters.rows[..15] {
        assert!((row.sums.mean(Metric::Cpu, 900_000).unwrap() - 0.5).abs() < 1e-6, "{row:?}");
    }
    // Another column later: what is there is not lost.
    prometheus::import(&history, &file, &component("parse"), Column::Memory).await.unwrap();
    history.compact(now.plus(std::time::Duration::from_secs(4000))).await.unwrap();
    let row =
        history.range(&component("parse"), Timestamp(T0)..Timestamp(T0 + HOUR), 900_000, Aggregate::Mean).unwrap().rows
            [1]
        .1;
    assert!((row.sums.mean(Metric::Cpu, 900_000).unwrap() - 0.5).abs() < 1e-6, "{row:?}");
    assert!(row.sums.mean(Metric::Memory, 900_000).is_some());
}

#[tokio::test]
async fn another_answer_is_refused_with_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(&directory);
    for (text, says) in [
        (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "status is `error`: parse error"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "expected `matrix`"),
        ("[]", "no answer of Prometheus"),
    ] {
        let file = prometheus_file(&directory, text);
        let error = prometheus::import(&history, &file, &component("parse"), Column::Cpu).await.unwrap_err();
        assert!(format!("{error:#}").contains(says), "{error:#}");
    }
}

#[tokio::test]
async fn a_copy_of_a_store_in_use_is_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let history = filled(&directory).await;
    let to = directory.path().join("copy.db");
    History::copy_to(&directory.path().join("history.db"), &to).unwrap();
    let copy = History::open(&to).unwrap();
    let whole = history.read(&component("parse"), all()).unwrap();
    assert!(copy.read(&component("parse"), all()).unwrap() == whole);
    assert_eq!(copy.append(&pod("a"), frames(0..321)).await.unwrap().duplicates, 320);
    let error = History::copy_to(&directory.path().join("history.db"), &to).unwrap_err().to_string();
    assert!(error.contains("there is a file already"), "{error}");
}
