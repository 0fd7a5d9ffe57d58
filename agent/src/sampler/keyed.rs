//! The kernel's flat keyed files, `key value` a line, and the numbers in all of its files.
//!
//! A sample is taken once a second, when hardly any of the code for it is in the CPU's caches any more: code that is
//! shared is fetched once, where copies of it inlined into each reader would cost more than the kernel's own work.

/// A number that is all of a text.
#[inline(never)]
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim_ascii().parse().ok()
}

/// Shows `take` the pairs; lines that are none are left out.
#[inline(never)]
pub(super) fn each(text: &str, take: &mut dyn FnMut(&str, u64)) {
    for line in text.lines() {
        if let Some((key, value)) = line.split_once(' ')
            && let Some(value) = number(value)
        {
            take(key, value);
        }
    }
}

/// The value of one key: the first one.
pub(super) fn value(text: &str, wanted: &str) -> Option<u64> {
    let mut found = None;
    each(text, &mut |key, value| {
        if key == wanted && found.is_none() {
            found = Some(value);
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_pairs_are_left_out() {
        let text = "a 1\nb\nc x\n\nd  4 \ne -5\na 9\nf 18446744073709551616\ng 7";
        let mut pairs = Vec::new();
        each(text, &mut |key, value| pairs.push((key.to_owned(), value)));
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(pairs, [("a", 1), ("d", 4), ("a", 9), ("g", 7)]);
        assert_eq!((value(text, "a"), value(text, "g"), value(text, "b")), (Some(1), Some(7), None));
    }
}
