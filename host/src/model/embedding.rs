//! A table of rows looked up by index.
//! Knows nothing of what the indices mean.

use tch::{TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    lora::Adapter,
    parameter::Role,
    pass::Pass,
};

/// `[rows, width]`, initially N(0, 0.02). With an adapter (`lora.rs`) rows are those of E + (α/r)·A·Bᵀ, and E is left
/// out of training.
pub(super) struct Embedding {
    /// E. A tied head shares it, without the adapter.
    pub(super) weight: Slot,
    pub(super) adapter: Option<Adapter>,
}

impl Embedding {
    /// `{name}.weight`, and an adapter of this rank; 0 is none.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        rows: i64,
        width: i64,
        rank: usize,
    ) -> Result<Embedding, TchError> {
        let add = if rank > 0 { Builder::add_frozen } else { Builder::add };
        let weight = add(builder, format!("{name}.weight"), Role::Embedding, &[rows, width], Init::Normal(0.02))?;
        Ok(Embedding { weight, adapter: Adapter::of_table(builder, name, rank, [rows, width])? })
    }

    /// Rows by index: a width more than the index has dimensions.
    pub(super) fn rows(&self, pass: &Pass, index: &Tensor) -> Result<Tensor, TchError> {
        let rows = Tensor::f_embedding(pass.tensor(self.weight), index, -1, false, false)?;
        match &self.adapter {
            None => Ok(rows),
            Some(adapter) => adapter.added_rows(pass, index, &rows),
        }
    }

    /// The first `n` rows of E, `[n, width]`.
    pub(super) fn first(&self, pass: &Pass, n: i64) -> Result<Tensor, TchError> {
        pass.tensor(self.weight).f_narrow(0, 0, n)
    }
}
