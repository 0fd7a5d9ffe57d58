//! Faults at random, over real sockets, with agents that end and start again over the same spill.

use forebay_shared::BootId;

use super::*;

fn act(rng: &mut fastrand::Rng) -> Act {
    match rng.u8(0..20) {
        0 => Act::Answer(500, None, ""),
        1 => Act::Answer(503, None, ""),
        2 => Act::Answer(301, None, "<html>"),
        3 => Act::Answer(200, None, "{}"),
        4 => Act::TakeAndBreakOff,
        5 => Act::TakeAndClose,
        6 => Act::TakeLate(Duration::from_millis(rng.u64(1..60))),
        7 => Act::TakeSome(rng.usize(1..5)),
        8 => Act::TakeTwice,
        9 => Act::ResetInBody,
        10 => Act::Close,
        11 => Act::Garbage,
        _ => Act::Take,
    }
}

/// Runs an agent for a while; gives the boot and the frames that it closed.
async fn live(way: &Way, place: &Place, rng: &mut fastrand::Rng) -> (BootId, u64) {
    let last = Duration::from_millis(rng.u64(0..80));
    let rig = Rig::start_with(way.clone(), Size(128 << 10), Some(place.clone()), last);
    let mut closed = 0;
    for _ in 0..rng.u64(2..20) {
        let more = rng.u64(1..60);
        rig.record(closed..closed + more);
        closed += more;
        sleep(Duration::from_millis(rng.u64(0..12))).await;
        // The buffer is small: its disk must keep up, or frames are dropped, which is another test's.
        while rig.buffer.size().0 > 72 << 10 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    rig.stop.cancel();
    timeout(Duration::from_secs(10), rig.task).await.expect("it ends").unwrap();
    assert_eq!(rig.metrics.buffer_dropped_frames.get(), 0);
    (rig.buffer.boot(), closed)
}

async fn round(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let place = Place { directory: dir.path().join("spill"), limit: Size(16 << 20) };
    let aggregator = Aggregator::start([]).await;
    let way = Way { flush: Duration::from_millis(rng.u64(20..60)), ..way(aggregator.address) };
    let mut closed = Vec::new();
    for _ in 0..4 {
        aggregator.then((0..rng.usize(0..12)).map(|_| act(&mut rng)).collect::<Vec<_>>());
        closed.push(live(&way, &place, &mut rng).await);
    }
    // The last one lives until all is shipped.
    let rig = Rig::start_with(way, Size(128 << 10), Some(place), LAST);
    rig.record(0..3);
    closed.push((rig.buffer.boot(), 3));
    rig.shipped().await;
    rig.stop.cancel();
    rig.task.await.unwrap();
    let expected: Vec<_> = closed.into_iter().map(|(boot, frames)| (boot, (0..frames).collect::<Vec<_>>())).collect();
    let found = aggregator.boots();
    for (at, (boot, frames)) in expected.iter().enumerate() {
        let (there, sequences) = found.get(at).cloned().unwrap_or_default();
        assert_eq!((at, there), (at, *boot), "seed {seed}: boots come in their order");
        let lost: Vec<_> = frames.iter().filter(|sequence| !sequences.contains(sequence)).collect();
        assert!(sequences == *frames, "seed {seed}, boot {at} of {} frames: lost {lost:?}", frames.len());
    }
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn no_script_of_faults_and_restarts_loses_or_doubles_a_frame_or_changes_the_order() {
    let first = std::env::var("FOREBAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..12, |seed| seed..seed + 1);
    let rounds: Vec<_> = seeds.map(|seed| tokio::spawn(round(seed))).collect();
    for round in rounds {
        round.await.unwrap();
    }
}
