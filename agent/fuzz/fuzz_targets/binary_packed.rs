//! Containers of objects and members: PDF, zip and workbooks.
#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGICS: &[&[u8]] = &[b"%PDF-1.7\n", b"PK\x03\x04", b"PK\x05\x06", b"PK\x03\x04\x14\0\x08\0\x08\0"];

fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::binary(MAGICS, input));
