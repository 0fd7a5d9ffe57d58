//! Batches of JSON and NDJSON.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(
    b"",
    &["application/json", "application/x-ndjson"],
    true,
    input
));
