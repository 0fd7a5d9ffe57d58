//! JPEG: the frame header's pixels, whatever stands before it.

use super::super::cursor::{Cursor, find, find_last};
use super::super::{Facts, Held};
use super::{MOST_STEPS, Picture};

/// Bytes at the end that are searched for the end's marker, and those after a scan's start for the number of lines.
const MOST_SEARCHED: usize = 4 << 20;

pub(in super::super) fn facts(held: &Held<'_>) -> Facts {
    let (mut at, mut picture) = (2_u64, None);
    let mut problem = None;
    for _ in 0..MOST_STEPS {
        // Any number of fill bytes may stand before a marker.
        let marker = match held.at(at, 2) {
            Some(&[0xff, 0xff]) => {
                at += 1;
                continue;
            }
            Some(&[0xff, marker]) => marker,
            Some(_) => {
                problem = Some("a JPEG marker is missing");
                break;
            }
            None => break,
        };
        match marker {
            0x01 | 0xd0..=0xd8 => {
                at += 2;
                continue;
            }
            0xd9 => {
                problem = picture.is_none().then_some("the JPEG ends before its frame header");
                break;
            }
            _ => {}
        }
        let Some(length) = held.at(at + 2, 2).and_then(|bytes| Cursor::new(bytes).big(2)) else { break };
        // SOF0 to SOF15, but for the tables DHT, JPG and DAC.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            picture = held.at(at + 4, 6).and_then(frame);
        }
        if marker == 0xda {
            return scanned(held, picture, at + 2 + length);
        }
        at += 2 + length.max(2);
    }
    let cut = problem.is_none() && !held.is_cut();
    let problem = problem.or(cut.then_some("cut short: the JPEG has no pixels"));
    Facts {
        estimated: Some(held.is_cut()),
        ..picture.map_or_else(|| nothing(problem), |it| it.facts(1, false, problem))
    }
}

fn nothing(problem: Option<&'static str>) -> Facts {
    Facts { records: Some(1), ..Facts::maybe(problem) }
}

fn frame(bytes: &[u8]) -> Option<Picture> {
    let mut cursor = Cursor::new(bytes);
    let (bits, height, width) = (cursor.byte()?, cursor.big(2)?, cursor.big(2)?);
    Some(Picture { width, height, channels: u32::from(cursor.byte()?), bits: u32::from(bits) })
}

/// Past the first scan's header, at `start`: whether the end is there, and the height if it comes only now.
fn scanned(held: &Held<'_>, picture: Option<Picture>, start: u64) -> Facts {
    let Some(mut picture) = picture else { return nothing(Some("the JPEG has no frame header before its pixels")) };
    if picture.height == 0 {
        // DNL: the number of lines, after the first scan.
        let after = held.onwards(start);
        let after = &after[..after.len().min(MOST_SEARCHED)];
        let lines = find(after, b"\xff\xdc\0\x04").and_then(|at| Cursor::new(after.get(at + 4..)?).big(2));
        picture.height = lines.unwrap_or(0);
    }
    let end = held.onwards(start.max(held.end_offset()));
    let end = &end[end.len().saturating_sub(MOST_SEARCHED)..];
    // Within the pixels, this pair does not occur; what follows the end is none of the image.
    let ended = end.is_empty() && held.end().is_empty() || find_last(end, b"\xff\xd9").is_some();
    picture.facts(1, false, (!ended).then_some("cut short: the JPEG has no end"))
}
