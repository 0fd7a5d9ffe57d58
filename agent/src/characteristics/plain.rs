//! Text that is nothing more particular: its records are its lines.

use forebay_shared::DataType;

use super::{Facts, extrapolate};

pub(super) fn facts(text: &[u8], total: u64, cut: bool) -> (DataType, Facts) {
    let newlines = memchr::memchr_iter(b'\n', text).count() as u64;
    let records = if cut {
        let settled = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
        extrapolate::records(newlines, settled, total)
    } else {
        newlines + u64::from(text.last().is_some_and(|last| *last != b'\n'))
    };
    (DataType::Text, Facts { records: Some(records), ..Facts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_with_or_without_its_newline() {
        for text in [&b"a\nb\n"[..], b"a\nb"] {
            assert_eq!(facts(text, text.len() as u64, false).1.records, Some(2));
        }
        assert_eq!(facts(b"ab\nab\na", 30, true).1.records, Some(10));
    }
}
