//! Sixty-four bytes at once: where in them a byte stands, a bit each. The lowest bit is the first byte.

use wide::u8x16;

/// Bytes of a block, and bits of its mask.
pub(super) const LEN: usize = 64;

#[inline]
fn lanes(block: &[u8; LEN]) -> [u8x16; 4] {
    let (lanes, _) = block.as_chunks::<16>();
    [0, 1, 2, 3].map(|at| u8x16::new(lanes[at]))
}

/// A block whose bytes can be asked for.
pub(super) struct Block([u8x16; 4]);

impl Block {
    #[inline]
    pub(super) fn new(bytes: &[u8; LEN]) -> Self {
        Self(lanes(bytes))
    }

    /// Where `byte` stands.
    #[inline]
    pub(super) fn mask(&self, byte: u8) -> u64 {
        let wanted = u8x16::splat(byte);
        let bits = self.0.map(|lane| u64::from(lane.simd_eq(wanted).to_bitmask()));
        bits[0] | bits[1] << 16 | bits[2] << 32 | bits[3] << 48
    }
}

/// Offset, from `at` on, of the first quote, backslash or control byte; the input's length if there is none.
#[inline]
pub(super) fn string_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(Ok(lane)) = bytes.get(at..at + 16).map(<[u8; 16]>::try_from) {
        let lane = u8x16::new(lane);
        let control = lane.min(u8x16::splat(0x1f)).simd_eq(lane);
        let special = lane.simd_eq(u8x16::splat(b'"')) | lane.simd_eq(u8x16::splat(b'\\')) | control;
        let bits = special.to_bitmask();
        if bits != 0 {
            return at + bits.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < bytes.len() && !matches!(bytes[at], b'"' | b'\\' | 0..0x20) {
        at += 1;
    }
    at
}

/// Where the digits and the points of 16 bytes are, a bit each.
#[inline]
pub(super) fn numerals(bytes: &[u8; 16]) -> (u32, u32) {
    let lane = u8x16::new(*bytes);
    let value = lane - u8x16::splat(b'0');
    let digits = value.min(u8x16::splat(9)).simd_eq(value);
    (digits.to_bitmask(), lane.simd_eq(u8x16::splat(b'.')).to_bitmask())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_special_byte_is_found(bytes: Vec<u8>, at in 0..40usize) {
            let at = at.min(bytes.len());
            let plain = bytes[at..].iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(string_special(&bytes, at), plain.map_or(bytes.len(), |found| at + found));
        }

        #[test]
        fn a_mask_has_a_bit_for_each_byte_that_is_asked_for(bytes in prop::collection::vec(b'a'..b'e', LEN)) {
            let mask = Block::new(bytes.as_slice().try_into().unwrap()).mask(b'c');
            for (at, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(mask >> at & 1 == 1, *byte == b'c');
            }
        }
    }
}
