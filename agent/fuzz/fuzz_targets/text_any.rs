//! Batches of text of any type, logs among it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"", &["text/plain", "text/x-log", ""], true, input));
