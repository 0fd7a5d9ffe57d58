//! Protocol Buffers, which have no magic: bytes are taken for them only if they parse to the end and look meant.
//!
//! A message may stand alone, or many may follow one another, each with its length before it: as a varint, as 4 bytes
//! of either order, or as gRPC frames them. Each plausible field is evidence, text and messages within it are more;
//! random bytes of some length hardly ever parse to their end.

use super::cursor::Cursor;
use super::wire::{self, Value};
use super::{Facts, Held, Hint};

/// Evidence, in rough bits, that bytes which parse to the end are meant to.
const CONVINCING: u32 = 12;
/// The same of bytes of which only a first part was seen.
const CONVINCING_CUT: u32 = 32;
/// A tag of a number this low is common in messages and rare in other bytes.
const LOW_NUMBER: u32 = 128;
const MOST_DEPTH: u32 = 32;
/// Fields walked, over all ways to read the bytes: some 10 ms.
const MOST_FIELDS: u32 = 1 << 20;
/// Evidence past which no more is looked for.
const ENOUGH: u32 = 64;
/// Bytes that are looked at for being all alike.
const SAMPLE: usize = 64 << 10;

/// What a first part of a message or of a stream of them told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It parses to the end.
    Clean,
    /// It ends within a field.
    Inside,
    /// The next bytes are no field.
    Bad,
}

#[derive(Clone, Copy, Debug)]
struct Parse {
    end: End,
    bits: u32,
    fields: u32,
    /// Fields that may still be walked; at 0 the rest is taken to be as the start.
    left: u32,
}

impl Parse {
    fn start(left: u32) -> Self {
        Self { end: End::Clean, bits: 0, fields: 0, left }
    }
}

pub(super) fn facts(held: &Held<'_>, hint: Hint) -> Option<Facts> {
    let bytes = held.head();
    let first = *bytes.first()?;
    let claimed = hint == Hint::Protobuf;
    if !claimed && bytes.iter().take(SAMPLE).all(|byte| *byte == first) {
        return None;
    }
    let (mut left, mut cut) = (MOST_FIELDS, false);
    let prefixes: [Option<Prefix>; 5] = [None, Some(varint), Some(grpc), Some(little), Some(big)];
    for prefix in prefixes {
        let parse = match prefix {
            None => message(bytes, left),
            Some(prefix) => stream(bytes, prefix, left),
        };
        let all = !held.is_cut() && parse.left > 0;
        let convinces = match parse.end {
            End::Clean => claimed || parse.bits >= if all { CONVINCING } else { CONVINCING_CUT },
            End::Inside => !all && (claimed || parse.bits >= CONVINCING_CUT),
            End::Bad => false,
        };
        if convinces {
            return Some(Facts { estimated: Some(held.is_cut()), ..Facts::default() });
        }
        left = parse.left;
        cut |= claimed && parse.end == End::Inside && parse.left > 0;
    }
    cut.then(|| Facts::problem("cut short, or a length is wrong: a Protocol Buffers field ends past the end"))
}

/// A message that fills the bytes.
fn message(bytes: &[u8], left: u32) -> Parse {
    let mut parse = Parse::start(left);
    parse.end = fields(bytes, &mut parse, MOST_DEPTH);
    // Random fields rarely end where the bytes do.
    parse.bits += if parse.end == End::Clean && bytes.len() > 2 { bytes.len().ilog2() } else { 0 };
    parse
}

fn fields(bytes: &[u8], parse: &mut Parse, depth: u32) -> End {
    let mut cursor = Cursor::new(bytes);
    let mut groups = Vec::new();
    while !cursor.is_empty() {
        let mut ahead = cursor;
        let Some((number, value)) = wire::field(&mut ahead) else {
            let Some(inner) = cut_off(cursor) else { return End::Bad };
            // What is there of the field is evidence too, even if it is the only field.
            if parse.bits < ENOUGH && !inner.is_empty() {
                parse.fields += 1;
                parse.bits += meant(inner, true, depth, &mut parse.left);
            }
            return End::Inside;
        };
        cursor = ahead;
        let Some(left) = parse.left.checked_sub(1) else { return End::Inside };
        parse.left = left;
        parse.fields += 1;
        // Most messages start with their field 1; one byte in fifty is its tag.
        let starts = parse.fields == 1 && number == 1;
        let evidence = if number < LOW_NUMBER { 3 } else { 0 } + if starts { 3 } else { 0 };
        parse.bits = parse.bits.saturating_add(evidence);
        match value {
            Value::GroupStart if groups.len() < MOST_DEPTH as usize => groups.push(number),
            Value::GroupEnd if groups.pop() == Some(number) => {}
            Value::GroupStart | Value::GroupEnd => return End::Bad,
            Value::Bytes(inner) if parse.bits < ENOUGH => parse.bits += meant(inner, false, depth, &mut parse.left),
            _ => {}
        }
    }
    if groups.is_empty() { End::Clean } else { End::Inside }
}

/// What is there of a field that ends past the end; nothing if these bytes start no field.
fn cut_off(mut cursor: Cursor<'_>) -> Option<&[u8]> {
    let start = cursor.rest();
    let Some(tag) = cursor.varint() else { return (start.len() < 5).then_some(&[]) };
    (8..=u64::from(u32::MAX)).contains(&tag).then_some(())?;
    let value = cursor.rest();
    match tag & 7 {
        0 => (value.len() < 10 && cursor.varint().is_none()).then_some(&[]),
        1 | 5 => Some(&[]),
        2 if cursor.varint().is_some() => Some(cursor.rest()),
        2 => (value.len() < 10).then_some(&[]),
        _ => None,
    }
}

/// The evidence of a field's bytes: of text by its length, of a message by its fields, of other bytes none.
fn meant(inner: &[u8], cut: bool, depth: u32, left: &mut u32) -> u32 {
    let sample = &inner[..inner.len().min(64)];
    let text = match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && sample.len() < inner.len(),
    };
    if text && !sample.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) {
        return sample.len().min(16) as u32;
    }
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let mut parse = Parse::start(*left);
    let end = fields(inner, &mut parse, depth);
    *left = parse.left;
    if end == End::Clean || cut && end == End::Inside { parse.bits } else { 0 }
}

/// Reads the length before a message.
type Prefix = fn(&mut Cursor<'_>) -> Option<u64>;

fn varint(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.varint().filter(|length| *length <= u64::from(u32::MAX))
}

fn little(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.little(4)
}

fn big(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.big(4)
}

/// A byte that says whether the message is packed, which then tells nothing, and its length.
fn grpc(cursor: &mut Cursor<'_>) -> Option<u64> {
    (cursor.byte()? == 0).then(|| cursor.big(4)).flatten()
}

/// Messages with their lengths before them.
fn stream(bytes: &[u8], prefix: Prefix, left: u32) -> Parse {
    let mut cursor = Cursor::new(bytes);
    let mut parse = Parse::start(left);
    while !cursor.is_empty() {
        let Some(left) = parse.left.checked_sub(1) else {
            parse.end = End::Inside;
            break;
        };
        parse.left = left;
        let short = cursor.rest().len() < 5;
        let Some(length) = prefix(&mut cursor) else {
            parse.end = if short { End::Inside } else { End::Bad };
            break;
        };
        let Some(inner) = cursor.take(length) else {
            let seen = fields(cursor.rest(), &mut parse, MOST_DEPTH);
            parse.end = if seen == End::Bad { End::Bad } else { End::Inside };
            break;
        };
        match fields(inner, &mut parse, MOST_DEPTH) {
            End::Clean => {}
            End::Inside if parse.left == 0 => {
                parse.end = End::Inside;
                break;
            }
            _ => {
                parse.end = End::Bad;
                break;
            }
        }
    }
    // Empty messages alone are zeros.
    if parse.fields == 0 {
        parse.end = End::Bad;
    }
    parse
}

#[cfg(test)]
mod tests {
    use super::super::wire::write::{bytes, number, varint as length};
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8], hint: Hint) -> Option<Facts> {
        facts(&Held::new(bytes, &[], bytes.len() as u64), hint)
    }

    fn event(id: u64) -> Vec<u8> {
        [number(1, id), bytes(2, b"a river"), bytes(3, &[number(1, 1 << 40), bytes(200, &[0xff, 0xfe])].concat())]
            .concat()
    }

    #[test]
    fn a_message_and_streams_of_them_are_known_without_a_claim() {
        let events: Vec<_> = (0..20).map(event).collect();
        let framed = |prefix: fn(usize) -> Vec<u8>| {
            events.iter().flat_map(|event| [prefix(event.len()), event.clone()].concat()).collect::<Vec<_>>()
        };
        for (name, bytes) in [
            ("one", event(300)),
            ("varint", framed(|len| length(len as u64))),
            ("little", framed(|len| (len as u32).to_le_bytes().to_vec())),
            ("big", framed(|len| (len as u32).to_be_bytes().to_vec())),
            ("grpc", framed(|len| [&[0][..], &(len as u32).to_be_bytes()].concat())),
            ("two numbers", [number(1, 1_700_000_000), number(2, 5)].concat()),
            ("a group", [&[0x0b][..], &event(1), &[0x0c]].concat()),
        ] {
            assert_eq!(of(&bytes, Hint::None).map(|found| found.problem), Some(None), "{name}");
        }
    }

    #[test]
    fn other_bytes_are_not_taken_for_messages() {
        let mut random = fastrand::Rng::with_seed(7);
        for len in [40, 500, 4096] {
            let noise: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            assert!(of(&noise, Hint::None).is_none(), "{len}");
        }
        for bytes in [&[0; 4096][..], &[8; 4096], b"\x7fELF\x02\x01\x01\0\0\0", &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]] {
            assert!(of(bytes, Hint::None).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_that_lies_is_told_where_the_batch_claims_to_be_a_message() {
        let lie = b"\x0a\xff\xff\xff\xff\x0fabc";
        assert!(of(lie, Hint::Protobuf).unwrap().problem.unwrap().contains("length"));
        assert!(of(lie, Hint::None).is_none());
        assert!(of(b"\x07\x07\x07", Hint::Protobuf).is_none(), "a claim alone is not enough");
    }

    #[test]
    fn messages_within_messages_are_walked_within_the_bound() {
        let mut nested = number(1, 1).repeat(200_000);
        for _ in 0..40 {
            nested = bytes(1, &nested);
        }
        assert!(of(&nested.repeat(3), Hint::None).is_none_or(|found| found.problem.is_none()));
        let flat = number(1, 1).repeat(MOST_FIELDS as usize);
        assert!(of(&flat, Hint::None).is_some());
    }

    #[test]
    fn a_cut_view_is_known_by_its_first_fields() {
        let all = bytes(1, &vec![b'x'; 100_000]);
        let all = [event(1), event(2), event(3), all].concat();
        let found = facts(&Held::new(&all[..5000], &[], all.len() as u64), Hint::None).unwrap();
        assert_eq!((found.problem, found.estimated), (None, Some(true)));
        let one = bytes(1, &bytes(2, &event(7).repeat(100)));
        assert!(facts(&Held::new(&one[..500], &[], one.len() as u64), Hint::None).is_some(), "one field, cut");
    }

    proptest! {
        #[test]
        fn random_bytes_of_some_length_are_hardly_ever_messages(bytes in prop::collection::vec(any::<u8>(), 64..300)) {
            // The chance is below one in a million; the seed of a failure would be kept.
            let parse = message(&bytes, MOST_FIELDS);
            prop_assert!(parse.end != End::Clean || parse.bits < ENOUGH);
            let _ = of(&bytes, Hint::Protobuf);
        }
    }
}
