//! `memory.*` of cgroup v1.

use std::path::Path;

use forebay_shared::{Bytes, ResourceSample};

use super::super::kernel_file::KernelFiles;
use super::super::keyed;

/// `memory.limit_in_bytes` without a limit is 2^63 less a page; nobody has a tenth of it.
const UNLIMITED: u64 = 1 << 60;

pub(in super::super) fn read(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    let mut number = |file: &str| files.number(&dir.join(file));
    into.memory = number("memory.usage_in_bytes").map(Bytes);
    into.memory_peak = number("memory.max_usage_in_bytes").map(Bytes);
    into.memory_limit = number("memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED).map(Bytes);
    into.memory_max_events = number("memory.failcnt");
    if let Some(text) = files.read(&dir.join("memory.stat")) {
        stat(text, into);
    }
    into.oom_kills = files.read(&dir.join("memory.oom_control")).and_then(|text| keyed::value(text, "oom_kill"));
}

fn stat(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "total_rss" => into.memory_anon = Some(Bytes(value)),
            "total_cache" => into.memory_file = Some(Bytes(value)),
            "total_inactive_file" => {
                into.memory_working_set = into.memory.map(|memory| Bytes(memory.0.saturating_sub(value)));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            read(dir.path(), &mut KernelFiles::default(), &mut sample);
            sample.memory_limit
        };
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("268435456\n"), Some(Bytes(256 << 20)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            stat(&text, &mut ResourceSample::default());
            let _ = keyed::value(&text, "oom_kill");
        }
    }
}
