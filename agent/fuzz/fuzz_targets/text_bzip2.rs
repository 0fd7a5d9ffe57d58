//! Batches of bzip2.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"BZh91AY&SY", &["text/csv"], false, input));
