//! Sheets as an object a line.

use std::io::{BufWriter, Write};

use serde_json::{Map, Value};

use super::{Cell, Columns, Sink};

pub(super) struct Writer {
    columns: Columns,
    to: BufWriter<Box<dyn Write + Send>>,
}

impl Writer {
    pub(super) fn new(columns: Columns, to: Box<dyn Write + Send>) -> Self {
        Self { columns, to: BufWriter::new(to) }
    }
}

impl Sink for Writer {
    fn line(&mut self, cells: Vec<Cell>) -> anyhow::Result<()> {
        let mut object = Map::new();
        for ((name, _), cell) in self.columns.iter().zip(cells) {
            let value = match cell {
                Cell::Empty => continue,
                Cell::Integer(number) => Value::from(number),
                Cell::Float(number) => Value::from(number),
                Cell::Text(text) => Value::from(text),
            };
            object.insert(name.clone(), value);
        }
        serde_json::to_writer(&mut self.to, &object)?;
        Ok(self.to.write_all(b"\n")?)
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        Ok(self.to.flush()?)
    }
}
