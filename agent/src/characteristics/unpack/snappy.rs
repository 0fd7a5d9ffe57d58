//! Snappy: its framed form, the blocks that Java's library writes, and its raw form.

use snap::raw::{Decoder as Raw, decompress_len};

use super::gather::Gather;
use super::{Decoder, FLOOR, Sink, Stop};

/// What the framed form starts with.
pub(super) const FRAMED: &[u8] = b"\xff\x06\0\0sNaPpY";
/// What Java's blocks start with: a version and the oldest that reads it follow.
pub(super) const BLOCKS: &[u8] = b"\x82SNAPPY\0";
const BLOCKS_HEADER: usize = 16;

/// Bytes that a frame unpacks to, at most, and the longest frame of data.
const MOST_FRAME: usize = 64 << 10;
const MOST_PACKED: usize = 80 << 10;
/// Bytes that one of Java's blocks unpacks to, at most.
const MOST_BLOCK: usize = 4 << 20;

const WRONG: Stop = Stop::Bad("its data does not unpack");
const CUT: Stop = Stop::Bad("cut short");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// A frame of this kind and length.
    Frame(u8, usize),
    Skip(usize),
}

/// The framed form.
pub(super) struct Framed {
    state: State,
    gather: Gather,
    out: Vec<u8>,
}

impl Framed {
    pub(super) fn new() -> Self {
        Self { state: State::Header, gather: Gather::default(), out: vec![0; MOST_FRAME] }
    }

    fn header(&mut self) -> Result<(), Stop> {
        let header = self.gather.number::<4>();
        let (kind, length) = (header as u8, (header >> 8) as usize);
        self.state = match kind {
            0 | 1 if (4..=MOST_PACKED).contains(&length) => State::Frame(kind, length),
            0xff if length == 6 => State::Frame(kind, length),
            0x80..=0xfe => State::Skip(length),
            _ => return Err(WRONG),
        };
        self.gather.clear();
        Ok(())
    }

    fn frame(&mut self, kind: u8, sink: &mut Sink) -> Result<(), Stop> {
        let bytes = self.gather.get();
        if kind == 0xff {
            return if bytes == b"sNaPpY" { Ok(()) } else { Err(WRONG) };
        }
        let sum = self.gather.number::<4>() as u32;
        let data = &bytes[4..];
        let unpacked = if kind == 1 {
            data
        } else {
            let made = Raw::new().decompress(data, &mut self.out).map_err(|_| WRONG)?;
            &self.out[..made]
        };
        if masked(crc32c::crc32c(unpacked)) != sum {
            return Err(Stop::Bad("a frame's check sum is wrong"));
        }
        sink.give(unpacked)
    }
}

/// Sums of data that itself holds sums are masked.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

impl Decoder for Framed {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let before = bytes.len();
            match self.state {
                State::Header if self.gather.fill(&mut bytes, 4) => self.header()?,
                State::Frame(kind, length) if self.gather.fill(&mut bytes, length) => {
                    sink.take(length);
                    self.frame(kind, sink)?;
                    self.gather.clear();
                    self.state = State::Header;
                    continue;
                }
                State::Skip(left) => {
                    let skip = left.min(bytes.len());
                    bytes = &bytes[skip..];
                    self.state = if skip == left { State::Header } else { State::Skip(left - skip) };
                }
                _ => continue,
            }
            sink.take(before - bytes.len());
        }
        Ok(())
    }

    fn finish(&mut self, _sink: &mut Sink) -> Result<(), Stop> {
        if self.state == State::Header && self.gather.is_empty() { Ok(()) } else { Err(CUT) }
    }
}

/// Java's blocks: a length, big end first, and so much of the raw form.
pub(super) struct Blocks {
    started: bool,
    /// Length of the block in hand.
    block: Option<usize>,
    gather: Gather,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { started: false, block: None, gather: Gather::default() }
    }

    fn block(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let packed = self.gather.get();
        if decompress_len(packed).map_err(|_| WRONG)? > MOST_BLOCK {
            return Err(Stop::Full);
        }
        let unpacked = Raw::new().decompress_vec(packed).map_err(|_| WRONG)?;
        sink.give(&unpacked)
    }
}

impl Decoder for Blocks {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let before = bytes.len();
            let wanted = if self.started { self.block.unwrap_or(4) } else { BLOCKS_HEADER };
            let there = self.gather.fill(&mut bytes, wanted);
            sink.take(before - bytes.len());
            if !there {
                continue;
            }
            if !self.started {
                self.started = true;
            } else if self.block.take().is_some() {
                self.block(sink)?;
            } else {
                let length = (self.gather.number::<4>() as u32).swap_bytes() as usize;
                if length == 0 || length > MOST_BLOCK {
                    return Err(WRONG);
                }
                self.block = Some(length);
            }
            self.gather.clear();
        }
        Ok(())
    }

    fn finish(&mut self, _sink: &mut Sink) -> Result<(), Stop> {
        if self.started && self.block.is_none() && self.gather.is_empty() { Ok(()) } else { Err(CUT) }
    }
}

/// What the raw form holds, if the bytes are that: it has no magic, but its length must come out right.
pub(in crate::characteristics) fn unpack_raw(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = decompress_len(bytes).ok()?;
    // Less than nine bytes may come out right by chance.
    let plausible = bytes.len() > 8 && length > 8 && length as u64 <= FLOOR;
    plausible.then(|| Raw::new().decompress_vec(bytes).ok()).flatten()
}
