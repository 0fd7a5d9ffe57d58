//! A table of text or numbers, and the formats that it can be written in.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::Result;
use apache_avro::types::Value;
use apache_avro::{Codec, DeflateSettings, Schema, Writer};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use forebay_shared::DataType;
use parquet::basic::{Compression, ZstdLevel};
use rust_xlsxwriter::Workbook;

use super::{Content, columnar};

/// Columns that are all numbers, and others.
pub(crate) struct Table {
    columns: Vec<Column>,
}

enum Column {
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

impl Table {
    /// Of CSV; rows that are shorter than the first are filled up.
    fn read(content: &Content) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(content.delimiter)
            .has_headers(true)
            .flexible(true)
            .from_reader(&content.bytes[..]);
        let width = reader.headers()?.len();
        let rows = reader.into_records().collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(width, &rows, |row, at| row.get(at).unwrap_or("").trim()))
    }

    /// Of rows, whose fields `field` gives.
    pub(crate) fn of<R>(width: usize, rows: &[R], field: impl Fn(&R, usize) -> &str) -> Self {
        let column = |at| {
            let texts = || rows.iter().map(|row| field(row, at));
            let numbers: Option<Vec<f64>> = texts().map(|text| text.parse().ok()).collect();
            numbers.map_or_else(|| Column::Texts(texts().map(str::to_owned).collect()), Column::Numbers)
        };
        Self { columns: (0..width).map(column).collect() }
    }

    fn arrow(&self) -> Result<RecordBatch> {
        let columns = self.columns.iter().enumerate().map(|(at, column)| {
            let array: ArrayRef = match column {
                Column::Numbers(numbers) => Arc::new(Float64Array::from(numbers.clone())),
                Column::Texts(texts) => Arc::new(StringArray::from_iter_values(texts)),
            };
            (format!("column{at}"), array)
        });
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| match column {
            Column::Numbers(numbers) => numbers.len(),
            Column::Texts(texts) => texts.len(),
        })
    }

    fn avro(&self) -> Result<Vec<u8>> {
        let fields = self.columns.iter().enumerate().map(|(at, column)| {
            let of = if matches!(column, Column::Numbers(_)) { "double" } else { "string" };
            serde_json::json!({"name": format!("column{at}"), "type": of})
        });
        let record = serde_json::json!({"type": "record", "name": "row", "fields": fields.collect::<Vec<_>>()});
        let schema = Schema::parse(&record)?;
        let mut writer = Writer::with_codec(&schema, Vec::new(), Codec::Deflate(DeflateSettings::default()));
        for row in 0..self.rows() {
            let fields = self.columns.iter().enumerate().map(|(at, column)| {
                let value = match column {
                    Column::Numbers(numbers) => Value::Double(numbers[row]),
                    Column::Texts(texts) => Value::String(texts[row].clone()),
                };
                (format!("column{at}"), value)
            });
            writer.append(Value::Record(fields.collect()))?;
        }
        Ok(writer.into_inner()?)
    }

    /// As a workbook of one sheet.
    pub(crate) fn xlsx(&self) -> Result<Vec<u8>> {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        for (at, column) in (0..).zip(&self.columns) {
            match column {
                Column::Numbers(numbers) => sheet.write_column(0, at, numbers.iter().copied())?,
                Column::Texts(texts) => sheet.write_column(0, at, texts)?,
            };
        }
        Ok(book.save_to_buffer()?)
    }

    /// Of a workbook's first sheet.
    pub(crate) fn of_xlsx(content: &[u8]) -> Result<Vec<Vec<String>>> {
        use calamine::Reader;
        let mut book: calamine::Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(content))?;
        let sheet = book.worksheet_range_at(0).transpose()?.unwrap_or_default();
        Ok(sheet.rows().map(|row| row.iter().map(ToString::to_string).collect()).collect())
    }
}

pub(super) fn rewritten(content: &Content) -> Vec<Content> {
    let Ok(table) = Table::read(content) else { return Vec::new() };
    let Ok(rows) = table.arrow() else { return Vec::new() };
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let mut all = Vec::new();
    let mut add = |data_type, bytes: Result<Vec<u8>>| all.extend(bytes.map(|bytes| Content::new(data_type, bytes)));
    add(DataType::Parquet, columnar::write(DataType::Parquet, &rows, zstd));
    for data_type in [DataType::ArrowFile, DataType::ArrowStream, DataType::Orc] {
        add(data_type, columnar::write(data_type, &rows, Compression::UNCOMPRESSED));
    }
    add(DataType::Avro, table.avro());
    add(DataType::Xlsx, table.xlsx());
    all
}
