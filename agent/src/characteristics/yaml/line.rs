//! One line of YAML.

use super::{LEVELS, Level, Open, Yaml};

/// Words of a key: more are a sentence with a colon, unless many lines tell otherwise.
const KEY_WORDS: usize = 4;

impl Yaml {
    /// Looks at a line without its newline.
    pub(super) fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.open == Open::Flow {
            return self.flow(line);
        }
        let column = line.iter().position(|byte| *byte != b' ').unwrap_or(line.len());
        let text = &line[column..];
        if let Open::Block(parent) | Open::Plain(parent) = self.open {
            if text.trim_ascii().is_empty() || column as isize > parent {
                return;
            }
            self.open = Open::Nothing;
        }
        if text.trim_ascii().is_empty() || text[0] == b'#' {
            return;
        }
        if column == 0 && self.marker(text) {
            return;
        }
        if !self.in_document {
            if text[0] == b'%' && column == 0 {
                return;
            }
            self.begin_document();
        }
        if text[0] == b'\t' {
            self.tab = true;
        }
        self.node(column, text);
    }

    /// `---` begins a document, `...` ends one.
    fn marker(&mut self, text: &[u8]) -> bool {
        let rest = match text {
            [b'-', b'-', b'-', rest @ ..] | [b'.', b'.', b'.', rest @ ..] => rest,
            _ => return false,
        };
        if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
            return false;
        }
        self.fill_slot();
        self.levels.clear();
        self.in_document = false;
        if text[0] == b'-' {
            self.markers += 1;
            self.begin_document();
            let rest = rest.trim_ascii();
            if !rest.is_empty() && rest[0] != b'#' {
                self.value(-1, rest);
            }
        }
        true
    }

    fn begin_document(&mut self) {
        self.in_document = true;
        self.documents += 1;
        self.settled = self.line_start;
        self.fields = 0;
    }

    /// What stands in a column: items of sequences, then a key, then a value.
    fn node(&mut self, mut column: usize, mut text: &[u8]) {
        let mut depth_of_item = false;
        loop {
            let (dash, rest) = match text {
                [b'-'] => (true, &[][..]),
                [b'-', rest @ ..] if rest[0] == b' ' || rest[0] == b'\t' => (true, rest),
                _ => (false, text),
            };
            if !dash {
                break;
            }
            self.enter(Level { column, sequence: true });
            self.entries += u64::from(!depth_of_item);
            depth_of_item = true;
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            column += 1 + blanks;
            text = &rest[blanks..];
            if text.is_empty() || text[0] == b'#' {
                self.open = Open::Slot;
                return;
            }
        }
        match key(text) {
            Some((key, value)) => self.entry(column, key, value),
            None if depth_of_item => self.value(self.column() as isize, text),
            None => self.scalar(column, text),
        }
    }

    /// The column of the innermost level.
    fn column(&self) -> usize {
        self.levels.last().map_or(0, |level| level.column)
    }

    /// `key: value`, with the key in `column`.
    fn entry(&mut self, column: usize, key: &[u8], value: &[u8]) {
        let properties = key.len() - past_properties(key).len();
        self.enter(Level { column, sequence: false });
        self.entries += 1;
        self.keys.insert(&key[properties..]);
        let words = key.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
        self.wordy += u64::from(words > KEY_WORDS);
        if self.levels.len() == 1 {
            self.fields = self.fields.saturating_add(1);
            self.columns = self.columns.max(self.fields);
        }
        self.value(column as isize, value);
    }

    /// Ends the levels that the column is not in, and begins the one that is new.
    fn enter(&mut self, level: Level) {
        let filled = self.open == Open::Slot;
        let before = self.levels.len();
        while self.levels.last().is_some_and(|open| {
            open.column > level.column || open.column == level.column && open.sequence && !level.sequence
        }) {
            self.levels.pop();
        }
        let goes_on =
            self.levels.last().is_some_and(|open| open.column == level.column && open.sequence == level.sequence);
        if filled && (goes_on || self.levels.len() < before) {
            self.leaf(true);
        }
        self.open = Open::Nothing;
        if !goes_on && self.levels.len() < LEVELS {
            self.levels.push(level);
        }
        self.deepen();
    }

    /// A value after a key, a dash or a `---`; `parent` is the column of what it belongs to.
    fn value(&mut self, parent: isize, text: &[u8]) {
        let text = past_properties(text.trim_ascii());
        match text.first() {
            None | Some(b'#') => self.open = Open::Slot,
            Some(b'|' | b'>') => {
                self.leaf(false);
                self.open = Open::Block(parent);
            }
            Some(b'{' | b'[' | b'"' | b'\'') => {
                self.leaves += 1;
                self.flow(text);
            }
            Some(_) => {
                let plain = text.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
                self.leaf(matches!(plain, b"null" | b"~" | b"Null" | b"NULL"));
                self.open = Open::Plain(parent);
            }
        }
    }

    /// A line that is neither an item nor an entry.
    fn scalar(&mut self, column: usize, text: &[u8]) {
        let nested = self.open == Open::Slot && (self.levels.is_empty() || column > self.column());
        let alone = self.levels.is_empty();
        let bracket = matches!(text[0], b'{' | b'[');
        let stray = !nested && (!alone || !bracket);
        self.strays += u64::from(stray);
        let parent = if nested && !alone { self.column() as isize } else { -1 };
        self.value(if alone { -1 } else { parent }, text);
    }

    /// Brackets and quotes, which may go on over lines.
    fn flow(&mut self, line: &[u8]) {
        let mut at = 0;
        while at < line.len() {
            let byte = line[at];
            match (self.quote, byte) {
                (Some(b'"'), b'\\') => at += 1,
                (Some(b'\''), b'\'') if line.get(at + 1) == Some(&b'\'') => at += 1,
                (Some(open), _) if open == byte => {
                    self.quote = None;
                    if self.brackets == 0 {
                        break;
                    }
                }
                (Some(_), _) => {}
                (None, b'"' | b'\'') if at == 0 || !is_plain(line[at - 1]) => self.quote = Some(byte),
                (None, b'{' | b'[') => {
                    self.brackets = self.brackets.saturating_add(1);
                    self.deepen();
                }
                (None, b'}' | b']') => self.brackets = self.brackets.saturating_sub(1),
                (None, b'#') if at == 0 || line[at - 1] == b' ' => break,
                _ => {}
            }
            at += 1;
        }
        let goes_on = self.brackets > 0 || self.quote.is_some();
        self.open = if goes_on { Open::Flow } else { Open::Nothing };
    }
}

/// A byte after which a quote is part of a plain scalar.
fn is_plain(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\t' | b',' | b'[' | b'{' | b':')
}

/// Without anchors and tags before it.
fn past_properties(mut text: &[u8]) -> &[u8] {
    while let Some(b'&' | b'!') = text.first() {
        let end = text.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(text.len());
        text = text[end..].trim_ascii_start();
    }
    text
}

/// A key and what follows its colon.
fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.len() - past_properties(text).len();
    let body = &text[start..];
    let end = match body.first()? {
        quote @ (b'"' | b'\'') => start + quoted(body, *quote)?,
        b'{' | b'[' | b'|' | b'>' | b'#' | b'%' | b'@' | b'`' => return None,
        b'?' if body.len() == 1 || body[1] == b' ' => return Some((&text[..1], &[])),
        _ => {
            let colon =
                memchr::memchr_iter(b':', body).find(|at| body.get(at + 1).is_none_or(u8::is_ascii_whitespace))?;
            let comment = memchr::memmem::find(&body[..colon], b" #");
            return comment.is_none().then(|| (text[..start + colon].trim_ascii_end(), &body[colon + 1..]));
        }
    };
    let rest = text[end..].trim_ascii_start();
    let value = rest.strip_prefix(b":").filter(|value| value.first().is_none_or(u8::is_ascii_whitespace))?;
    Some((&text[..end], value))
}

/// Length of the quoted scalar that starts here, if it ends in this line.
fn quoted(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote == b'"' => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}
