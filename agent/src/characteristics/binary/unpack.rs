//! Unpacking within a bound: what a few bytes claim to unpack to is never believed.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

/// The widest zstd window that is unpacked: what zstd asks every decoder to support.
const MOST_WINDOW: u64 = 8 << 20;
const STEP: usize = 32 << 10;
/// Packed bytes of bzip2 and xz that are unpacked.
const MOST_SLOW: usize = 1 << 20;
/// Memory of xz, in KiB: a dictionary is taken in as it fills.
const XZ_MEMORY_KIB: u32 = (64 << 10) + 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Deflate,
    Zlib,
    Bzip2,
    Xz,
    Zstd,
    /// A raw block of Snappy.
    Snappy,
    /// A raw block of LZ4.
    Lz4,
}

impl Codec {
    /// What an unpacked byte takes, in those of deflate: bzip2's takes some 30 ns, and xz's where it is hard to pack.
    pub(super) fn cost(self) -> usize {
        match self {
            Self::Bzip2 | Self::Xz => 8,
            _ => 1,
        }
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// Bytes of the input that were used; known of deflate alone.
    pub(super) used: usize,
    /// It ended by itself, neither at the bound nor at an error.
    pub(super) complete: bool,
}

/// At most the first `most` bytes of what `packed` holds.
pub(super) fn unpack(codec: Codec, packed: &[u8], most: usize) -> Unpacked {
    match codec {
        Codec::Deflate => inflate(packed, false, most),
        Codec::Zlib => inflate(packed, true, most),
        Codec::Bzip2 => bzip2(slow(packed), most),
        Codec::Xz => xz(slow(packed), most),
        Codec::Zstd => zstd(packed, most),
        Codec::Snappy => snappy(packed, most),
        Codec::Lz4 => lz4(packed, most),
    }
}

fn inflate(packed: &[u8], zlib: bool, most: usize) -> Unpacked {
    let mut bytes = Vec::new();
    let (used, complete) = inflate_to(packed, zlib, |piece| {
        bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
        bytes.len() < most
    });
    Unpacked { bytes, used, complete }
}

/// Inflates piece by piece for as long as `more` says so; how much of the input was used, and whether it ended.
pub(super) fn inflate_to(packed: &[u8], zlib: bool, mut more: impl FnMut(&[u8]) -> bool) -> (usize, bool) {
    let mut inflater = Decompress::new(zlib);
    let mut piece = vec![0; STEP];
    loop {
        let (used, made) = (inflater.total_in() as usize, inflater.total_out());
        let status = inflater.decompress(&packed[used..], &mut piece, FlushDecompress::None);
        let length = (inflater.total_out() - made) as usize;
        let progress = inflater.total_in() as usize > used || length > 0;
        let wanted = more(&piece[..length]);
        let used = inflater.total_in() as usize;
        match status {
            Ok(Status::StreamEnd) => return (used, true),
            Ok(_) if wanted && progress => {}
            _ => return (used, false),
        }
    }
}

fn slow(packed: &[u8]) -> &[u8] {
    &packed[..packed.len().min(MOST_SLOW)]
}

fn bzip2(packed: &[u8], most: usize) -> Unpacked {
    let mut stream = ::bzip2::Decompress::new(false);
    gather(most, |piece| {
        let (used, made) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(packed.get(used as usize..)?, piece).ok()?;
        let ended = status == ::bzip2::Status::StreamEnd;
        let (used, made) = (stream.total_in() - used, stream.total_out() - made);
        (ended || used > 0 || made > 0).then_some((made as usize, ended))
    })
}

fn xz(packed: &[u8], most: usize) -> Unpacked {
    let mut stream = lzma_rust2::XzStream::new_mem_limit(true, XZ_MEMORY_KIB);
    let mut rest = packed;
    gather(most, |piece| {
        let step = stream.process(rest, piece, lzma_rust2::Action::Finish).ok()?;
        rest = &rest[step.bytes_consumed..];
        let ended = step.status == lzma_rust2::Status::StreamEnd;
        (ended || step.bytes_consumed > 0 || step.bytes_produced > 0).then_some((step.bytes_produced, ended))
    })
}

/// What a decoder makes, step by step: how many bytes, and whether they were the last; nothing where it fails or sticks.
fn gather(most: usize, mut step: impl FnMut(&mut [u8]) -> Option<(usize, bool)>) -> Unpacked {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; STEP]);
    while let Some((made, ended)) = step(&mut piece) {
        let room = most - bytes.len();
        bytes.extend_from_slice(&piece[..made.min(room)]);
        if ended || made > room {
            return Unpacked { bytes, used: 0, complete: ended && made <= room };
        }
    }
    Unpacked { bytes, used: 0, complete: false }
}

fn zstd(packed: &[u8], most: usize) -> Unpacked {
    let mut bytes = Vec::new();
    if zstd_window(packed).is_none_or(|window| window > MOST_WINDOW) {
        return Unpacked::default();
    }
    let Ok(decoder) = ruzstd::decoding::StreamingDecoder::new(packed) else { return Unpacked::default() };
    let read = decoder.take(most as u64 + 1).read_to_end(&mut bytes);
    let complete = read.is_ok() && bytes.len() <= most;
    bytes.truncate(most);
    Unpacked { bytes, used: 0, complete }
}

/// The window that a frame's header asks for (RFC 8878, 3.1.1.1).
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.strip_prefix(b"\x28\xb5\x2f\xfd")?.first()?;
    if descriptor & 0x20 == 0 {
        let window = *frame.get(5)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (length, plus) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    super::cursor::little(frame, 5 + dictionary, length)?.checked_add(plus)
}

fn snappy(packed: &[u8], most: usize) -> Unpacked {
    let fits = snap::raw::decompress_len(packed).is_ok_and(|length| length <= most);
    let unpacked = fits.then(|| snap::raw::Decoder::new().decompress_vec(packed).ok()).flatten();
    Unpacked { complete: unpacked.is_some(), bytes: unpacked.unwrap_or_default(), used: 0 }
}

fn lz4(packed: &[u8], most: usize) -> Unpacked {
    // No block of LZ4 unpacks to more than 255 times its size.
    let mut bytes = vec![0; most.min(packed.len().saturating_mul(255))];
    let length = lz4_flex::block::decompress_into(packed, &mut bytes).ok();
    bytes.truncate(length.unwrap_or(0));
    Unpacked { bytes, used: 0, complete: length.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder, write::ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Zstd => ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest),
            Codec::Bzip2 => {
                let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Xz => {
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Codec::Lz4 => lz4_flex::block::compress(bytes),
        }
    }

    const ALL: [Codec; 7] =
        [Codec::Deflate, Codec::Zlib, Codec::Bzip2, Codec::Xz, Codec::Zstd, Codec::Snappy, Codec::Lz4];

    #[test]
    fn what_was_packed_comes_out_and_never_more_than_the_bound() {
        let text = b"meets the water before the turbines do. ".repeat(5000);
        for codec in ALL {
            let packed = packed(codec, &text);
            let all = unpack(codec, &packed, text.len());
            assert!(all.complete && all.bytes == text, "{codec:?}");
            let part = unpack(codec, &packed, 1000);
            assert!(!part.complete && part.bytes.len() <= 1000, "{codec:?}");
        }
    }

    #[test]
    fn a_frame_that_asks_for_a_wide_window_is_left_packed() {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0, 0];
        assert!(zstd_window(&frame).unwrap() > 1 << 40);
        assert!(unpack(Codec::Zstd, &frame, 100).bytes.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_unpack_to_something_within_the_bound(mut bytes: Vec<u8>, most in 0..2000usize) {
            for codec in ALL {
                prop_assert!(unpack(codec, &bytes, most).bytes.len() <= most);
            }
            bytes.splice(0..0, *b"\x28\xb5\x2f\xfd");
            prop_assert!(unpack(Codec::Zstd, &bytes, most).bytes.len() <= most);
        }
    }
}
