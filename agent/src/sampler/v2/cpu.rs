//! `cpu.stat` and `cpu.max`: CPU time of the cgroup and all below it; its quota, and how often it ran out.

use std::path::Path;

use forebay_shared::{Millicores, ResourceSample};

use super::super::kernel_file::KernelFiles;
use super::super::keyed;
use super::super::v1::cpu::millicores;

pub(in super::super) fn usage(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    if let Some(text) = files.read(&dir.join("cpu.stat")) {
        usage_stat(text, into);
    }
}

pub(in super::super) fn throttling(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    if let Some(text) = files.read(&dir.join("cpu.stat")) {
        throttling_stat(text, into);
    }
    into.cpu_quota = files.read(&dir.join("cpu.max")).and_then(max);
}

fn usage_stat(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "usage_usec" => into.cpu_us = Some(value),
            "user_usec" => into.cpu_user_us = Some(value),
            "system_usec" => into.cpu_system_us = Some(value),
            _ => {}
        }
    }
}

fn throttling_stat(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "nr_periods" => into.cpu_periods = Some(value),
            "nr_throttled" => into.cpu_throttled_periods = Some(value),
            "throttled_usec" => into.cpu_throttled_us = Some(value),
            _ => {}
        }
    }
}

/// `quota period`, or `max period` where there is none.
fn max(text: &str) -> Option<Millicores> {
    let (quota, period) = text.trim().split_once(' ')?;
    millicores(quota.parse().ok()?, period.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quota_is_told_in_millicores_and_max_is_none() {
        assert_eq!(max("25000 100000\n"), Some(Millicores(250)));
        assert_eq!(max("max 100000\n"), None);
        assert_eq!(max("1 0\n"), None);
    }

    #[test]
    fn use_and_throttling_come_from_one_file() {
        let text = "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 99\n";
        let mut sample = ResourceSample::default();
        usage_stat(text, &mut sample);
        throttling_stat(text, &mut sample);
        assert_eq!((sample.cpu_us, sample.cpu_user_us, sample.cpu_system_us), (Some(10), Some(7), Some(3)));
        assert_eq!((sample.cpu_periods, sample.cpu_throttled_us), (Some(5), Some(99)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String) {
            usage_stat(&text, &mut ResourceSample::default());
            throttling_stat(&text, &mut ResourceSample::default());
            let _ = max(&text);
        }
    }
}
