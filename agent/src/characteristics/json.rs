//! JSON and NDJSON: which of them the scanned values are, and what they tell.

mod scan;
mod stack;
mod string;

use forebay_shared::DataType;

use self::scan::{End, Scan};
use super::{Facts, Hint, extrapolate};

/// Tokens after which what looked like JSON is JSON that is malformed, rather than text that starts with a bracket.
const CONVINCING: u64 = 4;

/// The facts, if this is JSON or NDJSON.
pub(super) fn facts(text: &[u8], total: u64, cut: bool, hint: Hint) -> Option<(DataType, Facts)> {
    let scan = Scan::of(text);
    let data_type = decide(&scan, cut, hint)?;
    let records = records(&scan, data_type, total, cut);
    let facts = Facts {
        records: Some(records),
        max_depth: Some(scan.max_depth),
        columns: (scan.columns > 0).then_some(scan.columns),
        distinct_keys: Some(scan.keys.len() as u32),
        null_share: (scan.leaves > 0).then(|| scan.nulls as f64 / scan.leaves as f64),
        problem: problem(&scan, data_type, cut),
        ..Facts::default()
    };
    Some((data_type, facts))
}

fn decide(scan: &Scan<'_>, cut: bool, hint: Hint) -> Option<DataType> {
    let lines = scan.lines();
    let by_line = !scan.value_spans_lines && !scan.line_holds_several;
    if by_line && lines >= 2 && scan.objects * 10 >= (scan.values + scan.bad_lines) * 9 && scan.objects > 0 {
        return Some(DataType::Ndjson);
    }
    if by_line && hint == Hint::Ndjson && scan.values > 0 {
        return Some(DataType::Ndjson);
    }
    let convincing = scan.tokens >= CONVINCING || hint == Hint::Json;
    match scan.end {
        End::Clean if scan.values == 1 => Some(DataType::Json),
        End::Clean if scan.values > 1 && !by_line && scan.tokens >= CONVINCING => Some(DataType::Json),
        End::Clean => None,
        End::Inside if convincing || cut && scan.values == 0 => Some(DataType::Json),
        End::Bad(_) if scan.values == 0 && convincing || hint == Hint::Json => Some(DataType::Json),
        End::Inside | End::Bad(_) => None,
    }
}

fn records(scan: &Scan<'_>, data_type: DataType, total: u64, cut: bool) -> u64 {
    let (whole, seen) = match data_type {
        DataType::Ndjson => (scan.values + scan.bad_lines, scan.lines()),
        _ if scan.top_is_array && scan.values <= 1 => (scan.settled_elements, scan.elements),
        _ => return scan.values.max(1),
    };
    if cut { extrapolate::records(whole, scan.settled, total) } else { seen }
}

fn problem(scan: &Scan<'_>, data_type: DataType, cut: bool) -> Option<String> {
    match scan.end {
        End::Bad(at) => Some(format!("not JSON from byte {at} on")),
        End::Inside if !cut => Some(format!("cut short: ends within a value, at depth {}", scan.depth())),
        _ if scan.bad_lines > 0 => Some(format!("{} lines hold no JSON value", scan.bad_lines)),
        _ if data_type == DataType::Json && scan.values > 1 => {
            Some(format!("{} values follow one another, expected one", scan.values))
        }
        _ => scan.lenient_at.map(|at| format!("not strict JSON at byte {at}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Option<(DataType, Facts)> {
        facts(text.as_bytes(), text.len() as u64, false, Hint::None)
    }

    #[test]
    fn depth_keys_nulls_and_records_are_exact() {
        let (kind, found) = of(r#" [{"a": null, "b": {"c": [1, {"a": "x"}]}}, {"a": "", "d\"": true}, 3] "#).unwrap();
        assert_eq!((kind, found.records), (DataType::Json, Some(3)));
        assert_eq!((found.max_depth, found.distinct_keys, found.columns), (Some(5), Some(4), Some(2)));
        assert_eq!(found.null_share, Some(2.0 / 6.0));
        assert_eq!(found.problem, None);
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
