//! Thrift's compact protocol, as far as Parquet's footers use it. Work is linear in the bytes.

use super::cursor::Cursor;

/// Structs and lists within one another.
const MOST_DEPTH: u32 = 64;

pub(super) const STRUCT: u8 = 12;

pub(super) struct Thrift<'a> {
    pub(super) cursor: Cursor<'a>,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(bytes) }
    }

    /// Reads a struct: `field` is told each field's id and kind, and reads its value or says `false` to have it skipped.
    pub(super) fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, u8) -> Option<bool>) -> Option<()> {
        self.fields_at(MOST_DEPTH, &mut |thrift, _, id, kind| field(thrift, id, kind))
    }

    fn fields_at(&mut self, depth: u32, field: &mut dyn FnMut(&mut Self, u32, i16, u8) -> Option<bool>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let mut id = 0_i16;
        loop {
            let head = self.cursor.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => i16::try_from(self.cursor.zigzag()?).ok()?,
                step => id.checked_add(i16::from(step))?,
            };
            if !field(self, depth, id, head & 15)? {
                self.skip(head & 15, depth)?;
            }
        }
    }

    /// A list's items: their kind and number.
    pub(super) fn list(&mut self) -> Option<(u8, u64)> {
        let head = self.cursor.byte()?;
        let length = match head >> 4 {
            15 => self.cursor.varint()?,
            length => u64::from(length),
        };
        Some((head & 15, length))
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        self.cursor.zigzag()
    }

    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.cursor.varint()?;
        self.cursor.take(length)
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // A field's boolean is its kind.
            1 | 2 => {}
            3 => drop(self.cursor.byte()?),
            4..=6 => drop(self.cursor.varint()?),
            7 => drop(self.cursor.take(8)?),
            8 => drop(self.binary()?),
            9 | 10 => {
                let (kind, length) = self.list()?;
                for _ in 0..length {
                    self.skip_item(kind, depth)?;
                }
            }
            11 => {
                let length = self.cursor.varint()?;
                let kinds = if length > 0 { self.cursor.byte()? } else { 0 };
                for _ in 0..length {
                    self.skip_item(kinds >> 4, depth)?;
                    self.skip_item(kinds & 15, depth)?;
                }
            }
            STRUCT => self.fields_at(depth, &mut |_, _, _, _| Some(false))?,
            13 => drop(self.cursor.take(16)?),
            _ => return None,
        }
        Some(())
    }

    fn skip_item(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            // An item's boolean is a byte.
            1 | 2 => self.cursor.byte().map(drop),
            _ => self.skip(kind, depth),
        }
    }
}

/// A writer for tests.
#[cfg(test)]
pub(super) mod write {
    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    pub(in super::super) enum Value {
        Int(i64),
        Int32(i64),
        Text(&'static str),
        Struct(Vec<(u8, Value)>),
        List(Vec<Value>),
    }

    impl Value {
        fn kind(&self) -> u8 {
            match self {
                Self::Int(_) => 6,
                Self::Int32(_) => 5,
                Self::Text(_) => 8,
                Self::List(_) => 9,
                Self::Struct(_) => 12,
            }
        }

        pub(in super::super) fn bytes(&self) -> Vec<u8> {
            match self {
                Self::Int(number) | Self::Int32(number) => varint((*number << 1 ^ *number >> 63) as u64),
                Self::Text(text) => [varint(text.len() as u64), text.as_bytes().to_vec()].concat(),
                Self::List(items) => {
                    let kind = items.first().map_or(12, Self::kind);
                    let items: Vec<_> = items.iter().map(Self::bytes).collect();
                    [vec![0xf0 | kind], varint(items.len() as u64), items.concat()].concat()
                }
                Self::Struct(fields) => {
                    let mut bytes = Vec::new();
                    let mut last = 0;
                    for (id, value) in fields {
                        bytes.push((id - last) << 4 | value.kind());
                        bytes.extend(value.bytes());
                        last = *id;
                    }
                    bytes.push(0);
                    bytes
                }
            }
        }
    }
}
