//! Binary formats: which of them a batch is, and what its headers and indexes tell.
//!
//! ```text
//! magic? ─► the format's own reader ─► facts
//!   └─ none ─► MessagePack? ─► text? ─► Protocol Buffers? ─► none of these
//! ```
//!
//! Readers look at metadata alone, by position, over what is held of the batch; contents are unpacked only where the
//! metadata is packed, where Avro's depth is that of the values, and for members of a zip. Invariant: work and memory
//! are bounded whatever the bytes claim. Each loop has a bound that its module names, and no length is believed before
//! the bytes are there.

mod arrow;
mod avro;
mod cursor;
mod flatbuffer;
mod image;
mod msgpack;
mod orc;
mod parquet;
mod pdf;
mod protobuf;
mod thrift;
mod unpack;
mod walk;
mod wav;
mod wire;
mod zip;

use forebay_shared::{Compression, DataType};

use self::image::{bmp, gif, jpeg, png, tiff, webp};
pub(super) use self::walk::Walk;
use super::held::Held;
use super::{Detail, Facts, Finding, Hint, sniff};

/// Looks into a member of an archive: its first bytes, its length, and its name's extension, which breaks ties. It
/// unpacks nothing, so that an archive of archives is not unpacked twice.
pub(super) type Examine<'e> = &'e dyn Fn(&[u8], u64, &str) -> Finding;

/// A PDF may have other bytes before it.
const MOST_BEFORE_PDF: usize = 1024;

/// The type and facts, if this is one of the binary formats. Without `examine`, archives are left packed.
pub(super) fn facts(
    held: &Held<'_>,
    hint: Hint,
    examine: Option<Examine<'_>>,
) -> Option<(DataType, Compression, Facts)> {
    if let Some((data_type, facts)) = by_magic(held) {
        return Some((data_type, Compression::None, facts));
    }
    if matches!(held.head(), [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..]) {
        return Some(zip::facts(held, examine));
    }
    let (data_type, facts) = by_shape(held, hint)?;
    Some((data_type, Compression::None, facts))
}

fn by_magic(held: &Held<'_>) -> Option<(DataType, Facts)> {
    let head = held.head();
    Some(match head {
        _ if head.starts_with(png::MAGIC) => (DataType::Png, png::facts(held)),
        [0xff, 0xd8, 0xff, ..] => (DataType::Jpeg, jpeg::facts(held)),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => (DataType::Gif, gif::facts(held)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => (DataType::Webp, webp::facts(held)),
        [_, _, _, _, _, _, _, _, b'W', b'A', b'V', b'E', ..]
            if matches!(&head[..4], b"RIFF" | b"RIFX" | b"RF64" | b"BW64") =>
        {
            (DataType::Wav, wav::facts(held))
        }
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => (DataType::Tiff, tiff::facts(held)),
        [b'B', b'M', ..] => (DataType::Bmp, bmp::facts(held)?),
        [b'O', b'b', b'j', 1, ..] => (DataType::Avro, avro::facts(held)),
        [b'P', b'A', b'R', b'1' | b'E', ..] if has_control(held) => (DataType::Parquet, parquet::facts(held)),
        [b'O', b'R', b'C', ..] if has_control(held) => (DataType::Orc, orc::facts(held)),
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => (DataType::ArrowFile, arrow::file(held)),
        _ if arrow::is_stream(held) => (DataType::ArrowStream, arrow::stream(held)),
        _ => (DataType::Pdf, pdf::facts(held, pdf_at(held)?)),
    })
}

/// Letters alone do not make a file of these: text may start with them.
fn has_control(held: &Held<'_>) -> bool {
    let control = |byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
    held.head().iter().take(64 << 10).chain(held.end().iter().rev().take(64)).any(control)
}

fn pdf_at(held: &Held<'_>) -> Option<u64> {
    let head = &held.head()[..held.head().len().min(MOST_BEFORE_PDF)];
    let at = cursor::find(head, b"%PDF-")?;
    // Text that tells of a PDF has the word later, and no version after it at a line's start.
    let starts = at == 0 || head[..at].iter().all(|byte| byte.is_ascii_whitespace() || !byte.is_ascii());
    (starts || has_control(held) && matches!(head[at - 1], b'\n' | b'\r')).then_some(at as u64)
}

/// Formats without a magic. Text that is no MessagePack is no message either.
fn by_shape(held: &Held<'_>, hint: Hint) -> Option<(DataType, Facts)> {
    if let Some(facts) = msgpack::facts(held, hint) {
        return Some((DataType::Msgpack, facts));
    }
    if sniff::is_text(held.head()) && hint != Hint::Protobuf {
        return None;
    }
    protobuf::facts(held, hint).map(|facts| (DataType::Protobuf, facts))
}

#[cfg(test)]
mod tests;
