//! Of sums by step: what is counted, what is absent, and what memory it takes.

use super::*;
use forebay_shared::{Backlog, Bytes, Content, Timestamp};

fn frame(samples: Vec<ResourceSample>) -> StoredContent {
    StoredContent {
        pod_uid: "uid".into(),
        pod: "pod".into(),
        boot: BootId(1),
        sequence: 0,
        content: Content { samples, ..Content::default() },
    }
}

fn sample(at: u64, cpu_us: u64, memory: u64) -> ResourceSample {
    ResourceSample {
        at: Timestamp(at),
        interval_ms: 1000,
        cpu_us: Some(cpu_us),
        memory: Some(Bytes(memory)),
        ..ResourceSample::default()
    }
}

/// 900 s of CPU that climbs by 1 ms a second, from 0.
fn ramp() -> Cells {
    let mut cells = Cells::new(1000);
    cells.add(&frame((0..900).map(|at| sample((at + 1) * 1000, at * 1000, 5 << 20)).collect()));
    cells
}

#[test]
fn a_minute_knows_its_mean_its_most_and_its_quantile() {
    let minutes = ramp().roll(60_000);
    assert_eq!(minutes.len(), 15);
    let second = &minutes[&1];
    let near = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-9;
    assert!(near(second.sums.mean(Metric::Cpu, 60_000), 0.0895), "{second:?}");
    assert!(near(second.peaks.max[0], 0.119) && near(second.peaks.p95[0], 0.116), "{second:?}");
    assert!(near(second.sums.total(Metric::Cpu), 5.37));
    assert!(near(second.sums.mean(Metric::Memory, 60_000), f64::from(5 << 20)));
    assert_eq!(second.sums.mean(Metric::Waiting, 60_000), None, "nothing told of it");
}

#[test]
fn two_pods_add_up_before_the_most_is_taken() {
    let mut cells = Cells::new(1000);
    for offset in [0, 500] {
        cells.add(&frame((0..60).map(|at| sample((at + 1) * 1000 + offset, 250_000, 1 << 20)).collect()));
    }
    let minute = &cells.roll(60_000)[&0];
    assert!((minute.peaks.max[0].unwrap() - 0.5).abs() < 1e-9, "{minute:?}");
    assert!((minute.sums.mean(Metric::Memory, 60_000).unwrap() - f64::from(2 << 20)).abs() < 20_000.0, "{minute:?}");
}

#[test]
fn what_is_packed_reads_back_rounded() {
    let mut cells = ramp();
    let backlog = Backlog { waiting: 3, waiting_bytes: 4096, oldest_wait_ms: 120, in_service: 1 };
    cells.add(&frame(vec![ResourceSample { backlog: Some(backlog), ..sample(30_000, 1, 7) }]));
    for (step_ms, peaks) in [(15_000, false), (60_000, true), (900_000, true)] {
        let rows = cells.roll(step_ms);
        let data = pack(&rows, step_ms, peaks).unwrap();
        let read = unpack(&data, rows.len(), step_ms, peaks).unwrap();
        for ((index, row), (expected_index, expected)) in read.iter().zip(&rows) {
            assert_eq!(index, expected_index);
            for metric in Metric::ALL {
                let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
                    (None, None) => true,
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * b.abs() + 1e-3,
                    _ => false,
                };
                assert!(
                    close(row.sums.mean(metric, step_ms), expected.sums.mean(metric, step_ms)),
                    "{metric:?} {row:?}"
                );
                if peaks {
                    let at = metric as usize;
                    assert!(
                        close(row.peaks.p95[at], expected.peaks.p95[at])
                            && close(row.peaks.max[at], expected.peaks.max[at])
                    );
                }
            }
            assert_eq!(row.sums.oldest_wait_ms, expected.sums.oldest_wait_ms);
        }
        assert_eq!(read.len(), rows.len());
        // Of one row, every column is one value for all.
        assert_eq!(unpack(&data, rows.len() + 1, step_ms, peaks).is_err(), rows.len() > 1);
    }
}

#[test]
fn a_stretch_of_nonsense_takes_no_memory() {
    let mut cells = Cells::new(1000);
    let wild = ResourceSample { interval_ms: u32::MAX, ..sample(u64::MAX, u64::MAX, u64::MAX) };
    cells.add(&frame(vec![wild]));
    assert!(cells.cells.len() <= 1);
    // Hours that lie years apart: some count, and none takes more memory than there is.
    let hours = (1..100).map(|at| ResourceSample { interval_ms: LONGEST_MS, ..sample(at << 35, 1, 1) });
    cells.add(&frame(hours.collect()));
    assert_eq!(cells.cells.len(), CELLS);
    assert!(cells.left_out() > 0);
}

#[test]
fn a_batch_of_a_day_counts_once_in_its_last_hour() {
    let mut cells = Cells::new(1000);
    let mut long = frame(Vec::new());
    let mut arrival = crate::history::fields::empty_arrival();
    (arrival.batch_id, arrival.arrived_at) = (3, Timestamp(0));
    let mut progress = crate::history::fields::empty_progress();
    (progress.batch_id, progress.finished_at) = (3, Some(Timestamp(86_400_000)));
    (long.content.arrivals, long.content.progress) = (vec![arrival], vec![progress]);
    cells.add(&long);
    assert_eq!(cells.cells.len(), 3601, "with that of its arrival");
    let served: f64 = cells.roll(60_000).values().filter_map(|row| row.sums.sum(Metric::Served)).sum();
    assert!((served - 1.0).abs() < 1e-9, "{served}");
}

#[test]
fn steps_taken_out_on_the_way_are_those_of_the_whole() {
    let (whole, mut parts) = (ramp(), ramp());
    let mut steps = parts.take_before(60_000, 200_000);
    assert_eq!((steps.len(), parts.cells.len()), (3, 720));
    steps.extend(parts.roll(60_000));
    assert_eq!(steps, whole.roll(60_000));
}

#[test]
fn a_gap_in_a_step_is_absent_from_its_means_and_kills_that_nobody_counts_are_none() {
    let backlog = Some(Backlog::default());
    let mut cells = Cells::new(1000);
    let samples = (1..=5).map(|at| ResourceSample { backlog, ..sample(at * 1000, 500_000, 1) });
    let mut part = frame(samples.collect());
    part.content.arrivals = vec![crate::history::fields::empty_arrival(); 10];
    cells.add(&part);
    let step = &cells.roll(15_000)[&0];
    let told = [Metric::Cpu, Metric::Arrivals].map(|metric| step.sums.mean(metric, 15_000).unwrap());
    assert_eq!(told, [0.5, 2.0], "five seconds of fifteen are known");
    assert_eq!(step.sums.oom_kills, None);
    let data = pack(&[(0, *step)].into(), 15_000, false).unwrap();
    assert_eq!(unpack(&data, 1, 15_000, false).unwrap()[0].1.sums.oom_kills, None);
}
