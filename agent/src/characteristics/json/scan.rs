//! One pass over the bytes of JSON values, one after another: a scanner with one bit a level, and no values built.
//!
//! Structure is checked as far as records and depth depend on it; numbers and escapes are taken as they look. Once
//! a first value has filled its line, values are taken to be one a line, and a bad line costs that line alone.

use super::super::keys::KeySet;
use super::stack::Stack;
use super::string::special;

/// How the input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Between values.
    Clean,
    /// Within a value.
    Inside,
    /// At this byte it stops being JSON.
    Bad(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

enum Stop {
    End,
    Bad,
}

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Stack,
    expect: Expect,
    /// Where the current line starts, as far as it matters: set after each newline between values.
    fresh_line: bool,
    /// Fields of the open objects at depth 1 and 2.
    fields: [u32; 2],
    /// Whole values at the top.
    pub(super) values: u64,
    /// Of them, objects.
    pub(super) objects: u64,
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
    pub(super) settled: usize,
    pub(super) max_depth: u32,
    pub(super) keys: KeySet,
    /// Most fields of a record.
    pub(super) columns: u32,
    /// Values that are neither object nor array.
    pub(super) leaves: u64,
    /// Of them, nulls and empty strings.
    pub(super) nulls: u64,
    /// Brackets, keys and values that were as they should be.
    pub(super) tokens: u64,
    /// Where something was let pass.
    pub(super) lenient_at: Option<usize>,
    pub(super) end: End,
}

impl<'a> Scan<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let mut scan = Self {
            bytes,
            at: 0,
            stack: Stack::default(),
            expect: Expect::Value,
            fresh_line: true,
            fields: [0; 2],
            values: 0,
            objects: 0,
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
            tokens: 0,
            lenient_at: None,
            end: End::Clean,
        };
        scan.run();
        scan
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.depth()
    }

    /// Lines that hold a value, or should.
    pub(super) fn lines(&self) -> u64 {
        self.values + self.bad_lines + u64::from(self.end == End::Inside)
    }

    fn run(&mut self) {
        loop {
            match self.step() {
                Ok(()) => {}
                Err(Stop::End) if self.stack.depth() == 0 && self.expect == Expect::Value => return,
                Err(Stop::End) => return self.end = End::Inside,
                Err(Stop::Bad) if self.by_line() => self.skip_line(),
                Err(Stop::Bad) => return self.end = End::Bad(self.at),
            }
        }
    }

    /// Values have come one a line so far, and there is at least one.
    fn by_line(&self) -> bool {
        self.values > 0 && !self.value_spans_lines && !self.line_holds_several && self.started_line()
    }

    /// The value in hand began on a line of its own.
    fn started_line(&self) -> bool {
        self.stack.depth() > 0 || self.fresh_line
    }

    #[cold]
    fn skip_line(&mut self) {
        self.bad_lines += 1;
        self.stack.clear();
        self.expect = Expect::Value;
        self.at = memchr::memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |found| self.at + found);
        self.settled = self.at;
    }

    #[inline]
    fn step(&mut self) -> Result<(), Stop> {
        let byte = self.token()?;
        match self.expect {
            Expect::CommaOrEnd => self.separator(byte),
            Expect::Value | Expect::ValueOrEnd => self.value(byte),
            Expect::Key | Expect::KeyOrEnd => self.key(byte),
        }
    }

    /// The next byte that is not blank.
    #[inline]
    fn token(&mut self) -> Result<u8, Stop> {
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(Stop::End) };
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' => self.newline()?,
                _ => return Ok(byte),
            }
        }
    }

    #[inline]
    fn newline(&mut self) -> Result<(), Stop> {
        if self.stack.depth() == 0 {
            self.fresh_line = true;
            self.settled = self.at + 1;
        } else if self.by_line() {
            return Err(Stop::Bad);
        } else {
            self.value_spans_lines = true;
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn value(&mut self, byte: u8) -> Result<(), Stop> {
        match (self.stack.depth(), byte) {
            (0, _) => self.begin_at_top(byte),
            (_, b']' | b'}') => return self.early_end(byte),
            (1, _) if self.top_is_array => self.elements += 1,
            _ => {}
        }
        match byte {
            b'{' | b'[' => self.open(byte == b'{'),
            b'"' => {
                let start = self.at + 1;
                self.string()?;
                self.leaf(self.at - start == 1);
            }
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.literal()?,
        }
        Ok(())
    }

    fn begin_at_top(&mut self, byte: u8) {
        self.line_holds_several |= !self.fresh_line;
        self.top_is_array = byte == b'[';
    }

    #[inline]
    fn open(&mut self, object: bool) {
        self.at += 1;
        self.stack.push(object);
        let depth = self.stack.depth();
        self.max_depth = self.max_depth.max(u32::try_from(depth).unwrap_or(u32::MAX));
        if let Some(fields) = self.fields.get_mut(depth - 1) {
            *fields = 0;
        }
        self.tokens += 1;
        self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
    }

    /// A closing bracket where a value could stand: the end of an empty array, or a comma too many.
    fn early_end(&mut self, byte: u8) -> Result<(), Stop> {
        if self.expect == Expect::Value {
            self.lenient_at.get_or_insert(self.at);
        }
        self.close(byte)
    }

    #[inline]
    fn close(&mut self, byte: u8) -> Result<(), Stop> {
        let object = self.stack.in_object();
        if object != (byte == b'}') {
            return Err(Stop::Bad);
        }
        self.at += 1;
        self.tokens += 1;
        self.stack.pop();
        self.after_value(object);
        Ok(())
    }

    #[inline]
    fn leaf(&mut self, null: bool) {
        self.leaves += 1;
        self.nulls += u64::from(null);
        self.tokens += 1;
        self.after_value(false);
    }

    #[inline]
    fn after_value(&mut self, object: bool) {
        self.expect = Expect::CommaOrEnd;
        if self.stack.depth() == 0 {
            self.values += 1;
            self.objects += u64::from(object);
            self.fresh_line = false;
            self.expect = Expect::Value;
            self.settled = self.at;
            self.settled_elements = self.elements;
        }
    }

    #[inline]
    fn separator(&mut self, byte: u8) -> Result<(), Stop> {
        if byte != b',' {
            return if matches!(byte, b']' | b'}') { self.close(byte) } else { Err(Stop::Bad) };
        }
        if self.stack.depth() == 1 && self.top_is_array {
            self.settled = self.at;
            self.settled_elements = self.elements;
        }
        self.at += 1;
        self.expect = if self.stack.in_object() { Expect::Key } else { Expect::Value };
        Ok(())
    }

    #[inline]
    fn key(&mut self, byte: u8) -> Result<(), Stop> {
        if byte != b'"' {
            if byte == b'}' && self.expect == Expect::Key {
                self.lenient_at.get_or_insert(self.at);
            }
            return if byte == b'}' { self.close(byte) } else { Err(Stop::Bad) };
        }
        let start = self.at + 1;
        self.string()?;
        let key = &self.bytes[start..self.at - 1];
        if self.token()? != b':' {
            return Err(Stop::Bad);
        }
        self.at += 1;
        self.keys.insert(key);
        self.count_field();
        self.tokens += 1;
        self.expect = Expect::Value;
        Ok(())
    }

    #[inline]
    fn count_field(&mut self) {
        let depth = self.stack.depth();
        // A record is the value at the top, or an item of the array at the top.
        if let Some(fields) = self.fields.get_mut(depth - 1)
            && (depth == 2) == self.top_is_array
        {
            *fields += 1;
            self.columns = self.columns.max(*fields);
        }
    }

    /// Past the closing quote of the string that starts here.
    #[inline]
    fn string(&mut self) -> Result<(), Stop> {
        let mut at = self.at + 1;
        loop {
            at = special(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(());
                }
                Some(b'\\') if self.bytes.get(at + 1) != Some(&b'\n') => at += 2,
                Some(b'\n' | b'\\') => {
                    self.at = at;
                    return Err(Stop::Bad);
                }
                Some(_) => {
                    self.lenient_at.get_or_insert(at);
                    at += 1;
                }
                None => {
                    self.at = self.bytes.len();
                    self.expect = Expect::CommaOrEnd;
                    return Err(Stop::End);
                }
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let mut at = start + 1;
        while at < self.bytes.len() && matches!(self.bytes[at], b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') {
            at += 1;
        }
        if at == start + 1 && self.bytes[start] == b'-' {
            return self.literal();
        }
        self.end_scalar(at, false)
    }

    #[inline]
    fn literal(&mut self) -> Result<(), Stop> {
        const STRICT: [&[u8]; 3] = [b"null", b"true", b"false"];
        /// Not JSON, but written by many.
        const LENIENT: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
        let rest = &self.bytes[self.at..];
        if let Some(word) = STRICT.iter().find(|word| rest.starts_with(word)) {
            return self.end_scalar(self.at + word.len(), word[0] == b'n');
        }
        if let Some(word) = LENIENT.iter().find(|word| rest.starts_with(word)) {
            self.lenient_at.get_or_insert(self.at);
            return self.end_scalar(self.at + word.len(), false);
        }
        let cut = STRICT.iter().any(|word| word.starts_with(rest));
        Err(if cut && self.stack.depth() > 0 { Stop::End } else { Stop::Bad })
    }

    /// A scalar ends where a blank or sign follows: `12ab` is none.
    #[inline]
    fn end_scalar(&mut self, at: usize, null: bool) -> Result<(), Stop> {
        match self.bytes.get(at) {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}') => {
                self.at = at;
                self.leaf(null);
                Ok(())
            }
            Some(_) => Err(Stop::Bad),
        }
    }
}
