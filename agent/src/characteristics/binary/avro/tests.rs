//! Avro files made by hand.

use flate2::{Compression, write::DeflateEncoder};
use std::io::Write;

use super::*;

pub(in super::super) fn zigzag(number: i64) -> Vec<u8> {
    let mut left = (number << 1 ^ number >> 63) as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [zigzag(bytes.len() as i64), bytes.to_vec()].concat()
}

pub(in super::super) fn file(schema: &str, codec: &str, blocks: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let sync = [7; SYNC];
    let mut bytes = [b"Obj\x01".to_vec(), zigzag(2), string(b"avro.schema"), string(schema.as_bytes())].concat();
    bytes.extend([string(b"avro.codec"), string(codec.as_bytes()), zigzag(0), sync.to_vec()].concat());
    for (count, block) in blocks {
        bytes.extend([zigzag(*count), string(block), sync.to_vec()].concat());
    }
    bytes
}

/// A list in a record of a union, twice.
pub(in super::super) const NESTED: &str = r#"{"type": "record", "name": "r", "fields": [
    {"name": "id", "type": "long"},
    {"name": "tags", "type": ["null", {"type": "array", "items": {"type": "map", "values": "string"}}]}]}"#;

fn row(id: i64, tags: Option<&[u8]>) -> Vec<u8> {
    match tags {
        None => [zigzag(id), zigzag(0)].concat(),
        Some(tags) => [zigzag(id), zigzag(1), tags.to_vec()].concat(),
    }
}

fn of(bytes: &[u8]) -> Facts {
    facts(&Held::new(bytes, &[], bytes.len() as u64))
}

#[test]
fn depth_is_that_of_the_values_and_records_those_of_the_blocks() {
    let empty = row(1, Some(&[0]));
    let full = row(2, Some(&[vec![2, 2], string(b"k"), string(b"v"), vec![0, 0]].concat()));
    for (blocks, depth, records) in [
        (vec![], 0, 0),
        (vec![(1, row(1, None))], 1, 1),
        (vec![(2, [row(1, None), empty.clone()].concat())], 2, 2),
        (vec![(1, row(1, None)), (2, [empty, full].concat())], 3, 3),
    ] {
        let found = of(&file(NESTED, "null", &blocks));
        assert_eq!((found.max_depth, found.records), (Some(depth), Some(records)), "{blocks:?}");
        assert_eq!((found.columns, found.estimated, found.problem), (Some(2), Some(false), None));
    }
}

#[test]
fn packed_blocks_are_unpacked_for_the_depth_alone() {
    let values = [row(1, None), row(2, Some(&[0]))].concat();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(&values).unwrap();
    let snappy = [snap::raw::Encoder::new().compress_vec(&values).unwrap(), vec![0; 4]].concat();
    let zstd = ruzstd::encoding::compress_to_vec(&values[..], ruzstd::encoding::CompressionLevel::Fastest);
    for (codec, block) in [("deflate", deflate.finish().unwrap()), ("snappy", snappy), ("zstandard", zstd)] {
        let found = of(&file(NESTED, codec, &[(2, block)]));
        assert_eq!((found.max_depth, found.records, found.estimated), (Some(2), Some(2), Some(false)), "{codec}");
    }
    let unknown = of(&file(NESTED, "bzip2", &[(9, vec![1, 2, 3])]));
    assert_eq!((unknown.max_depth, unknown.records, unknown.estimated), (Some(3), Some(9), Some(true)));
}

#[test]
fn recursive_values_count_each_level_and_an_endless_one_stops() {
    let list = r#"{"type": "record", "name": "l", "fields": [{"name": "next", "type": ["null", "l"]}]}"#;
    let found = of(&file(list, "null", &[(1, vec![2, 2, 2, 0])]));
    assert_eq!((found.max_depth, found.estimated), (Some(4), Some(false)));
    let lie = of(&file(list, "null", &[(i64::MAX, vec![0])]));
    assert_eq!(lie.records, Some(0));
    assert!(lie.problem.unwrap().contains("claims"));
    let endless = r#"{"type": "record", "name": "l", "fields": [{"name": "next", "type": "l"}]}"#;
    assert_eq!(of(&file(endless, "null", &[(1, vec![])])).estimated, Some(true));
    let nulls = r#"{"type": "array", "items": "null"}"#;
    let found = of(&file(nulls, "null", &[(1, [zigzag(i64::MAX), vec![0]].concat())]));
    assert_eq!((found.max_depth, found.records), (Some(1), Some(1)));
}

#[test]
fn a_cut_file_is_told_and_a_cut_view_is_extrapolated() {
    let bytes = file(NESTED, "null", &vec![(10, vec![0; 20]); 100]);
    let whole = of(&bytes);
    assert_eq!((whole.records, whole.estimated), (Some(1000), Some(false)));
    assert!(of(&bytes[..bytes.len() - 5]).problem.is_some());
    let part = facts(&Held::new(&bytes[..bytes.len() / 2], &[], bytes.len() as u64));
    assert_eq!((part.records, part.estimated, part.problem), (Some(1000), Some(true), None));
    let long = file(NESTED, "null", &[(5000, vec![0; 10_000])]);
    let part = facts(&Held::new(&long[..500], &[], long.len() as u64));
    assert_eq!((part.records, part.problem), (Some(5000), None), "a block that has only begun");
}

#[test]
fn a_block_may_claim_any_length() {
    for length in [1 << 45, i64::MAX / 2, i64::MAX] {
        let bytes = [file(NESTED, "deflate", &[]), zigzag(5000), zigzag(length)].concat();
        let found = facts(&Held::new(&bytes, &[], u64::MAX));
        assert!(found.records.is_none_or(|records| records > 0) && found.estimated == Some(true), "{length}");
    }
}
