//! Members of objects whose keys come again, and runs of whole numbers: in a few steps each, where all of it is at hand.
//!
//! ```text
//! {"id":1,"name":"x"}   after `"id":` came `"name":` the last time: it is looked for first
//! ```
//!
//! What was taken here would have been taken byte by byte to the same end: a literal is learned where the grammar took
//! it, and anything that is not as expected is left to it.

use super::super::super::block::{self, string_special};
use super::token::{ends_scalar, short_number, short_word};
use super::{Expect, Scan};

/// A literal of a key, from its opening quote or the blanks before it to its value.
const LITERAL: usize = 32;
/// Keys whose successors are told apart: 64 x 44 B.
const SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Literal {
    bytes: [u8; LITERAL],
    /// A bit for each byte; none is no literal.
    mask: u32,
    length: usize,
    /// Where the literal that came after this one is.
    next: usize,
}

const NONE: Literal = Literal { bytes: [0; LITERAL], mask: 0, length: 0, next: 0 };

/// The keys that came after one another.
#[derive(Clone)]
pub(super) struct Successors {
    literals: Box<[Literal; SLOTS]>,
    /// Where the next key's literal is, if it came before.
    slot: usize,
}

impl Successors {
    pub(super) fn new() -> Self {
        Self { literals: Box::new([NONE; SLOTS]), slot: 0 }
    }

    /// A record begins: the first key of the last one may come again.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.slot = 0;
    }

    #[inline(always)]
    fn take(&mut self, window: &[u8; LITERAL]) -> Option<usize> {
        let literal = &self.literals[self.slot % SLOTS];
        if literal.mask == 0 || block::equal(window, &literal.bytes) & literal.mask != literal.mask {
            return None;
        }
        self.slot = literal.next;
        Some(literal.length)
    }

    /// Keeps a literal that came, with its key's hash.
    pub(super) fn learn(&mut self, literal: &[u8], hash: u64) {
        let slot = &mut self.literals[self.slot % SLOTS];
        let next = (hash >> 32) as usize % SLOTS;
        *slot = NONE;
        if literal.len() <= LITERAL && !literal.iter().any(|byte| matches!(byte, b'\n' | b'\\')) {
            slot.bytes[..literal.len()].copy_from_slice(literal);
            slot.mask = u32::MAX >> (LITERAL - literal.len());
            slot.length = literal.len();
            slot.next = next;
        }
        self.slot = next;
    }
}

impl Scan {
    /// Whole members from `at` on, where a key may stand: for as long as their keys and values are as they mostly are.
    #[inline(always)]
    pub(super) fn members(&mut self, bytes: &[u8], mut at: usize, expect: Expect) -> (usize, Expect) {
        let own = u32::from(self.stack.depth() == self.record_depth());
        let mut before_key = expect;
        loop {
            let Some(Ok(window)) = bytes.get(at..at + LITERAL).map(<&[u8; LITERAL]>::try_from) else {
                return (at, before_key);
            };
            let Some(length) = self.successors.take(window) else { return (at, before_key) };
            at += length;
            self.fields += own;
            self.key_count += 1;
            let Some(end) = self.scalar(bytes, at) else { return (at, Expect::Value) };
            if bytes.get(end) != Some(&b',') {
                return (end, Expect::CommaOrEnd);
            }
            at = end + 1;
            before_key = Expect::Key;
        }
    }

    /// The end of a value that is short and at hand with what follows it.
    #[inline(always)]
    fn scalar(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let window = bytes.get(at..at + 2)?;
        let (null, end) = match window[0] {
            b'0'..=b'9' if matches!(window[1], b',' | b'}') => (false, at + 1),
            b'0'..=b'9' | b'-' => (false, short_number(bytes, at)?),
            b'"' => {
                let end = string_special(bytes, at + 1);
                (*bytes.get(end)? == b'"').then_some((end == at + 1, end + 1))?
            }
            b't' | b'f' | b'n' => short_word(bytes, at)?,
            _ => return None,
        };
        (window[0] == b'"' || ends_scalar(*bytes.get(end)?)).then_some(())?;
        self.leaves += 1;
        self.nulls += u64::from(null);
        Some(end)
    }

    /// Whole items of an array from `at` on, where a value may stand: as [`Self::members`].
    #[inline(always)]
    pub(super) fn items(&mut self, bytes: &[u8], mut at: usize, expect: Expect) -> (usize, Expect) {
        let at_top = self.stack.depth() == 1;
        let mut before_value = expect;
        loop {
            let Some([first, second, third]) = bytes.get(at..at + 3) else { return (at, before_value) };
            let blank = *first == b' ';
            // Only single digits gain from being looked at together.
            if (if blank { third } else { second }) == &b',' {
                let (end, values) = integers(bytes, at);
                if values > 0 {
                    self.leaves += values;
                    if at_top {
                        self.elements += values;
                        self.settle(end - 1);
                    }
                    (at, before_value) = (end, Expect::Value);
                    continue;
                }
            }
            let start = at + usize::from(blank);
            let Some(end) = self.scalar(bytes, start) else { return (at, before_value) };
            self.elements += u64::from(at_top);
            if bytes.get(end) != Some(&b',') {
                return (end, Expect::CommaOrEnd);
            }
            if at_top {
                self.settle(end);
            }
            (at, before_value) = (end + 1, Expect::Value);
        }
    }

    /// All items before the comma at `at` are whole.
    #[inline(always)]
    pub(super) fn settle(&mut self, at: usize) {
        self.settled = self.position(at);
        self.settled_elements = self.elements;
    }
}

/// Whole numbers and their commas from `at` on: where the last comma ends, and how many there are.
#[inline(always)]
fn integers(bytes: &[u8], mut at: usize) -> (usize, u64) {
    let mut values = 0;
    while let Some(Ok(window)) = bytes.get(at..at + block::LEN).map(<&[u8; block::LEN]>::try_from) {
        let (length, more) = block::integers(window);
        if more == 0 {
            break;
        }
        at += length;
        values += u64::from(more);
    }
    (at, values)
}
