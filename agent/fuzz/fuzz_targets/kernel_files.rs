//! Any bytes as any kernel file that the sampler reads; the first byte picks which.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::kernel_files(input));
