//! Ingest: strict parsing, checks, and normalisation of texts to pieces of a vocabulary.
//!
//! A word is cut into the pieces that together are the most probable, as a unigram tokenizer does (Kudo 2018,
//! "Subword Regularization", section 3.1): Viterbi over all substrings that the vocabulary knows. How odd a text is
//! tells the profile of its letters (Cavnar and Trenkle 1994, "N-Gram-Based Text Categorization").

use std::collections::HashMap;

use serde::Deserialize;

use super::Malformed;
use super::profile::Profile;
use super::record::Record;
use crate::demo::text;

/// The longest piece, bytes: it fits into a key of 64 bits.
const PIECE_LEN: usize = 8;
/// The piece for what the vocabulary does not know.
const UNKNOWN: Piece = Piece { id: u32::MAX, cost: 12.0 };
/// Tokens between two looks at the pace.
const PACE_EVERY: usize = 256;

/// A request as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: String,
    at: u64,
    model: String,
    context_tokens: u32,
    generated_tokens: u32,
    tokens: Vec<(String, f32)>,
}

/// A piece of the vocabulary, with its negative log-probability.
#[derive(Clone, Copy)]
struct Piece {
    id: u32,
    cost: f32,
}

/// The stage.
pub(super) struct Ingest {
    vocabulary: HashMap<u64, Piece>,
    usual: Profile,
}

impl Ingest {
    /// With a vocabulary of letters, syllables and pairs of syllables.
    pub(super) fn new() -> Self {
        let syllables: Vec<String> = text::syllables().collect();
        let pairs = syllables.iter().flat_map(|first| syllables.iter().map(move |second| format!("{first}{second}")));
        let letters = ('a'..='z').map(String::from);
        let costs = letters.map(|piece| (piece, 9.0)).chain(syllables.iter().cloned().map(|piece| (piece, 5.0)));
        let costs = costs.chain(pairs.map(|piece| (piece, 8.5)));
        let vocabulary =
            costs.zip(1..).map(|((piece, cost), id)| (key(piece.as_bytes()), Piece { id, cost })).collect();
        Self { vocabulary, usual: Profile::usual() }
    }

    /// NDJSON of requests to NDJSON of [`Record`]s.
    pub(super) fn work(&self, batch: &[u8], pace: &mut dyn FnMut()) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(batch.len());
        for (at, text) in batch.split(|byte| *byte == b'\n').enumerate() {
            if text.is_empty() {
                continue;
            }
            let line = at + 1;
            let json = |error: serde_json::Error| Malformed::Json { line, problem: error.to_string() };
            let request: Request = serde_json::from_slice(text).map_err(json)?;
            pace();
            let record = self.normalise(request, line, pace)?;
            serde_json::to_writer(&mut out, &record).map_err(json)?;
            out.push(b'\n');
        }
        Ok(out)
    }

    fn normalise(&self, request: Request, line: usize, pace: &mut dyn FnMut()) -> Result<Record, Malformed> {
        let Request { id, at, model, context_tokens, generated_tokens, tokens } = request;
        let expected = u64::from(context_tokens) + u64::from(generated_tokens);
        if tokens.len() as u64 != expected {
            return Err(Malformed::Tokens { line, found: tokens.len(), expected });
        }
        let mut pieces = Vec::with_capacity(2 * tokens.len());
        let mut surprise = 0.0;
        let mut segmenter = Segmenter::default();
        let mut text = Vec::new();
        for (at, (token, log_probability)) in tokens.iter().enumerate() {
            if at % PACE_EVERY == 0 {
                pace();
            }
            let word = token.trim().to_lowercase();
            if word.is_empty() || *log_probability > 0.0 {
                return Err(Malformed::Token { line, at });
            }
            surprise -= log_probability;
            text.extend_from_slice(word.as_bytes());
            text.push(b' ');
            segmenter.cut(&self.vocabulary, word.as_bytes(), &mut pieces);
        }
        surprise /= tokens.len().max(1) as f32;
        let mut profile = Profile::default();
        profile.count(&text, pace);
        let oddness = profile.distance(&self.usual);
        Ok(Record { id, at, model, context_tokens, generated_tokens, surprise, oddness, pieces })
    }
}

/// The bytes of a piece as a number.
fn key(piece: &[u8]) -> u64 {
    piece.iter().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Working memory of the segmentation: the cheapest way to each position of a word.
#[derive(Default)]
struct Segmenter {
    best: Vec<(f32, usize, u32)>,
}

impl Segmenter {
    /// Appends the cheapest pieces of `word` to `pieces`.
    fn cut(&mut self, vocabulary: &HashMap<u64, Piece>, word: &[u8], pieces: &mut Vec<u32>) {
        self.best.clear();
        self.best.push((0.0, 0, 0));
        for end in 1..=word.len() {
            let mut best = (f32::INFINITY, end - 1, UNKNOWN.id);
            for start in end.saturating_sub(PIECE_LEN)..end {
                let known = vocabulary.get(&key(&word[start..end])).copied();
                let Some(piece) = known.or((end - start == 1).then_some(UNKNOWN)) else { continue };
                let cost = self.best[start].0 + piece.cost;
                if cost < best.0 {
                    best = (cost, start, piece.id);
                }
            }
            self.best.push(best);
        }
        let from = pieces.len();
        let mut end = word.len();
        while end > 0 {
            let (_, start, piece) = self.best[end];
            pieces.push(piece);
            end = start;
        }
        pieces[from..].reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_cut_into_the_fewest_pieces_that_it_has() {
        let ingest = Ingest::new();
        let id = |piece: &str| ingest.vocabulary[&key(piece.as_bytes())].id;
        let mut pieces = Vec::new();
        Segmenter::default().cut(&ingest.vocabulary, "balomi".as_bytes(), &mut pieces);
        assert_eq!(pieces.len(), 2, "{pieces:?}");
        pieces.clear();
        Segmenter::default().cut(&ingest.vocabulary, "ba?x".as_bytes(), &mut pieces);
        assert_eq!(pieces, [id("ba"), UNKNOWN.id, id("x")]);
    }
}
