//! Bytes put together from chunks, until there are as many as a header or block has.

#[derive(Debug, Default)]
pub(super) struct Gather(Vec<u8>);

impl Gather {
    /// Takes from `bytes` until `wanted` are there; whether they are.
    pub(super) fn fill(&mut self, bytes: &mut &[u8], wanted: usize) -> bool {
        let (more, rest) = bytes.split_at(bytes.len().min(wanted.saturating_sub(self.0.len())));
        self.0.extend_from_slice(more);
        *bytes = rest;
        self.0.len() >= wanted
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first bytes as a number, little end first.
    pub(super) fn number<const N: usize>(&self) -> u64 {
        self.0.iter().take(N).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
