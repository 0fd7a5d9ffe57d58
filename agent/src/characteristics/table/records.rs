//! The records of delimited text, as RFC 4180 and the `csv` crate see them: quotes count at a field's start only,
//! a doubled quote is one, records end with LF, CR or both, and blank lines are none.

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Offset of its first byte.
    pub(super) start: usize,
    pub(super) fields: u32,
    pub(super) empty: u32,
}

pub(super) struct Records<'a> {
    text: &'a [u8],
    at: usize,
    /// True for the delimiter, LF and CR.
    ends_field: [bool; 256],
    delimiter: u8,
    /// The text ended within quotes.
    pub(super) open_quote: bool,
}

impl<'a> Records<'a> {
    pub(super) fn new(text: &'a [u8], delimiter: u8) -> Self {
        let mut ends_field = [false; 256];
        for byte in [delimiter, b'\n', b'\r'] {
            ends_field[usize::from(byte)] = true;
        }
        Self { text, at: 0, ends_field, delimiter, open_quote: false }
    }

    pub(super) fn next(&mut self) -> Option<Record> {
        while matches!(self.text.get(self.at), Some(b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at >= self.text.len() {
            return None;
        }
        let mut record = Record { start: self.at, fields: 0, empty: 0 };
        loop {
            record.empty += u32::from(self.field());
            record.fields = record.fields.saturating_add(1);
            let end = self.text.get(self.at);
            self.at += 1;
            if end != Some(&self.delimiter) {
                return Some(record);
            }
        }
    }

    /// Moves to the end of the field that starts here; whether it is empty.
    #[inline]
    fn field(&mut self) -> bool {
        let start = self.at;
        if self.text.get(start) == Some(&b'"') {
            self.quoted();
        }
        while self.at < self.text.len() && !self.ends_field[usize::from(self.text[self.at])] {
            self.at += 1;
        }
        let field = &self.text[start..self.at];
        field.is_empty() || field == b"\"\""
    }

    /// Past the closing quote.
    fn quoted(&mut self) {
        self.at += 1;
        while let Some(found) = memchr::memchr(b'"', &self.text[self.at..]) {
            self.at += found + 1;
            if self.text.get(self.at) != Some(&b'"') {
                return;
            }
            self.at += 1;
        }
        self.at = self.text.len();
        self.open_quote = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_and_fields_are_those_of_the_csv_crate(text in "[ab,;\"\n\r\t]{0,80}", delimiter in prop_oneof![Just(b','), Just(b';')]) {
            let mut records = Records::new(text.as_bytes(), delimiter);
            let ours: Vec<u32> = std::iter::from_fn(|| records.next()).map(|record| record.fields).collect();
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<u32> = reader.byte_records().map(|record| record.unwrap().len() as u32).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
