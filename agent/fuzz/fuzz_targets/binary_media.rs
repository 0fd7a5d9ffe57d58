//! Images and sound.
#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGICS: &[&[u8]] = &[b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x40\0\0\0WEBP", b"II*\0", b"MM\0+", b"BM", b"RIFF\x40\0\0\0WAVEfmt ", b"RF64\xff\xff\xff\xffWAVE"];

fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::binary(MAGICS, input));
