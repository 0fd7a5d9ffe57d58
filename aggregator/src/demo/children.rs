//! Programs beside the demo: the aggregator and the agents. Each is started anew when it dies.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::notices::Notices;

/// From a program's death to its next start.
const PAUSE: Duration = Duration::from_millis(200);
/// A program that is to stop is killed after this.
const GRACE: Duration = Duration::from_secs(3);
/// Lines of a log that are told when its program fails.
const TAIL: usize = 8;

/// A program and how it is started.
#[derive(Clone)]
pub(super) struct Program {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its file.
    pub(super) binary: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// Where its stdout and stderr go.
    pub(super) log: PathBuf,
    /// Where the number of its process is written to.
    pub(super) pid_file: PathBuf,
}

/// A program that is kept running.
pub(super) struct Supervised {
    program: Program,
    restarts: Arc<AtomicU64>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervised {
    /// Keeps a program running until it is stopped.
    pub(super) fn start(program: Program, notices: Notices) -> Self {
        let restarts = Arc::<AtomicU64>::default();
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(program.clone(), notices, restarts.clone(), stop.clone()));
        Self { program, restarts, stop, task }
    }

    /// How often it died and was started anew.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// The last lines of its log, for when it fails.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.program.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n  ");
        format!("{} says:\n  {last}", self.program.log.display())
    }

    /// Ends it: its stdin closes, and it goes.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.ok();
    }
}

async fn supervise(program: Program, notices: Notices, restarts: Arc<AtomicU64>, stop: CancellationToken) {
    loop {
        let ended = match program.spawn() {
            Ok(mut child) => {
                // Waiting for a child would close its stdin, which tells it to go.
                let stdin = child.stdin.take();
                tokio::select! {
                    status = child.wait() => status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                    () = stop.cancelled() => {
                        drop(stdin);
                        return end(child).await;
                    }
                }
            }
            Err(error) => format!("{} cannot be started: {error}", program.binary.display()),
        };
        restarts.fetch_add(1, Ordering::Relaxed);
        notices.say(format!("{} died ({ended}): it is started again", program.name));
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn end(mut child: Child) {
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}

impl Program {
    /// In a process group of its own, so that Ctrl-C reaches only the demo.
    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.binary)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        fs::write(&self.pid_file, child.id().unwrap_or_default().to_string())?;
        Ok(child)
    }
}
