//! `cpuacct.usage` (ns) and `cpuacct.stat` (ticks): CPU time of the cgroup and all below it.

use std::path::Path;

use forebay_shared::ResourceSample;

use super::super::kernel_file::KernelFiles;
use super::super::keyed;

pub(in super::super) fn read(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    into.cpu_us = files.number(&dir.join("cpuacct.usage")).map(|nanos| nanos / 1000);
    if let Some(text) = files.read(&dir.join("cpuacct.stat")) {
        stat(text, procfs::ticks_per_second(), into);
    }
}

fn stat(text: &str, ticks_per_second: u64, into: &mut ResourceSample) {
    let micros = |ticks: u64| ticks.saturating_mul(1_000_000 / ticks_per_second.max(1));
    into.cpu_user_us = keyed::value(text, "user").map(micros);
    into.cpu_system_us = keyed::value(text, "system").map(micros);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_become_microseconds() {
        let mut sample = ResourceSample::default();
        stat("user 150\nsystem 7\n", 100, &mut sample);
        assert_eq!((sample.cpu_user_us, sample.cpu_system_us), (Some(1_500_000), Some(70_000)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String, ticks: u64) {
            stat(&text, ticks, &mut ResourceSample::default());
        }
    }
}
