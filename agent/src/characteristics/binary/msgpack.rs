//! MessagePack, which has no magic: bytes are taken for it only if they parse, are maps or arrays, and text in them
//! is text.

use super::cursor::Cursor;
use super::{Detail, Facts, Held, Hint};
use crate::characteristics::{extrapolate, fan_out};

/// Bytes walked: some 20 ms of work.
const BUDGET: usize = 8 << 20;
/// Containers within containers that are walked: 16 B each. Noise does not nest so.
const MOST_DEPTH: usize = 100_000;
/// Numbers and their like are shorter.
const SHORT: usize = 20;
/// Values after which what ends too early is taken for a cut batch.
const CONVINCING: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Inside,
    /// Containers are nested further than is walked.
    TooDeep,
    Bad,
}

/// A container that is not full yet.
#[derive(Clone, Copy)]
struct Open {
    /// Keys and values of a map, items of an array.
    left: u64,
    map: bool,
}

#[derive(Debug)]
struct Scan {
    end: End,
    /// It ends between two values, or within a short one.
    between: bool,
    /// Whole objects at the top.
    objects: u64,
    /// The last one's end.
    settled: usize,
    /// Items that the first object claims, if it is an array; and those that were seen.
    claimed: Option<u64>,
    items: u64,
    /// Each top object is a map or an array.
    containers: bool,
    /// Keys and containers among them.
    values: u64,
    keys: u64,
    opened: u64,
    texts: u64,
    max_depth: u32,
    columns: u64,
    nulls: u64,
    leaves: u64,
}

pub(super) fn facts(held: &Held<'_>, hint: Hint) -> Option<Facts> {
    let bytes = &held.head()[..held.head().len().min(BUDGET)];
    let whole = held.whole().is_some_and(|all| all.len() == bytes.len());
    let claimed = hint == Hint::Msgpack;
    let opens = bytes.first().is_some_and(|byte| matches!(byte, 0x80..=0x9f | 0xdc..=0xdf));
    if !opens && !claimed {
        return None;
    }
    let scan = Scan::of(bytes);
    // Noise soon has text that is none, or a length that leads past the end.
    let wide = matches!(bytes.first(), Some(0xdc..=0xdf)) && scan.between;
    let convincing = scan.values >= CONVINCING && (wide || scan.texts * 8 >= scan.values);
    let accepted = match scan.end {
        End::Clean => claimed || scan.containers && (scan.values > 1 || bytes.len() == 1 && scan.values == 1),
        End::Inside => claimed && scan.values > 0 || scan.containers && convincing,
        End::TooDeep => claimed || scan.containers,
        End::Bad => false,
    };
    accepted.then(|| scan.facts(bytes, held, whole))
}

impl Scan {
    fn of(bytes: &[u8]) -> Self {
        let mut scan = Self {
            end: End::Clean,
            between: false,
            objects: 0,
            settled: 0,
            claimed: None,
            items: 0,
            containers: true,
            values: 0,
            keys: 0,
            opened: 0,
            texts: 0,
            max_depth: 0,
            columns: 0,
            nulls: 0,
            leaves: 0,
        };
        scan.walk(bytes);
        scan
    }

    fn walk(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        let mut open: Vec<Open> = Vec::new();
        while !cursor.is_empty() {
            let key = open.last().is_some_and(|top| top.map && top.left % 2 == 0);
            let start = cursor;
            let opened = match self.value(&mut cursor, key) {
                Ok(opened) => opened,
                Err(end) => {
                    self.end = end;
                    self.between = start.rest().len() < SHORT;
                    return;
                }
            };
            self.values += 1;
            self.keys += u64::from(key);
            self.opened += u64::from(opened.is_some());
            if open.is_empty() {
                self.containers &= opened.is_some();
                if self.objects == 0 {
                    self.claimed = opened.filter(|opened| !opened.map).map(|opened| opened.left);
                }
            }
            if let Some(opened) = opened {
                if open.len() >= MOST_DEPTH {
                    self.end = End::TooDeep;
                    return;
                }
                self.max_depth = self.max_depth.max(open.len() as u32 + 1);
                open.push(opened);
            } else if let Some(top) = open.last_mut() {
                top.left -= 1;
            }
            self.close(&mut open, cursor.at());
        }
        self.between = true;
        self.end = if open.is_empty() { End::Clean } else { End::Inside };
    }

    /// Closes what is full; each closed container is a value of the one around it.
    fn close(&mut self, open: &mut Vec<Open>, at: usize) {
        loop {
            match open.last() {
                Some(top) if top.left > 0 => {
                    if let ([first], 0, Some(claimed)) = (&open[..], self.objects, self.claimed) {
                        self.items = claimed - first.left;
                    }
                    return;
                }
                Some(_) => {
                    open.pop();
                    if let Some(around) = open.last_mut() {
                        around.left -= 1;
                        continue;
                    }
                }
                None => {}
            }
            if self.objects == 0 {
                self.items = self.claimed.unwrap_or(0);
            }
            self.objects += 1;
            self.settled = at;
            return;
        }
    }

    /// Reads a scalar whole, or a container's head.
    fn value(&mut self, cursor: &mut Cursor<'_>, key: bool) -> Result<Option<Open>, End> {
        let byte = cursor.byte().ok_or(End::Inside)?;
        let wide = |cursor: &mut Cursor<'_>, log: u8| cursor.big(1 << log).ok_or(End::Inside);
        let skipped = match byte {
            0x00..=0x7f | 0xe0..=0xff | 0xc2 | 0xc3 => 0,
            0xc0 => {
                self.nulls += u64::from(!key);
                0
            }
            0x80..=0x8f => return self.opens(u64::from(byte & 15), true, key),
            0x90..=0x9f => return self.opens(u64::from(byte & 15), false, key),
            0xdc | 0xdd => return wide(cursor, byte - 0xdb).and_then(|length| self.opens(length, false, key)),
            0xde | 0xdf => return wide(cursor, byte - 0xdd).and_then(|length| self.opens(length, true, key)),
            0xa0..=0xbf => return self.text(cursor, u64::from(byte & 31), key),
            0xd9..=0xdb => return wide(cursor, byte - 0xd9).and_then(|length| self.text(cursor, length, key)),
            0xc4..=0xc6 => wide(cursor, byte - 0xc4)?,
            0xc7..=0xc9 => wide(cursor, byte - 0xc7)? + 1,
            0xcc..=0xcf => 1 << (byte - 0xcc),
            0xd0..=0xd3 => 1 << (byte - 0xd0),
            0xca => 4,
            0xcb => 8,
            0xd4..=0xd8 => 1 + (1 << (byte - 0xd4)),
            0xc1 => return Err(End::Bad),
        };
        self.leaves += u64::from(!key);
        cursor.take(skipped).map(|_| None).ok_or(End::Inside)
    }

    fn opens(&mut self, length: u64, map: bool, key: bool) -> Result<Option<Open>, End> {
        // No language's maps have these for keys.
        if key {
            return Err(End::Bad);
        }
        if map {
            self.columns = self.columns.max(length);
        }
        Ok(Some(Open { left: if map { length * 2 } else { length }, map }))
    }

    fn text(&mut self, cursor: &mut Cursor<'_>, length: u64, key: bool) -> Result<Option<Open>, End> {
        let text = cursor.take(length).ok_or(End::Inside)?;
        self.leaves += u64::from(!key);
        self.texts += 1;
        std::str::from_utf8(text).map(|_| None).map_err(|_| End::Bad)
    }

    fn facts(&self, bytes: &[u8], held: &Held<'_>, whole: bool) -> Facts {
        let one_array =
            self.claimed.is_some() && (self.objects == 0 || self.objects == 1 && self.settled == bytes.len());
        let records = match (one_array, whole) {
            (true, false) => self.claimed.filter(|items| *items <= held.total()).unwrap_or(self.items),
            (true, true) => self.items,
            (false, false) => extrapolate::records(self.objects, self.settled as u64, held.total()),
            (false, true) => self.objects + u64::from(self.end != End::Clean),
        };
        let problem = match self.end {
            End::Inside if whole && self.claimed.is_some_and(|items| items > held.total()) => {
                Some("a MessagePack array claims more items than the batch has bytes")
            }
            End::Inside if whole => Some("cut short: ends within a MessagePack value"),
            End::TooDeep => Some("nested more than 100,000 levels deep, and not looked at from there on"),
            _ => None,
        };
        let within = self.values.saturating_sub(self.keys + self.objects);
        Facts {
            records: Some(records),
            max_depth: Some(self.max_depth),
            columns: (1..=held.total())
                .contains(&self.columns)
                .then(|| u32::try_from(self.columns).unwrap_or(u32::MAX)),
            null_share: (self.leaves > 0).then(|| self.nulls as f64 / self.leaves as f64),
            detail: Detail { fan_out: fan_out(within, self.opened), ..Detail::default() },
            estimated: Some(!whole || self.end == End::TooDeep),
            problem: problem.map(str::to_owned),
            ..Facts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], hint: Hint) -> Option<Facts> {
        facts(&Held::new(bytes, &[], bytes.len() as u64), hint)
    }

    #[test]
    fn objects_or_the_items_of_one_array_are_the_records() {
        let map = b"\x82\xa1a\xc0\xa1b\x92\x01\xcd\x01\x00";
        let array = [&[0x92][..], map, map].concat();
        let every = b"\xdc\x00\x0f\xc2\xc3\xca....\xcb........\xcc.\xcd..\xce....\xcf........\xd0.\xd3........\xd6\xff....\xc7\x02.ab\xc4\x01.\xd9\x01x\xe0";
        for (bytes, records, depth) in [
            (&map[..], 1, 2),
            (&map.repeat(3)[..], 3, 2),
            (&array[..], 2, 3),
            (b"\x90", 0, 1),
            (b"\x80", 1, 1),
            (b"\xdd\0\0\0\x02\x01\x91\x90", 2, 3),
            (every, 15, 1),
        ] {
            let found = of(bytes, Hint::None).unwrap_or_else(|| panic!("{bytes:?}"));
            assert_eq!((found.records, found.max_depth), (Some(records), Some(depth)), "{bytes:?}");
            assert_eq!((found.problem, found.estimated), (None, Some(false)));
        }
        let found = of(&array, Hint::None).unwrap();
        // Two maps, each of a null and an array of two.
        assert_eq!((found.null_share, found.detail.fan_out), (Some(2.0 / 6.0), Some(10.0 / 5.0)));
    }

    #[test]
    fn text_and_noise_are_not_taken_for_it() {
        for bytes in [
            &b"plain text"[..],
            b"\x93quoted\x94 text of an old encoding",
            b"\x81\xa2\xff\xfe\x01",
            b"\x82\x90\x01",
            b"\x05\x06",
        ] {
            assert!(of(bytes, Hint::None).is_none(), "{bytes:?}");
        }
        assert!(of(b"\x05\x06", Hint::Msgpack).is_some());
        let mut random = fastrand::Rng::with_seed(3);
        for first in [0x85, 0x9f, 0xdc, 0xde] {
            let noise: Vec<u8> = std::iter::once(first).chain((0..4096).map(|_| random.u8(..))).collect();
            assert!(of(&noise, Hint::None).is_none(), "{first}");
        }
    }

    #[test]
    fn a_key_that_is_null_is_no_value() {
        let found = of(b"\x82\xc0\x01\xc0\xc0", Hint::None).unwrap();
        assert_eq!(found.null_share, Some(0.5));
    }

    #[test]
    fn an_array_that_claims_four_thousand_million_items_is_told_and_costs_nothing() {
        let lie = [b"\xdd\xff\xff\xff\xff", &[1; 20][..]].concat();
        let found = of(&lie, Hint::None).unwrap();
        assert_eq!(found.records, Some(20));
        assert!(found.problem.unwrap().contains("claims"));
    }

    #[test]
    fn depth_is_told_up_to_a_bound_and_what_is_deeper_is_told_to_be() {
        let deep = [vec![0x91; 50_000], vec![0]].concat();
        assert_eq!(of(&deep, Hint::None).unwrap().max_depth, Some(50_000));
        for hint in [Hint::None, Hint::Msgpack] {
            let deeper = of(&[vec![0x91; 150_000], vec![0]].concat(), hint).unwrap();
            assert_eq!((deeper.max_depth, deeper.estimated), (Some(MOST_DEPTH as u32), Some(true)));
            assert!(deeper.problem.unwrap().contains("100,000 levels"));
        }
    }

    #[test]
    fn a_cut_view_tells_the_array_s_claim_or_extrapolates() {
        let array = [&[0xdc, 3, 0xe8][..], &b"\x81\xa3key\xa5value".repeat(1000)].concat();
        let found = facts(&Held::new(&array[..3000], &[], array.len() as u64), Hint::None).unwrap();
        assert_eq!((found.records, found.estimated), (Some(1000), Some(true)));
        let stream = b"\x81\xa3key\xa5value".repeat(1000);
        let found = facts(&Held::new(&stream[..3000], &[], stream.len() as u64), Hint::None).unwrap();
        assert_eq!((found.records, found.estimated), (Some(1000), Some(true)));
    }
}
