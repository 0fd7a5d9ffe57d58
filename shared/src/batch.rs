//! A batch's data characteristic vector, and what becomes of the batch.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How much data a batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataVolume {
    /// Bytes as handled, compressed where the batch is.
    pub bytes: u64,
    /// Bytes once unpacked; left out where nothing is packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_bytes: Option<u64>,
    /// Records: lines, rows, array items, as fits the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
}

/// How hard the data is to work on: one score that is meant to predict cost per byte, and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataComplexity {
    /// The score, 0 and up; about 1 for flat text.
    pub score: f64,
    /// Nesting: a scalar is 0, each object, array or row adds 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
    /// Columns of a table, or the most fields of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<u32>,
    /// Different keys seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct_keys: Option<u32>,
    /// Shannon entropy of the bytes, bits a byte, 0 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// Share of values that are null or empty, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_share: Option<f64>,
    /// JOINs and comma joins of SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<u32>,
    /// Pixels across.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value, in the order of the wire.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name used in JSON, CSV and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What the content is, whatever its name says. Append only: the order is on the wire.
    DataType {
        /// One JSON value.
        Json = "json",
        /// A JSON value a line.
        Ndjson = "ndjson",
        /// Comma- or semicolon-separated values.
        Csv = "csv",
        /// Tab-separated values.
        Tsv = "tsv",
        /// Avro object container file.
        Avro = "avro",
        /// Apache Parquet.
        Parquet = "parquet",
        /// Arrow IPC file.
        ArrowFile = "arrow_file",
        /// Arrow IPC stream.
        ArrowStream = "arrow_stream",
        /// Apache ORC.
        Orc = "orc",
        /// Protocol Buffers' wire format.
        Protobuf = "protobuf",
        /// MessagePack.
        Msgpack = "msgpack",
        /// XML.
        Xml = "xml",
        /// YAML.
        Yaml = "yaml",
        /// SQL.
        Sql = "sql",
        /// Lines that start alike with a time, level or priority.
        Log = "log",
        /// Other valid text.
        Text = "text",
        /// PNG image.
        Png = "png",
        /// JPEG image.
        Jpeg = "jpeg",
        /// GIF image.
        Gif = "gif",
        /// WebP image.
        Webp = "webp",
        /// TIFF image.
        Tiff = "tiff",
        /// BMP image.
        Bmp = "bmp",
        /// WAV sound.
        Wav = "wav",
        /// PDF.
        Pdf = "pdf",
        /// Office Open XML workbook.
        Xlsx = "xlsx",
        /// Anything else.
        Binary = "binary",
        /// No bytes.
        Empty = "empty",
    }
}

names! {
    /// The compression around a batch. Append only: the order is on the wire.
    Compression {
        /// None.
        None = "none",
        /// gzip.
        Gzip = "gzip",
        /// Zstandard.
        Zstd = "zstd",
        /// bzip2.
        Bzip2 = "bzip2",
        /// xz.
        Xz = "xz",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4 frames.
        Lz4 = "lz4",
        /// A zip archive.
        Zip = "zip",
    }
}

/// The data characteristic vector of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataCharacteristics {
    /// How much; the seed's plain number of bytes is accepted too.
    #[serde(deserialize_with = "scalar::volume")]
    pub data_volume: DataVolume,
    /// How hard; the seed's plain score is accepted too.
    #[serde(deserialize_with = "scalar::complexity")]
    pub data_complexity: DataComplexity,
    /// What.
    pub data_type: DataType,
    /// In what.
    #[serde(default = "uncompressed")]
    pub compression: Compression,
    /// Some part is an estimate: the batch was longer than the inspection's budget.
    #[serde(default)]
    pub estimated: bool,
}

/// A part of a vector that no batch can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct VectorError {
    /// The part.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
}

impl DataCharacteristics {
    /// The most bytes of a batch: 1 PiB.
    pub const MAX_BYTES: u64 = 1 << 50;
    /// The highest score.
    pub const MAX_SCORE: f64 = 1e6;

    /// Checks the numbers that models learn from: one NaN or one absurd size would spoil what they have learned.
    ///
    /// # Errors
    /// The first part that is out of its range.
    pub fn check(&self) -> Result<(), VectorError> {
        let (volume, complexity) = (&self.data_volume, &self.data_complexity);
        let within = |value: Option<f64>, most: f64| value.is_none_or(|value| (0.0..=most).contains(&value));
        let bytes = |value: Option<u64>| value.is_none_or(|value| value <= Self::MAX_BYTES);
        let checks = [
            (bytes(Some(volume.bytes)), "dataVolume.bytes", "at most 2^50"),
            (bytes(volume.unpacked_bytes), "dataVolume.unpackedBytes", "at most 2^50"),
            (within(Some(complexity.score), Self::MAX_SCORE), "dataComplexity.score", "a number from 0 to 1000000"),
            (within(complexity.entropy, 8.0), "dataComplexity.entropy", "a number from 0 to 8"),
            (within(complexity.null_share, 1.0), "dataComplexity.nullShare", "a number from 0 to 1"),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, field, expected)) => Err(VectorError { field, expected }),
        }
    }
}

fn uncompressed() -> Compression {
    Compression::None
}

/// Vector parts that may also be written as one number.
mod scalar {
    use super::{DataComplexity, DataVolume};
    use serde::{Deserialize, Deserializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Or<S, V> {
        Scalar(S),
        Vector(V),
    }

    pub(super) fn volume<'de, D: Deserializer<'de>>(from: D) -> Result<DataVolume, D::Error> {
        Ok(match Or::<u64, DataVolume>::deserialize(from)? {
            Or::Scalar(bytes) => DataVolume { bytes, ..DataVolume::default() },
            Or::Vector(volume) => volume,
        })
    }

    pub(super) fn complexity<'de, D: Deserializer<'de>>(from: D) -> Result<DataComplexity, D::Error> {
        Ok(match Or::<f64, DataComplexity>::deserialize(from)? {
            Or::Scalar(score) => DataComplexity { score, ..DataComplexity::default() },
            Or::Vector(complexity) => complexity,
        })
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Not yet.
    Pending,
    /// The component took it.
    Ok,
    /// The component refused it or failed on it.
    Failed,
}

/// A batch that has arrived: the first half of a `BatchObservation`.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchArrival {
    /// Unique among the pod's batches.
    pub batch_id: u64,
    /// When its first byte came.
    pub arrived_at: Timestamp,
    /// What it is.
    pub characteristics: DataCharacteristics,
}

/// What became of a batch that had arrived: the second half. The last one told of a batch holds.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchProgress {
    /// The batch.
    pub batch_id: u64,
    /// When work on it started.
    pub started_at: Option<Timestamp>,
    /// When work on it ended.
    pub finished_at: Option<Timestamp>,
    /// How.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_reads_with_plain_scalars_as_well_as_in_full() {
        let short: DataCharacteristics =
            serde_json::from_str(r#"{"dataVolume": 4096, "dataComplexity": 1.5, "dataType": "csv"}"#).unwrap();
        assert_eq!(short.data_volume.bytes, 4096);
        let full: DataCharacteristics = serde_json::from_str(
            r#"{"dataVolume": {"bytes": 4096}, "dataComplexity": {"score": 1.5}, "dataType": "csv", "compression": "none"}"#,
        )
        .unwrap();
        assert_eq!(short, full);
    }

    #[test]
    fn a_vector_that_no_batch_can_have_is_told_by_the_part_that_is_wrong() {
        for (json, field) in [
            (r#"{"dataVolume": 18446744073709551615, "dataComplexity": 1, "dataType": "csv"}"#, "dataVolume.bytes"),
            (r#"{"dataVolume": 1, "dataComplexity": -1, "dataType": "csv"}"#, "dataComplexity.score"),
            (r#"{"dataVolume": 1, "dataComplexity": 1e308, "dataType": "csv"}"#, "dataComplexity.score"),
        ] {
            let vector: DataCharacteristics = serde_json::from_str(json).unwrap();
            assert_eq!(vector.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn what_does_not_apply_is_left_out_of_the_json() {
        let vector = DataCharacteristics {
            data_volume: DataVolume { bytes: 3, unpacked_bytes: None, records: Some(1) },
            data_complexity: DataComplexity { score: 1.0, ..DataComplexity::default() },
            data_type: DataType::ArrowFile,
            compression: Compression::None,
            estimated: false,
        };
        let json = serde_json::to_string(&vector).unwrap();
        assert!(!json.contains("null") && json.contains("arrow_file"), "{json}");
    }
}
