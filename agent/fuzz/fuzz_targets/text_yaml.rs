//! Batches of YAML.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| forebay_agent_fuzz::inspect(b"---\n", &["application/yaml"], true, input));
