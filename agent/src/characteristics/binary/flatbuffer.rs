//! FlatBuffers' tables, read in place: every offset is checked, and one that leads outside gives nothing.

use super::cursor::little;

/// A table in a buffer.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    vtable: usize,
    vtable_len: usize,
}

impl<'a> Table<'a> {
    pub(super) fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::new(bytes, little(bytes, 0, 4)? as usize)
    }

    fn new(bytes: &'a [u8], at: usize) -> Option<Self> {
        let back = little(bytes, at, 4)? as u32 as i32;
        let vtable = usize::try_from((at as i64).checked_sub(i64::from(back))?).ok()?;
        let vtable_len = little(bytes, vtable, 2)? as usize;
        bytes.get(vtable..vtable.checked_add(vtable_len)?)?;
        (vtable_len >= 4).then_some(Self { bytes, at, vtable, vtable_len })
    }

    /// Where a field is; nothing if it is left out.
    fn field(&self, slot: usize) -> Option<usize> {
        let entry = 4 + 2 * slot;
        (entry + 2 <= self.vtable_len).then_some(())?;
        match little(self.bytes, self.vtable + entry, 2)? as usize {
            0 => None,
            offset => self.at.checked_add(offset),
        }
    }

    /// A scalar of `len` bytes; 0 where it is left out.
    pub(super) fn scalar(&self, slot: usize, len: u64) -> u64 {
        self.field(slot).and_then(|at| little(self.bytes, at, len)).unwrap_or(0)
    }

    fn target(&self, at: usize) -> Option<usize> {
        at.checked_add(little(self.bytes, at, 4)? as usize)
    }

    pub(super) fn table(&self, slot: usize) -> Option<Self> {
        Self::new(self.bytes, self.target(self.field(slot)?)?)
    }

    /// A vector's first item and its length, if `size` bytes an item fit the buffer.
    fn vector(&self, slot: usize, size: usize) -> Option<(usize, usize)> {
        let at = self.target(self.field(slot)?)?;
        let length = little(self.bytes, at, 4)? as usize;
        self.bytes.get(at + 4..)?.get(..length.checked_mul(size)?)?;
        Some((at + 4, length))
    }

    /// The tables of a vector; none where it is left out or does not fit.
    pub(super) fn tables(&self, slot: usize) -> impl ExactSizeIterator<Item = Option<Self>> + use<'a> {
        let (first, length) = self.vector(slot, 4).unwrap_or((0, 0));
        let table = *self;
        (0..length).map(move |index| Self::new(table.bytes, table.target(first + 4 * index)?))
    }

    /// The structs of a vector, `size` bytes each.
    pub(super) fn structs(&self, slot: usize, size: usize) -> std::slice::ChunksExact<'a, u8> {
        let (first, length) = self.vector(slot, size).unwrap_or((0, 0));
        self.bytes[first..first + length * size].chunks_exact(size)
    }
}

/// A writer for tests: tables are laid out one after the other, each with its vtable before it.
#[cfg(test)]
pub(super) mod write {
    #[derive(Clone)]
    pub(in super::super) enum Value {
        None,
        Scalar(u64, usize),
        Table(Vec<Value>),
        Tables(Vec<Vec<Value>>),
        Structs(Vec<Vec<u8>>),
    }

    pub(in super::super) fn root(table: &[Value]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        let at = write(&mut bytes, table);
        bytes[..4].copy_from_slice(&(at as u32).to_le_bytes());
        while !bytes.len().is_multiple_of(8) {
            bytes.push(0);
        }
        bytes
    }

    fn write(bytes: &mut Vec<u8>, fields: &[Value]) -> usize {
        let vtable = bytes.len();
        let vtable_len = 4 + 2 * fields.len();
        let at = vtable + vtable_len;
        bytes.extend((vtable_len as u16).to_le_bytes());
        bytes.extend([0, 0]);
        for (slot, field) in fields.iter().enumerate() {
            let offset = if matches!(field, Value::None) { 0 } else { 4 + 8 * slot as u16 };
            bytes.extend(offset.to_le_bytes());
        }
        bytes.extend((vtable_len as i32).to_le_bytes());
        bytes.resize(at + 4 + 8 * fields.len(), 0);
        for (slot, field) in fields.iter().enumerate() {
            let place = at + 4 + 8 * slot;
            match field {
                Value::None => {}
                Value::Scalar(number, length) => {
                    bytes[place..place + length].copy_from_slice(&number.to_le_bytes()[..*length]);
                }
                Value::Table(fields) => {
                    let target = write(bytes, fields);
                    refer(bytes, place, target);
                }
                Value::Tables(tables) => {
                    let target = bytes.len();
                    bytes.extend((tables.len() as u32).to_le_bytes());
                    bytes.resize(target + 4 + 4 * tables.len(), 0);
                    for (index, fields) in tables.iter().enumerate() {
                        let table = write(bytes, fields);
                        refer(bytes, target + 4 + 4 * index, table);
                    }
                    refer(bytes, place, target);
                }
                Value::Structs(structs) => {
                    let target = bytes.len();
                    bytes.extend((structs.len() as u32).to_le_bytes());
                    bytes.extend(structs.concat());
                    refer(bytes, place, target);
                }
            }
        }
        at
    }

    fn refer(bytes: &mut [u8], place: usize, target: usize) {
        bytes[place..place + 4].copy_from_slice(&((target - place) as u32).to_le_bytes());
    }
}
