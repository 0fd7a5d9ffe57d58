//! Which series of a page count: a name, and what labels must or must not be.

use std::fmt;

use anyhow::{Context as _, bail, ensure};

use super::exposition::{Series, quoted};

/// `name{label="value",other!="value"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    name: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Matcher {
    label: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// The selector at the start of `text`, and what is behind it.
    pub(super) fn parse(text: &str) -> anyhow::Result<(Self, &str)> {
        let end = text.find(|c: char| matches!(c, '{' | ',') || c.is_whitespace()).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        ensure!(!name.is_empty() && !name.contains('"'), "the metric has no name");
        let mut matchers = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.starts_with('}') {
                let (matcher, behind) = Matcher::parse(rest)?;
                matchers.push(matcher);
                rest = behind.trim_start();
                match rest.strip_prefix(',') {
                    Some(behind) => rest = behind.trim_start(),
                    None => ensure!(rest.starts_with('}'), "`}}` or `,` is missing behind a matcher"),
                }
            }
            rest = &rest[1..];
        }
        Ok((Self { name: name.to_owned(), matchers }, rest))
    }

    /// An absent label counts as an empty one.
    pub(super) fn matches(&self, series: &Series<'_>) -> bool {
        series.name == self.name
            && self.matchers.iter().all(|matcher| (series.label(&matcher.label) == matcher.value) == matcher.equal)
    }
}

impl Matcher {
    fn parse(text: &str) -> anyhow::Result<(Self, &str)> {
        let end = text.find(['=', '!', '}', ',']).unwrap_or(text.len());
        let (label, rest) = text.split_at(end);
        let label = label.trim();
        ensure!(!label.is_empty(), "a matcher has no label");
        let (equal, rest) = match rest.as_bytes() {
            [b'=', b'~', ..] | [b'!', b'~', ..] => bail!("regular expressions are not supported: use = or !="),
            [b'!', b'=', ..] => (false, &rest[2..]),
            [b'=', ..] => (true, &rest[1..]),
            _ => bail!("label `{label}` has no = or !="),
        };
        let (value, rest) =
            quoted(rest.trim_start()).with_context(|| format!("label `{label}` has no value in quotes"))?;
        Ok((Self { label: label.to_owned(), value: value.into_owned(), equal }, rest))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.matchers.is_empty() {
            return Ok(());
        }
        for (index, Matcher { label, value, equal }) in self.matchers.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            write!(f, "{before}{label}{}{value:?}", if *equal { "=" } else { "!=" })?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(selector: &str, line: &str) -> bool {
        let (selector, rest) = Selector::parse(selector).unwrap();
        assert_eq!(rest, "");
        selector.matches(&Series::parse(line.as_bytes()).unwrap())
    }

    #[test]
    fn names_and_labels_must_fit() {
        let line = "lag{group=\"a\",topic=\"b\"} 1";
        assert!(matches("lag", line));
        assert!(matches("lag{group=\"a\"}", line));
        assert!(matches("lag{ group = \"a\", topic != \"c\", }", line));
        assert!(matches("lag{other=\"\"}", line));
        assert!(!matches("lag{topic!=\"b\"}", line));
        assert!(!matches("lag{other=\"a\"}", line));
        assert!(!matches("lag_sum", line));
    }

    #[test]
    fn what_is_behind_it_is_given_back() {
        let (selector, rest) = Selector::parse("lag{group=\"a,}\"},age=wait").unwrap();
        assert_eq!((selector.to_string(), rest), ("lag{group=\"a,}\"}".to_owned(), ",age=wait"));
        assert_eq!(Selector::parse("lag,age=wait").unwrap().1, ",age=wait");
    }

    #[test]
    fn what_is_wrong_with_it_is_told() {
        for (text, wrong) in [
            ("", "no name"),
            ("{a=\"b\"}", "no name"),
            ("lag{a=~\"b\"}", "use = or !="),
            ("lag{a}", "no = or !="),
            ("lag{a=b}", "in quotes"),
            ("lag{a=\"b\"", "missing"),
            ("lag{=\"b\"}", "no label"),
            ("lag{", "no label"),
        ] {
            let error = Selector::parse(text).unwrap_err().to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in "[a{}\"\\\\=!~, ]{0,30}") {
            let _ = Selector::parse(&text);
        }
    }
}
