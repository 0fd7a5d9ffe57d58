//! UTF-16 text as the UTF-8 that the scanners read, chunk by chunk.
//!
//! Told by its byte order mark alone. What stands for no character becomes U+FFFD, and is told.

/// Code units turned at a time, so that what is held has a bound.
const UNITS: usize = 8 << 10;
/// Bytes of the mark.
const MARK: u64 = 2;

#[derive(Debug)]
pub(super) struct Utf16 {
    big_endian: bool,
    /// A unit's first byte that the last chunk ended with.
    odd: Option<u8>,
    /// The first half of a pair that has not ended.
    high: Option<u16>,
    seen: u64,
    bad_at: Option<u64>,
    /// Bytes of UTF-8 that were given on.
    given: u64,
}

impl Utf16 {
    /// The reader of text that starts with one of the two marks; not UTF-32's.
    pub(super) fn begin(head: &[u8]) -> Option<Self> {
        let big_endian = match head {
            [0xff, 0xfe, 0, 0, ..] => return None,
            [0xff, 0xfe, ..] => false,
            [0xfe, 0xff, ..] => true,
            _ => return None,
        };
        // Text has few zeros but those of its units' high halves.
        let units = head.len() / 2 * 2;
        let zeros = head[..units].as_chunks::<2>().0.contains(&[0, 0]);
        (!zeros).then_some(Self { big_endian, odd: None, high: None, seen: 0, bad_at: None, given: 0 })
    }

    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Bytes of UTF-8 that a batch of `total` bytes has, by those so far.
    pub(super) fn of_total(&self, total: u64) -> u64 {
        let text = u128::from(total.saturating_sub(MARK));
        let all = u128::from(self.given) * text / u128::from(self.seen.saturating_sub(MARK).max(1));
        u64::try_from(all).unwrap_or(u64::MAX).max(self.given)
    }

    /// The first byte of what stands for no character.
    pub(super) fn bad_at(&self, cut: bool) -> Option<u64> {
        let open = self.odd.is_some() || self.high.is_some();
        self.bad_at.or((open && !cut).then_some(self.seen))
    }

    /// Gives the text of the next bytes, the mark left out.
    pub(super) fn push(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8])) {
        let mut text = String::with_capacity(3 * UNITS.min(bytes.len() / 2 + 1));
        let mut rest = bytes;
        if let (Some(first), Some((second, after))) = (self.odd, rest.split_first()) {
            self.odd = None;
            self.unit([first, *second], &mut text);
            rest = after;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        for part in pairs.chunks(UNITS) {
            part.iter().for_each(|pair| self.unit(*pair, &mut text));
            self.given += text.len() as u64;
            give(text.as_bytes());
            text.clear();
        }
        if !text.is_empty() {
            self.given += text.len() as u64;
            give(text.as_bytes());
        }
        self.odd = self.odd.or(odd.first().copied());
    }

    fn unit(&mut self, pair: [u8; 2], text: &mut String) {
        let unit = if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
        let high = self.high.take();
        match (high, unit) {
            (Some(high), 0xdc00..=0xdfff) => text.extend(char::decode_utf16([high, unit]).flatten()),
            (high, _) => {
                if high.is_some() {
                    self.wrong(text);
                }
                match unit {
                    0xfeff if self.seen == 0 => {}
                    0xd800..=0xdbff => self.high = Some(unit),
                    unit => match char::from_u32(u32::from(unit)) {
                        Some(character) => text.push(character),
                        None => self.wrong(text),
                    },
                }
            }
        }
        self.seen += 2;
    }

    #[cold]
    fn wrong(&mut self, text: &mut String) {
        text.push(char::REPLACEMENT_CHARACTER);
        self.bad_at.get_or_insert(self.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], size: usize) -> (Vec<u8>, Option<u64>) {
        let (mut utf16, mut text) = (Utf16::begin(bytes).unwrap(), Vec::new());
        bytes.chunks(size).for_each(|chunk| utf16.push(chunk, |more| text.extend_from_slice(more)));
        assert_eq!(utf16.given(), text.len() as u64);
        (text, utf16.bad_at(false))
    }

    fn wide(text: &str, big_endian: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn only_what_starts_with_a_mark_and_has_no_zeros_is_taken() {
        assert!(Utf16::begin(b"\xff\xfea\0").is_some() && Utf16::begin(b"\xfe\xff\0a").is_some());
        assert!(Utf16::begin(b"\xff\xfe\0\0").is_none() && Utf16::begin(b"a\0b\0").is_none());
        assert!(Utf16::begin(b"\xfe\xff\0\0\0\0").is_none());
    }

    #[test]
    fn halves_of_pairs_that_stand_alone_are_told() {
        assert_eq!(read(b"\xff\xfea\0\x00\xd8b\0", 3), ("a\u{fffd}b".into(), Some(6)));
        assert_eq!(read(b"\xff\xfe\x00\xdcb\0", 3), ("\u{fffd}b".into(), Some(2)));
        assert_eq!(read(b"\xff\xfea\0b", 3), ("a".into(), Some(4)));
    }

    proptest! {
        #[test]
        fn any_text_reads_as_it_was_written(text in "[^\0]{0,40}", big_endian: bool, size in 1..9usize) {
            let bytes = wide(&text, big_endian);
            prop_assume!(Utf16::begin(&bytes).is_some());
            prop_assert_eq!(read(&bytes, size), (text.into_bytes(), None));
        }
    }
}
