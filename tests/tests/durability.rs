//! What was acknowledged is there after kill -9, and counts once.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::time::{Duration, Instant};

use forebay_tests::aggregator::{Aggregator, COMPONENT, frame, post, prepare};
use reqwest::{Client, StatusCode};
use serde_json::Value;

/// Times that the aggregator is killed; `FOREBAY_KILLS` says otherwise.
const KILLS: usize = 12;
/// Requests under way at once.
const SENDERS: u64 = 4;

/// How old the frames are.
const AGO: Duration = Duration::from_secs(60);

/// Sends frames in order until the aggregator is gone; gives the sequence after the last acknowledged one.
async fn send(client: Client, url: String, boot: u64, mut sequence: u64) -> u64 {
    while post(&client, &url, &frame(boot, sequence, AGO)).await.unwrap().is_some() {
        sequence += 1;
    }
    sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_frame_is_lost_or_doubled_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path()).unwrap();
    let client = Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut next = vec![0; SENDERS as usize];
    let kills = std::env::var("FOREBAY_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for _ in 0..kills {
        let mut aggregator = Aggregator::start(folder.path(), &[]).unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|boot| tokio::spawn(send(client.clone(), aggregator.url.clone(), boot, next[boot as usize])))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
        aggregator.running.kill().unwrap();
        for (next, sender) in next.iter_mut().zip(senders) {
            *next = sender.await.unwrap();
        }
    }

    let aggregator = Aggregator::start(folder.path(), &[]).unwrap();
    let mut sent = 0;
    for (boot, next) in (0..SENDERS).zip(next) {
        assert!(next > 0, "nothing was acknowledged");
        if next > 1 {
            let last = post(&client, &aggregator.url, &frame(boot, next - 1, AGO)).await.unwrap();
            assert_eq!(last, Some(0), "the last acknowledged frame of boot {boot} was lost");
        }
        // The one on its way at the kill is there or not; sent again, it is there once.
        assert!(post(&client, &aggregator.url, &frame(boot, next, AGO)).await.unwrap().is_some());
        assert_eq!(post(&client, &aggregator.url, &frame(boot, next, AGO)).await.unwrap(), Some(0));
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

#[tokio::test]
async fn an_open_page_does_not_hold_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path()).unwrap();
    let mut aggregator = Aggregator::start(folder.path(), &[]).unwrap();
    let page = Client::new().get(format!("{}/events", aggregator.url)).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let (started, pid) = (Instant::now(), aggregator.running.pid());
    aggregator.terminate(pid, Duration::from_secs(10)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    drop(page);
}
