//! The source: puts the workload's batches into the pipeline, as they came but faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::path::Hop;
use super::workload::{Part, Workload};

/// A replay under way.
#[derive(Clone)]
pub(super) struct Replay {
    put: Arc<AtomicU64>,
    seconds: Arc<AtomicU64>,
    stop: CancellationToken,
    ended: CancellationToken,
    length: u64,
}

impl Replay {
    /// Replays a part `speed` times faster than life, over its end and on if `endless`.
    pub(super) fn start(workload: Workload, part: Part, speed: f64, endless: bool, entry: Hop) -> Self {
        let length = workload.length(part).as_secs();
        let replay = Self {
            put: Arc::default(),
            seconds: Arc::default(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            length,
        };
        let last = if endless { u64::MAX } else { length };
        tokio::spawn(replay.clone().run(workload, part, speed, last, entry));
        replay
    }

    async fn run(self, workload: Workload, part: Part, speed: f64, last: u64, entry: Hop) {
        let start = Instant::now();
        let _ended = self.ended.clone().drop_guard();
        for index in 0..last {
            self.seconds.store(index, Ordering::Relaxed);
            let Some(due) = workload.due(part, index) else { continue };
            let is_due = sleep_until(start + due.after.div_f64(speed));
            if self.stop.run_until_cancelled(is_due).await.is_none() {
                return;
            }
            // Counted first: from here on the batch may be anywhere.
            self.put.fetch_add(1, Ordering::Relaxed);
            entry.put(index, due.bytes).await;
        }
    }

    /// Puts no more batches; the last one has been put when this comes back.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Batches put.
    pub(super) fn put(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }

    /// Seconds of the trace replayed.
    pub(super) fn seconds(&self) -> u64 {
        self.seconds.load(Ordering::Relaxed)
    }

    /// How often the part's end was reached and it started again.
    pub(super) fn wraps(&self) -> u64 {
        self.seconds() / self.length
    }
}
