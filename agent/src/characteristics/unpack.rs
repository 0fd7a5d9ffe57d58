//! Unpacking: compressed batches, told by their magic and unpacked as they pass into a content of their own.
//!
//! ```text
//! chunk ─► decoder ─► sink, up to the limit ─► content
//! ```
//!
//! What is unpacked is bounded twice: by the inspection's budget, and by [`FLOOR`] and [`RATIO`] times what came in, so
//! that a bomb costs what an honest batch of its size does. The slow decoders stop where they find what is of no known
//! type. Decoders keep a window of at most [`MOST_WINDOW`].

mod bzip2;
mod gather;
mod gzip;
mod lz4;
mod snappy;
mod xz;
mod zstd;

use forebay_shared::Compression;

use super::Hint;
use super::binary::Walk;
use super::content::{Content, Found};
use super::ends::Room;

pub(super) use self::snappy::unpack_raw as raw_snappy;

/// Bytes that tell a compression.
pub(super) const MAGIC: usize = 16;
/// Bytes that any batch may unpack to.
pub(super) const FLOOR: u64 = 4 << 20;
/// Bytes more that each byte may unpack to. Logs reach 30; a bomb of zeros 1,000 and more.
pub(super) const RATIO: u64 = 32;
/// The largest window that a decoder may keep: that of `xz -6` and `zstd -19`.
const MOST_WINDOW: u64 = 8 << 20;
/// Bytes unpacked at a time.
const OUT: usize = 64 << 10;
/// The most of a format of blocks that is in hand at a time: metadata of Arrow.
const MOST_WALKED: usize = 2 << 20;

/// Whether a batch that starts so unpacks: then it may make much more work than its length tells.
pub(crate) fn is_packed(first: &[u8]) -> bool {
    first.starts_with(b"PK") || compression(first).is_some()
}

/// An upper bound, in bytes, of the memory that a look at a batch keeps from one part to the next, of a batch that starts with
/// `first` and has `total` bytes.
pub(crate) fn most_memory(first: &[u8], total: u64) -> usize {
    let Room { head, tail } = Room::PASSING;
    let plain = head + 2 * tail + OUT;
    let total_or_all = usize::try_from(total).unwrap_or(usize::MAX);
    let Some((_, window)) = compression(first) else {
        // A block in hand of a format that is walked.
        let walked = if Walk::begin(first).is_some() { MOST_WALKED } else { 0 };
        return (plain + walked).min(total_or_all.saturating_add(2 * OUT));
    };
    // A window holds what was unpacked, and of a short batch that is not much.
    let unpacks = total.saturating_mul(RATIO).saturating_add(4 * OUT as u64);
    plain + window.min(usize::try_from(unpacks).unwrap_or(usize::MAX))
}

/// The compression of a batch that starts so, and the most memory that its decoder keeps.
fn compression(first: &[u8]) -> Option<(Compression, usize)> {
    const WINDOW: usize = MOST_WINDOW as usize + (1 << 20);
    Some(match first {
        [0x1f, 0x8b, 8, ..] => (Compression::Gzip, 2 * OUT),
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..] if bzip2::is_block(rest) => (Compression::Bzip2, 4 << 20),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => (Compression::Xz, WINDOW),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Compression::Zstd, WINDOW),
        // pzstd writes a skippable frame of four bytes before each other one.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, _, _, _, _, 0x28, 0xb5, 0x2f, 0xfd, ..] => {
            (Compression::Zstd, WINDOW)
        }
        // Blocks of 4 MiB, packed and unpacked.
        [0x04, 0x22, 0x4d, 0x18, ..] => (Compression::Lz4, 9 << 20),
        _ if first.starts_with(snappy::FRAMED) => (Compression::Snappy, 4 * OUT),
        _ if first.starts_with(snappy::BLOCKS) => (Compression::Snappy, 9 << 20),
        _ => return None,
    })
}

/// Why unpacking stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The limit is reached, or more would tell nothing.
    Full,
    /// The compressed data is wrong, in words.
    Bad(&'static str),
}

/// One compression, fed chunk by chunk.
trait Decoder: Send {
    /// Unpacks what can be unpacked so far.
    fn push(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<(), Stop>;

    /// Nothing follows: whether the stream is whole.
    fn finish(&mut self, sink: &mut Sink) -> Result<(), Stop>;
}

/// Where unpacked bytes go.
struct Sink {
    content: Content,
    /// Compressed bytes that came in.
    taken: u64,
    budget: u64,
}

impl Sink {
    fn limit(&self) -> u64 {
        self.budget.min(FLOOR + RATIO * self.taken)
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let left = self.limit().saturating_sub(self.content.seen());
        let fits = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        if !fits.is_empty() {
            self.content.push(fits);
        }
        if fits.len() < bytes.len() { Err(Stop::Full) } else { Ok(()) }
    }

    /// Of bzip2 and xz, which take up to 30 ns a byte where others take 5: what was unpacked is of no known type, and
    /// more of it would not tell more.
    fn worth_more(&self) -> Result<(), Stop> {
        if self.content.is_noise() { Err(Stop::Full) } else { Ok(()) }
    }

    /// Counts compressed bytes as taken.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }
}

/// A compressed batch on its way.
pub(super) struct Unpacking {
    compression: Compression,
    decoder: Box<dyn Decoder>,
    sink: Sink,
    stopped: Option<Stop>,
    /// The budget ended before the batch.
    cut: bool,
}

/// What was in it.
pub(super) struct Unpacked {
    pub(super) found: Found,
    /// Unpacked bytes; an estimate if not all was unpacked.
    pub(super) bytes: u64,
    pub(super) estimated: bool,
    pub(super) problem: Option<String>,
}

impl Unpacking {
    /// The unpacking of a batch that starts so, if it is compressed.
    pub(super) fn begin(first: &[u8], hint: Hint, room: Room, budget: u64) -> Option<Self> {
        let (compression, _) = compression(first)?;
        let decoder: Box<dyn Decoder> = match compression {
            Compression::Gzip => Box::new(gzip::Gzip::new()),
            Compression::Bzip2 => Box::new(bzip2::Bzip2::new()),
            Compression::Xz => Box::new(xz::Xz::new()),
            Compression::Zstd => Box::new(zstd::Zstd::new()),
            Compression::Lz4 => Box::new(lz4::Lz4::new()),
            Compression::Snappy if first.starts_with(snappy::BLOCKS) => Box::new(snappy::Blocks::new()),
            Compression::Snappy => Box::new(snappy::Framed::new()),
            Compression::None | Compression::Zip => return None,
        };
        let sink = Sink { content: Content::unpacked(hint, room), taken: 0, budget };
        Some(Self { compression, decoder, sink, stopped: None, cut: false })
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.stopped.is_none() {
            self.stopped = self.decoder.push(bytes, &mut self.sink).err();
        }
    }

    /// Whether what follows is of use.
    pub(super) fn wants_all(&self) -> bool {
        self.stopped.is_none() && !self.cut
    }

    /// The rest of the batch is not looked at.
    pub(super) fn pass(&mut self) {
        self.cut = true;
    }

    /// What was in the `total` bytes.
    pub(super) fn finish(mut self, total: u64) -> Unpacked {
        if self.stopped.is_none() {
            // What a decoder holds back is content even where the rest is missing.
            let ended = self.decoder.finish(&mut self.sink).err();
            self.stopped = ended.filter(|ended| !self.cut || *ended == Stop::Full);
        }
        let (seen, taken) = (self.sink.content.seen(), self.sink.taken.clamp(1, total.max(1)));
        let estimated = self.cut || self.stopped == Some(Stop::Full);
        let bytes = if estimated {
            let bytes = u128::from(seen) * u128::from(total) / u128::from(taken);
            u64::try_from(bytes).unwrap_or(u64::MAX).clamp(seen + 1, u64::MAX >> 8)
        } else {
            seen
        };
        let name = self.compression;
        let problem = match self.stopped {
            Some(Stop::Bad(what)) => Some(format!("{name}: {what}")),
            Some(Stop::Full) if seen < self.sink.budget && seen >= self.sink.limit() => {
                Some(format!("{name}: unpacks to more than {RATIO} times its size; looked at the first {seen} bytes"))
            }
            _ => None,
        };
        Unpacked { found: self.sink.content.finish(bytes), bytes, estimated, problem }
    }
}

#[cfg(test)]
mod tests;
