use super::*;
use proptest::prelude::*;

fn of(text: &str, size: usize) -> Facts {
    let mut yaml = Box::new(Yaml::new());
    text.as_bytes().chunks(size).for_each(|chunk| yaml.push(chunk));
    yaml.finish(End { seen: text.len() as u64, total: text.len() as u64 }).1
}

fn depth_and_documents(text: &str) -> (u32, u64) {
    let found = of(text, 1000);
    (found.max_depth.unwrap(), found.records.unwrap())
}

#[test]
fn depth_follows_indentation_dashes_and_brackets() {
    for (text, depth) in [
        ("a: 1\nb: 2\n", 1),
        ("a:\n  b:\n    c: 1\nd: 1\n", 3),
        ("- 1\n- 2\n", 1),
        ("a:\n- b: 1\n  c: 2\n- d\n", 3),
        ("- - - x\n", 3),
        ("- a: [1, {b: [2]}]\n", 5),
        ("a: {b: {}, c: [\n  [1,\n 2]]\n}\nd: 1\n", 4),
        ("a: |\n  b: 1\n  c:\n    d: 2\ne: 1\n", 1),
        ("a: \"x\n  b: [\n\"\nc: 1\n", 1),
        ("a: 'it''s [ here'\n", 1),
        ("a: plain\n  goes: on\nb: 1\n", 1),
        ("a: &x\n  b: 1\nc: *x\n", 2),
        ("? a\n: b\n", 1),
        ("{a: 1}\n", 1),
        ("a: b # [ c\n", 1),
        ("a:\n  - b\n  -\n    c: 1\n", 3),
    ] {
        assert_eq!(depth_and_documents(text).0, depth, "{text}");
    }
}

#[test]
fn documents_are_counted_as_a_parser_gives_them() {
    for (text, documents) in [
        ("a: 1\n", 1),
        ("---\na: 1\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("# x\n---\na: 1\n...\n---\nb: 2\n...\n", 2),
        ("%YAML 1.2\n---\na: 1\n", 1),
        ("---\n---\n", 2),
        ("a: |\n  x\n---\nb: 1\n", 2),
    ] {
        assert_eq!(depth_and_documents(text).1, documents, "{text}");
    }
}

#[test]
fn text_logs_and_prose_are_no_yaml() {
    let is = |text: &str| looks_like(text.as_bytes(), true, Hint::None);
    assert!(is("a: 1\nb:\n  - c\n") && is("- a\n- b\n") && is("---\nkey: value\n") && is("a:\n  plain\n  text\n"));
    assert!(!is("just words\nand: more\n") && !is("one line\n") && !is("") && !is("# comment\n"));
    assert!(!is("it was late and so he said: go\nbut nobody at all had heard it: no\n"));
    assert!(!is("key: value\nnot a key\n"));
}

#[test]
fn nulls_and_keys_are_counted() {
    let found = of("a:\nb: ~\nc: 1\nd:\n  a: null\n", 5);
    assert_eq!((found.null_share, found.distinct_keys, found.columns), (Some(3.0 / 4.0), Some(4), Some(4)));
}

#[test]
fn what_is_wrong_is_told() {
    assert!(of("a: [1, 2\n", 4).problem.unwrap().contains("not closed"));
    assert!(of("a: 1\nstray words\n", 4).problem.unwrap().contains("1 lines"));
    assert!(of("a:\n\tb: 1\n", 4).problem.unwrap().contains("tab"));
}

#[test]
fn a_line_without_end_takes_bounded_memory() {
    let mut yaml = Yaml::new();
    for _ in 0..100 {
        yaml.push(&[b'['; 10_000]);
    }
    assert!(yaml.carry.capacity() <= 2 * LINE);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_facts(text in "(a|b: |- |  |\n|---\n|\\[|\\]|\\{|\"|'|#|&x |\\| |: ){0,60}", size in 1..9usize) {
        prop_assert_eq!(of(&text, size), of(&text, text.len().max(1)));
    }
}
