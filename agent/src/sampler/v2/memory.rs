//! `memory.*` of cgroup v2.

use std::path::Path;

use forebay_shared::{Bytes, ResourceSample};

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

pub(in crate::sampler) struct Memory {
    current: KernelFile,
    peak: KernelFile,
    max: KernelFile,
    stat: KernelFile,
    events: KernelFile,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            current: KernelFile::new("memory.current"),
            // Kernels before 5.19 have none.
            peak: KernelFile::new("memory.peak"),
            max: KernelFile::new("memory.max"),
            stat: KernelFile::new("memory.stat"),
            // `memory.events.local` would leave out what happens to a cgroup that the component makes below its own.
            events: KernelFile::new("memory.events"),
        }
    }
}

impl Memory {
    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        into.memory = self.current.number(dir, reader).map(Bytes);
        into.memory_peak = self.peak.number(dir, reader).map(Bytes);
        // `max` is unlimited, and no number.
        into.memory_limit = self.max.number(dir, reader).map(Bytes);
        if let Some(text) = self.stat.read(dir, reader) {
            stat(text, into);
        }
        if let Some(text) = self.events.read(dir, reader) {
            events(text, into);
        }
    }
}

pub(in crate::sampler) fn stat(text: &str, into: &mut ResourceSample) {
    keyed::each(text, &mut |key, value| match key {
        b"anon" => into.memory_anon = Some(Bytes(value)),
        b"file" => into.memory_file = Some(Bytes(value)),
        b"inactive_file" => {
            into.memory_working_set = into.memory.map(|memory| Bytes(memory.0.saturating_sub(value)));
        }
        _ => {}
    });
}

pub(in crate::sampler) fn events(text: &str, into: &mut ResourceSample) {
    keyed::each(text, &mut |key, value| match key {
        b"high" => into.memory_high_events = Some(value),
        b"max" => into.memory_max_events = Some(value),
        b"oom" => into.oom_events = Some(value),
        b"oom_kill" => into.oom_kills = Some(value),
        _ => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_parts_are_told_by_name() {
        let mut sample = ResourceSample { memory: Some(Bytes(100)), ..ResourceSample::default() };
        stat("anon 40\nfile 60\nkernel 1\ninactive_file 25\n", &mut sample);
        events("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n", &mut sample);
        assert_eq!((sample.memory_anon, sample.memory_working_set), (Some(Bytes(40)), Some(Bytes(75))));
        assert_eq!((sample.memory_high_events, sample.memory_max_events), (Some(1), Some(2)));
        assert_eq!((sample.oom_events, sample.oom_kills), (Some(3), Some(4)));
    }
}
