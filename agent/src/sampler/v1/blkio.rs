//! `blkio.*`: bytes and operations on block devices. Which files there are, and which of them count, depends on the kernel
//! and the scheduler: the throttling layer of some (seen on 6.18) counts nothing of a device before a rule was set on it.

use std::path::Path;

use forebay_shared::ResourceSample;

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

/// A counter of bytes and one of operations, the best first: those of the throttling layer see all IO, those of a
/// scheduler only the IO that it schedules; `_recursive` counts what is below the cgroup too.
const KINDS: [(&str, &str); 4] = [
    ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"),
    ("blkio.bfq.io_service_bytes_recursive", "blkio.bfq.io_serviced_recursive"),
    ("blkio.io_service_bytes_recursive", "blkio.io_serviced_recursive"),
];

pub(in crate::sampler) struct Blkio {
    kinds: [(KernelFile, KernelFile); 4],
    /// The one that counts.
    kind: usize,
}

impl Default for Blkio {
    fn default() -> Self {
        let kinds = KINDS.map(|(bytes, operations)| (KernelFile::new(bytes), KernelFile::new(operations)));
        Self { kinds, kind: 0 }
    }
}

impl Blkio {
    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        let from = if reader.looks() { 0 } else { self.kind };
        for (kind, (bytes, operations)) in self.kinds.iter_mut().enumerate().skip(from) {
            let counted = bytes.read(dir, reader).map(read_and_write);
            let Some((read @ Some(_), written)) = counted else { continue };
            (into.io_read_bytes, into.io_write_bytes) = (read, written);
            if let Some(text) = operations.read(dir, reader) {
                (into.io_read_ops, into.io_write_ops) = read_and_write(text);
            }
            self.kind = kind;
            return;
        }
    }
}

/// Sums of the lines `major:minor Read n` and `… Write n`. A file of `Total 0` alone is absent, not zero: it is the same
/// whether there was no IO or none was counted.
#[inline(never)]
pub(in crate::sampler) fn read_and_write(text: &str) -> (Option<u64>, Option<u64>) {
    let (mut read, mut written, mut known) = (0_u64, 0_u64, false);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().rev();
        let Some(value) = words.next().and_then(keyed::number) else { continue };
        match words.next() {
            Some("Read") => read = read.saturating_add(value),
            Some("Write") => written = written.saturating_add(value),
            _ => continue,
        }
        known = true;
    }
    if known { (Some(read), Some(written)) } else { (None, None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_summed_and_without_one_nothing_is_known() {
        let text = "8:0 Read 10\n8:0 Write 4\n8:0 Sync 9\n8:0 Total 14\n8:16 Read 1\n8:16 Write 2\nTotal 17\n";
        assert_eq!(read_and_write(text), (Some(11), Some(6)));
        assert_eq!(read_and_write("8:0 Read 0\n8:0 Write 0\n8:0 Total 0\nTotal 0\n"), (Some(0), Some(0)));
        assert_eq!(read_and_write("Total 0\n"), (None, None));
        assert_eq!(read_and_write(""), (None, None));
    }

    #[test]
    fn the_best_counter_that_the_kernel_has_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut readings = Vec::new();
        for (n, (bytes, operations)) in KINDS.iter().enumerate().rev() {
            std::fs::write(dir.path().join(bytes), format!("8:0 Read {n}0\nTotal {n}0\n")).unwrap();
            std::fs::write(dir.path().join(operations), format!("8:0 Write {n}\nTotal {n}\n")).unwrap();
            let (mut blkio, mut reader, mut sample) = (Blkio::default(), Reader::default(), ResourceSample::default());
            for _ in 0..5 {
                reader.begin();
                blkio.read(dir.path(), &mut reader, &mut sample);
            }
            readings.push((sample.io_read_bytes, sample.io_write_ops));
        }
        let expected = [3, 2, 1, 0].map(|n| (Some(n * 10), Some(n)));
        assert_eq!(readings, expected);
        // A throttling layer that does not count leaves it to the scheduler.
        for (bytes, operations) in &KINDS[..2] {
            std::fs::write(dir.path().join(bytes), "Total 0\n").unwrap();
            std::fs::write(dir.path().join(operations), "Total 0\n").unwrap();
        }
        let (mut reader, mut sample) = (Reader::default(), ResourceSample::default());
        Blkio::default().read(dir.path(), &mut reader, &mut sample);
        assert_eq!((sample.io_read_bytes, sample.io_write_ops), (Some(20), Some(2)));
    }
}
