//! Batches of gzip.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(&[0x1f, 0x8b, 8], &["text/csv"], false, input));
