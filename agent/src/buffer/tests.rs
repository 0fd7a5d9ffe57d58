use forebay_shared::frame::HEADER_LEN;
use forebay_shared::{Bytes as Size, Outcome};
use tokio::task::JoinHandle;

use super::*;

const MIB: usize = 1 << 20;

fn buffer(limit: u64) -> (Buffer, Metrics) {
    let (_, metrics) = Metrics::new();
    (Buffer::new(Size(limit), metrics.clone()), metrics)
}

fn fill(buffer: &Buffer, frames: std::ops::Range<u64>) {
    for n in frames {
        buffer.sample(ResourceSample { at: Timestamp(n), cpu_us: Some(n), ..ResourceSample::default() }, "cgroup-v2");
        buffer.close(Timestamp(n));
    }
}

fn held(buffer: &Buffer) -> Vec<Frame> {
    buffer.request(usize::MAX, usize::MAX).map_or_else(Vec::new, |r| Frame::decode_all(&r.body).unwrap())
}

async fn take(buffer: &Buffer, frames: usize) -> Vec<Frame> {
    let request = buffer.take(MIB, frames).await;
    request.map_or_else(Vec::new, |request| Frame::decode_all(&request.body().whole()).unwrap())
}

fn sequences(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.sequence).collect()
}

/// Takes and acknowledges all there is.
async fn drain(buffer: &Buffer, frames: usize) -> Vec<Frame> {
    let mut all = Vec::new();
    loop {
        let taken = take(buffer, frames).await;
        if taken.is_empty() {
            return all;
        }
        buffer.acknowledge(taken.len() as u64);
        all.extend(taken);
    }
}

#[tokio::test]
async fn frames_are_numbered_from_zero_and_leave_when_acknowledged() {
    let (buffer, _) = buffer(1 << 20);
    buffer.close(Timestamp(0));
    assert!(buffer.take(MIB, 9).await.is_none(), "an empty frame is not worth sending");
    fill(&buffer, 0..3);
    let taken = take(&buffer, 2).await;
    assert_eq!(sequences(&taken), [0, 1]);
    assert!(taken.iter().all(|frame| frame.boot == taken[0].boot && frame.content.sampling == "cgroup-v2"));
    buffer.acknowledge(1);
    assert_eq!(sequences(&take(&buffer, 9).await), [1, 2], "what was not acknowledged comes again");
    buffer.acknowledge(9);
    assert_eq!(buffer.size(), (0, 0));
}

#[tokio::test]
async fn what_is_given_up_is_counted_and_told_by_the_frames_behind_it() {
    let (buffer, metrics) = buffer(64 << 10);
    fill(&buffer, 0..2000);
    let (bytes, _) = buffer.size();
    assert!(bytes <= 64 << 10, "{bytes}");
    let held = held(&buffer);
    let dropped = metrics.buffer_dropped_frames.get();
    assert_eq!(held[0].sequence, dropped);
    assert!(held.iter().all(|frame| frame.first_retained == dropped));
    assert_eq!(held.last().unwrap().sequence, 1999);
}

#[tokio::test]
async fn frames_under_way_are_not_given_up_nor_counted_as_if_they_were() {
    let (buffer, metrics) = buffer(64 << 10);
    fill(&buffer, 0..40);
    let under_way = take(&buffer, 40).await;
    assert_eq!(under_way.len(), 40);
    fill(&buffer, 40..2000);
    assert!(buffer.size().0 <= 64 << 10);
    let dropped = metrics.buffer_dropped_frames.get();
    buffer.acknowledge(40);
    let rest = drain(&buffer, 64).await;
    assert_eq!(rest[0].sequence, 40 + dropped, "each one was shipped or counted");
    assert_eq!(40 + dropped + rest.len() as u64, 2000);
    assert_eq!(rest[0].first_retained, 40 + dropped);
}

#[tokio::test]
async fn frames_of_a_request_that_failed_are_the_oldest_again() {
    let (buffer, metrics) = buffer(64 << 10);
    fill(&buffer, 0..40);
    take(&buffer, 40).await;
    buffer.release();
    fill(&buffer, 40..2000);
    let dropped = metrics.buffer_dropped_frames.get();
    assert!(dropped > 40);
    let rest = drain(&buffer, 64).await;
    assert_eq!(sequences(&rest), (dropped..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_frame_leaves_a_gap_that_is_told() {
    let (buffer, _) = buffer(1 << 20);
    fill(&buffer, 0..4);
    take(&buffer, 1).await;
    buffer.acknowledge(1);
    take(&buffer, 3).await;
    buffer.refuse();
    let left = take(&buffer, 9).await;
    assert_eq!((sequences(&left), left[1].first_retained), (vec![2, 3], 2));
}

#[test]
fn open_content_is_bounded_while_nobody_closes_it() {
    let (buffer, _) = buffer(64 << 10);
    for n in 0..100_000 {
        buffer.sample(ResourceSample { at: Timestamp(n), ..ResourceSample::default() }, "cgroup-v2");
    }
    assert!(buffer.size().0 <= 64 << 10);
    assert!(buffer.size().1 > 0, "it was closed by its size");
}

#[tokio::test]
async fn a_request_holds_what_fits_and_one_frame_at_least() {
    let (buffer, _) = buffer(1 << 20);
    fill(&buffer, 0..10);
    assert_eq!(buffer.take(1, 10).await.unwrap().count(), 1);
    assert_eq!(buffer.take(1 << 20, 4).await.unwrap().count(), 4);
    let two = buffer.take(1 << 20, 2).await.unwrap();
    assert_eq!(two.len(), two.body().whole().len());
    assert_eq!(buffer.take(two.len(), 10).await.unwrap().count(), 2);
}

#[tokio::test]
async fn a_request_takes_a_quarter_of_the_memory_at_most() {
    let (buffer, _) = buffer(64 << 10);
    fill(&buffer, 0..200);
    let held = buffer.size().0;
    let request = buffer.take(MIB, 9999).await.unwrap();
    assert!((4 << 10..=16 << 10).contains(&request.len()), "{}", request.len());
    buffer.acknowledge(request.count());
    let freed = held - buffer.size().0;
    assert!((12 << 10..=16 << 10).contains(&freed), "what its frames take beside their bytes counts: {freed}");
}

#[test]
fn the_memory_counted_is_no_less_than_what_is_allocated() {
    let (buffer, _) = buffer(4 << 20);
    for n in 0..1000 {
        let progress = BatchProgress { batch_id: n, started_at: None, finished_at: None, outcome: Outcome::Pending };
        buffer.progress(progress, Timestamp(n));
        buffer.close(Timestamp(n));
    }
    let bytes: usize = held(&buffer).iter().map(|frame| frame.encode().unwrap().len()).sum();
    let places = 1024 * size_of::<Closed>();
    assert!(buffer.size().0 >= bytes + places, "{} of {}", buffer.size().0, bytes + places);
}

// With a spill.

struct Spilling {
    dir: tempfile::TempDir,
    buffer: Buffer,
    metrics: Metrics,
    task: JoinHandle<()>,
}

impl Spilling {
    fn start(dir: tempfile::TempDir, limit: u64) -> Self {
        let (_, metrics) = Metrics::new();
        let place = Place { directory: dir.path().join("spill"), limit: Size(limit) };
        let buffer = Buffer::with_spill(Size(64 << 10), Some(place), metrics.clone()).unwrap();
        let spiller = buffer.clone();
        let task = tokio::spawn(async move { spiller.spill_on().await });
        Self { dir, buffer, metrics, task }
    }

    fn new(limit: u64) -> Self {
        Self::start(tempfile::tempdir().unwrap(), limit)
    }

    /// Fills slowly enough for the disk.
    async fn fill(&self, frames: std::ops::Range<u64>) {
        for n in frames {
            fill(&self.buffer, n..n + 1);
            while self.buffer.size().0 > 50 << 10 && self.metrics.buffer_spill_errors.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Ends, and starts again over what was left.
    async fn restart(self, limit: u64) -> Self {
        let Self { dir, buffer, task, .. } = self;
        task.abort();
        let _ = task.await;
        drop(buffer);
        Self::start(dir, limit)
    }

    fn segments(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("spill")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "frames"));
        paths.sort();
        paths
    }
}

#[tokio::test]
async fn what_does_not_fit_into_memory_goes_to_disk_and_comes_back_in_order() {
    let spilling = Spilling::new(8 << 20);
    spilling.fill(0..3000).await;
    assert!(spilling.buffer.size().0 <= 64 << 10);
    assert!(spilling.metrics.buffer_spilled_frames.get() > 1000);
    assert!(!spilling.segments().is_empty());
    assert_eq!(spilling.buffer.size().1, 3000);
    let all = drain(&spilling.buffer, 100).await;
    assert_eq!(sequences(&all), (0..3000).collect::<Vec<_>>());
    assert_eq!(all.iter().map(|frame| frame.content.samples[0].cpu_us.unwrap()).collect::<Vec<_>>(), sequences(&all));
    assert_eq!(spilling.metrics.buffer_dropped_frames.get(), 0);
    assert_eq!((spilling.buffer.size(), spilling.segments().len()), ((0, 0), 0));
}

#[tokio::test]
async fn a_request_from_memory_that_fails_while_younger_frames_go_to_disk_stays_first() {
    let spilling = Spilling::new(8 << 20);
    spilling.fill(0..50).await;
    assert_eq!(take(&spilling.buffer, 50).await.len(), 50);
    spilling.fill(50..1500).await;
    spilling.buffer.release();
    spilling.fill(1500..1600).await;
    let all = drain(&spilling.buffer, 7).await;
    assert_eq!(sequences(&all), (0..1600).collect::<Vec<_>>());
}

#[tokio::test]
async fn beyond_the_limit_of_the_disk_the_oldest_are_dropped_counted_and_told() {
    let spilling = Spilling::new(1 << 20);
    spilling.fill(0..12_000).await;
    let dropped = spilling.metrics.buffer_dropped_frames.get();
    assert!(dropped > 1000, "{dropped}");
    let on_disk: u64 = spilling.segments().iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!((900 << 10..=1 << 20).contains(&on_disk), "{on_disk}");
    let all = drain(&spilling.buffer, 100).await;
    assert_eq!(sequences(&all), (dropped..12_000).collect::<Vec<_>>());
    assert_eq!(all[0].first_retained, dropped);
}

#[tokio::test]
async fn frames_of_an_earlier_boot_are_shipped_first_and_what_is_left_at_the_end_is_among_them() {
    let spilling = Spilling::new(8 << 20);
    spilling.fill(0..50).await;
    take(&spilling.buffer, 20).await;
    spilling.fill(50..1000).await;
    // Under way, unanswered, and older than what is on disk.
    assert!(spilling.buffer.spill_rest().await);
    let spilling = spilling.restart(8 << 20).await;
    spilling.fill(0..700).await;
    let all = drain(&spilling.buffer, 64).await;
    let (before, after) = all.split_at(1000);
    assert_eq!(sequences(before), (0..1000).collect::<Vec<_>>());
    assert_eq!(sequences(after), (0..700).collect::<Vec<_>>());
    assert!(before.iter().all(|frame| frame.boot == before[0].boot && frame.boot != after[0].boot));
}

#[tokio::test]
async fn a_torn_end_is_cut_and_counted_and_a_damaged_frame_costs_itself() {
    let spilling = Spilling::new(8 << 20);
    spilling.fill(0..1000).await;
    assert!(spilling.buffer.spill_rest().await);
    let first = spilling.segments()[0].clone();
    let mut bytes = std::fs::read(&first).unwrap();
    bytes.truncate(bytes.len() - 5);
    // The second frame: its body, behind the first's header and body.
    let second = forebay_shared::frame::Header::read(&bytes).unwrap().len;
    bytes[second + HEADER_LEN + 2] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let frames = spilling.segments().len();
    let spilling = spilling.restart(8 << 20).await;
    let all = drain(&spilling.buffer, 64).await;
    let cut: Vec<u64> = (0..1000).filter(|n| !sequences(&all).contains(n)).collect();
    assert_eq!((cut.len(), cut[0]), (2, 1), "{cut:?} of {frames} segments");
    assert!(all[0].sequence == 0 && all[1].first_retained == 2, "the gap is told");
    assert!(spilling.metrics.buffer_spill_torn_segments.get() >= 2);
    assert_eq!(spilling.metrics.buffer_dropped_frames.get(), 1, "the torn one was never whole");
}

#[tokio::test]
async fn a_directory_of_anything_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let spill = dir.path().join("spill");
    std::fs::create_dir(&spill).unwrap();
    for (name, bytes) in [
        ("0000000100000000.frames", &b""[..]),
        ("0000000100000001.frames", &[0; 500]),
        ("0000000100000002.frames", b"FBAY"),
        ("ffffffffffffffff.frames", b"FBAY"),
        ("x.frames", b"x"),
        ("else", b"x"),
    ] {
        std::fs::write(spill.join(name), bytes).unwrap();
    }
    std::fs::create_dir(spill.join("0000000100000003.frames")).unwrap();
    let spilling = Spilling::start(dir, 1 << 20);
    spilling.fill(0..500).await;
    assert_eq!(sequences(&drain(&spilling.buffer, 64).await), (0..500).collect::<Vec<_>>());
    assert!(spilling.dir.path().join("spill/else").exists(), "what is not ours stays");
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_the_spill_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spill"), "a file where the directory should be").unwrap();
    let spilling = Spilling::start(dir, 1 << 20);
    for n in 0..3000 {
        fill(&spilling.buffer, n..n + 1);
        tokio::task::yield_now().await;
    }
    let counted = async {
        while spilling.metrics.buffer_spill_errors.get() == 0 {
            fill(&spilling.buffer, 3000..3001);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), counted).await.unwrap();
    let left = drain(&spilling.buffer, 64).await;
    let dropped = spilling.metrics.buffer_dropped_frames.get();
    assert_eq!(left.len() as u64 + dropped, left.last().unwrap().sequence + 1, "each one is shipped or counted");
    fill(&spilling.buffer, 0..1);
    assert!(!spilling.buffer.spill_rest().await);
}

#[tokio::test]
async fn a_directory_that_another_agent_uses_is_left_alone() {
    let first = Spilling::new(8 << 20);
    first.fill(0..1000).await;
    let (_, metrics) = Metrics::new();
    let place = Place { directory: first.dir.path().join("spill"), limit: Size(1 << 20) };
    let second = Buffer::with_spill(Size(64 << 10), Some(place), metrics.clone()).unwrap();
    fill(&second, 0..10);
    assert_eq!(drain(&second, 64).await.len(), 10, "only its own");
    assert!(metrics.buffer_spill_errors.get() > 0);
    assert_eq!(drain(&first.buffer, 64).await.len(), 1000);
}
