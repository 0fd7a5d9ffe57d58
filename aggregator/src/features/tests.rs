//! Of rows: what lands where, and what is not known.

use super::*;
use forebay_shared::{Backlog, Bytes, Compression, DataCharacteristics, DataComplexity, DataType, DataVolume, Outcome};

const STEP: Duration = Duration::from_secs(10);

fn sample(at_ms: u64, interval_ms: u32, cpu_us: u64) -> ResourceSample {
    ResourceSample {
        at: Timestamp(at_ms),
        interval_ms,
        cpu_us: Some(cpu_us),
        memory: Some(Bytes(1000)),
        backlog: Some(Backlog::default()),
        ..ResourceSample::default()
    }
}

fn arrival(batch_id: u64, at_ms: u64, mib: u64) -> BatchArrival {
    BatchArrival {
        batch_id,
        arrived_at: Timestamp(at_ms),
        characteristics: DataCharacteristics {
            data_volume: DataVolume { bytes: mib << 20, ..DataVolume::default() },
            data_complexity: DataComplexity { score: 1.0, ..DataComplexity::default() },
            data_type: DataType::Json,
            compression: Compression::None,
            estimated: false,
        },
    }
}

fn finished(batch_id: u64, from: u64, to: u64) -> BatchProgress {
    BatchProgress {
        batch_id,
        started_at: Some(Timestamp(from)),
        finished_at: Some(Timestamp(to)),
        outcome: Outcome::Ok,
    }
}

fn samples(samples: Vec<ResourceSample>) -> Content {
    Content { samples, ..Content::default() }
}

#[test]
fn a_sample_across_two_steps_counts_in_both_by_its_share() {
    let mut series = Series::new(STEP);
    series.observe(
        "a",
        BootId(1),
        &samples(vec![sample(10_000, 10_000, 1_000_000), sample(22_000, 12_000, 6_000_000)]),
    );
    assert_eq!(series.row(0).unwrap().usage(10_000), Some(0.1));
    assert_eq!(series.row(1).unwrap().usage(10_000), Some(0.5));
    // Two seconds of the third step are known: its rate is over those.
    assert_eq!(series.row(2).unwrap().usage(10_000), Some(0.5));
    assert_eq!(series.row(1).unwrap().memory(10_000), Some(1000.0));
    assert_eq!(series.row(1).unwrap().io(10_000), None, "what no sample told is absent, not zero");
}

#[test]
fn usage_and_memory_add_over_pods_and_order_does_not_matter() {
    let waiting = |waiting| Some(Backlog { waiting, ..Backlog::default() });
    let second = |cpu, batches| ResourceSample { backlog: waiting(batches), ..sample(20_000, 10_000, cpu) };
    let a = samples(vec![sample(10_000, 10_000, 1_000_000), second(2_000_000, 5)]);
    let b = samples(vec![second(3_000_000, 3)]);
    let (mut one, mut other) = (Series::new(STEP), Series::new(STEP));
    one.observe("a", BootId(1), &a);
    one.observe("b", BootId(2), &b);
    other.observe("b", BootId(2), &b);
    other.observe("a", BootId(1), &a);
    for series in [one, other] {
        assert_eq!(series.row(1).unwrap().usage(10_000), Some(0.5));
        assert_eq!(series.row(1).unwrap().memory(10_000), Some(2000.0));
        assert_eq!(series.row(0).unwrap().usage(10_000), Some(0.1));
        assert_eq!(series.row(1).unwrap().waiting(10_000), Some(8.0));
    }
}

/// A component of 0.5 CPU-seconds a MiB, whose batches wait: usage lags, demand must not.
fn worked(rows: u64) -> Series {
    let mut series = Series::new(STEP);
    for row in 0..rows {
        let start = row * 10_000;
        let mib = 1 + row % 4;
        let content = Content {
            samples: vec![sample(start + 10_000, 10_000, mib * 500_000)],
            arrivals: vec![arrival(row, start, mib)],
            progress: vec![finished(row, start, start + 8000)],
            ..Content::default()
        };
        series.observe("a", BootId(1), &content);
    }
    series.settle(Timestamp(rows * 10_000));
    series
}

#[test]
fn demand_is_the_work_that_arrived_even_where_none_was_done() {
    let mut series = worked(40);
    let cost = series.cost().unwrap();
    assert!((cost.of(1.0, 3.0) - 1.5).abs() < 0.05, "{cost:?}");
    // A stall: eight MiB arrive, no CPU is used.
    let stall = Content {
        samples: vec![sample(410_000, 10_000, 0)],
        arrivals: vec![arrival(100, 401_000, 8)],
        ..Content::default()
    };
    series.observe("a", BootId(1), &stall);
    assert_eq!(series.row(40).unwrap().usage(10_000), Some(0.0));
    assert!((series.demand(40).unwrap() - 0.4).abs() < 0.02, "{:?}", series.demand(40));
}

#[test]
fn a_dataset_fills_gaps_in_inputs_but_never_in_targets() {
    let mut series = worked(40);
    series.observe("a", BootId(1), &samples(vec![sample(430_000, 10_000, 500_000)]));
    let data = Dataset::build(&series, &[], 38..43);
    assert!(data.targets[2][0].is_nan() && data.targets[3][0].is_nan());
    assert_eq!(data.inputs[2][0], data.inputs[1][0]);
    assert!(data.inputs.iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn a_step_without_news_is_a_gap_and_not_a_step_without_arrivals() {
    let mut series = worked(40);
    series.observe("a", BootId(1), &samples(vec![sample(430_000, 10_000, 500_000)]));
    assert_eq!(series.known_rows(), 41, "rows 40 and 41 are a gap");
    assert_eq!((series.row(41).unwrap().arrival_rate(10_000), series.demand(41)), (None, None));
    let data = Dataset::build(&series, &[&series], 38..43);
    for channel in [4, 5] {
        assert_eq!(data.inputs[2][channel], data.inputs[1][channel], "the last known");
    }
    assert_eq!(data.inputs[4][4], 0.0, "nothing arrived, and that is known");
}

#[test]
fn arrivals_of_a_step_that_is_half_known_stand_for_the_whole() {
    let mut series = Series::new(STEP);
    let content = Content {
        samples: vec![sample(5000, 5000, 1_000_000)],
        arrivals: vec![arrival(1, 1000, 1), arrival(2, 2000, 1)],
        ..Content::default()
    };
    series.observe("a", BootId(1), &content);
    assert_eq!(series.row(0).unwrap().arrival_rate(10_000), Some(0.4));
    // A moment stands for no more than a fourth of the step.
    let moment = Content { samples: vec![sample(10_010, 10, 1000)], arrivals: vec![arrival(3, 10_005, 1)], ..content };
    series.observe("a", BootId(1), &moment);
    assert_eq!(series.row(1).unwrap().arrival_rate(10_000), Some(0.4));
}

#[test]
fn rows_that_leave_memory_are_known_no_more() {
    let mut series = Series::new(STEP);
    for row in 1..=2 * RETAINED_ROWS as u64 {
        series.observe("a", BootId(1), &samples(vec![sample(row * 10_000 - 1, 10_000, 1)]));
    }
    assert_eq!(series.known_rows(), RETAINED_ROWS);
    series.observe("a", BootId(1), &samples(vec![sample(1 << 50, 1000, 1)]));
    assert_eq!(series.known_rows(), 1);
}

#[test]
fn a_batch_that_never_ends_does_not_hold_those_after_it_in_memory() {
    let mut series = Series::new(STEP);
    series.observe("a", BootId(1), &Content { arrivals: vec![arrival(0, 1000, 1)], ..Content::default() });
    for id in 1..10_000 {
        let content = Content {
            arrivals: vec![arrival(id, 1000, 1)],
            progress: vec![finished(id, 1000, 2000)],
            ..Content::default()
        };
        series.observe("a", BootId(1), &content);
    }
    assert!(series.open.len() == 1 && series.order.len() <= ORDER_SLACK + 3, "{}", series.order.len());
}

#[test]
fn memory_is_bounded_however_wild_the_times_are() {
    let mut series = Series::new(STEP);
    for at in [5, u64::MAX / 2, 7, 1 << 50, u64::MAX - 1] {
        series.observe("a", BootId(1), &samples(vec![sample(at, u32::MAX, 1)]));
    }
    assert!(series.rows.len() <= RETAINED_ROWS);
}

#[test]
fn a_clock_that_was_ahead_and_came_back_leaves_the_place_to_what_follows() {
    for ahead in [3_600_000, 100 * 86_400_000] {
        let mut series = worked(40);
        series.observe("a", BootId(1), &samples(vec![sample(400_000 + ahead, 10_000, 1)]));
        series.settle(Timestamp(410_000));
        series.observe("a", BootId(1), &samples(vec![sample(420_000, 10_000, 5_000_000)]));
        series.settle(Timestamp(430_000));
        assert_eq!(series.row(41).and_then(|row| row.usage(10_000)), Some(0.5), "{ahead}");
        assert_eq!(series.heard_at(), Some(Timestamp(420_000)));
        assert!(series.backlog(Timestamp(415_000)).is_some(), "of the sample that came last");
        assert!(series.extent().end <= 56, "{:?}", series.extent());
    }
}
