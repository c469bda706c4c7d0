//! A linear layer with an optional bias and an optional low-rank adapter (LoRA, Hu et al. 2021, arXiv 2106.09685):
//! y = W·x + b + (α/r)·B·A·x. Weight and bias are left out of training where there is an adapter.

use tch::{TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    lora::Adapter,
    parameter::Role,
    pass::Pass,
};

/// One linear layer.
pub(super) struct Linear {
    pub(super) weight: Slot,
    bias: Option<Slot>,
    pub(super) adapter: Option<Adapter>,
}

/// Sizes and initial values of a linear layer.
pub(super) struct Shape {
    pub(super) inputs: i64,
    pub(super) outputs: i64,
    /// Standard deviation of the weight.
    pub(super) std: f64,
    /// Rank of its adapter; 0 is none.
    pub(super) rank: usize,
}

impl Linear {
    /// `{name}.weight` `[outputs, inputs]` from N(0, `std`), `{name}.bias` `[outputs]` of zeros, and the adapter.
    pub(super) fn new(builder: &mut Builder, name: &str, shape: Shape) -> Result<Linear, TchError> {
        let Shape { inputs, outputs, std, rank } = shape;
        let add = if rank > 0 { Builder::add_frozen } else { Builder::add };
        let weight = add(builder, format!("{name}.weight"), Role::Matrix, &[outputs, inputs], Init::Normal(std))?;
        let bias = match builder.bias {
            true => Some(add(builder, format!("{name}.bias"), Role::Vector, &[outputs], Init::Zeros)?),
            false => None,
        };
        let adapter = Adapter::of_linear(builder, name, rank, [outputs, inputs])?;
        Ok(Linear { weight, bias, adapter })
    }

    /// `[…, inputs]` to `[…, outputs]`.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        let y = x.f_linear(pass.tensor(self.weight), pass.optional(self.bias))?;
        match &self.adapter {
            None => Ok(y),
            Some(adapter) => adapter.added(pass, x, &y),
        }
    }
}
