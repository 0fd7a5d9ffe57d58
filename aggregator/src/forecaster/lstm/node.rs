//! The LSTM layer as one node of burn's autodiff graph, with the kernel's own backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::tensor::{Tensor, TensorData};

use super::kernel::{self, Dims, Trace};

/// The layer as an operation of a backend.
#[backend_extension(Flex, Autodiff)]
trait LstmOps: Backend {
    /// `x` `[steps, batch, inputs]`, `weight` `[inputs + hidden, 4 hidden]`, `bias` `[1, 4 hidden]`, to the last
    /// hidden state `[batch, hidden]`. No gradient flows to `x`.
    fn lstm(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Runs the layer; see [`kernel::forward`] for the shapes.
pub(super) fn lstm(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as LstmOps>::lstm(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()))
}

#[derive(Debug)]
struct Saved {
    trace: Trace,
    weight: FlexTensor,
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("the layer's tensors are contiguous f32")
}

fn forward(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> (FlexTensor, Saved) {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let shape = x.layout().shape();
    let (steps, batch, inputs) = (shape[0], shape[1], shape[2]);
    let hidden = weight.layout().shape()[1] / 4;
    let dims = Dims { steps, batch, inputs, hidden };
    let (last, trace) = kernel::forward(slice(&x), slice(&weight), slice(&bias), dims);
    (FlexTensor::from_data(TensorData::new(last, [batch, hidden])), Saved { trace, weight })
}

impl LstmOps for Flex {
    fn lstm(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        forward(x, weight, bias).0
    }
}

impl<C: CheckpointStrategy> LstmOps for Autodiff<Flex, C> {
    fn lstm(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [weight.node(), bias.node()];
        let (out, saved) = forward(x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match LstmBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(Arc::new(saved), out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

#[derive(Debug)]
struct LstmBackward;

impl Backward<Flex, 2> for LstmBackward {
    type State = Arc<Saved>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let saved = &ops.state;
        let shape = saved.weight.layout().shape();
        let (width, gates) = (shape[0], shape[1]);
        let (weight, bias) = kernel::backward(&saved.trace, slice(&saved.weight), slice(&grad));
        let [to_weight, to_bias] = ops.parents;
        if let Some(node) = to_weight {
            grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(weight, [width, gates])));
        }
        if let Some(node) = to_bias {
            grads.register::<Flex>(node.id, FlexTensor::from_data(TensorData::new(bias, [1, gates])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::prelude::s;
    use burn::tensor::Device;
    use burn::tensor::Distribution::Uniform;
    use burn::tensor::activation::sigmoid;

    /// The layer in burn's own operations, step by step.
    fn reference(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<2>) -> Tensor<2> {
        let [steps, batch, inputs] = x.dims();
        let hidden = weight.dims()[1] / 4;
        let mut h = Tensor::<2>::zeros([batch, hidden], &x.device());
        let mut c = Tensor::<2>::zeros([batch, hidden], &x.device());
        for step in 0..steps {
            let now = x.clone().slice(s![step..step + 1, .., ..]).reshape([batch, inputs]);
            let gates = Tensor::cat(vec![now, h], 1).matmul(weight.clone()) + bias.clone();
            let gate = |k: usize| gates.clone().slice(s![.., k * hidden..(k + 1) * hidden]);
            c = sigmoid(gate(1)) * c + sigmoid(gate(0)) * gate(3).tanh();
            h = sigmoid(gate(2)) * c.clone().tanh();
        }
        h
    }

    #[test]
    fn the_node_and_its_gradients_agree_with_burns_own_operations() {
        let base = Device::flex();
        base.seed(7);
        let device = base.autodiff();
        let x = Tensor::<3>::random([9, 5, 6], Uniform(-2.0, 2.0), &device);
        let weight = Tensor::<2>::random([6 + 32, 128], Uniform(-0.4, 0.4), &device).require_grad();
        let bias = Tensor::<2>::random([1, 128], Uniform(-0.4, 0.4), &device).require_grad();
        let direction = Tensor::<2>::random([5, 32], Uniform(-1.0, 1.0), &device);

        let ours = lstm(x.clone(), weight.clone(), bias.clone());
        let theirs = reference(x, weight.clone(), bias.clone());
        let difference = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
        assert!(difference(ours.clone().inner(), theirs.clone().inner()) < 1e-5);

        let our_grads = (ours * direction.clone()).sum().backward();
        let their_grads = (theirs * direction).sum().backward();
        for parameter in [&weight, &bias] {
            let (a, b) = (parameter.grad(&our_grads).unwrap(), parameter.grad(&their_grads).unwrap());
            assert!(difference(a, b) < 1e-4);
        }
    }
}
