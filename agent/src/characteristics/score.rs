//! The complexity score: a first guess at the cost of a byte, relative to flat text.
//!
//! ```text
//! score = 1 + 0.25 log2(1 + depth) + 0.1 log2(1 + columns) + 0.1 (entropy - 4.5)
//! ```
//!
//! Running English has about 4.5 bits a byte and no depth, so it scores about 1; a flat table of 6 columns about 1.5,
//! deeply nested JSON 2 to 3. Logarithms, since the tenth level or column adds less work than the first. The weights
//! are a prior, not a measurement: the cost model learns each component's own from the parts of the vector.

use forebay_shared::DataComplexity;

const DEPTH: f64 = 0.25;
const COLUMNS: f64 = 0.1;
const ENTROPY: f64 = 0.1;
const TEXT_ENTROPY: f64 = 4.5;

/// The score of the parts, 0 and up.
pub(super) fn of(parts: &DataComplexity) -> f64 {
    let depth = f64::from(parts.max_depth.unwrap_or(0));
    let columns = f64::from(parts.columns.unwrap_or(0));
    let Some(entropy) = parts.entropy else { return 0.0 };
    1.0 + DEPTH * depth.ln_1p() / std::f64::consts::LN_2
        + COLUMNS * columns.ln_1p() / std::f64::consts::LN_2
        + ENTROPY * (entropy - TEXT_ENTROPY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(max_depth: u32, columns: u32, entropy: f64) -> f64 {
        let parts = DataComplexity { max_depth: Some(max_depth), columns: Some(columns), ..DataComplexity::default() };
        of(&DataComplexity { entropy: Some(entropy), ..parts })
    }

    #[test]
    fn flat_text_scores_about_one_and_each_part_adds() {
        let text = b"Meets the water before the turbines do, and learns what each of them will need from the river.";
        let flat = score(0, 0, super::super::entropy::bits_a_byte(text));
        assert!((flat - 1.0).abs() < 0.1, "{flat}");
        assert!(score(5, 0, 4.5) > score(1, 0, 4.5));
        assert!(score(1, 50, 4.5) > score(1, 5, 4.5));
        assert!(score(1, 5, 6.0) > score(1, 5, 4.5));
    }
}
