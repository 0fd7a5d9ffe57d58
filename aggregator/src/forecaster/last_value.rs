//! The baseline that keeps models honest: the last value, with the spread that its errors had at each step ahead.

use crate::features::Dataset;
use crate::forecast::{Curve, QUANTILES};

/// Quantiles of the change from now to each step ahead, of CPU.
pub(super) struct LastValue {
    changes: Curve,
}

impl LastValue {
    /// Learns the changes from rows `0..end`.
    pub(super) fn fit(data: &Dataset, end: usize, horizon: usize) -> Self {
        let facts: Vec<f64> = data.targets[..end].iter().map(|row| f64::from(row[0])).collect();
        let changes = (1..=horizon)
            .map(|ahead| {
                let later = facts.get(ahead..).unwrap_or_default();
                let mut changes: Vec<f64> =
                    later.iter().zip(&facts).map(|(later, now)| later - now).filter(|c| c.is_finite()).collect();
                changes.sort_by(f64::total_cmp);
                QUANTILES.map(|tau| {
                    let rank = (tau * changes.len() as f64) as usize;
                    changes.get(rank.min(changes.len().saturating_sub(1))).copied().unwrap_or(0.0)
                })
            })
            .collect();
        Self { changes }
    }

    /// Forecasts from the last value.
    pub(super) fn predict(&self, last: f64) -> Curve {
        self.changes.iter().map(|changes| changes.map(|change| (last + change).max(0.0))).collect()
    }
}
