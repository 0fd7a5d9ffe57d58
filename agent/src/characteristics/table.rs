//! CSV and TSV: fields, records and empty fields of delimited text, 64 bytes a step where no quote stands in the way.
//!
//! As RFC 4180 and the `csv` crate see it: quotes count at a field's start only, a doubled quote is one, records end
//! with LF, CR or both, and blank lines are none.

mod delimiter;
mod records;

use forebay_shared::DataType;

pub(super) use self::delimiter::{Dialect, dialect};
use super::block::{self, Block};
use super::scanner::{End, Scanner};
use super::{Facts, extrapolate};

/// Where in a field the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// Past its first byte, where quotes are plain bytes.
    Plain,
    Quoted,
    /// Past a quote within quotes: the closing one, or the first of two.
    Closing,
}

/// A table, with the delimiter that its first records agree on.
#[derive(Clone, Debug)]
pub(super) struct Table {
    delimiter: u8,
    data_type: DataType,
    at: At,
    /// The quoted field in hand has bytes.
    filled: bool,
    /// Fields of the record in hand that have ended.
    fields_ended: u32,
    base: u64,
    records: u64,
    columns: u32,
    fields: u64,
    empty: u64,
    before: u32,
    /// Records, from the third on, with another number of fields than the one before: the first may be a header of
    /// its own kind.
    ragged: u64,
    /// Where the last whole record ended.
    settled: u64,
}

impl Table {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            delimiter: dialect.delimiter,
            data_type: dialect.data_type,
            at: At::Start,
            filled: false,
            fields_ended: 0,
            base: 0,
            records: 0,
            columns: 0,
            fields: 0,
            empty: 0,
            before: 0,
            ragged: 0,
            settled: 0,
        }
    }

    /// A block that is not within quotes and has none: its fields and records are counted by its bits.
    #[inline]
    fn unquoted(&mut self, base: u64, delimiters: u64, ends: u64) {
        let blank = self.at == At::Start && self.fields_ended == 0;
        let separators = delimiters | ends;
        let at_start = separators << 1 | u64::from(self.at == At::Start);
        let blank_ends = ends & (ends << 1 | u64::from(blank));
        self.empty += u64::from((separators & at_start).count_ones() - blank_ends.count_ones());
        let mut record_ends = ends & !blank_ends;
        let mut before = 0;
        while record_ends != 0 {
            let below = (delimiters & (record_ends & record_ends.wrapping_neg()).wrapping_sub(1)).count_ones();
            let settled = base + u64::from(record_ends.trailing_zeros()) + 1;
            self.record(self.fields_ended.saturating_add(below - before + 1), settled);
            before = below;
            record_ends &= record_ends - 1;
        }
        self.fields_ended = self.fields_ended.saturating_add(delimiters.count_ones() - before);
        self.at = if separators >> 63 == 1 { At::Start } else { At::Plain };
    }

    /// A block with quotes: from one byte that matters to the next.
    #[inline]
    fn quoted(&mut self, bytes: &[u8; block::LEN], base: u64, mut signs: u64) {
        let mut from = 0;
        while signs != 0 {
            let next = signs.trailing_zeros();
            if next > from {
                self.plain();
            }
            self.sign(bytes[next as usize], base + u64::from(next));
            from = next + 1;
            signs &= signs - 1;
        }
        if (from as usize) < block::LEN {
            self.plain();
        }
    }

    /// Bytes that are no sign.
    #[inline]
    fn plain(&mut self) {
        match self.at {
            At::Start | At::Closing => self.at = At::Plain,
            At::Plain => {}
            At::Quoted => self.filled = true,
        }
    }

    /// A quote, a delimiter or the end of a line, at `position`.
    #[inline]
    fn sign(&mut self, byte: u8, position: u64) {
        match (self.at, byte) {
            (At::Start, b'"') => {
                self.at = At::Quoted;
                self.filled = false;
            }
            (At::Plain, b'"') => {}
            (At::Quoted, b'"') => self.at = At::Closing,
            (At::Quoted, _) => self.filled = true,
            (At::Closing, b'"') => {
                self.at = At::Quoted;
                self.filled = true;
            }
            (_, byte) if byte == self.delimiter => {
                self.end_field();
                self.fields_ended = self.fields_ended.saturating_add(1);
            }
            (At::Start, _) if self.fields_ended == 0 => {}
            _ => {
                self.end_field();
                self.record(self.fields_ended.saturating_add(1), position + 1);
            }
        }
    }

    #[inline]
    fn end_field(&mut self) {
        let empty = self.at == At::Start || self.at == At::Closing && !self.filled;
        self.empty += u64::from(empty);
        self.at = At::Start;
    }

    #[inline]
    fn record(&mut self, fields: u32, settled: u64) {
        if self.records == 0 {
            self.columns = fields;
        } else {
            self.ragged += u64::from(self.records > 1 && fields != self.before);
        }
        self.before = fields;
        self.records += 1;
        self.fields += u64::from(fields);
        self.settled = settled;
        self.fields_ended = 0;
    }

    fn is_sign(&self, byte: u8) -> bool {
        byte == self.delimiter || matches!(byte, b'"' | b'\n' | b'\r')
    }

    fn problem(&self) -> Option<String> {
        if self.at == At::Quoted {
            return Some("cut short: a quoted field is not closed".into());
        }
        (self.ragged > 0).then(|| format!("{} of {} records change the number of fields", self.ragged, self.records))
    }
}

impl Scanner for Table {
    fn push(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<{ block::LEN }>();
        let mut base = self.base;
        for bytes in blocks {
            let block = Block::new(bytes);
            let quotes = block.mask(b'"');
            let delimiters = block.mask(self.delimiter);
            let ends = block.mask(b'\n') | block.mask(b'\r');
            if quotes == 0 && matches!(self.at, At::Start | At::Plain) {
                self.unquoted(base, delimiters, ends);
            } else {
                self.quoted(bytes, base, quotes | delimiters | ends);
            }
            base += block::LEN as u64;
        }
        for (at, byte) in rest.iter().enumerate() {
            if self.is_sign(*byte) {
                self.sign(*byte, base + at as u64);
            } else {
                self.plain();
            }
        }
        self.base += bytes.len() as u64;
    }

    fn finish(mut self: Box<Self>, end: End) -> (DataType, Facts) {
        let problem = if end.cut() { None } else { self.finish_record() };
        let records = if end.cut() && self.records > 0 {
            // The last record may have been cut anywhere: it is left out on both sides.
            extrapolate::records(self.records, self.settled, end.total)
        } else {
            self.records.max(u64::from(end.cut()))
        };
        let facts = Facts {
            records: Some(records),
            max_depth: Some(1),
            columns: Some(self.columns.max(self.fields_ended.saturating_add(1) * u32::from(self.records == 0))),
            null_share: (self.fields > 0).then(|| (self.empty as f64 / self.fields as f64).min(1.0)),
            problem,
            ..Facts::default()
        };
        (self.data_type, facts)
    }
}

impl Table {
    /// The last record may lack its newline.
    fn finish_record(&mut self) -> Option<String> {
        let problem = (self.at == At::Quoted).then(|| self.problem()).flatten();
        if self.at != At::Start || self.fields_ended > 0 {
            self.end_field();
            self.record(self.fields_ended.saturating_add(1), self.base);
        }
        problem.or_else(|| self.problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str, delimiter: u8, size: usize) -> Facts {
        let mut table = Box::new(Table::new(Dialect { delimiter, data_type: DataType::Csv }));
        text.as_bytes().chunks(size).for_each(|chunk| table.push(chunk));
        table.finish(End { seen: text.len() as u64, total: text.len() as u64 }).1
    }

    #[test]
    fn quoted_fields_may_hold_delimiters_newlines_and_quotes() {
        let found = of("a,b\n\"1,\n\"\"x\"\"\",2\n,\"\"\n", b',', 3);
        assert_eq!((found.records, found.columns, found.max_depth), (Some(3), Some(2), Some(1)));
        assert_eq!((found.null_share, found.problem), (Some(2.0 / 6.0), None));
    }

    #[test]
    fn a_field_without_its_closing_quote_and_ragged_records_are_told() {
        assert!(of("a,b\n1,2\n3,\"4\n5,6\n", b',', 5).problem.unwrap().contains("not closed"));
        assert_eq!(of("a,b\n1,2\n3\n5,6\n", b',', 5).problem.unwrap(), "2 of 4 records change the number of fields");
        assert_eq!(of("3,benign\n1,2,3\n3,4,5\n", b',', 5).problem, None, "a first line of its own kind");
    }

    #[test]
    fn a_cut_table_is_extrapolated_from_its_whole_records() {
        let mut table = Box::new(Table::new(Dialect { delimiter: b',', data_type: DataType::Csv }));
        table.push(&"ab,cd\n".repeat(100).as_bytes()[..303]);
        assert_eq!(table.finish(End { seen: 303, total: 600 }).1.records, Some(100));
    }

    proptest! {
        #[test]
        fn records_fields_and_empties_are_those_of_the_csv_crate(
            text in "([ab;,\"\n\r\t]|[abc]{20}|,,){0,80}", size in 1..200usize, semicolon: bool,
        ) {
            let delimiter = if semicolon { b';' } else { b',' };
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter).has_headers(false).flexible(true).from_reader(text.as_bytes());
            let records: Vec<_> = reader.byte_records().map(Result::unwrap).collect();
            let fields: usize = records.iter().map(csv::ByteRecord::len).sum();
            let found = of(&text, delimiter, size);
            prop_assert_eq!(found.records, Some(records.len() as u64));
            if let Some(first) = records.first() {
                prop_assert_eq!(found.columns, Some(first.len() as u32));
                let empty = records.iter().flatten().filter(|field| field.is_empty()).count() as f64;
                // A quote that is never closed may stand for an empty field of the csv crate's.
                if !found.problem.unwrap_or_default().contains("not closed") {
                    prop_assert_eq!(found.null_share, Some(empty / fields as f64));
                }
            }
        }
    }
}
