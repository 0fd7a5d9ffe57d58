//! The processors: what a component does with a batch of each type, parse it and aggregate.
//!
//! Values are grouped by their field's name (JSON, YAML, XML, MessagePack, Avro), number (CSV, XLSX, Protobuf) or column
//! (Parquet, ORC, Arrow); words of texts, levels of logs and tables of queries are counted; images and sounds get a
//! histogram. A compressed batch is unpacked first.

mod columns;
mod document;
mod media;
mod text;
pub(crate) mod wire;

use std::borrow::Cow;

use anyhow::Result;
use forebay_shared::{Compression, DataType};

use crate::batch::Batch;
use crate::pack;

/// Works on a batch; the number stands for the aggregate.
pub(crate) fn run(batch: &Batch) -> Result<f64> {
    let content: Cow<'_, [u8]> = match batch.compression {
        Compression::None => Cow::Borrowed(&batch.bytes),
        packed => Cow::Owned(pack::unpack(&batch.bytes, packed)?),
    };
    content_of(batch.data_type, batch.delimiter, &content)
}

fn content_of(data_type: DataType, delimiter: u8, content: &[u8]) -> Result<f64> {
    match data_type {
        DataType::Json => text::json(content),
        DataType::Ndjson => text::ndjson(content),
        DataType::Csv | DataType::Tsv => text::table(content, delimiter),
        DataType::Xml => text::xml(content),
        DataType::Yaml => text::yaml(content),
        DataType::Sql => text::sql(content),
        DataType::Log => text::log(content),
        DataType::Text => text::words(content),
        DataType::Avro => wire::avro(content),
        DataType::Msgpack => wire::msgpack(content),
        DataType::Protobuf => wire::protobuf(content),
        DataType::Parquet | DataType::ArrowFile | DataType::ArrowStream | DataType::Orc => {
            columns::all(data_type, content)
        }
        DataType::Png | DataType::Jpeg | DataType::Gif | DataType::Webp | DataType::Tiff | DataType::Bmp => {
            media::image(content)
        }
        DataType::Wav => media::wav(content),
        DataType::Pdf => document::pdf(content),
        DataType::Xlsx => document::xlsx(content),
        DataType::Binary | DataType::Empty => Ok(media::histogram(content.iter().copied())),
    }
}
