//! Text and logs: their records are their lines, as many as there are newlines, as `wc -l` counts them. A last line
//! without its newline is not one yet, unless it is all there is.

use forebay_shared::DataType;

use super::scanner::{End, Scanner};
use super::{Facts, extrapolate};

/// Lines of text, or of a log.
pub(super) struct Lines {
    data_type: DataType,
    newlines: u64,
    seen: u64,
    /// Where the last whole line ended.
    settled: u64,
}

impl Lines {
    pub(super) fn new(data_type: DataType) -> Self {
        Self { data_type, newlines: 0, seen: 0, settled: 0 }
    }
}

impl Scanner for Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.newlines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', bytes) {
            self.settled = self.seen + last as u64 + 1;
        }
        self.seen += bytes.len() as u64;
    }

    fn finish(self: Box<Self>, end: End) -> (DataType, Facts) {
        let records = if end.cut() {
            extrapolate::records(self.newlines, self.settled, end.total)
        } else {
            self.newlines.max(u64::from(self.seen > 0))
        };
        (self.data_type, Facts { records: Some(records), ..Facts::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, total: u64) -> Option<u64> {
        let mut lines = Box::new(Lines::new(DataType::Text));
        text.as_bytes().chunks(2).for_each(|chunk| lines.push(chunk));
        lines.finish(End { seen: text.len() as u64, total }).1.records
    }

    #[test]
    fn lines_are_newlines() {
        assert_eq!((records("a\nb\n", 4), records("a\nb", 3), records("b", 1)), (Some(2), Some(1), Some(1)));
        assert_eq!(records("ab\nab\na", 30), Some(10));
    }
}
