mod hostile;
mod seeds;

use proptest::prelude::*;

use super::*;

fn kind(bytes: &[u8]) -> (DataType, Option<u64>) {
    let found = characterise(bytes, None, DEFAULT_BUDGET);
    (found.data_type, found.data_volume.records)
}

fn in_chunks(bytes: &[u8], size: usize, content_type: Option<&str>, budget: usize) -> Finding {
    let mut inspector = Inspector::new(content_type, budget);
    bytes.chunks(size).for_each(|chunk| inspector.push(chunk));
    inspector.finish()
}

#[test]
fn content_decides_the_type() {
    assert_eq!(kind(b""), (DataType::Empty, None));
    assert_eq!(kind(b"[1, 2, 3]"), (DataType::Json, Some(3)));
    assert_eq!(kind(b"{\"a\": 1}\n{\"a\": 2}\n"), (DataType::Ndjson, Some(2)));
    assert_eq!(kind(b"a,b\n1,2\n3,4\n"), (DataType::Csv, Some(3)));
    assert_eq!(kind(b"a;b\n1;2\n"), (DataType::Csv, Some(2)));
    assert_eq!(kind(b"a\tb\n1\t2\n"), (DataType::Tsv, Some(2)));
    assert_eq!(kind(b"a b\n"), (DataType::Text, Some(1)));
    assert_eq!(kind(b"59 2 32.1\n48 1 21.6\n72 2 30.5\n"), (DataType::Csv, Some(3)));
    assert_eq!(kind(b"<?xml version=\"1.0\"?><r><a/><b/></r>"), (DataType::Xml, Some(2)));
    assert_eq!(kind(b"a: 1\nb:\n  - c\n---\nd: 2\n"), (DataType::Yaml, Some(2)));
    assert_eq!(kind(b"-- all\nSELECT a, b FROM t;\nSELECT 1;\n"), (DataType::Sql, Some(2)));
    assert_eq!(kind(b"INSERT INTO t VALUES (1, 'a');\nINSERT INTO t VALUES (2, 'b');\n"), (DataType::Sql, Some(2)));
    assert_eq!(kind(b"2026-01-02 03:04:05,678 INFO up\n2026-01-02 03:04:06,001 WARN down\n"), (DataType::Log, Some(2)));
    assert_eq!(kind(b"once upon a time\nthere was a river\n"), (DataType::Text, Some(2)));
    assert_eq!(kind(b"\n\n\n"), (DataType::Text, Some(3)));
    assert_eq!(kind(b"start\tend\tcount\n1\t2\t3\n4\t5\t6\n"), (DataType::Tsv, Some(3)));
    assert_eq!(kind(b"\x7fELF\x02\x01\x01\0 rest"), (DataType::Binary, None));
    assert_eq!(kind(&[0; 64]), (DataType::Binary, None));
}

#[test]
fn a_wrong_content_type_does_not_overrule_the_content() {
    for claim in ["text/csv", "application/json", "image/png", "application/xml", "application/sql", "nonsense"] {
        let found = characterise(b"{\"a\":1}\n{\"a\":2}\n", Some(claim), DEFAULT_BUDGET);
        assert_eq!(found.data_type, DataType::Ndjson, "{claim}");
    }
}

#[test]
fn the_content_type_breaks_ties() {
    let one_line = b"{\"a\":1}\n";
    assert_eq!(characterise(one_line, None, 100).data_type, DataType::Json);
    assert_eq!(characterise(one_line, Some("application/x-ndjson"), 100).data_type, DataType::Ndjson);
    assert_eq!(characterise(b"hello, world", None, 100).data_type, DataType::Text);
    assert_eq!(characterise(b"hello, world", Some("text/csv; charset=utf-8"), 100).data_type, DataType::Csv);
    assert_eq!(characterise(b"note: well\n", None, 100).data_type, DataType::Yaml);
    assert_eq!(characterise(b"note: well\n", Some("text/plain"), 100).data_type, DataType::Text);
}

#[test]
fn past_the_budget_records_are_extrapolated_and_told_to_be() {
    let batch = "{\"id\": 1234, \"name\": \"abcdef\"}\n".repeat(10_000);
    let whole = characterise(batch.as_bytes(), None, DEFAULT_BUDGET);
    assert_eq!((whole.data_volume.records, whole.estimated), (Some(10_000), false));
    let part = characterise(batch.as_bytes(), None, 10_001);
    assert_eq!((part.data_volume.records, part.estimated), (Some(10_000), true));
    assert_eq!(part.data_volume.bytes, batch.len() as u64);
}

#[test]
fn text_that_is_not_utf8_keeps_its_type_and_the_problem_is_told() {
    let found = examine(b"{\"name\":\"caf\xe9 \xff\xfe\",\"v\":1}\n", 26, None);
    assert_eq!(found.characteristics.data_type, DataType::Json);
    assert!(found.problem.unwrap().contains("UTF-8"));
}

#[test]
fn utf_16_is_read_as_what_it_holds() {
    let wide = |text: &str| {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect::<Vec<_>>()
    };
    for (text, data_type, records) in [
        ("{\"a\": \"é\"}", DataType::Json, 1),
        ("a;b\r\n1;2\r\n", DataType::Csv, 2),
        ("<?xml version=\"1.0\" encoding=\"utf-16\"?><r><a/></r>", DataType::Xml, 1),
        ("once upon a time\nthere was 日本\n", DataType::Text, 2),
    ] {
        for size in [1, 3, 1000] {
            let found = in_chunks(&wide(text), size, None, DEFAULT_BUDGET);
            let vector = found.characteristics;
            assert_eq!((vector.data_type, vector.data_volume.records), (data_type, Some(records)), "{text}");
            assert_eq!((found.problem, vector.estimated), (None, false), "{text}");
        }
    }
    let long = wide(&"id,name\n".repeat(100_000));
    let part = characterise(&long, None, 100_001);
    assert_eq!((part.data_type, part.data_volume.records, part.estimated), (DataType::Csv, Some(100_000), true));
}

#[test]
fn a_number_that_the_budget_cuts_is_no_wrong_one() {
    let batch = "{\"a\": [1.5, -2.25]}\n".repeat(10_000);
    for budget in 100_000..100_025 {
        let mut inspector = Inspector::new(None, budget);
        inspector.push(batch.as_bytes());
        assert_eq!(inspector.finish().problem, None, "{budget}");
    }
}

#[test]
fn json_that_breaks_late_is_json_still_and_told() {
    let text = format!("[{}", "{\"a\": 1},\n".repeat(20_000)) + "oops]";
    let found = in_chunks(text.as_bytes(), 50_000, None, DEFAULT_BUDGET);
    assert_eq!(found.characteristics.data_type, DataType::Json);
    assert!(found.problem.unwrap().contains("not JSON from byte"));
}

/// Text that is close to each of the formats.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[{}\\[\\]\",:;\\\\\n\t\r a1.-]{0,200}",
        "(<|>|/|a|=|'|!--|--|\\?|!\\[CDATA\\[|\\]\\]|\n){0,60}",
        "(a: |b:\n|  |- |---\n|\\[|\\{|\\}|\\]|'|#|\\||x\n){0,60}",
        "(SELECT |FROM |a|,|\\(|\\)|;|'|--|/\\*|\n| JOIN ){0,60}",
        "(2026-01-02 |03:04:05 |INFO |<13>|a|,|\t|\n|\\[){0,60}",
        "(a|1|,|;|\t|\"|\r|\n|\\|| ){0,120}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_a_vector(bytes: Vec<u8>, budget in 0..300usize) {
        let found = characterise(&bytes, None, budget);
        prop_assert_eq!(found.data_volume.bytes, bytes.len() as u64);
        prop_assert!(found.check().is_ok());
    }

    #[test]
    fn any_text_gives_a_vector(text in text(), budget in 0..300usize, hint in 0..10usize) {
        let claims = ["text/csv", "application/json", "application/x-ndjson", "text/plain", "text/yaml",
            "text/xml", "application/sql", "text/x-log", "text/tab-separated-values", ""];
        prop_assert!(characterise(text.as_bytes(), Some(claims[hint]), budget).check().is_ok());
        let _ = examine(text.as_bytes(), u64::MAX, Some(claims[hint]));
    }

    #[test]
    fn any_chunking_gives_the_same_finding(text in text(), size in 1..50usize, budget in 0..400usize) {
        let whole = in_chunks(text.as_bytes(), text.len().max(1), None, budget);
        prop_assert_eq!(in_chunks(text.as_bytes(), size, None, budget), whole);
    }

    #[test]
    fn any_chunking_of_a_long_batch_gives_the_same_finding(line in text(), size in 1_000..100_000usize) {
        let text = line.repeat(150_000 / line.len().max(1));
        let whole = in_chunks(text.as_bytes(), text.len().max(1), None, 140_000);
        prop_assert_eq!(in_chunks(text.as_bytes(), size, None, 140_000), whole);
    }
}
