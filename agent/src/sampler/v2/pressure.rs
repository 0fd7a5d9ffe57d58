//! `{cpu,memory,io}.pressure`: pressure stall information, µs in all.

use std::path::Path;

use forebay_shared::sample::Pressure;

use super::super::kernel_file::KernelFiles;

pub(in super::super) fn read(dir: &Path, files: &mut KernelFiles, into: &mut Pressure) {
    let mut totals = |file: &str| files.read(&dir.join(file)).map(totals).unwrap_or_default();
    (into.cpu_some_us, into.cpu_full_us) = totals("cpu.pressure");
    (into.memory_some_us, into.memory_full_us) = totals("memory.pressure");
    (into.io_some_us, into.io_full_us) = totals("io.pressure");
}

/// The totals of `some` and `full`.
fn totals(text: &str) -> (Option<u64>, Option<u64>) {
    (total(text, "some"), total(text, "full"))
}

fn total(text: &str, kind: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    line.split_ascii_whitespace().find_map(|pair| pair.strip_prefix("total="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_kernel_without_full_leaves_it_absent() {
        assert_eq!(totals("some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n"), (Some(12), None));
        let both = "some avg10=1.00 total=12\nfull avg10=0.00 total=3\n";
        assert_eq!(totals(both), (Some(12), Some(3)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            let _ = totals(&text);
        }
    }
}
