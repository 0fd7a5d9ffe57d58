//! Batches of framed snappy.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"\xff\x06\0\0sNaPpY", &["text/csv"], false, input));
