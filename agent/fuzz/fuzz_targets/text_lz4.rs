//! Batches of LZ4 frames.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"\x04\x22\x4d\x18", &["text/csv"], false, input));
