//! LZ4 frames, a block at a time.

use std::hash::Hasher as _;

use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::gather::Gather;
use super::{Decoder, Sink, Stop};

const MAGIC: u64 = 0x184d_2204;
const SKIPPABLE: u64 = 0x0184_d2a5;
/// Bytes back that a block may refer to.
const WINDOW: usize = 64 << 10;
const UNCOMPRESSED: u64 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    SkipLength,
    Skip(u64),
    /// The descriptor, whose first byte tells its length.
    Descriptor,
    BlockSize,
    /// A block of this many bytes, its check sum with it.
    Block(usize),
    Sum,
}

pub(super) struct Lz4 {
    state: State,
    gather: Gather,
    flags: u8,
    block_size: usize,
    uncompressed: bool,
    /// Earlier blocks of the frame, or the last bytes of them, and after `end` room for one.
    out: Vec<u8>,
    end: usize,
    sum: XxHash32,
    frames: u64,
}

impl Lz4 {
    pub(super) fn new() -> Self {
        Self {
            state: State::Magic,
            gather: Gather::default(),
            flags: 0,
            block_size: 0,
            uncompressed: false,
            out: Vec::new(),
            end: 0,
            sum: XxHash32::with_seed(0),
            frames: 0,
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.gather.clear();
    }

    fn flag(&self, bit: u8) -> bool {
        self.flags >> bit & 1 == 1
    }

    fn descriptor_length(&self) -> usize {
        let Some(flags) = self.gather.get().first() else { return 1 };
        3 + usize::from(flags >> 3 & 1) * 8 + usize::from(flags & 1) * 4
    }

    fn descriptor(&mut self) -> Result<(), Stop> {
        let wrong = Stop::Bad("a header that is none of LZ4's");
        let [descriptor @ .., check] = self.gather.get() else { return Err(wrong) };
        let sum = (XxHash32::oneshot(0, descriptor) >> 8) as u8;
        let (flags, size) = (descriptor[0], descriptor[1] >> 4 & 7);
        if flags >> 6 != 1 || size < 4 || sum != *check {
            return Err(wrong);
        }
        if flags & 1 == 1 {
            return Err(Stop::Bad("needs a dictionary that is not with it"));
        }
        self.flags = flags;
        self.block_size = 256 << (2 * size);
        self.end = 0;
        self.sum = XxHash32::with_seed(0);
        self.enter(State::BlockSize);
        Ok(())
    }

    fn block_size(&mut self) -> Result<(), Stop> {
        let size = self.gather.number::<4>();
        if size == 0 {
            if self.flag(2) {
                self.enter(State::Sum);
            } else {
                self.end_frame();
            }
            return Ok(());
        }
        self.uncompressed = size & UNCOMPRESSED != 0;
        let size = (size & !UNCOMPRESSED) as usize;
        if size > self.block_size {
            return Err(WRONG);
        }
        self.enter(State::Block(size + usize::from(self.flag(4)) * 4));
        Ok(())
    }

    fn block(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let bytes = self.gather.get();
        let (block, sum) = bytes.split_at(bytes.len() - usize::from(self.flag(4)) * 4);
        if let Ok(sum) = <[u8; 4]>::try_from(sum)
            && XxHash32::oneshot(0, block) != u32::from_le_bytes(sum)
        {
            return Err(Stop::Bad("a block's check sum is wrong"));
        }
        if self.end + self.block_size > self.out.len() {
            // The window moves to the front, once that much was made since it last did: a short block costs little.
            let start = self.end.saturating_sub(WINDOW);
            self.out.copy_within(start..self.end, 0);
            self.end -= start;
            // Only ever longer: frames of long and of short blocks may take turns.
            self.out.resize(self.out.len().max(2 * WINDOW + self.block_size), 0);
        }
        let (earlier, room) = self.out.split_at_mut(self.end);
        let room = &mut room[..self.block_size];
        let made = if self.uncompressed {
            room[..block.len()].copy_from_slice(block);
            block.len()
        } else {
            let window = &earlier[earlier.len().saturating_sub(WINDOW)..];
            let linked = if self.flags >> 5 & 1 == 1 { &[] } else { window };
            decompress_into_with_dict(block, room, linked).map_err(|_| WRONG)?
        };
        let made = self.end..self.end + made;
        if self.flag(2) {
            self.sum.write(&self.out[made.clone()]);
        }
        sink.give(&self.out[made.clone()])?;
        self.end = made.end;
        self.enter(State::BlockSize);
        Ok(())
    }

    fn end_frame(&mut self) {
        self.frames += 1;
        self.enter(State::Magic);
    }

    fn content_sum(&mut self) -> Result<(), Stop> {
        let right = self.sum.finish() == self.gather.number::<4>();
        self.end_frame();
        if right { Ok(()) } else { Err(Stop::Bad("its check sum is wrong")) }
    }

    fn magic(&mut self) -> Result<(), Stop> {
        let magic = self.gather.number::<4>();
        self.enter(if magic == MAGIC { State::Descriptor } else { State::SkipLength });
        if magic == MAGIC || magic >> 4 == SKIPPABLE { Ok(()) } else { Err(Stop::Bad("other bytes follow it")) }
    }
}

const WRONG: Stop = Stop::Bad("its data does not unpack");

impl Decoder for Lz4 {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let before = bytes.len();
            let wanted = match self.state {
                State::Descriptor => Some(self.descriptor_length()),
                State::Block(size) => Some(size),
                State::Skip(left) => {
                    let skip = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skip..];
                    self.state = if left == skip as u64 { State::Magic } else { State::Skip(left - skip as u64) };
                    None
                }
                _ => Some(4),
            };
            let there = wanted.is_some_and(|wanted| self.gather.fill(&mut bytes, wanted));
            sink.take(before - bytes.len());
            if !there {
                continue;
            }
            match self.state {
                State::Magic => self.magic()?,
                State::SkipLength => {
                    let length = self.gather.number::<4>();
                    self.enter(if length == 0 { State::Magic } else { State::Skip(length) });
                }
                State::Descriptor if self.gather.get().len() == self.descriptor_length() => self.descriptor()?,
                State::Descriptor | State::Skip(_) => {}
                State::BlockSize => self.block_size()?,
                State::Block(_) => self.block(sink)?,
                State::Sum => self.content_sum()?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, _sink: &mut Sink) -> Result<(), Stop> {
        let whole = self.state == State::Magic && self.gather.is_empty() && self.frames > 0;
        if whole { Ok(()) } else { Err(Stop::Bad("cut short")) }
    }
}
