//! A worker's process: started, fed, listened to, and seen to its end.

use std::fs::OpenOptions;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use forebay_shared::Millicores;
use tokio::io::{BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::Platform;
use super::component::Event;
use super::pool::WorkerId;
use crate::demo::worker::Stage;
use crate::demo::worker::wire::{self, Message};

/// Bytes read or written at a time: pipes hold 64 KiB.
const PIPE: usize = 64 << 10;
/// A worker whose stdin has ended goes at once; one that does not is killed after this.
const GRACE: Duration = Duration::from_secs(2);

/// A batch for a worker.
pub(super) struct Work {
    /// Its number.
    pub(super) number: u64,
    /// Its content.
    pub(super) bytes: Arc<Vec<u8>>,
}

/// Which worker, and what it starts with.
pub(super) struct Birth {
    /// Its stage.
    pub(super) stage: Stage,
    /// Its number.
    pub(super) id: WorkerId,
    /// From now until its process starts.
    pub(super) after: Duration,
    /// Its share of a core, as it is wished now.
    pub(super) share: watch::Receiver<Millicores>,
    /// What it shall work on; closed when it shall go.
    pub(super) work: mpsc::Receiver<Work>,
}

/// Lives a worker's life; ends when its work is closed or the process dies, and tells so last.
pub(super) async fn live(platform: Arc<Platform>, mut birth: Birth, events: mpsc::Sender<Event>) {
    let id = birth.id;
    let name = birth.stage.name();
    tokio::select! {
        () = sleep(birth.after) => {
            if let Err(error) = run(&platform, &mut birth, &events).await {
                platform.notices.say(format!("{name} worker {id}: {error}"));
            }
        }
        // There is no work before it is ready: this is the end of it.
        _ = birth.work.recv() => {}
    }
    events.send(Event::Ended(id)).await.ok();
}

async fn run(platform: &Platform, birth: &mut Birth, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let (mut child, stdin, stdout) = spawn(platform, birth.stage)?;
    let pid = child.id().unwrap_or_default();
    let admitted = platform.limiter.admit(birth.stage, birth.id, pid, *birth.share.borrow_and_update());
    let listening = tokio::spawn(listen(birth.id, stdout, events.clone()));
    let fed = match admitted {
        Ok(()) => feed(platform, birth, stdin, &mut child).await,
        Err(error) => Err(io::Error::other(format!("cannot limit its CPU: {error}"))),
    };
    if timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    listening.await.ok();
    platform.limiter.dismiss(birth.stage, birth.id, pid);
    fed
}

fn spawn(platform: &Platform, stage: Stage) -> io::Result<(Child, ChildStdin, ChildStdout)> {
    let log = platform.logs.join(format!("{}.log", stage.name()));
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut child = Command::new(&platform.binary)
        .args(["worker", "--stage", stage.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(stdin), Some(stdout)) => Ok((child, stdin, stdout)),
        _ => Err(io::Error::other("its stdin and stdout are not there")),
    }
}

/// Passes work and shares on until the work is closed, which ends the worker's stdin and so the worker.
async fn feed(platform: &Platform, birth: &mut Birth, stdin: ChildStdin, child: &mut Child) -> io::Result<()> {
    let mut stdin = BufWriter::with_capacity(PIPE, stdin);
    let share = *birth.share.borrow();
    limit(platform, birth, &mut stdin, share).await?;
    loop {
        tokio::select! {
            work = birth.work.recv() => match work {
                Some(Work { number, bytes }) => wire::send_batch(&mut stdin, number, &bytes).await?,
                None => return Ok(()),
            },
            Ok(()) = birth.share.changed() => {
                let share = *birth.share.borrow_and_update();
                limit(platform, birth, &mut stdin, share).await?;
            }
            status = child.wait() => return Err(io::Error::other(format!("it ended by itself with {}", status?))),
        }
    }
}

async fn limit(
    platform: &Platform,
    birth: &Birth,
    stdin: &mut BufWriter<ChildStdin>,
    share: Millicores,
) -> io::Result<()> {
    if platform.limiter.is_cooperative() {
        return wire::send_share(stdin, share.0).await;
    }
    platform.limiter.set(birth.stage, birth.id, share)
}

/// Passes on what the worker says until it ends.
async fn listen(id: WorkerId, stdout: ChildStdout, events: mpsc::Sender<Event>) {
    let mut stdout = BufReader::with_capacity(PIPE, stdout);
    while let Ok(message) = Message::read(&mut stdout).await {
        let event = match message {
            Message::Hello => Event::Ready(id),
            Message::Answer(answer) => Event::Answered(id, answer),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
