//! What is to be known of a directory's files after a restart of the agent: which have been told of, and whether the
//! aggregator has them.
//!
//! ```text
//! told ─► settled (arrival) ──┐
//!   └───► gone ───────────────┴─► done (end): forgotten
//! ```
//!
//! An append-only file of records of 64 bytes, each with its checksum; it is written anew, without what is forgotten,
//! at the start and when it has grown. A record that a crash has cut is not one; what a full disk has cut is taken back,
//! and written again. `kill -9` loses nothing that was written; after a power loss the pod is another one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use forebay_shared::Timestamp;

use super::known::Key;

const MAGIC: [u8; 8] = *b"FBAYDIR2";
const RECORD: usize = 64;
/// The file is written anew when it holds so many records, and four times those of the files that are known: 4 MiB.
const COMPACT_FROM: usize = 65_536;
/// Bytes that are kept for a file that cannot be written: 65,536 records, 4 MiB. What comes behind them is not remembered.
const MOST_PENDING: usize = 65_536 * RECORD;

/// A batch of which something is still to be told, or that may go yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) key: Key,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) arrived_at: Timestamp,
    /// See [`super::known::Marks`].
    pub(super) found: bool,
    /// The aggregator has its arrival.
    pub(super) settled: bool,
    /// When it had gone.
    pub(super) gone_at: Option<Timestamp>,
}

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Told(Batch),
    Settled(u64),
    Gone(u64, Timestamp),
    Done(u64),
}

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Of whole records, with the magic before them.
    length: u64,
    /// A failed write may have left more than these.
    cut: bool,
    records: usize,
    /// Of entries that were not written yet.
    pending: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path`; gives the batches in it.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<Batch>)> {
        let batches = read(&path)?;
        let (file, length) = write_anew(&path, &batches)?;
        let records = records_in(length);
        Ok((Self { path, file, length, cut: false, records, pending: Vec::new() }, batches))
    }

    pub(super) fn note(&mut self, entry: Entry) {
        self.pending.extend_from_slice(&encode(entry));
    }

    /// Writes what was noted; false if that is nothing. What could not be written is with the next. `known` is about
    /// how many batches are live.
    pub(super) fn flush(&mut self, known: usize) -> io::Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        self.append()?;
        if self.records >= COMPACT_FROM.max(4 * known) {
            let batches = read(&self.path)?;
            (self.file, self.length) = write_anew(&self.path, &batches)?;
            self.records = records_in(self.length);
        }
        Ok(true)
    }

    /// All that is pending, or nothing: behind a part of a record no other would be read.
    fn append(&mut self) -> io::Result<()> {
        self.mend()?;
        if let Err(error) = self.file.write_all(&self.pending) {
            self.cut = true;
            self.pending.truncate(MOST_PENDING);
            // If this fails too it is tried again before the next write.
            let _ = self.mend();
            return Err(error);
        }
        self.length += self.pending.len() as u64;
        self.records += self.pending.len() / RECORD;
        self.pending = Vec::new();
        Ok(())
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.cut {
            self.file.set_len(self.length)?;
            self.cut = false;
        }
        Ok(())
    }
}

fn records_in(length: u64) -> usize {
    length as usize / RECORD
}

/// The batches that are live, in the order in which they were told. What is not a journal is an error; a journal that
/// is not there is empty.
fn read(path: &Path) -> io::Result<Vec<Batch>> {
    let mut file = match File::open(path) {
        Ok(file) => io::BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a journal of this agent")),
    }
    let mut batches: HashMap<u64, (usize, Batch)> = HashMap::new();
    let mut record = [0; RECORD];
    let mut count = 0;
    while file.read_exact(&mut record).is_ok() {
        // Behind a record that was cut or damaged nothing can be trusted to be one.
        let Some(entry) = decode(&record) else { break };
        replay(&mut batches, entry, count);
        count += 1;
    }
    let mut batches: Vec<(usize, Batch)> = batches.into_values().collect();
    batches.sort_unstable_by_key(|(told, _)| *told);
    Ok(batches.into_iter().map(|(_, batch)| batch).collect())
}

fn replay(batches: &mut HashMap<u64, (usize, Batch)>, entry: Entry, count: usize) {
    match entry {
        Entry::Told(batch) => drop(batches.insert(batch.id, (count, batch))),
        Entry::Settled(id) => {
            if let Some((_, batch)) = batches.get_mut(&id) {
                batch.settled = true;
            }
        }
        Entry::Gone(id, at) => {
            if let Some((_, batch)) = batches.get_mut(&id) {
                batch.gone_at = Some(at);
            }
        }
        Entry::Done(id) => drop(batches.remove(&id)),
    }
}

/// A journal of nothing but `batches`, there whole or not at all; gives it open for more, and its length.
fn write_anew(path: &Path, batches: &[Batch]) -> io::Result<(File, u64)> {
    let half = path.with_extension("tmp");
    let mut bytes = Vec::with_capacity(MAGIC.len() + 2 * RECORD * batches.len());
    bytes.extend_from_slice(&MAGIC);
    for batch in batches {
        bytes.extend_from_slice(&encode(Entry::Told(*batch)));
        if batch.settled {
            bytes.extend_from_slice(&encode(Entry::Settled(batch.id)));
        }
        if let Some(at) = batch.gone_at {
            bytes.extend_from_slice(&encode(Entry::Gone(batch.id, at)));
        }
    }
    // Appends: whoever opened it before writes to the old one.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(&bytes)?;
    drop(file);
    std::fs::rename(&half, path)?;
    let file = OpenOptions::new().append(true).open(path)?;
    Ok((file, bytes.len() as u64))
}

fn encode(entry: Entry) -> [u8; RECORD] {
    let (kind, batch) = match entry {
        Entry::Told(batch) => (1, batch),
        Entry::Settled(id) => (2, Batch { id, ..Batch::default() }),
        Entry::Gone(id, at) => (3, Batch { id, arrived_at: at, ..Batch::default() }),
        Entry::Done(id) => (4, Batch { id, ..Batch::default() }),
    };
    let words = [
        kind | (u64::from(batch.found) << 8),
        batch.id,
        batch.key.birth,
        batch.key.inode,
        batch.size,
        batch.modified as u64,
        batch.arrived_at.0,
    ];
    let mut record = [0; RECORD];
    for (word, at) in words.iter().zip(record.chunks_exact_mut(8)) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    let sum = checksum(&record[..RECORD - 8]);
    record[RECORD - 8..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD]) -> Option<Entry> {
    let mut words = [0; RECORD / 8];
    for (word, bytes) in words.iter_mut().zip(record.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [kind, id, birth, inode, size, modified, at, sum] = words;
    if sum != checksum(&record[..RECORD - 8]) {
        return None;
    }
    let at = Timestamp(at);
    let batch = Batch {
        id,
        key: Key { inode, birth },
        size,
        modified: modified as i64,
        arrived_at: at,
        found: kind >> 8 == 1,
        settled: false,
        gone_at: None,
    };
    match kind & 0xff {
        1 => Some(Entry::Told(batch)),
        2 => Some(Entry::Settled(id)),
        3 => Some(Entry::Gone(id, at)),
        4 => Some(Entry::Done(id)),
        _ => None,
    }
}

/// It is to find a record that was cut, not one that was forged.
fn checksum(bytes: &[u8]) -> u64 {
    crc32c::crc32c(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(id: u64) -> Batch {
        let key = Key { inode: id, birth: 3 };
        Batch { id, key, size: 9, modified: -5, arrived_at: Timestamp(77), found: id % 2 == 1, ..Batch::default() }
    }

    #[test]
    fn what_was_noted_is_there_after_a_restart_until_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, batches) = Journal::open(path.clone()).unwrap();
        assert!(batches.is_empty());
        for id in [5, 1, 2, 3] {
            journal.note(Entry::Told(batch(id)));
        }
        journal.note(Entry::Settled(1));
        journal.note(Entry::Settled(2));
        journal.flush(4).unwrap();
        journal.note(Entry::Gone(2, Timestamp(99)));
        journal.note(Entry::Gone(3, Timestamp(98)));
        journal.note(Entry::Settled(3));
        journal.note(Entry::Done(3));
        journal.flush(4).unwrap();
        let expected = [
            batch(5),
            Batch { settled: true, ..batch(1) },
            Batch { settled: true, gone_at: Some(Timestamp(99)), ..batch(2) },
        ];
        for _ in 0..2 {
            let (_, batches) = Journal::open(path.clone()).unwrap();
            assert_eq!(batches, expected, "also once it was written anew");
        }
    }

    #[test]
    fn it_does_not_grow_with_the_batches_that_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(path.clone()).unwrap();
        for id in 0..60_000 {
            journal.note(Entry::Told(batch(id)));
            journal.note(Entry::Done(id));
            if id % 100 == 0 {
                journal.flush(0).unwrap();
            }
        }
        journal.note(Entry::Told(batch(1 << 40)));
        journal.flush(0).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < (COMPACT_FROM * RECORD) as u64);
        assert_eq!(Journal::open(path).unwrap().1, [batch(1 << 40)]);
    }

    #[test]
    fn a_file_that_is_no_journal_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        // The last is one whose records had another checksum.
        for other in ["somebody's notes", "FBAYDIR1"] {
            std::fs::write(&path, other).unwrap();
            assert!(Journal::open(path.clone()).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), other.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn what_is_cut_or_damaged_ends_the_journal_and_nothing_else(cut in 0..300usize, flip in 0..300usize) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let (mut journal, _) = Journal::open(path.clone()).unwrap();
            (0..4).for_each(|id| journal.note(Entry::Told(batch(id))));
            journal.flush(4).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.truncate(bytes.len().min(MAGIC.len() + cut));
            if let Some(byte) = bytes.get_mut(MAGIC.len() + flip) {
                *byte ^= 1;
            }
            std::fs::write(&path, &bytes).unwrap();
            let whole = (cut / RECORD).min(flip / RECORD).min(4);
            let whole = if MAGIC.len() + flip < bytes.len() { whole } else { (cut / RECORD).min(4) };
            let expected: Vec<Batch> = (0..whole as u64).map(batch).collect();
            prop_assert_eq!(Journal::open(path).unwrap().1, expected);
        }
    }
}
