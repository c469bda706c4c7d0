//! A linear layer with an optional bias and an optional low-rank adapter (LoRA, Hu et al. 2021, arXiv 2106.09685):
//! y = W·x + b + (α/r)·B·A·x. Weight and bias are left out of training where there is an adapter.

use tch::{TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    parameter::{Parameter, Role},
    pass::Pass,
};

/// One linear layer.
pub(super) struct Linear {
    weight: Slot,
    bias: Option<Slot>,
    adapter: Option<Adapter>,
}

/// The matrices of a low-rank adapter.
struct Adapter {
    /// A, `[r, inputs]`.
    a: Slot,
    /// B, `[outputs, r]`.
    b: Slot,
    /// α/r.
    scale: f64,
}

impl Linear {
    /// `{name}.weight` `[outputs, inputs]` from N(0, `std`), `{name}.bias` `[outputs]` of zeros; with an adapter
    /// `{name}.lora_A` `[r, inputs]`, uniform within ±1/√inputs as in the authors' code, and `{name}.lora_B`
    /// `[outputs, r]` of zeros, so that it changes nothing at first.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        inputs: i64,
        outputs: i64,
        std: f64,
    ) -> Result<Linear, TchError> {
        let rank = builder.lora_rank as i64;
        let add = if rank > 0 { Builder::add_frozen } else { Builder::add };
        let weight = add(builder, format!("{name}.weight"), Role::Matrix, &[outputs, inputs], Init::Normal(std))?;
        let bias = match builder.bias {
            true => Some(add(builder, format!("{name}.bias"), Role::Vector, &[outputs], Init::Zeros)?),
            false => None,
        };
        let adapter = match rank {
            0 => None,
            _ => {
                let bound = 1.0 / (inputs as f64).sqrt();
                let a = builder.add(format!("{name}.lora_A"), Role::Adapter, &[rank, inputs], Init::Uniform(bound))?;
                let b = builder.add(format!("{name}.lora_B"), Role::Adapter, &[outputs, rank], Init::Zeros)?;
                Some(Adapter { a, b, scale: builder.lora_scale })
            }
        };
        Ok(Linear { weight, bias, adapter })
    }

    /// Gives the adapter, where there is one, another α.
    pub(super) fn set_lora_alpha(&mut self, alpha: f64, parameters: &[Parameter]) {
        if let Some(adapter) = &mut self.adapter {
            let rank = parameters[adapter.a.0].tensor.size()[0];
            adapter.scale = alpha / rank.max(1) as f64;
        }
    }

    /// `[…, inputs]` to `[…, outputs]`.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        let y = x.f_linear(pass.tensor(self.weight), pass.optional(self.bias))?;
        match &self.adapter {
            None => Ok(y),
            Some(adapter) => {
                let low = x.f_linear(pass.tensor(adapter.a), None::<&Tensor>)?;
                let change = low.f_linear(pass.tensor(adapter.b), None::<&Tensor>)?;
                y.f_add(&change.f_mul_scalar(adapter.scale)?)
            }
        }
    }

    /// The weight's place and, where there is an adapter, W + (α/r)·B·A in the weight's own format.
    pub(super) fn merged(&self, parameters: &[Parameter]) -> Result<Option<(Slot, Tensor)>, TchError> {
        let Some(adapter) = &self.adapter else {
            return Ok(None);
        };
        let tensor = |slot: Slot| &parameters[slot.0].tensor;
        let weight = tensor(self.weight);
        // In f64, so that merging adds one rounding and no more.
        let double = |slot: Slot| tensor(slot).f_detach()?.f_to_kind(tch::Kind::Double);
        let change = double(adapter.b)?.f_matmul(&double(adapter.a)?)?.f_mul_scalar(adapter.scale)?;
        Ok(Some((self.weight, double(self.weight)?.f_add(&change)?.f_to_kind(weight.f_kind()?)?)))
    }
}
