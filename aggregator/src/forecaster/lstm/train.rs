//! Fitting: windows of the history, pinball loss, early stopping, calibration.

use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{relu, softplus};
use burn::tensor::{Device, Tensor, TensorData};

use super::{CHANNELS, Lstm, PER_STEP, RESOURCES, Scale, level, node};
use crate::features::{CALENDAR, Dataset};
use crate::forecast::QUANTILES;

/// The clock says something once it has come round twice; before, it is a straight line that invites to extrapolate.
const CALENDAR_FROM_MS: u64 = 2 * 86_400_000;

/// How to fit.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows that a forecast looks back on.
    pub window: usize,
    /// Steps that it tells.
    pub horizon: usize,
    /// Hidden units, a multiple of 16.
    pub hidden: usize,
    /// Most gradient steps. Short histories get as many as long ones: more passes.
    pub steps: usize,
    /// Gradient steps without a better validation loss before it stops.
    pub patience: usize,
    /// Windows a gradient step.
    pub batch: usize,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Of weights and order.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: 48,
            horizon: 12,
            hidden: 32,
            steps: 1500,
            patience: 300,
            batch: 32,
            learning_rate: 3e-3,
            seed: 1,
        }
    }
}

/// Why there is no model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Too little history.
    #[error("{rows} rows of history are too few: {needed} are needed")]
    TooShort {
        /// Rows there.
        rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The loss left the finite numbers.
    #[error("training diverged within {0} gradient steps: nothing was changed")]
    Diverged(usize),
}

/// The net while it is trained.
#[derive(Module, Debug)]
struct Net {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<2>>,
    head_weight: Param<Tensor<2>>,
    head_bias: Param<Tensor<2>>,
}

impl Net {
    /// Uniform within 1/sqrt(hidden), as is usual; or a fitted model's weights.
    fn new(settings: &Settings, warm: Option<&Lstm>, device: &Device) -> Self {
        let (h, out) = (settings.hidden, settings.horizon * RESOURCES * PER_STEP);
        let mut random = fastrand::Rng::with_seed(settings.seed);
        let bound = 1.0 / (h as f32).sqrt();
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| (random.f32() * 2.0 - 1.0) * bound).collect() };
        let fits = |model: &&Lstm| model.hidden == h && model.horizon == settings.horizon;
        let [weight, bias, head_weight, head_bias] = match warm.filter(fits) {
            Some(m) => [m.weight.clone(), m.bias.clone(), m.head_weight.clone(), m.head_bias.clone()],
            None => [draw((CHANNELS + h) * 4 * h), draw(4 * h), draw(h * out), vec![0.0; out]],
        };
        let param =
            |data, shape: [usize; 2]| Param::from_tensor(Tensor::from_data(TensorData::new(data, shape), device));
        Self {
            weight: param(weight, [CHANNELS + h, 4 * h]),
            bias: param(bias, [1, 4 * h]),
            head_weight: param(head_weight, [h, out]),
            head_bias: param(head_bias, [1, out]),
        }
    }

    /// `x` `[window, batch, CHANNELS]` to quantiles `[batch, horizon, RESOURCES, PER_STEP]`, as [`super::spread`] has it.
    fn forward(&self, x: Tensor<3>, horizon: usize) -> Tensor<4> {
        let [_, batch, _] = x.dims();
        let hidden = node::lstm(x, self.weight.val(), self.bias.val());
        let raw = hidden.matmul(self.head_weight.val()) + self.head_bias.val();
        let raw = raw.reshape([batch, horizon, RESOURCES, PER_STEP]);
        let at = |k: usize| raw.clone().narrow(3, k, 1);
        let median = at(0);
        let below = median.clone() - softplus(at(1), 1.0);
        let mut quantiles = vec![below, median];
        for k in 2..PER_STEP {
            let above = quantiles[k - 1].clone() + softplus(at(k), 1.0);
            quantiles.push(above);
        }
        Tensor::cat(quantiles, 3)
    }

    fn weights(&self) -> [Vec<f32>; 4] {
        let [w, b, hw, hb] = [&self.weight, &self.bias, &self.head_weight, &self.head_bias];
        [w, b, hw, hb].map(|param| param.val().into_data().try_to_vec::<f32>().expect("the net's parameters are f32"))
    }
}

/// Windows of a dataset: origin `o` looks back on rows `o - window .. o` and tells rows `o .. o + horizon`.
struct Windows<'a> {
    data: &'a Dataset,
    scale: &'a Scale,
    settings: Settings,
}

impl Windows<'_> {
    fn inputs(&self, origins: &[usize], device: &Device) -> Tensor<3> {
        let window = self.settings.window;
        let mut x = vec![0.0; window * origins.len() * CHANNELS];
        for (at, &origin) in origins.iter().enumerate() {
            let rows = &self.data.inputs[origin - window..origin];
            let local = self.scale.local(rows);
            for (step, row) in rows.iter().enumerate() {
                x[(step * origins.len() + at) * CHANNELS..][..CHANNELS].copy_from_slice(&local.apply(row));
            }
        }
        Tensor::from_data(TensorData::new(x, [window, origins.len(), CHANNELS]), device)
    }

    /// Changes from the level in deviations of the window, and 1 where there is a fact or 0 where there is none; `[batch, horizon, RESOURCES, 1]`.
    fn targets(&self, origins: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let mut y = Vec::with_capacity(origins.len() * self.settings.horizon * RESOURCES);
        let mut mask = Vec::with_capacity(y.capacity());
        for &origin in origins {
            let local = self.scale.local(&self.data.inputs[origin - self.settings.window..origin]);
            let levels: [f32; RESOURCES] = std::array::from_fn(|k| level(&self.data.inputs[..origin], k));
            for row in &self.data.targets[origin..origin + self.settings.horizon] {
                for k in 0..RESOURCES {
                    let known = row[k].is_finite();
                    y.push(if known { (row[k] - levels[k]) / local.deviation[k] } else { 0.0 });
                    mask.push(f32::from(u8::from(known)));
                }
            }
        }
        (y, mask)
    }

    /// Mean pinball loss over quantiles and facts.
    fn loss(&self, net: &Net, origins: &[usize], device: &Device) -> Tensor<1> {
        let shape = [origins.len(), self.settings.horizon, RESOURCES, 1];
        let (y, mask) = self.targets(origins);
        let facts = mask.iter().sum::<f32>().max(1.0) * PER_STEP as f32;
        let tensor = |data| Tensor::<4>::from_data(TensorData::new(data, shape), device);
        let tau = QUANTILES.map(|quantile| quantile as f32);
        let tau = Tensor::<1>::from_floats(tau, device).reshape([1, 1, 1, PER_STEP]);
        let error = tensor(y) - net.forward(self.inputs(origins, device), self.settings.horizon);
        let pinball = error.clone() * tau + relu(error.neg());
        (pinball * tensor(mask)).sum() / facts
    }
}

/// Fits a model to rows `0..train`, stops and calibrates on origins up to `end`. Rows at or after `end` are not seen.
///
/// # Errors
/// [`FitError`]; the caller keeps what it had.
pub(crate) fn fit(
    data: &Dataset,
    train: usize,
    end: usize,
    settings: Settings,
    warm: Option<&Lstm>,
) -> Result<Lstm, FitError> {
    let (window, horizon) = (settings.window, settings.horizon);
    let needed = window + 2 * horizon + settings.batch;
    if train < needed || end < train + 2 * horizon || data.inputs.len() < end {
        return Err(FitError::TooShort { rows: data.inputs.len().min(end), needed: needed + 2 * horizon });
    }
    let mut scale = Scale::of(&data.inputs[..train]);
    if (train as u64 * data.step_ms) < CALENDAR_FROM_MS {
        // An infinite deviation silences a channel.
        scale.deviation[CALENDAR].fill(f32::INFINITY);
    }
    let windows = Windows { data, scale: &scale, settings };
    let origins: Vec<usize> = (window..=train - horizon).collect();
    let validation: Vec<usize> = (train..=end - horizon).collect();

    let base = Device::flex();
    let net = descend(&windows, origins, &validation, warm, &base)?;
    let [weight, bias, head_weight, head_bias] = net.weights();
    let mut model = Lstm {
        window,
        horizon,
        hidden: settings.hidden,
        scale: scale.clone(),
        weight,
        bias,
        head_weight,
        head_bias,
        shift: [[0.0; PER_STEP]; RESOURCES],
    };
    model.shift = shifts(&windows, &net, &validation, &base);
    Ok(model)
}

/// Gradient descent; gives the net of the best validation loss, off the autodiff graph.
fn descend(
    windows: &Windows<'_>,
    mut origins: Vec<usize>,
    validation: &[usize],
    warm: Option<&Lstm>,
    base: &Device,
) -> Result<Net, FitError> {
    let settings = windows.settings;
    let device = base.clone().autodiff();
    let mut net = Net::new(&settings, warm, &device);
    let mut optimizer = AdamConfig::new().init();
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let score = |net: &Net| windows.loss(net, validation, base).into_scalar::<f32>();
    let mut best = net.valid();
    let mut best_loss = score(&best);
    let (mut taken, mut best_at) = (0, 0);
    while taken < settings.steps && taken - best_at < settings.patience {
        random.shuffle(&mut origins);
        taken += origins.len().div_ceil(settings.batch);
        for batch in origins.chunks(settings.batch) {
            let loss = windows.loss(&net, batch, &device);
            let grads = GradientsParams::from_grads(loss.backward(), &net);
            net = optimizer.step(settings.learning_rate, net, grads);
        }
        let now = net.valid();
        let loss = score(&now);
        if !loss.is_finite() {
            return Err(FitError::Diverged(taken));
        }
        if loss < best_loss {
            (best, best_loss, best_at) = (now, loss, taken);
        }
    }
    if best_loss.is_finite() { Ok(best) } else { Err(FitError::Diverged(0)) }
}

/// For each resource and quantile, the shift that makes the quantile hold on the validation windows.
fn shifts(windows: &Windows<'_>, net: &Net, validation: &[usize], base: &Device) -> [[f32; PER_STEP]; RESOURCES] {
    let told = net.forward(windows.inputs(validation, base), windows.settings.horizon).into_data();
    let told = told.try_to_vec::<f32>().expect("the net's quantiles are f32");
    let (y, mask) = windows.targets(validation);
    std::array::from_fn(|resource| {
        std::array::from_fn(|quantile| {
            let mut residuals: Vec<f32> = (resource..y.len())
                .step_by(RESOURCES)
                .filter(|at| mask[*at] > 0.0)
                .map(|at| y[at] - told[at * PER_STEP + quantile])
                .collect();
            residuals.sort_by(f32::total_cmp);
            let rank = (QUANTILES[quantile] * (residuals.len() + 1) as f64).ceil() as usize;
            residuals.get(rank.clamp(1, residuals.len().max(1)) - 1).copied().unwrap_or(0.0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Resource;

    /// A sine with noise as CPU, arrivals beside it; memory and IO are not told.
    fn waves(rows: usize) -> Dataset {
        let mut random = fastrand::Rng::with_seed(3);
        let mut data = Dataset { step_ms: 1000, ..Dataset::default() };
        for at in 0..rows {
            let value = 5.0 + 3.0 * (at as f32 / 24.0 * std::f32::consts::TAU).sin() + (random.f32() - 0.5);
            data.inputs.push([value, 0.0, 0.0, 2.0 * value, 0.0, 0.0, 0.0, 0.0, 0.0]);
            data.targets.push([value, f32::NAN, f32::NAN, 2.0 * value]);
        }
        data
    }

    fn pinball(curve: &[[f64; 5]], data: &Dataset, origin: usize) -> f64 {
        curve
            .iter()
            .zip(&data.targets[origin..])
            .flat_map(|(row, fact)| row.iter().zip(QUANTILES).map(|(q, tau)| (f64::from(fact[0]) - q, tau)))
            .map(|(error, tau)| (error * tau).max(error * (tau - 1.0)))
            .sum()
    }

    fn head(data: &Dataset, rows: usize) -> Dataset {
        Dataset { inputs: data.inputs[..rows].to_vec(), targets: data.targets[..rows].to_vec(), ..*data }
    }

    #[test]
    fn a_pattern_is_learned_and_its_noise_is_told() {
        let data = waves(500);
        let model = fit(&data, 350, 440, Settings::default(), None).unwrap();
        let (mut ours, mut flat, mut below) = (0.0, 0.0, 0);
        for origin in 440..488 {
            let forecast = model.predict(&head(&data, origin)).unwrap();
            assert_eq!(forecast.keys().copied().collect::<Vec<_>>(), [Resource::Cpu, Resource::Arrivals]);
            let curve = &forecast[&Resource::Cpu];
            assert!(curve.iter().all(|row| row.is_sorted()), "quantiles never cross");
            ours += pinball(curve, &data, origin);
            let last = f64::from(data.targets[origin - 1][0]);
            flat += pinball(&vec![[last; 5]; 12], &data, origin);
            below += curve.iter().zip(&data.targets[origin..]).filter(|(row, y)| f64::from(y[0]) <= row[3]).count();
        }
        assert!(ours < 0.25 * flat, "ours {ours}, last value {flat}");
        let coverage = below as f64 / (48.0 * 12.0);
        assert!((0.88..=0.99).contains(&coverage), "coverage of the 0.95 quantile is {coverage}");
    }

    #[test]
    fn a_lull_does_not_promise_a_burst() {
        let model = fit(&waves(300), 220, 270, Settings { steps: 100, ..Settings::default() }, None).unwrap();
        let mut lull = Dataset { step_ms: 1000, ..Dataset::default() };
        for _ in 0..48 {
            lull.inputs.push([0.02; CHANNELS]);
            lull.targets.push([0.02, f32::NAN, f32::NAN, 0.02]);
        }
        // The waves' deviation is about 2.1; a window's own is held at three tenths of it or more.
        let most = model.predict(&lull).unwrap()[&Resource::Cpu].iter().map(|row| row[3]).fold(0.0, f64::max);
        assert!(most < 3.0, "{most}");
    }

    #[test]
    fn the_same_seed_gives_the_same_model_and_a_warm_start_begins_where_it_ended() {
        let data = waves(300);
        let settings = Settings { steps: 20, ..Settings::default() };
        let one = fit(&data, 220, 270, settings, None).unwrap();
        assert_eq!(one, fit(&data, 220, 270, settings, None).unwrap());
        let kept = fit(&data, 220, 270, Settings { steps: 0, ..settings }, Some(&one)).unwrap();
        assert_eq!(kept, one);
    }

    #[test]
    fn what_comes_after_the_end_is_not_seen() {
        let data = waves(300);
        let mut other = data.clone();
        for row in 270..300 {
            other.inputs[row] = [1e6; CHANNELS];
            other.targets[row] = [1e6; RESOURCES];
        }
        let settings = Settings { steps: 10, ..Settings::default() };
        assert_eq!(fit(&data, 220, 270, settings, None), fit(&other, 220, 270, settings, None));
    }

    #[test]
    fn too_little_history_and_divergence_are_errors_that_change_nothing() {
        let error = fit(&waves(60), 40, 60, Settings::default(), None).unwrap_err().to_string();
        assert!(error.contains("60 rows of history are too few"), "{error}");
        let wild = Settings { learning_rate: f64::INFINITY, ..Settings::default() };
        assert!(matches!(fit(&waves(300), 220, 270, wild, None), Err(FitError::Diverged(_))));
    }
}
