//! What a regression is told of a batch: bytes alone, or with the type, or the whole vector.
//!
//! Logarithms, since costs multiply: so many bytes, values or pixels times the cost of one. What a format adds or changes
//! comes as differences from its family and from all formats, which a regression keeps small unless the batches say
//! otherwise: a source of a format that is seldom seen is predicted as its family.

use forebay_shared::{Compression, DataCharacteristics, DataType};

use crate::batch::Batch;

/// What a regression may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Bytes,
    /// With the type as it is.
    BytesAndType,
    /// And the compression.
    BytesTypeAndCompression,
    /// What the agent tells: all but the score, which was fitted on these sources.
    Vector,
}

impl View {
    pub(crate) const ALL: [Self; 4] = [Self::Bytes, Self::BytesAndType, Self::BytesTypeAndCompression, Self::Vector];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesAndType => "bytes, type",
            Self::BytesTypeAndCompression => "bytes, type, compression",
            Self::Vector => "the vector",
        }
    }
}

/// How strongly a coefficient is kept small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shrink {
    /// Not at all.
    Free,
    /// What holds for all formats.
    All,
    /// What holds for one format or one family.
    Some,
}

/// A batch's features, in an order that is the same for all.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) values: Vec<f64>,
    pub(crate) shrink: Vec<Shrink>,
}

impl Row {
    fn add(&mut self, shrink: Shrink, values: impl IntoIterator<Item = f64>) {
        self.values.extend(values);
        self.shrink.resize(self.values.len(), shrink);
    }

    /// `values` where `at` is `of`, zeros where it is another one.
    fn add_for<T: PartialEq + Copy>(&mut self, all: &[T], of: T, values: &[f64]) {
        for one in all {
            let is = f64::from(u8::from(*one == of));
            self.add(Shrink::Some, values.iter().map(|value| is * value));
        }
    }

    pub(crate) fn of(view: View, batch: &Batch) -> Self {
        let mut row = Self::default();
        let vector = &batch.vector;
        let bytes = log(vector.data_volume.bytes) - TYPICAL;
        row.add(Shrink::Free, [1.0, bytes]);
        row.add(Shrink::All, [bytes * bytes / 4.0]);
        let (data_type, compression) = match view {
            View::Bytes => return row,
            View::Vector => (vector.data_type, vector.compression),
            View::BytesAndType | View::BytesTypeAndCompression => (batch.data_type, batch.compression),
        };
        let of_type: &[f64] = match view {
            View::Vector => &[unpacked(vector), values(vector), pixels(vector)],
            _ => &[bytes],
        };
        if view == View::Vector {
            let count = |number: Option<u32>| f64::from(number.unwrap_or(0)).ln_1p() / 2.0;
            let (depth, columns) = (vector.data_complexity.max_depth, vector.data_complexity.columns);
            row.add(Shrink::All, of_type.iter().copied().chain([shrunk(vector), count(depth), count(columns)]));
        }
        let of_type = [&[1.0], of_type].concat();
        row.add_for(Family::ALL, Family::of(data_type), &of_type);
        row.add_for(DataType::ALL, data_type, &of_type);
        match view {
            View::BytesTypeAndCompression => row.add_for(Compression::ALL, compression, &[1.0]),
            View::Vector => row.add_for(Compression::ALL, compression, &[1.0, shrunk(vector)]),
            View::Bytes | View::BytesAndType => {}
        }
        row
    }
}

/// Logarithm of a typical batch's bytes, 16 KiB, about which slopes turn.
const TYPICAL: f64 = 9.704;

fn log(number: u64) -> f64 {
    (number as f64).max(1.0).ln()
}

fn unpacked(vector: &DataCharacteristics) -> f64 {
    log(vector.data_volume.unpacked_bytes.unwrap_or(vector.data_volume.bytes)) - TYPICAL
}

fn shrunk(vector: &DataCharacteristics) -> f64 {
    vector.data_volume.unpacked_bytes.map_or(0.0, |bytes| log(bytes) - log(vector.data_volume.bytes))
}

/// Cells of a table, fields of records: how many there are to a byte, in 16ths, as a logarithm. As `score` has it.
fn values(vector: &DataCharacteristics) -> f64 {
    let bytes = vector.data_volume.unpacked_bytes.unwrap_or(vector.data_volume.bytes).max(1) as f64;
    let columns = f64::from(vector.data_complexity.columns.unwrap_or(1).max(1));
    let values = vector.data_volume.records.unwrap_or(0) as f64 * columns;
    (16.0 * (values / bytes).min(4.0)).ln_1p()
}

fn pixels(vector: &DataCharacteristics) -> f64 {
    let bytes = vector.data_volume.unpacked_bytes.unwrap_or(vector.data_volume.bytes).max(1) as f64;
    let (width, height) = (vector.data_complexity.width.unwrap_or(0), vector.data_complexity.height.unwrap_or(0));
    (f64::from(width) * f64::from(height) / bytes).ln_1p()
}

/// Formats that are worked on alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Trees,
    Tables,
    Sheets,
    Texts,
    Encoded,
    Arrow,
    Avro,
    Messages,
    Queries,
    Images,
    Raw,
    Documents,
}

impl Family {
    const ALL: &[Self] = &[
        Self::Trees,
        Self::Tables,
        Self::Sheets,
        Self::Texts,
        Self::Encoded,
        Self::Arrow,
        Self::Avro,
        Self::Messages,
        Self::Queries,
        Self::Images,
        Self::Raw,
        Self::Documents,
    ];

    fn of(data_type: DataType) -> Self {
        use DataType as Type;
        match data_type {
            Type::Json | Type::Ndjson | Type::Xml | Type::Yaml | Type::Msgpack => Self::Trees,
            Type::Csv | Type::Tsv => Self::Tables,
            Type::Xlsx => Self::Sheets,
            Type::Log | Type::Text => Self::Texts,
            Type::Parquet | Type::Orc => Self::Encoded,
            Type::ArrowFile | Type::ArrowStream => Self::Arrow,
            Type::Avro => Self::Avro,
            Type::Protobuf => Self::Messages,
            Type::Sql => Self::Queries,
            Type::Png | Type::Jpeg | Type::Gif | Type::Webp => Self::Images,
            Type::Tiff | Type::Bmp | Type::Wav | Type::Binary | Type::Empty => Self::Raw,
            Type::Pdf => Self::Documents,
        }
    }
}
