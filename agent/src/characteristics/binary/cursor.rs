//! Bytes read in order: every read is checked, and one past the end gives nothing.

#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let taken = self.rest().get(..usize::try_from(len).ok()?)?;
        self.at += taken.len();
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.rest().first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A little-endian number of `len` bytes, at most 8.
    pub(super) fn little(&mut self, len: u64) -> Option<u64> {
        Some(self.take(len)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A big-endian number of `len` bytes, at most 8.
    pub(super) fn big(&mut self, len: u64) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A LEB128 number of up to 64 bits, as Protocol Buffers, Thrift and Avro write them.
    #[inline]
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return (shift < 63 || byte <= 1).then_some(number);
            }
        }
        None
    }

    /// A signed LEB128 number: zigzag.
    pub(super) fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(|number| (number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

/// The little-endian number of `len` bytes at `at`.
pub(super) fn little(bytes: &[u8], at: usize, len: u64) -> Option<u64> {
    Cursor::new(bytes.get(at..)?).little(len)
}

/// Where `needle` starts in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

/// Where the last `needle` starts in `bytes`.
pub(super) fn find_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::rfind(bytes, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_in_both_orders_and_as_varints() {
        let mut cursor =
            Cursor::new(&[1, 2, 3, 4, 0x96, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 3]);
        assert_eq!((cursor.little(2), cursor.big(2)), (Some(0x0201), Some(0x0304)));
        assert_eq!((cursor.varint(), cursor.varint(), cursor.zigzag()), (Some(150), Some(u64::MAX), Some(-2)));
        assert_eq!((cursor.byte(), cursor.take(1), cursor.array::<2>(), cursor.is_empty()), (None, None, None, true));
    }

    #[test]
    fn a_varint_longer_than_64_bits_is_none() {
        assert_eq!(Cursor::new(&[0xff; 12]).varint(), None);
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint(), None);
    }
}
