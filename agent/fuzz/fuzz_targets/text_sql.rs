//! Batches of SQL.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"SELECT 1; ", &["application/sql"], true, input));
