//! Characteristics: what a batch's bytes tell about the work that they will make.
//!
//! ```text
//! bytes ─► compressed? ─► a binary format? ─► text? ─► JSON, NDJSON? ─► XML? ─► SQL? ─► log? ─► CSV, TSV? ─► YAML? ─► text
//! ```
//!
//! Pure and total: any bytes give a vector, in one pass as they come, with memory that does not grow with them.
//! Content decides what a batch is; the Content-Type only breaks ties. Nothing here keeps or logs contents.

mod binary;
mod block;
mod content;
mod ends;
mod entropy;
mod extrapolate;
mod held;
mod hint;
mod inspector;
mod json;
mod keys;
mod lines;
mod log;
mod scanner;
mod score;
mod sniff;
mod sql;
mod table;
mod unpack;
mod utf16;
mod utf8;
mod xml;
mod yaml;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};
use serde::Serialize;

pub(crate) use hint::Hint;
pub use inspector::Inspector;
pub(crate) use unpack::{is_packed, most_memory};

/// Bytes of a batch that are looked at; past them, records are extrapolated.
pub const DEFAULT_BUDGET: usize = 8 << 20;

/// The data characteristic vector of a batch, from at most its first `budget` bytes.
///
/// `content_type` only breaks ties. Input that is malformed or cut gets its best vector.
pub fn characterise(bytes: &[u8], content_type: Option<&str>, budget: usize) -> DataCharacteristics {
    let mut inspector = Inspector::new(content_type, budget);
    inspector.push(bytes);
    inspector.finish().characteristics
}

/// A batch's vector, and what is wrong with the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The vector.
    pub characteristics: DataCharacteristics,
    pub(crate) detail: Detail,
    /// In words; never with contents.
    pub problem: Option<String>,
}

/// Parts that frames have no place for yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Detail {
    /// Selects within selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    subqueries: Option<u32>,
    /// Aggregate functions that are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregates: Option<u32>,
    /// UNION, INTERSECT and EXCEPT.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_operations: Option<u32>,
    /// Values of an object, array or element, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    fan_out: Option<f64>,
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
    /// Of what was unpacked, where a format unpacks.
    entropy: Option<f64>,
    detail: Detail,
    /// Some part is an estimate; where a format does not say, whatever is cut is.
    estimated: Option<bool>,
    problem: Option<String>,
}

/// Values of a container, on average.
fn fan_out(values: u64, containers: u64) -> Option<f64> {
    (containers > 0).then(|| values as f64 / containers as f64)
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
#[cfg(any(test, fuzzing))]
pub(crate) fn examine(seen: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    let mut inspector = Inspector::new(content_type, usize::MAX);
    inspector.push(seen);
    inspector.pass_over(total.saturating_sub(seen.len() as u64));
    inspector.finish()
}

/// As [`examine`], for a batch of which `tail` is the last bytes, where `head` is not all of it.
#[cfg(fuzzing)]
pub(crate) fn examine_parts(head: &[u8], tail: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    inspector::examine_held(&held::Held::new(head, tail, total), content_type)
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

#[cfg(test)]
mod tests;
