//! The files that are known to lie in the directory, and what to make of one that is seen. Pure.
//!
//! A file is told by its device, inode and birth, and a batch by its size and time of modification besides: inodes are
//! used again at once, by the next file. Names are kept as hashes: they only serve to find the file that an event is about.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use forebay_shared::Timestamp;

/// Files that are followed at once: 7/8 of 65,536 slots, as full as the maps get before they grow. 85 B a file and
/// 17 B a name, by slot, are 6.4 MiB. Files beyond it wait until others have gone.
pub(super) const MOST_FILES: usize = 57_344;

/// Which file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) inode: u64,
    /// The device and the time of birth, as far as the file system tells it, in one number. The directory's own device
    /// counts as 0: it may have another number when it is mounted again.
    pub(super) birth: u64,
}

/// What `lstat` tells of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) key: Key,
    pub(super) size: u64,
    /// ns since the epoch.
    pub(super) modified: i64,
    /// Its birth is known: no other file has its key.
    pub(super) unique: bool,
    /// When its inode last changed, ns since the epoch: also by a rename, and never set back.
    pub(super) changed: i64,
}

impl Stat {
    pub(super) fn of(meta: &Metadata, directory_device: u64) -> Self {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let device = if meta.dev() == directory_device { 0 } else { meta.dev() };
        let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let birth = mix(device ^ mix(born.map_or(0, |born| born.as_nanos() as u64)));
        Self {
            key: Key { inode: meta.ino(), birth },
            unique: born.is_some(),
            size: meta.size(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A name, as a number that tells nothing of it.
pub(super) type NameHash = u64;

/// FNV-1a, and a finish that spreads it: stable over versions, since ids come of it.
pub(super) fn hash_name(name: &OsStr) -> NameHash {
    mix(name
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The batch's id: the same file has the same, whoever tells of it and however often.
pub(super) fn batch_id(stat: &Stat, name: NameHash) -> u64 {
    let parts = [stat.key.birth, stat.key.inode, stat.size, stat.modified as u64, name];
    parts.into_iter().fold(0, |hash, part| mix(hash ^ part)) >> 1
}

/// The finisher of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// What is remembered of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct File {
    pub(super) id: u64,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) arrived_at: Timestamp,
    pub(super) name: NameHash,
    /// The scan that saw it last.
    pub(super) seen: u32,
    pub(super) marks: Marks,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Marks {
    /// A scan took it for complete; its writer may close it yet.
    pub(super) found: bool,
    /// Its arrival has still to be told.
    pub(super) untold: bool,
    /// Nothing is ever told of it: it lay there for long when the agent started.
    pub(super) quiet: bool,
    /// The agent has opened it, and the kernel has still to say so.
    pub(super) opened: bool,
    /// And that it closed it.
    pub(super) released: bool,
}

/// How a file came to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A writer closed it.
    Closed,
    /// It was moved in.
    Moved,
    /// A scan found it. Unbroken: nothing was missed since the last one.
    Found { unbroken: bool },
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    Same,
    /// It was written anew: the batch that it was is gone, and another has come.
    Replaced,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    files: HashMap<Key, File>,
    names: HashMap<NameHash, Key>,
}

impl Known {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&File> {
        self.files.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut File> {
        self.files.get_mut(&key)
    }

    pub(super) fn named(&self, name: NameHash) -> Option<Key> {
        self.names.get(&name).copied()
    }

    /// What the file of `stat` is. One that is the same is remembered as it is now.
    pub(super) fn judge(&mut self, stat: &Stat, cause: Cause) -> Verdict {
        let Some(file) = self.files.get_mut(&stat.key) else { return Verdict::New };
        let (same_size, same_time) = (stat.size == file.size, stat.modified == file.modified);
        let verdict = match cause {
            _ if same_size && same_time => Verdict::Same,
            // A copy that keeps times sets them back once it is written.
            _ if same_size && stat.modified < file.modified => Verdict::Same,
            // Whoever writes will close, and that will tell.
            Cause::Found { unbroken: true } => return Verdict::Same,
            // The end of the writing in which a scan found it, or more of it.
            Cause::Closed | Cause::Moved if file.marks.found => Verdict::Same,
            Cause::Found { .. } if file.marks.found && stat.unique && stat.size >= file.size => Verdict::Same,
            _ => Verdict::Replaced,
        };
        if verdict == Verdict::Same {
            (file.size, file.modified) = (stat.size, stat.modified);
            file.marks.found &= !matches!(cause, Cause::Closed | Cause::Moved);
        }
        verdict
    }

    /// The kernel has no more to say of what the agent opened.
    pub(super) fn disown(&mut self) {
        for file in self.files.values_mut() {
            (file.marks.opened, file.marks.released) = (false, false);
        }
    }

    pub(super) fn insert(&mut self, key: Key, file: File) {
        self.names.insert(file.name, key);
        self.files.insert(key, file);
    }

    /// The file is seen under a name: its only one, as far as it is known.
    pub(super) fn rename(&mut self, key: Key, name: NameHash, seen: u32) {
        let Some(file) = self.files.get_mut(&key) else { return };
        let before = std::mem::replace(&mut file.name, name);
        file.seen = seen;
        if before != name && self.names.get(&before) == Some(&key) {
            self.names.remove(&before);
        }
        self.names.insert(name, key);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<File> {
        let file = self.files.remove(&key)?;
        if self.names.get(&file.name) == Some(&key) {
            self.names.remove(&file.name);
        }
        Some(file)
    }

    /// A file that the scan `generation` has not seen.
    pub(super) fn unseen(&self, generation: u32) -> Vec<Key> {
        self.files.iter().filter(|(_, file)| file.seen != generation).map(|(key, _)| *key).collect()
    }
}

/// Names under which files are written: they are batches once they have another.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || [&b".tmp"[..], b".part", b"~"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(size: u64, modified: i64) -> Stat {
        Stat { key: Key { inode: 7, birth: 3 }, size, modified, unique: true, changed: modified }
    }

    fn judged(found: bool, now: Stat, cause: Cause) -> Verdict {
        let mut known = Known::default();
        let marks = Marks { found, ..Marks::default() };
        known.insert(stat(10, 100).key, File { size: 10, modified: 100, marks, ..File::default() });
        known.judge(&now, cause)
    }

    #[test]
    fn a_file_is_the_same_until_it_is_written_anew() {
        let broken = Cause::Found { unbroken: false };
        for cause in [Cause::Closed, Cause::Moved, broken] {
            assert_eq!(judged(false, stat(10, 100), cause), Verdict::Same, "{cause:?}");
            assert_eq!(judged(false, stat(10, 50), cause), Verdict::Same, "times set back, {cause:?}");
            assert_eq!(judged(false, stat(12, 50), cause), Verdict::Replaced, "{cause:?}");
            assert_eq!(judged(false, stat(10, 150), cause), Verdict::Replaced, "{cause:?}");
        }
        assert_eq!(judged(false, stat(20, 150), Cause::Found { unbroken: true }), Verdict::Same);
        assert_eq!(Known::default().judge(&stat(1, 1), broken), Verdict::New);
    }

    #[test]
    fn the_first_close_of_a_file_that_a_scan_found_ends_the_same_writing() {
        let mut known = Known::default();
        let marks = Marks { found: true, ..Marks::default() };
        known.insert(stat(10, 100).key, File { size: 10, modified: 100, marks, ..File::default() });
        let broken = Cause::Found { unbroken: false };
        let maybe_another = Stat { unique: false, ..stat(20, 150) };
        assert_eq!(known.judge(&maybe_another, broken), Verdict::Replaced);
        assert_eq!(known.judge(&stat(20, 150), broken), Verdict::Same);
        assert_eq!(known.judge(&stat(30, 200), Cause::Closed), Verdict::Same);
        assert_eq!(known.judge(&stat(40, 300), Cause::Closed), Verdict::Replaced);
    }

    #[test]
    fn an_append_under_a_scan_is_told_when_it_is_closed() {
        let mut known = Known::default();
        known.insert(stat(10, 100).key, File { size: 10, modified: 100, ..File::default() });
        assert_eq!(known.judge(&stat(20, 150), Cause::Found { unbroken: true }), Verdict::Same);
        assert_eq!(known.judge(&stat(20, 150), Cause::Closed), Verdict::Replaced);
    }

    #[test]
    fn a_name_finds_the_file_that_has_it_now() {
        let mut known = Known::default();
        let (a, b) = (hash_name("a".as_ref()), hash_name("b".as_ref()));
        let (first, second) = (Key { inode: 1, birth: 0 }, Key { inode: 2, birth: 0 });
        known.insert(first, File { name: a, ..File::default() });
        known.rename(first, b, 1);
        known.insert(second, File { name: a, ..File::default() });
        assert_eq!((known.named(a), known.named(b)), (Some(second), Some(first)));
        known.rename(second, b, 1);
        assert_eq!(known.remove(first).map(|file| file.name), Some(b));
        assert_eq!((known.named(a), known.named(b)), (None, Some(second)), "the other has its name");
    }

    #[test]
    fn ids_differ_by_every_part_and_stay_the_same() {
        let base = stat(10, 100);
        let other_inode = Stat { key: Key { inode: 8, birth: 3 }, ..base };
        let reused = Stat { key: Key { birth: 4, ..base.key }, ..base };
        let ids = [
            batch_id(&base, 1),
            batch_id(&reused, 1),
            batch_id(&base, 2),
            batch_id(&stat(11, 100), 1),
            batch_id(&stat(10, 101), 1),
            batch_id(&other_inode, 1),
        ];
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
        assert_eq!(batch_id(&Stat { changed: 9, ..base }, 1), ids[0], "a chmod makes no other batch");
        assert!(ids.iter().all(|id| *id < 1 << 63));
    }

    #[test]
    fn names_of_files_that_are_still_written_are_known() {
        for name in [".hidden", "a.tmp", "b.csv.part", "c~"] {
            assert!(is_temporary(name.as_ref()), "{name}");
        }
        for name in ["a", "tmp", "a.tmp.csv", "part"] {
            assert!(!is_temporary(name.as_ref()), "{name}");
        }
    }
}
