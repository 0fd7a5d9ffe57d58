//! `cpu.stat`, `cpu.cfs_quota_us` and `cpu.cfs_period_us`: the quota, and how often it ran out.

use std::path::Path;

use forebay_shared::{Millicores, ResourceSample};

use crate::sampler::kernel_file::{KernelFile, Reader};
use crate::sampler::keyed;

pub(in crate::sampler) struct Cpu {
    stat: KernelFile,
    quota: KernelFile,
    period: KernelFile,
}

impl Cpu {
    pub(in crate::sampler) fn new(hold: bool) -> Self {
        let file = |name| KernelFile::held(name, hold);
        Self { stat: file("cpu.stat"), quota: file("cpu.cfs_quota_us"), period: file("cpu.cfs_period_us") }
    }

    pub(in crate::sampler) fn read(&mut self, dir: &Path, reader: &mut Reader, into: &mut ResourceSample) {
        if let Some(text) = self.stat.read(dir, reader) {
            stat(text, into);
        }
        // -1 is unlimited, and no `u64`; the period is of no interest then, but is opened with the others.
        let quota = self.quota.number(dir, reader);
        if quota.is_some() || !self.period.is_known() {
            let period = self.period.number(dir, reader);
            into.cpu_quota = quota.zip(period).and_then(|(quota, period)| millicores(quota, period));
        }
    }
}

/// Thousandths of a core, to the nearest.
pub(in crate::sampler) fn millicores(quota: u64, period: u64) -> Option<Millicores> {
    let thousandths = (u128::from(quota) * 1000 + u128::from(period) / 2).checked_div(u128::from(period))?;
    u64::try_from(thousandths).ok().map(Millicores)
}

pub(in crate::sampler) fn stat(text: &str, into: &mut ResourceSample) {
    keyed::each(text, &mut |key, value| match key {
        b"nr_periods" => into.cpu_periods = Some(value),
        b"nr_throttled" => into.cpu_throttled_periods = Some(value),
        b"throttled_time" => into.cpu_throttled_us = Some(value / 1000),
        _ => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_time_comes_in_nanoseconds() {
        let mut sample = ResourceSample::default();
        stat("nr_periods 12\nnr_throttled 3\nthrottled_time 4500000\nnr_bursts 0\n", &mut sample);
        assert_eq!((sample.cpu_periods, sample.cpu_throttled_periods), (Some(12), Some(3)));
        assert_eq!(sample.cpu_throttled_us, Some(4500));
    }

    #[test]
    fn a_quota_is_rounded_and_never_divides_by_zero() {
        assert_eq!(millicores(33_333, 100_000), Some(Millicores(333)));
        assert_eq!(millicores(1, 0), None);
        assert_eq!(millicores(u64::MAX, 1), None);
    }
}
