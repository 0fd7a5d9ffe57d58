//! Arrow's IPC: the file, whose footer lists its record batches, and the stream, message after message.
//!
//! ```text
//! file:    ARROW1 0 0 | stream | footer | its length, 4 bytes | ARROW1
//! stream:  (ff ff ff ff)? | metadata's length | metadata (FlatBuffers) | body | …   the mark is missing before 0.15
//! ```
//!
//! Bodies are skipped: rows are the record batches' lengths, added.

mod stream;

use super::cursor::{Cursor, little};
use super::flatbuffer::Table;
use super::{Detail, Facts, Held};
use crate::characteristics::extrapolate;

pub(super) use self::stream::{Stream, starts};

/// Fields of a schema that are looked at, and how deep: tables may be shared, so a small buffer may hold a huge tree.
const MOST_FIELDS: u32 = 100_000;
const MOST_DEPTH: u32 = 64;
/// Messages that are looked at.
const MOST_MESSAGES: u64 = 20_000;
const MAGIC: &[u8] = b"ARROW1";
const MARK: [u8; 4] = [0xff; 4];

#[derive(Clone, Copy)]
struct Schema {
    depth: u32,
    columns: u32,
}

impl Schema {
    fn of(schema: Option<Table<'_>>) -> Option<Self> {
        let fields = schema?.tables(1);
        let columns = fields.len() as u32;
        let mut left = MOST_FIELDS;
        let mut depth = 1;
        for field in fields {
            depth = depth.max(1 + field_depth(field?, &mut left, MOST_DEPTH)?);
        }
        Some(Self { depth, columns })
    }
}

/// `Type`: List, Struct_, FixedSizeList, Map, LargeList, ListView and LargeListView nest.
fn field_depth(field: Table<'_>, left: &mut u32, depth: u32) -> Option<u32> {
    *left = left.checked_sub(1)?;
    let depth = depth.checked_sub(1)?;
    let kind = field.scalar(2, 1);
    let nests = matches!(kind, 12 | 13 | 16 | 17 | 21 | 25 | 26);
    let mut below = 0;
    for child in field.tables(5) {
        below = below.max(field_depth(child?, left, depth)?);
    }
    // A map's child is the struct of its entries, which is no level of its own.
    let entries = u32::from(kind == 17 && below > 0);
    Some(u32::from(nests) + below - entries)
}

enum Message<'a> {
    Schema(Option<Table<'a>>),
    Rows(u64),
    Other,
}

/// A message's kind and its body's length, from its metadata.
fn message(metadata: &[u8]) -> Option<(Message<'_>, u64)> {
    let table = Table::root(metadata)?;
    let header = table.table(2);
    let message = match table.scalar(1, 1) {
        1 => Message::Schema(header),
        3 => Message::Rows(header?.scalar(0, 8)),
        2 | 4 | 5 => Message::Other,
        _ => return None,
    };
    let body = table.scalar(3, 8);
    (table.scalar(0, 2) <= 4 && body <= i64::MAX as u64).then_some((message, body))
}

/// A message's metadata at `offset`, and where its body starts; inner nothing at the stream's end mark.
fn metadata<'a>(held: &Held<'a>, offset: u64) -> Option<Option<(&'a [u8], u64)>> {
    let mark = held.at(offset, 4)? == MARK;
    let start = offset + if mark { 8 } else { 4 };
    let length = little(held.at(start - 4, 4)?, 0, 4)?;
    if length == 0 {
        return Some(None);
    }
    let metadata = held.at(start, usize::try_from(length).ok()?)?;
    Some(Some((metadata, start + length)))
}

/// Whether a stream starts here: a message whose metadata is a schema.
pub(super) fn is_stream(held: &Held<'_>) -> bool {
    let length = |at| little(held.head(), at, 4).unwrap_or(0);
    if held.head().starts_with(&MARK) {
        // A long schema may be cut; the mark and a plausible length tell still.
        let (length, left) = (length(4), held.total().saturating_sub(8));
        return length >= 8 && length % 8 == 0 && length <= left && first_is_schema(held).unwrap_or(held.is_cut());
    }
    (8..held.total()).contains(&length(0)) && first_is_schema(held) == Some(true)
}

/// Nothing if it isn't all at hand.
fn first_is_schema(held: &Held<'_>) -> Option<bool> {
    let (metadata, _) = metadata(held, 0)??;
    let first = message(metadata);
    Some(matches!(first, Some((Message::Schema(schema), 0)) if Schema::of(schema).is_some()))
}

/// What walking the messages has told.
#[derive(Default)]
struct Walk {
    schema: Option<Schema>,
    rows: u64,
    batches: u32,
    /// Up to where messages were whole.
    settled: u64,
    problem: Option<&'static str>,
    /// It came to the end of the stream.
    complete: bool,
}

impl Walk {
    fn of(held: &Held<'_>, start: u64) -> Self {
        let mut walk = Self { settled: start, ..Self::default() };
        for _ in 0..MOST_MESSAGES {
            if walk.settled == held.total() {
                walk.complete = true;
                break;
            }
            let Some(next) = metadata(held, walk.settled) else {
                walk.problem = (!held.is_cut()).then_some("cut short: an Arrow message is not all there");
                break;
            };
            let Some((metadata, body)) = next else {
                walk.complete = true;
                break;
            };
            let Some((message, length)) = message(metadata) else {
                walk.problem = Some("an Arrow message is malformed");
                break;
            };
            let Some(end) = body.checked_add(length).filter(|end| *end <= held.total()) else {
                walk.problem = Some("cut short: an Arrow message claims more bytes than there are");
                break;
            };
            match message {
                Message::Schema(schema) if walk.settled == start => walk.schema = Schema::of(schema),
                Message::Rows(rows) => {
                    walk.rows = walk.rows.saturating_add(rows);
                    walk.batches += 1;
                }
                _ => {}
            }
            walk.settled = end;
        }
        walk
    }

    fn facts(self, held: &Held<'_>, start: u64) -> Facts {
        let estimated = !self.complete && self.problem.is_none();
        let records = match estimated {
            true if self.batches == 0 => None,
            true => {
                let seen = usize::try_from(self.settled - start).unwrap_or(usize::MAX);
                Some(extrapolate::records(self.rows, seen as u64, held.total() - start))
            }
            false => Some(self.rows),
        };
        let schema = self.schema;
        let problem = self.problem.or((schema.is_none() && !estimated).then_some("the Arrow schema is malformed"));
        Facts { records, estimated: Some(estimated), ..described(schema, self.batches, problem) }
    }
}

fn described(schema: Option<Schema>, batches: u32, problem: Option<&'static str>) -> Facts {
    Facts {
        max_depth: schema.map(|schema| schema.depth),
        columns: schema.map(|schema| schema.columns),
        detail: Detail { row_groups: Some(batches), ..Detail::default() },
        ..Facts::maybe(problem)
    }
}

pub(super) fn stream(held: &Held<'_>) -> Facts {
    Walk::of(held, 0).facts(held, 0)
}

pub(super) fn file(held: &Held<'_>) -> Facts {
    let end = held.end();
    if end.is_empty() {
        return Walk::of(held, 8).facts(held, 8);
    }
    let Some(footer) = footer(held, end) else {
        let problem = Some("cut short: the Arrow footer is missing or malformed");
        let walked = Walk::of(held, 8).facts(held, 8);
        return Facts { problem: problem.map(str::to_owned), ..walked };
    };
    let Some(bytes) = footer else { return Walk::of(held, 8).facts(held, 8) };
    let Some(table) = Table::root(bytes) else { return Facts::problem("the Arrow footer is malformed") };
    let schema = Schema::of(table.table(1));
    let blocks = table.structs(3, 24);
    let (mut rows, mut seen, all) = (0_u64, 0, blocks.len() as u64);
    let mut problem = schema.is_none().then_some("the Arrow schema is malformed");
    for block in blocks.take(MOST_MESSAGES as usize) {
        match block_rows(held, block) {
            Ok(Some(length)) => {
                rows = rows.saturating_add(length);
                seen += 1;
            }
            Ok(None) => {}
            Err(what) => problem = Some(what),
        }
    }
    let records = match seen {
        0 if all > 0 => None,
        _ if seen < all => Some((u128::from(rows) * u128::from(all) / u128::from(seen)).try_into().unwrap_or(u64::MAX)),
        _ => Some(rows),
    };
    let estimated = Some(seen < all && problem.is_none());
    Facts { records, estimated, ..described(schema, u32::try_from(all).unwrap_or(u32::MAX), problem) }
}

/// Nothing if there is none; inner nothing if it is longer than what is held.
fn footer<'a>(held: &Held<'a>, end: &[u8]) -> Option<Option<&'a [u8]>> {
    let (_, [length @ .., _, _, _, _, _, _]) = end.split_last_chunk::<10>()?;
    end.ends_with(MAGIC).then_some(())?;
    let length = little(length, 0, 4)?;
    let start = held.total().checked_sub(10 + length).filter(|start| *start >= 8)?;
    Some(held.at(start, length as usize))
}

/// The rows of a batch that the footer lists; nothing if its metadata is not at hand.
fn block_rows(held: &Held<'_>, block: &[u8]) -> Result<Option<u64>, &'static str> {
    let mut block = Cursor::new(block);
    let (offset, length) = (block.little(8).unwrap_or(0), block.little(4).unwrap_or(0));
    if offset.checked_add(length).is_none_or(|end| end > held.total()) {
        return Err("an Arrow record batch lies outside the file");
    }
    let Some(found) = metadata(held, offset) else { return Ok(None) };
    match found.and_then(|(metadata, _)| message(metadata)) {
        Some((Message::Rows(rows), _)) => Ok(Some(rows)),
        _ => Err("an Arrow record batch is malformed"),
    }
}

#[cfg(test)]
pub(super) mod tests;
