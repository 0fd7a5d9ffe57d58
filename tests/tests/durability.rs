//! What was acknowledged is there after kill -9, and counts once.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay_shared::{BatchArrival, BootId, Bytes, Content, DataCharacteristics, Frame, ResourceSample, Timestamp};
use forebay_tests::{Running, program, until_some};
use reqwest::{Client, StatusCode};
use serde_json::Value;

const TOKEN: &str = "a-token-of-the-test";
const COMPONENT: &str = "demo/Deployment.apps/parse/parse";
const PIPELINE: &str = "
apiVersion: forebay.io/v1alpha1
kind: Pipeline
metadata: { name: etl, namespace: demo }
spec:
  components:
    - name: parse
      targetRef: { apiVersion: apps/v1, kind: Deployment, name: parse }
      resources: { cpu: 500m }
";
/// Times that the aggregator is killed; `FOREBAY_KILLS` says otherwise.
const KILLS: usize = 12;
/// Requests under way at once.
const SENDERS: u64 = 4;

struct Aggregator {
    running: Running,
    url: String,
}

fn start(folder: &Path) -> Aggregator {
    let file = |name: &str| folder.join(name);
    let _ = std::fs::remove_file(file("address"));
    let mut command = Command::new(program("forebay").unwrap());
    command.args(["serve", "--listen", "127.0.0.1:0", "--step", "1s"]);
    for (flag, name) in [
        ("--store", "store.sqlite"),
        ("--pipeline", "pipeline.yaml"),
        ("--agents", "agents.json"),
        ("--address-file", "address"),
    ] {
        command.arg(flag).arg(file(name));
    }
    let running = Running::start(command.stderr(Stdio::null())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let address = until_some(deadline, || std::fs::read_to_string(file("address")).ok()).unwrap();
    Aggregator { running, url: format!("http://{address}/api/v1") }
}

/// A frame of one sample and one batch.
fn frame(boot: u64, sequence: u64) -> Frame {
    let at = Timestamp(Timestamp::now().0 - 60_000);
    let characteristics = r#"{"dataVolume": 1000, "dataComplexity": 1, "dataType": "csv"}"#;
    let characteristics: DataCharacteristics = serde_json::from_str(characteristics).unwrap();
    let arrival = BatchArrival { batch_id: sequence, arrived_at: at, characteristics };
    // The sample covers the whole of the second that the batch arrived in.
    let sample = ResourceSample {
        at: Timestamp(at.0 + 2000),
        interval_ms: 10_000,
        cpu_us: Some(sequence),
        memory: Some(Bytes(boot)),
        ..ResourceSample::default()
    };
    let content =
        Content { samples: vec![sample], arrivals: vec![arrival], sampling: "test".into(), ..Content::default() };
    Frame { boot: BootId(u128::from(boot)), sequence, first_retained: 0, content }
}

/// Posts a frame; gives how many were new, or `None` if there was no acknowledgement. As long as the aggregator reads
/// its history it says so, and the frame is sent again.
async fn post(client: &Client, url: &str, frame: &Frame) -> Option<u64> {
    loop {
        let request = client.post(format!("{url}/observations")).bearer_auth(TOKEN).body(frame.encode().unwrap());
        let answer = request.send().await.ok()?;
        match answer.status() {
            StatusCode::OK => return answer.json::<Value>().await.ok()?["accepted"].as_u64(),
            StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(20)).await,
            status => panic!("answered {status}"),
        }
    }
}

/// Sends frames in order until the aggregator is gone; gives the sequence after the last acknowledged one.
async fn send(client: Client, url: String, boot: u64, mut sequence: u64) -> u64 {
    while post(&client, &url, &frame(boot, sequence)).await.is_some() {
        sequence += 1;
    }
    sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_frame_is_lost_or_doubled_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let agents = serde_json::json!([{ "token": TOKEN, "component": COMPONENT, "pod": "parse-0", "uid": "uid-0" }]);
    std::fs::write(folder.path().join("agents.json"), agents.to_string()).unwrap();
    std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).unwrap();
    let client = Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut next = vec![0; SENDERS as usize];
    let kills = std::env::var("FOREBAY_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for _ in 0..kills {
        let mut aggregator = start(folder.path());
        let senders: Vec<_> = (0..SENDERS)
            .map(|boot| tokio::spawn(send(client.clone(), aggregator.url.clone(), boot, next[boot as usize])))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
        aggregator.running.kill().unwrap();
        for (next, sender) in next.iter_mut().zip(senders) {
            *next = sender.await.unwrap();
        }
    }

    let aggregator = start(folder.path());
    let mut sent = 0;
    for (boot, next) in (0..SENDERS).zip(next) {
        assert!(next > 0, "nothing was acknowledged");
        if next > 1 {
            let last = post(&client, &aggregator.url, &frame(boot, next - 1)).await;
            assert_eq!(last, Some(0), "the last acknowledged frame of boot {boot} was lost");
        }
        // The one on its way at the kill is there or not; sent again, it is there once.
        assert!(post(&client, &aggregator.url, &frame(boot, next)).await.is_some());
        assert_eq!(post(&client, &aggregator.url, &frame(boot, next)).await, Some(0));
        sent += next + 1;
    }
    println!("{kills} times kill -9: {sent} frames acknowledged, each there once");
    let get = async |path: &str| -> Value {
        let url = format!("{}/components/{COMPONENT}{path}", aggregator.url);
        client.get(url).send().await.unwrap().json().await.unwrap()
    };
    let extent = get("").await["historicalData"].clone();
    assert_eq!((&extent["samples"], &extent["batches"]), (&Value::from(sent), &Value::from(sent)));
    // The live state was rebuilt from the history, while senders went on at each start: it counts the same.
    let history = get("/history").await;
    let per_second = history["columns"]["arrivalsPerSecond"].as_array().unwrap();
    assert_eq!(per_second.iter().filter_map(Value::as_f64).sum::<f64>(), sent as f64);

    // And in steps, page by page.
    let mut path = "/history?step=30s&aggregate=sum&columns=arrivalsPerSecond&limit=500".to_owned();
    let (mut batches, mut pages) = (0.0, 0);
    loop {
        let page = get(&path).await;
        assert_eq!(page["stepSeconds"], 30.0, "{page}");
        let column = page["columns"]["arrivalsPerSecond"].as_array().unwrap();
        batches += column.iter().filter_map(Value::as_f64).sum::<f64>();
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        path = next.split_once(COMPONENT).unwrap().1.to_owned();
    }
    assert_eq!((batches, pages), (sent as f64, 6), "a day in steps of 30 s");
    let text = async |path: &str| {
        let url = format!("{}/components/{COMPONENT}{path}", aggregator.url);
        let answer = client.get(url).header("Accept", "text/csv").send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status(), kind, answer.text().await.unwrap())
    };
    let (status, kind, csv) = text("/history?step=1h&columns=memoryBytes,oomKills").await;
    assert!(status == StatusCode::OK && kind.starts_with("text/csv"), "{status} {kind}");
    assert!(csv.starts_with("at,memoryBytes,oomKills\r\n") && csv.lines().count() >= 2, "{csv}");
    let (status, kind, problem) = text("/history?step=soon").await;
    assert_eq!((status, kind.as_str()), (StatusCode::BAD_REQUEST, "application/problem+json"));
    assert!(problem.contains("\"field\":\"step\""), "{problem}");
}
