//! `memory.*` of cgroup v2.

use std::path::Path;

use forebay_shared::{Bytes, ResourceSample};

use super::super::kernel_file::KernelFiles;
use super::super::keyed;

pub(in super::super) fn read(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    let mut number = |file: &str| files.number(&dir.join(file));
    into.memory = number("memory.current").map(Bytes);
    into.memory_peak = number("memory.peak").map(Bytes);
    // `max` is unlimited, and no number.
    into.memory_limit = number("memory.max").map(Bytes);
    if let Some(text) = files.read(&dir.join("memory.stat")) {
        stat(text, into);
    }
    if let Some(text) = files.read(&dir.join("memory.events")) {
        events(text, into);
    }
}

fn stat(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "anon" => into.memory_anon = Some(Bytes(value)),
            "file" => into.memory_file = Some(Bytes(value)),
            "inactive_file" => {
                into.memory_working_set = into.memory.map(|memory| Bytes(memory.0.saturating_sub(value)));
            }
            _ => {}
        }
    }
}

fn events(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "high" => into.memory_high_events = Some(value),
            "max" => into.memory_max_events = Some(value),
            "oom" => into.oom_events = Some(value),
            "oom_kill" => into.oom_kills = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_and_parts_are_told_by_name() {
        let mut sample = ResourceSample { memory: Some(Bytes(100)), ..ResourceSample::default() };
        stat("anon 40\nfile 60\nkernel 1\ninactive_file 25\n", &mut sample);
        events("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n", &mut sample);
        assert_eq!((sample.memory_anon, sample.memory_working_set), (Some(Bytes(40)), Some(Bytes(75))));
        assert_eq!((sample.memory_high_events, sample.memory_max_events), (Some(1), Some(2)));
        assert_eq!((sample.oom_events, sample.oom_kills), (Some(3), Some(4)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            stat(&text, &mut ResourceSample::default());
            events(&text, &mut ResourceSample::default());
        }
    }
}
