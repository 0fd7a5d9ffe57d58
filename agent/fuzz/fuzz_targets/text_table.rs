//! Batches of CSV and TSV.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(
    b"a,b\tc\n",
    &["text/csv", "text/tab-separated-values"],
    true,
    input
));
