//! Characteristics: what a batch's bytes tell about the work that they will make.
//!
//! ```text
//! bytes ─► empty? ─► binary magic or bytes? ─► JSON, NDJSON? ─► CSV, TSV? ─► text
//! ```
//!
//! Pure and total: any bytes give a vector, in one pass a format, with memory that does not grow with the number of
//! values. Content decides what a batch is; the Content-Type only breaks ties. Nothing here keeps or logs contents.

mod entropy;
mod extrapolate;
mod hint;
mod json;
mod keys;
mod plain;
mod score;
mod sniff;
mod table;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};

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
    /// In words; never with contents.
    pub(crate) problem: Option<String>,
}

/// What one format's pass has found.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    records: Option<u64>,
    max_depth: Option<u32>,
    columns: Option<u32>,
    distinct_keys: Option<u32>,
    null_share: Option<f64>,
    problem: Option<String>,
}

/// As [`characterise`], for a batch of `total` bytes of which `seen` are the first.
pub(crate) fn examine(seen: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    let hint = Hint::of(content_type);
    let cut = (seen.len() as u64) < total;
    let (data_type, facts) = facts(seen, total, hint);
    let entropy = (!seen.is_empty()).then(|| entropy::bits_a_byte(seen));
    let mut data_complexity = DataComplexity {
        score: 0.0,
        max_depth: facts.max_depth,
        columns: facts.columns,
        distinct_keys: facts.distinct_keys,
        entropy,
        null_share: facts.null_share,
        ..DataComplexity::default()
    };
    data_complexity.score = score::of(&data_complexity);
    let characteristics = DataCharacteristics {
        data_volume: DataVolume { bytes: total, unpacked_bytes: None, records: facts.records },
        data_complexity,
        data_type,
        compression: Compression::None,
        estimated: cut,
    };
    Finding { characteristics, problem: facts.problem }
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

fn facts(seen: &[u8], total: u64, hint: Hint) -> (DataType, Facts) {
    if total == 0 {
        return (DataType::Empty, Facts::default());
    }
    let cut = (seen.len() as u64) < total;
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
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n rest"), (DataType::Binary, None));
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
