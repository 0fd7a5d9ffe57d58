//! The records of a sample, one by one: which delimiter fits is tried on them.

pub(super) struct Records<'a> {
    text: &'a [u8],
    at: usize,
    /// True for the delimiter, LF and CR.
    ends_field: [bool; 256],
    delimiter: u8,
}

impl<'a> Records<'a> {
    pub(super) fn new(text: &'a [u8], delimiter: u8) -> Self {
        let mut ends_field = [false; 256];
        for byte in [delimiter, b'\n', b'\r'] {
            ends_field[usize::from(byte)] = true;
        }
        Self { text, at: 0, ends_field, delimiter }
    }

    /// The number of fields of the next record.
    pub(super) fn next(&mut self) -> Option<u32> {
        while matches!(self.text.get(self.at), Some(b'\n' | b'\r')) {
            self.at += 1;
        }
        if self.at >= self.text.len() {
            return None;
        }
        let mut fields = 0_u32;
        loop {
            self.field();
            fields = fields.saturating_add(1);
            let end = self.text.get(self.at);
            self.at += 1;
            if end != Some(&self.delimiter) {
                return Some(fields);
            }
        }
    }

    fn field(&mut self) {
        if self.text.get(self.at) == Some(&b'"') {
            self.quoted();
        }
        while self.at < self.text.len() && !self.ends_field[usize::from(self.text[self.at])] {
            self.at += 1;
        }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_and_fields_are_those_of_the_csv_crate(text in "[ab,;\"\n\r\t]{0,80}", semicolon: bool) {
            let delimiter = if semicolon { b';' } else { b',' };
            let mut records = Records::new(text.as_bytes(), delimiter);
            let ours: Vec<u32> = std::iter::from_fn(|| records.next()).collect();
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<u32> = reader.byte_records().map(|record| record.unwrap().len() as u32).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
