use std::time::Duration;

use forebay_shared::{Bytes, Content, DataType, DataVolume, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::buffer::Buffer;
use crate::metrics::Metrics;

/// A tap behind a real server on a free port.
struct Server {
    address: SocketAddr,
    buffer: Buffer,
    metrics: Metrics,
    tap: Tap,
    http: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        Self::start_for(None).await
    }

    /// A server to which every peer seems to be `peer`.
    async fn start_for(peer: Option<SocketAddr>) -> Self {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::new(Bytes(1 << 20), metrics.clone());
        let tap = Tap::new(buffer.clone(), metrics.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut router = routes(tap.clone());
        if let Some(peer) = peer {
            router = router.layer(axum::Extension(ConnectInfo(peer)));
        }
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, buffer, metrics, tap, http: reqwest::Client::new() }
    }

    async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> (u16, serde_json::Value) {
        let request = self.http.post(format!("http://{}{path}", self.address));
        let answer = request.header(header::CONTENT_TYPE, content_type).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn push(&self, content_type: &str, body: impl Into<reqwest::Body>) -> String {
        let (status, answer) = self.post("/v1/batches", content_type, body).await;
        assert_eq!(status, 201, "{answer}");
        answer["batchId"].as_str().unwrap().to_owned()
    }

    fn recorded(&self) -> Content {
        self.buffer.close(Timestamp(0));
        let request = self.buffer.request(usize::MAX, usize::MAX);
        let frames = request.map_or_else(Vec::new, |request| Frame::decode_all(&request.body).unwrap());
        frames.into_iter().fold(Content::default(), |mut all, frame| {
            all.arrivals.extend(frame.content.arrivals);
            all.progress.extend(frame.content.progress);
            all
        })
    }
}

#[tokio::test]
async fn a_batch_is_recorded_from_arrival_to_end() {
    let server = Server::start().await;
    let id = server.push("text/csv", "a,b\n1,2\n3,4\n").await;
    assert_eq!(server.tap.backlog(Timestamp::now()), None);
    assert_eq!(server.post(&format!("/v1/batches/{id}/start"), "", "").await.0, 204);
    assert_eq!(server.post(&format!("/v1/batches/{id}/start"), "", "").await.0, 204);
    assert_eq!(server.tap.backlog(Timestamp::now()).unwrap().in_service, 1);
    assert_eq!(server.post(&format!("/v1/batches/{id}/finish?outcome=failed"), "", "").await.0, 204);
    let recorded = server.recorded();
    assert_eq!(recorded.arrivals[0].batch_id.to_string(), id);
    assert_eq!(recorded.arrivals[0].characteristics.data_type, DataType::Csv);
    assert_eq!(recorded.arrivals[0].characteristics.data_volume.records, Some(3));
    assert_eq!(recorded.progress.len(), 2, "starting twice is told once");
    assert_eq!(recorded.progress[1].outcome, Outcome::Failed);
    assert_eq!(recorded.progress[1].started_at, recorded.progress[0].started_at);
    assert_eq!(server.tap.open(), 0);
}

#[tokio::test]
async fn a_vector_is_told_from_a_batch_of_json() {
    let server = Server::start().await;
    let vector = r#"{"dataVolume": {"bytes": 99}, "dataComplexity": 2.0, "dataType": "avro"}"#;
    let near = r#"{"dataVolume": {"bytes": 99}, "dataComplexity": 2.0, "dataType": "avro", "more": 1}"#;
    server.push("application/json", vector).await;
    server.push("application/json; charset=utf-8", near).await;
    server.push("text/plain", vector).await;
    server.push(VECTOR, vector).await;
    let (status, problem) = server.post("/v1/batches", VECTOR, near).await;
    assert_eq!((status, problem["field"].as_str()), (400, Some("body")));
    let types: Vec<DataType> = server.recorded().arrivals.iter().map(|a| a.characteristics.data_type).collect();
    assert_eq!(types, [DataType::Avro, DataType::Json, DataType::Json, DataType::Avro]);
}

#[tokio::test]
async fn what_is_unknown_or_wrong_is_a_problem_that_names_it() {
    let server = Server::start().await;
    for path in ["/v1/batches/1/start", "/v1/batches/x/finish"] {
        let (status, problem) = server.post(path, "", "").await;
        assert_eq!((status, problem["field"].as_str()), (404, Some("id")));
    }
    let id = server.push("text/plain", "x").await;
    let (status, problem) = server.post(&format!("/v1/batches/{id}/finish?outcome=maybe"), "", "").await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().contains("ok or failed"));
    assert_eq!(server.post(&format!("/v1/batches/{id}/finish"), "", "").await.0, 204);
    assert_eq!(server.post(&format!("/v1/batches/{id}/finish"), "", "").await.0, 404);
}

#[tokio::test]
async fn a_long_batch_is_estimated_and_one_too_long_is_refused() {
    let server = Server::start().await;
    server.push("application/x-ndjson", "{\"a\": 1}\n".repeat(1_000_000)).await;
    let vector = server.recorded().arrivals[0].characteristics;
    assert_eq!(vector.data_volume, DataVolume { bytes: 9_000_000, unpacked_bytes: None, records: Some(1_000_000) });
    assert!(vector.estimated);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        super::super::body::MOST_BYTES + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(server.metrics.tap_refused_batches.get(), 1);
}

#[tokio::test]
async fn a_body_that_is_cut_records_nothing() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while server.metrics.tap_refused_batches.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    assert!(server.recorded().arrivals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_is_refused() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert_eq!(server.metrics.tap_refused_batches.get(), 1);
}

#[tokio::test]
async fn a_peer_that_is_not_loopback_is_refused() {
    for (peer, status) in [("192.0.2.7:1234", 403), ("[2001:db8::1]:1", 403), ("[::ffff:127.0.0.1]:1", 201)] {
        let server = Server::start_for(Some(peer.parse().unwrap())).await;
        let (found, answer) = server.post("/v1/batches", "text/plain", "x").await;
        assert_eq!(found, status, "{peer}: {answer}");
        assert_eq!(server.recorded().arrivals.is_empty(), status == 403);
    }
}

#[tokio::test]
async fn a_vector_is_read_as_one_while_large_batches_take_all_of_the_room() {
    let server = Server::start().await;
    let mut looks: Vec<_> = (0..64).map(|_| server.tap.0.inspection.begin(None, None)).collect();
    let chunk = vec![b'x'; 64 << 10];
    looks.iter_mut().for_each(|look| look.push(&chunk));
    assert!(server.metrics.tap_sampled_batches.get() > 0);
    let vector = r#"{"dataVolume": {"bytes": 99}, "dataComplexity": 2.0, "dataType": "avro"}"#;
    server.push(VECTOR, vector).await;
    server.push("application/json", vector).await;
    server.push("application/json", format!("{vector}{}", " ".repeat(MOST_VECTOR))).await;
    let types: Vec<DataType> = server.recorded().arrivals.iter().map(|a| a.characteristics.data_type).collect();
    assert_eq!(types, [DataType::Avro, DataType::Avro, DataType::Json], "4 KiB and one byte are a batch");
    let (status, problem) = server.post("/v1/batches", VECTOR, " ".repeat(MOST_VECTOR + 1)).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("4096"), "{problem}");
}

#[tokio::test]
async fn what_the_routes_do_not_take_is_a_problem_document_too() {
    let server = Server::start().await;
    let send = async |method: Method, path: &str| {
        let answer = server.http.request(method, format!("http://{}{path}", server.address)).send().await.unwrap();
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (kind, allow) = (header("content-type"), header("allow"));
        let status = answer.status().as_u16();
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{path}");
        (status, allow, answer.json::<serde_json::Value>().await.unwrap())
    };
    for (method, path) in
        [(Method::GET, "/v1/batches"), (Method::PUT, "/v1/batches/1/start"), (Method::DELETE, "/v1/batches/1/finish")]
    {
        let (status, allow, problem) = send(method.clone(), path).await;
        assert_eq!((status, allow.as_deref()), (405, Some("POST")), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(method.as_str()));
    }
    let (status, _, problem) = send(Method::POST, "/v1/batches/%ff/start").await;
    assert_eq!((status, problem["field"].as_str()), (400, Some("id")));
    let (status, _, problem) = send(Method::POST, "/v1/batches/1/finish?outcome=ok&outcome=ok").await;
    assert_eq!((status, problem["field"].as_str()), (400, Some("outcome")));
}

#[tokio::test]
async fn a_sender_that_waits_to_be_asked_for_the_body_is() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"a,b\n1,2\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    assert_eq!(server.recorded().arrivals[0].characteristics.data_volume.records, Some(2));
}
