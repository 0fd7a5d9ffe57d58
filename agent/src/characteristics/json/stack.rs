//! Which containers are open, a bit each. The outermost and the innermost levels are kept, 128 KiB at most; the depth is
//! bounded by the input alone.
//!
//! Levels between those are taken to repeat the 64 before them, as what is nested a million deep does.

/// Outer levels that are kept, in words.
const MOST_WORDS: usize = 16 << 10;

#[derive(Clone, Default)]
pub(super) struct Stack {
    /// 1 is an object, 0 an array; the innermost container is bit 0.
    top: u64,
    /// Outer levels, 64 a word.
    outer: Vec<u64>,
    /// Words between `outer` and `top` that were not kept.
    lost: usize,
    depth: usize,
}

impl Stack {
    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    pub(super) fn push(&mut self, object: bool) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            if self.outer.len() < MOST_WORDS {
                self.outer.push(self.top);
            } else {
                self.lost += 1;
            }
        }
        self.top = self.top << 1 | u64::from(object);
        self.depth += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.top >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(top) = self.outer.last()
        {
            self.top = *top;
            match self.lost.checked_sub(1) {
                Some(lost) => self.lost = lost,
                None => drop(self.outer.pop()),
            }
        }
    }

    /// Whether the innermost container is an object.
    #[inline]
    pub(super) fn in_object(&self) -> bool {
        self.depth > 0 && self.top & 1 == 1
    }

    /// Whether it is an array.
    #[inline]
    pub(super) fn in_array(&self) -> bool {
        self.depth > 0 && self.top & 1 == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_past_the_bound_are_counted_and_take_no_memory() {
        let mut stack = Stack::default();
        let kinds = |level: usize| level.is_multiple_of(2);
        (0..3_000_000).for_each(|level| stack.push(kinds(level)));
        assert_eq!((stack.depth(), stack.outer.len()), (3_000_000, MOST_WORDS));
        for level in (0..3_000_000).rev() {
            assert_eq!((stack.depth(), stack.in_object()), (level + 1, kinds(level)));
            stack.pop();
        }
        assert_eq!((stack.depth(), stack.outer.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn containers_close_in_the_order_that_they_opened_in(opened in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut stack = Stack::default();
            opened.iter().for_each(|object| stack.push(*object));
            for (at, object) in opened.iter().enumerate().rev() {
                prop_assert_eq!((stack.depth(), stack.in_object(), stack.in_array()), (at + 1, *object, !*object));
                stack.pop();
            }
            prop_assert_eq!((stack.depth(), stack.in_object(), stack.in_array()), (0, false, false));
        }
    }
}
