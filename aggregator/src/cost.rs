//! What a batch costs: CPU from its data characteristic vector, learned on windows.
//!
//! Several batches share a cgroup, so no batch's cost is ever seen alone. A window's CPU is explained as
//!
//! ```text
//! CPU-seconds = base x seconds + perBatch x batches + perMiB x MiB x score
//! ```
//!
//! where a batch counts in a window by the share of its service time that lies in it. Least squares with exponential
//! forgetting, no coefficient below zero (Lawson and Hanson, 1974, by dropping what goes negative).

use serde::Serialize;

/// A window's share of older windows' weight: half is forgotten in about 1,400 windows.
const FORGETTING: f64 = 0.9995;
/// Windows before the fit is used.
const WINDOWS_NEEDED: f64 = 10.0;
/// Ridge, as a share of a regressor's own energy: keeps collinear regressors apart.
const RIDGE: f64 = 1e-6;

/// Coefficients of the fit: what explains a component's CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Cores used without any batch.
    pub base: f64,
    /// CPU-seconds of each batch.
    pub per_batch: f64,
    /// CPU-seconds of each MiB, times the batch's complexity score.
    pub per_mib: f64,
}

impl Cost {
    /// CPU-seconds of `batches` batches of `weight` (MiB x score) in all, without the base.
    pub fn of(&self, batches: f64, weight: f64) -> f64 {
        self.per_batch * batches + self.per_mib * weight
    }
}

/// A fit that goes on as windows come.
#[derive(Clone, Debug, Default)]
pub struct CostModel {
    gram: [[f64; 3]; 3],
    moment: [f64; 3],
    windows: f64,
}

impl CostModel {
    /// Learns from a window: its length in seconds, the batches served in it and their weight (MiB x score), and the
    /// CPU-seconds used.
    pub fn learn(&mut self, seconds: f64, batches: f64, weight: f64, cpu_seconds: f64) {
        let x = [seconds, batches, weight];
        for (i, row) in self.gram.iter_mut().enumerate() {
            for (j, cell) in row.iter_mut().enumerate() {
                *cell = *cell * FORGETTING + x[i] * x[j];
            }
            self.moment[i] = self.moment[i] * FORGETTING + x[i] * cpu_seconds;
        }
        self.windows = self.windows * FORGETTING + 1.0;
    }

    /// The fit; `None` before there are windows enough.
    pub fn fit(&self) -> Option<Cost> {
        if self.windows < WINDOWS_NEEDED {
            return None;
        }
        let mut active = vec![0, 1, 2];
        active.retain(|&at| self.gram[at][at] > 0.0);
        loop {
            let solution = self.solve(&active);
            match solution.iter().position(|value| *value < 0.0) {
                None => {
                    let at = |wanted| active.iter().position(|&a| a == wanted).map_or(0.0, |at| solution[at]);
                    return Some(Cost { base: at(0), per_batch: at(1), per_mib: at(2) });
                }
                Some(negative) => {
                    active.remove(negative);
                }
            }
        }
    }

    /// Least squares over the `active` regressors, by elimination: three unknowns at most.
    fn solve(&self, active: &[usize]) -> Vec<f64> {
        let n = active.len();
        let mut rows: Vec<Vec<f64>> =
            active.iter().map(|&i| active.iter().map(|&j| self.gram[i][j]).chain([self.moment[i]]).collect()).collect();
        for (at, row) in rows.iter_mut().enumerate() {
            row[at] *= 1.0 + RIDGE;
        }
        for pivot in 0..n {
            let head = rows[pivot].clone();
            for row in &mut rows[pivot + 1..] {
                let factor = row[pivot] / head[pivot];
                row.iter_mut().zip(&head).for_each(|(cell, head)| *cell -= factor * head);
            }
        }
        let mut out = vec![0.0; n];
        for at in (0..n).rev() {
            let known: f64 = (at + 1..n).map(|j| rows[at][j] * out[j]).sum();
            out[at] = (rows[at][n] - known) / rows[at][at];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_costs_are_found_from_overlapping_windows() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut model = CostModel::default();
        for _ in 0..500 {
            let (batches, weight) = (random.f64() * 20.0, random.f64() * 8.0);
            let noise = 1.0 + 0.1 * (random.f64() - 0.5);
            model.learn(15.0, batches, weight, 15.0 * 0.02 + (0.05 * batches + 0.3 * weight) * noise);
        }
        let cost = model.fit().unwrap();
        assert!((cost.base - 0.02).abs() < 0.003, "{cost:?}");
        assert!((cost.per_batch - 0.05).abs() < 0.003, "{cost:?}");
        assert!((cost.per_mib - 0.3).abs() < 0.01, "{cost:?}");
    }

    #[test]
    fn nothing_costs_less_than_nothing() {
        let mut model = CostModel::default();
        for at in 0..100 {
            // CPU falls as batches grow: a negative cost would fit best.
            model.learn(1.0, f64::from(at), 0.0, 1.0 - f64::from(at) / 200.0);
        }
        let cost = model.fit().unwrap();
        assert!(cost.base >= 0.0 && cost.per_batch >= 0.0 && cost.per_mib >= 0.0, "{cost:?}");
    }

    #[test]
    fn a_few_windows_are_not_believed() {
        let mut model = CostModel::default();
        model.learn(1.0, 1.0, 1.0, 1.0);
        assert_eq!(model.fit(), None);
    }
}
