//! The shipper against an aggregator that misbehaves as a script says: nothing lost, nothing doubled, order kept.

mod aggregator;
mod outage;
mod random;
mod trust;

use std::net::SocketAddr;

use forebay_shared::{Bytes as Size, ResourceSample};

use self::aggregator::{Act, Aggregator};
use super::*;
use crate::buffer::Place;

struct Rig {
    buffer: Buffer,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn way(address: SocketAddr) -> Way {
    Way {
        target: Target::of_aggregator(&format!("http://{address}")).unwrap(),
        ca_file: None,
        token_file: None,
        flush: SOON,
        catch_up: Size(64 << 20),
    }
}

impl Rig {
    fn start(way: Way) -> Self {
        Self::start_with(way, Size(1 << 20), None, LAST)
    }

    fn start_with(way: Way, limit: Size, spill: Option<Place>, last: Duration) -> Self {
        let (_, metrics) = Metrics::new();
        let buffer = Buffer::with_spill(limit, spill, metrics.clone()).unwrap();
        let health = Health::new(&["shipper"], Timestamp(0));
        let mut shipper = Shipper::new(buffer.clone(), way, health.clone(), metrics.clone());
        shipper.last = last;
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(shipper, stop.clone()));
        Self { buffer, health, metrics, stop, task }
    }

    /// Closes frames of one sample each, at these times.
    fn record(&self, times: std::ops::Range<u64>) {
        for n in times {
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

    async fn told(&self, part: &str) {
        let told = async {
            while !self.health.parts()["shipper"].detail.contains(part) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), told).await.unwrap_or_else(|_| panic!("{part}: {:?}", self.health.parts()));
    }
}

const SOON: Duration = Duration::from_millis(20);

#[tokio::test]
async fn through_every_misbehaviour_each_frame_arrives_once_and_in_order() {
    let script = [
        Act::Answer(500, None, ""),
        Act::TakeAndBreakOff,
        Act::Answer(404, None, ""),
        Act::TakeLate(Duration::from_millis(300)),
        Act::Answer(401, None, ""),
        Act::TakeSome(1),
        Act::Answer(429, None, ""),
        Act::ResetInBody,
        Act::TakeAndClose,
        Act::TakeSome(1),
        Act::Close,
        Act::Garbage,
        Act::Answer(302, None, ""),
        Act::Answer(200, None, "<html>welcome</html>"),
        Act::Answer(200, None, r#"{"accepted": 100000, "duplicates": 0}"#),
        Act::TakeTwice,
        Act::TakeAndBreakOff,
    ];
    let acts = script.len();
    let aggregator = Aggregator::start(script).await;
    let rig = Rig::start(way(aggregator.address));
    let mut closed = 0;
    let play = async {
        while aggregator.requests.lock().unwrap().len() <= acts {
            rig.record(closed..closed + 5);
            closed += 5;
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), play).await.expect("the script is played");
    rig.shipped().await;
    assert!(aggregator.sequences() == (0..closed).collect::<Vec<_>>());
    assert_eq!(rig.metrics.shipper_frames.get(), closed);
    assert!(rig.metrics.shipper_duplicate_frames.get() > 0);
    assert_eq!(rig.health.parts()["shipper"].state, State::Ok);
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let aggregator = Aggregator::start([]).await;
    let rig = Rig::start(way(aggregator.address));
    for n in 0..10 {
        rig.record(n..n + 1);
        rig.shipped().await;
    }
    assert_eq!((rig.metrics.shipper_connections.get(), aggregator.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_went_away_while_it_idled_costs_no_wait() {
    let aggregator = Aggregator::start([Act::Take, Act::TakeAndClose]).await;
    let rig = Rig::start(way(aggregator.address));
    for n in 0..4 {
        rig.record(n..n + 1);
        rig.shipped().await;
    }
    let errors = rig.metrics.shipper_errors.get_or_create(&[("reason", "network")]).get();
    assert_eq!((errors, aggregator.sequences()), (0, vec![0, 1, 2, 3]));
}

#[tokio::test]
async fn a_busy_aggregator_is_left_alone_for_as_long_as_it_asks() {
    let aggregator = Aggregator::start([Act::Answer(503, Some("1"), "")]).await;
    let rig = Rig::start(way(aggregator.address));
    rig.record(0..1);
    rig.shipped().await;
    let requests = aggregator.requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn only_the_frame_that_is_refused_is_given_up_and_found_in_few_requests() {
    for tells in [true, false] {
        let aggregator = Aggregator::start([]).await;
        aggregator.refuse([700], tells);
        let rig = Rig::start(Way { flush: Duration::from_secs(3600), ..way(aggregator.address) });
        sleep(Duration::from_millis(50)).await;
        rig.record(0..1000);
        // The end ships what there is.
        rig.stop.cancel();
        timeout(Duration::from_secs(5), rig.task).await.unwrap().unwrap();
        assert!(aggregator.sequences() == (0..1000).filter(|n| *n != 700).collect::<Vec<_>>());
        assert_eq!(rig.metrics.shipper_refused_frames.get(), 1);
        let kept = aggregator.kept.lock().unwrap();
        assert_eq!(kept[700].first_retained, 701, "the gap is told");
        let requests = aggregator.requests.lock().unwrap().len();
        assert!(requests <= if tells { 20 } else { 45 }, "{requests} requests");
    }
}

#[tokio::test]
async fn many_tiny_frames_go_in_requests_that_the_aggregator_takes() {
    let aggregator = Aggregator::start([]).await;
    let rig = Rig::start(Way { flush: Duration::from_secs(3600), ..way(aggregator.address) });
    sleep(Duration::from_millis(50)).await;
    rig.record(0..3000);
    rig.stop.cancel();
    timeout(Duration::from_secs(5), rig.task).await.unwrap().unwrap();
    let requests = aggregator.requests.lock().unwrap().clone();
    assert!(requests.len() <= 6 && requests.iter().all(|request| request.frames <= MOST_FRAMES), "{requests:?}");
    assert!(aggregator.sequences() == (0..3000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_early_frame_waits_if_its_time_comes_and_is_given_up_if_its_clock_was_wrong() {
    let aggregator = Aggregator::start([]).await;
    let now = Timestamp::now();
    let soon = now.plus(Duration::from_millis(1200)).0;
    let far = now.plus(Duration::from_secs(3600)).0;
    aggregator.check_times();
    let rig = Rig::start(Way { flush: Duration::from_millis(500), ..way(aggregator.address) });
    sleep(Duration::from_millis(50)).await;
    rig.record(0..3);
    rig.record(soon..soon + 1);
    rig.record(3..5);
    rig.record(far..far + 2);
    rig.record(5..7);
    rig.shipped().await;
    assert_eq!(aggregator.sequences(), [0, 1, 2, 3, 4, 5, 8, 9], "what lies before an early frame goes at once");
    assert_eq!(rig.metrics.shipper_early_frames.get(), 2);
    assert!(rig.metrics.shipper_errors.get_or_create(&[("reason", "early")]).get() > 2, "the soon one waited");
}

#[tokio::test]
async fn an_aggregator_that_is_away_degrades_the_shipper_but_not_the_pod() {
    let rig = Rig::start(way("127.0.0.1:1".parse().unwrap()));
    rig.record(0..1);
    rig.told("cannot reach").await;
    assert!(rig.health.ready());
    assert_eq!(rig.buffer.size().1, 1, "the frame is kept");
}

#[tokio::test]
async fn a_token_goes_with_each_request_and_a_new_one_once_its_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "secret\n").unwrap();
    let aggregator = Aggregator::start([]).await;
    let rig = Rig::start(Way { token_file: Some(file.clone()), ..way(aggregator.address) });
    for token in ["secret", "renewd"] {
        std::fs::write(&file, token).unwrap();
        rig.record(0..1);
        rig.shipped().await;
        assert_eq!(aggregator.authorization.lock().unwrap().as_deref(), Some(&*format!("Bearer {token}")));
    }
}

#[tokio::test]
async fn what_is_urgent_does_not_wait_for_the_flush_and_the_last_frame_is_shipped_at_the_end() {
    let aggregator = Aggregator::start([]).await;
    let rig = Rig::start(Way { flush: Duration::from_secs(3600), ..way(aggregator.address) });
    sleep(Duration::from_millis(50)).await;
    let outcome = forebay_shared::Outcome::Pending;
    let progress = forebay_shared::BatchProgress { batch_id: 1, started_at: None, finished_at: None, outcome };
    rig.buffer.progress(progress, Timestamp(0));
    rig.shipped().await;
    assert_eq!(aggregator.sequences(), [0]);
    rig.buffer.sample(ResourceSample::default(), "cgroup-v1");
    rig.stop.cancel();
    timeout(Duration::from_secs(5), rig.task).await.unwrap().unwrap();
    assert_eq!(aggregator.sequences(), [0, 1]);
}

#[tokio::test]
async fn the_end_comes_in_time_with_an_aggregator_that_never_answers() {
    let aggregator = Aggregator::start([Act::TakeLate(Duration::from_secs(60))]).await;
    let rig = Rig::start(way(aggregator.address));
    rig.record(0..1);
    sleep(Duration::from_millis(100)).await;
    rig.stop.cancel();
    timeout(LAST + Duration::from_secs(2), rig.task).await.expect("stops in time").unwrap();
}
