//! PDF's objects, as far as dictionaries of numbers, names and references go.

/// Arrays and dictionaries within one another.
const MOST_DEPTH: u32 = 64;
/// Entries of a dictionary that are kept.
const MOST_ENTRIES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Integer(i64),
    /// An object's number.
    Reference(u64),
    Name(&'a [u8]),
    /// From its opening bracket on.
    Array(&'a [u8]),
    Dict(&'a [u8]),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Integer(i64),
    Name(&'a [u8]),
    Keyword(&'a [u8]),
    ArrayOpen,
    ArrayClose,
    DictOpen,
    DictClose,
    Text,
}

#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        match self.token()? {
            Token::Integer(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn keyword(&mut self, word: &[u8]) -> Option<()> {
        (self.token()? == Token::Keyword(word)).then_some(())
    }

    pub(super) fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            self.at += rest.iter().position(|byte| !is_blank(*byte)).unwrap_or(rest.len());
            if self.rest().first() != Some(&b'%') {
                return;
            }
            let rest = self.rest();
            self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = *self.rest().first()?;
        let pair = self.rest().get(1) == Some(&first);
        self.at += 1;
        Some(match first {
            b'<' if pair => self.past(1, Token::DictOpen),
            b'>' if pair => self.past(1, Token::DictClose),
            b'<' => {
                let rest = self.rest();
                let length = memchr::memchr(b'>', rest)? + 1;
                self.past(length, Token::Text)
            }
            b'(' => self.text()?,
            b'[' => Token::ArrayOpen,
            b']' => Token::ArrayClose,
            b'/' => Token::Name(self.word()),
            b'>' | b')' | b'{' | b'}' => Token::Text,
            _ => {
                self.at -= 1;
                let word = self.word();
                let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
                number.map_or(Token::Keyword(word), Token::Integer)
            }
        })
    }

    fn past(&mut self, length: usize, token: Token<'a>) -> Token<'a> {
        self.at += length;
        token
    }

    fn word(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| is_blank(*byte) || b"()<>[]{}/%".contains(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The rest of a text in brackets, which may hold brackets in pairs.
    fn text(&mut self) -> Option<Token<'a>> {
        let mut open = 1;
        while open > 0 {
            match self.rest().first()? {
                b'\\' => self.at += 1,
                b'(' => open += 1,
                b')' => open -= 1,
                _ => {}
            }
            self.at = (self.at + 1).min(self.bytes.len());
        }
        Some(Token::Text)
    }

    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        self.value_within(MOST_DEPTH)
    }

    fn value_within(&mut self, depth: u32) -> Option<Value<'a>> {
        let depth = depth.checked_sub(1)?;
        self.skip_blanks();
        let from = self.rest();
        Some(match self.token()? {
            Token::Integer(number) => {
                let mut ahead = *self;
                let generation = ahead.integer().is_some_and(|generation| generation >= 0);
                if generation && number >= 0 && ahead.keyword(b"R").is_some() {
                    *self = ahead;
                    return Some(Value::Reference(number as u64));
                }
                Value::Integer(number)
            }
            Token::Name(name) => Value::Name(name),
            Token::ArrayOpen => self.closed(Token::ArrayClose, depth).map(|()| Value::Array(from))?,
            Token::DictOpen => self.closed(Token::DictClose, depth).map(|()| Value::Dict(from))?,
            Token::ArrayClose | Token::DictClose => return None,
            Token::Keyword(_) | Token::Text => Value::Other,
        })
    }

    fn closed(&mut self, close: Token<'_>, depth: u32) -> Option<()> {
        loop {
            let mut ahead = *self;
            if ahead.token()? == close {
                *self = ahead;
                return Some(());
            }
            self.value_within(depth)?;
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ')
}

/// A dictionary's entries, and what follows it.
pub(super) struct Dict<'a> {
    entries: Vec<(&'a [u8], Value<'a>)>,
    pub(super) after: Lexer<'a>,
}

impl<'a> Dict<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut lexer = Lexer::new(bytes);
        (lexer.token()? == Token::DictOpen).then_some(())?;
        let mut entries = Vec::new();
        loop {
            match lexer.token()? {
                Token::DictClose => return Some(Self { entries, after: lexer }),
                Token::Name(name) if entries.len() < MOST_ENTRIES => entries.push((name, lexer.value()?)),
                _ => return None,
            }
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    pub(super) fn integer(&self, key: &[u8]) -> Option<i64> {
        match self.get(key)? {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn reference(&self, key: &[u8]) -> Option<u64> {
        match self.get(key)? {
            Value::Reference(number) => Some(number),
            _ => None,
        }
    }

    /// A dictionary, or the first one of an array.
    pub(super) fn dict(&self, key: &[u8]) -> Option<Self> {
        match self.get(key)? {
            Value::Dict(bytes) => Self::read(bytes),
            Value::Array(bytes) => Self::read(bytes.get(1..)?),
            _ => None,
        }
    }

    pub(super) fn integers(&self, key: &[u8]) -> Option<Vec<u64>> {
        let Value::Array(bytes) = self.get(key)? else { return None };
        let mut lexer = Lexer::new(&bytes[1..]);
        let mut integers = Vec::new();
        while let Some(number) = lexer.integer().filter(|_| integers.len() < 10_000) {
            integers.push(number.try_into().ok()?);
        }
        Some(integers)
    }

    /// Whether a stream's bytes are deflated and nothing else; inner `false` if they are plain.
    pub(super) fn deflated(&self) -> Option<bool> {
        let name = match self.get(b"Filter") {
            None => return Some(false),
            Some(Value::Name(name)) => name,
            Some(Value::Array(bytes)) => {
                let mut lexer = Lexer::new(&bytes[1..]);
                match (lexer.token()?, lexer.token()?) {
                    (Token::Name(name), Token::ArrayClose) => name,
                    (Token::ArrayClose, _) => return Some(false),
                    _ => return None,
                }
            }
            Some(_) => return None,
        };
        matches!(name, b"FlateDecode" | b"Fl").then_some(true)
    }

    /// The bytes after `stream` and its line's end; they end by themselves.
    pub(super) fn stream(&self) -> Option<&'a [u8]> {
        let mut after = self.after;
        after.keyword(b"stream")?;
        past_line_end(after.rest())
    }
}

/// What follows a line's end; one only, as what follows may be a stream's bytes.
pub(super) fn past_line_end(bytes: &[u8]) -> Option<&[u8]> {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    ends.iter().find_map(|end| bytes.strip_prefix(*end))
}
