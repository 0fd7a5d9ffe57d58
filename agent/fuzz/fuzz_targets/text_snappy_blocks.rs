//! Batches of snappy in Java's blocks.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(
    b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
    &["text/csv"],
    false,
    input
));
