//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): their ranks, their matrices, what they add to a weight.
//! Does not decide which layers have one.

use tch::{Kind, TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    parameter::{Parameter, Role},
    pass::Pass,
};
use crate::config::settings::ModelSettings;

/// Ends of the names of an adapter's matrices.
pub(crate) const A: &str = "lora_A";
/// The one that begins as zeros.
pub(crate) const B: &str = "lora_B";

/// ⌊width / divisor⌋.
pub fn rank(width: usize, divisor: f64) -> usize {
    sdk::lora_rank(width as f64, divisor)
}

/// Ranks of a network's adapters; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    /// Of `c_attn` and `c_proj` of attention.
    pub attn: usize,
    /// Of `c_fc` and `c_proj` of the MLP.
    pub mlp: usize,
    /// Of the token embedding.
    pub vocab: usize,
}

impl Ranks {
    /// Those that the settings ask for.
    pub fn of(settings: &ModelSettings) -> Ranks {
        let ModelSettings { n_embd, lora_rank, attn_lora_divisor, vocab_lora_divisor, .. } = *settings;
        Ranks {
            attn: attn_lora_divisor.map_or(lora_rank, |divisor| rank(n_embd, divisor)),
            mlp: lora_rank,
            vocab: vocab_lora_divisor.map_or(0, |divisor| rank(n_embd, divisor)),
        }
    }

    /// The largest of them; none where there is no adapter.
    pub fn largest(self) -> Option<usize> {
        [self.attn, self.mlp, self.vocab].into_iter().max().filter(|rank| *rank > 0)
    }
}

/// The matrices of an adapter, and its factor.
pub(super) struct Adapter {
    /// A, of rank r.
    a: Slot,
    /// B, of rank r.
    b: Slot,
    rank: usize,
    /// α/r.
    scale: f64,
    /// Whether it is a table's, A·Bᵀ; else a linear layer's, B·A.
    is_table: bool,
}

impl Adapter {
    /// Of a linear layer: `{name}.lora_A` `[r, inputs]`, uniform within ±1/√inputs as in the authors' code, and
    /// `{name}.lora_B` `[outputs, r]` of zeros, so that it changes nothing at first. None of rank 0.
    pub(super) fn of_linear(
        builder: &mut Builder,
        name: &str,
        rank: usize,
        [outputs, inputs]: [i64; 2],
    ) -> Result<Option<Adapter>, TchError> {
        let r = rank as i64;
        Adapter::new(builder, name, rank, ([r, inputs], [outputs, r]), inputs, false)
    }

    /// Of a table: `{name}.lora_A` `[rows, r]`, uniform within ±1/√width, and `{name}.lora_B` `[width, r]` of zeros.
    pub(super) fn of_table(
        builder: &mut Builder,
        name: &str,
        rank: usize,
        [rows, width]: [i64; 2],
    ) -> Result<Option<Adapter>, TchError> {
        let r = rank as i64;
        Adapter::new(builder, name, rank, ([rows, r], [width, r]), width, true)
    }

    fn new(
        builder: &mut Builder,
        name: &str,
        rank: usize,
        (a, b): ([i64; 2], [i64; 2]),
        fan_in: i64,
        is_table: bool,
    ) -> Result<Option<Adapter>, TchError> {
        if rank == 0 {
            return Ok(None);
        }
        let bound = 1.0 / (fan_in as f64).sqrt();
        let a = builder.add(format!("{name}.{A}"), Role::Adapter, &a, Init::Uniform(bound))?;
        let b = builder.add(format!("{name}.{B}"), Role::Adapter, &b, Init::Zeros)?;
        let scale = builder.lora_alpha / rank as f64;
        Ok(Some(Adapter { a, b, rank, scale, is_table }))
    }

    /// Makes the factor α/r.
    pub(super) fn set_alpha(&mut self, alpha: f64) {
        self.scale = alpha / self.rank as f64;
    }

    /// Adds (α/r)·B·A·x to a linear layer's `y`.
    pub(super) fn added(&self, pass: &Pass, x: &Tensor, y: &Tensor) -> Result<Tensor, TchError> {
        let low = x.f_linear(pass.tensor(self.a), None::<&Tensor>)?;
        let change = low.f_linear(pass.tensor(self.b), None::<&Tensor>)?;
        y.f_add(&change.f_mul_scalar(self.scale)?)
    }

    /// Adds the rows of (α/r)·A·Bᵀ to those of a table.
    pub(super) fn added_rows(&self, pass: &Pass, index: &Tensor, rows: &Tensor) -> Result<Tensor, TchError> {
        let low = Tensor::f_embedding(pass.tensor(self.a), index, -1, false, false)?;
        let change = low.f_linear(pass.tensor(self.b), None::<&Tensor>)?;
        rows.f_add(&change.f_mul_scalar(self.scale)?)
    }

    /// `weight` with the adapter's change in f64: W + (α/r)·B·A, or E + (α/r)·A·Bᵀ.
    pub(super) fn merged(&self, weight: Slot, parameters: &[Parameter]) -> Result<Tensor, TchError> {
        let tensor = |slot: Slot| &parameters[slot.0].tensor;
        let double = |slot: Slot| tensor(slot).f_detach()?.f_to_kind(Kind::Double);
        let (a, b) = (double(self.a)?, double(self.b)?);
        let change = if self.is_table { a.f_matmul(&b.f_transpose(0, 1)?)? } else { b.f_matmul(&a)? };
        double(weight)?.f_add(&change.f_mul_scalar(self.scale)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::knobs::builtin;

    #[test]
    fn attention_has_its_own_rank_or_that_of_all_linear_layers() {
        let ranks = |lora_rank, attn_lora_divisor, vocab_lora_divisor| {
            let ranks = Ranks::of(&ModelSettings {
                n_embd: 32,
                lora_rank,
                attn_lora_divisor,
                vocab_lora_divisor,
                ..builtin().model
            });
            [ranks.attn, ranks.mlp, ranks.vocab]
        };
        assert_eq!(ranks(0, None, None), [0, 0, 0]);
        assert_eq!(ranks(3, None, None), [3, 3, 0]);
        assert_eq!(ranks(3, Some(4.0), Some(16.0)), [8, 3, 2]);
        assert_eq!(ranks(0, Some(4.0), None), [8, 0, 0]);
        assert_eq!(ranks(3, Some(40.0), None), [0, 3, 0]);
    }
}
