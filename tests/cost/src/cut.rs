//! Cuts and copies of a content, each a valid batch of its own, and the same data in another format.

pub(crate) mod columnar;
mod document;
mod media;
mod rows;
mod text;
mod wire;

use forebay_shared::DataType;

pub(crate) use rows::Table;

/// What is in a batch, once it is unpacked.
pub(crate) struct Content {
    pub(crate) data_type: DataType,
    /// Of CSV and TSV.
    pub(crate) delimiter: u8,
    pub(crate) bytes: Vec<u8>,
}

/// How much of a source.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// One part of so many.
    Part(usize),
    Whole,
    /// So many copies.
    Times(usize),
}

impl Size {
    /// Sizes of a source: small ones are copied more often.
    fn of(bytes: usize) -> &'static [Self] {
        use Size::{Part, Times, Whole};
        match bytes {
            0..4_096 => &[Part(4), Part(2), Whole, Times(2), Times(8), Times(32), Times(128)],
            4_096..32_768 => &[Part(8), Part(4), Part(2), Whole, Times(2), Times(4), Times(16)],
            _ => &[Part(16), Part(8), Part(4), Part(2), Whole, Times(2), Times(4)],
        }
    }

    fn name(self) -> String {
        match self {
            Self::Part(of) => format!("/{of}"),
            Self::Whole => "x1".into(),
            Self::Times(copies) => format!("x{copies}"),
        }
    }

    /// Of so many units; none if not one would be left.
    fn units(self, all: usize) -> Option<usize> {
        let units = match self {
            Self::Part(of) => all / of,
            Self::Whole => all,
            Self::Times(copies) => all * copies,
        };
        (units > 0).then_some(units)
    }

    /// So many of the items, from the first on, over and over.
    fn pick<T: Clone>(self, items: &[T]) -> Option<Vec<T>> {
        Some(items.iter().cycle().take(self.units(items.len())?).cloned().collect())
    }
}

/// Each size of a content that can be had, with its name.
pub(crate) fn sizes(content: &Content) -> Vec<(String, Vec<u8>)> {
    let sizes = Size::of(content.bytes.len()).iter();
    sizes.filter_map(|size| Some((size.name(), resize(content, *size)?))).collect()
}

fn resize(content: &Content, size: Size) -> Option<Vec<u8>> {
    let bytes = &content.bytes[..];
    match content.data_type {
        DataType::Json => text::json(bytes, size),
        DataType::Ndjson | DataType::Log | DataType::Text => text::lines(bytes, size),
        DataType::Csv | DataType::Tsv => text::table(bytes, content.delimiter, size),
        DataType::Xml => text::xml(bytes, size),
        DataType::Yaml => text::yaml(bytes, size),
        DataType::Sql => text::sql(bytes, size),
        DataType::Avro => wire::avro(bytes, size).ok()?,
        DataType::Msgpack => wire::msgpack(bytes, size).ok()?,
        DataType::Protobuf => wire::protobuf(bytes, size),
        DataType::Parquet | DataType::ArrowFile | DataType::ArrowStream | DataType::Orc => {
            columnar::resize(content.data_type, bytes, size).ok()?
        }
        DataType::Png | DataType::Jpeg | DataType::Gif | DataType::Webp | DataType::Tiff | DataType::Bmp => {
            media::image(content.data_type, bytes, size).ok()?
        }
        DataType::Wav => media::wav(bytes, size).ok()?,
        DataType::Pdf => document::pdf(bytes, size).ok()?,
        DataType::Xlsx => document::xlsx(bytes, size).ok()?,
        DataType::Binary => size.pick(bytes),
        DataType::Empty => None,
    }
}

/// The same data in other formats, so that no format rests on one source.
pub(crate) fn rewritten(content: &Content) -> Vec<Content> {
    match content.data_type {
        DataType::Csv | DataType::Tsv => rows::rewritten(content),
        DataType::Log => text::messages(&content.bytes).into_iter().collect(),
        DataType::Json => wire::json_as_msgpack(&content.bytes).into_iter().collect(),
        DataType::Jpeg | DataType::Png | DataType::Gif => media::rewritten(content),
        _ => Vec::new(),
    }
}

impl Content {
    /// Of a type that has no delimiter.
    fn new(data_type: DataType, bytes: Vec<u8>) -> Self {
        Self { data_type, delimiter: b',', bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes_of(data_type: DataType, text: &str) -> Vec<(String, String)> {
        let sizes = sizes(&Content::new(data_type, text.as_bytes().to_vec()));
        sizes.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
    }

    #[test]
    fn a_cut_of_json_closes_what_is_open_and_copies_are_one_array() {
        let sizes = sizes_of(DataType::Json, r#"{"a": [1, {"b": "],\"", "c": [2, 3]}, 4], "d": {"e": [5, 6, 7, 8]}}"#);
        let values: Vec<serde_json::Value> =
            sizes.iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(sizes[1].0, "/2");
        assert_eq!(values[1], serde_json::json!({"a": [1, {"b": "],\"", "c": [2]}]}));
        assert_eq!(values[3], serde_json::json!([values[2], values[2]]));
    }

    #[test]
    fn a_cut_of_xml_ends_its_elements() {
        let sizes = sizes_of(DataType::Xml, "<?xml version='1.0'?><a><b>one</b><b>two</b><c><d/><d/></c></a>");

        let half = sizes.iter().find(|(name, _)| name == "/2").unwrap();
        assert_eq!(half.1, "<?xml version='1.0'?><a><b></b></a>");
        let twice = sizes.iter().find(|(name, _)| name == "x2").unwrap();
        assert_eq!(twice.1.matches("<c>").count(), 2);
    }

    #[test]
    fn a_table_is_cut_between_records_and_not_within_quotes() {
        let sizes = sizes_of(DataType::Csv, "a,b\n1,\"x\ny\nz\"\n2,w\n3,v\n");
        let records = |text: &str| {
            let reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            reader.into_records().map(Result::unwrap).filter(|record| record.len() == 2).count()
        };
        let counts: Vec<_> = sizes.iter().map(|(_, text)| records(text)).collect();
        assert_eq!(counts, [2, 2, 4, 8, 32, 128, 512]);
    }

    #[test]
    fn images_keep_their_shape_and_rows_are_counted() {
        let image = image::RgbImage::from_fn(40, 20, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let bytes = media::encode(&image, DataType::Png).unwrap();
        let larger = media::image(DataType::Png, &bytes, Size::Times(4)).unwrap().unwrap();
        let larger = image::load_from_memory(&larger).unwrap().into_rgb8();
        assert_eq!(larger.dimensions(), (80, 40));
        assert_eq!(larger.get_pixel(41, 21), image.get_pixel(1, 1));

        let table = Content { data_type: DataType::Csv, delimiter: b',', bytes: b"a,b\n1,x\n2,y\n3,z\n4,w\n".to_vec() };
        let rewritten = rewritten(&table);
        for content in rewritten.iter().filter(|content| content.data_type == DataType::Parquet) {
            let half = columnar::resize(DataType::Parquet, &content.bytes, Size::Part(2)).unwrap().unwrap();
            let mut rows = 0;
            columnar::each(DataType::Parquet, &half, |batch| {
                rows += batch.num_rows();
                Ok(())
            })
            .unwrap();
            assert_eq!(rows, 2);
        }
        assert_eq!(rewritten.len(), 6, "Parquet, both of Arrow, ORC, Avro and XLSX");
    }
}
