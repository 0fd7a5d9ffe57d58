//! Requests as an agent sends them, and as one should not.

use std::sync::LazyLock;

use axum::body::{Body, to_bytes};
use axum::http::Method;
use forebay_shared::{
    BatchArrival, BootId, ComponentId, Compression, Content, DataCharacteristics, DataComplexity, DataType, DataVolume,
    ResourceSample,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::*;

const TOKEN: &str = "0123456789abcdef";

/// An endpoint over a history of its own.
struct Fixture {
    _directory: TempDir,
    ingest: Ingest,
    received: mpsc::Receiver<Received>,
    registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let agents = directory.path().join("agents.json");
        let agent = json!([{"token": TOKEN, "component": component(), "pod": "parse-0", "uid": "uid-0"}]);
        std::fs::write(&agents, agent.to_string()).unwrap();
        let history = History::open(&directory.path().join("history.db")).unwrap();
        let (live, received) = mpsc::channel(64);
        let mut registry = Registry::default();
        let ingest = Ingest::new(Arc::new(Tokens::load(&agents).unwrap()), history, live, &mut registry);
        Self { _directory: directory, ingest, received, registry }
    }

    async fn send(&self, request: Request) -> (StatusCode, Value, HeaderMap) {
        let response = router(self.ingest.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap(), headers)
    }

    async fn post(&self, body: impl Into<Body>) -> (StatusCode, Value) {
        let (status, body, _) = self.send(request(Some(TOKEN), body)).await;
        (status, body)
    }

    fn stored(&self) -> usize {
        self.ingest.history.read(&component(), Timestamp(0)..Timestamp(u64::MAX)).unwrap().frames.len()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn component() -> ComponentId {
    "demo/Deployment.apps/parse/app".parse().unwrap()
}

fn request(token: Option<&str>, body: impl Into<Body>) -> Request {
    let mut request = Request::builder().method(Method::POST).uri("/api/v1/observations");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body.into()).unwrap()
}

fn frame(sequence: u64) -> Frame {
    let now = Timestamp::now();
    Frame {
        boot: BootId(7),
        sequence,
        first_retained: 0,
        content: Content {
            closed_at: now,
            sampling: "cgroup-v2".into(),
            samples: vec![ResourceSample { at: now, interval_ms: 1000, ..ResourceSample::default() }],
            ..Content::default()
        },
    }
}

fn body(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.encode().unwrap()).collect()
}

#[tokio::test]
async fn frames_are_acknowledged_stored_and_passed_on_once() {
    let mut fixture = Fixture::new();
    let frames = [frame(0), frame(1)];
    let (status, answer) = fixture.post(body(&frames)).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"accepted": 2, "duplicates": 0})));
    let received = fixture.received.try_recv().unwrap();
    assert_eq!((received.pod.uid.as_str(), &received.frames[..]), ("uid-0", &frames[..]));

    let (status, answer) = fixture.post(body(&[frames[1].clone(), frame(5)])).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"accepted": 1, "duplicates": 1})));
    assert_eq!(fixture.received.try_recv().unwrap().frames[0].sequence, 5);

    let (status, answer) = fixture.post(body(&frames)).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"accepted": 0, "duplicates": 2})));
    assert!(fixture.received.try_recv().is_err(), "duplicates stay behind");
    assert_eq!(fixture.stored(), 3);
    let metrics = fixture.metrics();
    for line in [
        "forebay_ingest_frames_total 3",
        "forebay_ingest_duplicates_total 3",
        "forebay_ingest_gaps_total 1",
        "forebay_ingest_acknowledgement_seconds_count 3",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_sender_without_a_known_token_is_refused() {
    let fixture = Fixture::new();
    for token in [None, Some(""), Some("0123456789abcdeX")] {
        let (status, problem, headers) = fixture.send(request(token, body(&[frame(0)]))).await;
        assert_eq!((status, &problem["field"]), (StatusCode::UNAUTHORIZED, &json!("Authorization")));
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer");
    }
    assert_eq!(fixture.stored(), 0);
    assert!(fixture.metrics().contains(r#"forebay_ingest_rejected_total{status="401"} 3"#), "{}", fixture.metrics());
}

#[tokio::test]
async fn a_bad_frame_is_named_and_nothing_of_the_request_is_stored() {
    let fixture = Fixture::new();
    let good = body(&[frame(0), frame(1)]);
    let with = |change: &dyn Fn(&mut Content)| {
        let mut bad = frame(2);
        change(&mut bad.content);
        [good.clone(), body(&[bad])].concat()
    };
    let later = Timestamp::now().plus(Duration::from_secs(7200));
    let arrival = |score: f64| BatchArrival {
        batch_id: 1,
        arrived_at: Timestamp(0),
        characteristics: DataCharacteristics {
            data_volume: DataVolume::default(),
            data_complexity: DataComplexity { score, ..DataComplexity::default() },
            data_type: DataType::Csv,
            compression: Compression::None,
            estimated: false,
        },
    };
    let mut damaged = [good.clone(), body(&[frame(2)])].concat();
    *damaged.last_mut().unwrap() ^= 1;
    let unstorable = Frame { sequence: u64::MAX, ..frame(2) };
    for (bytes, says) in [
        (damaged, "damaged on the way"),
        ([&good[..], &b"GET / HTTP"[..]].concat(), "cut short"),
        ([&good[..], &[0; 64][..]].concat(), "expected the magic"),
        (with(&|content| content.sampling = "x".repeat(65)), "at most 64 characters"),
        (
            with(&|content| content.samples[0].interval_ms = 3_600_001),
            "samples[0].intervalMs: 3600001 ms, expected at most",
        ),
        (with(&|content| content.arrivals = vec![arrival(f64::NAN)]), "arrivals[0].characteristics"),
        ([&good[..], &body(&[unstorable])].concat(), "less than 2^63"),
    ] {
        let (status, problem) = fixture.post(bytes).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("frames[2]")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{says}: {problem}");
    }
    // What is only early is to be kept and sent again.
    for (bytes, says) in [
        (with(&|content| content.samples[0].at = later), "samples[0].at"),
        (with(&|content| content.closed_at = later), "closedAt"),
    ] {
        let (status, problem) = fixture.post(bytes).await;
        assert_eq!((status, &problem["field"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("frames[2]")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{says}: {problem}");
    }
    assert_eq!(fixture.stored(), 0);
    assert_eq!(fixture.post(with(&|content| content.sampling = "é".repeat(64))).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_empty_body_is_refused() {
    let (status, problem) = Fixture::new().post(Body::empty()).await;
    assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("frames")));
    assert!(problem["detail"].as_str().unwrap().contains("expected one frame or more"), "{problem}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_or_not_it_tells_its_length() {
    let fixture = Fixture::new();
    let long = vec![0; MAX_BODY + 1];
    let mut told = request(Some(TOKEN), long.clone());
    told.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(long.len()));
    for request in [told, request(Some(TOKEN), long)] {
        let (status, problem, _) = fixture.send(request).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(problem["detail"].as_str().unwrap().contains("at most 8388608 bytes"), "{problem}");
    }
}

#[tokio::test]
async fn a_small_body_of_many_or_large_frames_is_refused() {
    let fixture = Fixture::new();
    let many: Vec<Frame> = (0..5000).map(|sequence| Frame { sequence, ..Frame::default() }).collect();
    let large = |sequence| {
        let mut frame = frame(sequence);
        frame.content.samples = vec![ResourceSample::default(); 6000];
        frame
    };
    for frames in [many, (0..30).map(large).collect()] {
        let bytes = body(&frames);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let (status, problem) = fixture.post(bytes).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
        // As many as it names are taken: a sender need not guess.
        let field = problem["field"].as_str().unwrap();
        let fit: usize = field.strip_prefix("frames[").unwrap().strip_suffix(']').unwrap().parse().unwrap();
        assert!((1..frames.len()).contains(&fit), "{field}");
        let (status, answer) = fixture.post(body(&frames[..fit])).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert_eq!(fixture.ingest.budget.0.available_permits(), BUDGET, "all room was given back");
}

#[tokio::test]
async fn a_long_body_is_decoded_apart_and_taken() {
    let fixture = Fixture::new();
    let frames: Vec<Frame> = (0..3000).map(frame).collect();
    let body = body(&frames);
    assert!(body.len() > DECODE_HERE);
    let (status, answer) = fixture.post(body).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"accepted": 3000, "duplicates": 0})));
    assert_eq!(fixture.stored(), 3000);
}

#[test]
fn a_short_body_tells_how_long_it_is_unpacked() {
    let mut frame = frame(0);
    frame.content.samples = vec![ResourceSample::default(); 6000];
    let bytes = body(&[frame.clone(), frame]);
    assert!(bytes.len() < DECODE_HERE / 8 && check::unpacked_len(&bytes) > 4 * DECODE_HERE, "{}", bytes.len());
    assert_eq!(check::unpacked_len(b"GET / HTTP/1.1"), 0);
    assert_eq!(check::unpacked_len(&bytes[..60]), check::unpacked_len(&bytes) / 2, "what is cut is told too");
}

#[tokio::test]
async fn times_of_a_pod_whose_clock_is_off_are_stored_as_they_were() {
    for (ahead, tolerated) in [(3_600_000_i64, false), (-3_600_000, false), (1000, true)] {
        let fixture = Fixture::new();
        let now = Timestamp::now();
        let mut frame = frame(0);
        frame.content.closed_at = now.moved(ahead);
        frame.content.samples[0].at = now.moved(ahead);
        let mut request = request(Some(TOKEN), body(&[frame]));
        request.headers_mut().insert(SENT_AT, HeaderValue::from(now.moved(ahead).0));
        let (status, answer, _) = fixture.send(request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let all = Timestamp(0)..Timestamp(u64::MAX);
        let stored = fixture.ingest.history.read(&component(), all).unwrap().frames.remove(0).content;
        let at = if tolerated { now.moved(ahead) } else { now };
        let off = stored.samples[0].at.0.abs_diff(at.0);
        assert!(off < 1900 && stored.closed_at == stored.samples[0].at, "{ahead}: {off} ms");
        let skewed = format!("forebay_ingest_skewed_pods {}", i32::from(!tolerated));
        assert!(fixture.metrics().contains(&skewed), "{}", fixture.metrics());
    }
}

#[tokio::test]
async fn frames_older_than_what_is_kept_are_acknowledged_and_told_apart() {
    let fixture = Fixture::new();
    fixture.ingest.history.prune(Timestamp::now()).await.unwrap();
    let mut old = frame(0);
    let long_ago = Timestamp::now().minus(Duration::from_secs(30 * 86_400));
    (old.content.closed_at, old.content.samples[0].at) = (long_ago, long_ago);
    let (status, answer) = fixture.post(body(&[old, frame(1)])).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"accepted": 1, "duplicates": 0, "tooOld": 1})));
    assert_eq!(fixture.stored(), 1);
}

#[tokio::test]
async fn a_request_that_finds_no_room_is_told_to_come_again() {
    let fixture = Fixture::new();
    let taken = fixture.ingest.budget.reserve(BUDGET).unwrap();
    let (status, _, headers) = fixture.send(request(Some(TOKEN), body(&[frame(0)]))).await;
    assert_eq!((status, headers[header::RETRY_AFTER].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..]));
    drop(taken);
    assert_eq!(fixture.post(body(&[frame(0)])).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_history_that_takes_nothing_is_503_and_says_when_to_come_again() {
    let fixture = Fixture::new();
    fixture.ingest.history.close();
    let (status, problem, headers) = fixture.send(request(Some(TOKEN), body(&[frame(0)]))).await;
    assert_eq!((status, headers[header::RETRY_AFTER].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"5"[..]));
    assert!(!problem.to_string().contains("history.db"), "the path is nothing for agents: {problem}");
}

#[tokio::test]
async fn an_agent_that_goes_away_leaves_its_frames_on_disk_and_passed_on() {
    let mut fixture = Fixture::new();
    let app = router(fixture.ingest.clone());
    let waiting = tokio::spawn(app.oneshot(request(Some(TOKEN), body(&[frame(0)]))));
    // As far as the queue of the history: what it holds of the budget is then held by the storing task.
    while fixture.ingest.budget.0.available_permits() == BUDGET {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    let received = tokio::time::timeout(Duration::from_secs(10), fixture.received.recv()).await;
    assert_eq!(received.expect("the frames were lost to the live state").unwrap().frames.len(), 1);
    assert_eq!(fixture.stored(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up() {
    let fixture = Fixture::new();
    let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, _) = fixture.post(never).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

static RUNTIME: LazyLock<(Runtime, Fixture)> = LazyLock::new(|| (Runtime::new().unwrap(), Fixture::new()));

proptest! {
    #[test]
    fn any_body_is_answered(junk: Vec<u8>, flip: prop::sample::Index, cut: prop::sample::Index) {
        let (runtime, fixture) = &*RUNTIME;
        let mut whole = body(&[frame(0), frame(1)]);
        let at = flip.index(whole.len());
        whole[at] ^= 1;
        let cut = cut.index(whole.len());
        for bytes in [junk, whole[..cut].to_vec(), whole] {
            let whole_frames = Frame::decode_all(&bytes).is_ok_and(|frames| !frames.is_empty());
            let (status, answer) = runtime.block_on(fixture.post(bytes));
            if whole_frames {
                prop_assert_eq!(status, StatusCode::OK);
                continue;
            }
            prop_assert_eq!(status, StatusCode::BAD_REQUEST);
            prop_assert!(answer["field"].as_str().is_some_and(|field| field.starts_with("frames")));
        }
    }
}
