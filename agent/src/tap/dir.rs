//! The directory tap: files are batches, as they are completed.
//!
//! ```text
//! inotify: closed, moved in, opened, gone ─┐
//! scan: at the start, after a gap, slowly ─┴─► follower ─► inspection ─► BatchArrival
//!                                                 │  └───► ledger ─► BatchProgress, Backlog
//!                                              journal: what was told, over restarts
//! ```
//!
//! A file arrives when a writer closes it or when it is moved in; it waits until another process opens it, and has been
//! taken when it is gone. What events do not tell, scans find: none is missed. A file that is known is not told of
//! again: none is doubled; over restarts the journal knows, and without one a batch's id tells, which comes of the file
//! itself.
//!
//! All of it runs on a thread of its own: a file system that hangs must hang nothing else. Files are opened for the
//! moment of their inspection only, never locked, and neither they nor the directory are held.

mod follower;
mod journal;
mod known;
mod report;
mod watch;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_shared::Timestamp;
use forebay_shared::health::Health;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::follower::Follower;
use self::watch::{Event, Watch};
use super::{Source, Tap};

/// From one look at whether the directory is still the one that is watched to the next, and from one attempt to watch
/// it to the next.
const CHECK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
/// From one scan to the next where nothing calls for one: it finds what the kernel does not tell, such as files that
/// another machine writes.
const SLOW: Duration = Duration::from_secs(30);
/// Where the kernel cannot watch at all, scans do.
const POLLED: Duration = Duration::from_secs(5);
/// A scan takes at most one part in so many of the time.
const SCAN_SHARE: u32 = 20;
/// Time after which a file that was moved out is known not to be moved in under another name: both are told together.
const MOVE: Duration = Duration::from_millis(20);
/// What the aggregator has acknowledged is looked at so often, as long as there is something to acknowledge.
const SETTLE: Duration = Duration::from_millis(50);
/// Time for it when the agent stops.
const LAST: Duration = Duration::from_millis(500);

/// Follows the directory until `stop`. `state` is a directory of the agent's own, for what is to be known after a
/// restart.
pub(crate) async fn run(path: PathBuf, tap: Tap, state: Option<PathBuf>, health: Health, stop: CancellationToken) {
    let Ok(wake) = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Arc::new) else {
        return tracing::error!("cannot make an eventfd: expected the limit of open files to allow one more");
    };
    let (ended, mut end) = oneshot::channel::<()>();
    let follow = {
        let (wake, stop) = (Arc::clone(&wake), stop.clone());
        move || {
            Dir::new(path, tap.of(Source::Dir), state, &health).follow(&wake, &stop);
            drop(ended);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("dir".into()).spawn(follow) {
        return tracing::error!(%error, "cannot start a thread for the directory");
    }
    tokio::select! {
        // Only a panic ends it before its time.
        _ = &mut end => {}
        () = stop.cancelled() => {
            let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
            let _ = end.await;
        }
    }
}

struct Dir {
    path: PathBuf,
    follower: Follower,
    watch: Option<Watch>,
    /// Device and inode of the directory that is followed.
    followed: Option<(u64, u64)>,
    attach_at: Instant,
    check_at: Instant,
    scan_at: Instant,
    reason: &'static str,
    scanned_at: Option<Instant>,
    scan_took: Duration,
    /// Scans in a row that left files for later.
    postponed: u32,
}

impl Dir {
    fn new(path: PathBuf, tap: Tap, state: Option<PathBuf>, health: &Health) -> Self {
        let now = Instant::now();
        Self {
            follower: Follower::new(path.clone(), tap, state, health.clone()),
            path,
            watch: None,
            followed: None,
            attach_at: now,
            check_at: now,
            scan_at: now,
            reason: "start",
            scanned_at: None,
            scan_took: Duration::ZERO,
            postponed: 0,
        }
    }

    fn follow(mut self, wake: &OwnedFd, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = self.turn();
            self.wait(wake, wait);
        }
        // What the shipper brings on its way out is not to be told again after the restart.
        let until = Instant::now() + LAST;
        self.follower.settle();
        while self.follower.unsettled() && Instant::now() < until {
            std::thread::park_timeout(SETTLE / 5);
            self.follower.settle();
        }
    }

    /// One round of what is due; gives the time until something is due again.
    fn turn(&mut self) -> Duration {
        if self.followed.is_none() && Instant::now() >= self.attach_at {
            self.attach();
        }
        let drained = self.events();
        if drained {
            self.follower.drained(MOVE);
        }
        if self.followed.is_some() && Instant::now() >= self.check_at {
            self.check();
        }
        if self.follower.wants_scan() {
            self.call_for_scan("room");
        }
        if self.followed.is_some() && Instant::now() >= self.scan_at {
            self.scan();
        }
        self.follower.settle();
        if drained { self.until_due() } else { Duration::ZERO }
    }

    fn until_due(&self) -> Duration {
        let mut due = if self.followed.is_some() { self.check_at.min(self.scan_at) } else { self.attach_at };
        let now = Instant::now();
        if self.follower.moving() {
            due = due.min(now + MOVE);
        }
        if self.follower.unsettled() {
            due = due.min(now + SETTLE);
        }
        // What a scan has not seen is settled once the events up to it are read.
        if self.follower.suspects() && !self.follower.moving() {
            due = now;
        }
        due.saturating_duration_since(now)
    }

    fn wait(&self, wake: &OwnedFd, wait: Duration) {
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut both = [PollFd::new(wake, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        let count = match &self.watch {
            Some(watch) => {
                both[1] = PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN);
                2
            }
            None => 1,
        };
        // Interrupted or not: the next round looks at everything.
        let _ = poll(&mut both[..count], Some(&timeout));
    }

    /// Watches the directory that is at the path now, and has it scanned.
    fn attach(&mut self) {
        let identity = match std::fs::metadata(&self.path) {
            Ok(meta) if meta.is_dir() => (meta.dev(), meta.ino()),
            Ok(_) => return self.detached("it is no directory"),
            Err(error) => return self.detached(&error.to_string()),
        };
        match Watch::new(&self.path) {
            Ok(watch) => {
                self.watch = Some(watch);
                self.follower.report().watched(None);
            }
            Err(error) => {
                self.watch = None;
                self.follower
                    .report()
                    .watched(Some(format!("the kernel cannot watch it ({error}): scanned each {POLLED:?}")));
            }
        }
        self.followed = Some(identity);
        self.follower.attached(identity.0);
        self.check_at = Instant::now() + CHECK;
        self.call_for_scan(if self.scanned_at.is_none() { "start" } else { "lost" });
    }

    fn detached(&mut self, why: &str) {
        self.watch = None;
        self.followed = None;
        self.attach_at = Instant::now() + RETRY;
        self.follower.detached();
        let expected = "expected a directory that the agent's user may read and search";
        self.follower.report().absent(Some(format!("{why}: {expected}")));
    }

    /// The directory at the path may have become another one: by a mount over it nothing is told.
    fn check(&mut self) {
        self.check_at = Instant::now() + CHECK;
        let identity = std::fs::metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if identity != self.followed {
            self.lost();
        }
    }

    fn lost(&mut self) {
        self.watch = None;
        self.followed = None;
        self.attach_at = Instant::now();
        self.follower.gap();
    }

    /// Takes in the events that wait; true if there are none any more.
    fn events(&mut self) -> bool {
        let Some(watch) = &self.watch else { return true };
        let (mut overflow, mut lost) = (false, false);
        let follower = &mut self.follower;
        let drained = watch.read(|event| match event {
            Event::Overflow => overflow = true,
            Event::Lost => lost = true,
            event => follower.take(event, Timestamp::now(), watch.queued()),
        });
        if overflow {
            self.follower.gap();
            self.call_for_scan("overflow");
        }
        if lost {
            self.lost();
        }
        drained
    }

    /// As soon as scans may be: storms overflow the queue again and again.
    fn call_for_scan(&mut self, reason: &'static str) {
        let soonest = self.scanned_at.map_or(Instant::now(), |at| at + self.scan_took * SCAN_SHARE);
        if soonest < self.scan_at || self.scanned_at.is_none() {
            self.scan_at = soonest;
            self.reason = reason;
        }
    }

    fn scan(&mut self) {
        let start = Instant::now();
        let outcome = self.follower.scan(self.reason, Timestamp::now());
        let postponed = matches!(outcome, Ok(Some(_)));
        let now = Instant::now();
        (self.scan_took, self.scanned_at) = (now - start, Some(now));
        self.reason = "slow";
        let soonest = self.scan_took * SCAN_SHARE;
        let next = match outcome {
            Err(error) => return self.detached(&error.to_string()),
            // A file that is written for hours calls for no scan every two seconds.
            Ok(Some(again)) => again * (1 << self.postponed.min(4)),
            Ok(None) if self.watch.is_none() => POLLED,
            Ok(None) => SLOW,
        };
        if self.watch.is_none() {
            self.follower.gap();
        }
        self.postponed = if postponed { self.postponed.saturating_add(1) } else { 0 };
        self.scan_at = now + next.max(soonest);
    }
}

#[cfg(test)]
mod tests;
