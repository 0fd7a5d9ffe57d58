//! Arrow messages made by hand.

use super::super::flatbuffer::write::{Value, root};
use super::*;

fn field(kind: u64, children: Vec<Vec<Value>>) -> Vec<Value> {
    vec![Value::None, Value::None, Value::Scalar(kind, 1), Value::Table(vec![]), Value::None, Value::Tables(children)]
}

/// Columns: an int; a list of structs of an int; a map of text to int.
fn schema() -> Vec<Value> {
    let (int, text) = (field(2, vec![]), field(5, vec![]));
    let list = field(12, vec![field(13, vec![int.clone()])]);
    let map = field(17, vec![field(13, vec![text, int.clone()])]);
    vec![Value::None, Value::Tables(vec![int, list, map])]
}

fn framed(message: &[Value], marked: bool, body: usize) -> Vec<u8> {
    let metadata = root(message);
    let mark: &[u8] = if marked { &MARK } else { &[] };
    [mark, &(metadata.len() as u32).to_le_bytes(), &metadata, &vec![0; body]].concat()
}

pub(in super::super) fn schema_message(marked: bool) -> Vec<u8> {
    framed(&[Value::Scalar(4, 2), Value::Scalar(1, 1), Value::Table(schema())], marked, 0)
}

pub(in super::super) fn rows(rows: u64, marked: bool) -> Vec<u8> {
    let header = vec![Value::Scalar(rows, 8)];
    framed(&[Value::Scalar(4, 2), Value::Scalar(3, 1), Value::Table(header), Value::Scalar(64, 8)], marked, 64)
}

pub(in super::super) fn stream_bytes(marked: bool) -> Vec<u8> {
    let end = if marked { &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..] } else { &[0, 0, 0, 0] };
    [schema_message(marked), rows(7, marked), rows(10, marked), end.to_vec()].concat()
}

pub(in super::super) fn file_bytes() -> Vec<u8> {
    let (schema_bytes, batch) = (schema_message(true), rows(7, true));
    let block = |index: usize| {
        let offset = 8 + schema_bytes.len() + index * batch.len();
        let metadata = batch.len() - 64;
        [(offset as u64).to_le_bytes(), (metadata as u64).to_le_bytes(), 64_u64.to_le_bytes()].concat()
    };
    let footer = root(&[
        Value::Scalar(4, 2),
        Value::Table(schema()),
        Value::None,
        Value::Structs(vec![block(0), block(1), block(2)]),
    ]);
    let batches = batch.repeat(3);
    [b"ARROW1\0\0", &schema_bytes[..], &batches, &footer, &(footer.len() as u32).to_le_bytes(), MAGIC].concat()
}

fn of(bytes: &[u8]) -> Held<'_> {
    Held::new(bytes, &[], bytes.len() as u64)
}

#[test]
fn a_stream_tells_rows_columns_and_depth_with_marks_or_without() {
    for marked in [true, false] {
        let bytes = stream_bytes(marked);
        assert!(is_stream(&of(&bytes)), "{marked}");
        let found = stream(&of(&bytes));
        assert_eq!((found.records, found.columns, found.max_depth), (Some(17), Some(3), Some(3)), "{marked}");
        assert_eq!((found.problem, found.estimated), (None, Some(false)));
    }
    assert!(
        !is_stream(&of(&[0xff; 64])) && !is_stream(&of(&[16, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]))
    );
}

#[test]
fn a_file_tells_the_same_from_its_footer() {
    let bytes = file_bytes();
    let found = file(&of(&bytes));
    assert_eq!((found.records, found.columns, found.max_depth), (Some(21), Some(3), Some(3)));
    assert_eq!((found.detail.row_groups, found.problem, found.estimated), (Some(3), None, Some(false)));
}

#[test]
fn without_its_footer_a_file_is_walked_as_a_stream_and_the_cut_is_told() {
    let bytes = file_bytes();
    let cut = 8 + schema_message(true).len() + rows(7, true).len() * 2 + 10;
    let found = file(&of(&bytes[..cut]));
    assert_eq!((found.records, found.max_depth), (Some(14), Some(3)));
    assert!(found.problem.unwrap().contains("cut short"));
    let view = file(&Held::new(&bytes[..cut], &[], bytes.len() as u64));
    assert_eq!((view.problem, view.estimated), (None, Some(true)));
}

#[test]
fn tables_that_share_their_children_do_not_take_for_ever() {
    // 40 levels of structs, each with the next level's table as both of its children: 2^40 paths.
    let mut bytes = Vec::new();
    for level in 0..40_u32 {
        let vtable = [16_u16, 20, 0, 0, 4, 0, 0, 8];
        let children = if level == 39 { 0 } else { 2 };
        bytes.extend(vtable.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend([16_u32, 13, 4, children, 24, 20].iter().flat_map(|number| number.to_le_bytes()));
    }
    let table =
        Table::root(&[&[20, 0, 0, 0][..], &bytes].concat()).map(|table| field_depth(table, &mut 1000, MOST_DEPTH));
    assert_eq!(table, Some(None), "the bound on fields ends it");
    bytes.truncate(40 * 3);
    bytes[40 * 2 + 28] = 0;
    let bytes = [&[20, 0, 0, 0][..], &bytes].concat();
    assert_eq!(field_depth(Table::root(&bytes).unwrap(), &mut 1000, MOST_DEPTH), Some(3));
}
