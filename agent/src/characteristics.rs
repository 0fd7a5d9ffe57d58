//! Characteristics: what a batch's bytes tell about the work that they will make.
//!
//! ```text
//! bytes ─► empty? ─► a binary format? ─► other binary? ─► JSON, NDJSON? ─► CSV, TSV? ─► text
//! ```
//!
//! Pure and total: any bytes give a vector, in one pass a format, with memory that does not grow with the number of
//! values. Content decides what a batch is; the Content-Type only breaks ties. Nothing here keeps or logs contents.

mod binary;
mod entropy;
mod extrapolate;
mod held;
mod hint;
mod json;
mod keys;
mod plain;
mod score;
mod sniff;
mod table;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};
use serde::Serialize;

use self::held::Held;

pub(crate) use hint::Hint;

/// Bytes of a batch that are looked at; past them, records are extrapolated.
pub const DEFAULT_BUDGET: usize = 8 << 20;

/// The data characteristic vector of a batch, from at most its first `budget` bytes.
///
/// `content_type` only breaks ties. Input that is malformed or cut gets its best vector.
pub fn characterise(bytes: &[u8], content_type: Option<&str>, budget: usize) -> DataCharacteristics {
    examine(&bytes[..bytes.len().min(budget)], bytes.len() as u64, content_type).characteristics
}

/// A batch's vector, and what is wrong with the batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) characteristics: DataCharacteristics,
    pub(crate) detail: Detail,
    /// In words; never with contents.
    pub(crate) problem: Option<String>,
}

/// Parts that frames have no place for yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Detail {
    /// Row groups, stripes or record batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_groups: Option<u32>,
    /// Different encodings of columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    encodings: Option<u32>,
    /// Of colour or sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<u32>,
    /// Bits of a sample of one channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_depth: Option<u32>,
    /// Samples of a channel a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_rate: Option<u32>,
    /// How long a sound plays.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// What one format's pass has found.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    records: Option<u64>,
    max_depth: Option<u32>,
    columns: Option<u32>,
    distinct_keys: Option<u32>,
    null_share: Option<f64>,
    joins: Option<u32>,
    width: Option<u32>,
    height: Option<u32>,
    unpacked_bytes: Option<u64>,
    detail: Detail,
    /// Some part is an estimate; where a format does not say, whatever is cut is.
    estimated: Option<bool>,
    problem: Option<String>,
}

impl Facts {
    /// Nothing but what is wrong.
    fn problem(what: &str) -> Self {
        Self::maybe(Some(what))
    }

    fn maybe(problem: Option<&str>) -> Self {
        Self { problem: problem.map(str::to_owned), ..Self::default() }
    }
}

/// As [`characterise`], for a batch of `total` bytes of which `seen` are the first.
pub(crate) fn examine(seen: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    examine_parts(seen, &[], total, content_type)
}

/// As [`examine`], for a batch of which `tail` is the last bytes, where `head` is not all of it.
pub(crate) fn examine_parts(head: &[u8], tail: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    examine_held(&Held::new(head, tail, total), content_type)
}

fn examine_held(held: &Held<'_>, content_type: Option<&str>) -> Finding {
    let member = |bytes: &[u8], total: u64, extension: &str| {
        finding(&Held::new(bytes, &[], total), Hint::content_type(extension), None)
    };
    finding(held, content_type, Some(&member))
}

fn finding(held: &Held<'_>, content_type: Option<&str>, member: Option<binary::Examine<'_>>) -> Finding {
    let (seen, total) = (held.head(), held.total());
    let (data_type, compression, facts) = facts(held, Hint::of(content_type), member);
    let entropy = (!seen.is_empty()).then(|| entropy::bits_a_byte(seen));
    let mut data_complexity = DataComplexity {
        score: 0.0,
        max_depth: facts.max_depth,
        columns: facts.columns,
        distinct_keys: facts.distinct_keys,
        entropy,
        null_share: facts.null_share,
        joins: facts.joins,
        width: facts.width,
        height: facts.height,
    };
    data_complexity.score = score::of(&data_complexity);
    let characteristics = DataCharacteristics {
        data_volume: DataVolume { bytes: total, unpacked_bytes: facts.unpacked_bytes, records: facts.records },
        data_complexity,
        data_type,
        compression,
        estimated: facts.estimated.unwrap_or(held.is_cut()),
    };
    Finding { characteristics, detail: facts.detail, problem: facts.problem }
}

/// The vector of a batch that nobody looked into: its volume, and what its Content-Type claims.
pub(crate) fn volume_only(total: u64, content_type: Option<&str>) -> DataCharacteristics {
    DataCharacteristics {
        data_volume: DataVolume { bytes: total, unpacked_bytes: None, records: None },
        data_complexity: DataComplexity { score: 1.0, ..DataComplexity::default() },
        data_type: if total == 0 { DataType::Empty } else { Hint::of(content_type).claimed() },
        compression: Compression::None,
        estimated: total > 0,
    }
}

fn facts(held: &Held<'_>, hint: Hint, member: Option<binary::Examine<'_>>) -> (DataType, Compression, Facts) {
    if held.total() == 0 {
        return (DataType::Empty, Compression::None, Facts::default());
    }
    if let Some(found) = binary::facts(held, hint, member) {
        return found;
    }
    let (data_type, facts) = text_or_binary(held, hint);
    (data_type, Compression::None, facts)
}

fn text_or_binary(held: &Held<'_>, hint: Hint) -> (DataType, Facts) {
    let (seen, total, cut) = (held.head(), held.total(), held.is_cut());
    if !sniff::is_text(seen) {
        return (DataType::Binary, Facts::default());
    }
    let text = seen.strip_prefix(b"\xef\xbb\xbf").unwrap_or(seen);
    let (data_type, mut facts) = json::facts(text, total, cut, hint)
        .or_else(|| table::facts(text, total, cut, hint))
        .unwrap_or_else(|| plain::facts(text, total, cut));
    facts.problem = facts.problem.or_else(|| sniff::bad_utf8(seen, cut));
    (data_type, facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(bytes: &[u8]) -> (DataType, Option<u64>) {
        let found = characterise(bytes, None, DEFAULT_BUDGET);
        (found.data_type, found.data_volume.records)
    }

    #[test]
    fn content_decides_the_type() {
        assert_eq!(kind(b""), (DataType::Empty, None));
        assert_eq!(kind(b"[1, 2, 3]"), (DataType::Json, Some(3)));
        assert_eq!(kind(b"{\"a\": 1}\n{\"a\": 2}\n"), (DataType::Ndjson, Some(2)));
        assert_eq!(kind(b"a,b\n1,2\n3,4\n"), (DataType::Csv, Some(3)));
        assert_eq!(kind(b"a;b\n1;2\n"), (DataType::Csv, Some(2)));
        assert_eq!(kind(b"a\tb\n1\t2\n"), (DataType::Tsv, Some(2)));
        assert_eq!(kind(b"once upon a time\nthere was a river\n"), (DataType::Text, Some(2)));
        assert_eq!(kind(b"\n\n\n"), (DataType::Text, Some(3)));
        assert_eq!(kind(b"\x7fELF\x02\x01\x01\0 rest"), (DataType::Binary, None));
        assert_eq!(kind(&[0; 64]), (DataType::Binary, None));
    }

    #[test]
    fn a_wrong_content_type_does_not_overrule_the_content() {
        for claim in ["text/csv", "application/json", "image/png", "nonsense"] {
            let found = characterise(b"{\"a\":1}\n{\"a\":2}\n", Some(claim), DEFAULT_BUDGET);
            assert_eq!(found.data_type, DataType::Ndjson, "{claim}");
        }
    }

    #[test]
    fn the_content_type_breaks_ties() {
        let one_line = b"{\"a\":1}\n";
        assert_eq!(characterise(one_line, None, 100).data_type, DataType::Json);
        assert_eq!(characterise(one_line, Some("application/x-ndjson"), 100).data_type, DataType::Ndjson);
        assert_eq!(characterise(b"hello, world", None, 100).data_type, DataType::Text);
        assert_eq!(characterise(b"hello, world", Some("text/csv; charset=utf-8"), 100).data_type, DataType::Csv);
    }

    #[test]
    fn past_the_budget_records_are_extrapolated_and_told_to_be() {
        let batch = "{\"id\": 1234, \"name\": \"abcdef\"}\n".repeat(10_000);
        let whole = characterise(batch.as_bytes(), None, DEFAULT_BUDGET);
        assert_eq!((whole.data_volume.records, whole.estimated), (Some(10_000), false));
        let part = characterise(batch.as_bytes(), None, 10_001);
        assert_eq!((part.data_volume.records, part.estimated), (Some(10_000), true));
        assert_eq!(part.data_volume.bytes, batch.len() as u64);
    }

    #[test]
    fn text_that_is_not_utf8_keeps_its_type_and_the_problem_is_told() {
        let found = examine(b"{\"name\":\"caf\xe9 \xff\xfe\",\"v\":1}\n", 26, None);
        assert_eq!(found.characteristics.data_type, DataType::Json);
        assert!(found.problem.unwrap().contains("UTF-8"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_vector(bytes: Vec<u8>, budget in 0..300usize) {
            let found = characterise(&bytes, None, budget);
            prop_assert_eq!(found.data_volume.bytes, bytes.len() as u64);
            prop_assert!(found.data_complexity.score.is_finite());
        }

        #[test]
        fn any_text_of_the_formats_signs_gives_a_vector(text in "[{}\\[\\]\",:;\\\\\n\t\r a1.-]{0,200}", budget in 0..300usize) {
            let found = characterise(text.as_bytes(), Some("text/csv"), budget);
            prop_assert!(found.data_complexity.score.is_finite());
            let _ = examine(text.as_bytes(), u64::MAX, Some("application/json"));
        }
    }
}
