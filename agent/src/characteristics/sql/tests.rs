use super::*;
use proptest::prelude::*;

fn of(text: &str, size: usize) -> Facts {
    let mut sql = Box::new(Sql::new());
    text.as_bytes().chunks(size).for_each(|chunk| sql.push(chunk));
    sql.finish(End { seen: text.len() as u64, total: text.len() as u64 }).1
}

#[test]
fn joins_are_clauses_and_commas_between_tables() {
    for (text, joins) in [
        ("SELECT a, b FROM t WHERE x IN (1, 2) ORDER BY a, b", 0),
        ("SELECT * FROM a, b AS c, d WHERE a.x = c.x", 2),
        ("SELECT * FROM a JOIN b ON a.x = b.x LEFT OUTER JOIN c USING (x, y), d", 3),
        ("SELECT * FROM (SELECT 1, 2 FROM t, u) AS v (x, y), w", 2),
        ("SELECT * FROM f(1, 2), (a CROSS JOIN b)", 2),
        ("SELECT extract(year FROM d), substring(s FROM 1 FOR 2), c FROM t", 0),
        ("SELECT a IS DISTINCT FROM b, c FROM t", 0),
        ("WITH x AS (SELECT a, b FROM t, u), y AS (SELECT 1) SELECT * FROM x, y", 2),
        ("SELECT 1 FROM a WHERE EXISTS (SELECT 1, 2 FROM b, c) AND x IN (SELECT y FROM d)", 1),
        ("SELECT * FROM a UNION ALL SELECT b, c FROM d, e", 1),
        ("UPDATE t SET a = 1, b = 2 FROM u, v WHERE 1 = 1", 1),
        ("INSERT INTO t (a, b) SELECT c, d FROM u", 0),
        ("SELECT 'FROM a, b JOIN c' -- FROM x, y\n FROM \"join\", `t,u` /* , /* , */ , */", 1),
        ("SELECT $$ FROM a, b $$, $x$ $$ , $x$ FROM t, u", 1),
        ("SELECT t.join, t.from FROM t", 0),
        ("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (x, y), t", 1),
        ("SELECT a FROM t, u FOR UPDATE OF t, u", 1),
        ("SELECT a #> '{x,y}', b #>> '{z}' FROM t, u # , v", 1),
        ("SELECT * FROM #scratch AS s, t", 1),
    ] {
        assert_eq!(of(text, 1000).joins, Some(joins), "{text}");
    }
}

#[test]
fn depth_is_that_of_selects_within_selects() {
    for (text, depth) in [
        ("SELECT 1", 1),
        ("SELECT (((1)))", 1),
        ("SELECT * FROM (SELECT * FROM (SELECT 1))", 3),
        ("(SELECT 1) UNION (SELECT 2)", 1),
        ("WITH x AS (SELECT 1) SELECT * FROM x", 2),
        ("WITH x AS (SELECT 1) SELECT 1 UNION SELECT 2", 1),
        ("WITH x AS (SELECT * FROM (SELECT 1)), y AS (SELECT 2) SELECT (SELECT 1)", 3),
        ("CREATE TABLE t (a int, b text)", 0),
        ("SELECT a FROM t WHERE b > (SELECT avg(b) FROM t)", 2),
    ] {
        assert_eq!(of(text, 1000).max_depth, Some(depth), "{text}");
    }
}

#[test]
fn statements_subqueries_aggregates_and_set_operations_are_counted() {
    let found = of("SELECT count(*), sum(a) FROM (SELECT 1) EXCEPT SELECT 2; ; -- end;\nSELECT ';';\n", 7);
    assert_eq!((found.records, found.detail.subqueries, found.detail.aggregates), (Some(2), Some(1), Some(2)));
    assert_eq!((found.detail.set_operations, found.problem), (Some(1), None));
}

#[test]
fn what_is_wrong_is_told() {
    for (text, problem) in [
        ("SELECT a, FROM t", "comma stands before FROM"),
        ("SELECT a FROM t JOIN JOIN u", "table is missing"),
        ("SELECT 1; SELECT (1;", "statement 2: a parenthesis is not closed"),
        ("SELECT 1)", "not opened"),
        ("SELECT 'a", "a quote is not closed"),
        ("SELECT 1 /* a", "a comment is not closed"),
    ] {
        let told = of(text, 3).problem.unwrap_or_default();
        assert!(told.contains(problem), "{text}: {told}");
    }
}

#[test]
fn a_keyword_does_not_make_prose_sql() {
    let is = |text: &str| looks_like(text.as_bytes(), true, Hint::None);
    assert!(
        is("-- a comment\nselect 1 from t")
            && is("SELECT a, FROM t JOIN JOIN u ON (a = ;")
            && is("SET a = 1;\nSELECT 2;")
            && !is("#!/bin/sh\nset -e\nfor a in b c; do\n  echo $a\ndone\n")
    );
    assert!(is("CREATE TABLE t (id bigint primary key, name varchar(20) not null);"));
    assert!(
        !is("Select the best option that you can find, and go on with it.")
            && !is("With a little help from my friends")
    );
    assert!(!is("update") && !is("") && !is("a,b\n1,2\n"));
}

#[test]
fn parentheses_have_no_end() {
    let text = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let found = of(&text, 100_000);
    assert_eq!((found.max_depth, found.problem), (Some(1), None));
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_facts(
        text in "(SELECT |FROM |JOIN |WITH |UNION |a|,|\\(|\\)|;|'|\"|--|/\\*|\\*/|\\$|\\$x\\$|\n| |1|\\\\){0,60}", size in 1..9usize,
    ) {
        prop_assert_eq!(of(&text, size), of(&text, text.len().max(1)));
    }
}
