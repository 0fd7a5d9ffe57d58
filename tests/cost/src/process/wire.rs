//! Processors of records in binary.

use anyhow::{Context, Result};
use apache_avro::types::Value as Avro;
use rmpv::Value as Msgpack;

use crate::tally::Tally;

pub(super) fn avro(content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    for value in apache_avro::Reader::new(content)? {
        walk_avro("", &value?, &mut tally);
    }
    Ok(tally.digest())
}

fn walk_avro(key: &str, value: &Avro, tally: &mut Tally<String>) {
    match value {
        Avro::Int(number) => tally.number(key, f64::from(*number)),
        Avro::Long(number) | Avro::TimestampMillis(number) => tally.number(key, *number as f64),
        Avro::Float(number) => tally.number(key, f64::from(*number)),
        Avro::Double(number) => tally.number(key, *number),
        Avro::String(text) | Avro::Enum(_, text) => tally.text(key, text.len()),
        Avro::Bytes(bytes) | Avro::Fixed(_, bytes) => tally.text(key, bytes.len()),
        Avro::Union(_, value) => walk_avro(key, value, tally),
        Avro::Array(items) => items.iter().for_each(|item| walk_avro(key, item, tally)),
        Avro::Map(entries) => entries.iter().for_each(|(key, value)| walk_avro(key, value, tally)),
        Avro::Record(fields) => fields.iter().for_each(|(key, value)| walk_avro(key, value, tally)),
        _ => tally.text(key, 0),
    }
}

pub(super) fn msgpack(mut content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    while !content.is_empty() {
        walk_msgpack("", &rmpv::decode::read_value(&mut content)?, &mut tally);
    }
    Ok(tally.digest())
}

fn walk_msgpack(key: &str, value: &Msgpack, tally: &mut Tally<String>) {
    match value {
        Msgpack::Array(items) => items.iter().for_each(|item| walk_msgpack(key, item, tally)),
        Msgpack::Map(fields) => {
            for (name, value) in fields {
                walk_msgpack(name.as_str().unwrap_or(key), value, tally);
            }
        }
        Msgpack::String(text) => tally.text(key, text.as_bytes().len()),
        Msgpack::Binary(bytes) => tally.text(key, bytes.len()),
        other => match other.as_f64() {
            Some(number) => tally.number(key, number),
            None => tally.text(key, 0),
        },
    }
}

/// A field of a message whose schema is not known.
enum Field {
    Number(u64),
    Bytes(usize),
    Message(Message),
}

type Message = Vec<(u64, Field)>;

/// Deepest nesting that is taken for messages.
const DEPTH: usize = 64;

/// One message, or messages that each follow their length.
pub(super) fn protobuf(content: &[u8]) -> Result<f64> {
    let mut tally = Tally::default();
    let framed = || delimited(content)?.into_iter().map(|framed| message(framed, DEPTH)).collect();
    let messages: Option<Vec<_>> = message(content, DEPTH).map(|message| vec![message]).or_else(framed);
    for message in messages.context("neither a message nor messages after their lengths")? {
        walk_message(0, &message, &mut tally);
    }
    Ok(tally.digest())
}

/// The messages of a content, each after its length.
pub(crate) fn delimited(mut content: &[u8]) -> Option<Vec<&[u8]>> {
    let mut messages = Vec::new();
    while !content.is_empty() {
        let length = usize::try_from(varint(&mut content)?).ok()?;
        messages.push(content.split_off(..length)?);
    }
    Some(messages)
}

fn walk_message(key: u64, message: &Message, tally: &mut Tally<u64>) {
    for (number, field) in message {
        // A field is known by the one around it, too.
        let key = key.wrapping_mul(1024).wrapping_add(*number);
        match field {
            Field::Number(value) => tally.number(&key, *value as f64),
            Field::Bytes(length) => tally.text(&key, *length),
            Field::Message(message) => walk_message(key, message, tally),
        }
    }
}

fn message(mut content: &[u8], depth: usize) -> Option<Message> {
    let mut fields = Vec::new();
    while !content.is_empty() {
        fields.push(field(&mut content, depth)?);
    }
    Some(fields)
}

fn field(content: &mut &[u8], depth: usize) -> Option<(u64, Field)> {
    let tag = varint(content)?;
    let field = match tag & 7 {
        0 => Field::Number(varint(content)?),
        1 => Field::Number(fixed::<8>(content)?),
        5 => Field::Number(fixed::<4>(content)?),
        2 => {
            let length = usize::try_from(varint(content)?).ok()?;
            let inner = content.split_off(..length)?;
            let deeper = if depth == 0 || inner.is_empty() { None } else { message(inner, depth - 1) };
            deeper.map_or(Field::Bytes(inner.len()), Field::Message)
        }
        _ => return None,
    };
    (tag >> 3 > 0).then_some((tag >> 3, field))
}

/// Where each field of a message ends.
pub(crate) fn ends_of_fields(content: &[u8]) -> Option<Vec<usize>> {
    let (mut rest, mut ends) = (content, Vec::new());
    while !rest.is_empty() {
        field(&mut rest, 0)?;
        ends.push(content.len() - rest.len());
    }
    Some(ends)
}

fn fixed<const N: usize>(content: &mut &[u8]) -> Option<u64> {
    let bytes = content.split_off(..N)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn varint(content: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *content.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
