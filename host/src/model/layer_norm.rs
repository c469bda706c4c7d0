//! LayerNorm with an optional bias (Ba et al. 2016, arXiv 1607.06450), ε = 1e-5.
//! Normalizes over the last dimension only.

use tch::{TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    parameter::Role,
    pass::Pass,
};

/// Gain and bias of one LayerNorm.
pub(super) struct LayerNorm {
    weight: Slot,
    bias: Option<Slot>,
    width: i64,
}

impl LayerNorm {
    /// `{name}.weight` of ones and, where the model has biases, `{name}.bias` of zeros, both `[width]`.
    pub(super) fn new(builder: &mut Builder, name: &str, width: i64) -> Result<LayerNorm, TchError> {
        let weight = builder.add(format!("{name}.weight"), Role::Vector, &[width], Init::Ones)?;
        let bias = match builder.bias {
            true => Some(builder.add(format!("{name}.bias"), Role::Vector, &[width], Init::Zeros)?),
            false => None,
        };
        Ok(LayerNorm { weight, bias, width })
    }

    /// `[…, width]` to the same shape.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_layer_norm([self.width], Some(pass.tensor(self.weight)), pass.optional(self.bias), 1e-5, true)
    }
}
