//! A zip's directory and its members' headers, with their 64-bit forms.

use super::super::cursor::{Cursor, find_last, little};
use super::{Held, MOST_RATIO};

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// The end's own 22 bytes and the longest comment.
const MOST_END: usize = 22 + 0xffff;

/// One member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) method: u64,
    pub(super) encrypted: bool,
    /// Nothing where only a descriptor after the bytes will tell.
    pub(super) packed_len: Option<u64>,
    pub(super) unpacked_len: Option<u64>,
    /// Of its local header, and how long that is.
    pub(super) offset: u64,
    pub(super) header: u64,
    described: bool,
    wide: bool,
}

impl<'a> Member<'a> {
    pub(super) fn is_directory(&self) -> bool {
        self.name.ends_with(b"/")
    }

    pub(super) fn extension(&self) -> &'a str {
        let name = std::str::from_utf8(self.name).unwrap_or_default();
        name.rsplit('/').next().and_then(|file| file.rsplit_once('.')).map_or("", |(_, extension)| extension)
    }

    /// The most that these bytes can unpack to.
    pub(super) fn most_unpacked(&self, packed: &[u8]) -> u64 {
        self.packed_len.unwrap_or(packed.len() as u64).saturating_mul(MOST_RATIO)
    }

    /// The packed bytes, as far as they are at hand; nothing if none are.
    pub(super) fn packed(&self, held: &Held<'a>) -> Option<&'a [u8]> {
        let (local, _) = Self::local(held, self.offset)?;
        let bytes = held.onwards(self.offset.checked_add(local.header)?);
        let length = usize::try_from(self.packed_len?).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(length)];
        (!bytes.is_empty() || length == 0).then_some(bytes)
    }

    /// The member whose local header is at `offset`, and all that follows the header.
    pub(super) fn local(held: &Held<'a>, offset: u64) -> Option<(Self, &'a [u8])> {
        let mut cursor = Cursor::new(held.onwards(offset));
        (cursor.take(4)? == LOCAL).then_some(())?;
        cursor.take(2)?;
        let (flags, method) = (cursor.little(2)?, cursor.little(2)?);
        cursor.take(8)?;
        let (packed, unpacked) = (cursor.little(4)?, cursor.little(4)?);
        let (name, extra) = (cursor.little(2)?, cursor.little(2)?);
        let (name, extra) = (cursor.take(name)?, cursor.take(extra)?);
        let described = flags & 8 != 0;
        let mut sizes = [unpacked, packed, 0];
        let wide = widen(&mut sizes, extra);
        let known = |size: u64| (!described || size > 0).then_some(size);
        let member = Self {
            name,
            method,
            encrypted: flags & 1 != 0,
            packed_len: known(sizes[1]),
            unpacked_len: known(sizes[0]),
            offset,
            header: cursor.at() as u64,
            described,
            wide,
        };
        Some((member, cursor.rest()))
    }

    fn entry(cursor: &mut Cursor<'a>, base: u64) -> Option<Self> {
        (cursor.take(4)? == ENTRY).then_some(())?;
        cursor.take(4)?;
        let (flags, method) = (cursor.little(2)?, cursor.little(2)?);
        cursor.take(8)?;
        let (packed, unpacked) = (cursor.little(4)?, cursor.little(4)?);
        let (name, extra, comment) = (cursor.little(2)?, cursor.little(2)?, cursor.little(2)?);
        cursor.take(8)?;
        let offset = cursor.little(4)?;
        let (name, extra) = (cursor.take(name)?, cursor.take(extra)?);
        cursor.take(comment)?;
        let mut sizes = [unpacked, packed, offset];
        let wide = widen(&mut sizes, extra);
        let [unpacked, packed, offset] = sizes;
        Some(Self {
            name,
            method,
            encrypted: flags & 1 != 0,
            packed_len: Some(packed),
            unpacked_len: Some(unpacked),
            offset: base.checked_add(offset)?,
            header: 0,
            described: false,
            wide,
        })
    }
}

/// Puts the 64-bit numbers of the extra field where 32 bits did not do.
fn widen(sizes: &mut [u64; 3], extra: &[u8]) -> bool {
    let mut cursor = Cursor::new(extra);
    while let (Some(kind), Some(length)) = (cursor.little(2), cursor.little(2)) {
        let Some(field) = cursor.take(length) else { return false };
        if kind == 1 {
            let mut field = Cursor::new(field);
            for size in sizes.iter_mut().filter(|size| **size == u64::from(u32::MAX)) {
                *size = field.little(8).unwrap_or(*size);
            }
            return true;
        }
    }
    false
}

/// Where the next member starts: past a descriptor, which may have a signature and sizes of 4 or 8 bytes.
pub(super) fn past_descriptor(held: &Held<'_>, member: &Member<'_>, end: u64) -> u64 {
    if !member.described {
        return end;
    }
    let signature = if held.at(end, 4) == Some(DESCRIPTOR) { 4 } else { 0 };
    end.saturating_add(signature + if member.wide { 20 } else { 12 })
}

/// Whether an archive's names are those of a workbook.
#[derive(Default)]
pub(super) struct Names {
    types: bool,
    workbook: bool,
    sheets: bool,
}

impl Names {
    pub(super) fn add(&mut self, name: &[u8]) {
        self.types |= name == b"[Content_Types].xml";
        self.sheets |= name.starts_with(b"xl/");
        self.workbook |= name == b"xl/workbook.xml" || name.starts_with(b"xl/worksheets/");
    }

    pub(super) fn is_workbook(&self) -> bool {
        self.types && self.workbook
    }

    /// While the names are not all known: only workbooks have such a folder first or nearly so.
    pub(super) fn may_be_workbook(&self) -> bool {
        self.sheets
    }
}

/// Whether the archive's end is there, even if its directory is not at hand.
pub(super) fn has_end(held: &Held<'_>) -> bool {
    let end = held.end();
    find_last(&end[end.len().saturating_sub(MOST_END)..], END).is_some()
}

/// The central directory.
pub(super) struct Directory<'a> {
    entries: &'a [u8],
    count: u64,
    base: u64,
    names: Names,
    unpacked: Option<u64>,
    problem: Option<&'static str>,
}

impl<'a> Directory<'a> {
    /// Nothing if there is none, or it is not at hand.
    pub(super) fn read(held: &Held<'a>) -> Option<Self> {
        let end = held.end();
        let from = end.len().saturating_sub(MOST_END);
        let at = from + find_last(&end[from..], END)?;
        let place = held.end_offset() + at as u64;
        let field = |at, len| little(end, at, len);
        let (mut count, mut size, mut start) = (field(at + 10, 2)?, field(at + 12, 4)?, field(at + 16, 4)?);
        let mut before = place;
        if let Some(locator) = at.checked_sub(20).filter(|at| end[*at..].starts_with(LOCATOR_64)) {
            let offset = little(end, locator + 8, 8)?;
            let wide = held.at(offset, 56).filter(|bytes| bytes.starts_with(END_64))?;
            (count, size, start) = (little(wide, 32, 8)?, little(wide, 40, 8)?, little(wide, 48, 8)?);
            before = offset;
        }
        // Bytes before the archive shift all its offsets.
        let actual = before.checked_sub(size)?;
        let base = actual.checked_sub(start)?;
        let entries = held.at(actual, usize::try_from(size).ok()?)?;
        let mut directory = Self { entries, count, base, names: Names::default(), unpacked: Some(0), problem: None };
        directory.survey();
        Some(directory)
    }

    fn survey(&mut self) {
        let (mut names, mut unpacked, mut count) = (Names::default(), Some(0_u64), 0);
        for member in self.members() {
            names.add(member.name);
            unpacked = unpacked.zip(member.unpacked_len).and_then(|(sum, bytes)| sum.checked_add(bytes));
            count += 1;
        }
        // Without 64-bit fields, counts start again at 65,536.
        self.problem = (count % 65_536 != self.count % 65_536).then_some("the zip's directory is malformed");
        (self.names, self.unpacked, self.count) = (names, unpacked, count);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let (mut cursor, base) = (Cursor::new(self.entries), self.base);
        std::iter::from_fn(move || Member::entry(&mut cursor, base))
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn is_workbook(&self) -> bool {
        self.names.is_workbook()
    }

    /// What all members claim to unpack to.
    pub(super) fn unpacked(&self) -> Option<u64> {
        self.unpacked
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.problem
    }
}
