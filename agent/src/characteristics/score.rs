//! The complexity score: what a byte of the batch costs to work on, beside a byte of flat text.
//!
//! ```text
//! score = (rate of the type x shape x unpacked bytes + 2.5 x values + 0.5 x pixels + unpacking x unpacked bytes) / bytes
//! shape = 1 + 0.1 log2(1 + depth) + 0.1 log2(1 + joins + subqueries + aggregates + set operations)
//! values = records x columns
//! ```
//!
//! Work adds up: each byte is read, each value made and counted, each pixel decoded, and unpacking comes first. A batch
//! is small for its work if it is packed, in columns that repeat, or an image of few colours. Flat text scores about 1,
//! JSON 2 to 3, tables 4 and more as fields grow short, Parquet and Avro 10 and more, SQL 20 and more.
//!
//! Rates, values, pixels and unpacking are fitted and rounded: `tests/bench/vector` parses and aggregates batches of
//! every type and prints what fits them, and how well that holds for sources that were not fitted. Types are put together
//! where rates were alike. The shape is a prior that neither helps nor harms there: what a component does with a nested
//! value or a query is more than to parse it. The cost model learns each component's own scale and cost of a batch.

use forebay_shared::{Compression, DataCharacteristics, DataType};

use super::Facts;

/// A value, in bytes of flat text.
const VALUE: f64 = 2.5;
/// A pixel, in bytes of flat text.
const PIXEL: f64 = 0.5;
/// What twice the nesting or twice the query adds to a byte.
const SHAPE: f64 = 0.1;
/// The most that a byte can be worth: headers may claim anything, and bombs do.
const MOST: f64 = 1000.0;

/// The score of a batch whose vector is complete but for it; 0 of one without bytes.
pub(super) fn of(batch: &DataCharacteristics, facts: &Facts) -> f64 {
    let (volume, parts) = (&batch.data_volume, &batch.data_complexity);
    if volume.bytes == 0 {
        return 0.0;
    }
    let count = |number: Option<u32>| f64::from(number.unwrap_or(0));
    let detail = &facts.detail;
    let query = count(facts.joins) + count(detail.subqueries) + count(detail.aggregates) + count(detail.set_operations);
    let shape = 1.0 + SHAPE * (1.0 + count(parts.max_depth)).log2() + SHAPE * (1.0 + query).log2();
    let unpacked = volume.unpacked_bytes.unwrap_or(volume.bytes) as f64;
    let values = if has_values(batch.data_type) {
        volume.records.unwrap_or(0) as f64 * count(parts.columns).max(1.0)
    } else {
        0.0
    };
    let pixels = count(parts.width) * count(parts.height);
    let work =
        (rate(batch.data_type) * shape + unpacking(batch.compression)) * unpacked + VALUE * values + PIXEL * pixels;
    (work / volume.bytes as f64).min(MOST)
}

/// Parsing and aggregating a byte.
fn rate(data_type: DataType) -> f64 {
    use DataType as Type;
    match data_type {
        Type::Binary | Type::Empty | Type::Bmp | Type::Tiff => 0.12,
        Type::ArrowFile | Type::ArrowStream | Type::Orc => 0.6,
        Type::Text | Type::Log => 1.0,
        Type::Json | Type::Ndjson | Type::Xml | Type::Protobuf | Type::Wav => 1.6,
        Type::Csv | Type::Tsv | Type::Msgpack | Type::Png | Type::Jpeg | Type::Gif | Type::Webp => 3.0,
        Type::Parquet | Type::Avro | Type::Yaml | Type::Xlsx => 10.0,
        Type::Sql | Type::Pdf => 20.0,
    }
}

/// Records that are rows, lines or objects: samples of sounds and pages are in the bytes.
fn has_values(data_type: DataType) -> bool {
    !matches!(
        data_type,
        DataType::Binary | DataType::Empty | DataType::Bmp | DataType::Tiff | DataType::Wav | DataType::Pdf
    )
}

/// Unpacking to a byte.
fn unpacking(compression: Compression) -> f64 {
    match compression {
        Compression::None => 0.0,
        Compression::Lz4 | Compression::Snappy | Compression::Zstd | Compression::Gzip | Compression::Zip => 0.4,
        Compression::Xz => 3.3,
        Compression::Bzip2 => 5.5,
    }
}

#[cfg(test)]
mod tests {
    use forebay_shared::{DataComplexity, DataVolume};

    use super::*;

    fn batch(data_type: DataType, records: u64, parts: DataComplexity) -> DataCharacteristics {
        DataCharacteristics {
            data_volume: DataVolume { bytes: 10_000, unpacked_bytes: None, records: Some(records) },
            data_complexity: parts,
            data_type,
            compression: Compression::None,
            estimated: false,
        }
    }

    fn score(data_type: DataType, records: u64, columns: u32, max_depth: u32) -> f64 {
        let parts = DataComplexity { columns: Some(columns), max_depth: Some(max_depth), ..DataComplexity::default() };
        of(&batch(data_type, records, parts), &Facts::default())
    }

    #[test]
    fn flat_text_scores_about_one_and_each_part_adds() {
        let flat = score(DataType::Text, 120, 0, 0);
        assert!((flat - 1.0).abs() < 0.1, "{flat}");
        assert!(score(DataType::Json, 1, 5, 5) > score(DataType::Json, 1, 5, 1));
        assert!(score(DataType::Csv, 100, 50, 1) > score(DataType::Csv, 100, 5, 1));
        assert!(score(DataType::Csv, 1000, 5, 1) > score(DataType::Csv, 100, 5, 1));
        let query = batch(DataType::Sql, 1, DataComplexity::default());
        let joins = Facts { joins: Some(10), ..Facts::default() };
        assert!(of(&query, &joins) > of(&query, &Facts::default()));
    }

    #[test]
    fn a_packed_byte_is_worth_what_comes_out_of_it_and_the_unpacking() {
        let plain = batch(DataType::Text, 120, DataComplexity::default());
        let mut packed = plain;
        packed.data_volume = DataVolume { bytes: 2_500, unpacked_bytes: Some(10_000), records: Some(120) };
        packed.compression = Compression::Gzip;
        let expected = 4.0 * (of(&plain, &Facts::default()) + 0.4);
        assert!((of(&packed, &Facts::default()) - expected).abs() < 1e-9);
    }

    #[test]
    fn no_claim_of_a_header_makes_a_byte_worth_more_than_a_limit() {
        let parts = DataComplexity { width: Some(u32::MAX), height: Some(u32::MAX), ..DataComplexity::default() };
        assert_eq!(of(&batch(DataType::Png, u64::MAX, parts), &Facts::default()), MOST);
        let none = DataCharacteristics { data_volume: DataVolume::default(), ..batch(DataType::Empty, 0, parts) };
        assert_eq!(of(&none, &Facts::default()), 0.0);
    }
}
