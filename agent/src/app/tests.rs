//! The whole agent in one process: flags in, frames out.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use clap::Parser;
use forebay_shared::{DataType, Frame};
use tokio::net::TcpListener;

use super::*;

/// An aggregator that takes everything, and its URL.
async fn aggregator() -> (Arc<Mutex<Vec<Frame>>>, String) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let frames = Arc::clone(&kept);
    let take = move |body: Bytes| async move {
        let mut taken = Frame::decode_all(&body).unwrap();
        let answer = format!("{{\"accepted\":{},\"duplicates\":0}}", taken.len());
        frames.lock().unwrap().append(&mut taken);
        answer
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/api/v1/observations", post(take))).await });
    (kept, url)
}

async fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = ready() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("ready in time")
}

#[tokio::test]
async fn samples_and_batches_come_to_the_aggregator_and_the_last_ones_on_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let (pids, address_file) = (dir.path().join("pids"), dir.path().join("address"));
    std::fs::write(&pids, std::process::id().to_string()).unwrap();
    let (kept, url) = aggregator().await;
    let args = Args::parse_from([
        "forebay-agent",
        "--listen=127.0.0.1:0",
        &format!("--address-file={}", address_file.display()),
        &format!("--aggregator={url}"),
        &format!("--sampling=pids={}", pids.display()),
        "--tap=push",
        "--interval=20ms",
        "--flush=40ms",
    ]);
    let (stop, stopped) = oneshot::channel::<()>();
    let agent = tokio::spawn(run(args, async { drop(stopped.await) }));
    let address = until(|| std::fs::read_to_string(&address_file).ok()).await;
    let http = reqwest::Client::new();
    let pushed = http.post(format!("http://{address}/v1/batches")).body("a,b\n1,2\n").send().await.unwrap();
    assert_eq!(pushed.status().as_u16(), 201);
    let id = pushed.json::<serde_json::Value>().await.unwrap()["batchId"].as_str().unwrap().to_owned();
    let started = http.post(format!("http://{address}/v1/batches/{id}/start")).send().await.unwrap();
    assert_eq!(started.status().as_u16(), 204);
    let arrival = until(|| kept.lock().unwrap().iter().find_map(|f| f.content.arrivals.first().cloned())).await;
    assert_eq!(arrival.characteristics.data_type, DataType::Csv);
    let with_backlog = |frame: &Frame| frame.content.samples.iter().find(|sample| sample.backlog.is_some()).cloned();
    let sample = until(|| kept.lock().unwrap().iter().find_map(with_backlog)).await;
    assert!(sample.cpu_us.is_some() && sample.memory.is_some());
    for (path, holds) in [
        ("livez", "ok"),
        ("readyz", "sampler"),
        ("healthz", "\"since\""),
        ("metrics", "forebay_tap_batches_total{type=\"csv\"} 1"),
        ("metrics", "forebay_process_resident_memory_bytes "),
    ] {
        let answer = http.get(format!("http://{address}/{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(holds), "{path}: {text}");
    }
    stop.send(()).unwrap();
    timeout(Duration::from_secs(6), agent).await.unwrap().unwrap().unwrap();
    let kept = kept.lock().unwrap();
    // One that was on its way when the agent stopped may come again.
    let mut sequences: Vec<u64> = kept.iter().map(|frame| frame.sequence).collect();
    sequences.dedup();
    assert_eq!(sequences, (0..sequences.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_through_an_http_tap_come_to_the_aggregator_as_batches() {
    let dir = tempfile::tempdir().unwrap();
    let (pids, address_file) = (dir.path().join("pids"), dir.path().join("address"));
    std::fs::write(&pids, std::process::id().to_string()).unwrap();
    let (kept, url) = aggregator().await;
    let component = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = component.local_addr().unwrap();
    let router = Router::new().route("/", post(async |body: Bytes| body));
    tokio::spawn(async move { axum::serve(component, router).await });
    let listen = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap()
    };
    let args = Args::parse_from([
        "forebay-agent",
        "--listen=127.0.0.1:0",
        &format!("--address-file={}", address_file.display()),
        &format!("--aggregator={url}"),
        &format!("--sampling=pids={}", pids.display()),
        &format!("--tap=http={listen}->{target}"),
        "--interval=20ms",
        "--flush=40ms",
    ]);
    let (stop, stopped) = oneshot::channel::<()>();
    let agent = tokio::spawn(run(args, async { drop(stopped.await) }));
    let address = until(|| std::fs::read_to_string(&address_file).ok()).await;
    let http = reqwest::Client::new();
    let answer = http.post(format!("http://{listen}/")).body("a,b\n1,2\n").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a,b\n1,2\n");
    let ended = |frame: &Frame| frame.content.progress.iter().any(|progress| progress.finished_at.is_some());
    until(|| kept.lock().unwrap().iter().any(ended).then_some(())).await;
    let arrived = kept.lock().unwrap().iter().map(|frame| frame.content.arrivals.len()).sum::<usize>();
    assert_eq!(arrived, 1);
    let health = http.get(format!("http://{address}/healthz")).send().await.unwrap().text().await.unwrap();
    assert!(health.contains(&format!("\"tap http={listen}->{target}\":{{\"state\":\"ok\"")), "{health}");
    let pushed = http.post(format!("http://{address}/v1/batches")).body("a").send().await.unwrap();
    assert_eq!(pushed.status().as_u16(), 404, "no push tap was asked for");
    // What still waits to be looked at when the agent stops is told all the same.
    let body = "abc,def\n".repeat(60_000);
    let posts = (0..30).map(|_| http.post(format!("http://{listen}/")).body(body.clone()).send());
    let mut posts: JoinSet<_> = posts.collect();
    while let Some(answer) = posts.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status().as_u16(), 200);
    }
    stop.send(()).unwrap();
    timeout(Duration::from_secs(6), agent).await.unwrap().unwrap().unwrap();
    let kept = kept.lock().unwrap();
    // What was on its way then may come twice.
    let mut frames: Vec<&Frame> = kept.iter().collect();
    frames.dedup_by_key(|frame| frame.sequence);
    let ends = frames.iter().flat_map(|frame| &frame.content.progress).filter(|end| end.finished_at.is_some());
    assert_eq!(ends.count(), 31);
    assert_eq!(frames.iter().map(|frame| frame.content.arrivals.len()).sum::<usize>(), 31);
}

#[tokio::test]
async fn an_agent_that_cannot_sample_is_alive_but_not_ready_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let address_file = dir.path().join("address");
    let args = Args::parse_from([
        "forebay-agent",
        "--listen=127.0.0.1:0",
        &format!("--address-file={}", address_file.display()),
        "--aggregator=http://127.0.0.1:1",
        "--sampling=cgroup=/nowhere",
        &format!("--cgroup-root={}", dir.path().display()),
    ]);
    let agent = tokio::spawn(run(args, std::future::pending()));
    let address = until(|| std::fs::read_to_string(&address_file).ok()).await;
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{address}/{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("livez").await.0, 200);
    let (status, parts) = get("readyz").await;
    assert!(status == 503 && parts.contains("/nowhere"), "{parts}");
    assert_eq!(get("v1/batches").await.0, 404, "no tap was asked for");
    agent.abort();
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_agent_with_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let args = Args::parse_from([
        "forebay-agent",
        &format!("--listen={address}"),
        "--aggregator=http://127.0.0.1:1",
        "--sampling=pids=/dev/null",
    ]);
    let error = run(args, std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
