//! Rows as a model takes them: channels, and targets.

use super::{Row, Series};
use crate::forecast::Resource;

/// Channels of a model's input, a row a step.
pub const CHANNELS: usize = 9;

/// The channels that tell the time of day.
pub const CALENDAR: std::ops::Range<usize> = 7..9;

/// Rows for a model: inputs and targets, gaps filled in the inputs (last known) and NaN in the targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// Index of the first row's step.
    pub first: u64,
    /// Length of a step, ms.
    pub step_ms: u64,
    /// The four targets as known, weight a second, upstream's weight a second, upstream's batches on their way, and
    /// the time of day as sine and cosine.
    pub inputs: Vec<[f32; CHANNELS]>,
    /// By [`Resource::ALL`]; NaN where there is no fact.
    pub targets: Vec<[f32; Resource::ALL.len()]>,
}

impl Dataset {
    /// Rows `range` of a component, with those of the components upstream of it.
    pub fn build(series: &Series, upstream: &[&Series], range: std::ops::Range<u64>) -> Self {
        let mut known = [0.0_f32; CHANNELS];
        let mut out = Self { first: range.start, step_ms: series.step_ms, ..Self::default() };
        for index in range {
            let targets = Resource::ALL.map(|resource| series.fact(resource, index).map_or(f32::NAN, |v| v as f32));
            let row = Self::inputs_of(series, upstream, index, &targets);
            for (known, now) in known.iter_mut().zip(row) {
                if now.is_finite() {
                    *known = now;
                }
            }
            out.inputs.push(known);
            out.targets.push(targets);
        }
        out
    }

    fn inputs_of(series: &Series, upstream: &[&Series], index: u64, targets: &[f32; 4]) -> [f32; CHANNELS] {
        let step_ms = series.step_ms;
        // Of a gap nothing is known: it is no step without arrivals.
        let heard = |series: &Series| series.row(index).copied().filter(|row| row.tapped || row.covered_ms > 0.0);
        let weight_of = |row: &Row| row.arrived_weight / row.heard_ms(step_ms) * 1000.0;
        let weight = heard(series).map(|row| weight_of(&row));
        let (mut upstream_weight, mut on_the_way) = (0.0, 0.0);
        for series in upstream {
            let row = heard(series);
            upstream_weight += row.map_or(f64::NAN, |row| weight_of(&row));
            on_the_way += row
                .map_or(f64::NAN, |row| row.waiting(step_ms).unwrap_or(0.0) + row.in_service(step_ms).unwrap_or(0.0));
        }
        let day = (index * series.step_ms) as f64 / 86_400_000.0 * std::f64::consts::TAU;
        let [cpu, memory, io, arrivals] = *targets;
        let weight = weight.map_or(f32::NAN, |w| w as f32);
        let (sine, cosine) = day.sin_cos();
        [cpu, memory, io, arrivals, weight, upstream_weight as f32, on_the_way as f32, sine as f32, cosine as f32]
    }
}
