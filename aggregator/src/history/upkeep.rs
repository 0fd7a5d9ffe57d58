//! What the history does for itself: compaction, retention, and telling how it is.
//!
//! A step that fails is told, and rests for a while; the others go on.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_shared::Timestamp;

use super::compact::{self, Job};
use super::retention::{self, Stage};
use super::{History, HistoryError};

/// How long a step that failed rests.
const REST: Duration = Duration::from_secs(600);

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
        let compacted = self.compact(now).await;
        // What is too old goes all the same, but for what still has to be compacted.
        let pruned = self.prune(now).await;
        compacted.and(pruned)
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
        // First, so that no watermark goes before its frames are known to be too old.
        let oldest = |before| Some(retention::horizon(before, now, keep));
        let _ = self.0.oldest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, oldest);
        let mut stage = Stage::Blocks;
        while stage != Stage::Done {
            let prune = move |connection: &rusqlite::Connection| retention::prune(connection, now, keep, stage);
            stage = match self.0.writer.write(prune).await {
                Ok(next) => next,
                Err(error) => {
                    self.isolate(&stage, error)?;
                    stage.beyond()
                }
            };
        }
        Ok(())
    }

    /// What fails for itself is told, and leaves the others to be done.
    fn isolate(&self, step: &dyn std::fmt::Debug, error: HistoryError) -> Result<(), HistoryError> {
        if matches!(error, HistoryError::Full { .. } | HistoryError::Closed) {
            return Err(error);
        }
        self.0.metrics.failed_steps.inc();
        tracing::error!(?step, %error, "a step of the history's upkeep failed: the others go on");
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
        let look = move || {
            let gathered = history.0.gathered.lock().unwrap_or_else(PoisonError::into_inner).clone();
            history.0.readers.read(|connection| compact::jobs(connection, now, &gathered))
        };
        self.blocking(look).await
    }

    async fn work(&self, now: Timestamp, jobs: Vec<Job>) -> Result<(), HistoryError> {
        for job in jobs {
            if self.rests(job, now) {
                continue;
            }
            let done = loop {
                match self.step(job).await {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            if let Err(error) = done {
                self.isolate(&job, error)?;
                self.0.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(job.place(), now);
            }
            if let Job::Gather { component_id, .. } = job {
                self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner).insert(component_id, now);
            }
        }
        Ok(())
    }

    fn rests(&self, job: Job, now: Timestamp) -> bool {
        let mut resting = self.0.resting.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back starts anew.
        resting.retain(|_, since| now >= *since && now.since(*since) < REST);
        resting.contains_key(&job.place())
    }

    /// One transaction of a job; true if there is more of it.
    async fn step(&self, job: Job) -> Result<bool, HistoryError> {
        let history = self.clone();
        let build = move || history.0.readers.read(|connection| compact::build(connection, job));
        let built = self.blocking(build).await?;
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
        // Pruned meanwhile, or compacted by another process: the next call looks again.
        Ok(false)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let ended = tokio::task::spawn_blocking(work).await;
        ended.map_err(|error| match error.is_panic() {
            true => HistoryError::Failed { path: self.0.path.clone(), detail: "reading it panicked".into() },
            false => HistoryError::Closed,
        })?
    }
}
