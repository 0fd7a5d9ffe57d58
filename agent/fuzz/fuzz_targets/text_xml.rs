//! Batches of XML.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"<?xml version=\"1.0\"?>", &["application/xml"], true, input));
