//! Sheets as comma-separated values.

use std::io::{Read, Write};

use anyhow::Context;

use super::{Cell, Columns, Sink, Type};

pub(super) struct Writer(csv::Writer<Box<dyn Write + Send>>);

impl Writer {
    pub(super) fn new(columns: &Columns, to: Box<dyn Write + Send>) -> anyhow::Result<Self> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(columns.iter().map(|(name, _)| name))?;
        Ok(Self(writer))
    }
}

impl Sink for Writer {
    fn line(&mut self, cells: Vec<Cell>) -> anyhow::Result<()> {
        let text = |cell| match cell {
            Cell::Empty => String::new(),
            Cell::Integer(number) => number.to_string(),
            // The shortest text that reads back as the same number.
            Cell::Float(number) => format!("{number:?}"),
            Cell::Text(text) => text,
        };
        Ok(self.0.write_record(cells.into_iter().map(text))?)
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Lines by the columns' names, in whatever order the file has them. Columns that are not there are empty.
pub(super) fn read(
    columns: Columns,
    from: impl Read + Send + 'static,
) -> anyhow::Result<impl Iterator<Item = Result<Vec<Cell>, String>> + Send> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(from);
    let header = reader.headers().context("the first line is no header")?.clone();
    super::check_columns(&columns, &header.iter().collect::<Vec<_>>()).context("line 1")?;
    let places: Vec<_> = columns.iter().map(|(name, _)| header.iter().position(|of| of == name)).collect();
    let width = header.len();
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|error| error.to_string())?;
        if record.len() != width {
            return Err(format!("{} values where the header has {width}", record.len()));
        }
        let cell = |((name, of), place): (&(String, Type), &Option<usize>)| {
            let text = place.and_then(|place| record.get(place)).unwrap_or_default();
            parse(text, *of).ok_or_else(|| format!("{name}: `{}` is no {}", short(text), called(*of)))
        };
        columns.iter().zip(&places).map(cell).collect()
    }))
}

fn parse(text: &str, of: Type) -> Option<Cell> {
    Some(match of {
        _ if text.is_empty() => Cell::Empty,
        Type::Integer => Cell::Integer(text.parse().ok()?),
        Type::Float => Cell::Float(text.parse().ok()?),
        Type::Text => Cell::Text(text.to_owned()),
    })
}

fn called(of: Type) -> &'static str {
    match of {
        Type::Integer => "whole number",
        Type::Float => "number",
        Type::Text => "text",
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
