//! The kernel's flat keyed files, `key value` a line, and the numbers in all of its files.
//!
//! A sample is taken once a second, when hardly any of the code for it is in the CPU's caches any more: code that is
//! shared is fetched once, where copies of it inlined into each reader would cost more than the kernel's own work.

/// A number that is all of a text, but for blanks around it.
#[inline(never)]
pub(super) fn number(text: &str) -> Option<u64> {
    digits(text.as_bytes().trim_ascii())
}

fn digits(text: &[u8]) -> Option<u64> {
    let mut number = if text.is_empty() { None } else { Some(0_u64) };
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        number = number.filter(|_| digit < 10)?.checked_mul(10)?.checked_add(u64::from(digit));
    }
    number
}

/// Shows `take` the pairs; lines that are none are left out.
#[inline(never)]
pub(super) fn each(text: &str, take: &mut dyn FnMut(&[u8], u64)) {
    // `memory.stat` has fifty short lines: a search for each of their ends and blanks costs more than one look at all.
    for line in text.as_bytes().split(|byte| *byte == b'\n') {
        if let Some(blank) = line.iter().position(|byte| *byte == b' ')
            && let Some(value) = digits(line[blank..].trim_ascii())
        {
            take(&line[..blank], value);
        }
    }
}

/// The value of one key: the first one.
pub(super) fn value(text: &str, wanted: &[u8]) -> Option<u64> {
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
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_slice(), *value)).collect();
        assert_eq!(pairs, [(&b"a"[..], 1), (b"d", 4), (b"a", 9), (b"g", 7)]);
        assert_eq!((value(text, b"a"), value(text, b"g"), value(text, b"b")), (Some(1), Some(7), None));
    }

    #[test]
    fn a_number_is_all_digits_and_fits() {
        for (text, read) in [("0\n", Some(0)), (" 42 ", Some(42)), ("18446744073709551615", Some(u64::MAX))] {
            assert_eq!(number(text), read, "{text}");
        }
        for text in ["", "\n", "-1", "+1", "max", "1 2", "18446744073709551616", "99999999999999999999", "1\u{e9}"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
