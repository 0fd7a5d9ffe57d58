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
    vec![
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
    ]
}

/// A size of this process, as the kernel tells it.
fn kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches(|sign: char| !sign.is_ascii_digit()).parse().unwrap()
}

#[test]
fn hostile_content_is_told_for_what_it_is_in_50_ms_and_16_mib() {
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
        assert!(took <= MOST_MEMORY_KIB, "{begins}: {took} KiB");
        assert!(least < MOST_TIME, "{begins}: {least:?}");
    }
}
