//! Prometheus' text format 0.0.4, and OpenMetrics as far as it tells samples: line by line, in bounded memory. Pure, and
//! total: a line that is none is skipped.
//!
//! Sources: Prometheus' documentation of its exposition formats, and the OpenMetrics specification 1.0.

use std::borrow::Cow;

/// A longer line is skipped: a series has a name and a few labels.
const LONGEST: usize = 64 << 10;

/// Splits chunks into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The start of the line whose end has not come.
    partial: Vec<u8>,
    too_long: bool,
}

impl Lines {
    pub(super) fn push(&mut self, chunk: &[u8], take: &mut impl FnMut(&[u8])) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            if self.partial.is_empty() && !self.too_long {
                take(line);
            } else {
                self.keep(line);
                self.end(take);
            }
            rest = behind;
        }
        self.keep(rest);
    }

    /// The last line may have no end of its own.
    pub(super) fn end(&mut self, take: &mut impl FnMut(&[u8])) {
        if !self.too_long && !self.partial.is_empty() {
            take(&self.partial);
        }
        self.partial.clear();
        self.too_long = false;
    }

    fn keep(&mut self, part: &[u8]) {
        self.too_long |= self.partial.len() + part.len() > LONGEST;
        if !self.too_long {
            self.partial.extend_from_slice(part);
        }
    }
}

/// A line that tells a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl<'a> Series<'a> {
    /// Nothing if the line is a comment, empty, or no series.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (name, labels, rest) = identity(line)?;
        let value = number(rest.split_ascii_whitespace().next()?)?;
        Some(Self { name, labels, value })
    }

    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

pub(super) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// `name`, `name{…}`, or `{"name",…}` of names beyond ASCII; and what is behind it.
fn identity(text: &str) -> Option<(Cow<'_, str>, Labels<'_>, &str)> {
    let name_end = text.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = text.split_at(name_end);
    let rest = rest.trim_ascii_start();
    let Some(mut rest) = rest.strip_prefix('{') else {
        return (!name.is_empty()).then_some((Cow::Borrowed(name), Vec::new(), rest));
    };
    let mut name = (!name.is_empty()).then_some(Cow::Borrowed(name));
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((name?, labels, behind));
        }
        let (key, behind) = if rest.starts_with('"') { quoted(rest)? } else { bare(rest)? };
        rest = behind.trim_ascii_start();
        match rest.strip_prefix('=') {
            Some(behind) => {
                let (value, behind) = quoted(behind.trim_ascii_start())?;
                labels.push((key, value));
                rest = behind.trim_ascii_start();
            }
            None if name.is_none() => name = Some(key),
            None => return None,
        }
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// The name of a label up to its `=`.
fn bare(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')))?;
    (end > 0).then(|| (Cow::Borrowed(&text[..end]), &text[end..]))
}

/// A string in quotes, with `\\`, `\"` and `\n` in it; and what is behind it.
pub(super) fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('"')?;
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // As Prometheus reads it: a stray backslash stands for itself.
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    // Rust reads what Go writes, NaN and Inf in any case, and `infinity` besides.
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(line: &str) -> Option<f64> {
        Series::parse(line.as_bytes()).map(|series| series.value)
    }

    #[test]
    fn lines_of_both_formats_are_read() {
        for (line, expected) in [
            ("lag 5", 5.0),
            ("lag 1.5e3 1395066363000", 1500.0),
            ("lag{} 7", 7.0),
            ("lag{group=\"a\",topic=\"b\",} 8", 8.0),
            ("lag { group = \"a\" , topic=\"b\" } 9 1.7e9 # {trace=\"x\"} 1 1.7e9", 9.0),
            ("\tlag\t-1", -1.0),
            ("lag +Inf", f64::INFINITY),
            ("{\"lag.of\",group=\"a\"} 4", 4.0),
            ("lag{group=\"a}\\\"b\\\\\"} 3", 3.0),
        ] {
            assert_eq!(value(line), Some(expected), "{line}");
        }
        assert!(value("lag NaN").unwrap().is_nan());
        let series = Series::parse(b"lag{group=\"a\\n\\\"b\",topic=\"\\\\\"} 1").unwrap();
        assert_eq!((series.label("group"), series.label("topic"), series.label("none")), ("a\n\"b", "\\", ""));
        assert_eq!(Series::parse(b"{\"lag.of\"} 1").unwrap().name, "lag.of");
    }

    #[test]
    fn what_is_no_series_is_skipped() {
        for line in [
            "",
            "  ",
            "# HELP lag 5",
            "# EOF",
            "lag",
            "lag{",
            "lag{a}",
            "lag{a=} 5",
            "lag{a=\"b} 5",
            "lag{a=\"b\"",
            "lag x",
            "lag{a=\"b\" c=\"d\"} 5",
            "{a=\"b\"} 5",
            "{} 5",
            "lag{a=\"\\",
            "lag\u{a0}5",
        ] {
            assert_eq!(value(line), None, "{line}");
        }
        assert_eq!(Series::parse(b"lag\xff 5"), None);
    }

    fn split(text: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), text);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, behind) = rest.split_at((*size).clamp(1, rest.len()));
            lines.push(chunk, &mut |line| found.push(line.to_vec()));
            rest = behind;
        }
        lines.end(&mut |line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn a_line_without_an_end_in_sight_is_skipped_and_takes_no_memory() {
        let text = [b"a 1\n".to_vec(), vec![b'x'; 10 * LONGEST], b"\nb 2".to_vec()].concat();
        assert_eq!(split(&text, &[5000]), [b"a 1".to_vec(), b"b 2".to_vec()]);
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 5000], &mut |_| {});
        }
        assert!(lines.partial.capacity() <= 2 * LONGEST);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_cut(text in "[a\n]{0,60}", sizes in proptest::collection::vec(1..7usize, 1..5)) {
            let expected: Vec<Vec<u8>> = text.split('\n').filter(|line| !line.is_empty()).map(|line| line.as_bytes().to_vec()).collect();
            let found: Vec<Vec<u8>> = split(text.as_bytes(), &sizes).into_iter().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_read_or_skipped(bytes: Vec<u8>, text in "[a{}\"\\\\=, #1.eNn\t-]{0,40}") {
            let _ = Series::parse(&bytes);
            let _ = Series::parse(text.as_bytes());
            let _ = split(&bytes, &[3]);
        }

        #[test]
        fn labels_come_back_as_they_were(key in "[a-z_]{1,8}", text in "\\PC{0,20}") {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let line = format!("lag{{{key}=\"{escaped}\"}} 1");
            let series = Series::parse(line.as_bytes()).unwrap();
            prop_assert_eq!(series.label(&key), text);
        }
    }
}
