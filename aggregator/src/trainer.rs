//! Trainings on a thread of their own: inference never waits for one.

use std::sync::mpsc as std_mpsc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::forecaster::{FitError, Trained, challenge};
use crate::live::Training;

/// One training is under way; the next is not chosen before it has ended, when more is known.
const AHEAD: usize = 1;

/// What a training has come to: a model that won, or `None` if the one in force stays.
pub(crate) struct Outcome {
    /// The training's component.
    pub(crate) component: usize,
    /// Rows that it had.
    pub(crate) rows: usize,
    /// What it gave.
    pub(crate) result: Result<Option<Trained>, FitError>,
}

/// The training thread.
pub(crate) struct Trainer {
    jobs: std_mpsc::SyncSender<Training>,
    outcomes: mpsc::Receiver<Outcome>,
    busy: bool,
}

impl Trainer {
    /// Starts the thread; it ends with the trainer.
    pub(crate) fn spawn() -> anyhow::Result<Self> {
        let (jobs, waiting) = std_mpsc::sync_channel::<Training>(AHEAD);
        let (done, outcomes) = mpsc::channel(AHEAD);
        let work = move || {
            for job in waiting {
                let result = challenge(&job.data, job.settings, job.champion.as_deref());
                let outcome = Outcome { component: job.component, rows: job.data.inputs.len(), result };
                if done.blocking_send(outcome).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("trainer".into()).spawn(work).context("cannot start the training thread")?;
        Ok(Self { jobs, outcomes, busy: false })
    }

    /// Nothing is being trained.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Starts a training.
    pub(crate) fn start(&mut self, training: Training) -> anyhow::Result<()> {
        self.jobs.try_send(training).ok().context("the training thread has ended")?;
        self.busy = true;
        Ok(())
    }

    /// Waits for the training under way. Cancel-safe.
    pub(crate) async fn outcome(&mut self) -> anyhow::Result<Outcome> {
        let outcome = self.outcomes.recv().await.context("the training thread has ended")?;
        self.busy = false;
        Ok(outcome)
    }
}
