//! ORC: rows, columns, stripes and depth from the postscript and the footer, at the batch's end.
//!
//! ```text
//! ORC | stripes … | metadata | footer (packed, Protocol Buffers) | postscript | its length, 1 byte
//! ```

use super::cursor::Cursor;
use super::unpack::{Codec, unpack};
use super::wire::{self, Value};
use super::{Detail, Facts, Held};

/// A footer is unpacked up to here. Wide schemas take some 100 bytes a column.
const MOST_FOOTER: usize = 4 << 20;
/// Chunks that a footer is packed in; of 256 KiB, unless the writer chose otherwise.
const MOST_CHUNKS: usize = 4096;
/// Columns of a schema, and columns below others: each is below one.
const MOST_TYPES: usize = 100_000;

#[derive(Default)]
struct Postscript {
    footer: u64,
    compression: u64,
    chunk: u64,
    magic: bool,
}

/// A column's type: its kind and the columns below it.
struct Type {
    kind: u64,
    below: Vec<u32>,
}

#[derive(Default)]
struct Footer {
    rows: Option<u64>,
    stripes: u32,
    types: Vec<Type>,
}

pub(super) fn facts(held: &Held<'_>) -> Facts {
    let end = held.end();
    if end.is_empty() {
        return Facts { estimated: Some(true), ..Facts::default() };
    }
    let Some((postscript, length)) = postscript(end).filter(|(postscript, _)| postscript.magic) else {
        return Facts::problem("cut short: the ORC postscript is missing");
    };
    let footer = (held.total() - length).checked_sub(postscript.footer).filter(|start| *start >= 3);
    let Some(start) = footer else { return Facts::problem("the ORC footer claims to be longer than the file") };
    let Some(packed) = held.at(start, postscript.footer as usize) else {
        return Facts { estimated: Some(true), ..Facts::default() };
    };
    if packed.len() > MOST_FOOTER {
        return Facts { estimated: Some(true), ..Facts::default() };
    }
    let footer = match plain(packed, &postscript) {
        Ok(footer) => read(&footer),
        Err(problem) => return Facts { estimated: Some(true), ..Facts::problem(problem) },
    };
    let Some(footer) = footer else { return Facts::problem("the ORC footer is malformed") };
    let depth = depth(&footer.types);
    Facts {
        records: footer.rows,
        max_depth: depth,
        columns: footer.types.first().map(|root| if root.kind == STRUCT { root.below.len() as u32 } else { 1 }),
        detail: Detail { row_groups: Some(footer.stripes), ..Detail::default() },
        estimated: Some(false),
        ..Facts::maybe(depth.is_none().then_some("the ORC schema is malformed"))
    }
}

/// The postscript, and its length with the byte that tells it.
fn postscript(end: &[u8]) -> Option<(Postscript, u64)> {
    let (length, before) = end.split_last()?;
    let bytes = before.get(before.len().checked_sub(usize::from(*length))?..)?;
    let mut postscript = Postscript { chunk: 256 << 10, ..Postscript::default() };
    wire::each(bytes, |field, value| match (field, value) {
        (1, Value::Varint(length)) => postscript.footer = length,
        (2, Value::Varint(kind)) => postscript.compression = kind,
        (3, Value::Varint(size)) => postscript.chunk = size,
        (8000, Value::Bytes(magic)) => postscript.magic = magic == b"ORC",
        _ => {}
    })?;
    Some((postscript, u64::from(*length) + 1))
}

/// The footer unpacked: chunks, each with its length and whether it is packed in three bytes.
fn plain<'a>(packed: &'a [u8], postscript: &Postscript) -> Result<std::borrow::Cow<'a, [u8]>, &'static str> {
    let codec = match postscript.compression {
        0 => return Ok(packed.into()),
        1 => Codec::Deflate,
        2 => Codec::Snappy,
        4 => Codec::Lz4,
        5 => Codec::Zstd,
        _ => return Err("the ORC footer is packed in a way that is not looked into"),
    };
    const MALFORMED: &str = "the ORC footer is malformed";
    let mut plain = Vec::new();
    let mut cursor = Cursor::new(packed);
    for _ in 0..MOST_CHUNKS {
        if cursor.is_empty() {
            break;
        }
        let head = cursor.little(3).ok_or(MALFORMED)?;
        let chunk = cursor.take(head >> 1).ok_or(MALFORMED)?;
        if head & 1 == 1 {
            plain.extend_from_slice(chunk);
            continue;
        }
        let room = MOST_FOOTER.saturating_sub(plain.len()).min(usize::try_from(postscript.chunk).unwrap_or(0));
        let unpacked = unpack(codec, chunk, room);
        if !unpacked.complete {
            return Err(MALFORMED);
        }
        plain.extend(unpacked.bytes);
    }
    Ok(plain.into())
}

fn read(bytes: &[u8]) -> Option<Footer> {
    let mut footer = Footer::default();
    let (mut sound, mut left) = (Some(()), MOST_TYPES);
    wire::each(bytes, |field, value| match (field, value) {
        (3, Value::Bytes(_)) => footer.stripes += 1,
        (4, Value::Bytes(kind)) if footer.types.len() < MOST_TYPES => match read_type(kind, &mut left) {
            Some(kind) => footer.types.push(kind),
            None => sound = None,
        },
        (4, _) => sound = None,
        (6, Value::Varint(rows)) => footer.rows = Some(rows),
        _ => {}
    })?;
    sound.map(|()| footer)
}

/// A type, if no more columns are below it than are `left` to be.
fn read_type(bytes: &[u8], left: &mut usize) -> Option<Type> {
    let (mut kind, mut children) = (0, Vec::new());
    let mut sound = Some(());
    let mut below = |column: u64| {
        *left = left.checked_sub(1)?;
        children.push(u32::try_from(column).unwrap_or(u32::MAX));
        Some(())
    };
    wire::each(bytes, |field, value| match (field, value) {
        (1, Value::Varint(of)) => kind = of,
        (2, Value::Varint(column)) => sound = sound.and_then(|()| below(column)),
        (2, Value::Bytes(packed)) => {
            let mut cursor = Cursor::new(packed);
            while !cursor.is_empty() && sound.is_some() {
                sound = cursor.varint().and_then(&mut below);
            }
        }
        _ => {}
    })?;
    sound.map(|()| Type { kind, below: children })
}

const LIST: u64 = 10;
const MAP: u64 = 11;
const STRUCT: u64 = 12;

/// Types are in the order of their tree, a parent before what is below it: from the last to the first, each is known.
fn depth(types: &[Type]) -> Option<u32> {
    let mut depths = vec![0; types.len()];
    for (id, column) in types.iter().enumerate().rev() {
        let mut below = 0;
        for child in &column.below {
            let child = *child as usize;
            below = below.max(*depths.get(child).filter(|_| child > id)?);
        }
        depths[id] = below + u32::from(matches!(column.kind, LIST | MAP | STRUCT));
    }
    let root = types.first()?;
    // A root that is no struct is the one column of its rows.
    Some(depths[0] + u32::from(root.kind != STRUCT))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::wire::write::{bytes, number};
    use super::*;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    fn kind(kind: u64, below: &[u8]) -> Vec<u8> {
        bytes(4, &[number(1, kind), bytes(2, below)].concat())
    }

    /// `struct<long, list<map<string, int>>>`.
    fn footer() -> Vec<u8> {
        let types =
            [kind(STRUCT, &[1, 2]), kind(4, &[]), kind(LIST, &[3]), kind(MAP, &[4, 5]), kind(7, &[]), kind(3, &[])];
        [bytes(3, &number(1, 3)), types.concat(), number(6, 70_000)].concat()
    }

    fn end(footer: &[u8], compression: u64) -> Vec<u8> {
        let postscript = [number(1, footer.len() as u64), number(2, compression), number(3, 4096), bytes(8000, b"ORC")];
        let postscript = postscript.concat();
        [b"ORC\x11\x12\0", footer, &postscript, &[postscript.len() as u8]].concat()
    }

    pub(in super::super) fn file() -> Vec<u8> {
        end(&footer(), 0)
    }

    fn chunk(packed: &[u8], original: usize) -> Vec<u8> {
        [&((packed.len() << 1 | original) as u32).to_le_bytes()[..3], packed].concat()
    }

    fn of(bytes: &[u8]) -> Facts {
        facts(&Held::new(bytes, &[], bytes.len() as u64))
    }

    #[test]
    fn a_footer_tells_rows_columns_stripes_and_depth_however_it_is_packed() {
        let plain = footer();
        let mut deflate = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflate.write_all(&plain).unwrap();
        let snappy = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
        for (name, file) in [
            ("none", file()),
            ("zlib", end(&chunk(&deflate.finish().unwrap(), 0), 1)),
            ("original", end(&[chunk(&plain[..9], 1), chunk(&plain[9..], 1)].concat(), 1)),
            ("snappy", end(&chunk(&snappy, 0), 2)),
            ("lz4", end(&chunk(&lz4_flex::block::compress(&plain), 0), 4)),
            ("zstd", end(&chunk(&zstd, 0), 5)),
        ] {
            let found = of(&file);
            assert_eq!((found.records, found.columns, found.problem), (Some(70_000), Some(2), None), "{name}");
            assert_eq!((found.max_depth, found.detail.row_groups, found.estimated), (Some(3), Some(1), Some(false)));
        }
        assert!(of(&end(&plain, 3)).problem.unwrap().contains("not looked into"));
    }

    #[test]
    fn a_type_that_is_childrenself_is_no_schema() {
        let footer = [kind(STRUCT, &[1]), kind(LIST, &[0]), number(6, 1)].concat();
        assert!(of(&end(&footer, 0)).problem.unwrap().contains("schema"));
    }

    #[test]
    fn no_more_columns_are_below_others_than_there_may_be() {
        let wide = |below: usize| [kind(STRUCT, &[&[1; 1][..], &vec![1; below]].concat()), kind(4, &[])].concat();
        assert_eq!(of(&end(&[wide(MOST_TYPES / 2), number(6, 1)].concat(), 0)).problem, None);
        let split = [wide(MOST_TYPES / 2), wide(MOST_TYPES / 2), number(6, 1)].concat();
        assert!(of(&end(&split, 0)).problem.unwrap().contains("footer is malformed"));
    }

    #[test]
    fn a_file_cut_short_and_a_view_without_the_footer_differ() {
        let file = file();
        assert!(of(&file[..file.len() - 3]).problem.unwrap().contains("cut short"));
        let found = facts(&Held::new(&file[..10], &[], file.len() as u64));
        assert_eq!((found.problem, found.estimated), (None, Some(true)));
    }
}
