//! PDF files made by hand.

use flate2::{Compression, write::ZlibEncoder};
use std::io::Write;

use super::*;

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const CATALOG: &str = "<< /Type /Catalog /Names (a \\) ( paren ) /Count 9) /Pages 2 0 R >>";
const TREE: &str = "<< /Type /Pages /Kids [ 3 0 R 4 0 R ] /Count 7 >>";

/// A table of cross-references; `extra` goes into the trailer.
pub(in super::super) fn file(extra: &str) -> Vec<u8> {
    let mut bytes = b"%PDF-1.4\n%\xe2\xe3\n".to_vec();
    let mut table = "0000000000 65535 f\r\n".to_owned();
    for (number, body) in [(1, CATALOG), (2, TREE)] {
        table += &format!("{:010} 00000 n\r\n", bytes.len());
        bytes.extend(format!("{number} 0 obj\n{body}\nendobj\n").bytes());
    }
    let at = bytes.len();
    bytes.extend(
        format!("xref\n0 3\n{table}trailer\n<< /Size 3 /Root 1 0 R {extra} >>\nstartxref\n{at}\n%%EOF\n").bytes(),
    );
    bytes
}

/// All objects in an object stream, found through a stream of cross-references with PNG's `Up` rows.
fn streams(extra: &str) -> Vec<u8> {
    let mut bytes = b"%PDF-1.7\n".to_vec();
    let objects = format!("1 0 2 {} ", CATALOG.len() + 1);
    let packed = deflated(format!("{objects}{CATALOG} {TREE}").as_bytes());
    let within = bytes.len() as u16;
    let first = objects.len();
    bytes.extend(
        format!("5 0 obj\n<</Type/ObjStm/N 2/First {first}/Filter/FlateDecode/Length {}>>\nstream\r\n", packed.len())
            .bytes(),
    );
    bytes.extend([&packed[..], b"\nendstream\nendobj\n"].concat());
    let mut rows = Vec::new();
    let mut above = [0_u8; 4];
    let [high, low] = within.to_be_bytes();
    for row in [[0, 0, 0, 0], [2, 0, 5, 0], [2, 0, 5, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, high, low, 0]] {
        rows.push(2);
        rows.extend(row.iter().zip(above).map(|(byte, above)| byte.wrapping_sub(above)));
        above = row;
    }
    let at = bytes.len();
    let packed = deflated(&rows);
    bytes.extend(
        format!(
            "6 0 obj\n<</Type/XRef/Size 6/W[1 2 1]/Root 1 0 R/Filter[/FlateDecode]{extra}\
             /DecodeParms<</Predictor 12/Columns 4>>/Length {}>>\nstream\n",
            packed.len()
        )
        .bytes(),
    );
    bytes.extend([&packed[..], b"\nendstream\nendobj\nstartxref\n", at.to_string().as_bytes(), b"\n%%EOF"].concat());
    bytes
}

fn of(bytes: &[u8]) -> Facts {
    facts(&Held::new(bytes, &[], bytes.len() as u64), 0)
}

#[test]
fn pages_are_those_of_the_tree_through_tables_and_streams() {
    for (name, bytes) in [("table", file("")), ("streams", streams("")), ("encrypted table", file("/Encrypt 9 0 R"))] {
        let found = of(&bytes);
        assert_eq!((found.records, found.problem, found.estimated), (Some(7), None, Some(false)), "{name}");
    }
}

#[test]
fn the_tree_of_an_older_revision_is_found() {
    let old = file("");
    let at = old.len();
    let start = startxref(&Held::new(&old, &[], at as u64)).unwrap();
    let new = format!("xref\n0 0\ntrailer\n<< /Root 1 0 R /Prev {start} >>\nstartxref\n{at}\n%%EOF\n");
    assert_eq!(of(&[&old[..], new.as_bytes()].concat()).records, Some(7));
    let endless = format!("xref\n0 0\ntrailer\n<< /Root 1 0 R /Prev {at} >>\nstartxref\n{at}\n%%EOF\n");
    assert!(of(&[&old[..], endless.as_bytes()].concat()).problem.is_some());
}

#[test]
fn a_linearized_file_tells_its_pages_at_its_start() {
    let first = "%PDF-1.4\n1 0 obj\n<< /Linearized 1 /L 5000 /N 31 /O 3 >>\nendobj\n";
    let found = facts(&Held::new(first.as_bytes(), &[], 5000), 0);
    assert_eq!((found.records, found.problem, found.estimated), (Some(31), None, Some(false)));
}

#[test]
fn without_cross_references_page_objects_are_counted() {
    let objects = "%PDF-1.4\n1 0 obj<</Type/Page>>endobj 2 0 obj<</Type /Pages/Count 9>> 3 0 obj<</Type\n/Page/X 1>>";
    let stream = [&b" 4 0 obj<</Type/ObjStm>>stream\n"[..], &deflated(b"<</Type/Page>>")].concat();
    let found = of(&[objects.as_bytes(), &stream].concat());
    assert_eq!((found.records, found.estimated), (Some(3), Some(true)));
    assert!(found.problem.unwrap().contains("cut short"));
}

#[test]
fn a_stream_that_is_named_twice_is_looked_into_once_and_starts_after_one_line_end() {
    let stream = deflated(b"<</Type/Page>>");
    for (between, pages) in [("\n", 1), ("\r\n", 1), ("\n\n", 0)] {
        let start = format!("%PDF-1.4\n4 0 obj<<{}>>stream{between}", "/ObjStm".repeat(30));
        let found = of(&[start.as_bytes(), &stream].concat());
        assert_eq!(found.records, (pages > 0).then_some(pages), "{between:?}");
    }
}

#[test]
fn cross_references_that_lead_back_and_long_comments_are_read_once() {
    let comments = "%\n".repeat(100_000);
    let start = "%PDF-1.4\n".len();
    let table = format!("{comments}xref\n0 0\ntrailer\n<< /Root 1 0 R /Prev {start} /XRefStm {start} >>\n");
    let bytes = [b"%PDF-1.4\n", table.as_bytes()].concat();
    let held = Held::new(&bytes, &[], bytes.len() as u64);
    let left = References::read(&held, 0, start as u64).unread();
    assert!((MOST_READ - 3 * comments.len()..=MOST_READ - comments.len()).contains(&left), "{left} bytes left");
}

#[test]
fn parts_of_tables_are_kept_up_to_a_bound() {
    let start = "%PDF-1.4\n".len();
    let section = |next: usize| format!("xref\n{}\ntrailer\n<< /Prev {next:06} >>\n", "0 0 ".repeat(500));
    let sections: String = (1..=40).map(|n| section(start + n * section(0).len())).collect();
    let bytes = [b"%PDF-1.4\n", sections.as_bytes()].concat();
    let held = Held::new(&bytes, &[], bytes.len() as u64);
    assert_eq!(References::read(&held, 0, start as u64).parts(), 4096);
}

#[test]
fn numbers_of_cross_references_may_be_anything() {
    let huge = i64::MAX;
    for parameters in [format!("/Predictor 12/Columns {huge}"), format!("/Predictor 12/Columns {}", u32::MAX)] {
        let bytes = streams("");
        let at = find(&bytes, b"/Predictor 12/Columns 4").unwrap();
        let bytes = [&bytes[..at], parameters.as_bytes(), &bytes[at + 23..]].concat();
        assert!(of(&bytes).problem.is_some(), "{parameters}");
    }
    for part in [format!("0 {huge}"), format!("0 {}", huge / 20), format!("{huge} 9")] {
        let start = format!("%PDF-1.4\nxref\n{part}\nxref\n0 0\ntrailer<</Root {} 0 R/Prev 9>>\n", huge / 2);
        let at = find(start.as_bytes(), b"xref\n0 0").unwrap();
        assert!(of(format!("{start}startxref\n{at}\n%%EOF").as_bytes()).problem.is_some(), "{part}");
    }
    let index = streams(&format!("/Index[9 {huge} 9 {huge} 9 1 0 6]"));
    assert!(of(&index).problem.is_some());
}

#[test]
fn an_encrypted_file_whose_tree_is_unreadable_tells_no_pages() {
    let mut bytes = streams("/Encrypt 9 0 R");
    let at = find(&bytes, b"stream\r\n").unwrap() + 8;
    bytes[at..at + 20].fill(0x55);
    let found = of(&bytes);
    assert_eq!(found.records, None);
    assert!(found.problem.unwrap().contains("encrypted"));
}
