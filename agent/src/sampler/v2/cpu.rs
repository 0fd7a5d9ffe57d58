//! `cpu.stat` and `cpu.max`: CPU time of the cgroup and all below it; its quota, and how often it ran out.

use std::path::Path;

use forebay_shared::{Millicores, ResourceSample};

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;
use crate::sampler::v1::cpu::millicores;

pub(in crate::sampler) struct Cpu {
    stat: KernelFile,
    max: KernelFile,
}

impl Cpu {
    pub(in crate::sampler) fn new(hold: bool) -> Self {
        Self { stat: KernelFile::held("cpu.stat", hold), max: KernelFile::held("cpu.max", hold) }
    }

    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        if let Some(text) = self.stat.read(dir, reader) {
            stat(text, into);
        }
        into.cpu_quota = self.max.read(dir, reader).and_then(max);
    }
}

/// Without the cpu controller there are no periods in it.
pub(in crate::sampler) fn stat(text: &str, into: &mut ResourceSample) {
    keyed::each(text, &mut |key, value| match key {
        b"usage_usec" => into.cpu_us = Some(value),
        b"user_usec" => into.cpu_user_us = Some(value),
        b"system_usec" => into.cpu_system_us = Some(value),
        b"nr_periods" => into.cpu_periods = Some(value),
        b"nr_throttled" => into.cpu_throttled_periods = Some(value),
        b"throttled_usec" => into.cpu_throttled_us = Some(value),
        _ => {}
    });
}

/// `quota period`, or `max period` where there is none.
pub(in crate::sampler) fn max(text: &str) -> Option<Millicores> {
    let (quota, period) = text.trim().split_once(' ')?;
    millicores(quota.parse().ok()?, period.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_told_in_millicores_and_max_is_none() {
        assert_eq!(max("25000 100000\n"), Some(Millicores(250)));
        for unlimited in ["max 100000\n", "max\n", "max", "1 0\n", ""] {
            assert_eq!(max(unlimited), None, "{unlimited}");
        }
    }

    #[test]
    fn use_and_throttling_come_from_one_file() {
        let text = "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 99\n";
        let mut sample = ResourceSample::default();
        stat(text, &mut sample);
        assert_eq!((sample.cpu_us, sample.cpu_user_us, sample.cpu_system_us), (Some(10), Some(7), Some(3)));
        assert_eq!((sample.cpu_periods, sample.cpu_throttled_us), (Some(5), Some(99)));
    }
}
