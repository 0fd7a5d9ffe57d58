//! gzip, in one or several members (RFC 1952).

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::gather::Gather;
use super::{Decoder, OUT, Sink, Stop};

const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const HEADER_CRC: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The ten bytes that a member starts with.
    Header,
    /// The length of the extra field.
    ExtraLength,
    /// Bytes of it to come.
    Extra(u64),
    /// Within a name or comment, which end with a zero.
    Text(u8),
    HeaderCrc,
    Body,
    Trailer,
    /// Past what is gzip.
    Padding,
}

pub(super) struct Gzip {
    state: State,
    /// Parts of the header that are still to come.
    flags: u8,
    gather: Gather,
    inflate: Decompress,
    crc: Crc,
    members: u64,
    out: Vec<u8>,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            flags: 0,
            gather: Gather::default(),
            inflate: Decompress::new(false),
            crc: Crc::new(),
            members: 0,
            out: vec![0; OUT],
        }
    }

    /// The next part of the header, or the body.
    fn next_part(&mut self) {
        self.gather.clear();
        for (flag, state) in [
            (EXTRA, State::ExtraLength),
            (NAME, State::Text(NAME)),
            (COMMENT, State::Text(COMMENT)),
            (HEADER_CRC, State::HeaderCrc),
        ] {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                self.state = state;
                return;
            }
        }
        self.state = State::Body;
    }

    fn header(&mut self) -> Result<(), Stop> {
        match self.gather.get() {
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => {
                self.flags = *flags;
                self.next_part();
                Ok(())
            }
            _ if self.members > 0 => {
                self.state = State::Padding;
                if self.gather.get().iter().all(|byte| *byte == 0) { Ok(()) } else { Err(JUNK) }
            }
            _ => Err(Stop::Bad("a header that is none of gzip's")),
        }
    }

    fn body(&mut self, bytes: &mut &[u8], sink: &mut Sink) -> Result<(), Stop> {
        loop {
            let (came, went) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(bytes, &mut self.out, FlushDecompress::None);
            let used = (self.inflate.total_in() - came) as usize;
            let made = (self.inflate.total_out() - went) as usize;
            *bytes = &bytes[used..];
            sink.take(used);
            self.crc.update(&self.out[..made]);
            sink.give(&self.out[..made])?;
            match status {
                Ok(Status::StreamEnd) => {
                    self.state = State::Trailer;
                    self.gather.clear();
                    return Ok(());
                }
                Err(_) => return Err(STUCK),
                Ok(_) if used == 0 && made == 0 => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    fn trailer(&mut self) -> Result<(), Stop> {
        let sums = self.gather.number::<8>();
        let (crc, length) = (sums as u32, (sums >> 32) as u32);
        let right = crc == self.crc.sum() && length == self.crc.amount();
        self.members += 1;
        self.crc.reset();
        self.inflate.reset(false);
        self.gather.clear();
        self.state = State::Header;
        if right { Ok(()) } else { Err(Stop::Bad("its check sum is wrong")) }
    }
}

const STUCK: Stop = Stop::Bad("its data does not unpack");
const JUNK: Stop = Stop::Bad("other bytes follow it");

impl Decoder for Gzip {
    fn push(&mut self, mut bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        while !bytes.is_empty() {
            if self.state == State::Body {
                let before = bytes.len();
                self.body(&mut bytes, sink)?;
                if self.state == State::Body && bytes.len() == before {
                    return Err(STUCK);
                }
                continue;
            }
            let before = bytes.len();
            match self.state {
                State::Header if self.gather.fill(&mut bytes, 10) => self.header()?,
                State::ExtraLength if self.gather.fill(&mut bytes, 2) => {
                    self.state = State::Extra(self.gather.number::<2>());
                }
                State::Extra(0) => self.next_part(),
                State::Extra(left) => {
                    let skip = bytes.len().min(left as usize);
                    bytes = &bytes[skip..];
                    self.state = State::Extra(left - skip as u64);
                }
                State::Text(_) => match memchr::memchr(0, bytes) {
                    Some(end) => {
                        bytes = &bytes[end + 1..];
                        self.next_part();
                    }
                    None => bytes = &[],
                },
                State::HeaderCrc if self.gather.fill(&mut bytes, 2) => self.next_part(),
                State::Trailer if self.gather.fill(&mut bytes, 8) => self.trailer()?,
                State::Padding if bytes.iter().any(|byte| *byte != 0) => return Err(JUNK),
                State::Padding => bytes = &[],
                _ => {}
            }
            sink.take(before - bytes.len());
        }
        Ok(())
    }

    fn finish(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        // What the decoder holds back comes out without input, too.
        if self.state == State::Body {
            self.body(&mut &[][..], sink)?;
        }
        let padded = self.members > 0 && self.gather.get().iter().all(|byte| *byte == 0);
        match self.state {
            State::Padding => Ok(()),
            State::Header if padded => Ok(()),
            _ => Err(Stop::Bad("cut short")),
        }
    }
}
