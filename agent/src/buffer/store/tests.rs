//! The store alone: its files, and what it makes of a disk that fails.

use forebay_shared::{BootId, Content, Frame, Timestamp};
use proptest::prelude::*;

use super::*;

fn frame(sequence: u64, bulk: usize) -> Closed {
    let content = Content { closed_at: Timestamp(sequence), sampling: "x".repeat(bulk), ..Content::default() };
    let bytes = Frame { boot: BootId(7), sequence, first_retained: sequence, content }.encode().unwrap();
    Closed { boot: BootId(7), sequence, at: None, bytes: bytes.into() }
}

fn frames(range: std::ops::Range<u64>) -> Vec<Closed> {
    range.map(|sequence| frame(sequence, 0)).collect()
}

fn sequences(frames: &[Closed]) -> Vec<u64> {
    frames.iter().map(|frame| frame.sequence).collect()
}

fn open(dir: &Path, limit: u64) -> (Store, Toll) {
    Store::open(dir, limit).unwrap()
}

#[test]
fn a_read_is_repeated_until_it_is_consumed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut toll) = open(dir.path(), 1 << 20);
    store.append(&frames(0..10), &mut toll).unwrap();
    assert_eq!(sequences(&store.read(1 << 20, 4, &mut toll)), [0, 1, 2, 3]);
    assert_eq!(sequences(&store.read(1 << 20, 3, &mut toll)), [0, 1, 2]);
    store.consume(2);
    assert_eq!(store.standing().frames, 8);
    assert_eq!(sequences(&store.read(100, 9, &mut toll)), [2], "as many as fit into 100 bytes");
    store.consume(1);
    store.append(&frames(10..12), &mut toll).unwrap();
    assert_eq!(sequences(&store.read(1 << 20, 99, &mut toll)), (3..12).collect::<Vec<_>>());
    store.consume(9);
    assert_eq!((store.standing(), toll), (Standing::default(), Toll::default()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but the lock is left");
}

#[test]
fn a_frame_longer_than_a_request_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut toll) = open(dir.path(), 1 << 20);
    // Noise does not compress.
    let mut rng = fastrand::Rng::with_seed(1);
    let noise: String = (0..20_000).map(|_| rng.alphanumeric()).collect();
    let content = Content { sampling: noise, ..Content::default() };
    let bytes = Frame { boot: BootId(7), sequence: 1, first_retained: 1, content }.encode().unwrap();
    let long = Closed { boot: BootId(7), sequence: 1, at: None, bytes: bytes.into() };
    store.append(&[frame(0, 0), long, frame(2, 0)], &mut toll).unwrap();
    for expected in 0..3 {
        assert_eq!(sequences(&store.read(200, 1, &mut toll)), [expected]);
        store.consume(1);
    }
}

#[test]
fn the_segment_that_is_being_shipped_is_not_dropped_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut toll) = open(dir.path(), 64 << 10);
    store.append(&frames(0..50), &mut toll).unwrap();
    assert_eq!(store.read(1 << 20, 5, &mut toll).len(), 5);
    let mut next = 50;
    while toll.dropped == 0 {
        store.append(&frames(next..next + 50), &mut toll).unwrap();
        next += 50;
    }
    store.consume(5);
    assert_eq!(sequences(&store.read(1 << 20, 1, &mut toll)), [5], "behind what was shipped");
    assert_eq!(5 + store.standing().frames + toll.dropped, next, "each frame is there or counted");
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut toll) = open(dir.path(), 1 << 20);
    store.append(&frames(0..3), &mut toll).unwrap();
    // A file that can only be read, as after a remount.
    let path = path(dir.path(), FIRST_INDEX);
    store.writer = Some(File::open(&path).unwrap());
    assert!(store.append(&frames(3..6), &mut toll).is_err());
    assert_eq!(store.standing().frames, 3);
    store.append(&frames(6..7), &mut toll).unwrap();
    assert_eq!(sequences(&store.read(1 << 20, 99, &mut toll)), [0, 1, 2]);
    store.consume(3);
    assert_eq!(sequences(&store.read(1 << 20, 99, &mut toll)), [6]);
}

#[test]
fn a_smaller_limit_after_a_restart_drops_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut toll) = open(dir.path(), 1 << 20);
    for from in (0..4000).step_by(100) {
        store.append(&frames(from..from + 100), &mut toll).unwrap();
    }
    drop(store);
    let (mut store, mut toll) = open(dir.path(), 128 << 10);
    assert!(toll.dropped > 0 && store.standing().bytes <= 128 << 10);
    assert_eq!(store.read(1 << 20, 1, &mut toll)[0].sequence, toll.dropped);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_to_the_files_reading_ends_and_gives_whole_frames_in_order(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        most in 1usize..5000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut toll) = open(dir.path(), 1 << 20);
        store.append(&frames(0..60), &mut toll).unwrap();
        drop(store);
        let path = path(dir.path(), FIRST_INDEX);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        std::fs::write(&path, bytes).unwrap();
        let (mut store, mut toll) = open(dir.path(), 1 << 20);
        let mut seen = Vec::new();
        loop {
            let read = store.read(most, 10, &mut toll);
            if read.is_empty() {
                break;
            }
            for frame in &read {
                prop_assert!(Frame::decode(&frame.bytes).is_ok());
            }
            seen.extend(sequences(&read));
            store.consume(read.len() as u64);
        }
        prop_assert!(seen.is_sorted() && seen.len() <= 60);
        prop_assert_eq!(store.standing(), Standing::default());
    }
}
