//! XML: elements, their depth and the root's children, byte by byte within markup and in leaps through text.
//!
//! Nothing is expanded and nothing is fetched: entities are counted where they are declared, and told.

mod markup;

use forebay_shared::DataType;

use self::markup::{Declarations, Markup};
use super::keys::KeySet;
use super::scanner::{End, Scanner};
use super::{Detail, Facts, Hint, extrapolate, fan_out};

/// Open elements whose names are kept to match their ends; deeper ones are only counted.
const NAMED_LEVELS: usize = 1 << 14;
/// Elements after which malformed XML is XML still.
const CONVINCING: u64 = 3;

pub(super) struct Xml {
    markup: Markup,
    /// Hashes of the open elements' names, the outermost first.
    open: Vec<u32>,
    depth: u32,
    max_depth: u32,
    elements: u64,
    /// Elements with others within.
    parents: u64,
    /// The element that is open has had none within.
    childless: bool,
    roots: u64,
    /// Children of the root, begun; and those that were whole at `settled`.
    children: u64,
    whole_children: u64,
    settled: u64,
    names: KeySet,
    declarations: Declarations,
    attributes: u32,
    most_attributes: u32,
    base: u64,
    problem: Option<String>,
}

/// Whether content that starts so is XML.
pub(super) fn looks_like(head: &[u8], whole: bool, hint: Hint) -> bool {
    let start = head.trim_ascii_start();
    let lower: Vec<u8> = start.iter().take(16).map(u8::to_ascii_lowercase).collect();
    if lower.starts_with(b"<?xml") {
        return true;
    }
    let html = lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html");
    let named = start.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':'));
    if !start.starts_with(b"<") || !named && !lower.starts_with(b"<!--") && !lower.starts_with(b"<!doctype") {
        return false;
    }
    let mut xml = Xml::new();
    xml.push(head);
    let sound = xml.problem.is_none() && xml.elements > 0 && (!whole || xml.depth == 0);
    // HTML is XML only if it is well-formed to its end.
    let convincing = hint == Hint::Xml || !html && xml.elements >= CONVINCING;
    sound && (whole || !html) || convincing && xml.roots > 0
}

impl Xml {
    pub(super) fn new() -> Self {
        Self {
            markup: Markup::Text,
            open: Vec::new(),
            depth: 0,
            max_depth: 0,
            elements: 0,
            parents: 0,
            childless: false,
            roots: 0,
            children: 0,
            whole_children: 0,
            settled: 0,
            names: KeySet::new(),
            declarations: Declarations::default(),
            attributes: 0,
            most_attributes: 0,
            base: 0,
            problem: None,
        }
    }

    /// Text outside of markup, to the next `<`.
    fn text(&mut self, bytes: &[u8], at: usize) -> usize {
        let end = memchr::memchr(b'<', &bytes[at..]).map_or(bytes.len(), |found| at + found);
        if self.depth == 0 && self.problem.is_none() && bytes[at..end].iter().any(|byte| !byte.is_ascii_whitespace()) {
            self.problem = Some("text outside of the root element".into());
        }
        end
    }

    fn byte(&mut self, byte: u8, position: u64) {
        let markup = std::mem::replace(&mut self.markup, Markup::Text);
        self.markup = match markup {
            Markup::Text => Markup::Lt,
            Markup::Lt => self.after_lt(byte, position),
            Markup::Name(name) => match byte {
                b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n' => {
                    self.begin(name);
                    self.in_tag(byte, None, position)
                }
                _ => Markup::Name(markup::hashed(name, byte)),
            },
            Markup::Tag { quote, slash } => self.tag(byte, quote, slash, position),
            Markup::EndName(name) => match byte {
                b'>' => self.end(name, position),
                b' ' | b'\t' | b'\r' | b'\n' => Markup::EndName(name),
                _ => Markup::EndName(markup::hashed(name, byte)),
            },
            other => other.skip(byte, &mut self.declarations),
        };
    }

    fn after_lt(&mut self, byte: u8, position: u64) -> Markup {
        match byte {
            b'!' => Markup::Bang([0; 7], 0),
            b'?' => Markup::Instruction(false),
            b'/' => Markup::EndName(markup::NAME),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' | 0x80.. => Markup::Name(markup::hashed(markup::NAME, byte)),
            _ => {
                self.tell(|| format!("a `<` that begins no markup, at byte {}", position - 1));
                Markup::Text
            }
        }
    }

    fn begin(&mut self, name: u32) {
        self.elements += 1;
        self.parents += u64::from(self.childless);
        self.childless = true;
        self.attributes = 0;
        self.names.insert_hash(u64::from(name) << 20 | 1);
        match self.depth {
            0 => self.roots += 1,
            1 => self.children += 1,
            _ => {}
        }
        if self.roots > 1 {
            self.tell(|| "more than one root element".into());
        }
        if self.open.len() < NAMED_LEVELS && self.open.len() == self.depth as usize {
            self.open.push(name);
        }
        self.depth = self.depth.saturating_add(1);
        self.max_depth = self.max_depth.max(self.depth);
    }

    /// Within a start tag, past its name.
    fn tag(&mut self, byte: u8, quote: Option<u8>, slash: bool, position: u64) -> Markup {
        match (quote, byte) {
            (Some(open), _) => Markup::Tag { quote: Some(open).filter(|open| *open != byte), slash: false },
            (None, b'"' | b'\'') => {
                self.attributes += 1;
                self.most_attributes = self.most_attributes.max(self.attributes);
                Markup::Tag { quote: Some(byte), slash: false }
            }
            (None, b'>') if slash => self.close(position),
            (None, _) => self.in_tag(byte, None, position),
        }
    }

    fn in_tag(&mut self, byte: u8, quote: Option<u8>, position: u64) -> Markup {
        match byte {
            b'>' => Markup::Text,
            b'<' => {
                self.tell(|| format!("a tag is not closed before byte {position}"));
                Markup::Lt
            }
            _ => Markup::Tag { quote, slash: byte == b'/' },
        }
    }

    fn end(&mut self, name: u32, position: u64) -> Markup {
        if self.depth == 0 {
            self.tell(|| format!("an end tag without its start, at byte {position}"));
            return Markup::Text;
        }
        let level = self.depth as usize;
        if level == self.open.len() && self.open.last() != Some(&name) {
            self.tell(|| format!("an end tag that is not that of the open element, at byte {position}"));
        }
        self.close(position)
    }

    fn close(&mut self, position: u64) -> Markup {
        if self.depth as usize == self.open.len() {
            self.open.pop();
        }
        self.depth = self.depth.saturating_sub(1);
        self.childless = false;
        if self.depth == 1 {
            self.whole_children = self.children;
            self.settled = position + 1;
        }
        Markup::Text
    }

    #[cold]
    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problem.is_none() {
            self.problem = Some(problem());
        }
    }

    fn final_problem(&mut self, cut: bool) -> Option<String> {
        let ended = match self.markup {
            _ if cut => None,
            Markup::Text if self.depth > 0 => Some(format!("cut short: {} elements are open", self.depth)),
            Markup::Text if self.roots == 0 => Some("no root element".into()),
            Markup::Text => None,
            _ => Some("cut short: ends within markup".into()),
        };
        self.problem.take().or(ended).or_else(|| self.declarations.problem())
    }
}

impl Scanner for Xml {
    fn push(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at = match &mut self.markup {
                Markup::Text => self.text(bytes, at),
                Markup::Name(name) | Markup::EndName(name) => at + markup::hash_name(name, &bytes[at..]),
                other => at + other.leap(&bytes[at..]),
            };
            if let Some(byte) = bytes.get(at) {
                self.byte(*byte, self.base + at as u64);
                at += 1;
            }
        }
        self.base += bytes.len() as u64;
    }

    fn finish(mut self: Box<Self>, end: End) -> (DataType, Facts) {
        let records =
            if end.cut() { extrapolate::records(self.whole_children, self.settled, end.total) } else { self.children };
        let facts = Facts {
            records: Some(records),
            max_depth: Some(self.max_depth),
            columns: (self.most_attributes > 0).then_some(self.most_attributes),
            distinct_keys: Some(self.names.len() as u32),
            detail: Detail {
                fan_out: fan_out(self.elements.saturating_sub(self.roots), self.parents),
                ..Detail::default()
            },
            problem: self.final_problem(end.cut()),
            ..Facts::default()
        };
        (DataType::Xml, facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str, size: usize) -> Facts {
        let mut xml = Box::new(Xml::new());
        text.as_bytes().chunks(size).for_each(|chunk| xml.push(chunk));
        xml.finish(End { seen: text.len() as u64, total: text.len() as u64 }).1
    }

    #[test]
    fn children_and_depth_are_counted_through_all_kinds_of_markup() {
        let text = "<?xml version='1.0'?><!DOCTYPE r [<!ELEMENT r ANY> <!-- > -->]>\n<r a=\"x>y\"><!-- <no> -->\
                    <c b='/'/><c><d/><![CDATA[<no></r>]]]></c><?go <c/> ?>t</r>\n";
        for size in 1..text.len() {
            let found = of(text, size);
            assert_eq!((found.records, found.max_depth, found.distinct_keys), (Some(2), Some(3), Some(3)));
            assert_eq!((found.columns, found.problem), (Some(1), None), "{size}");
            assert_eq!(found.detail.fan_out, Some(3.0 / 2.0));
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_contents() {
        for (text, problem) in [
            ("<a><b></a>", "not that of the open element"),
            ("<a><b>", "cut short: 2 elements"),
            ("<a/><b/>", "more than one root"),
            ("<a/>text", "text outside"),
            ("<a b='", "cut short: ends within markup"),
            ("<a>1 < 2</a>", "begins no markup"),
            ("</a>", "without its start"),
            ("<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///x\">]><r>&x;</r>", "external entity"),
            ("<!DOCTYPE r [<!ENTITY a \"b\"><!ENTITY c \"&a;&a;\">]><r>&c;</r>", "entities"),
        ] {
            let told = of(text, 3).problem.unwrap_or_default();
            assert!(told.contains(problem), "{text}: {told}");
        }
    }

    #[test]
    fn only_markup_with_elements_looks_like_xml() {
        let is = |text: &str| looks_like(text.as_bytes(), true, Hint::None);
        assert!(is("<?xml version=\"1.0\"?>\n<a/>") && is("\n<svg><g/></svg>") && is("<a><b></a><c><d>"));
        assert!(
            !is("<14>Jan  1 00:00:00 host app: x\n")
                && !is("<3 you")
                && !is("<!doctype html><p>one<br>two")
                && !is("<")
        );
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_facts(text in "(<|>|/|a|b|!--|--|\\[CDATA\\[|\\]\\]|\\?|<!DOCTYPE |<!ENTITY |\"|'|=| ){0,60}", size in 1..9usize) {
            prop_assert_eq!(of(&text, size), of(&text, text.len().max(1)));
        }
    }
}
