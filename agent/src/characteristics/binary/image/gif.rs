//! GIF: the screen's pixels and its frames, block after block.

use super::super::cursor::Cursor;
use super::super::{Facts, Held};
use super::{MOST_STEPS, Picture};
use crate::characteristics::extrapolate;

/// What the blocks told.
struct Blocks {
    frames: u64,
    /// Up to where frames were whole.
    settled: usize,
    ended: bool,
    /// There are more blocks than are walked.
    enough: bool,
    problem: Option<&'static str>,
}

pub(in super::super) fn facts(held: &Held<'_>) -> Facts {
    let mut cursor = Cursor::new(held.head());
    let Some((picture, first)) = screen(&mut cursor) else {
        let problem = (!held.is_cut()).then_some("cut short: the GIF has no screen");
        return Facts { records: Some(1), ..Facts::maybe(problem) };
    };
    let mut picture = picture;
    let blocks = blocks(&mut cursor, &mut picture);
    if blocks.ended {
        return picture.facts(blocks.frames, false, None);
    }
    if blocks.problem.is_some() || !held.is_cut() && !blocks.enough {
        let problem = blocks.problem.or(Some("cut short: the GIF has no end"));
        return picture.facts(blocks.frames.max(1), false, problem);
    }
    let frames = match blocks.frames {
        0 => 1,
        frames => {
            let seen = blocks.settled.saturating_sub(first);
            extrapolate::records(frames, seen as u64, held.total().saturating_sub(first as u64))
        }
    };
    picture.facts(frames, true, None)
}

/// The logical screen, and where blocks start.
fn screen(cursor: &mut Cursor<'_>) -> Option<(Picture, usize)> {
    cursor.take(6)?;
    let (width, height, flags) = (cursor.little(2)?, cursor.little(2)?, cursor.byte()?);
    cursor.take(2)?;
    cursor.take(colors(flags))?;
    Some((Picture { width, height, channels: 3, bits: 8 }, cursor.at()))
}

/// Bytes of a colour table, if there is one.
fn colors(flags: u8) -> u64 {
    if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 }
}

fn blocks(cursor: &mut Cursor<'_>, picture: &mut Picture) -> Blocks {
    let mut blocks = Blocks { frames: 0, settled: 0, ended: false, enough: false, problem: None };
    let mut left = MOST_STEPS * 8;
    loop {
        let walked = match cursor.byte() {
            Some(0x2c) => image(cursor, picture, &mut left),
            Some(0x21) => cursor.byte().and_then(|_| sub_blocks(cursor, &mut left)),
            Some(0x3b) => {
                blocks.ended = true;
                return blocks;
            }
            Some(_) => {
                blocks.problem = Some("a GIF block is of no known kind");
                return blocks;
            }
            None => return blocks,
        };
        match walked {
            Some(frames) => blocks.frames += frames,
            None => {
                blocks.enough = left == 0;
                return blocks;
            }
        }
        blocks.settled = cursor.at();
    }
}

fn image(cursor: &mut Cursor<'_>, picture: &mut Picture, left: &mut u32) -> Option<u64> {
    let (x, y, width, height) = (cursor.little(2)?, cursor.little(2)?, cursor.little(2)?, cursor.little(2)?);
    if picture.width == 0 || picture.height == 0 {
        (picture.width, picture.height) = (x + width, y + height);
    }
    let flags = cursor.byte()?;
    cursor.take(colors(flags))?;
    cursor.byte()?;
    sub_blocks(cursor, left).map(|_| 1)
}

fn sub_blocks(cursor: &mut Cursor<'_>, left: &mut u32) -> Option<u64> {
    loop {
        *left = left.saturating_sub(1);
        (*left > 0).then_some(())?;
        match cursor.byte()? {
            0 => return Some(0),
            length => cursor.take(u64::from(length))?,
        };
    }
}
