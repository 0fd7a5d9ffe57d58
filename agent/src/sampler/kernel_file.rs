//! Bounded reads of kernel files: the edge between the kernel and the pure readers.
//!
//! Opening a file costs three times as much as reading it, so files stay open between samples and are read from their
//! start. A cgroup that was removed answers with an error: its files are opened anew, and stay absent if it is gone.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// No file that is read here comes near it; what is longer is cut.
const MOST: usize = 64 << 10;
/// Files held open: 16 of a cgroup and 3 of each child, for 37 children. Others are opened for each read.
const MOST_HELD: usize = 128;
/// The kernel gives such files in pages, and a last part that is shorter than this is all that is left.
const SHORT: usize = 2048;

/// Reads small files through one buffer.
pub(crate) struct KernelFiles {
    buffer: Vec<u8>,
    held: HashMap<PathBuf, Held>,
    sample: u64,
}

struct Held {
    file: File,
    /// The last sample that read it.
    sample: u64,
}

impl Default for KernelFiles {
    fn default() -> Self {
        Self { buffer: vec![0; MOST], held: HashMap::new(), sample: 0 }
    }
}

impl KernelFiles {
    /// The text of a kernel's file; nothing if it is not there, not readable or not UTF-8. It stays open.
    pub(crate) fn read(&mut self, path: &Path) -> Option<&str> {
        let len = match self.read_held(path) {
            Some(len) => len,
            None => self.open(path)?,
        };
        std::str::from_utf8(&self.buffer[..len]).ok()
    }

    /// As [`Self::read`], for a file that is not the kernel's: it may be replaced by another of its name.
    pub(crate) fn read_anew(&mut self, path: &Path) -> Option<&str> {
        let len = fill(&File::open(path).ok()?, &mut self.buffer)?;
        std::str::from_utf8(&self.buffer[..len]).ok()
    }

    /// The number that is all of a file.
    pub(crate) fn number(&mut self, path: &Path) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// Ends a sample: files that it did not read are closed.
    pub(crate) fn end_sample(&mut self) {
        self.held.retain(|_, held| held.sample == self.sample);
        self.sample += 1;
    }

    /// Closes all files.
    pub(crate) fn close(&mut self) {
        self.held.clear();
    }

    fn read_held(&mut self, path: &Path) -> Option<usize> {
        let held = self.held.get_mut(path)?;
        held.sample = self.sample;
        let len = fill(&held.file, &mut self.buffer);
        if len.is_none() {
            self.held.remove(path);
        }
        len
    }

    fn open(&mut self, path: &Path) -> Option<usize> {
        let file = File::open(path).ok()?;
        let len = fill(&file, &mut self.buffer)?;
        if self.held.len() < MOST_HELD {
            self.held.insert(path.to_owned(), Held { file, sample: self.sample });
        }
        Some(len)
    }
}

/// Reads a file from its start; gives the bytes read.
fn fill(file: &File, buffer: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], len as u64) {
            Ok(more) if more < SHORT => return Some(len + more),
            Ok(more) => len += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_cut_and_a_missing_one_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        std::fs::write(&path, "x".repeat(MOST + 5)).unwrap();
        let mut files = KernelFiles::default();
        assert_eq!(files.read(&path).unwrap().len(), MOST);
        assert_eq!(files.read(&dir.path().join("none")), None);
        std::fs::write(&path, "42\n").unwrap();
        assert_eq!(files.number(&path), Some(42));
    }

    #[test]
    fn a_file_that_is_no_longer_read_is_closed_and_one_that_is_replaced_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pids");
        let mut files = KernelFiles::default();
        for text in ["1\n", "2\n"] {
            std::fs::write(dir.path().join("next"), text).unwrap();
            std::fs::rename(dir.path().join("next"), &path).unwrap();
            assert_eq!(files.read_anew(&path), Some(text));
        }
        assert!(files.read(&path).is_some());
        files.end_sample();
        assert_eq!(files.held.len(), 1);
        files.end_sample();
        assert_eq!(files.held.len(), 0);
    }
}
