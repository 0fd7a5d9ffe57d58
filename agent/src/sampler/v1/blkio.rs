//! `blkio.throttle.*_recursive`: bytes and operations on block devices, of the cgroup and all below it.

use std::path::Path;

use forebay_shared::ResourceSample;

use super::super::kernel_file::KernelFiles;

pub(in super::super) fn read(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    if let Some(text) = files.read(&dir.join("blkio.throttle.io_service_bytes_recursive")) {
        (into.io_read_bytes, into.io_write_bytes) = read_and_write(text);
    }
    if let Some(text) = files.read(&dir.join("blkio.throttle.io_serviced_recursive")) {
        (into.io_read_ops, into.io_write_ops) = read_and_write(text);
    }
}

/// Sums of the lines `major:minor Read n` and `… Write n`. A file of `Total 0` alone has seen no IO: zero, not absent.
fn read_and_write(text: &str) -> (Option<u64>, Option<u64>) {
    let (mut read, mut written, mut known) = (0_u64, 0_u64, false);
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().rev();
        let Some(value) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        match words.next() {
            Some("Read") => read = read.saturating_add(value),
            Some("Write") => written = written.saturating_add(value),
            Some("Total") => known = true,
            _ => {}
        }
    }
    if known { (Some(read), Some(written)) } else { (None, None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn devices_are_summed_and_no_io_is_zero() {
        let text = "8:0 Read 10\n8:0 Write 4\n8:0 Sync 9\n8:0 Total 14\n8:16 Read 1\n8:16 Write 2\nTotal 17\n";
        assert_eq!(read_and_write(text), (Some(11), Some(6)));
        assert_eq!(read_and_write("Total 0\n"), (Some(0), Some(0)));
        assert_eq!(read_and_write(""), (None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            let _ = read_and_write(&text);
        }
    }
}
