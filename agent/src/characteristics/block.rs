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

/// Where two of 32 bytes are the same, a bit each.
#[inline(always)]
pub(super) fn equal(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    let ([a, more], _) = a.as_chunks::<16>() else { return 0 };
    let ([b, further], _) = b.as_chunks::<16>() else { return 0 };
    let low = u8x16::new(*a).simd_eq(u8x16::new(*b)).to_bitmask();
    low | u8x16::new(*more).simd_eq(u8x16::new(*further)).to_bitmask() << 16
}

/// Bytes up to the last comma of whole numbers with a comma after each, blanks before them or not, and how many numbers.
#[inline(always)]
pub(super) fn integers(bytes: &[u8; LEN]) -> (usize, u32) {
    let lanes = lanes(bytes);
    let mask = |of: fn(u8x16) -> u8x16| {
        let bits = lanes.map(|lane| u64::from(of(lane).to_bitmask()));
        bits[0] | bits[1] << 16 | bits[2] << 32 | bits[3] << 48
    };
    let digits = mask(|lane| {
        let value = lane - u8x16::splat(b'0');
        value.min(u8x16::splat(9)).simd_eq(value)
    });
    let commas = mask(|lane| lane.simd_eq(u8x16::splat(b',')));
    let blanks = mask(|lane| lane.simd_eq(u8x16::splat(b' ')));
    let zeros = mask(|lane| lane.simd_eq(u8x16::splat(b'0')));
    let after_comma = commas << 1 | 1;
    let starts = digits & !(digits << 1);
    // A comma stands after a digit; a blank after a comma or blank; a zero before no digit.
    let wrong = commas & !(digits << 1) | blanks & !(after_comma | blanks << 1) | zeros & starts & (digits >> 1);
    let right = (digits | commas | blanks) & !wrong;
    let commas = commas & !(u64::MAX.checked_shl(right.trailing_ones()).unwrap_or(0));
    ((u64::BITS - commas.leading_zeros()) as usize, commas.count_ones())
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
        fn whole_numbers_end_where_the_grammar_ends(text in "([0-9]{1,3}, {0,2}){0,20}[0-9, a.-]{0,9}.*") {
            let mut bytes = text.into_bytes();
            bytes.resize(LEN, b'x');
            let (length, values) = integers(bytes.first_chunk().unwrap());
            let array = [b"[", &bytes[..length.saturating_sub(1)], b"]"].concat();
            let numbers: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
            prop_assert_eq!((numbers.len(), numbers.iter().all(serde_json::Value::is_number)), (values as usize, true));
            let next: Vec<u8> = bytes[length..].iter().copied().skip_while(|byte| *byte == b' ').collect();
            let more = next.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(0);
            let zero = more > 1 && next[0] == b'0';
            prop_assert!(more == 0 || zero || next[more] != b',', "{:?}", next);
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
