//! Parquet: rows, columns, row groups, encodings and depth from the footer, which is read from the batch's end.
//!
//! ```text
//! PAR1 | pages … | FileMetaData (Thrift) | its length, 4 bytes | PAR1
//! ```
//!
//! Pages are never unpacked; where they are at hand, their headers are checked against what the footer says.

mod pages;
mod schema;

use self::schema::Element;
use super::cursor::little;
use super::thrift::{STRUCT, Thrift};
use super::{Detail, Facts, Held};

/// Columns, row groups' columns and the like that are looked at, so that the work has a bound.
const MOST_ELEMENTS: u64 = 100_000;
const MOST_CHUNKS: u64 = 50_000;
/// Bytes of a footer that are read; rows and columns stand at its start.
const MOST_FOOTER: usize = 6 << 20;

/// What a footer tells.
#[derive(Default)]
struct Footer {
    elements: Vec<Element>,
    rows: Option<u64>,
    row_groups: u64,
    /// Rows of the row groups, added.
    grouped_rows: Option<u64>,
    encodings: u64,
    values: u64,
    /// Nothing once a column does not tell.
    nulls: Option<u64>,
    chunks: u64,
    /// The bound was reached: what follows is left unread.
    enough: bool,
    problem: Option<&'static str>,
}

pub(super) fn facts(held: &Held<'_>) -> Facts {
    let end = held.end();
    let Some((_, [length @ .., _, _, _, _])) = end.split_last_chunk::<8>() else {
        return Facts { estimated: Some(held.is_cut()), ..Facts::maybe(missing(held)) };
    };
    match &end[end.len() - 4..] {
        b"PAR1" => {}
        b"PARE" => return Facts::problem("the Parquet footer is encrypted"),
        _ => return Facts { estimated: Some(held.is_cut() && end.is_empty()), ..Facts::maybe(missing(held)) },
    }
    let length = little(length, 0, 4).unwrap_or(0);
    let Some(start) = held.total().checked_sub(8 + length).filter(|start| *start >= 4) else {
        return Facts::problem("the Parquet footer claims to be longer than the file");
    };
    let Some(bytes) = held.at(start, length as usize) else {
        return Facts { estimated: Some(true), ..Facts::default() };
    };
    let mut footer = Footer { nulls: Some(0), grouped_rows: Some(0), ..Footer::default() };
    let part = &bytes[..bytes.len().min(MOST_FOOTER)];
    let whole = footer.read(part, held).is_some();
    if !whole && part.len() < bytes.len() {
        (footer.nulls, footer.grouped_rows, footer.enough) = (None, None, true);
    }
    if !whole && !footer.enough {
        footer.problem = Some("the Parquet footer is malformed");
    }
    footer.facts()
}

fn missing(held: &Held<'_>) -> Option<&'static str> {
    (!held.is_cut() || !held.end().is_empty()).then_some("cut short: the Parquet footer is missing")
}

impl Footer {
    fn facts(self) -> Facts {
        let shape = schema::shape(&self.elements);
        let uneven = self.rows.zip(self.grouped_rows).is_some_and(|(rows, grouped)| rows != grouped);
        let problem = self
            .problem
            .or(shape.is_none().then_some("the Parquet schema is malformed"))
            .or(uneven.then_some("the rows of the Parquet row groups differ from those of the file"));
        Facts {
            records: self.rows,
            max_depth: shape.map(|shape| shape.depth),
            columns: shape.map(|shape| shape.columns),
            null_share: self
                .nulls
                .filter(|_| self.values > 0)
                .map(|nulls| (nulls as f64 / self.values as f64).min(1.0)),
            detail: Detail {
                row_groups: Some(u32::try_from(self.row_groups).unwrap_or(u32::MAX)),
                encodings: (self.encodings != 0).then(|| self.encodings.count_ones()),
                ..Detail::default()
            },
            estimated: Some(false),
            problem: problem.map(str::to_owned),
            ..Facts::default()
        }
    }

    fn read(&mut self, bytes: &[u8], held: &Held<'_>) -> Option<()> {
        let mut pages = pages::Check::new(held);
        Thrift::new(bytes).fields(|thrift, id, kind| {
            match (id, kind) {
                (2, 9) => {
                    let (kind, length) = thrift.list()?;
                    (kind == STRUCT && length <= MOST_ELEMENTS).then_some(())?;
                    for _ in 0..length {
                        self.elements.push(Element::read(thrift)?);
                    }
                }
                (3, 6) => self.rows = thrift.integer()?.try_into().ok(),
                (4, 9) => {
                    let (kind, length) = thrift.list()?;
                    (kind == STRUCT || length == 0).then_some(())?;
                    self.row_groups = length;
                    for _ in 0..length {
                        if self.chunks >= MOST_CHUNKS {
                            // The rest would tell the same; what has been added up is no longer all.
                            (self.nulls, self.grouped_rows, self.enough) = (None, None, true);
                            return None;
                        }
                        self.row_group(thrift, &mut pages)?;
                    }
                }
                _ => return Some(false),
            }
            Some(true)
        })?;
        self.problem = pages.problem();
        Some(())
    }

    fn row_group(&mut self, thrift: &mut Thrift<'_>, pages: &mut pages::Check<'_>) -> Option<()> {
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (1, 9) => {
                    let (_, length) = thrift.list()?;
                    for _ in 0..length {
                        self.column(thrift, pages)?;
                    }
                }
                (3, 6) => {
                    let rows: Option<u64> = thrift.integer()?.try_into().ok();
                    self.grouped_rows = self.grouped_rows.zip(rows).and_then(|(sum, rows)| sum.checked_add(rows));
                }
                _ => return Some(false),
            }
            Some(true)
        })
    }

    fn column(&mut self, thrift: &mut Thrift<'_>, pages: &mut pages::Check<'_>) -> Option<()> {
        self.chunks += 1;
        let (mut chunk, mut readable) = (None, true);
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (3, STRUCT) => chunk = Some(self.chunk(thrift)?),
                // Its pages are in another file, or encrypted.
                (1, 8) | (8, STRUCT) => {
                    readable = false;
                    return Some(false);
                }
                _ => return Some(false),
            }
            Some(true)
        })?;
        if let Some(chunk) = chunk.filter(|_| readable) {
            pages.chunk(&chunk);
        }
        Some(())
    }

    fn chunk(&mut self, thrift: &mut Thrift<'_>) -> Option<pages::Chunk> {
        let (mut nulls, mut chunk) = (None, pages::Chunk::default());
        thrift.fields(|thrift, id, kind| {
            match (id, kind) {
                (2, 9) => {
                    let (_, length) = thrift.list()?;
                    for _ in 0..length {
                        self.encodings |= 1_u64.checked_shl(thrift.integer()?.try_into().ok()?).unwrap_or(0);
                    }
                }
                (5, 6) => chunk.values = thrift.integer()?,
                (7, 6) => chunk.packed = thrift.integer()?,
                (9, 6) => chunk.data = thrift.integer()?,
                (11, 6) => chunk.dictionary = Some(thrift.integer()?),
                (12, STRUCT) => thrift.fields(|thrift, id, kind| match (id, kind) {
                    (3, 6) => {
                        nulls = u64::try_from(thrift.integer()?).ok();
                        Some(true)
                    }
                    _ => Some(false),
                })?,
                _ => return Some(false),
            }
            Some(true)
        })?;
        self.values = self.values.saturating_add(chunk.values.max(0) as u64);
        self.nulls = self.nulls.zip(nulls).and_then(|(sum, nulls)| sum.checked_add(nulls));
        Some(chunk)
    }
}

#[cfg(test)]
pub(super) mod tests;
