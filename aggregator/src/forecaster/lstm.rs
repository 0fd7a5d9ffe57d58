//! LSTM with quantile heads, one model a component.
//!
//! ```text
//! window of channels, standardised ─► LSTM ─► last hidden state ─► linear head ─► quantiles of each resource and step
//! ```
//!
//! The head tells the *change* from the level of the window's last rows, so that an untrained model already stands where
//! the last value stands. Quantiles are a median and softplus steps away from it: they cannot cross. Trained on pinball
//! loss (Koenker and Bassett, 1978) with Adam; stopped when the validation loss no longer falls; then shifted so that
//! the quantiles held on the validation part (split conformal, Romano et al., 2019).

mod gemm;
mod kernel;
mod node;
mod train;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::features::{CALENDAR, CHANNELS, Dataset};
use crate::forecast::{Curve, QUANTILES, Resource};

pub(super) use train::fit;
pub use train::{FitError, Settings};

/// Resources, in the order of the heads.
const RESOURCES: usize = Resource::ALL.len();
/// Numbers that the head tells of a resource at a step: the median, and four steps away from it.
const PER_STEP: usize = QUANTILES.len();
/// Rows whose mean is the level that the head's changes start from.
const LEVEL_ROWS: usize = 3;
/// The least deviation of a window, as a share of the training part's: a lull must not promise that nothing will come.
const LOCAL_SHARE: f32 = 0.3;
/// Place of the median in [`QUANTILES`].
const MEDIAN: usize = 1;

/// A fitted model: everything that a forecast needs, and what another fit can start from.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Lstm {
    /// Rows that a forecast looks back on.
    pub window: usize,
    /// Steps that it tells.
    pub horizon: usize,
    hidden: usize,
    scale: Scale,
    /// `[CHANNELS + hidden, 4 hidden]`.
    weight: Vec<f32>,
    /// `[4 hidden]`.
    bias: Vec<f32>,
    /// `[hidden, horizon x RESOURCES x PER_STEP]`.
    head_weight: Vec<f32>,
    /// `[horizon x RESOURCES x PER_STEP]`.
    head_bias: Vec<f32>,
    /// Shift of each resource's quantiles, in deviations of the window.
    shift: [[f32; PER_STEP]; RESOURCES],
}

/// Means and deviations of the channels over the training part.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Scale {
    mean: [f32; CHANNELS],
    deviation: [f32; CHANNELS],
}

/// Where a window lies and how far it swings: its own mean, and its own deviation, but no less than a share of the
/// training part's. A window so scaled looks alike at any load, and a forecast's spread follows the load's.
#[derive(Clone, Debug)]
struct Local {
    mean: [f32; CHANNELS],
    deviation: [f32; CHANNELS],
}

impl Local {
    /// Standardised inputs; what lies far outside is held at ten deviations.
    fn apply(&self, row: &[f32; CHANNELS]) -> [f32; CHANNELS] {
        std::array::from_fn(|k| ((row[k] - self.mean[k]) / self.deviation[k]).clamp(-10.0, 10.0))
    }
}

impl Scale {
    /// Of all rows.
    fn of(rows: &[[f32; CHANNELS]]) -> Self {
        let n = rows.len().max(1) as f32;
        let mean: [f32; CHANNELS] = std::array::from_fn(|k| rows.iter().map(|row| row[k]).sum::<f32>() / n);
        let deviation = std::array::from_fn(|k| {
            let variance = rows.iter().map(|row| (row[k] - mean[k]).powi(2)).sum::<f32>() / n;
            // A constant channel says nothing: it becomes zero.
            if variance > 1e-12 * (1.0 + mean[k] * mean[k]) { variance.sqrt() } else { 1.0 + mean[k].abs() }
        });
        Self { mean, deviation }
    }

    /// Of one window. The calendar has no level of its own.
    fn local(&self, window: &[[f32; CHANNELS]]) -> Local {
        let own = Self::of(window);
        let of_calendar = |k: usize| CALENDAR.contains(&k);
        Local {
            mean: std::array::from_fn(|k| if of_calendar(k) { self.mean[k] } else { own.mean[k] }),
            deviation: std::array::from_fn(|k| {
                // A window that stands still swings as little as a window may.
                let still = window.iter().all(|row| row[k] == window[0][k]);
                let own = if still { 0.0 } else { own.deviation[k] };
                if of_calendar(k) { self.deviation[k] } else { own.max(LOCAL_SHARE * self.deviation[k]) }
            }),
        }
    }
}

impl Lstm {
    /// Forecasts the steps after the last row of `data`; `None` if it has fewer rows than the window. Resources
    /// without a fact in the window are left out.
    pub fn predict(&self, data: &Dataset) -> Option<BTreeMap<Resource, Curve>> {
        let start = data.inputs.len().checked_sub(self.window)?;
        let local = self.scale.local(&data.inputs[start..]);
        let x: Vec<f32> = data.inputs[start..].iter().flat_map(|row| local.apply(row)).collect();
        let dims = kernel::Dims { steps: self.window, batch: 1, inputs: CHANNELS, hidden: self.hidden };
        let (hidden, _) = kernel::forward(&x, &self.weight, &self.bias, dims);
        let mut raw = self.head_bias.clone();
        gemm::multiply(
            gemm::Into::Add,
            &mut raw,
            gemm::View::new(&hidden, 1, self.hidden),
            gemm::View::new(&self.head_weight, self.hidden, self.head_bias.len()),
        );
        let told = |at: &usize| data.targets[start..].iter().any(|row| row[*at].is_finite());
        Some(
            (0..RESOURCES)
                .filter(told)
                .map(|at| (Resource::ALL[at], self.curve(&raw, at, data, local.deviation[at])))
                .collect(),
        )
    }

    /// One resource's curve, in its own unit.
    fn curve(&self, raw: &[f32], resource: usize, data: &Dataset, deviation: f32) -> Curve {
        let level = level(&data.inputs, resource);
        raw.chunks_exact(RESOURCES * PER_STEP)
            .map(|step| {
                let mut row = spread(&step[resource * PER_STEP..][..PER_STEP]);
                for (value, shift) in row.iter_mut().zip(self.shift[resource]) {
                    *value += shift;
                }
                row.sort_by(f32::total_cmp);
                row.map(|value| f64::from((level + deviation * value).max(0.0)))
            })
            .collect()
    }
}

/// The level that the head's changes start from: the mean of the last rows.
fn level(inputs: &[[f32; CHANNELS]], resource: usize) -> f32 {
    let last = &inputs[inputs.len().saturating_sub(LEVEL_ROWS)..];
    last.iter().map(|row| row[resource]).sum::<f32>() / last.len().max(1) as f32
}

/// The head's five numbers as five quantiles that cannot cross.
fn spread(raw: &[f32]) -> [f32; PER_STEP] {
    let mut out = [raw[0]; PER_STEP];
    out[0] -= softplus(raw[1]);
    for at in MEDIAN + 1..PER_STEP {
        out[at] = out[at - 1] + softplus(raw[at]);
    }
    out
}

fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
