//! `memory.*` of cgroup v1.

use std::path::Path;

use forebay_shared::{Bytes, ResourceSample};

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

/// `memory.limit_in_bytes` without a limit is 2^63 less a page; nobody has a tenth of it.
const UNLIMITED: u64 = 1 << 60;

pub(in crate::sampler) struct Memory {
    usage: KernelFile,
    peak: KernelFile,
    limit: KernelFile,
    limit_hits: KernelFile,
    swap_limit_hits: KernelFile,
    stat: KernelFile,
    oom_control: KernelFile,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            usage: KernelFile::new("memory.usage_in_bytes"),
            peak: KernelFile::new("memory.max_usage_in_bytes"),
            limit: KernelFile::new("memory.limit_in_bytes"),
            limit_hits: KernelFile::new("memory.failcnt"),
            swap_limit_hits: KernelFile::new("memory.memsw.failcnt"),
            stat: KernelFile::new("memory.stat"),
            oom_control: KernelFile::new("memory.oom_control"),
        }
    }
}

impl Memory {
    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        into.memory = self.usage.number(dir, reader).map(Bytes);
        into.memory_peak = self.peak.number(dir, reader).map(Bytes);
        into.memory_limit = self.limit.number(dir, reader).filter(|limit| *limit < UNLIMITED).map(Bytes);
        // Container runtimes set both limits alike, and the one of memory with swap is checked first.
        let hits = self.limit_hits.number(dir, reader);
        let with_swap = self.swap_limit_hits.number(dir, reader).unwrap_or(0);
        into.memory_max_events = hits.map(|hits| hits.saturating_add(with_swap));
        if let Some(text) = self.stat.read(dir, reader) {
            stat(text, into);
        }
        into.oom_kills = self.oom_control.read(dir, reader).and_then(oom_kills);
    }
}

/// Of the cgroup and all below it (`total_`), which is the cgroup's own where nothing is below it.
pub(in crate::sampler) fn stat(text: &str, into: &mut ResourceSample) {
    keyed::each(text, &mut |key, value| match key {
        b"total_rss" => into.memory_anon = Some(Bytes(value)),
        b"total_cache" => into.memory_file = Some(Bytes(value)),
        b"total_inactive_file" => {
            into.memory_working_set = into.memory.map(|memory| Bytes(memory.0.saturating_sub(value)));
        }
        _ => {}
    });
}

/// Kernels before 4.13 don't tell.
pub(in crate::sampler) fn oom_kills(text: &str) -> Option<u64> {
    keyed::value(text, b"oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_leaves_out_the_inactive_page_cache() {
        let mut sample = ResourceSample { memory: Some(Bytes(1000)), ..ResourceSample::default() };
        stat("cache 1\nrss 2\ntotal_cache 600\ntotal_rss 300\ntotal_inactive_file 450\n", &mut sample);
        assert_eq!(sample.memory_working_set, Some(Bytes(550)));
        assert_eq!((sample.memory_anon, sample.memory_file), (Some(Bytes(300)), Some(Bytes(600))));
    }

    #[test]
    fn a_limit_near_the_kernels_largest_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let limit = |text: &str| {
            std::fs::write(dir.path().join("memory.limit_in_bytes"), text).unwrap();
            let mut sample = ResourceSample::default();
            Memory::default().read(dir.path(), &mut Reader::default(), &mut sample);
            sample.memory_limit
        };
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("268435456\n"), Some(Bytes(256 << 20)));
    }

    #[test]
    fn hits_of_the_limit_with_swap_count_too() {
        let dir = tempfile::tempdir().unwrap();
        let hits = || {
            let mut sample = ResourceSample::default();
            Memory::default().read(dir.path(), &mut Reader::default(), &mut sample);
            sample.memory_max_events
        };
        std::fs::write(dir.path().join("memory.failcnt"), "2\n").unwrap();
        assert_eq!(hits(), Some(2));
        std::fs::write(dir.path().join("memory.memsw.failcnt"), "5\n").unwrap();
        assert_eq!(hits(), Some(7));
    }

    #[test]
    fn kills_are_told_apart_from_the_state_beside_them() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 1\noom_kill 3\n"), Some(3));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
