//! Ridge regression of the logarithm of CPU time, each source predicted by what the others taught.
//!
//! Sums of squares are kept by source, so that leaving sources out is a subtraction. How strongly coefficients are kept
//! small is chosen anew for each source that is left out, by leaving out parts of the other sources in turn.

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::features::{Row, Shrink, View};

/// Penalties to choose from: on what holds for all formats, on what holds for some.
const PENALTIES: &[(f64, f64)] = &[(0.1, 1.0), (0.3, 3.0), (1.0, 3.0), (1.0, 10.0), (3.0, 30.0), (10.0, 100.0)];
/// Parts that the other sources are left out in.
const PARTS: usize = 5;

/// X'X (by rows), X'y.
#[derive(Clone)]
struct Sums {
    gram: Vec<Vec<f64>>,
    moment: Vec<f64>,
}

impl Sums {
    fn none(width: usize) -> Self {
        Self { gram: vec![vec![0.0; width]; width], moment: vec![0.0; width] }
    }

    fn add(&mut self, row: &[f64], y: f64) {
        for (at, value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            self.gram[at].iter_mut().zip(row).for_each(|(cell, other)| *cell += value * other);
            self.moment[at] += value * y;
        }
    }

    fn scaled(&mut self, other: &Self, by: f64) {
        for (row, other) in self.gram.iter_mut().zip(&other.gram) {
            row.iter_mut().zip(other).for_each(|(cell, other)| *cell += by * other);
        }
        self.moment.iter_mut().zip(&other.moment).for_each(|(cell, other)| *cell += by * other);
    }

    fn coefficients(&self, shrink: &[Shrink], (all, some): (f64, f64)) -> Vec<f64> {
        let mut gram = self.gram.clone();
        for (at, shrink) in shrink.iter().enumerate() {
            gram[at][at] += match shrink {
                Shrink::Free => 1e-6,
                Shrink::All => all,
                Shrink::Some => some,
            };
        }
        solve(gram, self.moment.clone())
    }
}

/// Solves for a positive definite matrix, by Cholesky's decomposition.
pub(crate) fn solve(mut lower: Vec<Vec<f64>>, mut x: Vec<f64>) -> Vec<f64> {
    let n = lower.len();
    for at in 0..n {
        let (above, rest) = lower.split_at_mut(at);
        let row = &mut rest[0];
        for (column, done) in above.iter().enumerate() {
            row[column] = (row[column] - dot(&row[..column], &done[..column])) / done[column];
        }
        row[at] = (row[at] - dot(&row[..at], &row[..at])).max(1e-12).sqrt();
    }
    for at in 0..n {
        x[at] = (x[at] - dot(&lower[at][..at], &x[..at])) / lower[at][at];
    }
    for at in (0..n).rev() {
        x[at] /= lower[at][at];
        let value = x[at];
        x[..at].iter_mut().zip(&lower[at]).for_each(|(x, cell)| *x -= cell * value);
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Each batch's predicted logarithm of CPU time, from other sources than its own.
pub(crate) fn out_of_source(view: View, batches: &[Batch], logs: &[f64]) -> Vec<f64> {
    let rows: Vec<_> = batches.iter().map(|batch| Row::of(view, batch)).collect();
    let Some(shrink) = rows.first().map(|row| row.shrink.clone()) else { return Vec::new() };
    // Columns that are zero everywhere only cost time.
    let used: Vec<_> = (0..shrink.len()).filter(|at| rows.iter().any(|row| row.values[*at] != 0.0)).collect();
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| used.iter().map(|at| row.values[*at]).collect()).collect();
    let shrink: Vec<_> = used.iter().map(|at| shrink[*at]).collect();

    let mut sources = BTreeMap::<&str, (Vec<usize>, Sums)>::new();
    let mut all = Sums::none(used.len());
    for (at, batch) in batches.iter().enumerate() {
        let (members, sums) = sources.entry(&batch.source).or_insert_with(|| (Vec::new(), Sums::none(used.len())));
        members.push(at);
        sums.add(&rows[at], logs[at]);
        all.add(&rows[at], logs[at]);
    }
    let sources: Vec<_> = sources.into_values().collect();
    let mut predicted = vec![f64::NAN; batches.len()];
    for (left, (members, sums)) in sources.iter().enumerate() {
        let mut others = all.clone();
        others.scaled(sums, -1.0);
        let penalty = chosen(&others, &sources, left, |at| (&rows[at], logs[at]), &shrink);
        let coefficients = others.coefficients(&shrink, penalty);
        members.iter().for_each(|at| predicted[*at] = dot(&rows[*at], &coefficients));
    }
    predicted
}

/// The penalties that predict the other sources best, part by part.
fn chosen<'a>(
    others: &Sums,
    sources: &[(Vec<usize>, Sums)],
    left: usize,
    batch: impl Fn(usize) -> (&'a Vec<f64>, f64),
    shrink: &[Shrink],
) -> (f64, f64) {
    let mut errors = vec![0.0; PENALTIES.len()];
    for part in 0..PARTS {
        let within = || sources.iter().enumerate().filter(|(at, _)| *at != left && at % PARTS == part);
        let mut taught = others.clone();
        within().for_each(|(_, (_, sums))| taught.scaled(sums, -1.0));
        for (error, penalty) in errors.iter_mut().zip(PENALTIES) {
            let coefficients = taught.coefficients(shrink, *penalty);
            for at in within().flat_map(|(_, (members, _))| members) {
                let (row, log) = batch(*at);
                *error += (log - dot(row, &coefficients)).powi(2);
            }
        }
    }
    let best = errors.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(PENALTIES[0], |(at, _)| PENALTIES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_found_and_penalties_shrink_them() {
        let mut sums = Sums::none(2);
        for at in 0..100 {
            let x = f64::from(at) / 10.0;
            sums.add(&[1.0, x], 3.0 - 2.0 * x);
        }
        let free = sums.coefficients(&[Shrink::Free, Shrink::Free], (0.0, 0.0));
        assert!((free[0] - 3.0).abs() < 1e-4 && (free[1] + 2.0).abs() < 1e-4, "{free:?}");
        let shrunk = sums.coefficients(&[Shrink::Free, Shrink::Some], (0.0, 1e4));
        assert!(shrunk[1].abs() < 1.0, "{shrunk:?}");
    }
}
