//! Avro's blocks as they pass: each one's head, and of the first ones, up to the budget, the values.

use super::super::walk::{Need, Steps, Walked};
use super::schema::Schema;
use super::values::Values;
use super::{Cursor, MOST_RATIO, SYNC, header, look};

/// The shortest block: its count, its size and the sync marker. Longer counts and sizes take nine bytes at most.
const HEAD: usize = 2 + SYNC;
/// A block that is longer is not looked into: it would be held.
const MOST_HELD: u64 = 1 << 20;

enum State {
    /// Before a block.
    Between,
    Head,
    /// The rest of a block that is looked into, with the bytes of it that came with its head.
    Block {
        count: u64,
        begun: Vec<u8>,
    },
    Sync,
    Lost,
}

pub(in super::super) struct Stream {
    state: State,
    schema: Schema,
    codec: Vec<u8>,
    sync: [u8; SYNC],
    records: u64,
    depth: u32,
    depth_is_exact: bool,
    /// Bytes that were unpacked, and values that may still be walked.
    unpacked: usize,
    left: u64,
}

impl Stream {
    /// Nothing if the header is not all there, or not sound.
    pub(in super::super) fn begin(head: &[u8]) -> Option<(Self, Need)> {
        let mut cursor = Cursor::new(head);
        let header = header(&mut cursor)?;
        let schema = Schema::parse(header.schema)?;
        let (codec, sync) = (header.codec.to_vec(), header.sync);
        let stream = Self {
            state: State::Between,
            schema,
            codec,
            sync,
            records: 0,
            depth: 0,
            depth_is_exact: true,
            unpacked: 0,
            left: Values::MOST,
        };
        Some((stream, Need::Skip(cursor.at() as u64)))
    }

    fn wants_values(&self) -> bool {
        self.depth_is_exact && self.schema.depth() != Some(self.depth)
    }

    fn head(&mut self, bytes: &[u8]) -> Option<Need> {
        let mut cursor = Cursor::new(bytes);
        let count: u64 = cursor.zigzag()?.try_into().ok()?;
        let length: u64 = cursor.zigzag()?.try_into().ok()?;
        let most = if self.codec == b"null" { length } else { length.saturating_mul(MOST_RATIO) };
        (count <= most || self.schema.takes_no_bytes()).then_some(())?;
        self.records = self.records.saturating_add(count);
        let left = length.checked_add(SYNC as u64)?.checked_sub(cursor.rest().len() as u64)?;
        let held = length <= MOST_HELD && self.wants_values();
        self.depth_is_exact &= held || !self.wants_values();
        if held || left < SYNC as u64 {
            self.state = State::Block { count, begun: cursor.rest().to_vec() };
            return Some(Need::Take(usize::try_from(left).ok()?));
        }
        self.state = State::Sync;
        Some(Need::Skip(left - SYNC as u64))
    }

    fn block(&mut self, count: u64, block: &[u8]) -> Option<()> {
        let (packed, sync) = block.split_last_chunk::<SYNC>()?;
        (*sync == self.sync).then_some(())?;
        if self.wants_values() {
            let mut values = Values::resume(&self.schema, self.left, self.depth);
            self.depth_is_exact = look(&self.codec, packed, count, &mut values, &mut self.unpacked);
            (self.left, self.depth) = (values.left(), values.depth());
        }
        Some(())
    }
}

impl Steps for Stream {
    fn step(&mut self, bytes: &[u8]) -> Need {
        let next = match std::mem::replace(&mut self.state, State::Between) {
            State::Between => {
                self.state = State::Head;
                return Need::Take(HEAD);
            }
            State::Head => self.head(bytes),
            State::Block { count, begun } => self.block(count, &[&begun, bytes].concat()).map(|()| Need::Skip(0)),
            State::Sync if bytes.is_empty() => {
                self.state = State::Sync;
                return Need::Take(SYNC);
            }
            State::Sync => (bytes == self.sync).then_some(Need::Skip(0)),
            State::Lost => None,
        };
        next.unwrap_or_else(|| {
            self.state = State::Lost;
            Need::Nothing
        })
    }

    fn end(self: Box<Self>) -> Option<Walked> {
        let exact = self.depth_is_exact || self.schema.depth() == Some(self.depth);
        let whole = matches!(self.state, State::Head) && exact;
        whole.then_some(Walked { records: self.records, row_groups: None, max_depth: Some(self.depth) })
    }
}
