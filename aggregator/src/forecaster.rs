//! A model per component: fitted on its history, scored on the part of it that the fit has not seen.
//!
//! ```text
//! rows   0 ................ 70 % ........ 85 % ........ 100 %
//!        fit                │ stop,       │ backtest: scores, confidence,
//!                           │ calibrate   │ challenger against champion
//! ```

mod file;
mod last_value;
mod lstm;

use crate::features::Dataset;
use crate::forecast::{Curve, QUANTILES, Resource};
use crate::view::Scores;

pub use file::{ModelFileError, decode, encode};
pub use lstm::{FitError, Lstm, Settings};

use last_value::LastValue;

/// The kind under which the LSTM is stored and shown.
pub const LSTM: &str = "lstm";
/// Share of the rows that a fit learns from.
const FIT_SHARE: f64 = 0.70;
/// Share of the rows that a fit sees at all.
const SEEN_SHARE: f64 = 0.85;

/// A fitted model with its backtest.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model.
    pub model: Lstm,
    /// On the rows that the fit has not seen.
    pub scores: Scores,
}

impl Scores {
    /// The baseline's share of both losses: 0.5 is as good as the last value, near 1 far better, near 0 far worse.
    pub fn confidence(&self) -> f64 {
        let total = self.wql + self.baseline_wql;
        if total > 0.0 && total.is_finite() { self.baseline_wql / total } else { 0.0 }
    }
}

/// Rows of history that a first fit needs.
pub fn rows_needed(settings: &Settings) -> usize {
    let fitted = settings.window + 2 * settings.horizon + settings.batch;
    let held_out = 2 * settings.horizon;
    let by_fit = (fitted as f64 / FIT_SHARE).ceil();
    let by_rest = (held_out as f64 / (1.0 - SEEN_SHARE)).ceil();
    by_fit.max(by_rest) as usize
}

/// Fits a challenger and scores it beside the champion on rows that the challenger has not seen. Gives the challenger
/// if it wins, or if there is no champion; else `None`.
///
/// # Errors
/// [`FitError`]; the champion stays.
pub fn challenge(data: &Dataset, settings: Settings, champion: Option<&Lstm>) -> Result<Option<Trained>, FitError> {
    let rows = data.inputs.len();
    let needed = rows_needed(&settings);
    if rows < needed {
        return Err(FitError::TooShort { rows, needed });
    }
    let (train, end) = ((rows as f64 * FIT_SHARE) as usize, (rows as f64 * SEEN_SHARE) as usize);
    let model = lstm::fit(data, train, end, settings, champion)?;
    let scores = backtest(&model, data, end);
    let beaten = champion.is_some_and(|champion| backtest(champion, data, end).wql < scores.wql);
    Ok((!beaten).then_some(Trained { model, scores }))
}

/// Rolling-origin backtest of CPU over the origins from `start`: a forecast at each origin, scored at every step.
pub fn backtest(model: &Lstm, data: &Dataset, start: usize) -> Scores {
    let baseline = LastValue::fit(data, start, model.horizon);
    let (mut ours, mut theirs) = (Tally::default(), Tally::default());
    for origin in start.max(model.window)..=data.inputs.len().saturating_sub(model.horizon) {
        let known = Dataset {
            first: data.first + (origin - model.window) as u64,
            step_ms: data.step_ms,
            inputs: data.inputs[origin - model.window..origin].to_vec(),
            targets: data.targets[origin - model.window..origin].to_vec(),
        };
        let facts = data.targets[origin..origin + model.horizon].iter().map(|row| f64::from(row[0]));
        if let Some(curve) = model.predict(&known).and_then(|mut forecast| forecast.remove(&Resource::Cpu)) {
            ours.add_all(&curve, facts.clone());
        }
        theirs.add_all(&baseline.predict(f64::from(known.inputs[model.window - 1][0])), facts);
    }
    Scores { wql: ours.wql(), baseline_wql: theirs.wql(), coverage90: ours.coverage(2), coverage95: ours.coverage(3) }
}

/// Running scores of forecast steps against facts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps scored.
    pub scored: u64,
    pinball: f64,
    magnitude: f64,
    below: [u64; QUANTILES.len()],
}

impl Tally {
    /// Scores one step.
    pub fn add(&mut self, quantiles: &[f64; QUANTILES.len()], fact: f64) {
        if !fact.is_finite() {
            return;
        }
        self.scored += 1;
        self.magnitude += fact.abs();
        for (at, (told, tau)) in quantiles.iter().zip(QUANTILES).enumerate() {
            let error = fact - told;
            self.pinball += 2.0 * (tau * error).max((tau - 1.0) * error) / QUANTILES.len() as f64;
            self.below[at] += u64::from(fact <= *told);
        }
    }

    fn add_all(&mut self, curve: &Curve, facts: impl Iterator<Item = f64>) {
        curve.iter().zip(facts).for_each(|(row, fact)| self.add(row, fact));
    }

    /// Weighted quantile loss: mean over quantiles of twice the pinball loss, over the sum of |fact|; 0 before any
    /// step is scored.
    pub fn wql(&self) -> f64 {
        if self.scored == 0 { 0.0 } else { self.pinball / self.magnitude.max(1e-9) }
    }

    /// Share of facts at or below the quantile of [`QUANTILES`] at `at`.
    pub fn coverage(&self, at: usize) -> f64 {
        if self.scored == 0 { 0.0 } else { self.below[at] as f64 / self.scored as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(rows: usize, period: f32) -> Dataset {
        let mut random = fastrand::Rng::with_seed(3);
        let mut data = Dataset { step_ms: 1000, ..Dataset::default() };
        for at in 0..rows {
            let value = 5.0 + 3.0 * (at as f32 / period * std::f32::consts::TAU).sin() + random.f32();
            data.inputs.push([value, 0.0, 0.0, value, 0.0, 0.0, 0.0, 0.0, 0.0]);
            data.targets.push([value, f32::NAN, f32::NAN, value]);
        }
        data
    }

    #[test]
    fn scores_are_those_of_the_published_formula() {
        let mut tally = Tally::default();
        tally.add(&[1.0, 2.0, 3.0, 4.0, 5.0], 3.0);
        // Pinball by hand: 0.1 x 2, 0.5 x 1, 0, 0.05 x 1, 0.01 x 2.
        let expected = 2.0 * (0.2 + 0.5 + 0.0 + 0.05 + 0.02) / 5.0 / 3.0;
        assert!((tally.wql() - expected).abs() < 1e-12);
        assert_eq!([tally.coverage(1), tally.coverage(2)], [0.0, 1.0]);
        tally.add(&[0.0; 5], f64::NAN);
        assert_eq!(tally.scored, 1, "no fact, no score");
    }

    #[test]
    fn a_challenger_is_promoted_only_if_it_wins() {
        let data = waves(400, 24.0);
        let champion = challenge(&data, Settings::default(), None).unwrap().expect("there was no champion");
        assert!(champion.scores.confidence() > 0.6, "{:?}", champion.scores);
        // A few steps from random weights cannot beat it.
        let hasty = Settings { steps: 5, hidden: 16, ..Settings::default() };
        assert!(challenge(&data, hasty, Some(&champion.model)).unwrap().is_none());
    }

    #[test]
    fn the_least_history_that_is_asked_for_suffices() {
        let settings = Settings { steps: 5, ..Settings::default() };
        let needed = rows_needed(&settings);
        assert!(challenge(&waves(needed, 24.0), settings, None).is_ok());
        assert_eq!(
            challenge(&waves(needed - 1, 24.0), settings, None).unwrap_err(),
            FitError::TooShort { rows: needed - 1, needed }
        );
    }
}
