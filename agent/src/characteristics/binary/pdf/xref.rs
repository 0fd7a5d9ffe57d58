//! Where a PDF's objects are: tables and streams of cross-references, the newest first.

use std::borrow::Cow;

use super::super::cursor::Cursor;
use super::super::unpack::{Codec, unpack};
use super::object::{Dict, Lexer, Value};
use super::{Held, MOST_OBJECT, MOST_READ, MOST_UNPACKED, sane};

/// Revisions of a file that are followed.
const MOST_SECTIONS: usize = 64;
/// Parts of tables that are kept, of all revisions.
const MOST_PARTS: usize = 4096;
const ENTRY: u64 = 20;

enum Section<'a> {
    /// Entries of 20 bytes from `at` on.
    Table {
        at: u64,
        first: u64,
        count: u64,
    },
    Stream {
        rows: Cow<'a, [u8]>,
        widths: [u64; 3],
        index: Vec<(u64, u64)>,
    },
}

/// Where an object is.
enum Place {
    Offset(u64),
    /// In the object stream of this number.
    Within(u64),
}

pub(super) struct References<'a> {
    held: &'a Held<'a>,
    base: u64,
    sections: Vec<Section<'a>>,
    root: Option<u64>,
    encrypted: bool,
    /// Bytes that may still be unpacked, and read.
    left: usize,
    unread: usize,
}

impl<'a> References<'a> {
    pub(super) fn read(held: &'a Held<'a>, base: u64, at: u64) -> Self {
        let mut references = Self {
            held,
            base,
            sections: Vec::new(),
            root: None,
            encrypted: false,
            left: MOST_UNPACKED,
            unread: MOST_READ,
        };
        let (mut ahead, mut visited) = (vec![at], Vec::new());
        while let Some(at) = ahead.pop().filter(|_| visited.len() < MOST_SECTIONS) {
            if visited.contains(&at) {
                continue;
            }
            visited.push(at);
            if references.section(at, &mut ahead).is_none() {
                break;
            }
        }
        references
    }

    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> usize {
        self.sections.len()
    }

    pub(super) fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// The page tree's own count.
    pub(super) fn pages(&mut self) -> Option<u64> {
        let catalog = self.object(self.root?)?;
        let tree = self.dict(&catalog)?.reference(b"Pages")?;
        let tree = self.object(tree)?;
        let count = match self.dict(&tree)?.get(b"Count")? {
            Value::Integer(count) => count,
            Value::Reference(number) => Lexer::new(&self.object(number)?).integer()?,
            _ => return None,
        };
        sane(count)
    }

    fn bytes(&self, at: u64) -> &'a [u8] {
        let bytes = self.held.onwards(self.base.saturating_add(at));
        &bytes[..bytes.len().min(MOST_OBJECT)]
    }

    /// Counts bytes as read, blanks and comments among them; nothing once there were too many.
    fn charge(&mut self, read: usize) -> Option<()> {
        self.unread = self.unread.checked_sub(read)?;
        Some(())
    }

    /// Reads one section; `ahead` gets those that it refers to.
    fn section(&mut self, at: u64, ahead: &mut Vec<u64>) -> Option<()> {
        let bytes = self.bytes(at);
        let mut lexer = Lexer::new(bytes);
        let table = lexer.keyword(b"xref").is_some();
        let read = bytes.len() - lexer.rest().len();
        self.charge(read)?;
        if table {
            let trailer = self.table(at, read)?;
            return self.trailer(&trailer, ahead);
        }
        let stream = self.numbered(bytes)?;
        let stream = self.dict(stream)?;
        let widths: [u64; 3] = stream.integers(b"W")?.try_into().ok()?;
        widths.iter().all(|width| *width <= 8).then_some(())?;
        let index = stream.integers(b"Index").or_else(|| Some(vec![0, stream.integer(b"Size")?.try_into().ok()?]))?;
        let index = index.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let rows = self.unpack(&stream)?;
        self.sections.push(Section::Stream { rows, widths, index });
        self.trailer(&stream, ahead)
    }

    fn table(&mut self, start: u64, skipped: usize) -> Option<Dict<'a>> {
        let mut at = start + skipped as u64;
        while self.sections.len() < MOST_PARTS {
            let bytes = self.bytes(at);
            let mut lexer = Lexer::new(bytes);
            let trailer = lexer.keyword(b"trailer").is_some();
            lexer.skip_blanks();
            self.charge(bytes.len() - lexer.rest().len())?;
            if trailer {
                return self.dict(lexer.rest());
            }
            let mut lexer = Lexer::new(bytes);
            let (first, count) = (lexer.integer()?.try_into().ok()?, u64::try_from(lexer.integer()?).ok()?);
            lexer.skip_blanks();
            let read = bytes.len() - lexer.rest().len();
            self.charge(read)?;
            at += read as u64;
            let end = at.checked_add(count.checked_mul(ENTRY)?)?;
            self.sections.push(Section::Table { at, first, count });
            at = end;
        }
        None
    }

    fn trailer(&mut self, trailer: &Dict<'_>, ahead: &mut Vec<u64>) -> Option<()> {
        self.root = self.root.or_else(|| trailer.reference(b"Root"));
        self.encrypted |= trailer.get(b"Encrypt").is_some();
        // A hybrid file's stream goes before the older table.
        for key in [&b"Prev"[..], b"XRefStm"] {
            ahead.extend(trailer.integer(key).and_then(|at| u64::try_from(at).ok()));
        }
        Some(())
    }

    fn place(&self, number: u64) -> Option<Place> {
        self.sections.iter().find_map(|section| match section {
            Section::Table { at, first, count } => {
                let index = number.checked_sub(*first).filter(|index| index < count)?;
                let entry = self.held.at(self.base.checked_add(at.checked_add(index * ENTRY)?)?, ENTRY as usize)?;
                let offset = std::str::from_utf8(&entry[..10]).ok()?.trim().parse().ok()?;
                (entry[17] == b'n').then_some(Place::Offset(offset))
            }
            Section::Stream { rows, widths, index } => {
                let mut row = 0_u64;
                for (first, count) in index {
                    if let Some(within) = number.checked_sub(*first).filter(|within| within < count) {
                        return place_in(rows, *widths, row.checked_add(within)?);
                    }
                    row = row.checked_add(*count)?;
                }
                None
            }
        })
    }

    /// An object's bytes, from its value on.
    fn object(&mut self, number: u64) -> Option<Cow<'a, [u8]>> {
        match self.place(number)? {
            Place::Offset(at) => self.numbered(self.bytes(at)).map(Cow::Borrowed),
            Place::Within(stream) => {
                let Place::Offset(at) = self.place(stream)? else { return None };
                let stream = self.numbered(self.bytes(at))?;
                let dict = self.dict(stream)?;
                let objects = self.unpack(&dict)?;
                let (count, first) = (dict.integer(b"N")?, usize::try_from(dict.integer(b"First")?).ok()?);
                let mut lexer = Lexer::new(&objects);
                for _ in 0..count {
                    let (found, at) = (lexer.integer()?, usize::try_from(lexer.integer()?).ok()?);
                    if u64::try_from(found) == Ok(number) {
                        let mut value = Lexer::new(objects.get(first.checked_add(at)?..)?);
                        value.skip_blanks();
                        let value = value.rest();
                        return Some(value[..value.len().min(MOST_OBJECT)].to_vec().into());
                    }
                }
                None
            }
        }
    }

    /// What is in `12 0 obj …`, all before it counted.
    fn numbered<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let bytes = &bytes[..bytes.len().min(self.unread)];
        let value = numbered(bytes);
        self.unread -= bytes.len() - value.map_or(0, <[u8]>::len);
        value
    }

    /// A dictionary, its length counted; nothing once too much has been read.
    fn dict<'b>(&mut self, bytes: &'b [u8]) -> Option<Dict<'b>> {
        let bytes = &bytes[..bytes.len().min(self.unread)];
        let dict = Dict::read(bytes);
        self.unread -= bytes.len() - dict.as_ref().map_or(0, |dict| dict.after.rest().len());
        dict
    }

    fn unpack(&mut self, dict: &Dict<'a>) -> Option<Cow<'a, [u8]>> {
        let packed = dict.stream()?;
        if !dict.deflated()? {
            let length = usize::try_from(dict.integer(b"Length")?).ok()?;
            return packed.get(..length).map(Cow::Borrowed);
        }
        // Deflate makes at least as many bytes as it takes, but for empty blocks.
        let unpacked = unpack(Codec::Zlib, &packed[..packed.len().min(self.left)], self.left);
        self.left -= unpacked.bytes.len().max(unpacked.used).min(self.left);
        let plain = unpacked.bytes;
        let Some(parameters) = dict.dict(b"DecodeParms") else { return Some(plain.into()) };
        if parameters.integer(b"Predictor").unwrap_or(1) < 10 {
            return Some(plain.into());
        }
        let columns = usize::try_from(parameters.integer(b"Columns").unwrap_or(1)).ok()?;
        unpredict(plain, columns).map(Cow::Owned)
    }
}

/// The value of `12 0 obj …`.
fn numbered(bytes: &[u8]) -> Option<&[u8]> {
    let mut lexer = Lexer::new(bytes);
    lexer.integer()?;
    lexer.integer()?;
    lexer.keyword(b"obj")?;
    lexer.skip_blanks();
    Some(lexer.rest())
}

fn place_in(rows: &[u8], widths: [u64; 3], row: u64) -> Option<Place> {
    let width = widths.iter().sum::<u64>();
    let at = usize::try_from(row.checked_mul(width)?).ok()?;
    let mut cursor = Cursor::new(rows.get(at..)?);
    let kind = if widths[0] == 0 { 1 } else { cursor.big(widths[0])? };
    let value = cursor.big(widths[1])?;
    match kind {
        1 => Some(Place::Offset(value)),
        2 => Some(Place::Within(value)),
        _ => None,
    }
}

/// Undoes PNG's row filters, for columns of a byte, in place: each row moves up by the bytes that told the filters.
fn unpredict(mut bytes: Vec<u8>, columns: usize) -> Option<Vec<u8>> {
    let rows = bytes.len() / columns.checked_add(1)?;
    for row in 0..rows {
        let (from, to) = (row * (columns + 1), row * columns);
        let filter = bytes[from];
        let (mut left, mut corner) = (0_u8, 0_u8);
        for column in 0..columns {
            let above = if row > 0 { bytes[to - columns + column] } else { 0 };
            let guess = match filter {
                0 => 0,
                1 => left,
                2 => above,
                3 => ((u16::from(left) + u16::from(above)) / 2) as u8,
                4 => paeth(left, above, corner),
                _ => return None,
            };
            (left, corner) = (bytes[from + 1 + column].wrapping_add(guess), above);
            bytes[to + column] = left;
        }
    }
    bytes.truncate(rows * columns);
    Some(bytes)
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let guess = i16::from(left) + i16::from(above) - i16::from(corner);
    let far = |byte: u8| (guess - i16::from(byte)).abs();
    if far(left) <= far(above) && far(left) <= far(corner) {
        left
    } else if far(above) <= far(corner) {
        above
    } else {
        corner
    }
}
