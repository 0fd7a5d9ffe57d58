//! Sheets as Apache Parquet: every column optional, integers as unsigned 64 bits, uncompressed.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail};
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type as SchemaType;

use super::{Cell, Columns, Sink, Type};

/// Lines of a row group: some 30 MB of cells.
const GROUP: usize = 16_384;
/// The most lines of a row group that is read.
const MAX_GROUP: i64 = 1 << 21;

pub(super) struct Writer {
    types: Vec<Type>,
    lines: Vec<Vec<Cell>>,
    file: SerializedFileWriter<Box<dyn Write + Send>>,
}

impl Writer {
    pub(super) fn new(columns: &Columns, to: Box<dyn Write + Send>) -> anyhow::Result<Self> {
        let schema = Arc::new(schema(columns)?);
        let file = SerializedFileWriter::new(to, schema, Arc::new(WriterProperties::builder().build()))?;
        Ok(Self { types: columns.iter().map(|(_, of)| *of).collect(), lines: Vec::new(), file })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let lines = std::mem::take(&mut self.lines);
        let mut group = self.file.next_row_group()?;
        for (at, of) in self.types.iter().enumerate() {
            let cells = || lines.iter().map(|line| &line[at]);
            match of {
                Type::Integer => column::<Int64Type>(&mut group, cells(), |cell| match cell {
                    Cell::Integer(number) => Some(*number as i64),
                    _ => None,
                }),
                Type::Float => column::<DoubleType>(&mut group, cells(), |cell| match cell {
                    Cell::Float(number) => Some(*number),
                    _ => None,
                }),
                Type::Text => column::<ByteArrayType>(&mut group, cells(), |cell| match cell {
                    Cell::Text(text) => Some(ByteArray::from(text.as_str())),
                    _ => None,
                }),
            }?;
        }
        group.close()?;
        Ok(())
    }
}

impl Sink for Writer {
    fn line(&mut self, cells: Vec<Cell>) -> anyhow::Result<()> {
        self.lines.push(cells);
        if self.lines.len() == GROUP { self.write() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        if !self.lines.is_empty() {
            self.write()?;
        }
        self.file.close()?;
        Ok(())
    }
}

fn schema(columns: &Columns) -> anyhow::Result<SchemaType> {
    let field = |(name, of): &(String, Type)| {
        let (physical, logical) = match of {
            Type::Integer => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Type::Float => (Physical::DOUBLE, None),
            Type::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let builder = SchemaType::primitive_type_builder(name, physical);
        Ok(Arc::new(builder.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build()?))
    };
    let fields = columns.iter().map(field).collect::<anyhow::Result<_>>()?;
    Ok(SchemaType::group_type_builder("history").with_fields(fields).build()?)
}

fn column<'a, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Box<dyn Write + Send>>,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> anyhow::Result<()> {
    let cells: Vec<_> = cells.map(value).collect();
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    let mut column = group.next_column()?.context("a column more than the schema has")?;
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()?;
    Ok(())
}

/// Lines by the columns' names, in whatever order the file has them. Columns that are not there are empty.
pub(super) fn read(
    columns: &Columns,
    from: File,
) -> anyhow::Result<impl Iterator<Item = Result<Vec<Cell>, String>> + Send + use<>> {
    let file = SerializedFileReader::new(from).context("no Parquet file")?;
    let schema = file.metadata().file_metadata().schema_descr();
    let mut places = Vec::new();
    for (name, of) in columns {
        let place = schema.columns().iter().position(|column| column.path().string() == *name);
        if let Some(column) = place.map(|place| schema.column(place)) {
            let physical = match of {
                Type::Integer => Physical::INT64,
                Type::Float => Physical::DOUBLE,
                Type::Text => Physical::BYTE_ARRAY,
            };
            if column.physical_type() != physical || column.max_rep_level() > 0 || column.max_def_level() > 1 {
                bail!("column `{name}`: expected a flat column of {physical}, as `history export` writes it");
            }
        }
        places.push(place);
    }
    let found: Vec<_> = schema.columns().iter().map(|column| column.path().string()).collect();
    super::check_columns(columns, &found.iter().map(String::as_str).collect::<Vec<_>>())?;
    let groups = 0..file.num_row_groups();
    let lines = groups.flat_map(move |group| match read_group(&file, group, &places) {
        Ok(lines) => lines.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(format!("row group {group}: {error:#}"))],
    });
    Ok(lines)
}

fn read_group(
    file: &SerializedFileReader<File>,
    group: usize,
    places: &[Option<usize>],
) -> anyhow::Result<Vec<Vec<Cell>>> {
    let group = file.get_row_group(group)?;
    let rows = group.metadata().num_rows();
    if !(0..=MAX_GROUP).contains(&rows) {
        bail!("{rows} rows: expected at most {MAX_GROUP}");
    }
    let rows = usize::try_from(rows)?;
    let mut lines = vec![vec![Cell::Empty; places.len()]; rows];
    for (at, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let optional = group.metadata().column(*place).column_descr().max_def_level() > 0;
        let cells: Vec<Cell> = match group.get_column_reader(*place)? {
            ColumnReader::Int64ColumnReader(reader) => {
                values(reader, rows, optional, |number| Cell::Integer(number as u64))?
            }
            ColumnReader::DoubleColumnReader(reader) => values(reader, rows, optional, Cell::Float)?,
            ColumnReader::ByteArrayColumnReader(reader) => {
                values(reader, rows, optional, |bytes| Cell::Text(String::from_utf8_lossy(bytes.data()).into_owned()))?
            }
            _ => bail!("a column of another type"),
        };
        for (line, cell) in lines.iter_mut().zip(cells) {
            line[at] = cell;
        }
    }
    Ok(lines)
}

fn values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    optional: bool,
    cell: impl Fn(T::T) -> Cell,
) -> anyhow::Result<Vec<Cell>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    while levels.len().max(if optional { 0 } else { values.len() }) < rows {
        let (read, _, _) = reader.read_records(rows, optional.then_some(&mut levels), None, &mut values)?;
        if read == 0 {
            bail!("a column is cut short");
        }
    }
    if !optional {
        return Ok(values.into_iter().map(cell).collect());
    }
    let mut values = values.into_iter();
    Ok(levels
        .into_iter()
        .map(|level| if level > 0 { values.next().map_or(Cell::Empty, &cell) } else { Cell::Empty })
        .collect())
}
