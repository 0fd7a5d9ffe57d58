//! Avro's object container files: a header with the schema, then blocks of values that tell how many they hold.
//!
//! ```text
//! Obj1 | metadata map: avro.schema, avro.codec | sync | count, size, values, sync | …
//! ```
//!
//! Records come from the blocks' counts, without unpacking. Depth is that of the values, which are decoded by the
//! schema within a budget, and no further than to the depth that the schema allows.

mod schema;
mod stream;
mod values;

use std::borrow::Cow;

use self::schema::Schema;
pub(super) use self::stream::Stream;
use self::values::Values;
use super::cursor::Cursor;
use super::unpack::{Codec, unpack};
use super::{Facts, Held};
use crate::characteristics::extrapolate;

/// Unpacked bytes of blocks that are decoded, all together.
const MOST_UNPACKED: usize = 4 << 20;
/// A longer schema is left unread: parsed, it would take some 20 times its length.
const MOST_SCHEMA: usize = 256 << 10;
/// Blocks that are walked; Avro's writers make them of some 16 KiB.
const MOST_BLOCKS: u32 = 200_000;
/// Values a packed byte: a value takes a byte at least, and bzip2, the tightest on zeros, packs some 900,000 into one.
const MOST_RATIO: u64 = 1 << 20;
const SYNC: usize = 16;

struct Header<'a> {
    schema: &'a [u8],
    codec: &'a [u8],
    sync: [u8; SYNC],
}

/// What the blocks tell.
#[derive(Default)]
struct Blocks {
    records: u64,
    /// Bytes of the batch that the counted blocks take.
    bytes: usize,
    /// There are more of them than are walked.
    enough: bool,
    problem: Option<&'static str>,
    /// All values were decoded, or as many as were needed to know.
    depth_is_exact: bool,
    depth: u32,
}

pub(super) fn facts(held: &Held<'_>) -> Facts {
    let mut cursor = Cursor::new(held.head());
    let Some(header) = header(&mut cursor) else {
        let problem = (!held.is_cut()).then_some("the Avro header is cut short or malformed");
        return Facts { estimated: Some(held.is_cut()), ..Facts::maybe(problem) };
    };
    let schema = (header.schema.len() <= MOST_SCHEMA).then(|| Schema::parse(header.schema)).flatten();
    let start = cursor.at();
    let mut blocks = blocks(&mut cursor, &header, schema.as_ref(), held.is_cut());
    if let Some((count, length)) = begun(cursor, held) {
        blocks.records = blocks.records.saturating_add(count);
        blocks.bytes = blocks.bytes.saturating_add(length);
    }
    let known = schema.as_ref().and_then(Schema::depth);
    let missing = if schema.is_none() { Some("the Avro schema is malformed") } else { None };
    let records = match held.is_cut() || blocks.enough {
        true if blocks.bytes == 0 => None,
        true => {
            Some(extrapolate::records(blocks.records, blocks.bytes as u64, held.total().saturating_sub(start as u64)))
        }
        false => Some(blocks.records),
    };
    let depth = if blocks.depth_is_exact { Some(blocks.depth) } else { known.or(Some(blocks.depth)) };
    Facts {
        records,
        max_depth: schema.is_some().then_some(depth).flatten(),
        columns: schema.as_ref().map(Schema::columns),
        estimated: Some(held.is_cut() || blocks.enough || schema.is_some() && !blocks.depth_is_exact),
        problem: blocks.problem.or(missing).map(str::to_owned),
        ..Facts::default()
    }
}

fn header<'a>(cursor: &mut Cursor<'a>) -> Option<Header<'a>> {
    cursor.take(4)?;
    let (mut schema, mut codec) = (None, &b"null"[..]);
    loop {
        let mut entries = cursor.zigzag()?;
        if entries < 0 {
            cursor.zigzag()?;
            entries = entries.checked_neg()?;
        }
        if entries == 0 {
            break;
        }
        for _ in 0..entries {
            let length = cursor.zigzag()?.try_into().ok()?;
            let key = cursor.take(length)?;
            let length = cursor.zigzag()?.try_into().ok()?;
            let value = cursor.take(length)?;
            match key {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = value,
                _ => {}
            }
        }
    }
    Some(Header { schema: schema?, codec, sync: cursor.array()? })
}

fn blocks(cursor: &mut Cursor<'_>, header: &Header<'_>, schema: Option<&Schema>, cut: bool) -> Blocks {
    let start = cursor.at();
    let mut blocks = Blocks { depth_is_exact: true, ..Blocks::default() };
    let deepest = schema.and_then(Schema::depth);
    let mut values = schema.map(Values::new);
    let mut unpacked = 0;
    for _ in 0..MOST_BLOCKS {
        if cursor.is_empty() {
            break;
        }
        let Some((count, block)) = block(cursor, header.sync) else {
            blocks.depth_is_exact &= !cut;
            blocks.problem = (!cut).then_some("an Avro block is cut or malformed");
            break;
        };
        let most = if header.codec == b"null" { block.len() as u64 } else { block.len() as u64 * MOST_RATIO };
        if count > most && !schema.is_some_and(Schema::takes_no_bytes) {
            blocks.problem = Some("an Avro block claims more values than it has bytes");
            blocks.depth_is_exact = false;
            break;
        }
        blocks.records = blocks.records.saturating_add(count);
        blocks.bytes = cursor.at() - start;
        let Some(values) = values.as_mut().filter(|values| deepest != Some(values.depth())) else { continue };
        if !blocks.depth_is_exact {
            continue;
        }
        blocks.depth_is_exact = look(header.codec, block, count, values, &mut unpacked);
    }
    blocks.enough = !cursor.is_empty() && blocks.problem.is_none() && !cut;
    blocks.depth_is_exact &= !blocks.enough;
    blocks.depth = values.map_or(0, |values| values.depth());
    blocks.depth_is_exact |= deepest.is_some() && deepest == Some(blocks.depth);
    blocks
}

/// Unpacks a block within what is left of the budget and walks its values; whether to their end.
fn look(codec: &[u8], packed: &[u8], count: u64, values: &mut Values<'_>, unpacked: &mut usize) -> bool {
    let room = MOST_UNPACKED - *unpacked;
    let codec = match codec {
        b"null" => None,
        b"deflate" => Some(Codec::Deflate),
        b"snappy" => Some(Codec::Snappy),
        b"zstandard" => Some(Codec::Zstd),
        b"bzip2" => Some(Codec::Bzip2),
        b"xz" => Some(Codec::Xz),
        _ => return false,
    };
    // Snappy's blocks end with the CRC-32 of what they hold.
    let packed = match codec {
        Some(Codec::Snappy) => &packed[..packed.len().saturating_sub(4)],
        Some(Codec::Deflate) | None => &packed[..packed.len().min(room)],
        _ => packed,
    };
    let cost = codec.map_or(1, Codec::cost);
    let inside = match codec {
        None => Cow::Borrowed(packed),
        Some(codec) => unpack(codec, packed, room / cost).bytes.into(),
    };
    // A block takes from the budget what it is, or what it becomes, whichever is more.
    *unpacked += (inside.len() * cost).max(packed.len()).min(room);
    values.read(&inside, count)
}

/// Count and length of a block that ends past what is held, but not past the batch.
fn begun(mut cursor: Cursor<'_>, held: &Held<'_>) -> Option<(u64, usize)> {
    let start = cursor.at();
    let count = cursor.zigzag()?.try_into().ok()?;
    let length = usize::try_from(cursor.zigzag()?).ok()?;
    let end = cursor.at().checked_add(length)?.checked_add(SYNC)?;
    (end > held.head().len() && end as u64 <= held.total() && count <= (length as u64).saturating_mul(MOST_RATIO))
        .then_some((count, end - start))
}

/// The next block's count and bytes.
fn block<'a>(cursor: &mut Cursor<'a>, sync: [u8; SYNC]) -> Option<(u64, &'a [u8])> {
    let mut ahead = *cursor;
    let count = ahead.zigzag()?.try_into().ok()?;
    let length = ahead.zigzag()?.try_into().ok()?;
    let block = ahead.take(length)?;
    if ahead.array() != Some(sync) {
        return None;
    }
    *cursor = ahead;
    Some((count, block))
}

#[cfg(test)]
pub(super) mod tests;
