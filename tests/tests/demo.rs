//! The demo, headless: the whole system as a new user starts it, and the aggregator killed in the middle.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay_tests::{Running, children, program, until_some};
use serde_json::Value;

/// The demo's own minute, and what it takes to start and to end.
const LENGTH: Duration = Duration::from_secs(60);
const AROUND: Duration = Duration::from_secs(60);

#[test]
fn the_demo_trains_forecasts_scales_and_survives_its_aggregator() {
    let folder = tempfile::tempdir().unwrap();
    let (run, summary) = (folder.path().join("run"), folder.path().join("summary.json"));
    let mut command = Command::new(program("forebay").unwrap());
    command.args(["demo", "--minutes", "1", "--plain", "--malformed", "--listen", "127.0.0.1:0"]);
    command.arg("--dir").arg(&run).arg("--json").arg(&summary).stdout(Stdio::null());
    let mut demo = Running::start(&mut command).unwrap();

    std::thread::sleep(LENGTH / 2);
    let deadline = Instant::now() + Duration::from_secs(20);
    let aggregator = until_some(deadline, || children(demo.pid(), &["serve"]).first().copied()).unwrap();
    let killed = Command::new("kill").args(["-9", &aggregator.to_string()]).status().unwrap();
    assert!(killed.success());

    std::thread::sleep(LENGTH / 4);
    let started = children(demo.pid(), &[]);
    assert!(started.len() > 6, "an aggregator, three agents and their workers: {started:?}");

    let ended = demo.wait(LENGTH + AROUND).unwrap();
    let told = std::fs::read_to_string(&summary).unwrap_or_default();
    assert!(ended.success(), "the demo ended with {ended}: {told}");
    let summary: Value = serde_json::from_str(&told).unwrap();
    let number = |path: &str| summary.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path}: {told}"));

    // Every batch came through as it was, but for those that were malformed on purpose.
    assert!(number("/batches/out") > 100.0, "{told}");
    assert_eq!(number("/batches/damaged"), 0.0, "{told}");
    assert!(number("/batches/byteIdentical") >= 3.0 * number("/batches/out"), "{told}");
    assert!(number("/batches/failed") >= 1.0, "{told}");
    assert_eq!(number("/batches/in"), number("/batches/out") + number("/batches/failed"), "{told}");

    // A model was trained, a decision rested on its forecast, and a worker was started because of it.
    assert_eq!(number("/modelsTrained"), 3.0, "{told}");
    assert!(number("/firstForecastDecisionSeconds") < 60.0, "{told}");
    assert!(number("/decisions/onForecast") >= 1.0, "{told}");
    assert!(number("/decisions/workersStartedOnForecast") >= 1.0, "{told}");
    for component in summary["components"].as_array().unwrap() {
        assert!(component["forecast"]["scored"].as_u64().is_some_and(|scored| scored > 0), "{component}");
    }

    // The aggregator died once and went on with what it had.
    assert_eq!(number("/aggregatorRestarts"), 1.0, "{told}");
    assert_eq!(summary["missing"], serde_json::json!([]), "{told}");
    let left = || started.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).count();
    until_some(Instant::now() + Duration::from_secs(5), || (left() == 0).then_some(())).unwrap();
}
