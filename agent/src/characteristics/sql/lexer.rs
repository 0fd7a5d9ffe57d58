//! The tokens of SQL, across dialects: `'…'`, `"…"`, `` `…` ``, `[…]`, `$tag$…$tag$`, `--`, `#` and nested `/* */`.

use super::clause::Clauses;
use super::word::Word;

/// Letters of a word or tag that tell it from others: the longest keyword has fewer.
const LETTERS: usize = 24;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Word,
    Number,
    /// Within a quote that ends with this byte.
    Quote(u8),
    /// Past a backslash within it.
    Escape(u8),
    Dash,
    Slash,
    Hash,
    LineComment,
    /// With its nesting, and the byte before.
    BlockComment(u32, u8),
    /// Between the `$` of an opening tag.
    Tag,
    /// Within dollar quotes, and how much of the closing tag has come.
    Dollar(u8),
}

#[derive(Debug, Default)]
pub(super) struct Lexer {
    state: State,
    text: [u8; LETTERS],
    len: usize,
    /// Bytes before the chunk in hand.
    base: u64,
    pub(super) last_semicolon: u64,
}

impl Lexer {
    pub(super) fn push(&mut self, bytes: &[u8], clauses: &mut Clauses) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.leap(&bytes[at..]);
            if let Some(byte) = bytes.get(at) {
                self.byte(*byte, self.base + at as u64, clauses);
                at += 1;
            }
        }
        self.base += bytes.len() as u64;
    }

    /// The token in hand ends with the input.
    pub(super) fn end(&mut self, clauses: &mut Clauses) {
        self.byte(b'\n', self.base, clauses);
    }

    /// What the input ended within.
    pub(super) fn open(&self) -> Option<&'static str> {
        match self.state {
            State::Quote(_) | State::Escape(_) | State::Dollar(_) => Some("a quote"),
            State::BlockComment(..) => Some("a comment"),
            _ => None,
        }
    }

    /// Bytes that do not end the token in hand.
    #[inline]
    fn leap(&mut self, bytes: &[u8]) -> usize {
        let sought = match self.state {
            State::Between => {
                return bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
            }
            State::Word => {
                let letters = bytes.iter().take_while(|byte| is_letter(**byte)).count();
                bytes[..letters].iter().for_each(|byte| self.keep(byte.to_ascii_uppercase()));
                return letters;
            }
            State::LineComment => memchr::memchr(b'\n', bytes),
            State::Quote(quote) => memchr::memchr2(quote, b'\\', bytes),
            State::Dollar(0) => memchr::memchr(b'$', bytes),
            _ => return 0,
        };
        sought.unwrap_or(bytes.len())
    }

    fn byte(&mut self, byte: u8, position: u64, clauses: &mut Clauses) {
        self.state = match self.state {
            State::Between => self.begin(byte, position, clauses),
            State::Word if is_letter(byte) || byte == b'$' => {
                self.keep(byte.to_ascii_uppercase());
                State::Word
            }
            State::Word => {
                clauses.word(Word::of(&self.text[..self.len.min(LETTERS)]));
                self.begin(byte, position, clauses)
            }
            State::Number if is_letter(byte) || byte == b'.' => State::Number,
            State::Number => self.begin(byte, position, clauses),
            State::Quote(quote) if byte == quote => State::Between,
            // A backslash escapes in MySQL, and stands for itself elsewhere: only there may it end a quote.
            State::Quote(quote) if byte == b'\\' => State::Escape(quote),
            State::Quote(quote) => State::Quote(quote),
            State::Escape(quote) if byte == quote && quote == b'\'' => State::Quote(quote),
            State::Escape(quote) if byte == quote => State::Between,
            State::Escape(quote) => State::Quote(quote),
            State::Dash if byte == b'-' => State::LineComment,
            State::Slash if byte == b'*' => State::BlockComment(1, 0),
            State::Dash | State::Slash => {
                clauses.sign(b'-');
                self.begin(byte, position, clauses)
            }
            // PostgreSQL's operators, SQL Server's tables, or MySQL's comment.
            State::Hash if byte == b'>' => {
                clauses.sign(b'#');
                State::Between
            }
            State::Hash if is_letter(byte) && clauses.wants_table() => self.begin(byte, position, clauses),
            State::Hash if byte == b'\n' => State::Between,
            State::Hash => State::LineComment,
            State::LineComment if byte == b'\n' => State::Between,
            State::LineComment => State::LineComment,
            State::BlockComment(depth, before) => block_comment(depth, before, byte),
            State::Tag => self.tag(byte, position, clauses),
            State::Dollar(matched) => self.dollar(matched, byte),
        };
    }

    fn begin(&mut self, byte: u8, position: u64, clauses: &mut Clauses) -> State {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => State::Between,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                self.len = 0;
                self.keep(byte.to_ascii_uppercase());
                State::Word
            }
            b'0'..=b'9' => {
                clauses.literal();
                State::Number
            }
            b'\'' => {
                clauses.literal();
                State::Quote(byte)
            }
            b'"' | b'`' => {
                clauses.word(Word::Name);
                State::Quote(byte)
            }
            b'-' => State::Dash,
            b'/' => State::Slash,
            b'#' => State::Hash,
            b'$' => {
                self.len = 0;
                State::Tag
            }
            b';' => {
                self.last_semicolon = position + 1;
                clauses.end_statement();
                State::Between
            }
            _ => {
                clauses.sign(byte);
                State::Between
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if let Some(slot) = self.text.get_mut(self.len) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// `$tag$` opens a quote, `$1` is a parameter.
    fn tag(&mut self, byte: u8, position: u64, clauses: &mut Clauses) -> State {
        if byte == b'$' && self.len < LETTERS {
            clauses.literal();
            return State::Dollar(0);
        }
        if is_letter(byte) {
            self.keep(byte);
            return State::Tag;
        }
        clauses.literal();
        self.begin(byte, position, clauses)
    }

    fn dollar(&self, matched: u8, byte: u8) -> State {
        let at = usize::from(matched);
        match byte {
            b'$' if at == self.len + 1 => State::Between,
            b'$' => State::Dollar(1),
            _ if at > 0 && at <= self.len && self.text[at - 1] == byte => State::Dollar(matched + 1),
            _ => State::Dollar(0),
        }
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn block_comment(depth: u32, before: u8, byte: u8) -> State {
    match (before, byte) {
        (b'*', b'/') if depth == 1 => State::Between,
        (b'*', b'/') => State::BlockComment(depth - 1, 0),
        (b'/', b'*') => State::BlockComment(depth.saturating_add(1), 0),
        _ => State::BlockComment(depth, byte),
    }
}
