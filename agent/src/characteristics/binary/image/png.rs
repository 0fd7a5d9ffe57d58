//! PNG and APNG: the header's pixels, the animation's frames.

use super::super::cursor::Cursor;
use super::super::{Facts, Held};
use super::{MOST_STEPS, Picture};

pub(in super::super) const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
const END: &[u8] = b"IEND";

pub(in super::super) fn facts(held: &Held<'_>) -> Facts {
    let Some(picture) = held.at(8, 25).and_then(header) else {
        let there = !held.is_cut() || held.head().len() >= 33;
        let problem = there.then_some("cut short, or the PNG header is malformed");
        return Facts { records: Some(1), ..Facts::maybe(problem) };
    };
    let (mut at, mut frames) = (8, 1);
    for _ in 0..MOST_STEPS {
        let Some((length, kind)) = held.at(at, 8).and_then(chunk) else { break };
        match kind {
            b"acTL" => frames = held.at(at + 8, 4).and_then(|bytes| Cursor::new(bytes).big(4)).unwrap_or(1).max(1),
            END => return picture.facts(frames, false, (at + 12 > held.total()).then_some(CUT)),
            _ => {}
        }
        at = at.saturating_add(length + 12);
    }
    // The chunks between may not be at hand: the end tells whether it is whole.
    let ended = held.end().len() >= 8 && held.end()[held.end().len() - 8..].starts_with(END);
    // The number of frames stands before the pixels.
    picture.facts(frames, held.is_cut() && !ended, (!ended && !held.end().is_empty()).then_some(CUT))
}

const CUT: &str = "cut short: the PNG has no end";

fn chunk(bytes: &[u8]) -> Option<(u64, &[u8])> {
    Some((Cursor::new(bytes).big(4)?, bytes.get(4..8)?))
}

fn header(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    (cursor.big(4)? == 13 && cursor.take(4)? == b"IHDR").then_some(())?;
    let (width, height, bits, color) = (cursor.big(4)?, cursor.big(4)?, cursor.byte()?, cursor.byte()?);
    let channels = match color {
        0 | 3 => 1,
        2 => 3,
        4 => 2,
        6 => 4,
        _ => return None,
    };
    (width < 1 << 31 && height < 1 << 31).then_some(Picture { width, height, channels, bits: u32::from(bits) })
}
