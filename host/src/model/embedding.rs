//! A table of rows looked up by index.
//! Knows nothing of what the indices mean.

use tch::{TchError, Tensor};

use super::{
    builder::{Builder, Slot},
    init::Init,
    parameter::Role,
    pass::Pass,
};

/// `[rows, width]`, initially N(0, 0.02).
pub(super) struct Embedding {
    /// The table; a tied head shares it.
    pub(super) weight: Slot,
}

impl Embedding {
    /// `{name}.weight`.
    pub(super) fn new(builder: &mut Builder, name: &str, rows: i64, width: i64) -> Result<Embedding, TchError> {
        let init = Init::Normal(0.02);
        Ok(Embedding { weight: builder.add(format!("{name}.weight"), Role::Embedding, &[rows, width], init)? })
    }

    /// Rows by index: a width more than the index has dimensions.
    pub(super) fn rows(&self, pass: &Pass, index: &Tensor) -> Result<Tensor, TchError> {
        Tensor::f_embedding(pass.tensor(self.weight), index, -1, false, false)
    }

    /// The first `n` rows, `[n, width]`.
    pub(super) fn first(&self, pass: &Pass, n: i64) -> Result<Tensor, TchError> {
        pass.tensor(self.weight).f_narrow(0, 0, n)
    }
}
