//! What a forward pass carries from room to room.
//! Lives as long as the pass.

use tch::{TchError, Tensor};

use super::{builder::Slot, parameter::Parameter};

/// One forward pass.
pub(super) struct Pass<'a> {
    /// The parameters of the model.
    pub(super) parameters: &'a [Parameter],
    /// Share of activations dropped; 0 outside training.
    pub(super) dropout: f64,
}

impl Pass<'_> {
    /// A parameter's values.
    pub(super) fn tensor(&self, slot: Slot) -> &Tensor {
        &self.parameters[slot.0].tensor
    }

    /// A parameter's values, where it exists.
    pub(super) fn optional(&self, slot: Option<Slot>) -> Option<&Tensor> {
        slot.map(|slot| self.tensor(slot))
    }

    /// Drops activations, where any are to be dropped.
    pub(super) fn drop(&self, x: Tensor) -> Result<Tensor, TchError> {
        if self.dropout > 0.0 {
            x.f_dropout(self.dropout, true)
        } else {
            Ok(x)
        }
    }
}
