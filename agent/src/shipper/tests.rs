//! The shipper against an aggregator that misbehaves as a script says: nothing lost, nothing doubled, order kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes as Chunk};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use forebay_shared::{Bytes, Frame, ResourceSample};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// What the aggregator does with one request; it takes all frames once the script is over.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16, Option<&'static str>),
    /// Takes the frames, and the answer breaks off.
    TakeAndBreakOff,
    /// Takes the frames, and answers late.
    TakeLate(Duration),
    /// Takes the first frame only.
    TakeOne,
}

/// Keeps frames as an aggregator must: once each, by boot and sequence.
#[derive(Default)]
struct Aggregator {
    script: Mutex<VecDeque<Act>>,
    refused: Mutex<Vec<u64>>,
    kept: Mutex<Vec<Frame>>,
    requests: Mutex<Vec<(Instant, usize)>>,
    authorization: Mutex<Option<String>>,
}

impl Aggregator {
    async fn start(script: impl IntoIterator<Item = Act>) -> (Arc<Self>, Url) {
        let aggregator = Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/observations", listener.local_addr().unwrap());
        let router =
            Router::new().route("/api/v1/observations", post(observations)).with_state(Arc::clone(&aggregator));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (aggregator, url.parse().unwrap())
    }

    fn take(&self, frames: Vec<Frame>) -> String {
        let mut kept = self.kept.lock().unwrap();
        let (mut accepted, mut duplicates) = (0, 0);
        for frame in frames {
            if kept.iter().any(|old| (old.boot, old.sequence) == (frame.boot, frame.sequence)) {
                duplicates += 1;
            } else {
                accepted += 1;
                kept.push(frame);
            }
        }
        format!("{{\"accepted\":{accepted},\"duplicates\":{duplicates}}}")
    }

    fn sequences(&self) -> Vec<u64> {
        self.kept.lock().unwrap().iter().map(|frame| frame.sequence).collect()
    }
}

async fn observations(Shared(aggregator): Shared<Arc<Aggregator>>, headers: HeaderMap, body: Chunk) -> Response {
    assert_eq!(headers["content-type"], "application/vnd.forebay.frames");
    let token = headers.get("authorization").map(|token| token.to_str().unwrap().to_owned());
    *aggregator.authorization.lock().unwrap() = token;
    let mut frames = Frame::decode_all(&body).unwrap();
    aggregator.requests.lock().unwrap().push((Instant::now(), frames.len()));
    if frames.iter().any(|frame| aggregator.refused.lock().unwrap().contains(&frame.sequence)) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let act = aggregator.script.lock().unwrap().pop_front();
    match act {
        None => aggregator.take(frames).into_response(),
        Some(Act::Answer(status, after)) => {
            let status = StatusCode::from_u16(status).unwrap();
            let mut answer = status.into_response();
            if let Some(after) = after {
                answer.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            answer
        }
        Some(Act::TakeAndBreakOff) => {
            let answer = aggregator.take(frames);
            // Announces more than comes: the connection ends within the body.
            let half = Body::from(answer[..8].to_owned());
            Response::builder().header("content-length", "99").body(half).unwrap()
        }
        Some(Act::TakeLate(late)) => {
            let answer = aggregator.take(frames);
            sleep(late).await;
            answer.into_response()
        }
        Some(Act::TakeOne) => {
            frames.truncate(1);
            aggregator.take(frames).into_response()
        }
    }
}

struct Rig {
    buffer: Buffer,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn start(url: Url, token: Option<Token>, flush: Duration) -> Self {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::new(Bytes(1 << 20), metrics.clone());
        let health = Health::new(&["shipper"], Timestamp(0));
        let shipper = Shipper::new(buffer.clone(), url, token, health.clone(), metrics.clone()).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(shipper, flush, stop.clone()));
        Self { buffer, health, metrics, stop, task }
    }

    /// Closes frames of one sample each.
    fn record(&self, frames: u64) {
        for n in 0..frames {
            self.buffer.sample(ResourceSample { at: Timestamp(n), ..ResourceSample::default() }, "cgroup-v1");
            self.buffer.close(Timestamp(n));
        }
    }

    async fn shipped(&self) {
        let empty = async {
            while self.buffer.size() != (0, 0) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), empty).await.expect("all frames are shipped in time");
    }
}

const SOON: Duration = Duration::from_millis(20);

#[tokio::test]
async fn through_every_misbehaviour_each_frame_arrives_once_and_in_order() {
    let script = [
        Act::Answer(500, None),
        Act::TakeAndBreakOff,
        Act::Answer(404, None),
        Act::TakeLate(Duration::from_millis(300)),
        Act::Answer(401, None),
        Act::TakeOne,
        Act::Answer(429, None),
        Act::TakeOne,
        Act::TakeAndBreakOff,
    ];
    let (aggregator, url) = Aggregator::start(script).await;
    let rig = Rig::start(url, None, SOON);
    for _ in 0..20 {
        rig.record(5);
        sleep(Duration::from_millis(10)).await;
    }
    rig.shipped().await;
    assert_eq!(aggregator.sequences(), (0..100).collect::<Vec<_>>());
    assert_eq!(rig.metrics.shipper_frames.get(), 100);
    assert!(rig.metrics.shipper_duplicate_frames.get() > 0);
    assert_eq!(rig.health.parts()["shipper"].state, State::Ok);
}

#[tokio::test]
async fn a_busy_aggregator_is_left_alone_for_as_long_as_it_asks() {
    let (aggregator, url) = Aggregator::start([Act::Answer(503, Some("1"))]).await;
    let rig = Rig::start(url, None, SOON);
    rig.record(1);
    rig.shipped().await;
    let requests = aggregator.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].0 - requests[0].0 >= Duration::from_secs(1));
}

#[tokio::test]
async fn only_the_frame_that_is_refused_is_given_up() {
    let (aggregator, url) = Aggregator::start([]).await;
    aggregator.refused.lock().unwrap().push(2);
    let rig = Rig::start(url, None, Duration::from_millis(200));
    sleep(Duration::from_millis(50)).await;
    rig.record(6);
    rig.shipped().await;
    assert_eq!(aggregator.sequences(), [0, 1, 3, 4, 5]);
    assert_eq!(rig.metrics.shipper_refused_frames.get(), 1);
    assert_eq!(aggregator.kept.lock().unwrap()[2].first_retained, 3, "the gap is told");
}

#[tokio::test]
async fn an_aggregator_that_is_away_degrades_the_shipper_but_not_the_pod() {
    let rig = Rig::start("http://127.0.0.1:1/".parse().unwrap(), None, SOON);
    rig.record(1);
    let degraded = async {
        while !rig.health.parts()["shipper"].detail.contains("cannot reach") {
            sleep(SOON).await;
        }
    };
    timeout(Duration::from_secs(5), degraded).await.unwrap();
    assert!(rig.health.ready());
    assert_eq!(rig.buffer.size().1, 1, "the frame is kept");
}

#[tokio::test]
async fn a_token_goes_with_each_request() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "secret\n").unwrap();
    let (aggregator, url) = Aggregator::start([]).await;
    let rig = Rig::start(url, Some(Token::new(dir.path().join("token"))), SOON);
    rig.record(1);
    rig.shipped().await;
    assert_eq!(aggregator.authorization.lock().unwrap().as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn what_is_urgent_does_not_wait_for_the_flush_and_the_last_frame_is_shipped_at_the_end() {
    let (aggregator, url) = Aggregator::start([]).await;
    let rig = Rig::start(url, None, Duration::from_secs(3600));
    sleep(Duration::from_millis(50)).await;
    rig.buffer.progress(
        forebay_shared::BatchProgress {
            batch_id: 1,
            started_at: None,
            finished_at: None,
            outcome: forebay_shared::Outcome::Pending,
        },
        Timestamp(0),
    );
    rig.shipped().await;
    assert_eq!(aggregator.sequences(), [0]);
    rig.buffer.sample(ResourceSample::default(), "cgroup-v1");
    rig.stop.cancel();
    timeout(Duration::from_secs(5), rig.task).await.unwrap().unwrap();
    assert_eq!(aggregator.sequences(), [0, 1]);
}

#[tokio::test]
async fn the_end_comes_in_time_with_an_aggregator_that_never_answers() {
    let (_, url) = Aggregator::start([Act::TakeLate(Duration::from_secs(60))]).await;
    let rig = Rig::start(url, None, SOON);
    rig.record(1);
    sleep(Duration::from_millis(100)).await;
    rig.stop.cancel();
    timeout(LAST + Duration::from_secs(2), rig.task).await.expect("stops in time").unwrap();
}
