//! BMP: the pixels of its header, of which there are several kinds.

use super::super::cursor::Cursor;
use super::super::{Facts, Held};
use super::Picture;

/// Nothing if this is other data that starts with the same two letters.
pub(in super::super) fn facts(held: &Held<'_>) -> Option<Facts> {
    let mut cursor = Cursor::new(held.head());
    cursor.take(10)?;
    let (pixels, header) = (cursor.little(4)?, cursor.little(4)?);
    let (width, height) = match header {
        // BITMAPCOREHEADER of OS/2.
        12 => (cursor.little(2)?, cursor.little(2)?),
        // A negative height is an image from its top down.
        16 | 40 | 52 | 56 | 64 | 108 | 124 => {
            let (width, height) = (cursor.little(4)? as u32 as i32, cursor.little(4)? as u32 as i32);
            (u64::from(width.unsigned_abs()), u64::from(height.unsigned_abs()))
        }
        _ => return None,
    };
    let (planes, bits) = (cursor.little(2)?, cursor.little(2)? as u32);
    let compression = if header >= 40 { cursor.little(4)? } else { 0 };
    (planes == 1 && matches!(bits, 0 | 1 | 2 | 4 | 8 | 16 | 24 | 32)).then_some(())?;
    let picture = Picture { width, height, channels: channels(bits), bits: if bits < 16 { bits } else { 8 } };
    // Rows fill whole 32-bit words; only plain pixels have a size that is known.
    let row = width * u64::from(bits);
    let least = if matches!(compression, 0 | 3) { (row.div_ceil(32) * 4).saturating_mul(height) } else { 0 };
    let cut = pixels.saturating_add(least) > held.total();
    Some(picture.facts(1, false, cut.then_some("cut short: the BMP has fewer bytes than pixels")))
}

fn channels(bits: u32) -> u32 {
    match bits {
        32 => 4,
        16 | 24 => 3,
        _ => 1,
    }
}
