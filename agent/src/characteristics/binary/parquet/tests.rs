//! Parquet files made by hand: a footer alone tells all that is asked.

use super::super::thrift::write::Value::{self, Int, Int32, List, Struct, Text};
use super::*;

/// A node: name, repetition, children and ConvertedType, of those that are given. Ids and enums are i32 on the wire.
fn node(name: &'static str, repeated: bool, children: i64, converted: Option<i64>) -> Value {
    let mut fields = vec![(3, Int32(if repeated { 2 } else { 1 })), (4, Text(name))];
    fields.extend((children > 0).then_some((5, Int32(children))));
    fields.extend(converted.map(|converted| (6, Int32(converted))));
    Struct(fields)
}

pub(in super::super) fn file(nodes: Vec<Value>, rows: i64) -> Vec<u8> {
    let column = Struct(vec![(2, List(vec![Int32(0), Int32(3), Int32(8)])), (12, Struct(vec![(3, Int(1))]))]);
    let column = Struct(vec![(2, Int(4)), (3, column)]);
    let group = Struct(vec![(1, List(vec![column])), (3, Int(rows))]);
    let footer = Struct(vec![(1, Int32(1)), (2, List(nodes)), (3, Int(rows)), (4, List(vec![group]))]).bytes();
    [b"PAR1\0\0\0\0", &footer[..], &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

pub(in super::super) fn nested() -> Vec<u8> {
    file(
        vec![
            node("schema", false, 2, None),
            node("id", false, 0, None),
            node("items", false, 1, Some(3)),
            node("list", true, 1, None),
            node("element", false, 1, None),
            node("price", false, 0, None),
        ],
        42,
    )
}

fn of(bytes: &[u8]) -> Facts {
    facts(&Held::new(bytes, &[], bytes.len() as u64))
}

#[test]
fn a_footer_tells_rows_columns_row_groups_encodings_and_depth() {
    let found = of(&nested());
    assert_eq!((found.records, found.columns, found.max_depth, found.problem), (Some(42), Some(2), Some(3), None));
    assert_eq!((found.detail.row_groups, found.detail.encodings, found.estimated), (Some(1), Some(3), Some(false)));
}

#[test]
fn lists_and_maps_are_one_level_each_however_they_are_written() {
    let leaf = |name| node(name, false, 0, None);
    for (nodes, depth) in [
        (vec![node("s", false, 1, None), leaf("a")], 1),
        // A repeated leaf, and a repeated group: lists without their annotation.
        (vec![node("s", false, 1, None), node("a", true, 0, None)], 2),
        (vec![node("s", false, 1, None), node("a", true, 1, None), leaf("b")], 3),
        // Two-level lists of old writers: of leaves, of structs by name, of structs by their fields.
        (vec![node("s", false, 1, None), node("l", false, 1, Some(3)), node("element", true, 0, None)], 2),
        (vec![node("s", false, 1, None), node("l", false, 1, Some(3)), node("array", true, 1, None), leaf("b")], 3),
        (
            vec![
                node("s", false, 1, None),
                node("l", false, 1, Some(3)),
                node("e", true, 2, None),
                leaf("b"),
                leaf("c"),
            ],
            3,
        ),
        // A map of text to a struct.
        (
            vec![
                node("s", false, 1, None),
                node("m", false, 1, Some(1)),
                node("key_value", true, 2, None),
                leaf("key"),
                node("value", false, 1, None),
                leaf("b"),
            ],
            3,
        ),
    ] {
        let found = of(&file(nodes, 1));
        assert_eq!((found.max_depth, found.problem), (Some(depth), None));
    }
}

#[test]
fn a_footer_that_is_missing_encrypted_or_too_long_is_told() {
    let bytes = nested();
    let with_end = |end: &[u8]| [&bytes[..bytes.len() - end.len()], end].concat();
    for (bytes, word) in [
        (bytes[..bytes.len() - 1].to_vec(), "missing"),
        (with_end(b"PARE"), "encrypted"),
        (with_end(b"\xff\xff\xff\xffPAR1"), "longer"),
        (with_end(b"\x03\0\0\0PAR1"), "malformed"),
    ] {
        assert!(of(&bytes).problem.unwrap().contains(word), "{word}");
    }
}

#[test]
fn the_tail_alone_is_enough_where_it_holds_the_footer() {
    let bytes = nested();
    let total = bytes.len() as u64 + 1000;
    let found = facts(&Held::new(&bytes[..8], &bytes[8..], total));
    assert_eq!((found.records, found.estimated), (Some(42), Some(false)));
    let found = facts(&Held::new(&bytes[..8], &bytes[bytes.len() - 9..], total));
    assert_eq!((found.records, found.estimated, found.problem), (None, Some(true), None));
}
