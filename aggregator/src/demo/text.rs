//! Made-up words: the trace tells how long its texts were, not what they said.
//!
//! Words are built of syllables, so that ingest's segmentation has real pieces to find. Which word comes next follows
//! a Zipf law, as in real text.

use fastrand::Rng;

const ONSETS: [&str; 16] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "ch"];
const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ai"];
/// Different words.
const WORDS: usize = 4096;
/// Mixes the number of a word into its syllables: a large odd number (2^64 over the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The words, most frequent first.
pub(super) struct Words(Vec<String>);

impl Words {
    /// The same words every time.
    pub(super) fn new() -> Self {
        Self((0..WORDS as u64).map(word).collect())
    }

    /// Draws a word: of rank r with a probability in proportion to 1/r.
    pub(super) fn draw(&self, rng: &mut Rng) -> &str {
        let rank = (WORDS as f64).powf(rng.f64());
        &self.0[(rank as usize).clamp(1, WORDS) - 1]
    }
}

/// All syllables, for the pieces that ingest knows.
pub(super) fn syllables() -> impl Iterator<Item = String> {
    ONSETS.iter().flat_map(|onset| VOWELS.iter().map(move |vowel| format!("{onset}{vowel}")))
}

/// Two to five syllables: frequent words are short.
fn word(rank: u64) -> String {
    let mut bits = (rank + 1).wrapping_mul(MIX);
    let count = match rank {
        0..16 => 2,
        16..256 => 3,
        _ => 4 + (bits >> 63),
    };
    let mut word = String::new();
    for _ in 0..count {
        word.push_str(ONSETS[(bits % 16) as usize]);
        word.push_str(VOWELS[(bits / 16 % 6) as usize]);
        bits = (bits / 96).wrapping_mul(MIX) >> 3;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_words_are_drawn_more_often_than_rare_ones() {
        let words = Words::new();
        let mut rng = Rng::with_seed(1);
        let drawn: Vec<&str> = (0..10_000).map(|_| words.draw(&mut rng)).collect();
        let count = |rank: usize| drawn.iter().filter(|word| **word == words.0[rank]).count();
        assert!(count(0) > 500 && count(0) > 5 * count(20), "{} {}", count(0), count(20));
    }
}
