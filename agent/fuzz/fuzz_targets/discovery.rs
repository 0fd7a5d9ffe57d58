//! Any bytes as the texts and names by which the component's container is found.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::discovery(input));
