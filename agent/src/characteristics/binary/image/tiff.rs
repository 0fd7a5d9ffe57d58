//! TIFF and BigTIFF of either byte order: pages along the chain of directories.

use super::super::cursor::Cursor;
use super::super::{Facts, Held};
use super::Picture;
use crate::characteristics::extrapolate;

/// Pages that are counted.
const MOST_PAGES: u64 = 4096;
/// Fields that are looked at, of all pages.
const MOST_FIELDS: u64 = 1 << 17;

#[derive(Clone, Copy)]
struct Layout {
    big_endian: bool,
    /// BigTIFF: 8-byte offsets.
    wide: bool,
}

impl Layout {
    fn number(self, bytes: &[u8]) -> u64 {
        let (mut cursor, len) = (Cursor::new(bytes), bytes.len().min(8) as u64);
        if self.big_endian { cursor.big(len) } else { cursor.little(len) }.unwrap_or(0)
    }

    fn read(self, held: &Held<'_>, at: u64, len: usize) -> Option<u64> {
        held.at(at, len).map(|bytes| self.number(bytes))
    }

    /// A page, and where the next one's directory is.
    fn page(self, held: &Held<'_>, at: u64, left: &mut u64) -> Option<(Picture, u64)> {
        let (count_len, entry_len, offset_len) = if self.wide { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.read(held, at, count_len)?;
        let entries = at.checked_add(count_len as u64)?;
        let mut picture = Picture { channels: 1, bits: 1, ..Picture::default() };
        *left = left.saturating_sub(count);
        for index in 0..count.min(*left) {
            let entry = held.at(entries.checked_add(index * entry_len as u64)?, entry_len)?;
            self.field(held, entry, &mut picture);
        }
        let next = entries.checked_add(count.checked_mul(entry_len as u64)?)?;
        Some((picture, self.read(held, next, offset_len)?))
    }

    fn field(self, held: &Held<'_>, entry: &[u8], picture: &mut Picture) {
        let (count_len, inline) = if self.wide { (8, 8) } else { (4, 4) };
        let count = self.number(&entry[4..4 + count_len]);
        let size = match self.number(&entry[2..4]) {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return,
        };
        let place = &entry[4 + count_len..];
        // More values than fit are elsewhere; the first tells.
        let value = if count.max(1).saturating_mul(size) <= inline {
            self.number(&place[..size as usize])
        } else {
            self.read(held, self.number(place), size as usize).unwrap_or(0)
        };
        match self.number(&entry[..2]) {
            256 => picture.width = value,
            257 => picture.height = value,
            258 => picture.bits = value as u32,
            277 => picture.channels = value as u32,
            _ => {}
        }
    }
}

pub(in super::super) fn facts(held: &Held<'_>) -> Facts {
    let head = held.head();
    let big_endian = head.starts_with(b"MM");
    let wide = head.get(2..4).is_some_and(|version| version.contains(&43));
    let layout = Layout { big_endian, wide };
    let first = if wide { layout.read(held, 8, 8) } else { layout.read(held, 4, 4) };
    let mut next = first.unwrap_or(0);
    let (mut picture, mut pages, mut problem, mut left) = (None, 0, None, MOST_FIELDS);
    while next != 0 && pages < MOST_PAGES && left > 0 {
        let Some((page, following)) = layout.page(held, next, &mut left) else {
            // A directory that is not at hand is no fault of the file's, if it lies within.
            problem = (!held.is_cut() || next >= held.total()).then_some("cut short: a TIFF page is not all there");
            break;
        };
        picture.get_or_insert(page);
        pages += 1;
        // A chain that leads back would have no end.
        next = following;
    }
    if (pages == MOST_PAGES || left == 0) && next != 0 {
        problem = Some("the TIFF has too many pages to count, or they lead back to one another");
    }
    let missing = next != 0;
    // The pages so far take the bytes up to the next one, as most writers lay them out.
    let pages =
        if missing && problem.is_none() && pages > 0 { extrapolate::records(pages, next, held.total()) } else { pages };
    match picture {
        Some(picture) => picture.facts(pages, missing && problem.is_none(), problem),
        None => Facts {
            records: Some(1),
            estimated: Some(missing && problem.is_none()),
            ..Facts::maybe(problem.or((!missing).then_some("the TIFF has no pages")))
        },
    }
}
