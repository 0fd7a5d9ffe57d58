//! Whether text that comes in chunks is UTF-8, and if not, from which byte on.

/// A check that is fed chunk by chunk; at most three bytes are carried over.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The start of a character that the last chunk ended within.
    carry: [u8; 4],
    carried: usize,
    seen: u64,
    bad_at: Option<u64>,
}

impl Utf8 {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while self.bad_at.is_none() && self.carried > 0 {
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.carry[self.carried] = *first;
            self.carried += 1;
            self.settle_carry();
        }
        if self.bad_at.is_some() {
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => self.seen += bytes.len() as u64,
            Err(error) => {
                self.seen += error.valid_up_to() as u64;
                let rest = &bytes[error.valid_up_to()..];
                if error.error_len().is_some() {
                    self.bad_at = Some(self.seen);
                } else {
                    self.carry[..rest.len()].copy_from_slice(rest);
                    self.carried = rest.len();
                }
            }
        }
    }

    fn settle_carry(&mut self) {
        match std::str::from_utf8(&self.carry[..self.carried]) {
            Ok(_) => {
                self.seen += self.carried as u64;
                self.carried = 0;
            }
            Err(error) if error.error_len().is_some() => self.bad_at = Some(self.seen),
            Err(_) => {}
        }
    }

    /// The first byte that is not UTF-8. A character that the budget cut is none.
    pub(super) fn bad_at(&self, cut: bool) -> Option<u64> {
        self.bad_at.or((self.carried > 0 && !cut).then_some(self.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_chunking_finds_the_byte_that_one_look_finds(text: String, junk in prop::option::of(any::<[u8; 3]>()), size in 1..9usize) {
            let mut bytes = text.into_bytes();
            bytes.extend(junk.iter().flatten());
            bytes.extend("déjà".as_bytes());
            let mut utf8 = Utf8::default();
            bytes.chunks(size).for_each(|chunk| utf8.push(chunk));
            let whole = std::str::from_utf8(&bytes).err().map(|error| error.valid_up_to() as u64);
            prop_assert_eq!(utf8.bad_at(false), whole);
        }
    }

    #[test]
    fn a_character_that_the_budget_cut_is_no_problem() {
        let mut utf8 = Utf8::default();
        utf8.push("aé".as_bytes().split_last().unwrap().1);
        assert_eq!((utf8.bad_at(true), utf8.bad_at(false)), (None, Some(1)));
    }
}
