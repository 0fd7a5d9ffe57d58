//! Spill: the buffer's continuation on disk, behind a thread of its own.
//!
//! A write to a file may take as long as the disk likes, and the agent's one thread must not wait for it; a thread of
//! the blocking pool would be missed by inspection and by the lookup of names. So the store has its own small thread,
//! which is there only if a spill is asked for, and everyone else waits for its answers, in bounded time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_shared::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::closed::Closed;
use super::store::{Store, Toll};
use crate::metrics::Metrics;

/// One reader and one writer, and a place for each that follows.
const COMMANDS: usize = 4;
/// After a failure nothing is written for so long: a full disk stays full for a while.
const REST: Duration = Duration::from_secs(30);
/// An agent that is just ending gives its directory free in this time.
const HANDOVER: Duration = Duration::from_secs(2);
/// It opens files and moves bytes.
const STACK: usize = 256 << 10;

/// Where, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) limit: Bytes,
}

pub(super) struct Spill {
    commands: mpsc::Sender<Command>,
    standing: Arc<Shown>,
    /// When writing failed last; nothing if it has worked since.
    failed: Mutex<Option<Instant>>,
    /// The thread did not answer: it is not asked again.
    abandoned: AtomicBool,
    metrics: Metrics,
}

/// What waits on the disk, as far as is known.
#[derive(Default)]
struct Shown {
    looked: AtomicBool,
    frames: AtomicU64,
    bytes: AtomicU64,
}

enum Command {
    Append(Vec<Closed>, oneshot::Sender<bool>),
    Prepend(Vec<Closed>, oneshot::Sender<bool>),
    Read { consumed: u64, most: usize, frames: usize, answer: oneshot::Sender<Vec<Closed>> },
}

impl Spill {
    /// Starts the thread, which opens the directory; it is asked for again where that fails.
    pub(super) fn start(place: Place, metrics: Metrics) -> std::io::Result<Self> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let standing = Arc::new(Shown::default());
        let keeper =
            Keeper { place, standing: Arc::clone(&standing), metrics: metrics.clone(), store: None, quiet: false };
        std::thread::Builder::new().name("spill".into()).stack_size(STACK).spawn(move || keeper.run(received))?;
        Ok(Self { commands, standing, failed: Mutex::default(), abandoned: AtomicBool::new(false), metrics })
    }

    /// Something may wait on the disk.
    pub(super) fn holds(&self) -> bool {
        let looked = self.standing.looked.load(Ordering::Acquire);
        !self.abandoned.load(Ordering::Relaxed) && (!looked || self.frames() > 0)
    }

    pub(super) fn frames(&self) -> u64 {
        self.standing.frames.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.standing.bytes.load(Ordering::Relaxed)
    }

    /// It is worth trying to write.
    pub(super) fn may_write(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        !self.abandoned.load(Ordering::Relaxed) && failed.is_none_or(|at| at.elapsed() >= REST)
    }

    /// Writes frames behind all others; false if nothing was written.
    pub(super) async fn append(&self, frames: Vec<Closed>) -> bool {
        self.write(|answer| Command::Append(frames, answer)).await
    }

    /// Writes frames before all others; false if nothing was written.
    pub(super) async fn prepend(&self, frames: Vec<Closed>) -> bool {
        self.write(|answer| Command::Prepend(frames, answer)).await
    }

    async fn write(&self, command: impl FnOnce(oneshot::Sender<bool>) -> Command) -> bool {
        let (answer, told) = oneshot::channel();
        let written = self.commands.send(command(answer)).await.is_ok() && told.await.unwrap_or(false);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = if written { None } else { Some(Instant::now()) };
        written
    }

    /// The oldest frames, once the first `consumed` of those read before are forgotten.
    pub(super) async fn read(&self, consumed: u64, most: usize, frames: usize) -> Vec<Closed> {
        let (answer, told) = oneshot::channel();
        // A thread that has died answers nobody any more.
        match self.commands.send(Command::Read { consumed, most, frames, answer }).await {
            Ok(()) => told.await.inspect_err(|_| self.abandon()).unwrap_or_default(),
            Err(_) => {
                self.abandon();
                Vec::new()
            }
        }
    }

    /// The disk does not answer: what is on it is given up, so that what is in memory can be shipped.
    pub(super) fn abandon(&self) {
        if !self.abandoned.swap(true, Ordering::Relaxed) {
            let frames = self.frames();
            tracing::error!(frames, "the spill's disk does not answer; on without it, until the agent starts again");
            self.metrics.buffer_spill_errors.inc();
            self.metrics.buffer_dropped_frames.inc_by(frames);
        }
    }
}

/// The thread's side.
struct Keeper {
    place: Place,
    standing: Arc<Shown>,
    metrics: Metrics,
    store: Option<Store>,
    /// A failure was told, and nothing has worked since.
    quiet: bool,
}

impl Keeper {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let until = std::time::Instant::now() + HANDOVER;
        while self.store.is_none() && !self.open() && std::time::Instant::now() < until && !commands.is_closed() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.store.is_none() {
            self.failed("open the directory", &"it cannot be opened, or another agent uses it");
        }
        self.standing.looked.store(true, Ordering::Release);
        while let Some(command) = commands.blocking_recv() {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may be gone: what was done stays done.
        match command {
            Command::Append(frames, answer) => {
                let count = frames.len() as u64;
                let written = self.store("write", |store, toll| store.append(&frames, toll)).is_some();
                self.metrics.buffer_spilled_frames.inc_by(if written { count } else { 0 });
                let _ = answer.send(written);
            }
            Command::Prepend(frames, answer) => {
                let count = frames.len() as u64;
                let written = self.store("write", |store, _| store.prepend(&frames)).is_some();
                self.metrics.buffer_spilled_frames.inc_by(if written { count } else { 0 });
                let _ = answer.send(written);
            }
            Command::Read { consumed, most, frames, answer } => {
                let read = self.store("read", |store, toll| {
                    store.consume(consumed);
                    Ok(store.read(most, frames, toll))
                });
                let _ = answer.send(read.unwrap_or_default());
            }
        }
    }

    /// Does something with the store, opened if it can be, and shows what it holds then.
    fn store<T>(&mut self, what: &str, act: impl FnOnce(&mut Store, &mut Toll) -> std::io::Result<T>) -> Option<T> {
        if self.store.is_none() && !self.open() {
            self.failed("open the directory", &"it cannot be opened, or another agent uses it");
        }
        let store = self.store.as_mut()?;
        let mut toll = Toll::default();
        let done = act(store, &mut toll);
        self.show(toll);
        match done {
            Ok(done) => {
                if std::mem::take(&mut self.quiet) {
                    tracing::info!(directory = %self.place.directory.display(), "the spill works again");
                }
                Some(done)
            }
            Err(error) => {
                self.failed(what, &error);
                None
            }
        }
    }

    fn open(&mut self) -> bool {
        match Store::open(&self.place.directory, self.place.limit.0) {
            Ok((store, toll)) => {
                let found = store.standing();
                if found.frames > 0 {
                    tracing::info!(
                        frames = found.frames,
                        bytes = found.bytes,
                        "frames of an earlier run are shipped first"
                    );
                }
                self.store = Some(store);
                self.show(toll);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "cannot open the spill");
                false
            }
        }
    }

    fn show(&self, toll: Toll) {
        let standing = self.store.as_ref().map(Store::standing).unwrap_or_default();
        self.standing.frames.store(standing.frames, Ordering::Release);
        self.standing.bytes.store(standing.bytes, Ordering::Relaxed);
        self.metrics.buffer_dropped_frames.inc_by(toll.dropped);
        self.metrics.buffer_spill_torn_segments.inc_by(toll.torn);
    }

    /// Told once, until it has worked again; counted each time.
    fn failed(&mut self, what: &str, why: &dyn std::fmt::Display) {
        self.metrics.buffer_spill_errors.inc();
        if !std::mem::replace(&mut self.quiet, true) {
            let directory = self.place.directory.display();
            tracing::warn!(%directory, "cannot {what} of the spill: {why}; on without it, trying again");
        }
    }
}
