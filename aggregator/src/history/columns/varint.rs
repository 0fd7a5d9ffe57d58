//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, the top bit set where more follow.

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The first number of `rest`, which moves on; `None` if it is cut short or too long.
pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Small for what is near zero as a two's complement, on both sides.
pub(super) fn zigzag(value: u64) -> u64 {
    value << 1 ^ (value as i64 >> 63) as u64
}

pub(super) fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}
