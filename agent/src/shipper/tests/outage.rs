//! An hour without an aggregator, in paused time.

use tokio::net::TcpListener;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_hour_without_an_aggregator_costs_bounded_memory_and_is_caught_up_at_the_rate() {
    const RATE: u64 = 64 << 10;
    const LIMIT: u64 = 1 << 20;
    // A port that is nobody's for that hour.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let way = Way { flush: Duration::from_secs(5), catch_up: Size(RATE), ..way(address) };
    let rig = Rig::start_with(way, Size(LIMIT), None, LAST);
    let mut most = 0;
    for second in 0..3600 {
        for part in 0..6 {
            let at = Timestamp(6 * second + part);
            rig.buffer.sample(
                ResourceSample { at, cpu_us: Some(at.0), memory: Some(Size(at.0 << 20)), ..ResourceSample::default() },
                "cgroup-v2",
            );
        }
        rig.buffer.close(Timestamp(second));
        most = most.max(rig.buffer.size().0);
        sleep(Duration::from_secs(1)).await;
    }
    assert!(most <= LIMIT as usize, "{most}");
    assert_eq!(rig.health.parts()["shipper"].state, State::Degraded);
    let attempts: u64 = ["network", "timeout"]
        .iter()
        .map(|reason| rig.metrics.shipper_errors.get_or_create(&[("reason", *reason)]).get())
        .sum();
    assert!((300..3000).contains(&attempts), "{attempts} attempts in an hour");

    let (dropped, held) = (rig.metrics.buffer_dropped_frames.get(), rig.buffer.size().0);
    let aggregator = Aggregator::on(TcpListener::bind(address).await.unwrap(), []);
    let back = Instant::now();
    while aggregator.requests.lock().unwrap().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(back.elapsed() <= Duration::from_secs(11), "it is found again soon");
    while rig.buffer.size().1 > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    // Those under way while one had to go are older than it.
    let kept = aggregator.sequences();
    assert!(kept.is_sorted() && kept.last() == Some(&3599));
    assert_eq!(kept.len() as u64 + dropped, 3600, "each one was shipped or counted");
    assert!(kept[kept.len() / 2..] == ((3600 - kept.len().div_ceil(2) as u64)..3600).collect::<Vec<_>>());
    let requests = aggregator.requests.lock().unwrap().clone();
    let bytes: usize = requests.iter().map(|request| request.bytes).sum();
    let took = (requests.last().unwrap().at - requests[0].at).as_secs_f64();
    assert!(bytes > 200 << 10 && bytes <= held, "{bytes} of {held}");
    assert!(requests.iter().all(|request| request.bytes <= RATE as usize));
    // A second's worth at once, and the last request may be owed.
    let (least, most) = (0.9 * took * RATE as f64, (took + 2.1) * RATE as f64);
    assert!((least..=most).contains(&(bytes as f64)), "{bytes} bytes in {took} s");

    // What is fresh does not wait, however much was owed.
    let start = Instant::now();
    rig.buffer.progress(
        forebay_shared::BatchProgress {
            batch_id: 1,
            started_at: None,
            finished_at: None,
            outcome: forebay_shared::Outcome::Ok,
        },
        Timestamp(0),
    );
    while rig.buffer.size().1 > 0 || rig.buffer.size().0 > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}
