//! Bounded reads of kernel files: the edge between the kernel and the pure readers.
//!
//! Opening a file costs three times as much as reading it, and looking one up by its path costs more than either when
//! caches are cold, so a reader owns its files: each stays open and is read from its start. One that is not there is
//! not looked for each time. A cgroup or process that was removed answers its open files with an error of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::keyed;

/// The buffer's first size: nearly every file fits.
const FIRST: usize = 4 << 10;
/// No file that is read here comes near it; what is longer is cut.
const MOST: usize = 64 << 10;
/// The kernel gives such files in pages, and a last part that is shorter than this is all that is left.
const SHORT: usize = 2048;
/// Absent files are looked for again after 1, 2, 4 … and then each so many samples.
const LOOK_AGAIN: u64 = 64;

/// What the kernel answers for a cgroup (`ENODEV`) or a process (`ESRCH`) that is gone.
const GONE: [i32; 2] = [19, 3];

/// One file, below a directory that its owner knows.
pub(super) struct KernelFile {
    name: &'static str,
    hold: bool,
    state: State,
}

enum State {
    Unopened,
    Open(File),
    Absent,
}

impl KernelFile {
    /// Held open from its first read on.
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, hold: true, state: State::Unopened }
    }

    /// Held open or, where there would be too many, opened for each read.
    pub(super) const fn held(name: &'static str, hold: bool) -> Self {
        Self { name, hold, state: State::Unopened }
    }

    /// The text; nothing if the file is not there, not readable or not UTF-8.
    #[inline(never)]
    pub(super) fn read<'a>(&mut self, dir: &Path, reader: &'a mut Reader) -> Option<&'a str> {
        let len = match &self.state {
            State::Open(file) => reader.fill(file),
            State::Absent if !reader.looks => return None,
            State::Absent | State::Unopened => self.open(dir, reader),
        };
        match len {
            Ok(len) => reader.text(len),
            Err(error) => {
                self.state = State::Absent;
                reader.gone |= error.raw_os_error().is_some_and(|code| GONE.contains(&code));
                None
            }
        }
    }

    /// The number that is all of the file.
    pub(super) fn number(&mut self, dir: &Path, reader: &mut Reader) -> Option<u64> {
        keyed::number(self.read(dir, reader)?)
    }

    /// Whether it has been read before, or looked for.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.state, State::Unopened)
    }

    #[cold]
    fn open(&mut self, dir: &Path, reader: &mut Reader) -> io::Result<usize> {
        let file = File::open(dir.join(self.name))?;
        let len = reader.fill(&file)?;
        if self.hold {
            self.state = State::Open(file);
        }
        Ok(len)
    }
}

/// What the reads of a source share: the buffer, and what they met.
pub(super) struct Reader {
    buffer: Vec<u8>,
    samples: u64,
    looks: bool,
    gone: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; FIRST], samples: 0, looks: true, gone: false }
    }
}

impl Reader {
    /// Begins a sample.
    pub(super) fn begin(&mut self) {
        self.samples += 1;
        self.looks = self.samples.is_power_of_two() || self.samples.is_multiple_of(LOOK_AGAIN);
        self.gone = false;
    }

    /// Begins with another source.
    pub(super) fn restart(&mut self) {
        self.samples = 0;
    }

    /// Whether this sample looks for what was absent.
    pub(super) fn looks(&self) -> bool {
        self.looks
    }

    /// Leaves absent what is absent, for this sample.
    pub(super) fn stop_looking(&mut self) {
        self.looks = false;
    }

    /// Whether a read since the last call met a cgroup or process that is gone.
    pub(super) fn take_gone(&mut self) -> bool {
        std::mem::take(&mut self.gone)
    }

    /// The text of a file that may be replaced by another of its name: it is not held.
    pub(super) fn read_once(&mut self, path: &Path) -> io::Result<&str> {
        let len = self.fill(&File::open(path)?)?;
        self.text(len).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn text(&self, len: usize) -> Option<&str> {
        std::str::from_utf8(self.buffer.get(..len)?).ok()
    }

    /// Reads a file from its start; gives the bytes read.
    #[inline(never)]
    fn fill(&mut self, file: &File) -> io::Result<usize> {
        let mut len = 0;
        loop {
            if len == self.buffer.len() {
                if len >= MOST {
                    return Ok(len);
                }
                self.buffer.resize((len * 2).min(MOST), 0);
            }
            match file.read_at(&mut self.buffer[len..], len as u64) {
                Ok(more) if more < SHORT && len + more < self.buffer.len() => return Ok(len + more),
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_cut_and_a_missing_one_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for (length, read) in [(0, 0), (SHORT, SHORT), (FIRST - 1, FIRST - 1), (FIRST, FIRST), (MOST + 5, MOST)] {
            std::fs::write(dir.path().join("long"), "x".repeat(length)).unwrap();
            let mut reader = Reader::default();
            assert_eq!(KernelFile::new("long").read(dir.path(), &mut reader).unwrap().len(), read);
            assert!(reader.buffer.len() <= MOST);
        }
        assert_eq!(KernelFile::new("none").read(dir.path(), &mut Reader::default()), None);
    }

    #[test]
    fn an_absent_file_is_looked_for_again_but_ever_more_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, mut reader) = (KernelFile::new("memory.peak"), Reader::default());
        let mut found = Vec::new();
        for sample in 1..=16 {
            reader.begin();
            if sample == 5 {
                std::fs::write(dir.path().join("memory.peak"), "7\n").unwrap();
            }
            found.extend(file.number(dir.path(), &mut reader).map(|_| sample));
        }
        assert_eq!(found, (8..=16).collect::<Vec<_>>());
    }

    #[test]
    fn an_open_file_is_read_from_its_start_and_one_that_is_not_held_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::default();
        let (mut held, mut named) = (KernelFile::new("pids"), KernelFile::held("pids", false));
        for (text, first) in [("1\n", "1\n"), ("2\n", "1\n")] {
            std::fs::write(dir.path().join("next"), text).unwrap();
            std::fs::rename(dir.path().join("next"), dir.path().join("pids")).unwrap();
            assert_eq!(held.read(dir.path(), &mut reader), Some(first));
            assert_eq!(named.read(dir.path(), &mut reader), Some(text));
            assert_eq!(reader.read_once(&dir.path().join("pids")).unwrap(), text);
        }
    }

    #[test]
    fn a_process_that_ended_is_told_as_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dir = Path::new("/proc").join(child.id().to_string());
        let (mut stat, mut reader) = (KernelFile::new("stat"), Reader::default());
        assert!(stat.read(&dir, &mut reader).is_some() && !reader.take_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stat.read(&dir, &mut reader).is_none() && reader.take_gone());
        assert!(!reader.take_gone(), "it is told once");
    }
}
