//! WebP: lossy, lossless and extended, still or animated.

use super::super::cursor::Cursor;
use super::super::{Facts, Held};
use super::{MOST_STEPS, Picture};
use crate::characteristics::extrapolate;

pub(in super::super) fn facts(held: &Held<'_>) -> Facts {
    let Some((kind, payload)) = held.at(12, 8).zip(held.at(20, 5).map(|_| held.onwards(20))) else {
        return Facts { records: Some(1), ..Facts::problem("cut short: the WebP has no first chunk") };
    };
    let picture = match &kind[..4] {
        b"VP8 " => lossy(payload),
        b"VP8L" => lossless(payload),
        b"VP8X" => extended(payload),
        _ => None,
    };
    let Some(picture) = picture else {
        return Facts { records: Some(1), ..Facts::problem("the WebP header is malformed") };
    };
    let size = held.at(4, 4).and_then(|bytes| Cursor::new(bytes).little(4)).unwrap_or(0);
    let cut = (size + 8 > held.total()).then_some("cut short: the WebP claims more bytes than there are");
    // The second flag of VP8X: an animation.
    let animated = kind.starts_with(b"VP8X") && payload[0] & 2 != 0;
    if !animated {
        return picture.facts(1, false, cut);
    }
    let (frames, settled) = frames(held, (size + 8).min(held.total()));
    if held.is_cut() && settled < held.total().min(size + 8) {
        let seen = usize::try_from(settled).unwrap_or(usize::MAX);
        return picture.facts(extrapolate::records(frames, seen as u64, held.total()), true, cut);
    }
    picture.facts(frames.max(1), false, cut)
}

/// Frames of an animation, and up to where they were counted.
fn frames(held: &Held<'_>, end: u64) -> (u64, u64) {
    let (mut at, mut frames) = (12, 0);
    for _ in 0..MOST_STEPS {
        let Some(bytes) = held.at(at, 8).filter(|_| at < end) else { break };
        let length = Cursor::new(&bytes[4..]).little(4).unwrap_or(0);
        frames += u64::from(bytes.starts_with(b"ANMF"));
        at += 8 + length + length % 2;
    }
    (frames, at)
}

fn lossy(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(3)?;
    (cursor.take(3)? == b"\x9d\x01\x2a").then_some(())?;
    let (width, height) = (cursor.little(2)? & 0x3fff, cursor.little(2)? & 0x3fff);
    Some(Picture { width, height, channels: 3, bits: 8 })
}

fn lossless(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    (cursor.byte()? == 0x2f).then_some(())?;
    let sizes = cursor.little(4)?;
    let channels = if sizes >> 28 & 1 == 1 { 4 } else { 3 };
    Some(Picture { width: (sizes & 0x3fff) + 1, height: (sizes >> 14 & 0x3fff) + 1, channels, bits: 8 })
}

fn extended(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    let flags = cursor.byte()?;
    cursor.take(3)?;
    let channels = if flags & 0x10 != 0 { 4 } else { 3 };
    Some(Picture { width: cursor.little(3)? + 1, height: cursor.little(3)? + 1, channels, bits: 8 })
}
