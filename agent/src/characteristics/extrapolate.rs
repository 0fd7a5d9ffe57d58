//! From the records of a batch's first bytes to those of the whole.

/// Records of a batch of `total` bytes whose first `bytes` hold `records` whole ones; at least those, at least 1.
pub(super) fn records(records: u64, bytes: u64, total: u64) -> u64 {
    if bytes == 0 {
        return records.max(1);
    }
    let all = (u128::from(records) * u128::from(total) + u128::from(bytes) / 2) / u128::from(bytes);
    u64::try_from(all).unwrap_or(u64::MAX).max(records).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_grow_with_the_bytes() {
        assert_eq!(records(10, 100, 1000), 100);
        assert_eq!(records(10, 100, 100), 10);
        assert_eq!(records(0, 0, 1000), 1);
        assert_eq!(records(u64::MAX, 1, u64::MAX), u64::MAX);
    }
}
