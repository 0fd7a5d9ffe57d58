//! Zstandard frames (RFC 8878), a block at a time.

use std::io::Read;

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::FrameDecoderError;

use super::gather::Gather;
use super::{Decoder, MOST_WINDOW, OUT, Sink, Stop};

/// The longest frame header, without its magic.
const MOST_HEADER: usize = 14;
const MAGIC: u64 = 0xfd2f_b528;
/// Skippable frames have one of sixteen magics.
const SKIPPABLE: u64 = 0x0184_d2a5;

const MOST_BLOCK: u64 = 128 << 10;

/// The window of 8 MiB, as headers write it.
const WINDOW: u8 = 13 << 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    SkipLength,
    Skip(u64),
    /// The frame's header, whose first byte tells its length.
    Header,
    BlockHeader,
    /// A block of this many bytes; the last one, or not.
    Block(usize, bool),
    Sum,
}

pub(super) struct Zstd {
    state: State,
    gather: Gather,
    decoder: FrameDecoder,
    frames: u64,
    has_sum: bool,
    /// Its window is wider than ours: only its first bytes can be unpacked.
    wide: bool,
    /// Of the frame in hand.
    blocks: u64,
    out: Vec<u8>,
}

impl Zstd {
    pub(super) fn new() -> Self {
        Self {
            state: State::Magic,
            gather: Gather::default(),
            decoder: FrameDecoder::new(),
            frames: 0,
            has_sum: false,
            wide: false,
            blocks: 0,
            out: vec![0; OUT],
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.gather.clear();
    }

    fn magic(&mut self) -> Result<(), Stop> {
        let magic = self.gather.number::<4>();
        if magic == MAGIC {
            // The header is put together with its magic, for the decoder.
            self.state = State::Header;
            return Ok(());
        }
        if magic >> 4 == SKIPPABLE {
            self.enter(State::SkipLength);
            return Ok(());
        }
        Err(Stop::Bad("other bytes follow it"))
    }

    /// Bytes of the header, magic and all, once its fifth byte is there.
    fn header_length(&self) -> usize {
        let Some(descriptor) = self.gather.get().get(4) else { return 5 };
        let single = descriptor >> 5 & 1 == 1;
        let size = match descriptor >> 6 {
            0 => usize::from(single),
            flag => 1 << flag,
        };
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        (5 + usize::from(!single) + dictionary + size).min(4 + MOST_HEADER)
    }

    fn header(&mut self) -> Result<(), Stop> {
        let wrong = Stop::Bad("a header that is none of zstd's");
        self.has_sum = self.gather.get()[4] >> 2 & 1 == 1;
        self.wide = false;
        self.blocks = 0;
        match self.begin_frame(self.gather.get().to_vec()) {
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                // Its first bytes refer to no others than themselves: they unpack with a window that holds them.
                self.wide = true;
                let descriptor = u8::from(self.has_sum) << 2;
                let header = [&(MAGIC as u32).to_le_bytes()[..], &[descriptor, WINDOW]].concat();
                self.begin_frame(header).map_err(|_| wrong)?;
            }
            Err(FrameDecoderError::DictNotProvided { .. }) => {
                return Err(Stop::Bad("needs a dictionary that is not with it"));
            }
            begun => begun.map_err(|_| wrong)?,
        }
        self.enter(State::BlockHeader);
        Ok(())
    }

    fn begin_frame(&mut self, header: Vec<u8>) -> Result<(), FrameDecoderError> {
        // A decoder of its own: one that is used again takes the whole window at once.
        self.decoder = FrameDecoder::new();
        self.decoder.set_max_window_size(MOST_WINDOW);
        self.decoder.init(&header[..])
    }

    fn block_header(&mut self) -> Result<(), Stop> {
        let header = self.gather.number::<3>();
        let size = (header >> 3) as usize;
        let (last, kind) = (header & 1 == 1, header >> 1 & 3);
        if kind == 3 || size as u64 > MOST_BLOCK {
            return Err(WRONG);
        }
        self.state = State::Block(3 + if kind == 1 { 1 } else { size }, last);
        Ok(())
    }

    fn block(&mut self, last: bool, sink: &mut Sink) -> Result<(), Stop> {
        let (_, made) = self.decoder.decode_from_to(self.gather.get(), &mut self.out).map_err(|_| WRONG)?;
        self.give(made, sink)?;
        // A block unpacks to 128 KiB at most: none refers further back than the window that it was given.
        self.blocks += 1;
        if self.wide && (self.blocks + 1) * MOST_BLOCK > MOST_WINDOW && !last {
            self.give_window(sink)?;
            return Err(Stop::Full);
        }
        match last {
            false => self.enter(State::BlockHeader),
            true if self.has_sum => self.enter(State::Sum),
            true => self.end_frame(),
        }
        Ok(())
    }

    /// Gives the first bytes of `out`, and what the decoder has beside.
    fn give(&mut self, mut made: usize, sink: &mut Sink) -> Result<(), Stop> {
        while made > 0 {
            sink.give(&self.out[..made])?;
            made = self.decoder.read(&mut self.out).map_err(|_| WRONG)?;
        }
        Ok(())
    }

    /// What the window holds is content, too: an empty last block lets go of it.
    fn give_window(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let (_, made) = self.decoder.decode_from_to(&[1, 0, 0], &mut self.out).map_err(|_| WRONG)?;
        self.give(made, sink)
    }

    fn end_frame(&mut self) {
        self.frames += 1;
        self.enter(State::Magic);
    }

    fn sum(&mut self) -> Result<(), Stop> {
        let right = self.decoder.get_calculated_checksum() == Some(self.gather.number::<4>() as u32);
        self.end_frame();
        if right { Ok(()) } else { Err(Stop::Bad("its check sum is wrong")) }
    }
}

const WRONG: Stop = Stop::Bad("its data does not unpack");

impl Decoder for Zstd {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let before = bytes.len();
            let wanted = match self.state {
                State::Magic | State::SkipLength | State::Sum => Some(4),
                State::Header => Some(self.header_length()),
                State::BlockHeader => Some(3),
                State::Block(size, _) => Some(size),
                State::Skip(left) => {
                    let skip = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skip..];
                    self.state = if left == skip as u64 { State::Magic } else { State::Skip(left - skip as u64) };
                    None
                }
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
                State::Header if self.gather.get().len() == self.header_length() => self.header()?,
                State::Header | State::Skip(_) => {}
                State::BlockHeader => self.block_header()?,
                State::Block(_, last) => self.block(last, sink)?,
                State::Sum => self.sum()?,
            }
            // A raw block may be empty: there is nothing more to wait for.
            if let State::Block(3, last) = self.state {
                self.block(last, sink)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        let whole = self.state == State::Magic && self.gather.is_empty() && self.frames > 0;
        if whole {
            return Ok(());
        }
        if matches!(self.state, State::BlockHeader | State::Block(..)) {
            self.give_window(sink)?;
        }
        Err(Stop::Bad("cut short"))
    }
}
