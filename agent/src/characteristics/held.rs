//! What is at hand of a batch: its first bytes, its last bytes, and how many there are.
//!
//! ```text
//! |#### head ####|......... not held .........|## tail ##|
//! 0                                                      total
//! ```
//!
//! Formats that keep their index at the end (Parquet, ORC, zip, PDF) are read by position, over whichever part holds
//! the bytes asked for. Total: any head, tail and total give a view, and no read leaves it.

/// A view of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    total: u64,
}

impl<'a> Held<'a> {
    /// `tail` ends where the batch does; it is left aside if `head` is the whole batch.
    pub(super) fn new(head: &'a [u8], tail: &'a [u8], total: u64) -> Self {
        let total = total.max(head.len() as u64).max(tail.len() as u64);
        let tail = if head.len() as u64 == total { &[] } else { tail };
        Self { head, tail, total }
    }

    /// The batch itself, if nothing of it is missing.
    pub(super) fn whole(&self) -> Option<&'a [u8]> {
        (self.head.len() as u64 == self.total).then_some(self.head)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.whole().is_none()
    }

    pub(super) fn head(&self) -> &'a [u8] {
        self.head
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The last bytes held, if they are the batch's last.
    pub(super) fn end(&self) -> &'a [u8] {
        self.whole().unwrap_or(self.tail)
    }

    /// Where [`Self::end`] starts.
    pub(super) fn end_offset(&self) -> u64 {
        self.total - self.end().len() as u64
    }

    /// All that is held in one piece from `offset` on; empty where that byte is missing.
    pub(super) fn onwards(&self, offset: u64) -> &'a [u8] {
        let part = match offset.checked_sub(self.end_offset()) {
            Some(within) => self.end().get(usize::try_from(within).unwrap_or(usize::MAX)..),
            None => self.head.get(usize::try_from(offset).unwrap_or(usize::MAX)..),
        };
        part.unwrap_or_default()
    }

    /// The `len` bytes at `offset`, if one part holds them all.
    pub(super) fn at(&self, offset: u64, len: usize) -> Option<&'a [u8]> {
        self.onwards(offset).get(..len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_come_from_whichever_part_holds_them() {
        let held = Held::new(b"01234", b"789", 10);
        assert_eq!((held.at(0, 5), held.at(3, 3), held.at(5, 1)), (Some(&b"01234"[..]), None, None));
        assert_eq!((held.at(7, 3), held.at(9, 1), held.at(9, 2)), (Some(&b"789"[..]), Some(&b"9"[..]), None));
        assert_eq!((held.at(10, 0), held.at(11, 0)), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!((held.whole(), held.end_offset()), (None, 7));
        let whole = Held::new(b"0123", b"23", 4);
        assert_eq!((whole.whole(), whole.end(), whole.at(1, 3)), (Some(&b"0123"[..]), &b"0123"[..], Some(&b"123"[..])));
    }

    proptest! {
        #[test]
        fn every_read_gives_the_batchs_own_bytes(
            batch: Vec<u8>, head in 0..200usize, tail in 0..200usize, offset: u64, near in 0..220u64, len in 0..64usize
        ) {
            let head = &batch[..head.min(batch.len())];
            let tail = &batch[batch.len() - tail.min(batch.len())..];
            let held = Held::new(head, tail, batch.len() as u64);
            for offset in [offset, near] {
                if let Some(read) = held.at(offset, len).filter(|read| !read.is_empty()) {
                    prop_assert_eq!(read, &batch[offset as usize..offset as usize + len]);
                }
            }
            let _ = Held::new(head, tail, offset).at(near, len);
        }
    }
}
