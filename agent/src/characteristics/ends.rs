//! The first and the last bytes of what passes: what formats with a header and a footer need.

/// Bytes kept of the start.
pub(super) const HEAD: usize = 256 << 10;
/// Bytes kept of the end.
pub(super) const TAIL: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Ends {
    head: Vec<u8>,
    /// The bytes since the head, at most twice [`TAIL`]: halved when full, so that the last ones stay in one piece.
    tail: Vec<u8>,
}

impl Ends {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(TAIL)..];
        if self.tail.len() + rest.len() > 2 * TAIL {
            let keep = TAIL.min(self.tail.len());
            self.tail.drain(..self.tail.len() - keep);
        }
        self.tail.extend_from_slice(rest);
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The last bytes; none if the head is the whole.
    #[cfg_attr(not(test), expect(dead_code, reason = "footers are read from it where binary formats are looked into"))]
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(TAIL)..]
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
            let mut ends = Ends::default();
            bytes.chunks(size).for_each(|chunk| ends.push(chunk));
            assert_eq!(ends.head(), &bytes[..HEAD]);
            assert_eq!(ends.tail(), &bytes[bytes.len() - TAIL..]);
            assert!(ends.whole(500_000).is_none());
        }
        let mut ends = Ends::default();
        ends.push(b"short");
        assert_eq!((ends.whole(5), ends.tail()), (Some(&b"short"[..]), &b""[..]));
    }
}
