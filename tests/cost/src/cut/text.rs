//! Sizes of text: at the ends of lines, records, values, elements and queries.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use forebay_shared::DataType;
use quick_xml::events::Event;
use sqlparser::ast::{Query, Visit, Visitor};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use super::{Content, Size};

pub(super) fn lines(content: &[u8], size: Size) -> Option<Vec<u8>> {
    let lines: Vec<_> = content.split_inclusive(|byte| *byte == b'\n').collect();
    joined(&lines, content.len(), size)
}

pub(super) fn table(content: &[u8], delimiter: u8, size: Size) -> Option<Vec<u8>> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(content);
    let (mut records, mut from) = (Vec::new(), 0);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).ok()? {
        let to = usize::try_from(reader.position().byte()).ok()?;
        records.push(&content[from..to]);
        from = to;
    }
    joined(&records, content.len(), size)
}

/// The first pieces up to a share of the bytes, or all of them over and over.
fn joined(pieces: &[&[u8]], all: usize, size: Size) -> Option<Vec<u8>> {
    let mut piece = pieces.iter().cycle();
    let (wanted, mut out) = (size.units(all)?, Vec::new());
    while let Some(piece) = piece.next().filter(|_| out.len() < wanted) {
        out.extend_from_slice(piece);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    Some(out)
}

/// Up to a comma, with what is open closed; copies as one array.
pub(super) fn json(content: &[u8], size: Size) -> Option<Vec<u8>> {
    let content = content.trim_ascii();
    match size {
        Size::Whole => Some(content.to_vec()),
        Size::Part(of) => json_prefix(content, content.len() / of),
        Size::Times(copies) => {
            let array = content.strip_prefix(b"[").and_then(|items| items.strip_suffix(b"]"));
            let items = vec![array.unwrap_or(content); copies];
            Some([b"[", &items.join(&b","[..])[..], b"]"].concat())
        }
    }
}

fn json_prefix(content: &[u8], most: usize) -> Option<Vec<u8>> {
    let (mut open, mut quoted, mut escaped) = (Vec::new(), false, false);
    let mut good = None;
    for (at, byte) in content[..most].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' => open.push(b']'),
            b'{' => open.push(b'}'),
            b']' | b'}' => drop(open.pop()),
            b',' => good = Some((at, open.clone())),
            _ => {}
        }
    }
    let (at, open) = good?;
    Some(content[..at].iter().copied().chain(open.into_iter().rev()).collect())
}

/// Up to the end of an element, with what is open closed; copies below one root.
pub(super) fn xml(content: &[u8], size: Size) -> Option<Vec<u8>> {
    match size {
        Size::Whole => Some(content.to_vec()),
        Size::Part(of) => xml_prefix(content, content.len() / of),
        Size::Times(copies) => {
            let root = content.windows(2).position(|pair| pair[0] == b'<' && pair[1].is_ascii_alphabetic())?;
            Some([b"<batches>", &content[root..].repeat(copies)[..], b"</batches>\n"].concat())
        }
    }
}

fn xml_prefix(content: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut reader = quick_xml::Reader::from_reader(content);
    let (mut open, mut good) = (Vec::new(), None);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => open.push(tag.name().as_ref().to_owned()),
            Event::End(_) => drop(open.pop()),
            Event::Eof => break,
            Event::Empty(_) => {}
            _ => continue,
        }
        let at = usize::try_from(reader.buffer_position()).ok()?;
        if at > most {
            break;
        }
        good = Some((at, open.clone()));
    }
    let (at, open) = good?;
    let mut out = content[..at].to_vec();
    open.iter().rev().for_each(|name| out.extend(format!("</{name}>").into_bytes()));
    Some(out)
}

/// Up to the end of a line where it still parses; copies as documents.
pub(super) fn yaml(content: &[u8], size: Size) -> Option<Vec<u8>> {
    let Size::Part(of) = size else {
        let documents = vec![content; size.units(1)?];
        return Some(documents.join(&b"\n---\n"[..]));
    };
    let text = std::str::from_utf8(content).ok()?;
    let ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at <= text.len() / of).collect();
    let parses = |end: &&usize| serde_saphyr::from_multiple::<serde_json::Value>(&text[..**end]).is_ok();
    ends.iter().rev().take(300).find(parses).map(|end| content[..*end].to_vec())
}

/// The query within that comes nearest to the size; copies as statements.
pub(super) fn sql(content: &[u8], size: Size) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(content).ok()?;
    let Size::Part(of) = size else {
        let statement = text.trim_end().trim_end_matches(';');
        return Some(vec![statement; size.units(1)?].join(";\n\n").into_bytes());
    };
    let mut within = Within::default();
    let _: ControlFlow<()> = Parser::parse_sql(&GenericDialect {}, text).ok()?.visit(&mut within);
    let shorter = within.0.into_iter().filter(|(length, _)| *length < text.len() * 3 / 4);
    let nearest = shorter.min_by_key(|(length, _)| length.abs_diff(text.len() / of));
    nearest.map(|(_, query)| query.into_bytes())
}

/// Queries by their length.
#[derive(Default)]
struct Within(BTreeMap<usize, String>);

impl Visitor for Within {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let query = query.to_string();
        self.0.insert(query.len(), query);
        ControlFlow::Continue(())
    }
}

/// A log's messages, without the fields that each line starts with.
pub(super) fn messages(log: &[u8]) -> Option<Content> {
    let mut out = String::new();
    for line in std::str::from_utf8(log).ok()?.lines() {
        let message = line.find("] ").or_else(|| line.find(": ")).map_or(line, |at| &line[at + 2..]);
        out.push_str(message.split_once("] ").map_or(message, |(_, rest)| rest));
        out.push('\n');
    }
    Some(Content::new(DataType::Text, out.into_bytes()))
}
