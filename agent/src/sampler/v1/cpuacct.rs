//! `cpuacct.usage` (ns) and `cpuacct.stat` (ticks): CPU time of the cgroup and all below it.

use std::path::Path;

use forebay_shared::ResourceSample;

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

pub(in crate::sampler) struct Cpuacct {
    usage: KernelFile,
    stat: KernelFile,
    ticks_per_second: u64,
}

impl Default for Cpuacct {
    fn default() -> Self {
        Self {
            usage: KernelFile::new("cpuacct.usage"),
            stat: KernelFile::new("cpuacct.stat"),
            ticks_per_second: procfs::ticks_per_second(),
        }
    }
}

impl Cpuacct {
    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        into.cpu_us = self.usage.number(dir, reader).map(|nanos| nanos / 1000);
        if let Some(text) = self.stat.read(dir, reader) {
            stat(text, self.ticks_per_second, into);
        }
    }
}

pub(in crate::sampler) fn stat(text: &str, ticks_per_second: u64, into: &mut ResourceSample) {
    let micros = |ticks: u64| ticks.saturating_mul(1_000_000 / ticks_per_second.max(1));
    into.cpu_user_us = keyed::value(text, b"user").map(micros);
    into.cpu_system_us = keyed::value(text, b"system").map(micros);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_microseconds() {
        let mut sample = ResourceSample::default();
        stat("user 150\nsystem 7\n", 100, &mut sample);
        assert_eq!((sample.cpu_user_us, sample.cpu_system_us), (Some(1_500_000), Some(70_000)));
    }
}
