//! bzip2, in one or several streams.

use bzip2::{Decompress, Status};

use super::gather::Gather;
use super::{Decoder, OUT, Sink, Stop};

/// Bytes given to the decoder at a time: a block is unpacked, in some 30 ms, when its last byte has come.
const STEP: usize = 16 << 10;

/// Streams of hardly a byte that are unpacked: each takes a decoder of its own, some 30 µs.
const MOST_STREAMS: u64 = 500;
/// Bytes that are as much work as another stream.
const STREAM: u64 = 1 << 10;

/// What a block starts with, and what stands for one in an empty stream.
const BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

pub(super) struct Bzip2 {
    /// None between streams.
    stream: Option<Decompress>,
    magic: Gather,
    streams: u64,
    out: Vec<u8>,
}

/// Whether a block follows the magic: `BZh9` alone may start text.
pub(super) fn is_block(rest: &[u8]) -> bool {
    rest.starts_with(&BLOCK) || rest.starts_with(&END)
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self { stream: None, magic: Gather::default(), streams: 0, out: vec![0; OUT] }
    }

    fn unpack(&mut self, bytes: &mut &[u8], sink: &mut Sink) -> Result<(), Stop> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        loop {
            let (came, went) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(bytes, &mut self.out);
            let used = (stream.total_in() - came) as usize;
            let made = (stream.total_out() - went) as usize;
            *bytes = &bytes[used..];
            sink.take(used);
            sink.give(&self.out[..made])?;
            match status {
                Ok(Status::StreamEnd) => {
                    self.streams += 1;
                    self.stream = None;
                    self.magic.clear();
                    return Ok(());
                }
                Err(_) => return Err(WRONG),
                Ok(_) if used == 0 && made == 0 => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// The start of the next stream.
    fn begin(&mut self, bytes: &mut &[u8]) -> Result<(), Stop> {
        if !self.magic.fill(bytes, 4) {
            return Ok(());
        }
        let mut magic = self.magic.get();
        if !matches!(magic, [b'B', b'Z', b'h', b'1'..=b'9']) {
            return Err(Stop::Bad("other bytes follow it"));
        }
        let mut stream = Decompress::new(false);
        while !magic.is_empty() {
            let came = stream.total_in();
            stream.decompress(magic, &mut self.out).map_err(|_| Stop::Bad("a header that is none of bzip2's"))?;
            let used = (stream.total_in() - came) as usize;
            if used == 0 {
                return Err(Stop::Bad("a header that is none of bzip2's"));
            }
            magic = &magic[used..];
        }
        self.stream = Some(stream);
        Ok(())
    }
}

const WRONG: Stop = Stop::Bad("its data does not unpack, or its check sum is wrong");

impl Decoder for Bzip2 {
    fn push(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        bytes.chunks(STEP).try_for_each(|step| {
            sink.worth_more()?;
            self.step(step, sink)
        })
    }

    fn finish(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        self.unpack(&mut &[][..], sink)?;
        let whole = self.stream.is_none() && self.streams > 0 && self.magic.is_empty();
        if whole { Ok(()) } else { Err(Stop::Bad("cut short")) }
    }
}

impl Bzip2 {
    fn step(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            if self.stream.is_some() {
                let before = bytes.len();
                self.unpack(&mut bytes, sink)?;
                if self.stream.is_some() && bytes.len() == before {
                    return Err(WRONG);
                }
            } else {
                if self.streams > MOST_STREAMS + sink.content.seen() / STREAM {
                    return Err(Stop::Full);
                }
                self.begin(&mut bytes)?;
            }
        }
        Ok(())
    }
}
