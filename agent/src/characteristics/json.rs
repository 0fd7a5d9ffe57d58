//! JSON and NDJSON: which of them the scanned values are, and what they tell.

mod scan;
mod stack;

use forebay_shared::DataType;

use self::scan::{Ended, Scan};
use super::scanner::{End, Scanner};
use super::{Detail, Facts, Hint, extrapolate, fan_out};

/// Tokens after which what looked like JSON is JSON that is malformed, rather than text that starts with a bracket.
const CONVINCING: u64 = 4;

/// JSON or NDJSON; which of them is known at the end.
pub(super) struct Json {
    scan: Scan,
    hint: Hint,
    /// Bytes at the start that were scanned to tell that it is JSON, and come once more.
    scanned: usize,
}

impl Json {
    /// The scanner of content that starts so, if that is JSON or NDJSON as far as can be told.
    pub(super) fn begin(head: &[u8], whole: bool, hint: Hint) -> Option<Self> {
        let mut scan = Scan::new();
        scan.push(head);
        let mut end = scan.clone();
        let ended = end.finish();
        decide(&end, ended, !whole, hint).map(|_| Self { scan, hint, scanned: head.len() })
    }
}

impl Scanner for Json {
    fn push(&mut self, bytes: &[u8]) {
        let (before, new) = bytes.split_at(bytes.len().min(self.scanned));
        self.scanned -= before.len();
        self.scan.push(new);
    }

    fn finish(mut self: Box<Self>, end: End) -> (DataType, Facts) {
        let ended = self.scan.finish();
        let scan = &self.scan;
        // The head was JSON: what came later can make it malformed, not another type.
        let data_type = decide(scan, ended, end.cut(), self.hint).unwrap_or(DataType::Json);
        let facts = Facts {
            records: Some(records(scan, ended, data_type, end)),
            max_depth: Some(scan.max_depth),
            columns: (scan.columns > 0).then_some(scan.columns),
            distinct_keys: Some(scan.keys.len() as u32),
            null_share: (scan.leaves > 0).then(|| scan.nulls as f64 / scan.leaves as f64),
            detail: Detail { fan_out: fan_out(scan.children(), scan.opened), ..Detail::default() },
            problem: problem(scan, ended, data_type, end.cut()),
            ..Facts::default()
        };
        (data_type, facts)
    }
}

fn decide(scan: &Scan, ended: Ended, cut: bool, hint: Hint) -> Option<DataType> {
    let by_line = !scan.value_spans_lines && !scan.line_holds_several;
    if by_line && lines(scan, ended) >= 2 && scan.objects * 10 >= (scan.values + scan.bad_lines) * 9 && scan.objects > 0
    {
        return Some(DataType::Ndjson);
    }
    if by_line && hint == Hint::Ndjson && scan.values > 0 {
        return Some(DataType::Ndjson);
    }
    let convincing = scan.tokens() >= CONVINCING || hint == Hint::Json;
    match ended {
        Ended::Clean if scan.values == 1 => Some(DataType::Json),
        // Numbers and words after one another are a table or text.
        Ended::Clean if scan.values > 1 && !by_line && scan.containers == scan.values && convincing => {
            Some(DataType::Json)
        }
        Ended::Clean => None,
        Ended::Inside if convincing || cut && scan.values == 0 => Some(DataType::Json),
        Ended::Bad(_) if scan.values == 0 && convincing || hint == Hint::Json => Some(DataType::Json),
        Ended::Inside | Ended::Bad(_) => None,
    }
}

/// Lines that hold a value, or should.
fn lines(scan: &Scan, ended: Ended) -> u64 {
    scan.values + scan.bad_lines + u64::from(ended == Ended::Inside)
}

fn records(scan: &Scan, ended: Ended, data_type: DataType, end: End) -> u64 {
    let (whole, seen) = match data_type {
        DataType::Ndjson => (scan.values + scan.bad_lines, lines(scan, ended)),
        _ if scan.top_is_array && scan.values <= 1 => (scan.settled_elements, scan.elements),
        _ => return scan.values.max(1),
    };
    if end.cut() { extrapolate::records(whole, scan.settled, end.total) } else { seen }
}

fn problem(scan: &Scan, ended: Ended, data_type: DataType, cut: bool) -> Option<String> {
    match ended {
        Ended::Bad(at) => Some(format!("not JSON from byte {at} on")),
        Ended::Inside if !cut => Some(format!("cut short: ends within a value, at depth {}", scan.depth())),
        _ if scan.bad_lines > 0 => Some(format!("{} lines hold no JSON value", scan.bad_lines)),
        _ if data_type == DataType::Json && scan.values > 1 => {
            Some(format!("{} values follow one another, expected one", scan.values))
        }
        _ => scan.lenient.map(|(at, what)| format!("not strict JSON: {what}, at byte {at}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Option<(DataType, Facts)> {
        Some(scanned(Json::begin(text.as_bytes(), true, Hint::None)?, text, text.len().max(1)))
    }

    fn in_chunks(text: &str, size: usize) -> (DataType, Facts) {
        scanned(Json { scan: Scan::new(), hint: Hint::None, scanned: 0 }, text, size)
    }

    fn scanned(mut json: Json, text: &str, size: usize) -> (DataType, Facts) {
        text.as_bytes().chunks(size).for_each(|chunk| json.push(chunk));
        Box::new(json).finish(End { seen: text.len() as u64, total: text.len() as u64 })
    }

    fn problem_of(text: &str) -> String {
        of(text).and_then(|(_, facts)| facts.problem).unwrap_or_default()
    }

    #[test]
    fn depth_keys_nulls_and_records_are_exact() {
        let (kind, found) = of(r#" [{"a": null, "b": {"c": [1, {"a": "x"}]}}, {"a": "", "d\"": true}, 3] "#).unwrap();
        assert_eq!((kind, found.records), (DataType::Json, Some(3)));
        assert_eq!((found.max_depth, found.distinct_keys, found.columns), (Some(5), Some(4), Some(2)));
        assert_eq!(found.null_share, Some(2.0 / 6.0));
        assert_eq!(found.problem, None);
        // Eleven values within six containers.
        assert_eq!(found.detail.fan_out, Some(11.0 / 6.0));
    }

    #[test]
    fn a_single_value_of_any_kind_is_one_record() {
        for text in ["{}", "{\"a\": 1}", "42", "-1.5e3", "\"x\"", "true", "null", "{\n\"a\": [\n1]\n}\n"] {
            let (kind, found) = of(text).unwrap();
            assert_eq!((kind, found.records, found.problem), (DataType::Json, Some(1), None), "{text}");
        }
        assert_eq!(of("[]").unwrap().1.records, Some(0));
    }

    #[test]
    fn text_that_starts_like_json_stays_text() {
        for text in
            ["[Sun Dec 04] [notice] x\n", "{name}: hello\n", "123 go\n", "1\n2\n3\n", "tomorrow", "[12] foo\n", ""]
        {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_bad_line_costs_that_line_only() {
        let text = "{\"a\":1}\n".repeat(20) + "{\"a\":\n" + "{\"a\": \"cut\n" + &"{\"a\":1}\n".repeat(20);
        let (kind, found) = of(&text).unwrap();
        assert_eq!((kind, found.records), (DataType::Ndjson, Some(42)));
        assert_eq!(found.problem.unwrap(), "2 lines hold no JSON value");
    }

    #[test]
    fn a_value_that_is_cut_short_keeps_its_type() {
        let (kind, found) = of("[{\"a\": 1}, {\"a\": [2, \"thr").unwrap();
        assert_eq!((kind, found.records, found.max_depth), (DataType::Json, Some(2), Some(3)));
        assert!(found.problem.unwrap().starts_with("cut short"));
        let (kind, found) = of("{\"a\": 1}\n{\"a\": 1}\n{\"a").unwrap();
        assert_eq!((kind, found.records), (DataType::Ndjson, Some(3)));
    }

    #[test]
    fn depth_has_no_bound_but_the_bytes() {
        let (kind, found) = of(&"[".repeat(100_000)).unwrap();
        assert_eq!((kind, found.max_depth), (DataType::Json, Some(100_000)));
    }

    #[test]
    fn what_the_grammar_forbids_is_told_in_words() {
        for number in ["01", "1.", "-01", "1.e3", "1e", "1e+", "0.5.5", "--1", "1-2"] {
            let problem = problem_of(&format!("[1, {number}]"));
            assert!(problem.contains("a number is none of JSON's"), "{number}: {problem}");
        }
        for number in ["0", "-0", "10", "0.50", "1e9", "1E-9", "-1.5e+09"] {
            assert_eq!(problem_of(&format!("[1, {number}]")), "", "{number}");
        }
        assert!(problem_of(r#"["a", "\q"]"#).contains("an escape"));
        assert!(problem_of(r#"["a", "\u12x4"]"#).contains("four hexadecimal digits"));
        assert_eq!(problem_of(r#"["a", "\u12aF\n\"\/"]"#), "");
        assert!(problem_of("[1, 2, NaN]").contains("NaN"));
        assert!(problem_of("[1, 2, ]").contains("a value is missing"));
        assert!(problem_of("{\"a\": 1, }").contains("a key is missing"));
    }

    #[test]
    fn numbers_and_words_in_a_row_are_not_json() {
        for text in ["59 2 32.1\n48 1 21.6\n", "1 2\n", "true false\ntrue true\n"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    /// JSON values, with their depth by the definition.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 48, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn depth(value: &serde_json::Value) -> u32 {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            serde_json::Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_grammar(number in "-?[0-9][0-9.]{0,14}([eE][+-]?[0-9]{0,2})?", room in 0..20usize) {
            let text = format!("[1, 2, {number}{}]", " ".repeat(room));
            let strict = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&text).is_ok();
            prop_assert_eq!(in_chunks(&text, text.len()).1.problem.is_none(), strict, "{}", number);
        }

        #[test]
        fn any_chunking_gives_the_same_facts(text in r#"[{}\[\]",:\\\n \ra1u.eE0Inulltrue-]{0,120}"#, size in 1..9usize) {
            prop_assert_eq!(in_chunks(&text, size), in_chunks(&text, text.len().max(1)));
        }

        #[test]
        fn any_chunking_of_valid_json_gives_the_same_facts(value in value(), size in 1..40usize, lines in 1..4usize, head in 0..=100usize) {
            let text = (value.to_string() + "\n").repeat(lines);
            prop_assert_eq!(in_chunks(&text, size), in_chunks(&text, text.len()));
            let head = text.floor_char_boundary(text.len() * head / 100);
            if let Some(json) = Json::begin(&text.as_bytes()[..head], head == text.len(), Hint::None) {
                prop_assert_eq!(scanned(json, &text, size), in_chunks(&text, text.len()), "what told that it is JSON counts once");
            }
        }

        #[test]
        fn what_serde_json_writes_is_read_alike(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let (kind, found) = of(&text).unwrap();
            prop_assert_eq!(kind, DataType::Json);
            prop_assert_eq!(found.max_depth, Some(depth(&value)));
            prop_assert_eq!(found.records, Some(value.as_array().map_or(1, |items| items.len() as u64)));
            prop_assert_eq!(found.problem, None);
        }

        #[test]
        fn lines_of_objects_are_ndjson(values in prop::collection::vec(value(), 2..8)) {
            let lines: Vec<String> = values.iter().map(|v| serde_json::json!({"v": v}).to_string()).collect();
            let (kind, found) = of(&lines.join("\n")).unwrap();
            prop_assert_eq!((kind, found.records), (DataType::Ndjson, Some(values.len() as u64)));
            prop_assert_eq!(found.max_depth, values.iter().map(|v| 1 + depth(v)).max());
        }
    }
}
