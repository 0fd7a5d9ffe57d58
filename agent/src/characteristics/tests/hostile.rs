//! Batches that are made to cost more than others: they may not.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::super::*;

/// What a batch may cost, at most. Builds that are not optimised take up to 40 times as long.
const MOST_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 40 * 50 } else { 50 });
const MOST_MEMORY_KIB: u64 = 16 << 10;

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A frame of LZ4, of uncompressed blocks; `size` stands for the most that one may have, from 4 for 64 KiB to 7 for 4 MiB.
fn lz4(size: u8, blocks: &[&[u8]]) -> Vec<u8> {
    let descriptor = [0x60, size << 4];
    let mut frame = [&0x184d_2204_u32.to_le_bytes()[..], &descriptor].concat();
    frame.push((twox_hash::XxHash32::oneshot(0, &descriptor) >> 8) as u8);
    for block in blocks {
        frame.extend((block.len() as u32 | 1 << 31).to_le_bytes());
        frame.extend(*block);
    }
    frame.extend([0; 4]);
    frame
}

/// A frame of zstd with a window of 8 MiB: 1 MiB that does not pack, and zeros.
fn zstd(noise: &[u8]) -> Vec<u8> {
    let header = |size: usize, kind: usize, last: usize| (size << 3 | kind << 1 | last).to_le_bytes();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3];
    for block in noise.chunks(128 << 10) {
        frame.extend([&header(block.len(), 0, 0)[..3], block].concat());
    }
    for _ in 0..200 {
        frame.extend([&header(128 << 10, 1, 0)[..3], &[0]].concat());
    }
    frame.extend(&header(0, 0, 1)[..3]);
    frame
}

/// Blocks of 4 MiB, as Java's snappy has them at most, that do not pack.
fn snappy(noise: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(&noise.repeat(4)[..(4 << 20) - 256]).unwrap();
    let block = [&(packed.len() as u32).to_be_bytes()[..], &packed].concat();
    [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &block.repeat(4)].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// An ORC footer of one column with four million below it, packed into some kilobytes.
fn orc() -> Vec<u8> {
    let below = vec![1; (4 << 20) - 100];
    let column = [&[0x08, 12, 0x12][..], &varint(below.len()), &below].concat();
    let footer = [&[0x22][..], &varint(column.len()), &column, &[0x30, 5]].concat();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&footer).unwrap();
    let packed = encoder.finish().unwrap();
    let packed = [&((packed.len() as u32) << 1).to_le_bytes()[..3], &packed].concat();
    let magic = [&varint(8000 << 3 | 2)[..], &[3], b"ORC"].concat();
    let postscript = [&[8][..], &varint(packed.len()), &[0x10, 1, 0x18], &varint(8 << 20), &magic].concat();
    [b"ORC\x11\x12\0", &packed[..], &postscript, &[postscript.len() as u8]].concat()
}

/// A Parquet file of two thousand columns that all have the one page, whose header is long.
fn parquet() -> Vec<u8> {
    let zigzag = |number: usize| varint(number << 1);
    let header = [&[0x15, 0, 0x15, 2, 0x15, 2, 0x2c, 0x15, 2, 0][..], &vec![0x11; 16_000], &[0]].concat();
    let body = [&header[..], b"x"].concat();
    let chunk = [&[0x3c, 0x56, 2, 0x26][..], &zigzag(body.len()), &[0x26], &zigzag(4), &[0, 0]].concat();
    let schema = b"\x15\x02\x19\x2c\x48\x04root\x15\x02\x00\x15\x02\x25\x00\x18\x01a\x00\x16\x00\x19\x1c";
    let footer = [&schema[..], &[0x19, 0xfc], &varint(2000), &chunk.repeat(2000), &[0, 0]].concat();
    [b"PAR1", &body[..], &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A PDF whose cross-references start at `at`.
fn pdf(body: &[u8], at: usize) -> Vec<u8> {
    [b"%PDF-1.4\n", body, format!("\nstartxref\n{at}\n%%EOF").as_bytes()].concat()
}

fn pdfs() -> Vec<Vec<u8>> {
    let comments = "%\n".repeat(500 << 10) + "xref\ntrailer<</Root 1 0 R/Prev 9/XRefStm 10>>\n";
    let parts = format!("xref\n{}\ntrailer<</Root 1 0 R/Prev 9/XRefStm 8>>\n", "0 0 ".repeat(4090));
    let names = [b"/ObjStm".repeat(140), b"stream".to_vec(), vec![b' '; 1 << 20]].concat();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&vec![0; 5 << 20]).unwrap();
    let packed = encoder.finish().unwrap();
    let before = vec![0x80; 12 << 20];
    let rows = "\n1 0 obj<</Type/XRef/W[1 4 2]/Size 10/Root 2 0 R/Filter/FlateDecode\
        /DecodeParms<</Predictor 12/Columns 7>>>>stream\n";
    vec![
        pdf(comments.as_bytes(), 9),
        pdf(parts.as_bytes(), 9),
        [b"%PDF-1.4\n", &names[..], b"x"].concat(),
        pdf(&[&before[..], rows.as_bytes(), &packed, b"\nendstream"].concat(), 9 + before.len()),
    ]
}

/// Records whose keys all fall into one slot, of a table as wide as two thousand keys make it.
fn same_slots() -> Vec<u8> {
    let mut set = keys::KeySet::new();
    let keys = (0..).map(|n: u64| format!("{n:08x}")).filter(|key| set.insert(key.as_bytes()) >> 32 & 4095 == 0);
    let fields: Vec<_> = keys.take(2048).map(|key| format!("\"{key}\":1")).collect();
    fields.chunks(64).map(|fields| format!("{{{}}}\n", fields.join(","))).collect::<String>().repeat(40).into_bytes()
}

/// Deep, wide or never-ending; each with the type that it has.
fn hostile() -> Vec<(DataType, Vec<u8>)> {
    let times = |text: &str, count: usize| text.repeat(count).into_bytes();
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">\n", format!("&l{};", n - 1).repeat(10))).collect();
    let aliases: String = ('b'..='i')
        .map(|c| format!("{c}: &{c} [{}]\n", format!("*{},", (c as u8 - 1) as char).repeat(9) + "1"))
        .collect();
    let mut random = fastrand::Rng::with_seed(5);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
    let batches = vec![
        (DataType::Json, times("[", 1 << 20)),
        (DataType::Json, times("{\"a\":", 200_000)),
        (DataType::Json, [b"[\"".to_vec(), times("a", 1 << 20)].concat()),
        (DataType::Json, [b"{\"a\":1,\"b\":2,\"".to_vec(), times("k", 1 << 20)].concat()),
        (DataType::Json, [b"[1,2,".to_vec(), times("9", 1 << 20), b"]".to_vec()].concat()),
        (DataType::Xml, format!("<!DOCTYPE l [<!ENTITY l0 \"l\">\n{laughs}]><l>&l9;</l>").into_bytes()),
        (DataType::Xml, times("<a>", 300_000)),
        (DataType::Xml, [b"<a><b/><c/><d ".to_vec(), times("x='1' ", 200_000)].concat()),
        (DataType::Yaml, format!("a: &a [1, 2, 3]\n{aliases}").into_bytes()),
        (DataType::Yaml, times("- ", 100_000)),
        (DataType::Yaml, [b"a: ".to_vec(), times("[", 1 << 20)].concat()),
        (DataType::Sql, [b"SELECT ".to_vec(), times("(", 1 << 20)].concat()),
        (DataType::Sql, [b"SELECT 1 FROM ".to_vec(), times("(SELECT 1 FROM ", 60_000)].concat()),
        (DataType::Csv, [b"a,b\nc,d\n".to_vec(), times(",", 1 << 20)].concat()),
        (DataType::Csv, [b"a,b\nc,d\ne,\"".to_vec(), times("\"\"", 1 << 19)].concat()),
        (DataType::Text, times("\n", 1 << 20)),
        (DataType::Text, times("word ", 200_000)),
        (DataType::Binary, noise.clone()),
        (DataType::Binary, bzip2(&noise)),
        (DataType::Binary, gzip(&noise)),
        (DataType::Binary, gzip(&vec![0; 16 << 20])),
        (DataType::Json, bzip2(&times("[", 16 << 20))),
        (DataType::Text, [lz4(4, &[b"a"]), lz4(7, &[b"a"])].concat().repeat(30_000)),
        (DataType::Text, lz4(4, &vec![&b"a"[..]; 200_000])),
        (DataType::Binary, lz4(7, &[&noise.repeat(4)[..]; 4])),
        (DataType::Binary, bzip2(b"").repeat(75_000)),
        (DataType::Empty, gzip(b"").repeat(25_000)),
        (DataType::Binary, zstd(&noise)),
        (DataType::Binary, snappy(&noise)),
        (DataType::Orc, orc()),
        (DataType::Parquet, parquet()),
        (DataType::Ndjson, same_slots()),
        (DataType::Msgpack, vec![0x91; 6 << 20]),
    ];
    let pdfs = pdfs().into_iter().map(|bytes| (DataType::Pdf, bytes));
    batches.into_iter().chain(pdfs).collect()
}

/// A size of this process, as the kernel tells it.
fn kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches(|sign: char| !sign.is_ascii_digit()).parse().unwrap()
}

#[test]
fn hostile_content_is_told_for_what_it_is_in_50_ms_and_16_mib() {
    let mut over = Vec::new();
    for (data_type, bytes) in hostile() {
        let begins = String::from_utf8_lossy(&bytes[..20]).into_owned();
        // From here on, the most memory is counted anew.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = kib("VmRSS:");
        let mut least = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let mut inspector = Inspector::exact(None);
            bytes.chunks(256 << 10).for_each(|chunk| inspector.push(chunk));
            assert_eq!(inspector.finish().characteristics.data_type, data_type, "{begins}");
            least = least.min(start.elapsed());
        }
        let took = kib("VmHWM:").saturating_sub(before);
        if took > MOST_MEMORY_KIB || least > MOST_TIME {
            over.push(format!("{data_type}, {begins}: {took} KiB, {least:?}"));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}
