//! Which containers are open, a bit each: depth is bounded by the input alone, at an eighth of a byte a level.

#[derive(Default)]
pub(super) struct Stack {
    /// 1 is an object, 0 an array; the innermost container is bit `depth - 1`.
    bits: Vec<u64>,
    depth: usize,
}

impl Stack {
    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    pub(super) fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    #[inline]
    pub(super) fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost container is an object.
    #[inline]
    pub(super) fn in_object(&self) -> bool {
        self.depth > 0 && self.bits[(self.depth - 1) / 64] >> ((self.depth - 1) % 64) & 1 == 1
    }

    pub(super) fn clear(&mut self) {
        self.depth = 0;
    }
}
