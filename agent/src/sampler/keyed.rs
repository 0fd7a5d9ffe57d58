//! The kernel's flat keyed files: `key value` a line.

/// The pairs; lines that are none are left out.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The value of one key.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    pairs(text).find_map(|(found, value)| (found == key).then_some(value))
}
