//! The complexity score: a first guess at the cost of a byte, relative to flat text.
//!
//! ```text
//! score = 1 + 0.25 log2(1 + depth) + 0.1 log2(1 + columns) + 0.1 (entropy - 4.5)
//!           + 0.3 log2(1 + joins + subqueries + aggregates + set operations)
//!           + unpacking
//! ```
//!
//! Running English has about 4.5 bits a byte and no depth, so it scores about 1; a flat table of 6 columns about 1.5,
//! deeply nested JSON 2 to 3, a query of ten joins about 2. Logarithms, since the tenth level, column or join adds
//! less work than the first. Unpacking adds what a decoder costs beside a parser: lz4 and snappy little, bzip2 and xz
//! most. The weights are a prior, not a measurement: the cost model learns each component's own from the parts.

use forebay_shared::{Compression, DataComplexity};

use super::Facts;

const DEPTH: f64 = 0.25;
const COLUMNS: f64 = 0.1;
const ENTROPY: f64 = 0.1;
const TEXT_ENTROPY: f64 = 4.5;
const QUERY: f64 = 0.3;

/// The score of the parts, 0 and up.
pub(super) fn of(parts: &DataComplexity, facts: &Facts, compression: Compression) -> f64 {
    let Some(entropy) = parts.entropy else { return 0.0 };
    let log = |number: f64| number.ln_1p() / std::f64::consts::LN_2;
    let count = |number: Option<u32>| f64::from(number.unwrap_or(0));
    let query = count(facts.joins)
        + count(facts.detail.subqueries)
        + count(facts.detail.aggregates)
        + count(facts.detail.set_operations);
    let score = 1.0
        + DEPTH * log(count(parts.max_depth))
        + COLUMNS * log(count(parts.columns))
        + ENTROPY * (entropy - TEXT_ENTROPY)
        + QUERY * log(query)
        + unpacking(compression);
    score.max(0.0)
}

fn unpacking(compression: Compression) -> f64 {
    match compression {
        Compression::None => 0.0,
        Compression::Lz4 | Compression::Snappy => 0.1,
        Compression::Zstd => 0.2,
        Compression::Gzip | Compression::Zip => 0.5,
        Compression::Xz => 1.5,
        Compression::Bzip2 => 3.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(max_depth: u32, columns: u32, entropy: f64) -> f64 {
        let parts = DataComplexity { max_depth: Some(max_depth), columns: Some(columns), ..DataComplexity::default() };
        of(&DataComplexity { entropy: Some(entropy), ..parts }, &Facts::default(), Compression::None)
    }

    fn english(text: &[u8]) -> f64 {
        let mut entropy = super::super::entropy::Entropy::default();
        entropy.push(text);
        entropy.bits_a_byte().unwrap()
    }

    #[test]
    fn flat_text_scores_about_one_and_each_part_adds() {
        let text = b"Meets the water before the turbines do, and learns what each of them will need from the river.";
        let flat = score(0, 0, english(text));
        assert!((flat - 1.0).abs() < 0.1, "{flat}");
        assert!(score(5, 0, 4.5) > score(1, 0, 4.5));
        assert!(score(1, 50, 4.5) > score(1, 5, 4.5));
        assert!(score(1, 5, 6.0) > score(1, 5, 4.5));
    }
}
