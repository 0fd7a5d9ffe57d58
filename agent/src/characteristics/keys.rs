//! A bounded set of keys, by hash: how many different ones, not which.
//!
//! Whoever writes a batch chooses its keys, and may choose such that fall into the same slots: those are left uncounted
//! after a few steps each, so that they cost what others do.

/// Keys told apart; beyond it the count stands still. 2 x 8 B x 4,096 = 64 KiB at most.
const MOST: usize = 4096;
const FIRST_SLOTS: usize = 64;
/// Slots that a key is looked for in. Half of them are free, so that one key in 2^32 needs more; of those that a batch
/// has for their slots alone, most do.
const MOST_PROBES: usize = 32;

/// Open addressing over 64-bit hashes; 0 marks a free slot.
#[derive(Clone)]
pub(super) struct KeySet {
    slots: Vec<u64>,
    len: usize,
}

impl KeySet {
    pub(super) fn new() -> Self {
        Self { slots: vec![0; FIRST_SLOTS], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A key; its hash.
    #[inline]
    pub(super) fn insert(&mut self, key: &[u8]) -> u64 {
        let hash = hash(key);
        self.insert_hash(hash);
        hash
    }

    /// A key by its hash, which is not 0.
    #[inline]
    pub(super) fn insert_hash(&mut self, hash: u64) {
        let Some(slot) = self.slot(hash) else { return };
        if self.slots[slot] != hash && self.len < MOST {
            self.slots[slot] = hash;
            self.len += 1;
            if self.len * 2 > self.slots.len() {
                self.grow();
            }
        }
    }

    /// The slot that has the hash, or that is free for it; nothing if too many others are in its way.
    #[inline]
    fn slot(&self, hash: u64) -> Option<usize> {
        // Slots are a power of two. Each step is one longer: keys that are close do not pile up.
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        for step in 1..=MOST_PROBES {
            if self.slots[at] == 0 || self.slots[at] == hash {
                return Some(at);
            }
            at = (at + step) & mask;
        }
        None
    }

    #[cold]
    fn grow(&mut self) {
        let wider = vec![0; self.slots.len() * 2];
        for hash in std::mem::replace(&mut self.slots, wider).into_iter().filter(|hash| *hash != 0) {
            match self.slot(hash) {
                Some(slot) => self.slots[slot] = hash,
                None => self.len -= 1,
            }
        }
    }
}

/// Eight bytes a step, multiplied and folded; two keys of one hash count as one.
#[inline]
fn hash(key: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (key.len() as u64).wrapping_add(1).wrapping_mul(FACTOR);
    let (words, _) = key.as_chunks::<8>();
    for word in &words[..words.len() - usize::from(key.len().is_multiple_of(8) && !words.is_empty())] {
        state = mix(state ^ u64::from_le_bytes(*word), FACTOR);
    }
    mix(state ^ last(key), FACTOR) | 1
}

/// The last eight bytes, or all of fewer: in two reads that overlap.
#[inline]
fn last(key: &[u8]) -> u64 {
    if let Some(word) = key.last_chunk::<8>() {
        u64::from_le_bytes(*word)
    } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
    } else {
        let byte = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
        byte(0) | byte(1) << 8 | byte(2) << 16
    }
}

#[inline]
fn mix(word: u64, factor: u64) -> u64 {
    let wide = u128::from(word) * u128::from(factor);
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_are_counted_once_up_to_the_bound() {
        let mut keys = KeySet::new();
        for round in 0..2 {
            for n in 0..1000 {
                keys.insert(format!("a fairly long key {n}").as_bytes());
            }
            assert_eq!(keys.len(), 1000, "round {round}");
        }
        for n in 0..10_000 {
            keys.insert(format!("{n}").as_bytes());
        }
        assert_eq!(keys.len(), MOST);
    }

    #[test]
    fn keys_that_fall_into_the_same_slots_cost_a_bound_and_are_left_uncounted() {
        let mut keys = KeySet::new();
        (1..=MOST as u64).for_each(|n| keys.insert_hash(n << 48 | n));
        assert_eq!(keys.len(), MOST_PROBES);
        // Others are counted still.
        for n in 0..1000 {
            keys.insert(format!("a fairly long key {n}").as_bytes());
        }
        assert!((1000..=MOST_PROBES + 1000).contains(&keys.len()), "{}", keys.len());
    }
}
