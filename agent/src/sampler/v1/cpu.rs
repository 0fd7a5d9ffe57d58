//! `cpu.stat`, `cpu.cfs_quota_us` and `cpu.cfs_period_us`: the quota, and how often it ran out.

use std::path::Path;

use forebay_shared::{Millicores, ResourceSample};

use super::super::kernel_file::KernelFiles;
use super::super::keyed;

pub(in super::super) fn throttling(dir: &Path, files: &mut KernelFiles, into: &mut ResourceSample) {
    if let Some(text) = files.read(&dir.join("cpu.stat")) {
        stat(text, into);
    }
    // -1 is unlimited, and no `u64`.
    let quota = files.number(&dir.join("cpu.cfs_quota_us"));
    let period = files.number(&dir.join("cpu.cfs_period_us"));
    into.cpu_quota = quota.zip(period).and_then(|(quota, period)| millicores(quota, period));
}

/// Thousandths of a core, to the nearest.
pub(in super::super) fn millicores(quota: u64, period: u64) -> Option<Millicores> {
    let thousandths = (u128::from(quota) * 1000 + u128::from(period) / 2).checked_div(u128::from(period))?;
    u64::try_from(thousandths).ok().map(Millicores)
}

fn stat(text: &str, into: &mut ResourceSample) {
    for (key, value) in keyed::pairs(text) {
        match key {
            "nr_periods" => into.cpu_periods = Some(value),
            "nr_throttled" => into.cpu_throttled_periods = Some(value),
            "throttled_time" => into.cpu_throttled_us = Some(value / 1000),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn throttled_time_comes_in_nanoseconds() {
        let mut sample = ResourceSample::default();
        stat("nr_periods 12\nnr_throttled 3\nthrottled_time 4500000\nnr_bursts 0\n", &mut sample);
        assert_eq!((sample.cpu_periods, sample.cpu_throttled_periods), (Some(12), Some(3)));
        assert_eq!(sample.cpu_throttled_us, Some(4500));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_left(text: String, quota: u64, period: u64) {
            stat(&text, &mut ResourceSample::default());
            let _ = millicores(quota, period);
        }
    }
}
