//! One pass over JSON values, one after another, fed chunk by chunk: a bit a level, up to a bound, and no values built.
//!
//! ```text
//! chunk ─► between tokens ─► string, number or word ─► between tokens …
//!             └─ each of them may end with the chunk, and goes on in the next
//! ```
//!
//! Once a first value has filled its line, values are taken to be one a line, and a bad line costs that line alone.
//! What many write though the grammar forbids it is let pass, and told.

mod members;
mod token;

use super::super::keys::KeySet;
use super::stack::Stack;
use members::Successors;
use token::{KeyText, Number, Word};

/// How the input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Between values.
    Clean,
    /// Within a value.
    Inside,
    /// At this byte it stops being JSON.
    Bad(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// The token that the last chunk ended within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Nothing,
    Key,
    String,
    Number,
    Word,
    /// A line that holds no JSON value.
    BadLine,
    /// Past the end of what is JSON.
    Junk,
}

enum Stop {
    /// The chunk is used up.
    End,
    /// Here it stops being JSON.
    Bad(usize),
}

/// Where in the chunk to go on: offsets are handed on, so that they stay in registers.
type Step = Result<usize, Stop>;

/// Something that was let pass, and where it was first.
pub(super) type Lenient = (u64, &'static str);

#[derive(Clone)]
pub(super) struct Scan {
    /// Offset of the chunk in hand.
    base: u64,
    within: Within,
    expect: Expect,
    stack: Stack,
    /// Where in an escape the string is that the last chunk ended within: 0 is nowhere, 1 past the backslash, more: hex digits to come, plus 1.
    escape: u8,
    /// That string has bytes.
    string_filled: bool,
    key: KeyText,
    number: Number,
    word: Word,
    successors: Successors,
    /// Set after each newline between values.
    fresh_line: bool,
    /// Fields of the record in hand.
    fields: u32,
    ended: Ended,
    /// Whole values at the top.
    pub(super) values: u64,
    /// Of them, objects, and objects or arrays.
    pub(super) objects: u64,
    pub(super) containers: u64,
    pub(super) bad_lines: u64,
    /// A value at the top has newlines within.
    pub(super) value_spans_lines: bool,
    /// Two values at the top share a line.
    pub(super) line_holds_several: bool,
    pub(super) top_is_array: bool,
    /// Items begun of arrays at the top.
    pub(super) elements: u64,
    /// Items that were whole at `settled`.
    pub(super) settled_elements: u64,
    /// Where the last whole record ended.
    pub(super) settled: u64,
    pub(super) max_depth: u32,
    pub(super) keys: KeySet,
    /// Most fields of a record.
    pub(super) columns: u32,
    /// Values that are neither object nor array.
    pub(super) leaves: u64,
    /// Of them, nulls and empty strings.
    pub(super) nulls: u64,
    /// Objects and arrays begun, and keys.
    pub(super) opened: u64,
    key_count: u64,
    pub(super) lenient: Option<Lenient>,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            within: Within::Nothing,
            expect: Expect::Value,
            stack: Stack::default(),
            escape: 0,
            string_filled: false,
            key: KeyText::default(),
            number: Number::default(),
            word: Word::default(),
            successors: Successors::new(),
            fresh_line: true,
            fields: 0,
            ended: Ended::Clean,
            values: 0,
            objects: 0,
            containers: 0,
            bad_lines: 0,
            value_spans_lines: false,
            line_holds_several: false,
            top_is_array: false,
            elements: 0,
            settled_elements: 0,
            settled: 0,
            max_depth: 0,
            keys: KeySet::new(),
            columns: 0,
            leaves: 0,
            nulls: 0,
            opened: 0,
            key_count: 0,
            lenient: None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Err(Stop::Bad(bad)) = self.go(bytes, at) {
            at = bad;
            if self.by_line() {
                self.begin_bad_line();
            } else {
                self.ended = Ended::Bad(self.position(at));
                self.within = Within::Junk;
            }
        }
        self.base += bytes.len() as u64;
    }

    /// How the input ended, once it has.
    pub(super) fn finish(&mut self) -> Ended {
        let token = match self.within {
            // A number that is not all there is no wrong one.
            Within::Number if self.stack.depth() == 0 || self.number.complete() => {
                self.end_number(self.number, None, 0)
            }
            Within::Word => self.end_word(None, 0),
            _ => Err(Stop::End),
        };
        if let Ok(end) = token {
            self.within = Within::Nothing;
            self.expect = self.after_value(false, end);
        }
        match (token, self.within) {
            (_, Within::Junk) => self.ended,
            (Err(Stop::Bad(_)), _) if self.by_line() => {
                self.begin_bad_line();
                Ended::Clean
            }
            (Err(Stop::Bad(_)), _) => Ended::Bad(self.base),
            (_, Within::Nothing | Within::BadLine) if self.stack.depth() == 0 => Ended::Clean,
            _ => Ended::Inside,
        }
    }

    /// Brackets, keys and values that were as they should be.
    pub(super) fn tokens(&self) -> u64 {
        self.opened + self.key_count + self.leaves
    }

    /// Values that are in an object or array.
    pub(super) fn children(&self) -> u64 {
        (self.opened + self.leaves).saturating_sub(self.values + self.bad_lines)
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.depth()
    }

    #[inline]
    fn position(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    #[cold]
    fn pass(&mut self, at: usize, what: &'static str) {
        let at = self.position(at);
        self.lenient.get_or_insert((at, what));
    }

    /// Values have come one a line so far, and there is at least one.
    pub(super) fn by_line(&self) -> bool {
        let started_line = self.stack.depth() > 0 || self.fresh_line;
        self.values > 0 && !self.value_spans_lines && !self.line_holds_several && started_line
    }

    #[cold]
    fn begin_bad_line(&mut self) {
        self.bad_lines += 1;
        self.stack.clear();
        self.escape = 0;
        self.expect = Expect::Value;
        self.within = Within::BadLine;
    }

    /// From `at` to the end of the chunk.
    fn go(&mut self, bytes: &[u8], at: usize) -> Result<(), Stop> {
        let at = if self.within == Within::Nothing { at } else { self.rest_of_token(bytes, at)? };
        // In a register while it lasts.
        let mut expect = self.expect;
        let result = self.run(bytes, at, &mut expect);
        self.expect = expect;
        result
    }

    /// One member or item a turn: its comma, its key and its value.
    #[inline(always)]
    fn run(&mut self, bytes: &[u8], mut at: usize, expect: &mut Expect) -> Result<(), Stop> {
        loop {
            match *expect {
                Expect::Key | Expect::KeyOrEnd => (at, *expect) = self.members(bytes, at, *expect),
                Expect::Value | Expect::ValueOrEnd if self.stack.in_array() => {
                    (at, *expect) = self.items(bytes, at, *expect);
                }
                _ => {}
            }
            let start = at;
            at = self.token(bytes, at)?;
            match *expect {
                Expect::CommaOrEnd if bytes[at] == b',' => {
                    *expect = self.comma(at);
                    at += 1;
                }
                Expect::CommaOrEnd => (at, *expect) = self.close(bytes[at], at)?,
                Expect::Key | Expect::KeyOrEnd if bytes[at] == b'}' => {
                    (at, *expect) = self.early_end(*expect, b'}', at)?;
                }
                Expect::Key | Expect::KeyOrEnd => {
                    let hash;
                    (at, hash) = self.key(bytes, at)?;
                    *expect = Expect::Colon;
                    at = self.token(bytes, at)?;
                    at = self.colon(bytes, at, expect)?;
                    at = self.token(bytes, at)?;
                    self.successors.learn(&bytes[start..at], hash);
                    (at, *expect) = self.value(*expect, bytes, at)?;
                }
                Expect::Colon => at = self.colon(bytes, at, expect)?,
                Expect::Value | Expect::ValueOrEnd => (at, *expect) = self.value(*expect, bytes, at)?,
            }
        }
    }

    #[inline(always)]
    fn colon(&self, bytes: &[u8], at: usize, expect: &mut Expect) -> Step {
        if bytes[at] != b':' {
            return Err(Stop::Bad(at));
        }
        *expect = Expect::Value;
        Ok(at + 1)
    }

    /// The end of the token that the last chunk ended within.
    #[cold]
    fn rest_of_token(&mut self, bytes: &[u8], at: usize) -> Step {
        let end = match self.within {
            Within::Key => {
                let end = self.rest_of_key(bytes, at)?;
                self.expect = Expect::Colon;
                end
            }
            Within::String | Within::Number | Within::Word => {
                let end = match self.within {
                    Within::String => self.rest_of_string(bytes, at)?,
                    Within::Number => self.rest_of_number(self.number, bytes, at)?,
                    _ => self.rest_of_word(bytes, at)?,
                };
                self.expect = self.after_value(false, end);
                end
            }
            Within::BadLine => self.rest_of_bad_line(bytes, at)?,
            Within::Junk => return Err(Stop::End),
            Within::Nothing => at,
        };
        self.within = Within::Nothing;
        Ok(end)
    }

    #[cold]
    fn rest_of_bad_line(&mut self, bytes: &[u8], at: usize) -> Step {
        let Some(found) = memchr::memchr(b'\n', &bytes[at..]) else { return Err(Stop::End) };
        self.settled = self.position(at + found);
        Ok(at + found)
    }

    /// Where the next byte is that is not blank.
    #[inline(always)]
    fn token(&mut self, bytes: &[u8], mut at: usize) -> Step {
        loop {
            match bytes.get(at) {
                Some(b'!'..) => return Ok(at),
                Some(b' ' | b'\t' | b'\r') => at += 1,
                Some(b'\n') => at = self.newline(at)?,
                Some(_) => return Ok(at),
                None => return Err(Stop::End),
            }
        }
    }

    #[inline]
    fn newline(&mut self, at: usize) -> Step {
        if self.stack.depth() == 0 {
            self.fresh_line = true;
            self.settled = self.position(at) + 1;
        } else if self.by_line() {
            return Err(Stop::Bad(at));
        } else {
            self.value_spans_lines = true;
        }
        Ok(at + 1)
    }

    #[inline(always)]
    fn value(&mut self, expect: Expect, bytes: &[u8], at: usize) -> Result<(usize, Expect), Stop> {
        let byte = bytes[at];
        match self.stack.depth() {
            0 => self.begin_at_top(byte),
            _ if matches!(byte, b']' | b'}') => return self.early_end(expect, byte, at),
            1 => self.elements += u64::from(self.top_is_array),
            _ => {}
        }
        let end = match byte {
            b'"' => self.string(bytes, at + 1)?,
            b'-' | b'0'..=b'9' => self.number(bytes, at)?,
            b'{' | b'[' => return Ok((at + 1, self.open(byte == b'{'))),
            _ => self.word(bytes, at)?,
        };
        Ok((end, self.after_value(false, end)))
    }

    fn begin_at_top(&mut self, byte: u8) {
        self.line_holds_several |= !self.fresh_line;
        self.top_is_array = byte == b'[';
    }

    #[inline]
    fn open(&mut self, object: bool) -> Expect {
        self.stack.push(object);
        let depth = self.stack.depth();
        self.max_depth = self.max_depth.max(u32::try_from(depth).unwrap_or(u32::MAX));
        if depth == self.record_depth() {
            self.fields = 0;
            self.successors.begin();
        }
        self.opened += 1;
        if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd }
    }

    /// A record is the value at the top, or an item of the array at the top.
    #[inline]
    fn record_depth(&self) -> usize {
        1 + usize::from(self.top_is_array)
    }

    /// A closing bracket where a value could stand: the end of an empty container, or a comma too many.
    fn early_end(&mut self, expect: Expect, byte: u8, at: usize) -> Result<(usize, Expect), Stop> {
        match expect {
            Expect::Value => self.pass(at, "a value is missing"),
            Expect::Key => self.pass(at, "a key is missing"),
            _ => {}
        }
        self.close(byte, at)
    }

    #[inline(always)]
    fn close(&mut self, byte: u8, at: usize) -> Result<(usize, Expect), Stop> {
        let object = self.stack.in_object();
        if byte != if object { b'}' } else { b']' } {
            return Err(Stop::Bad(at));
        }
        if self.stack.depth() == self.record_depth() {
            self.columns = self.columns.max(self.fields);
        }
        self.stack.pop();
        Ok((at + 1, self.after_value(true, at + 1)))
    }

    /// After a value that ends before `at`: what follows.
    #[inline(always)]
    fn after_value(&mut self, container: bool, at: usize) -> Expect {
        if self.stack.depth() == 0 { self.after_top(container, at) } else { Expect::CommaOrEnd }
    }

    fn after_top(&mut self, container: bool, at: usize) -> Expect {
        self.values += 1;
        self.containers += u64::from(container);
        self.objects += u64::from(container && !self.top_is_array);
        self.fresh_line = false;
        self.settled = self.position(at);
        self.settled_elements = self.elements;
        Expect::Value
    }

    #[inline(always)]
    fn comma(&mut self, at: usize) -> Expect {
        if self.stack.depth() == 1 && self.top_is_array {
            self.settle(at);
        }
        if self.stack.in_object() { Expect::Key } else { Expect::Value }
    }
}
