//! Archives made by hand.

use std::io::Write;

use flate2::write::DeflateEncoder;
use forebay_shared::DataCharacteristics;

use super::*;
use crate::characteristics::Finding;

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How a member is written.
#[derive(Clone, Copy, PartialEq)]
pub(in super::super) enum As {
    Stored,
    Deflated,
    /// With its sizes after it.
    Described,
    Encrypted,
    Wide,
}

pub(in super::super) fn archive(members: &[(&str, &[u8], As)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, plain, how) in members {
        let packed = if *how == As::Stored { plain.to_vec() } else { deflated(plain) };
        let method: u16 = if *how == As::Stored { 0 } else { 8 };
        let flags: u16 = match how {
            As::Described => 8,
            As::Encrypted => 1,
            _ => 0,
        };
        let sizes = |sizes: [u32; 2]| sizes.iter().flat_map(|size| size.to_le_bytes()).collect::<Vec<_>>();
        let known = sizes([packed.len() as u32, plain.len() as u32]);
        let wide =
            [&[1, 0, 16, 0][..], &(plain.len() as u64).to_le_bytes(), &(packed.len() as u64).to_le_bytes()].concat();
        let (claimed, extra) = match how {
            As::Wide => (sizes([u32::MAX; 2]), wide),
            _ => (known.clone(), Vec::new()),
        };
        let offset = bytes.len() as u32;
        let start = [&flags.to_le_bytes()[..], &method.to_le_bytes(), &[0; 8]].concat();
        let lengths = [(name.len() as u16).to_le_bytes(), (extra.len() as u16).to_le_bytes()].concat();
        let local = if *how == As::Described { sizes([0; 2]) } else { claimed.clone() };
        bytes.extend([b"PK\x03\x04\x14\0", &start[..], &local, &lengths, name.as_bytes(), &extra, &packed].concat());
        if *how == As::Described {
            bytes.extend([b"PK\x07\x08\0\0\0\0", &known[..]].concat());
        }
        directory.extend([b"PK\x01\x02\x14\0\x14\0", &start[..], &claimed, &lengths, &[0; 10]].concat());
        directory.extend([&offset.to_le_bytes()[..], name.as_bytes(), &extra].concat());
    }
    let (count, start) = ((members.len() as u16).to_le_bytes(), bytes.len() as u32);
    bytes.extend(&directory);
    bytes.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &(directory.len() as u32).to_le_bytes()].concat());
    bytes.extend([&start.to_le_bytes()[..], &[0, 0]].concat());
    bytes
}

/// A stand-in for the whole of characteristics: text is CSV with a record a line.
fn examine(bytes: &[u8], total: u64, extension: &str) -> Finding {
    let mut characteristics: DataCharacteristics = crate::characteristics::volume_only(total, None);
    characteristics.estimated = (bytes.len() as u64) < total;
    if bytes.is_ascii() && extension != "bin" {
        characteristics.data_type = DataType::Csv;
        characteristics.data_volume.records = Some(bytes.split(|byte| *byte == b'\n').count() as u64 - 1);
    }
    Finding { characteristics, problem: None, detail: Default::default() }
}

fn of(bytes: &[u8]) -> (DataType, Compression, Facts) {
    facts(&Held::new(bytes, &[], bytes.len() as u64), Some(&examine))
}

const TABLE: &[u8] = b"a,b\n1,2\n3,4\n";

#[test]
fn members_of_one_type_add_up_however_they_are_written() {
    for how in [As::Stored, As::Deflated, As::Described, As::Wide] {
        let bytes = archive(&[("d/", b"", As::Stored), ("d/one.csv", TABLE, how), ("two.csv", TABLE, how)]);
        let (data_type, compression, found) = of(&bytes);
        assert_eq!((data_type, compression), (DataType::Csv, Compression::Zip));
        assert_eq!((found.records, found.unpacked_bytes, found.problem), (Some(6), Some(24), None));
        assert_eq!(found.estimated, Some(false));
        let before = [b"#!/bin/sh\n", &bytes[..]].concat();
        assert_eq!(of(&before).2.records, Some(6), "bytes before the archive");
    }
}

#[test]
fn a_row_without_its_end_goes_on_in_the_next_part() {
    let part = TABLE.trim_ascii_end();
    let bytes = archive(&[("0.csv", part, As::Deflated), ("1.csv", TABLE, As::Stored), ("2.csv", part, As::Deflated)]);
    // Three rows each, as the stand-in counts them: by the ends of lines.
    assert_eq!(of(&bytes).2.records, Some(2 + 3 + 2 - 1));
}

#[test]
fn without_its_directory_members_are_found_one_after_the_other() {
    for how in [As::Stored, As::Deflated, As::Described, As::Wide] {
        let bytes = archive(&[("one.csv", TABLE, how), ("two.csv", TABLE, how)]);
        let cut = crate::characteristics::binary::cursor::find(&bytes, b"PK\x01\x02").unwrap();
        let (data_type, _, found) = of(&bytes[..cut]);
        assert_eq!((data_type, found.records, found.estimated), (DataType::Csv, Some(6), Some(true)));
        assert!(found.problem.unwrap().contains("cut short"));
        let (data_type, _, view) = facts(&Held::new(&bytes[..cut], &[], 10_000), Some(&examine));
        assert_eq!((data_type, view.records, view.problem), (DataType::Csv, Some(6), None));
    }
}

#[test]
fn members_that_differ_or_are_sealed_make_a_binary_batch() {
    let mixed = archive(&[("one.csv", TABLE, As::Deflated), ("two.bin", TABLE, As::Deflated)]);
    let (data_type, compression, found) = of(&mixed);
    assert_eq!((data_type, compression, found.records), (DataType::Binary, Compression::Zip, None));
    let sealed = archive(&[("one.csv", TABLE, As::Encrypted)]);
    assert!(of(&sealed).2.problem.unwrap().contains("encrypted"));
    assert_eq!(of(&archive(&[])).0, DataType::Binary);
    assert_eq!(facts(&Held::new(&mixed, &[], mixed.len() as u64), None).0, DataType::Binary, "left packed");
}

#[test]
fn a_bomb_stops_at_the_budget_and_a_lie_is_told() {
    let zeros = vec![b'\n'; 5 << 20];
    let bytes = archive(&[("0", &zeros, As::Deflated), ("1", &zeros, As::Deflated), ("2", &zeros, As::Deflated)]);
    let looked = std::cell::Cell::new(0);
    let counting = |bytes: &[u8], total: u64, extension: &str| {
        looked.set(looked.get() + bytes.len());
        examine(bytes, total, extension)
    };
    let (_, _, found) = facts(&Held::new(&bytes, &[], bytes.len() as u64), Some(&counting));
    let short = (FLOOR + RATIO * bytes.len() as u64) as usize;
    assert!(short < MOST_UNPACKED);
    assert_eq!((looked.take(), found.estimated, found.unpacked_bytes), (short, Some(true), Some(15 << 20)));
    let longer = [vec![b' '; 1 << 20], bytes].concat();
    facts(&Held::new(&longer, &[], longer.len() as u64), Some(&counting));
    assert_eq!(looked.get(), MOST_UNPACKED);
    let mut lie = archive(&[("one.csv", TABLE, As::Deflated)]);
    let at = lie.len() - 22 - 46 - 7 + 24;
    lie[at..at + 4].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff]);
    assert!(of(&lie).2.problem.is_some());
}

pub(in super::super) fn workbook() -> Vec<u8> {
    let sheet = |rows: usize| {
        let rows = (1..=rows).map(|row| format!("<row r=\"{row}\"><c r=\"A{row}\"/><c r=\"C{row}\"/></row>"));
        format!("<worksheet><sheetData>{}</sheetData></worksheet>", rows.collect::<String>())
    };
    let (one, two) = (sheet(500), sheet(20));
    archive(&[
        ("[Content_Types].xml", b"<Types/>", As::Deflated),
        ("xl/workbook.xml", b"<workbook/>", As::Deflated),
        ("xl/worksheets/sheet1.xml", one.as_bytes(), As::Deflated),
        ("xl/worksheets/sheet2.xml", two.as_bytes(), As::Stored),
        ("xl/worksheets/_rels/sheet1.xml.rels", b"<row r=\"9000\"><c/>", As::Stored),
    ])
}

#[test]
fn a_workbook_tells_the_rows_and_columns_of_its_sheets() {
    let (data_type, compression, found) = of(&workbook());
    assert_eq!((data_type, compression), (DataType::Xlsx, Compression::None));
    assert_eq!((found.records, found.columns, found.max_depth, found.problem), (Some(520), Some(3), Some(1), None));
    assert_eq!(found.estimated, Some(false));
}

#[test]
fn what_members_tell_is_kept_in_any_order_of_them() {
    let query: &[u8] = b"SELECT count(*) FROM t WHERE x IN (SELECT y FROM z) UNION SELECT 1;\n";
    let look = |members: &[(&str, &[u8], As)]| {
        let mut inspector = crate::characteristics::Inspector::new(None, usize::MAX);
        inspector.push(&archive(members));
        inspector.finish()
    };
    let found = look(&[("a.sql", query, As::Deflated), ("b.sql", query, As::Deflated)]).detail;
    assert_eq!((found.subqueries, found.aggregates, found.set_operations), (Some(2), Some(2), Some(2)));
    let json: &[u8] = b"[{\"a\":1,\"b\":null},{\"a\":2,\"b\":3}]";
    let (member, marker) = (("a.json", json, As::Deflated), ("_SUCCESS", &b""[..], As::Stored));
    let alone = look(&[member]);
    let parts = alone.characteristics.data_complexity;
    assert_eq!((parts.null_share, alone.detail.fan_out), (Some(0.25), Some(2.0)));
    let mut inspector = crate::characteristics::Inspector::new(None, usize::MAX);
    inspector.push(json);
    assert_eq!(parts.entropy, inspector.finish().characteristics.data_complexity.entropy, "of what is packed");
    for members in [[marker, member], [member, marker]] {
        let found = look(&members);
        assert_eq!((found.characteristics.data_complexity.null_share, found.detail), (Some(0.25), alone.detail));
    }
    let several = look(&[member, member]);
    assert_eq!((several.characteristics.data_complexity.null_share, several.detail.fan_out), (None, None));
}
