//! CSV and TSV: the delimiter that splits nearly all of the first records alike, then one pass with it.

mod records;

use forebay_shared::DataType;

use self::records::Records;
use super::{Facts, Hint, extrapolate};

/// In the order of preference, where several fit as well.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Bytes and records that decide on the delimiter.
const SAMPLE: usize = 64 << 10;
const SAMPLE_RECORDS: usize = 200;

/// The facts, if this is a table.
pub(super) fn facts(text: &[u8], total: u64, cut: bool, hint: Hint) -> Option<(DataType, Facts)> {
    let delimiter = delimiter(text, hint)?;
    let data_type = if delimiter == b'\t' { DataType::Tsv } else { DataType::Csv };
    let table = Table::of(text, delimiter);
    let records = if cut {
        // The last record may have been cut anywhere: it is left out on both sides.
        extrapolate::records(table.records.saturating_sub(1), table.last_start, total)
    } else {
        table.records
    };
    let facts = Facts {
        records: Some(records),
        max_depth: Some(1),
        columns: Some(table.columns),
        null_share: (table.fields > 0).then(|| table.empty as f64 / table.fields as f64),
        problem: (!cut).then(|| table.problem()).flatten(),
        ..Facts::default()
    };
    Some((data_type, facts))
}

#[derive(Debug, Default)]
struct Table {
    records: u64,
    columns: u32,
    fields: u64,
    empty: u64,
    /// Records with another number of fields than the one before: a lone header line of its own kind is one.
    ragged: u64,
    last_start: usize,
    open_quote: bool,
}

impl Table {
    fn of(text: &[u8], delimiter: u8) -> Self {
        let mut table = Self::default();
        let mut records = Records::new(text, delimiter);
        let mut before = None;
        while let Some(record) = records.next() {
            if table.records == 0 {
                table.columns = record.fields;
            }
            table.records += 1;
            table.fields += u64::from(record.fields);
            table.empty += u64::from(record.empty);
            table.ragged += u64::from(before.replace(record.fields).is_some_and(|before| before != record.fields));
            table.last_start = record.start;
        }
        table.open_quote = records.open_quote;
        table
    }

    fn problem(&self) -> Option<String> {
        if self.open_quote {
            return Some("cut short: a quoted field is not closed".into());
        }
        // The share that tells a table from other text, too.
        let regular = self.ragged * 10 <= self.records;
        (!regular).then(|| format!("{} of {} records change the number of fields", self.ragged, self.records))
    }
}

/// The delimiter of what is a table.
fn delimiter(text: &[u8], hint: Hint) -> Option<u8> {
    let candidates = match hint {
        Hint::Tsv => &[b'\t'][..],
        _ => &DELIMITERS,
    };
    let fits = candidates.iter().filter_map(|delimiter| Some((*delimiter, Fit::of(text, *delimiter)?)));
    let fits = fits.filter(|(delimiter, fit)| fit.convinces(claimed(*delimiter, hint)));
    let (delimiter, _) = fits.reduce(|best, next| if next.1.beats(&best.1) { next } else { best })?;
    Some(delimiter)
}

fn claimed(delimiter: u8, hint: Hint) -> bool {
    match hint {
        Hint::Csv => true,
        Hint::Tsv => delimiter == b'\t',
        _ => false,
    }
}

/// How well a delimiter splits the first records.
struct Fit {
    records: usize,
    /// The most common number of fields, and how many records have it.
    fields: u32,
    alike: usize,
    /// Records that the delimiter splits at all.
    split: usize,
}

impl Fit {
    fn of(text: &[u8], delimiter: u8) -> Option<Self> {
        let sample = &text[..text.len().min(SAMPLE)];
        let mut records = Records::new(sample, delimiter);
        let mut counts = Vec::new();
        while let Some(record) = records.next() {
            counts.push(record.fields);
            if counts.len() == SAMPLE_RECORDS {
                break;
            }
        }
        if counts.len() > 1 && counts.len() < SAMPLE_RECORDS && sample.len() < text.len() {
            counts.pop();
        }
        let split = counts.iter().filter(|fields| **fields > 1).count();
        counts.sort_unstable();
        let modal = counts.chunk_by(|a, b| a == b).max_by_key(|alike| alike.len())?;
        Some(Self { records: counts.len(), fields: modal[0], alike: modal.len(), split })
    }

    /// Nine of ten records alike, and two at least; with a claim, half of them split at all.
    fn convinces(&self, claimed: bool) -> bool {
        if claimed {
            return self.split > 0 && self.split * 2 >= self.records;
        }
        self.fields > 1 && self.records >= 2 && self.alike * 10 >= self.records * 9
    }

    fn beats(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.alike * other.records, other.alike * self.records);
        ours > theirs || ours == theirs && self.fields > other.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, hint: Hint) -> Option<(DataType, Facts)> {
        facts(text.as_bytes(), text.len() as u64, false, hint)
    }

    #[test]
    fn quoted_fields_may_hold_delimiters_newlines_and_quotes() {
        let (kind, found) = of("a,b\n\"1,\n\"\"x\"\"\",2\n,\"\"\n", Hint::None).unwrap();
        assert_eq!((kind, found.records, found.columns), (DataType::Csv, Some(3), Some(2)));
        assert_eq!(found.null_share, Some(2.0 / 6.0));
        assert_eq!(found.max_depth, Some(1));
    }

    #[test]
    fn prose_with_commas_is_no_table_unless_it_is_claimed() {
        let prose = "Come, see, and stay.\nIt rains.\nOr, if not, it will.\n";
        assert!(of(prose, Hint::None).is_none());
        assert!(of(prose, Hint::Csv).is_some());
        assert!(of("one line, with a comma", Hint::None).is_none());
        assert!(of("no delimiter\nat all\n", Hint::Csv).is_none());
    }

    #[test]
    fn a_field_without_its_closing_quote_is_told() {
        let (_, found) = of("a,b\n1,2\n3,\"4\n5,6\n", Hint::Csv).unwrap();
        assert!(found.problem.unwrap().contains("not closed"));
    }

    #[test]
    fn a_cut_table_is_extrapolated_from_its_whole_records() {
        let text = "ab,cd\n".repeat(100);
        let (_, found) = facts(&text.as_bytes()[..303], 600, true, Hint::None).unwrap();
        assert_eq!(found.records, Some(100));
    }
}
