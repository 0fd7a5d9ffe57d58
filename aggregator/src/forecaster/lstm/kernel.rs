//! An LSTM layer's forward and backward pass over a whole window, written by hand on plain slices.
//!
//! Hochreiter and Schmidhuber (1997) with forget gates (Gers et al., 2000). Gate order: input, forget, output, cell.
//! The input and the previous hidden state lie side by side (`xh`), so that a step is one matrix product. As separate
//! tensor operations a step is some twenty nodes of autodiff, whose bookkeeping costs more than the arithmetic.

use super::gemm::{Into, View, multiply};

/// Numbers that are worked on together: one AVX-512 register.
const LANES: usize = 16;

/// Sizes of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dims {
    /// Length of the window.
    pub(super) steps: usize,
    /// Windows.
    pub(super) batch: usize,
    /// Channels.
    pub(super) inputs: usize,
    /// Hidden units, a multiple of 16.
    pub(super) hidden: usize,
}

impl Dims {
    fn width(&self) -> usize {
        self.inputs + self.hidden
    }

    fn gates(&self) -> usize {
        4 * self.hidden
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub(super) struct Trace {
    dims: Dims,
    /// `[steps + 1, batch, inputs + hidden]`: the input beside the hidden state before the step.
    xh: Vec<f32>,
    /// `[steps, batch, 4 hidden]`, activated.
    gates: Vec<f32>,
    /// `[steps + 1, batch, hidden]`: the cell before the step.
    cells: Vec<f32>,
}

/// Runs the layer. `x` is `[steps, batch, inputs]`, `weight` `[inputs + hidden, 4 hidden]`, `bias` `[4 hidden]`; gives
/// the last hidden state `[batch, hidden]`.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], dims: Dims) -> (Vec<f32>, Trace) {
    let Dims { steps, batch, inputs, hidden } = dims;
    assert!(hidden.is_multiple_of(LANES), "hidden units come in sixteens");
    let (width, gates) = (dims.width(), dims.gates());
    let mut trace = Trace {
        dims,
        xh: vec![0.0; (steps + 1) * batch * width],
        gates: bias.repeat(steps * batch),
        cells: vec![0.0; (steps + 1) * batch * hidden],
    };
    for (row, x) in trace.xh.chunks_exact_mut(width).zip(x.chunks_exact(inputs)) {
        row[..inputs].copy_from_slice(x);
    }
    for step in 0..steps {
        let (now, next) = trace.xh[step * batch * width..].split_at_mut(batch * width);
        let gates = &mut trace.gates[step * batch * gates..][..batch * gates];
        multiply(Into::Add, gates, View::new(now, batch, width), View::new(weight, width, 4 * hidden));
        let (before, after) = trace.cells[step * batch * hidden..].split_at_mut(batch * hidden);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || activate(gates, before, &mut after[..batch * hidden], &mut next[..batch * width], dims),
        );
    }
    let last = trace.xh[steps * batch * width..].chunks_exact(width).flat_map(|row| &row[inputs..]).copied().collect();
    (last, trace)
}

/// Gradients of `weight` and `bias` from the gradient of the last hidden state, `[batch, hidden]`.
pub(super) fn backward(trace: &Trace, weight: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let dims = trace.dims;
    let Dims { steps, batch, inputs, hidden } = dims;
    let (width, gates) = (dims.width(), dims.gates());
    let recurrent = View::new(&weight[inputs * gates..], hidden, gates).transposed();
    let mut d_weight = vec![0.0; width * gates];
    let mut d_bias = vec![0.0; gates];
    let mut d_hidden = grad.to_vec();
    let mut d_cell = vec![0.0; batch * hidden];
    let mut d_gates = vec![0.0; batch * gates];
    for step in (0..steps).rev() {
        let activated = &trace.gates[step * batch * gates..][..batch * gates];
        let before = &trace.cells[step * batch * hidden..][..batch * hidden];
        let after = &trace.cells[(step + 1) * batch * hidden..][..batch * hidden];
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || differentiate(activated, before, after, &d_hidden, &mut d_cell, &mut d_gates, hidden),
        );
        for row in d_gates.chunks_exact(gates) {
            d_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let xh = View::new(&trace.xh[step * batch * width..][..batch * width], batch, width);
        let d_gates = View::new(&d_gates, batch, gates);
        multiply(Into::Add, &mut d_weight, xh.transposed(), d_gates);
        if step > 0 {
            multiply(Into::Replace, &mut d_hidden, d_gates, recurrent);
        }
    }
    (d_weight, d_bias)
}

type Lanes = [f32; LANES];

#[inline(always)]
fn load(from: &[f32]) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&from[..LANES]);
    lanes
}

#[inline(always)]
fn map(lanes: Lanes, f: impl Fn(f32) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (out, value) in out.iter_mut().zip(lanes) {
        *out = f(value);
    }
    out
}

/// Turns pre-activations into gates, and gives the cell and the hidden state after the step.
#[inline(always)]
fn activate(gates: &mut [f32], before: &[f32], after: &mut [f32], next: &mut [f32], dims: Dims) {
    let h = dims.hidden;
    let rows = gates.chunks_exact_mut(4 * h).zip(before.chunks_exact(h)).zip(after.chunks_exact_mut(h));
    for (((gates, before), after), next) in rows.zip(next.chunks_exact_mut(dims.width())) {
        let next = &mut next[dims.inputs..];
        for k in (0..h).step_by(LANES) {
            let input = map(load(&gates[k..]), sigmoid);
            let forget = map(load(&gates[h + k..]), sigmoid);
            let output = map(load(&gates[2 * h + k..]), sigmoid);
            let candidate = map(load(&gates[3 * h + k..]), tanh);
            let before = load(&before[k..]);
            let mut cell = [0.0; LANES];
            for j in 0..LANES {
                cell[j] = forget[j] * before[j] + input[j] * candidate[j];
            }
            let squashed = map(cell, tanh);
            for j in 0..LANES {
                next[k + j] = output[j] * squashed[j];
            }
            after[k..k + LANES].copy_from_slice(&cell);
            gates[k..k + LANES].copy_from_slice(&input);
            gates[h + k..h + k + LANES].copy_from_slice(&forget);
            gates[2 * h + k..2 * h + k + LANES].copy_from_slice(&output);
            gates[3 * h + k..3 * h + k + LANES].copy_from_slice(&candidate);
        }
    }
}

/// Gradients of the pre-activations; moves `d_cell` one step back.
#[inline(always)]
fn differentiate(
    gates: &[f32],
    before: &[f32],
    after: &[f32],
    d_hidden: &[f32],
    d_cell: &mut [f32],
    d_gates: &mut [f32],
    h: usize,
) {
    for (row, gates) in gates.chunks_exact(4 * h).enumerate() {
        let d_gates = &mut d_gates[row * 4 * h..][..4 * h];
        for k in (0..h).step_by(LANES) {
            let at = row * h + k;
            let (input, forget) = (load(&gates[k..]), load(&gates[h + k..]));
            let (output, candidate) = (load(&gates[2 * h + k..]), load(&gates[3 * h + k..]));
            let squashed = map(load(&after[at..]), tanh);
            let (before, from_hidden, from_cell) = (load(&before[at..]), load(&d_hidden[at..]), load(&d_cell[at..]));
            for j in 0..LANES {
                let d = from_cell[j] + from_hidden[j] * output[j] * (1.0 - squashed[j] * squashed[j]);
                d_gates[k + j] = d * candidate[j] * input[j] * (1.0 - input[j]);
                d_gates[h + k + j] = d * before[j] * forget[j] * (1.0 - forget[j]);
                d_gates[2 * h + k + j] = from_hidden[j] * squashed[j] * output[j] * (1.0 - output[j]);
                d_gates[3 * h + k + j] = d * input[j] * (1.0 - candidate[j] * candidate[j]);
                d_cell[at + j] = d * forget[j];
            }
        }
    }
}

/// e^x within 2 ulp for |x| <= 87, saturating beyond: Cephes' `expf`, without branches so that it vectorises.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 x 2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(2.121_944_4e-4, whole.mul_add(-0.693_359_4, x));
    let coefficients = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let mut polynomial = 1.987_569_1e-4_f32;
    for coefficient in coefficients {
        polynomial = polynomial.mul_add(rest, coefficient);
    }
    let fraction = polynomial.mul_add(rest * rest, rest + 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    f32::from_bits(fraction.to_bits().wrapping_add(exponent))
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: Dims = Dims { steps: 7, batch: 3, inputs: 5, hidden: 16 };

    fn numbers(seed: u64, len: usize, scale: f32) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..len).map(|_| (random.f32() - 0.5) * scale).collect()
    }

    #[test]
    fn exp_agrees_with_the_library() {
        for step in -870..=870 {
            let x = step as f32 / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 5e-7, "{x}: {} {}", exp(x), x.exp());
        }
        assert!(exp(f32::INFINITY).is_finite() && exp(f32::NEG_INFINITY) >= 0.0);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = numbers(1, DIMS.steps * DIMS.batch * DIMS.inputs, 4.0);
        let weight = numbers(2, 21 * 64, 0.8);
        let bias = numbers(3, 64, 0.8);
        let direction = numbers(4, DIMS.batch * DIMS.hidden, 2.0);
        let loss = |weight: &[f32], bias: &[f32]| -> f64 {
            let (hidden, _) = forward(&x, weight, bias, DIMS);
            hidden.iter().zip(&direction).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let (_, trace) = forward(&x, &weight, &bias, DIMS);
        let (d_weight, d_bias) = backward(&trace, &weight, &direction);
        let delta = 1e-2;
        for at in (0..weight.len()).step_by(37) {
            let moved = |by: f32| {
                let mut weight = weight.clone();
                weight[at] += by;
                loss(&weight, &bias)
            };
            let expected = (moved(delta) - moved(-delta)) / f64::from(2.0 * delta);
            assert!((f64::from(d_weight[at]) - expected).abs() < 2e-3, "{at}: {} {expected}", d_weight[at]);
        }
        for at in (0..bias.len()).step_by(5) {
            let moved = |by: f32| {
                let mut bias = bias.clone();
                bias[at] += by;
                loss(&weight, &bias)
            };
            let expected = (moved(delta) - moved(-delta)) / f64::from(2.0 * delta);
            assert!((f64::from(d_bias[at]) - expected).abs() < 2e-3, "{at}: {} {expected}", d_bias[at]);
        }
    }
}
