//! Characteristics: what a batch's bytes tell about the work that they will make.
//!
//! ```text
//! bytes ─► compressed? ─► empty? ─► text? ─► JSON, NDJSON? ─► XML? ─► SQL? ─► log? ─► CSV, TSV? ─► YAML? ─► text
//! ```
//!
//! Pure and total: any bytes give a vector, in one pass as they come, with memory that does not grow with them.
//! Content decides what a batch is; the Content-Type only breaks ties. Nothing here keeps or logs contents.

mod block;
mod content;
mod ends;
mod entropy;
mod extrapolate;
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
mod utf8;
mod xml;
mod yaml;

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};

pub(crate) use hint::Hint;
pub use inspector::Inspector;

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
    /// In words; never with contents.
    pub problem: Option<String>,
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
    /// Selects within selects, aggregates, and UNION and its like: they are in the score.
    subqueries: Option<u32>,
    aggregates: Option<u32>,
    set_operations: Option<u32>,
    width: Option<u32>,
    height: Option<u32>,
    problem: Option<String>,
}

/// As [`characterise`], for a batch of `total` bytes of which `seen` are the first.
pub(crate) fn examine(seen: &[u8], total: u64, content_type: Option<&str>) -> Finding {
    let mut inspector = Inspector::new(content_type, usize::MAX);
    inspector.push(seen);
    inspector.pass_over(total.saturating_sub(seen.len() as u64));
    inspector.finish()
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
