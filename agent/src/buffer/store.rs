//! Frames on disk: a row of segment files, the oldest first, and nothing else that would have to be kept right.
//!
//! ```text
//! DIR/lock                     held by the one agent that uses DIR
//! DIR/<index, hex>.frames      frames as they are sent, one behind the other
//! ```
//!
//! A frame tells its length, its boot and its checksum, so a segment needs no index and no journal. Nothing is synced:
//! what a power failure tears is found by its checksum and cut, and the agent outlives all else. How far a segment was
//! shipped is not written down either; after a restart it is sent anew, and the aggregator knows it by boot and
//! sequence.
//!
//! Invariant: the files hold `len` good bytes at least; what lies behind, a failed write left there.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use forebay_shared::FrameError;
use forebay_shared::frame::{HEADER_LEN, Header};

use super::closed::Closed;

/// Segments of a full spill: when the oldest one is given up, so much of it is.
const SEGMENTS: u64 = 16;
const LARGEST_SEGMENT: u64 = 4 << 20;
/// Where indices start: rows grow at both ends.
const FIRST_INDEX: u64 = 1 << 32;

const INDICES: std::ops::Range<u64> = FIRST_INDEX >> 1..FIRST_INDEX << 16;

/// What an operation did beside its purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Toll {
    /// Frames given up since the limit was reached, or since they could not be read.
    pub(super) dropped: u64,
    /// Segments whose end, or a frame of which, was damaged.
    pub(super) torn: u64,
}

/// What waits on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

pub(super) struct Store {
    directory: PathBuf,
    limit: u64,
    segments: VecDeque<Segment>,
    /// Open for the last segment, if it is still written to.
    writer: Option<File>,
    /// Ends of the frames that were read last and not yet consumed, and their segment.
    reading: VecDeque<(u64, u64)>,
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    index: u64,
    len: u64,
    /// What lies before it was consumed.
    position: u64,
    /// Behind `position`.
    frames: u64,
}

impl Store {
    /// Opens a directory, and finds what an earlier boot left there.
    pub(super) fn open(directory: &Path, limit: u64) -> io::Result<(Self, Toll)> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => io::Error::other("another agent uses it"),
            std::fs::TryLockError::Error(error) => error,
        })?;
        let mut indices = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(".frames"));
            let index = index.and_then(|hex| u64::from_str_radix(hex, 16).ok());
            indices.extend(index.filter(|index| INDICES.contains(index)));
        }
        indices.sort_unstable();
        let (segments, writer, reading) = (VecDeque::new(), None, VecDeque::new());
        let mut store = Self { directory: directory.to_owned(), limit, segments, writer, reading, _lock: lock };
        let mut toll = Toll::default();
        for index in indices {
            match store.found(index) {
                Ok((segment, torn)) => {
                    toll.torn += u64::from(torn);
                    store.segments.push_back(segment);
                }
                // Not ours, or damaged beyond reading.
                Err(_) => toll.torn += 1,
            }
        }
        store.segments.retain(|segment| {
            let holds = segment.frames > 0;
            if !holds {
                let _ = std::fs::remove_file(path(directory, segment.index));
            }
            holds
        });
        store.make_room(0, &mut toll);
        Ok((store, toll))
    }

    /// A segment of an earlier boot: its frames are counted by their headers, and checked when they are read.
    fn found(&self, index: u64) -> io::Result<(Segment, bool)> {
        let file = File::open(path(&self.directory, index))?;
        let len = file.metadata()?.len();
        let mut segment = Segment { index, len: 0, position: 0, frames: 0 };
        let mut header = [0; HEADER_LEN];
        while len - segment.len >= HEADER_LEN as u64 {
            file.read_exact_at(&mut header, segment.len)?;
            let Ok(header) = Header::read(&header) else { break };
            if segment.len + header.len as u64 > len {
                break;
            }
            segment.len += header.len as u64;
            segment.frames += 1;
        }
        let torn = segment.len < len;
        Ok((segment, torn))
    }

    /// What waits, consumed frames left out.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            frames: self.segments.iter().map(|segment| segment.frames).sum(),
            bytes: self.segments.iter().map(|segment| segment.len).sum(),
        }
    }

    /// Writes frames behind all others; all of them or, with an error, none.
    pub(super) fn append(&mut self, frames: &[Closed], toll: &mut Toll) -> io::Result<()> {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect();
        let len = bytes.len() as u64;
        if len > self.limit {
            toll.dropped += frames.len() as u64;
            return Ok(());
        }
        self.make_room(len, toll);
        let largest = (self.limit / SEGMENTS).min(LARGEST_SEGMENT);
        if self.writer.is_none() || self.segments.back().is_none_or(|last| last.len + len > largest) {
            let index = self.segments.back().map_or(FIRST_INDEX, |last| last.index + 1);
            self.writer = Some(create(&path(&self.directory, index))?);
            self.segments.push_back(Segment { index, len: 0, position: 0, frames: 0 });
        }
        let (Some(writer), Some(last)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("there is no segment to write to"));
        };
        let written = writer.seek(SeekFrom::Start(last.len)).and_then(|_| writer.write_all(&bytes));
        if let Err(error) = written {
            // What came of it is cut, or else lies behind `len`; a full disk gets its bytes back.
            let _ = writer.set_len(last.len);
            self.writer = None;
            self.forget_empty();
            return Err(error);
        }
        last.len += len;
        last.frames += frames.len() as u64;
        Ok(())
    }

    /// Writes frames before all others: those that were under way when the agent ended.
    pub(super) fn prepend(&mut self, frames: &[Closed]) -> io::Result<()> {
        let index = self.segments.front().map_or(FIRST_INDEX, |first| first.index - 1);
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect();
        let path = path(&self.directory, index);
        create(&path)?.write_all(&bytes).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        let segment = Segment { index, len: bytes.len() as u64, position: 0, frames: frames.len() as u64 };
        self.segments.push_front(segment);
        Ok(())
    }

    /// The oldest frames, as many as fit and one at least, if there is one. They stay until they are consumed.
    pub(super) fn read(&mut self, most: usize, most_frames: usize, toll: &mut Toll) -> Vec<Closed> {
        self.reading.clear();
        loop {
            self.finish_first();
            let Some(first) = self.segments.front_mut() else { return Vec::new() };
            match first.read(&self.directory, most as u64, most_frames) {
                Ok((frames, ends, lost)) => {
                    toll.torn += u64::from(lost > 0);
                    toll.dropped += lost;
                    if frames.is_empty() {
                        continue;
                    }
                    self.reading = ends.into_iter().map(|end| (first.index, end)).collect();
                    return frames;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read a segment of the spill; its frames are lost");
                    toll.dropped += std::mem::take(&mut first.frames);
                    first.position = first.len;
                }
            }
        }
    }

    /// Forgets the first `count` of the frames that were read last.
    pub(super) fn consume(&mut self, count: u64) {
        for (index, end) in self.reading.drain(..self.reading.len().min(count as usize)) {
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.index == index) {
                segment.position = end;
                segment.frames = segment.frames.saturating_sub(1);
            }
        }
        self.reading.clear();
        self.finish_first();
    }

    /// Removes segments from the front that have nothing more to give.
    fn finish_first(&mut self) {
        while let Some(first) = self.segments.front()
            && first.position >= first.len
        {
            self.remove(0);
        }
    }

    /// Gives up the oldest segments, but for the one that is being shipped, until `more` bytes fit.
    fn make_room(&mut self, more: u64, toll: &mut Toll) {
        while self.standing().bytes + more > self.limit {
            let oldest = usize::from(!self.reading.is_empty() && self.segments.len() > 1);
            match self.remove(oldest) {
                Some(segment) => toll.dropped += segment.frames,
                None => return,
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Segment> {
        if at + 1 == self.segments.len() {
            self.writer = None;
        }
        let segment = self.segments.remove(at)?;
        let removed = std::fs::remove_file(path(&self.directory, segment.index));
        if let Err(error) = removed {
            tracing::debug!(%error, "cannot remove a segment of the spill");
        }
        Some(segment)
    }

    fn forget_empty(&mut self) {
        if self.segments.back().is_some_and(|last| last.len == 0) {
            self.remove(self.segments.len() - 1);
        }
    }
}

impl Segment {
    /// Frames from the position on, where each ends, and how many damaged ones were passed over. The position is moved
    /// on if there are none.
    fn read(&mut self, directory: &Path, most: u64, most_frames: usize) -> io::Result<(Vec<Closed>, Vec<u64>, u64)> {
        let file = File::open(path(directory, self.index))?;
        let (mut bytes, mut from) = (self.bytes(&file, most)?, self.position);
        let (mut frames, mut ends, mut lost) = (Vec::new(), Vec::new(), 0);
        let mut at = 0;
        while at < bytes.len() && frames.len() < most_frames.max(1) {
            match Header::check(&bytes[at..]) {
                Ok(header) => {
                    let frame = bytes.slice(at..at + header.len);
                    at += header.len;
                    ends.push(from + at as u64);
                    frames.push(Closed { boot: header.boot, sequence: header.sequence, at: None, bytes: frame });
                }
                Err(FrameError::Truncated { need, .. }) if from + (at + need) as u64 <= self.len => {
                    if !frames.is_empty() {
                        break;
                    }
                    from += at as u64;
                    self.position = from;
                    at = 0;
                    bytes = self.bytes(&file, need as u64)?;
                }
                Err(FrameError::Checksum { .. }) if frames.is_empty() => {
                    // Damaged within: its length may hold all the same, and what follows be whole.
                    lost += 1;
                    at += Header::read(&bytes[at..]).map_or(bytes.len(), |header| header.len);
                    self.position = from + at as u64;
                    self.frames = self.frames.saturating_sub(1);
                }
                // Told at the next turn, when it is the first.
                Err(FrameError::Checksum { .. }) => break,
                Err(_) if !frames.is_empty() => break,
                Err(_) => {
                    self.position = self.len;
                    return Ok((Vec::new(), Vec::new(), lost + std::mem::take(&mut self.frames).max(1)));
                }
            }
        }
        Ok((frames, ends, lost))
    }

    fn bytes(&self, file: &File, most: u64) -> io::Result<Bytes> {
        let len = (self.len - self.position).min(most.max(HEADER_LEN as u64));
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.into())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)
}

fn path(directory: &Path, index: u64) -> PathBuf {
    directory.join(format!("{index:016x}.frames"))
}

#[cfg(test)]
mod tests;
