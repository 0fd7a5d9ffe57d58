//! `dataComplexity.score` as the one number that it is meant to be: what a byte costs.
//!
//! The agent's formula (`agent/src/characteristics/score.rs`) adds up works, each so many times its constant. Here the
//! constants are fitted to the logarithm of CPU time a byte: to all batches, which gives the agent's own but for rounding,
//! and without a source, which tells what they are worth for data that was not fitted.

use std::collections::HashMap;

use forebay_shared::{Compression, DataCharacteristics, DataType};

use crate::batch::Batch;
use crate::regression;

/// Each work, by what it is for.
const WORKS: [&str; 13] = [
    "raw",
    "arrow, orc",
    "text",
    "json",
    "csv, image",
    "parquet, avro",
    "sql, pdf",
    "value",
    "pixel",
    "quick unpacking",
    "xz",
    "bzip2",
    "batch",
];
const TEXT: usize = 2;
const VALUE: usize = 7;
const PIXEL: usize = 8;
const UNPACKING: usize = 9;
/// What each batch costs, however small: it is none of a byte's cost, so it is fitted and left out of the score.
const BATCH: usize = 12;
/// What twice the nesting or twice the joins adds to a byte.
const SHAPE: f64 = 0.1;

/// Logarithm of seconds that constants tend to where batches say little: 3 ns.
const PRIOR: f64 = -19.6;
const PRIOR_WEIGHT: f64 = 0.3;
const STEPS: usize = 60;

type Constants = [f64; WORKS.len()];

/// How often each work is done for a byte of the batch.
fn works(vector: &DataCharacteristics) -> Constants {
    let (volume, parts) = (&vector.data_volume, &vector.data_complexity);
    let count = |number: Option<u32>| f64::from(number.unwrap_or(0));
    let bytes = volume.bytes.max(1) as f64;
    let unpacked = volume.unpacked_bytes.unwrap_or(volume.bytes) as f64 / bytes;
    let mut works = Constants::default();
    let shape = 1.0 + SHAPE * (1.0 + count(parts.max_depth)).log2() + SHAPE * (1.0 + count(parts.joins)).log2();
    works[class(vector.data_type)] = shape * unpacked;
    if has_values(vector.data_type) {
        works[VALUE] = volume.records.unwrap_or(0) as f64 * count(parts.columns).max(1.0) / bytes;
    }
    works[PIXEL] = count(parts.width) * count(parts.height) / bytes;
    match vector.compression {
        Compression::None => {}
        Compression::Xz => works[UNPACKING + 1] = unpacked,
        Compression::Bzip2 => works[UNPACKING + 2] = unpacked,
        _ => works[UNPACKING] = unpacked,
    }
    works[BATCH] = 1.0 / bytes;
    works
}

fn class(data_type: DataType) -> usize {
    use DataType as Type;
    match data_type {
        Type::Binary | Type::Empty | Type::Bmp | Type::Tiff => 0,
        Type::ArrowFile | Type::ArrowStream | Type::Orc => 1,
        Type::Text | Type::Log => TEXT,
        Type::Json | Type::Ndjson | Type::Xml | Type::Protobuf | Type::Wav => 3,
        Type::Csv | Type::Tsv | Type::Msgpack | Type::Png | Type::Jpeg | Type::Gif | Type::Webp => 4,
        Type::Parquet | Type::Avro | Type::Yaml | Type::Xlsx => 5,
        Type::Sql | Type::Pdf => 6,
    }
}

fn has_values(data_type: DataType) -> bool {
    !matches!(
        data_type,
        DataType::Binary | DataType::Empty | DataType::Bmp | DataType::Tiff | DataType::Wav | DataType::Pdf
    )
}

/// Constants as logarithms of seconds, by Levenberg's and Marquardt's steps on the squared error of logarithms.
fn fit<'a>(batches: impl Iterator<Item = &'a (Constants, f64)> + Clone, from: Constants) -> Constants {
    let loss = |at: &Constants| {
        let errors: f64 = batches.clone().map(|(works, target)| (cost(works, at).ln() - target).powi(2)).sum();
        errors + PRIOR_WEIGHT * at.iter().map(|constant| (constant - PRIOR).powi(2)).sum::<f64>()
    };
    let (mut at, mut damping) = (from, 1.0);
    let mut least = loss(&at);
    for _ in 0..STEPS {
        let mut gram = vec![vec![0.0; at.len()]; at.len()];
        let mut moment: Vec<_> = at.iter().map(|constant| PRIOR_WEIGHT * (PRIOR - constant)).collect();
        for (works, target) in batches.clone() {
            let all = cost(works, &at);
            let slopes: Vec<_> = works.iter().zip(&at).map(|(work, constant)| work * constant.exp() / all).collect();
            let error = target - all.ln();
            for (row, slope) in slopes.iter().enumerate() {
                gram[row].iter_mut().zip(&slopes).for_each(|(cell, other)| *cell += slope * other);
                moment[row] += slope * error;
            }
        }
        gram.iter_mut().enumerate().for_each(|(at, row)| row[at] += PRIOR_WEIGHT + damping);
        let step = regression::solve(gram, moment);
        let mut next = at;
        next.iter_mut().zip(step).for_each(|(constant, step)| *constant += step);
        let now = loss(&next);
        if now < least {
            (at, least) = (next, now);
            damping /= 4.0;
        } else {
            damping *= 4.0;
        }
    }
    at
}

fn cost(works: &Constants, constants: &Constants) -> f64 {
    works.iter().zip(constants).map(|(work, constant)| work * constant.exp()).sum::<f64>().max(f64::MIN_POSITIVE)
}

/// The scores' figures.
pub(crate) fn print(batches: &[Batch], times: &[f64]) {
    let per_byte = |(batch, time): (&Batch, &f64)| (time / batch.bytes.len() as f64).ln();
    let logs: Vec<_> = batches.iter().zip(times).map(per_byte).collect();
    let known: Vec<_> = batches.iter().zip(&logs).map(|(batch, log)| (works(&batch.vector), *log)).collect();
    let constants = fit(known.iter(), [PRIOR; WORKS.len()]);
    let score = |works: &Constants, mut constants: Constants| {
        constants[BATCH] = f64::NEG_INFINITY;
        cost(works, &constants).ln() - constants[TEXT]
    };
    let mut without = HashMap::<&str, Constants>::new();
    for batch in batches {
        without.entry(&batch.source).or_insert_with(|| {
            let others = batches.iter().zip(&known).filter(|(other, _)| other.source != batch.source);
            fit(others.map(|(_, known)| known), constants)
        });
    }
    let agents: Vec<_> = batches.iter().map(|batch| batch.vector.data_complexity.score.max(1e-6).ln()).collect();
    let fitted: Vec<_> = known.iter().map(|(works, _)| score(works, constants)).collect();
    let left = batches.iter().zip(&known).map(|(batch, (works, _))| score(works, without[&*batch.source])).collect();

    println!("\nCPU time a byte by the score alone: rank correlation, and the share of the logarithm's variance\n");
    println!("| score | rank correlation | R2 |\n|---|---|---|");
    for (name, scores) in [("the agent's", agents), ("fitted to all", fitted), ("fitted to other sources", left)] {
        println!("| {name} | {:.3} | {:.3} |", rank_correlation(&scores, &logs), explained(&scores, &logs));
    }
    let text = constants[TEXT];
    let shown = WORKS.iter().zip(constants).map(|(name, constant)| format!("{name} {:.2}", (constant - text).exp()));
    println!("\nconstants, in bytes of text of {:.2} ns: {}", text.exp() * 1e9, shown.collect::<Vec<_>>().join("; "));
}

/// Share of the variance that a score explains which differs by one factor for all.
fn explained(scores: &[f64], logs: &[f64]) -> f64 {
    let variance = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<_> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    1.0 - variance(&mut scores.iter().zip(logs).map(|(score, log)| log - score)) / variance(&mut logs.iter().copied())
}

/// Spearman's.
fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    correlation(&ranks(a), &ranks(b))
}

/// Ranks, those of equals their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut sums = HashMap::<u64, (f64, f64)>::new();
    for (rank, at) in order.iter().enumerate() {
        let (sum, count) = sums.entry(values[*at].to_bits()).or_default();
        *sum += rank as f64;
        *count += 1.0;
    }
    values.iter().map(|value| sums[&value.to_bits()]).map(|(sum, count)| sum / count).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    ab / (aa * bb).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_correlated_whatever_the_distance() {
        assert!((rank_correlation(&[1.0, 2.0, 3.0], &[1.0, 10.0, 1e6]) - 1.0).abs() < 1e-12);
        assert!((rank_correlation(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        assert_eq!(ranks(&[5.0, 1.0, 5.0]), [1.5, 0.0, 1.5]);
    }

    #[test]
    fn constants_that_made_the_costs_are_found() {
        let mut truth = [PRIOR; WORKS.len()];
        (truth[TEXT], truth[VALUE]) = (-20.0, -18.0);
        let batches: Vec<_> = (0..200)
            .map(|at| {
                let mut works = Constants::default();
                (works[TEXT], works[VALUE]) = (1.0, f64::from(at % 20) / 20.0);
                (works, cost(&works, &truth).ln())
            })
            .collect();
        let found = fit(batches.iter(), [PRIOR; WORKS.len()]);
        assert!((found[TEXT] + 20.0).abs() < 0.05 && (found[VALUE] + 18.0).abs() < 0.05, "{found:?}");
    }
}
