//! Batches of Zstandard.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"\x28\xb5\x2f\xfd", &["text/csv"], false, input));
