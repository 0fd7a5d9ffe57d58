//! Avro's values, walked by their schema for their depth.

use super::super::cursor::Cursor;
use super::schema::{Id, Node, Schema};

/// Values walked, of all blocks: some 10 ms of work.
const MOST_VALUES: u64 = 1 << 20;
/// Containers within containers; a recursive schema without bytes would otherwise never end.
const MOST_DEPTH: usize = 10_000;

/// A container that is being walked.
enum Open<'s> {
    Record(&'s [Id]),
    /// Items still to come in the current block of an array or a map.
    Items {
        item: Id,
        left: u64,
        keyed: bool,
    },
}

pub(super) struct Values<'s> {
    schema: &'s Schema,
    open: Vec<Open<'s>>,
    left: u64,
    depth: u32,
}

impl<'s> Values<'s> {
    /// Values that are walked, of all blocks.
    pub(super) const MOST: u64 = MOST_VALUES;

    pub(super) fn new(schema: &'s Schema) -> Self {
        Self::resume(schema, MOST_VALUES, 0)
    }

    /// Goes on after other blocks.
    pub(super) fn resume(schema: &'s Schema, left: u64, depth: u32) -> Self {
        Self { schema, open: Vec::new(), left, depth }
    }

    /// Values that may still be walked.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The deepest value so far.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Walks `count` values; whether it came to their end.
    pub(super) fn read(&mut self, bytes: &[u8], count: u64) -> bool {
        let mut cursor = Cursor::new(bytes);
        (0..count).all(|_| {
            self.open.clear();
            self.value(&mut cursor).is_some()
        })
    }

    fn value(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let mut next = Some(self.schema.root());
        while let Some(id) = next {
            self.left = self.left.checked_sub(1)?;
            if let Some(branch) = self.start(id, cursor)? {
                next = Some(branch);
                continue;
            }
            self.depth = self.depth.max(self.open.len() as u32);
            next = self.following(cursor)?;
        }
        Some(())
    }

    /// Reads a scalar, opens a container, or gives the branch that a union took.
    fn start(&mut self, id: Id, cursor: &mut Cursor<'_>) -> Option<Option<Id>> {
        match self.schema.node(id)? {
            Node::Null => {}
            Node::Boolean => drop(cursor.byte()?),
            Node::Integer => drop(cursor.varint()?),
            Node::Float => drop(cursor.take(4)?),
            Node::Double => drop(cursor.take(8)?),
            Node::Fixed(size) => drop(cursor.take(*size)?),
            Node::Bytes => string(cursor)?,
            Node::Union(branches) => {
                return branches.get(usize::try_from(cursor.zigzag()?).ok()?).copied().map(Some);
            }
            Node::Record(fields) => self.open(Open::Record(fields))?,
            Node::Array(item) => self.open(Open::Items { item: *item, left: 0, keyed: false })?,
            Node::Map(item) => self.open(Open::Items { item: *item, left: 0, keyed: true })?,
        }
        Some(None)
    }

    fn open(&mut self, container: Open<'s>) -> Option<()> {
        (self.open.len() < MOST_DEPTH).then(|| self.open.push(container))
    }

    /// The next value of the innermost container that has one, closing those that have none.
    fn following(&mut self, cursor: &mut Cursor<'_>) -> Option<Option<Id>> {
        loop {
            match self.open.last_mut() {
                None => return Some(None),
                Some(Open::Record(fields)) => {
                    if let Some((first, rest)) = fields.split_first() {
                        *fields = rest;
                        return Some(Some(*first));
                    }
                }
                Some(Open::Items { item, left, keyed }) => {
                    if *left == 0 {
                        *left = items(cursor)?;
                    }
                    if *left > 0 {
                        *left -= 1;
                        if *keyed {
                            string(cursor)?;
                        }
                        return Some(Some(*item));
                    }
                }
            }
            self.open.pop();
        }
    }
}

fn string(cursor: &mut Cursor<'_>) -> Option<()> {
    let length = cursor.zigzag()?.try_into().ok()?;
    cursor.take(length).map(drop)
}

/// The items of an array's next block; a negative count is followed by the block's size.
fn items(cursor: &mut Cursor<'_>) -> Option<u64> {
    let count = cursor.zigzag()?;
    if count < 0 {
        cursor.zigzag()?;
    }
    Some(count.unsigned_abs())
}
