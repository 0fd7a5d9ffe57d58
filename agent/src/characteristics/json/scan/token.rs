//! The tokens that a chunk may end within: strings and their escapes, numbers, words.

use super::super::super::block::{numerals, string_special};
use super::{Scan, Step, Stop, Within};

/// Bytes of a key that tell it from others.
const KEY_BYTES: usize = 256;

/// The first bytes of a key that a chunk ended within.
#[derive(Clone, Default)]
pub(super) struct KeyText(Vec<u8>);

impl KeyText {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = KEY_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Where in the grammar of numbers the one in hand is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Number {
    #[default]
    Start,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Wrong,
}

impl Number {
    fn digit(self, byte: u8) -> Self {
        match self {
            Self::Start | Self::Minus if byte == b'0' => Self::Zero,
            Self::Start | Self::Minus | Self::Integer => Self::Integer,
            Self::Point | Self::Fraction => Self::Fraction,
            Self::Exponent | Self::ExponentSign | Self::ExponentDigits => Self::ExponentDigits,
            Self::Zero | Self::Wrong => Self::Wrong,
        }
    }

    fn sign(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Start, b'-') => Self::Minus,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            _ => Self::Wrong,
        }
    }

    pub(super) fn complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

/// The first letters of a word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    bytes: [u8; 12],
    len: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline(always)]
pub(super) fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}')
}

impl Scan {
    /// To past the closing quote of a string whose bytes start at `at`.
    #[inline(always)]
    pub(super) fn string(&mut self, bytes: &[u8], at: usize) -> Step {
        let end = string_special(bytes, at);
        if bytes.get(end) != Some(&b'"') {
            return self.long_string(bytes, at);
        }
        self.leaves += 1;
        self.nulls += u64::from(end == at);
        Ok(end + 1)
    }

    fn long_string(&mut self, bytes: &[u8], at: usize) -> Step {
        self.within = Within::String;
        self.string_filled = false;
        let end = self.rest_of_string(bytes, at)?;
        self.within = Within::Nothing;
        Ok(end)
    }

    /// Likewise, of the string that the last chunk ended within.
    pub(super) fn rest_of_string(&mut self, bytes: &[u8], at: usize) -> Step {
        match self.through_text(bytes, at) {
            Ok(end) => {
                self.leaves += 1;
                self.nulls += u64::from(!self.string_filled && end == at);
                Ok(end + 1)
            }
            Err(stop) => {
                self.string_filled |= bytes.len() > at;
                Err(stop)
            }
        }
    }

    /// To past the closing quote of the key whose opening one is at `at`, and the key's hash; 0 of a long one.
    #[inline(always)]
    pub(super) fn key(&mut self, bytes: &[u8], at: usize) -> Result<(usize, u64), Stop> {
        if bytes[at] != b'"' {
            return Err(Stop::Bad(at));
        }
        let start = at + 1;
        let end = string_special(bytes, start);
        if bytes.get(end) != Some(&b'"') || end - start > KEY_BYTES {
            return self.long_key(bytes, start).map(|end| (end, 0));
        }
        let hash = self.keys.insert(&bytes[start..end]);
        self.count_key();
        Ok((end + 1, hash))
    }

    fn long_key(&mut self, bytes: &[u8], at: usize) -> Step {
        self.within = Within::Key;
        self.key.clear();
        let end = self.rest_of_key(bytes, at)?;
        self.within = Within::Nothing;
        Ok(end)
    }

    /// Likewise, of the key that the last chunk ended within.
    pub(super) fn rest_of_key(&mut self, bytes: &[u8], at: usize) -> Step {
        match self.through_text(bytes, at) {
            Ok(end) => {
                self.key.push(&bytes[at..end]);
                self.keys.insert(&self.key.0);
                self.count_key();
                Ok(end + 1)
            }
            Err(stop) => {
                self.key.push(&bytes[at.min(bytes.len())..]);
                Err(stop)
            }
        }
    }

    #[inline(always)]
    fn count_key(&mut self) {
        self.fields += u32::from(self.stack.depth() == self.record_depth());
        self.key_count += 1;
    }

    /// To the closing quote.
    fn through_text(&mut self, bytes: &[u8], mut at: usize) -> Step {
        if self.escape > 0 {
            at = self.rest_of_escape(bytes, at)?;
        }
        loop {
            at = string_special(bytes, at);
            match bytes.get(at) {
                Some(b'"') => return Ok(at),
                Some(b'\\') => {
                    self.escape = 1;
                    at = self.rest_of_escape(bytes, at + 1)?;
                }
                Some(b'\n') => return Err(Stop::Bad(at)),
                Some(_) => {
                    self.pass(at, "a control byte stands in a string");
                    at += 1;
                }
                None => return Err(Stop::End),
            }
        }
    }

    fn rest_of_escape(&mut self, bytes: &[u8], mut at: usize) -> Step {
        while self.escape > 0 {
            let Some(&byte) = bytes.get(at) else { return Err(Stop::End) };
            if byte == b'\n' {
                return Err(Stop::Bad(at));
            }
            let digits_left = self.escape - 1;
            match (digits_left, byte) {
                (0, b'u') => self.escape = 5,
                (0, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.escape = 0,
                (0, _) => {
                    self.pass(at, "an escape in a string is none of JSON's");
                    self.escape = 0;
                }
                (1, _) if byte.is_ascii_hexdigit() => self.escape = 0,
                (_, _) if byte.is_ascii_hexdigit() => self.escape -= 1,
                _ => {
                    self.pass(at, "a \\u escape has less than four hexadecimal digits");
                    self.escape = 0;
                    return Ok(at);
                }
            }
            at += 1;
        }
        Ok(at)
    }

    /// To the end of the number that starts at `at`.
    #[inline(always)]
    pub(super) fn number(&mut self, bytes: &[u8], at: usize) -> Step {
        // One digit is the most common number, and the one that least pays for more.
        if let Some([b'0'..=b'9', next]) = bytes.get(at..at + 2)
            && ends_scalar(*next)
        {
            self.leaves += 1;
            return Ok(at + 1);
        }
        if let Some(end) = short_number(bytes, at)
            && ends_scalar(bytes[end])
        {
            self.leaves += 1;
            return Ok(end);
        }
        self.long_number(bytes, at)
    }

    fn long_number(&mut self, bytes: &[u8], at: usize) -> Step {
        self.within = Within::Number;
        let end = self.rest_of_number(Number::default(), bytes, at)?;
        self.within = Within::Nothing;
        Ok(end)
    }

    /// Likewise, of one that has come as far as `number`.
    pub(super) fn rest_of_number(&mut self, mut number: Number, bytes: &[u8], mut at: usize) -> Step {
        while let Some(&byte) = bytes.get(at) {
            number = match byte {
                b'0'..=b'9' => number.digit(byte),
                b'.' | b'e' | b'E' | b'+' | b'-' => number.sign(byte),
                b'I' if number == Number::Minus => {
                    self.word = Word::default();
                    self.word.push(b'-');
                    self.within = Within::Word;
                    return self.rest_of_word(bytes, at);
                }
                _ => return self.end_number(number, Some(byte), at),
            };
            at += 1;
        }
        self.number = number;
        Err(Stop::End)
    }

    /// A number ends where a blank or sign follows: `12ab` is none.
    pub(super) fn end_number(&mut self, number: Number, next: Option<u8>, at: usize) -> Step {
        if next.is_some_and(|next| !ends_scalar(next)) || number == Number::Minus {
            return Err(Stop::Bad(at));
        }
        if !number.complete() {
            self.pass(at, "a number is none of JSON's");
        }
        self.leaves += 1;
        Ok(at)
    }

    /// To the end of the word that starts at `at`.
    #[inline]
    pub(super) fn word(&mut self, bytes: &[u8], at: usize) -> Step {
        let Some((null, end)) = short_word(bytes, at) else { return self.long_word(bytes, at) };
        self.leaves += 1;
        self.nulls += u64::from(null);
        Ok(end)
    }

    fn long_word(&mut self, bytes: &[u8], at: usize) -> Step {
        self.within = Within::Word;
        self.word = Word::default();
        let end = self.rest_of_word(bytes, at)?;
        self.within = Within::Nothing;
        Ok(end)
    }

    /// Likewise, of the word that the last chunk ended within.
    pub(super) fn rest_of_word(&mut self, bytes: &[u8], mut at: usize) -> Step {
        while let Some(&byte) = bytes.get(at) {
            if !byte.is_ascii_alphabetic() {
                return self.end_word(Some(byte), at);
            }
            self.word.push(byte);
            at += 1;
        }
        Err(Stop::End)
    }

    pub(super) fn end_word(&mut self, next: Option<u8>, at: usize) -> Step {
        if next.is_some_and(|next| !ends_scalar(next)) {
            return Err(Stop::Bad(at));
        }
        match self.word.get() {
            b"null" => self.nulls += 1,
            b"true" | b"false" => {}
            b"NaN" | b"Infinity" | b"-Infinity" => self.pass(at, "NaN and Infinity are no numbers of JSON's"),
            word if next.is_none() && self.depth() > 0 && is_start(word) => return Err(Stop::End),
            _ => return Err(Stop::Bad(at)),
        }
        self.leaves += 1;
        Ok(at)
    }
}

/// The end of a word of JSON's that is at hand with what follows it, and whether it is null.
#[inline(always)]
pub(super) fn short_word(bytes: &[u8], at: usize) -> Option<(bool, usize)> {
    match bytes.get(at..at + 6)? {
        [b't', b'r', b'u', b'e', next, _] if ends_scalar(*next) => Some((false, at + 4)),
        [b'n', b'u', b'l', b'l', next, _] if ends_scalar(*next) => Some((true, at + 4)),
        [b'f', b'a', b'l', b's', b'e', next] if ends_scalar(*next) => Some((false, at + 5)),
        _ => None,
    }
}

/// The end of a number of fewer than 32 bytes and without an exponent, if it is as the grammar has it.
#[inline(always)]
pub(super) fn short_number(bytes: &[u8], at: usize) -> Option<usize> {
    let minus = u32::from(bytes[at] == b'-');
    let (mut digits, mut points) = numerals(bytes.get(at..at + 16)?.try_into().ok()?);
    let mut length = (digits | points | minus).trailing_ones();
    if length == 16 {
        let (more, further) = numerals(bytes.get(at + 16..at + 32)?.try_into().ok()?);
        (digits, points) = (digits | more << 16, points | further << 16);
        length = (digits | points | minus).trailing_ones();
        (length < 32).then_some(())?;
    }
    let (points, body) = ((points & ((1 << length) - 1)) >> minus, length - minus);
    let zero = bytes[at + minus as usize] == b'0';
    // A zero stands alone before the point, and the point has digits on both sides.
    let grammatical = match points {
        0 => body == 1 || body > 1 && !zero,
        _ if points & (points - 1) != 0 => false,
        point => point != 1 && (point == 2 || !zero) && point.trailing_zeros() + 1 < body,
    };
    grammatical.then_some(at + length as usize)
}

/// The start of a word that the end of the input cut.
fn is_start(word: &[u8]) -> bool {
    [&b"null"[..], b"true", b"false"].iter().any(|whole| whole.starts_with(word))
}
