//! Protocol Buffers' wire format: fields, one after the other.

use super::cursor::Cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// The next field's number and value; nothing where the bytes are no field, or end within it.
pub(super) fn field<'a>(cursor: &mut Cursor<'a>) -> Option<(u32, Value<'a>)> {
    let tag = u32::try_from(cursor.varint()?).ok()?;
    let number = tag >> 3;
    let value = match tag & 7 {
        0 => Value::Varint(cursor.varint()?),
        1 => cursor.take(8).map(|_| Value::Fixed64)?,
        2 => {
            let length = cursor.varint()?;
            Value::Bytes(cursor.take(length)?)
        }
        3 => Value::GroupStart,
        4 => Value::GroupEnd,
        5 => cursor.take(4).map(|_| Value::Fixed32)?,
        _ => return None,
    };
    (number > 0).then_some((number, value))
}

/// All fields of a message that is known to be one; nothing if it is malformed.
pub(super) fn each<'a>(message: &'a [u8], mut field_of: impl FnMut(u32, Value<'a>)) -> Option<()> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_empty() {
        let (number, value) = field(&mut cursor)?;
        field_of(number, value);
    }
    Some(())
}

/// A writer for tests.
#[cfg(test)]
pub(super) mod write {
    pub(in super::super) fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    pub(in super::super) fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    pub(in super::super) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }
}
