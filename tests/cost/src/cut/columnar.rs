//! Sizes of columnar files: rows, written anew.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute;
use arrow::datatypes::{DataType as Column, Field, Schema};
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use bytes::Bytes;
use forebay_shared::DataType;
use orc_rust::{ArrowReaderBuilder, ArrowWriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::Size;

/// Rows of a record batch that is written.
const ROWS: usize = 8192;

/// Calls `with` with each record batch.
pub(crate) fn each(data_type: DataType, content: &[u8], mut with: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let bytes = || Bytes::copy_from_slice(content);
    match data_type {
        DataType::Parquet => ParquetRecordBatchReaderBuilder::try_new(bytes())?.build()?.try_for_each(|b| with(b?)),
        DataType::ArrowFile => FileReader::try_new(Cursor::new(content), None)?.try_for_each(|b| with(b?)),
        DataType::ArrowStream => StreamReader::try_new(Cursor::new(content), None)?.try_for_each(|b| with(b?)),
        DataType::Orc => ArrowReaderBuilder::try_new(bytes())?.build().try_for_each(|b| with(b?)),
        other => bail!("{other} has no columns"),
    }
}

pub(super) fn resize(data_type: DataType, content: &[u8], size: Size) -> Result<Option<Vec<u8>>> {
    let mut batches = Vec::new();
    each(data_type, content, |batch| {
        batches.push(batch);
        Ok(())
    })?;
    let whole = compute::concat_batches(&batches.first().context("no rows")?.schema(), &batches)?;
    let Some(rows) = size.units(whole.num_rows()) else { return Ok(None) };
    let copies = vec![&whole; rows.div_ceil(whole.num_rows())];
    let rows = compute::concat_batches(&whole.schema(), copies)?.slice(0, rows);
    let compression = match data_type {
        DataType::Parquet => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(content))?;
            reader.metadata().row_groups().first().map(|group| group.column(0).compression())
        }
        _ => None,
    };
    write(data_type, &rows, compression.unwrap_or(Compression::UNCOMPRESSED)).map(Some)
}

/// A file of these rows; `compression` is for Parquet.
pub(super) fn write(data_type: DataType, rows: &RecordBatch, compression: Compression) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let (rows, schema) = if data_type == DataType::Orc { plain(rows)? } else { (rows.clone(), rows.schema()) };
    let pieces = (0..rows.num_rows()).step_by(ROWS).map(|at| rows.slice(at, ROWS.min(rows.num_rows() - at)));
    match data_type {
        DataType::Parquet => {
            let properties = WriterProperties::builder().set_compression(compression).build();
            let mut writer = ArrowWriter::try_new(&mut out, schema, Some(properties))?;
            for piece in pieces {
                writer.write(&piece)?;
            }
            writer.close()?;
        }
        DataType::ArrowFile => {
            let mut writer = FileWriter::try_new(&mut out, &schema)?;
            for piece in pieces {
                writer.write(&piece)?;
            }
            writer.finish()?;
        }
        DataType::ArrowStream => {
            let mut writer = StreamWriter::try_new(&mut out, &schema)?;
            for piece in pieces {
                writer.write(&piece)?;
            }
            writer.finish()?;
        }
        DataType::Orc => {
            let mut writer = ArrowWriterBuilder::new(&mut out, schema).try_build()?;
            for piece in pieces {
                writer.write(&piece)?;
            }
            writer.close()?;
        }
        other => bail!("{other} has no columns"),
    }
    Ok(out)
}

/// The columns that can be written as ORC, others as numbers where they can be.
fn plain(rows: &RecordBatch) -> Result<(RecordBatch, Arc<Schema>)> {
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let column = match column.data_type() {
            Column::Boolean | Column::Int32 | Column::Int64 | Column::Float32 | Column::Float64 | Column::Utf8 => {
                Arc::clone(column)
            }
            Column::Timestamp(..) if compute::can_cast_types(column.data_type(), &Column::Int64) => {
                compute::cast(column, &Column::Int64)?
            }
            other if compute::can_cast_types(other, &Column::Float64) => compute::cast(column, &Column::Float64)?,
            Column::Date32 => compute::cast(column, &Column::Int32)?,
            _ => continue,
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new(fields));
    Ok((RecordBatch::try_new(Arc::clone(&schema), columns)?, schema))
}
