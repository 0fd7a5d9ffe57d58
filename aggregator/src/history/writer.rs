//! The one thread that writes: group commit.
//!
//! ```text
//! tasks ─► queue ─► [drain] ─► one transaction, a savepoint a task ─► sync ─► an answer to each
//! ```
//!
//! A sync costs milliseconds however much it carries, so everything that waits shares one. A task that fails is
//! rolled back alone; a transaction that fails is answered to all of its tasks, and the next one starts afresh.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::{HistoryError, Metrics};

/// Tasks that wait for the writer: an agent has one request open, so this is a thousand pods that ship at the same
/// moment. How many bytes they hold is bounded where they come in.
pub(super) const QUEUE: usize = 1024;
/// Tasks of one transaction: at some 50 µs a task, what comes last in the queue waits about four syncs.
const GROUP: usize = 256;

/// The queue, and the thread behind it.
pub(super) struct Writer {
    path: PathBuf,
    trouble: Trouble,
    queue: Mutex<Option<mpsc::Sender<Box<dyn Task>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why the disk takes nothing, in words; `None` as long as it does.
type Trouble = Arc<Mutex<Option<String>>>;

impl Writer {
    pub(super) fn start(path: PathBuf, connection: Connection, metrics: Metrics) -> Result<Self, HistoryError> {
        let (queue, tasks) = mpsc::channel(QUEUE);
        let trouble = Trouble::default();
        let thread = Thread { path: path.clone(), connection, tasks, metrics, trouble: trouble.clone() };
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || thread.run())
            .map_err(|error| HistoryError::Path { path: path.clone(), reason: format!("no thread: {error}") })?;
        Ok(Self { path, trouble, queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Does `work` in the next transaction, or is [`HistoryError::Busy`] at once; resolves once it is synced.
    pub(super) async fn try_write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let (task, answer) = task(self.path.clone(), work);
        self.sender()?.try_send(task).map_err(|error| match error {
            TrySendError::Full(_) => HistoryError::Busy,
            TrySendError::Closed(_) => HistoryError::Closed,
        })?;
        answer.await.unwrap_or(Err(HistoryError::Closed))
    }

    /// The same, and waits for its place in the queue.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let (task, answer) = task(self.path.clone(), work);
        let sender = self.sender()?;
        sender.send(task).await.map_err(|_| HistoryError::Closed)?;
        answer.await.unwrap_or(Err(HistoryError::Closed))
    }

    /// Why the last transaction was not taken by the disk, if it was not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes no more, and waits for what was taken.
    pub(super) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(path = %self.path.display(), "the history's writer panicked");
        }
    }

    fn sender(&self) -> Result<mpsc::Sender<Box<dyn Task>>, HistoryError> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(HistoryError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Something to write, and somebody who waits for it.
trait Task: Send {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, outcome: Result<(), HistoryError>);
}

struct Write<T, F> {
    path: PathBuf,
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, HistoryError>>,
}

fn task<T, F>(path: PathBuf, work: F) -> (Box<dyn Task>, oneshot::Receiver<Result<T, HistoryError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Write { path, work: Some(work), done: None, reply }), answer)
}

impl<T: Send, F: FnOnce(&Connection) -> rusqlite::Result<T> + Send> Task for Write<T, F> {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), HistoryError>) {
        let Self { path, done, reply, .. } = *self;
        let lost = || HistoryError::Failed { path, detail: "the write was not run".into() };
        // Nobody may wait any more: what was written is written.
        let _ = reply.send(outcome.and_then(|()| done.ok_or_else(lost)));
    }
}

struct Thread {
    path: PathBuf,
    connection: Connection,
    tasks: mpsc::Receiver<Box<dyn Task>>,
    metrics: Metrics,
    trouble: Trouble,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.tasks.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(task) = self.tasks.try_recv()
            {
                group.push(task);
            }
            let started = Instant::now();
            let outcomes = self.commit(&mut group);
            self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
            self.answer(group, outcomes);
        }
    }

    /// What became of each task, or of all of them.
    fn commit(&mut self, group: &mut [Box<dyn Task>]) -> rusqlite::Result<Vec<rusqlite::Result<()>>> {
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        for task in group {
            let savepoint = transaction.savepoint()?;
            let outcome = task.run(&savepoint);
            match &outcome {
                Ok(()) => savepoint.commit()?,
                Err(_) => drop(savepoint),
            }
            // SQLite may take the whole transaction back, such as on a full disk.
            if transaction.is_autocommit() {
                outcome?;
                return Err(rusqlite::Error::InvalidQuery);
            }
            outcomes.push(outcome);
        }
        transaction.commit()?;
        Ok(outcomes)
    }

    fn answer(&self, group: Vec<Box<dyn Task>>, outcomes: rusqlite::Result<Vec<rusqlite::Result<()>>>) {
        let tasks = group.len();
        let known = self.note(match &outcomes {
            Ok(outcomes) => {
                outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).find(|error| is_of_the_disk(error))
            }
            Err(error) => Some(error),
        });
        match outcomes {
            Ok(outcomes) => {
                for (task, outcome) in group.into_iter().zip(outcomes) {
                    task.answer(outcome.map_err(|error| self.failure(&error, 1, known)));
                }
            }
            Err(error) => {
                let error = self.failure(&error, tasks, known);
                group.into_iter().for_each(|task| task.answer(Err(error.clone())));
            }
        }
    }

    /// Remembers what the disk said last, for those who ask how the history is; true if it said so before.
    fn note(&self, error: Option<&rusqlite::Error>) -> bool {
        let told = error.map(|error| HistoryError::sqlite(&self.path, error).to_string());
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_some() && told.is_none() {
            tracing::info!(path = %self.path.display(), "the history can be written again");
        }
        let known = told.is_some() && *trouble == told;
        *trouble = told;
        known
    }

    /// A disk that takes nothing is told once, not for each that has to come again.
    fn failure(&self, error: &rusqlite::Error, tasks: usize, known: bool) -> HistoryError {
        self.metrics.failed_writes.inc_by(tasks as u64);
        if known && is_of_the_disk(error) {
            tracing::debug!(path = %self.path.display(), tasks, %error, "cannot write the history");
        } else {
            tracing::error!(path = %self.path.display(), tasks, %error, "cannot write the history");
        }
        HistoryError::sqlite(&self.path, error)
    }
}

/// Rather than of the task.
pub(super) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure | ReadOnly | CannotOpen))
}
