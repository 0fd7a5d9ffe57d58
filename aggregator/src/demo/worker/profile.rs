//! The profile of a text: its most frequent sequences of one to eight letters, over the borders of words too, and how
//! far two profiles differ.

use std::collections::HashMap;

use crate::demo::text;

/// The longest sequence: it fits into a key of 64 bits.
const LETTERS: usize = 8;
/// Letters between two looks at the pace.
const PACE_EVERY: usize = 1024;
/// Sequences compared: the most frequent ones.
const RANKS: usize = 300;

/// How often which sequence of letters came, by its letters as a number.
#[derive(Default)]
pub(super) struct Profile(HashMap<u64, u32>);

impl Profile {
    /// The profile of every syllable once.
    pub(super) fn usual() -> Self {
        let mut profile = Self::default();
        text::syllables().for_each(|syllable| profile.count(syllable.as_bytes(), &mut || {}));
        profile
    }

    /// Counts the sequences of a text.
    pub(super) fn count(&mut self, text: &[u8], pace: &mut dyn FnMut()) {
        for start in 0..text.len() {
            if start % PACE_EVERY == 0 {
                pace();
            }
            let mut sequence = 0;
            for letter in &text[start..text.len().min(start + LETTERS)] {
                sequence = sequence << 8 | u64::from(*letter);
                *self.0.entry(sequence).or_default() += 1;
            }
        }
    }

    /// How far the ranks of the most frequent sequences differ, as a share of the most that they could: 0 to 1.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let theirs: HashMap<u64, usize> = other.ranked().into_iter().zip(0..).collect();
        let ours = self.ranked();
        let apart = ours
            .iter()
            .enumerate()
            .map(|(rank, sequence)| theirs.get(sequence).map_or(RANKS, |their| rank.abs_diff(*their)));
        apart.sum::<usize>() as f64 / (RANKS * ours.len().max(1)) as f64
    }

    fn ranked(&self) -> Vec<u64> {
        let mut sequences: Vec<(u32, u64)> =
            self.0.iter().map(|(sequence, count)| (u32::MAX - count, *sequence)).collect();
        sequences.sort_unstable();
        sequences.into_iter().take(RANKS).map(|(_, sequence)| sequence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_nearer_to_one_of_its_own_kind() {
        let profile = |words: &[&str]| {
            let mut profile = Profile::default();
            words.iter().for_each(|word| profile.count(word.as_bytes(), &mut || {}));
            profile
        };
        let text = profile(&["balu", "bala", "luba"]);
        assert_eq!(text.distance(&text), 0.0);
        assert!(text.distance(&profile(&["luba", "bula"])) < text.distance(&profile(&["xyz", "qqq"])));
    }
}
