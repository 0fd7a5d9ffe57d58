//! Load: reads the table and builds what a search would need: which record holds which phrase of one to four pieces
//! how often, a sorted list of all places in the text (a suffix array), and the longest stretches that repeat.
//! Compressed with LZ4.

use std::collections::BTreeMap;

use super::Malformed;

/// Bytes looked at when two places in the text are compared.
const STRETCH: usize = 64;
/// Places sorted between two looks at the pace.
const RUN: usize = 512;
/// Repeated stretches kept of a record.
const STRETCHES: usize = 16;
/// Pieces of the longest phrase in the index.
const PHRASE: usize = 4;
/// Phrases of several pieces are kept if they come so often.
const KEPT_FROM: u32 = 2;

/// Records and counts by phrase; the places that a short phrase leaves are 0.
type Postings = BTreeMap<[u32; PHRASE], Vec<(u32, u32)>>;

/// One row, as transform wrote it.
type Row = (String, u64, String, u32, u32, f32, f64, String, f64, String);

/// The stage.
pub(super) struct Load;

impl Load {
    /// CSV to a compressed index.
    pub(super) fn work(&self, batch: &[u8], pace: &mut dyn FnMut()) -> Result<Vec<u8>, Malformed> {
        let mut reader = csv::Reader::from_reader(batch);
        let mut postings = Postings::new();
        let mut index = String::new();
        for (at, row) in reader.deserialize::<Row>().enumerate() {
            let malformed = |problem: String| Malformed::Csv { row: at + 1, problem };
            let (id, time, model, context, generated, surprise, oddness, duplicate_of, distance, text) =
                row.map_err(|error| malformed(error.to_string()))?;
            let pieces = parse(&text).map_err(malformed)?;
            pace();
            count(at as u32, &pieces, &mut postings, pace);
            index.push_str(&format!(
                "{id}\t{time}\t{model}\t{context}\t{generated}\t{surprise}\t{oddness}\t{duplicate_of}\t{distance}"
            ));
            for (length, place) in stretches(text.as_bytes(), pace) {
                index.push_str(&format!("\t{place}+{length}"));
            }
            index.push('\n');
        }
        write_postings(&postings, &mut index);
        pace();
        Ok(lz4_flex::block::compress_prepend_size(index.as_bytes()))
    }
}

/// A line a phrase: its pieces, then record and count of each record that has it.
fn write_postings(postings: &Postings, index: &mut String) {
    for (phrase, records) in postings {
        if phrase[1] != 0 && records.iter().all(|(_, count)| *count < KEPT_FROM) {
            continue;
        }
        phrase.iter().take_while(|piece| **piece != 0).for_each(|piece| index.push_str(&format!("{piece} ")));
        records.iter().for_each(|(record, count)| index.push_str(&format!("\t{record}:{count}")));
        index.push('\n');
    }
}

fn parse(text: &str) -> Result<Vec<u32>, String> {
    text.split_ascii_whitespace()
        .map(|piece| piece.parse().map_err(|_| format!("piece `{piece}` is not a number")))
        .collect()
}

/// Counts a record's phrases.
fn count(record: u32, pieces: &[u32], postings: &mut Postings, pace: &mut dyn FnMut()) {
    for start in 0..pieces.len() {
        if start % RUN == 0 {
            pace();
        }
        let mut phrase = [0; PHRASE];
        for (at, piece) in pieces[start..].iter().take(PHRASE).enumerate() {
            phrase[at] = *piece;
            let records = postings.entry(phrase).or_default();
            match records.last_mut() {
                Some((last, count)) if *last == record => *count += 1,
                _ => records.push((record, 1)),
            }
        }
    }
}

/// The longest stretches that come more than once: length and place, longest first.
fn stretches(text: &[u8], pace: &mut dyn FnMut()) -> Vec<(usize, usize)> {
    let places = suffixes(text, pace);
    let mut stretches: Vec<(usize, usize)> =
        places.windows(2).map(|pair| (shared(stretch(text, pair[0]), stretch(text, pair[1])), pair[0])).collect();
    stretches.retain(|(length, _)| *length > 1);
    stretches.sort_unstable_by(|a, b| b.cmp(a));
    stretches.truncate(STRETCHES);
    stretches
}

/// All places of the text, sorted by what follows: runs are sorted one by one, then merged two by two.
fn suffixes(text: &[u8], pace: &mut dyn FnMut()) -> Vec<usize> {
    let mut places: Vec<usize> = (0..text.len()).collect();
    let mut length = RUN;
    for run in places.chunks_mut(RUN) {
        run.sort_unstable_by_key(|place| stretch(text, *place));
        pace();
    }
    while length < places.len() {
        for run in places.chunks_mut(2 * length) {
            // The standard sort finds the two sorted halves and merges them.
            run.sort_by_key(|place| stretch(text, *place));
            pace();
        }
        length *= 2;
    }
    places
}

fn stretch(text: &[u8], place: usize) -> &[u8] {
    &text[place..text.len().min(place + STRETCH)]
}

fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_over_the_borders_of_runs() {
        let text: Vec<u8> = (0..3000_u32).map(|at| (at * at % 97) as u8).collect();
        let places = suffixes(&text, &mut || {});
        assert_eq!(places.len(), text.len());
        assert!(places.windows(2).all(|pair| stretch(&text, pair[0]) <= stretch(&text, pair[1])));
    }

    #[test]
    fn the_longest_repeated_stretch_comes_first() {
        let found = stretches(b"xabcyabczab", &mut || {});
        assert_eq!(found[0].0, 3);
    }
}
