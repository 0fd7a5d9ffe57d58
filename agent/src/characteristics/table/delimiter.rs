//! The delimiter that splits nearly all of the first records alike.

use forebay_shared::DataType;

use super::records::Records;
use crate::characteristics::Hint;

/// In the order of preference, where several fit as well.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Records that decide.
const SAMPLE_RECORDS: usize = 400;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::characteristics) struct Dialect {
    pub(in crate::characteristics) delimiter: u8,
    pub(in crate::characteristics) data_type: DataType,
}

/// The dialect of content that starts so, if it is a table.
pub(in crate::characteristics) fn dialect(head: &[u8], whole: bool, hint: Hint) -> Option<Dialect> {
    let candidates = match hint {
        Hint::Tsv if head.contains(&b'\t') => &[b'\t'][..],
        _ => &DELIMITERS,
    };
    let fits = candidates.iter().filter_map(|delimiter| Some((*delimiter, Fit::of(head, whole, *delimiter)?)));
    let fits = fits.filter(|(delimiter, fit)| fit.convinces(claimed(*delimiter, hint)));
    let best = fits.reduce(|best, next| if next.1.beats(&best.1) { next } else { best });
    let delimiter = best.map(|(delimiter, _)| delimiter).or_else(|| by_space(head, whole, hint))?;
    Some(Dialect { delimiter, data_type: if delimiter == b'\t' { DataType::Tsv } else { DataType::Csv } })
}

/// Spaces delimit where all the fields are numbers, and where that is claimed and most are.
fn by_space(head: &[u8], whole: bool, hint: Hint) -> Option<u8> {
    let fit = Fit::of(head, whole, b' ').filter(|fit| fit.convinces(false) && fit.records > 2)?;
    let numeric = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E' | b' ' | b'\n' | b'\r');
    let numerals = head.iter().filter(numeric).count();
    (fit.fields > 1 && (numerals == head.len() || hint == Hint::Csv && numerals * 2 > head.len())).then_some(b' ')
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
    fn of(head: &[u8], whole: bool, delimiter: u8) -> Option<Self> {
        let mut records = Records::new(head, delimiter);
        let mut counts = Vec::new();
        while counts.len() < SAMPLE_RECORDS
            && let Some(fields) = records.next()
        {
            counts.push(fields);
        }
        if counts.len() > 1 && counts.len() < SAMPLE_RECORDS && !whole {
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

    fn of(text: &str, hint: Hint) -> Option<u8> {
        dialect(text.as_bytes(), true, hint).map(|dialect| dialect.delimiter)
    }

    #[test]
    fn prose_with_commas_is_no_table_unless_it_is_claimed() {
        let prose = "Come, see, and stay.\nIt rains.\nOr, if not, it will.\n";
        assert_eq!(of(prose, Hint::None), None);
        assert_eq!(of(prose, Hint::Csv), Some(b','));
        assert_eq!(of("one line, with a comma", Hint::None), None);
        assert_eq!(of("no delimiter\nat all\n", Hint::Csv), None);
    }

    #[test]
    fn numbers_in_columns_are_a_table() {
        assert_eq!(of("59 2 32.1\n48 1 21.6\n72 2 30.5\n", Hint::None), Some(b' '));
        assert_eq!(of("to be or\nnot to be\nthat is the\n", Hint::None), None);
        assert_eq!(of("a;\tb;\tc\n1;\t2;\t3\n", Hint::None), Some(b';'));
    }
}
