//! Formats without a magic: MessagePack and Protocol Buffers.
#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGICS: &[&[u8]] = &[b"\xdc", b"\x82\xa1a", b"\x0a\x04name", b"\0\0\0\0"];

fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::binary(MAGICS, input));
