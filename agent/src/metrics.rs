//! The agent's own metrics, `forebay_<stage>_<what>_<unit>_total`. Every drop, retry and failure has a counter here.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// One label: its name and value.
pub(crate) type Label = [(&'static str, &'static str); 1];

/// Shared by the stages; a clone counts into the same metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) sampler_samples: Counter,
    pub(crate) sampler_failures: Counter,
    pub(crate) sampler_duration: Histogram,
    pub(crate) sampler_source: Family<Label, Gauge>,
    pub(crate) tap_batches: Family<Label, Counter>,
    pub(crate) tap_bytes: Counter,
    pub(crate) tap_uninspected_batches: Counter,
    pub(crate) tap_sampled_batches: Counter,
    pub(crate) tap_connections: Gauge,
    pub(crate) tap_refused_connections: Counter,
    pub(crate) tap_target_errors: Family<Label, Counter>,
    pub(crate) tap_retries: Counter,
    pub(crate) tap_evicted_batches: Counter,
    pub(crate) tap_expired_batches: Counter,
    pub(crate) tap_refused_batches: Counter,
    pub(crate) tap_inspection_panics: Counter,
    pub(crate) tap_open_batches: Gauge,
    pub(crate) tap_dir_scans: Family<Label, Counter>,
    pub(crate) tap_dir_unreadable_files: Counter,
    pub(crate) tap_dir_vanished_files: Counter,
    pub(crate) tap_dir_state_failures: Counter,
    pub(crate) backlog_reads: Counter,
    pub(crate) backlog_failures: Family<Label, Counter>,
    pub(crate) buffer_dropped_frames: Counter,
    pub(crate) buffer_bytes: Gauge,
    pub(crate) buffer_frames: Gauge,
    pub(crate) buffer_spilled_frames: Counter,
    pub(crate) buffer_spill_errors: Counter,
    pub(crate) buffer_spill_torn_segments: Counter,
    pub(crate) buffer_spill_bytes: Gauge,
    pub(crate) buffer_spill_frames: Gauge,
    pub(crate) shipper_frames: Counter,
    pub(crate) shipper_duplicate_frames: Counter,
    pub(crate) shipper_refused_frames: Counter,
    pub(crate) shipper_early_frames: Counter,
    pub(crate) shipper_too_old_frames: Counter,
    pub(crate) shipper_bytes: Counter,
    pub(crate) shipper_backlog_bytes: Counter,
    pub(crate) shipper_connections: Counter,
    pub(crate) shipper_stale_connections: Counter,
    pub(crate) shipper_errors: Family<Label, Counter>,
    pub(crate) process_resident_memory: Gauge,
}

impl Metrics {
    /// The metrics, and the registry that `/metrics` encodes.
    pub(crate) fn new() -> (Registry, Self) {
        let mut registry = Registry::with_prefix("forebay");
        let metrics = Self::register(&mut registry);
        (registry, metrics)
    }

    fn register(registry: &mut Registry) -> Self {
        // Close to the 100 µs that a sample should take at most.
        let micros = [20, 40, 60, 70, 80, 90, 100, 120, 150, 200, 300, 500, 1000, 5000, 40_000];
        let buckets = micros.into_iter().map(|micros| f64::from(micros) / 1e6);
        Self {
            sampler_samples: add(registry, "sampler_samples", "Samples taken"),
            sampler_failures: add(registry, "sampler_failures", "Times that nothing could be sampled"),
            sampler_duration: with(
                registry,
                "sampler_duration_seconds",
                "Time to take a sample",
                Histogram::new(buckets),
            ),
            sampler_source: add(registry, "sampler_source_info", "How samples are taken; `none` where they are not"),
            tap_batches: add(registry, "tap_batches", "Batches that arrived, by type"),
            tap_bytes: add(registry, "tap_bytes", "Bytes of the batches that arrived"),
            tap_uninspected_batches: add(
                registry,
                "tap_uninspected_batches",
                "Batches recorded by volume alone, since inspection did not keep up",
            ),
            tap_sampled_batches: add(
                registry,
                "tap_sampled_batches",
                "Batches of which less was looked at than the budget allows, since inspection did not keep up",
            ),
            tap_connections: add(registry, "tap_connections", "Connections through the inline taps"),
            tap_refused_connections: add(
                registry,
                "tap_refused_connections",
                "Connections to the inline taps that were refused, since there were too many",
            ),
            tap_target_errors: add(
                registry,
                "tap_target_errors",
                "Failures to reach an inline tap's target, by reason",
            ),
            tap_retries: add(registry, "tap_retries", "Requests sent again, since a kept connection had been closed"),
            tap_expired_batches: add(registry, "tap_expired_batches", "Open batches forgotten, their end never told"),
            tap_evicted_batches: add(registry, "tap_evicted_batches", "Open batches given up for newer ones"),
            tap_refused_batches: add(registry, "tap_refused_batches", "Batches cut short, too slow or too long"),
            tap_inspection_panics: add(registry, "tap_inspection_panics", "Panics caught in inspection"),
            tap_open_batches: add(registry, "tap_open_batches", "Batches that have not finished"),
            tap_dir_scans: add(registry, "tap_dir_scans", "Times that a directory was looked through, by reason"),
            tap_dir_unreadable_files: add(registry, "tap_dir_unreadable_files", "Files that could not be read"),
            tap_dir_vanished_files: add(
                registry,
                "tap_dir_vanished_files",
                "Files that were gone before anything of them was known",
            ),
            tap_dir_state_failures: add(
                registry,
                "tap_dir_state_failures",
                "Times that the state of a directory could not be read or written",
            ),
            backlog_reads: add(registry, "backlog_reads", "Times that the metric of the backlog was read"),
            backlog_failures: add(registry, "backlog_failures", "Times that it could not be read, by reason"),
            buffer_dropped_frames: add(
                registry,
                "buffer_dropped_frames",
                "Frames given up since the buffer or its spill was full, or the spill damaged",
            ),
            buffer_bytes: add(registry, "buffer_bytes", "Bytes held in memory for the aggregator"),
            buffer_frames: add(registry, "buffer_frames", "Frames held for the aggregator, in memory and on disk"),
            buffer_spilled_frames: add(registry, "buffer_spilled_frames", "Frames written to the spill"),
            buffer_spill_errors: add(registry, "buffer_spill_errors", "Times that the spill did not work"),
            buffer_spill_torn_segments: add(
                registry,
                "buffer_spill_torn_segments",
                "Segments of the spill that were damaged, and cut",
            ),
            buffer_spill_bytes: add(registry, "buffer_spill_bytes", "Bytes of the spill"),
            buffer_spill_frames: add(registry, "buffer_spill_frames", "Frames of the spill"),
            shipper_frames: add(registry, "shipper_frames", "Frames acknowledged"),
            shipper_duplicate_frames: add(registry, "shipper_duplicate_frames", "Of them, frames it had already"),
            shipper_refused_frames: add(registry, "shipper_refused_frames", "Frames given up since they were refused"),
            shipper_too_old_frames: add(
                registry,
                "shipper_too_old_frames",
                "Frames that the aggregator did not store, since they are older than what it keeps",
            ),
            shipper_early_frames: add(
                registry,
                "shipper_early_frames",
                "Frames given up since they lay too far ahead of the aggregator's clock",
            ),
            shipper_bytes: add(registry, "shipper_bytes", "Bytes of the frames acknowledged"),
            shipper_backlog_bytes: add(registry, "shipper_backlog_bytes", "Bytes sent at the rate of backlog"),
            shipper_connections: add(registry, "shipper_connections", "Connections opened to the aggregator"),
            shipper_stale_connections: add(
                registry,
                "shipper_stale_connections",
                "Requests sent anew since the connection had ended",
            ),
            shipper_errors: add(registry, "shipper_errors", "Requests that failed, by reason"),
            process_resident_memory: add(registry, "process_resident_memory_bytes", "Resident memory of the agent"),
        }
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    with(registry, name, help, M::default())
}

fn with<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}
