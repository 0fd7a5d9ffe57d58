//! From what is seen of files to what is told of batches.

mod unsettled;

use std::ffi::{OsStr, OsString};
use std::fs::{File as OpenFile, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_shared::health::Health;
use forebay_shared::{BatchArrival, DataCharacteristics, Outcome, Timestamp};
use rustix::fs::OFlags;

use self::unsettled::{Awaited, Unsettled};
use super::journal::{Batch, Entry, Journal};
use super::known::{Cause, File, Key, Known, MOST_FILES, Marks, Stat, Verdict, batch_id, hash_name, is_temporary};
use super::report::Report;
use super::watch::Event;
use crate::characteristics::{Hint, volume_only};
use crate::inspect::feed;
use crate::tap::Tap;

/// A file that a scan finds is complete once it has been left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// Without a journal, files that lay there for longer when the agent started are backlog and nothing else: they were
/// told of before. A container that keeps failing is started again within 5 minutes.
const RECENT: Duration = Duration::from_secs(600);
/// Bytes of events that wait beyond which files are recorded by their volume, until they are fewer: half of what the
/// kernel holds by default, 16,384 events of 32 B and more.
const BEHIND: u64 = 256 << 10;
/// Bytes of a file read at once.
const CHUNK: usize = 64 << 10;
/// Files are looked for again once so many places are free.
const PLACES: usize = 1024;

pub(super) struct Follower {
    path: PathBuf,
    tap: Tap,
    known: Known,
    journal: Option<Journal>,
    unsettled: Unsettled,
    report: Report,
    /// It is known what waits, and the ledger was told so.
    followed: bool,
    /// The directory's own device.
    device: u64,
    generation: u32,
    /// Events were missed since the last scan.
    gap: bool,
    /// Those of the agent's own openings may be among them.
    disown: bool,
    /// The last scan has not seen files that are known.
    suspects: bool,
    moving: Option<Moving>,
    /// The last scan that left no file for later: what a scan finds has come since.
    scanned_at: Option<Timestamp>,
    /// More files lie there than are followed.
    crowded: bool,
    chunk: Vec<u8>,
    /// See [`RECENT`].
    recent: Duration,
}

/// A file that was moved out, as far as one knows.
struct Moving {
    cookie: u32,
    name: OsString,
    since: Instant,
    at: Timestamp,
}

impl Follower {
    pub(super) fn new(path: PathBuf, tap: Tap, state: Option<PathBuf>, health: Health) -> Self {
        // Before another directory's tap can take what it knows for all.
        tap.follow(false);
        let mut report = Report::new(&path, health);
        let mut known = Known::default();
        let mut journal = None;
        let mut restored = Vec::new();
        if let Some(state) = state {
            match open_journal(&state, &path) {
                Ok((opened, batches)) => (journal, restored) = (Some(opened), batches),
                Err(error) => {
                    tap.0.metrics.tap_dir_state_failures.inc();
                    report.state(Some(format!("cannot use --state {}: {error}", state.display())));
                }
            }
        }
        for batch in restored.iter().filter(|batch| batch.gone_at.is_none()) {
            known.insert(batch.key, File::from(batch));
        }
        let follower = Self {
            path,
            tap,
            known,
            journal,
            unsettled: Unsettled::default(),
            report,
            followed: false,
            device: 0,
            generation: 0,
            gap: true,
            disown: false,
            suspects: false,
            moving: None,
            scanned_at: None,
            crowded: false,
            chunk: Vec::new(),
            recent: RECENT,
        };
        follower.with(restored)
    }

    /// With what was known before a restart: open batches are open again, and what the aggregator may not have is told
    /// again.
    fn with(mut self, restored: Vec<Batch>) -> Self {
        for batch in restored {
            self.tap.admit_as(batch.id, batch.arrived_at, batch.size);
            let Some(gone_at) = batch.gone_at else { continue };
            if !batch.settled {
                self.announce(batch.id, batch.arrived_at, self.tap.0.inspection.volume_only(batch.size, None));
            }
            self.finished(batch.id, gone_at);
        }
        self
    }

    pub(super) fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    /// There is a directory, on this device.
    pub(super) fn attached(&mut self, device: u64) {
        self.device = device;
        self.gap = true;
    }

    /// There is none: what waits in it is not known.
    pub(super) fn detached(&mut self) {
        self.gap = true;
        self.follow(false);
    }

    /// The ledger counts the directories that are not followed: it is told of changes only.
    fn follow(&mut self, followed: bool) {
        if std::mem::replace(&mut self.followed, followed) != followed {
            self.tap.follow(followed);
        }
    }

    /// Events were missed.
    pub(super) fn gap(&mut self) {
        (self.gap, self.disown) = (true, true);
    }

    pub(super) fn moving(&self) -> bool {
        self.moving.is_some()
    }

    pub(super) fn suspects(&self) -> bool {
        self.suspects
    }

    pub(super) fn unsettled(&self) -> bool {
        self.unsettled.len() > 0
    }

    /// Takes in an event; `queued` bytes of others wait.
    pub(super) fn take(&mut self, event: Event<'_>, at: Timestamp, queued: u64) {
        if let Event::MovedTo(name, cookie) = event
            && self
                .moving
                .take_if(|moving| moving.cookie == cookie)
                .is_some_and(|from| self.renamed(&from.name, name, at))
        {
            return;
        }
        self.moved_out();
        match event {
            Event::Closed(name) => self.seen(name, Cause::Closed, at, queued > BEHIND),
            Event::MovedTo(name, _) => self.seen(name, Cause::Moved, at, queued > BEHIND),
            Event::Opened(name) => self.touched(name, at, |marks| &mut marks.opened),
            // A start that no opening told of is told late.
            Event::Released(name) => self.touched(name, at, |marks| &mut marks.released),
            Event::Deleted(name) => self.gone_by_name(name, at),
            Event::MovedFrom(name, cookie) => {
                if self.known.named(hash_name(name)).is_some() {
                    self.moving = Some(Moving { cookie, name: name.to_owned(), since: Instant::now(), at });
                }
            }
            Event::Overflow | Event::Lost => self.gap = true,
        }
    }

    /// All events up to now were taken in.
    pub(super) fn drained(&mut self, patience: Duration) {
        if std::mem::take(&mut self.disown) {
            self.known.disown();
        }
        if self.moving.as_ref().is_some_and(|moving| moving.since.elapsed() >= patience) {
            self.moved_out();
        }
        if self.suspects && self.moving.is_none() {
            self.suspects = false;
            for key in self.known.unseen(self.generation) {
                self.gone(key, Timestamp::now());
            }
        }
    }

    /// A file was moved within the directory: it is the batch that it was. Under a name of those that are still
    /// written it has been claimed. False if it was not known.
    fn renamed(&mut self, from: &OsStr, to: &OsStr, at: Timestamp) -> bool {
        let (Some(key), to_hash) = (self.known.named(hash_name(from)), hash_name(to)) else { return false };
        if let Some(covered) = self.known.named(to_hash).filter(|covered| *covered != key) {
            self.gone(covered, at);
        }
        self.known.rename(key, to_hash, self.generation);
        if is_temporary(to) {
            self.start(key, at);
        }
        true
    }

    /// The file that was moved out is not in the directory under another name.
    fn moved_out(&mut self) {
        if let Some(Moving { name, at, .. }) = self.moving.take() {
            self.gone_by_name(&name, at);
        }
    }

    /// Somebody opened or closed a file; `ours` is the mark of the agent's own doing.
    fn touched(&mut self, name: &OsStr, at: Timestamp, ours: impl FnOnce(&mut Marks) -> &mut bool) {
        let Some(key) = self.known.named(hash_name(name)) else { return };
        let ours = self.known.get_mut(key).is_some_and(|file| std::mem::take(ours(&mut file.marks)));
        if !ours {
            self.start(key, at);
        }
    }

    fn start(&mut self, key: Key, at: Timestamp) {
        if let Some(file) = self.known.get(key).filter(|file| !file.marks.quiet) {
            self.tap.start(file.id, at);
        }
    }

    fn gone_by_name(&mut self, name: &OsStr, at: Timestamp) {
        let Some(key) = self.known.named(hash_name(name)) else { return };
        // The event may be older than a scan that has found another file of this name.
        let there = std::fs::symlink_metadata(self.path.join(name)).ok();
        if there.is_none_or(|meta| Stat::of(&meta, self.device).key != key) {
            self.gone(key, at);
        }
    }

    /// The file is gone: it has been taken.
    fn gone(&mut self, key: Key, at: Timestamp) {
        let Some(file) = self.known.remove(key) else { return };
        if file.marks.quiet {
            self.tap.forget(file.id);
            return;
        }
        if file.marks.untold {
            self.announce(file.id, file.arrived_at, self.tap.0.inspection.volume_only(file.size, None));
        }
        self.note(Entry::Gone(file.id, at));
        self.finished(file.id, at);
    }

    fn finished(&mut self, id: u64, at: Timestamp) {
        self.tap.finish(id, at, Outcome::Ok);
        self.await_settling(Awaited::End(id));
    }

    /// A file is complete: what is it?
    fn seen(&mut self, name: &OsStr, cause: Cause, at: Timestamp, behind: bool) {
        if is_temporary(name) {
            return;
        }
        match std::fs::symlink_metadata(self.path.join(name)) {
            Ok(meta) if meta.is_file() => {
                let stat = Stat::of(&meta, self.device);
                self.judge(name, &stat, cause, at, behind);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Taken, or renamed: then its new name tells of it.
                self.tap.0.metrics.tap_dir_vanished_files.inc();
            }
            Err(_) => self.unreadable(),
        }
    }

    fn judge(&mut self, name: &OsStr, stat: &Stat, cause: Cause, arrived_at: Timestamp, behind: bool) {
        let name_hash = hash_name(name);
        if let Some(covered) = self.known.named(name_hash).filter(|covered| *covered != stat.key) {
            self.gone(covered, arrived_at);
        }
        match self.known.judge(stat, cause) {
            Verdict::Same => {
                self.known.rename(stat.key, name_hash, self.generation);
                self.tell_again(name, stat, behind);
                return;
            }
            Verdict::Replaced => self.gone(stat.key, arrived_at),
            Verdict::New => {}
        }
        if self.known.len() >= MOST_FILES {
            self.crowded = true;
            return;
        }
        let found = matches!(cause, Cause::Found { .. });
        let quiet = found && self.scanned_at.is_none() && self.journal.is_none() && age(stat) >= self.recent;
        let id = batch_id(stat, name_hash);
        let marks = Marks { found, quiet, ..Marks::default() };
        let (size, modified) = (stat.size, stat.modified);
        self.known
            .insert(stat.key, File { id, size, modified, arrived_at, name: name_hash, seen: self.generation, marks });
        self.tap.admit_as(id, arrived_at, size);
        if quiet {
            return;
        }
        let batch = Batch { id, key: stat.key, size, modified, arrived_at, found, ..Batch::default() };
        self.note(Entry::Told(batch));
        // Before the aggregator can have it: what it has and the journal does not would be told twice.
        self.write_journal();
        let characteristics = self.inspect(name, stat, behind);
        self.announce(id, arrived_at, characteristics);
    }

    /// Of a file that was told of before a restart it is not known whether that reached the aggregator.
    fn tell_again(&mut self, name: &OsStr, stat: &Stat, behind: bool) {
        let Some(file) = self.known.get_mut(stat.key) else { return };
        if std::mem::take(&mut file.marks.untold) {
            let (id, arrived_at) = (file.id, file.arrived_at);
            let characteristics = self.inspect(name, stat, behind);
            self.announce(id, arrived_at, characteristics);
        }
    }

    fn announce(&mut self, batch_id: u64, arrived_at: Timestamp, characteristics: DataCharacteristics) {
        self.tap.tell(BatchArrival { batch_id, arrived_at, characteristics });
        self.await_settling(Awaited::Arrival(batch_id));
    }

    /// The vector of a file, from its first bytes, and from its last ones where they tell.
    fn inspect(&mut self, name: &OsStr, stat: &Stat, behind: bool) -> DataCharacteristics {
        let inspection = self.tap.0.inspection.clone();
        let claim = Hint::content_type_of(Path::new(name));
        if behind {
            return inspection.volume_only(stat.size, claim);
        }
        self.chunk.resize(CHUNK, 0);
        let looked = self.open(name, stat).and_then(|mut file| {
            let chunk = &mut self.chunk;
            let mut fed = Ok(());
            // It may be shorter by now than it was.
            let vector =
                inspection.examine(stat.size, claim, |inspector| fed = feed(inspector, &mut file, stat.size, chunk));
            fed.map(|()| vector)
        });
        match looked {
            Ok(vector) => {
                self.report.read(true);
                return vector.unwrap_or_else(|| volume_only(stat.size, claim));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => self.unreadable(),
        }
        inspection.volume_only(stat.size, claim)
    }

    fn open(&mut self, name: &OsStr, stat: &Stat) -> io::Result<OpenFile> {
        // The kernel tells of this opening like of any other, and of the close.
        self.ours(stat.key, true);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(self.path.join(name));
        let file = opened.inspect_err(|_| self.ours(stat.key, false))?;
        let meta: Metadata = file.metadata()?;
        if !meta.is_file() || meta.ino() != stat.key.inode {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    fn ours(&mut self, key: Key, ours: bool) {
        if let Some(file) = self.known.get_mut(key) {
            (file.marks.opened, file.marks.released) = (ours, ours);
        }
    }

    fn unreadable(&mut self) {
        self.tap.0.metrics.tap_dir_unreadable_files.inc();
        self.report.read(false);
    }

    /// Looks through the directory; gives when to do so again, if that is soon.
    pub(super) fn scan(&mut self, reason: &'static str, now: Timestamp) -> io::Result<Option<Duration>> {
        self.tap.0.metrics.tap_dir_scans.get_or_create(&[("reason", reason)]).inc();
        self.generation = self.generation.wrapping_add(1);
        let cause = Cause::Found { unbroken: !self.gap };
        let (mut postponed, mut stuck) = (false, false);
        self.crowded = false;
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if !kind.is_file() => continue,
                _ => {}
            }
            match entry.metadata() {
                Ok(meta) if meta.is_file() => postponed |= !self.found(&entry.file_name(), &meta, cause, now),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    stuck = true;
                    self.unreadable();
                }
            }
        }
        self.gap = false;
        // What cannot be looked at is not known to be gone.
        self.suspects = !stuck;
        if !postponed {
            self.scanned_at = Some(now);
        }
        self.report.crowded(self.crowded);
        self.follow(true);
        Ok(postponed.then_some(LEFT_ALONE))
    }

    /// A scan has found a file; false if it may not be complete.
    fn found(&mut self, name: &OsStr, meta: &Metadata, cause: Cause, now: Timestamp) -> bool {
        let stat = Stat::of(meta, self.device);
        if let Some(file) = self.known.get_mut(stat.key) {
            file.seen = self.generation;
        }
        let known = self.known.get(stat.key);
        // A known one keeps its place under any name.
        if is_temporary(name) && known.is_none() {
            return true;
        }
        let settled = known.is_some_and(|file| {
            cause == Cause::Found { unbroken: true } || (file.size, file.modified) == (stat.size, stat.modified)
        });
        if !settled && !left_alone(&stat) {
            return false;
        }
        // By its own word, but not before a scan that would have found it.
        let modified = Timestamp(u64::try_from(stat.modified / 1_000_000).unwrap_or(0));
        let arrived_at = modified.max(self.scanned_at.unwrap_or(Timestamp(0))).min(now);
        self.judge(name, &stat, cause, arrived_at, false);
        true
    }

    /// Notes what the aggregator has acknowledged, and writes the journal.
    pub(super) fn settle(&mut self) {
        if self.journal.is_none() {
            return;
        }
        let below = self.tap.0.buffer.settled_below();
        while let Some(entry) = self.unsettled.settle(below) {
            self.note(entry);
        }
        self.write_journal();
    }

    /// Places have become free for files that could not be followed.
    pub(super) fn wants_scan(&self) -> bool {
        self.crowded && self.known.len() + PLACES <= MOST_FILES
    }

    fn await_settling(&mut self, awaited: Awaited) {
        if self.journal.is_none() {
            return;
        }
        if let Some(oldest) = self.unsettled.push(self.tap.0.buffer.open_sequence(), awaited) {
            self.note(oldest);
        }
    }

    fn note(&mut self, entry: Entry) {
        if let Some(journal) = &mut self.journal {
            journal.note(entry);
        }
    }

    fn write_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let live = self.known.len() + self.unsettled.len();
        match journal.flush(live) {
            Ok(true) => self.report.state(None),
            // That there was nothing to write mends nothing.
            Ok(false) => {}
            Err(error) => {
                self.tap.0.metrics.tap_dir_state_failures.inc();
                self.report.state(Some(format!("cannot write the state: {error}; a restart may tell of files twice")));
            }
        }
    }
}

impl From<&Batch> for File {
    fn from(batch: &Batch) -> Self {
        let Batch { id, size, modified, arrived_at, found, settled, .. } = *batch;
        let marks = Marks { found, untold: !settled, ..Marks::default() };
        Self { id, size, modified, arrived_at, name: 0, seen: 0, marks }
    }
}

fn open_journal(state: &Path, directory: &Path) -> io::Result<(Journal, Vec<Batch>)> {
    std::fs::create_dir_all(state)?;
    Journal::open(state.join(format!("dir-{:016x}.journal", hash_name(directory.as_os_str()))))
}

/// Nobody has written to it for a while, or clocks differ too much to tell.
fn left_alone(stat: &Stat) -> bool {
    age(stat) >= LEFT_ALONE
}

/// Since it came, or was written.
fn age(stat: &Stat) -> Duration {
    let now = Timestamp::now().0.saturating_mul(1_000_000);
    Duration::from_nanos(now.abs_diff(u64::try_from(stat.changed).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
