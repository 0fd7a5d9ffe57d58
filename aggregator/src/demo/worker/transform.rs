//! Transform: marks near-duplicates, and turns records into a table.
//!
//! Signatures of minima of hashes (Broder 1997, "On the resemblance and containment of documents") pick the most
//! similar of the recent records; a banded edit distance then tells how similar they are. The number of candidates
//! sets what a record costs.

use std::collections::VecDeque;

use super::Malformed;
use super::record::Record;

/// Hashes of a signature.
const HASHES: usize = 64;
/// Pieces of a shingle.
const SHINGLE: usize = 3;
/// Records remembered.
const RECENT: usize = 32;
/// Records compared piece by piece.
const CANDIDATES: usize = 28;
/// How far two texts may shift against each other in the comparison, pieces.
const BAND: usize = 48;
/// A record is a near-duplicate if at most this share of its pieces differs.
const NEAR: f64 = 0.3;
/// Rows of a comparison between two looks at the pace.
const PACE_EVERY: usize = 512;
/// Columns of the table.
const COLUMNS: [&str; 10] = [
    "id",
    "at",
    "model",
    "context_tokens",
    "generated_tokens",
    "surprise",
    "oddness",
    "duplicate_of",
    "distance",
    "pieces",
];

/// A remembered record.
struct Seen {
    id: String,
    signature: [u32; HASHES],
    pieces: Vec<u32>,
}

/// The stage, with the records that it remembers.
#[derive(Default)]
pub(super) struct Transform {
    recent: VecDeque<Seen>,
}

impl Transform {
    /// NDJSON of records to CSV.
    pub(super) fn work(&mut self, batch: &[u8], pace: &mut dyn FnMut()) -> Result<Vec<u8>, Malformed> {
        let mut table = csv::Writer::from_writer(Vec::with_capacity(batch.len()));
        write_row(&mut table, COLUMNS, 0)?;
        for (at, text) in batch.split(|byte| *byte == b'\n').enumerate().filter(|(_, text)| !text.is_empty()) {
            let line = at + 1;
            let record: Record =
                serde_json::from_slice(text).map_err(|error| Malformed::Json { line, problem: error.to_string() })?;
            pace();
            let (duplicate_of, distance) = self.nearest(&record.pieces, signature(&record.pieces), pace);
            let row = [
                record.id.clone(),
                record.at.to_string(),
                record.model,
                record.context_tokens.to_string(),
                record.generated_tokens.to_string(),
                format!("{:.4}", record.surprise),
                format!("{:.4}", record.oddness),
                if distance <= NEAR { duplicate_of } else { String::new() },
                format!("{distance:.4}"),
                join(&record.pieces),
            ];
            write_row(&mut table, row, line)?;
            self.remember(record.id, record.pieces);
        }
        table.into_inner().map_err(|error| Malformed::Csv { row: 0, problem: error.to_string() })
    }

    /// The remembered record that differs least, and the share of pieces that differ.
    fn nearest(&self, pieces: &[u32], signature: [u32; HASHES], pace: &mut dyn FnMut()) -> (String, f64) {
        let mut candidates: Vec<(usize, &Seen)> =
            self.recent.iter().map(|seen| (alike(&seen.signature, &signature), seen)).collect();
        candidates.sort_by_key(|(alike, _)| HASHES - alike);
        let mut best = (String::new(), 1.0);
        for (_, seen) in candidates.into_iter().take(CANDIDATES) {
            let distance = banded_distance(pieces, &seen.pieces, pace);
            if distance < best.1 {
                best = (seen.id.clone(), distance);
            }
        }
        best
    }

    fn remember(&mut self, id: String, pieces: Vec<u32>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Seen { id, signature: signature(&pieces), pieces });
    }
}

fn write_row<const N: usize>(
    table: &mut csv::Writer<Vec<u8>>,
    row: [impl AsRef<[u8]>; N],
    line: usize,
) -> Result<(), Malformed> {
    table.write_record(row).map_err(|error| Malformed::Csv { row: line, problem: error.to_string() })
}

fn join(pieces: &[u32]) -> String {
    let mut out = String::with_capacity(5 * pieces.len());
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(&piece.to_string());
    }
    out
}

/// The least hash of all shingles, for each of the hashes.
fn signature(pieces: &[u32]) -> [u32; HASHES] {
    let mut least = [u32::MAX; HASHES];
    for shingle in pieces.windows(SHINGLE) {
        let base = shingle.iter().fold(0x811c_9dc5_u32, |hash, piece| (hash ^ piece).wrapping_mul(0x0100_0193));
        for (at, least) in least.iter_mut().enumerate() {
            let hash = (base ^ (at as u32).wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            *least = (*least).min(hash ^ hash >> 15);
        }
    }
    least
}

/// Hashes that two signatures share.
fn alike(a: &[u32; HASHES], b: &[u32; HASHES]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

/// Edit distance within a band around the diagonal, over the shorter one's length, as a share of it: 0 to 1.
/// What is outside of the band counts as different.
fn banded_distance(a: &[u32], b: &[u32], pace: &mut dyn FnMut()) -> f64 {
    let length = a.len().min(b.len());
    if length == 0 {
        return 1.0;
    }
    const WIDTH: usize = 2 * BAND + 1;
    const FAR: u32 = u32::MAX / 2;
    // Cell k of row i is the distance of a[..i] and b[..i + k - BAND].
    let mut row: [u32; WIDTH] = std::array::from_fn(|k| if k < BAND { FAR } else { (k - BAND) as u32 });
    for i in 1..=length {
        if i % PACE_EVERY == 0 {
            pace();
        }
        let mut next = [FAR; WIDTH];
        for k in 0..WIDTH {
            let Some(j) = (i + k).checked_sub(BAND).filter(|j| *j <= length) else { continue };
            let kept = if j > 0 { row[k] + u32::from(a[i - 1] != b[j - 1]) } else { FAR };
            let dropped = if k + 1 < WIDTH { row[k + 1] + 1 } else { FAR };
            let added = if k > 0 { next[k - 1] + 1 } else { FAR };
            next[k] = kept.min(dropped).min(added).min(FAR);
        }
        row = next;
    }
    f64::from(row[BAND]).min(length as f64) / length as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits_where_texts_shift_a_little() {
        let text: Vec<u32> = (0..100).map(|at| at * 7 % 31).collect();
        let mut edited = text.clone();
        edited[10] = 999;
        edited.remove(50);
        let distance = banded_distance(&text, &edited, &mut || {});
        assert!((0.01..0.05).contains(&distance), "{distance}");
        assert_eq!(banded_distance(&text, &text, &mut || {}), 0.0);
        assert_eq!(banded_distance(&text, &[1000; 100], &mut || {}), 1.0);
        assert_eq!(banded_distance(&text, &[], &mut || {}), 1.0);
    }

    #[test]
    fn like_texts_have_like_signatures() {
        let text: Vec<u32> = (0..400).map(|at| at * at % 613).collect();
        let mut edited = text.clone();
        edited[200] = 999;
        let other: Vec<u32> = (0..400).map(|at| at * at * at % 509).collect();
        let score = |other: &[u32]| alike(&signature(&text), &signature(other));
        assert!(score(&edited) > 48 && score(&other) < 16, "{} {}", score(&edited), score(&other));
    }
}
