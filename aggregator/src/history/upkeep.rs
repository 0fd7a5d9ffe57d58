//! What the history does for itself: compaction, retention, and telling how it is.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use forebay_shared::Timestamp;

use super::compact::{self, Job};
use super::retention::{self, Stage};
use super::{History, HistoryError};

impl History {
    /// Why nothing can be stored now, in words; `None` if it can. What is stored can be read all the same.
    pub fn trouble(&self) -> Option<String> {
        self.0.writer.trouble()
    }

    /// Puts rows into columns, and gives up what is too old or too much. To be called every few seconds.
    ///
    /// # Errors
    /// The disk's: what was done until then stays done.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), HistoryError> {
        self.compact(now).await?;
        self.prune(now).await
    }

    /// Gives up what is older than [`Keep`](super::Keep) says, and the oldest if it is too much. At most once a minute
    /// of the given clock; more calls do nothing.
    ///
    /// # Errors
    /// The disk's.
    pub async fn prune(&self, now: Timestamp) -> Result<(), HistoryError> {
        {
            let mut pruned_at = self.0.pruned_at.lock().unwrap_or_else(PoisonError::into_inner);
            // A clock that was set back starts anew.
            if pruned_at.is_some_and(|at| now >= at && now.since(at) < retention::INTERVAL) {
                return Ok(());
            }
            *pruned_at = Some(now);
        }
        let keep = self.0.keep;
        // First, so that no watermark goes before its frames are known to be too old. Never back: a watermark may be gone.
        self.0.oldest.fetch_max(now.minus(keep.raw).0, Ordering::Relaxed);
        let mut stage = Stage::Blocks;
        while stage != Stage::Done {
            stage = self.0.writer.write(move |connection| retention::prune(connection, now, keep, stage)).await?;
        }
        Ok(())
    }

    /// Puts rows that are minutes old into columns, and the blocks of an hour that is over into one, with its roll-ups.
    ///
    /// # Errors
    /// The disk's.
    pub async fn compact(&self, now: Timestamp) -> Result<(), HistoryError> {
        let jobs = self.jobs(now).await?;
        // What is gathered now may be of an hour that is over.
        let gathers = jobs.iter().any(|job| matches!(job, Job::Gather { .. }));
        self.work(now, jobs).await?;
        if gathers {
            self.work(now, self.jobs(now).await?).await?;
        }
        Ok(())
    }

    async fn jobs(&self, now: Timestamp) -> Result<Vec<Job>, HistoryError> {
        let history = self.clone();
        blocking(move || {
            let gathered = history.0.gathered.lock().unwrap_or_else(PoisonError::into_inner).clone();
            history.0.readers.read(|connection| compact::jobs(connection, now, &gathered))
        })
        .await
    }

    async fn work(&self, now: Timestamp, jobs: Vec<Job>) -> Result<(), HistoryError> {
        for job in jobs {
            while self.step(job).await? {}
            if let Job::Gather { component_id, .. } = job {
                self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner).insert(component_id, now);
            }
        }
        Ok(())
    }

    /// One transaction of a job; true if there is more of it.
    async fn step(&self, job: Job) -> Result<bool, HistoryError> {
        let (history, oldest) = (self.clone(), Timestamp(self.0.oldest.load(Ordering::Relaxed)));
        let build = move || history.0.readers.read(|connection| compact::build(connection, job, oldest));
        let built = blocking(build).await?;
        let of = match job {
            Job::Gather { component_id, .. } | Job::Merge { component_id, .. } => component_id,
        };
        built.damaged.iter().for_each(|damage| self.report(&format_args!("component {of}"), damage));
        if built.is_empty() {
            return Ok(false);
        }
        let (rows, more) = (built.rows(), built.more);
        if self.0.writer.write(move |connection| built.apply(connection)).await? {
            self.0.metrics.compactions.inc();
            self.0.metrics.compacted_rows.inc_by(rows as u64);
            return Ok(more);
        }
        // Pruned meanwhile: the next call looks again.
        Ok(false)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, HistoryError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| HistoryError::Closed)?
}
