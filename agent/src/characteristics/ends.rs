//! The first and the last bytes of what passes: what formats with a header and a footer need.

/// Bytes that are enough of a start with nothing but a header in it.
const NARROW: usize = 256 << 10;

/// Bytes kept of the start, and of the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) head: usize,
    pub(super) tail: usize,
}

impl Room {
    /// For a batch that passes, among others.
    pub(super) const PASSING: Self = Self { head: 256 << 10, tail: 64 << 10 };
    /// For a batch that all memory is for: what is told by its messages one after another is held whole up to 6 MiB,
    /// and footers of wide tables have megabytes.
    pub(super) const ALONE: Self = Self { head: 6 << 20, tail: 2 << 20 };
}

#[derive(Debug)]
pub(super) struct Ends {
    room: Room,
    head: Vec<u8>,
    /// The bytes since the head, at most twice as many as are asked for: cut when full, so that the last ones stay in
    /// one piece.
    tail: Vec<u8>,
}

impl Ends {
    pub(super) fn new(room: Room) -> Self {
        Self { room, head: Vec::new(), tail: Vec::new() }
    }

    /// Keeps less of the start, of what is told by its end or block after block.
    pub(super) fn narrow(&mut self) {
        self.room.head = self.room.head.min(NARROW.max(self.head.len()));
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.room.head - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.room.tail)..];
        if self.tail.len() + rest.len() > 2 * self.room.tail {
            let keep = self.room.tail.min(self.tail.len());
            self.tail.drain(..self.tail.len() - keep);
        }
        self.tail.extend_from_slice(rest);
    }

    /// Bytes are missing: those so far are not the last ones, and none after them belongs to the head.
    pub(super) fn gap(&mut self) {
        self.room.head = self.head.len();
        self.tail.clear();
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether of what follows only the last bytes are kept.
    pub(super) fn head_is_full(&self) -> bool {
        self.head.len() == self.room.head
    }

    /// The last bytes; none if the head is the whole.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(self.room.tail)..]
    }

    pub(super) fn tail_room(&self) -> u64 {
        self.room.tail as u64
    }

    /// All bytes of a batch of `total`, if none is missing.
    pub(super) fn whole(&self, total: u64) -> Option<&[u8]> {
        (self.head.len() as u64 == total).then_some(&self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_last_bytes_are_kept_however_they_come() {
        let bytes: Vec<u8> = (0..500_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
        for size in [1000, 65_536, 70_001, 500_000] {
            let mut ends = Ends::new(Room::PASSING);
            bytes.chunks(size).for_each(|chunk| ends.push(chunk));
            assert_eq!(ends.head(), &bytes[..Room::PASSING.head]);
            assert_eq!(ends.tail(), &bytes[bytes.len() - Room::PASSING.tail..]);
            assert!(ends.whole(500_000).is_none());
        }
        let mut ends = Ends::new(Room::PASSING);
        ends.push(b"short");
        assert_eq!((ends.whole(5), ends.tail()), (Some(&b"short"[..]), &b""[..]));
    }
}
