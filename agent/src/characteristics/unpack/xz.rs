//! xz, in one or several streams.

use lzma_rust2::{Action, Status, XzStream};

use super::{Decoder, FLOOR, MOST_WINDOW, OUT, Sink, Stop};

/// Memory that a decoder may have, in KiB. Dictionaries are taken in as they fill: one of 64 MiB (`xz -9`) costs no more
/// than what is unpacked, which ends at [`FLOOR`] if it is wider than [`MOST_WINDOW`].
const MEMORY_KIB: u32 = (64 << 10) + 512;

/// What a decoder takes beside its dictionary, at most.
const BESIDE: u64 = 512 << 10;

/// Bytes given to the decoder at a time: where they are damaged, what they made before that is lost.
const STEP: usize = 64;

pub(super) struct Xz {
    stream: XzStream,
    ended: bool,
    out: Vec<u8>,
}

impl Xz {
    pub(super) fn new() -> Self {
        Self { stream: XzStream::new_mem_limit(true, MEMORY_KIB), ended: false, out: vec![0; OUT] }
    }

    fn unpack(&mut self, mut bytes: &[u8], action: Action, sink: &mut Sink) -> Result<(), Stop> {
        while !self.ended {
            let step = self.stream.process(bytes, &mut self.out, action);
            let step = step.map_err(|error| Stop::Bad(wrong(&error, action)))?;
            bytes = &bytes[step.bytes_consumed..];
            sink.take(step.bytes_consumed);
            let wide = self.stream.memory_usage().is_some_and(|kib| u64::from(kib) << 10 > MOST_WINDOW + BESIDE);
            sink.give(&self.out[..step.bytes_produced])?;
            if wide && self.stream.total_out() > FLOOR {
                return Err(Stop::Full);
            }
            self.ended = step.status == Status::StreamEnd;
            if step.bytes_consumed == 0 && step.bytes_produced == 0 {
                break;
            }
        }
        if self.ended && !bytes.is_empty() { Err(Stop::Bad("other bytes follow it")) } else { Ok(()) }
    }
}

fn wrong(error: &std::io::Error, action: Action) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::OutOfMemory => "needs a dictionary of more than 64 MiB",
        std::io::ErrorKind::UnexpectedEof => "cut short",
        _ if action == Action::Finish => "cut short",
        _ => "its data does not unpack, or its check sum is wrong",
    }
}

impl Decoder for Xz {
    fn push(&mut self, bytes: &[u8], sink: &mut Sink) -> Result<(), Stop> {
        bytes.chunks(STEP).try_for_each(|step| {
            sink.worth_more()?;
            self.unpack(step, Action::Run, sink)
        })
    }

    fn finish(&mut self, sink: &mut Sink) -> Result<(), Stop> {
        self.unpack(&[], Action::Finish, sink)?;
        if self.ended { Ok(()) } else { Err(Stop::Bad("cut short")) }
    }
}
