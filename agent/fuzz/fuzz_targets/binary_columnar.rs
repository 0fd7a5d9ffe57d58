//! Tables with their schema: Avro, Parquet, ORC, Arrow.
#![no_main]

use libfuzzer_sys::fuzz_target;

const MAGICS: &[&[u8]] = &[b"Obj\x01", b"Obj\x01\x02\x16avro.schema", b"PAR1\0\0", b"ORC\0\0", b"ARROW1\0\0", b"\xff\xff\xff\xff"];

fuzz_target!(|input: &[u8]| forebay_agent::fuzzing::binary(MAGICS, input));
