//! Batches of xz.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"\xfd7zXZ\0", &["text/csv"], false, input));
