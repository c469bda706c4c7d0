//! What a forward pass carries from room to room.
//! Lives as long as the pass.

use tch::{TchError, Tensor};

use super::builder::Slot;

/// One forward pass over `b` sequences of `t` tokens. Activations are `[b·t, width]` outside attention.
pub(super) struct Pass<'a> {
    /// The parameters of the model, in its order.
    pub(super) parameters: &'a [Tensor],
    /// Share of activations dropped; 0 outside training.
    pub(super) dropout: f64,
    /// Sequences.
    pub(super) b: i64,
    /// Tokens of a sequence.
    pub(super) t: i64,
}

impl<'a> Pass<'a> {
    /// A pass over tokens `[b, t]`.
    pub(super) fn over(tokens: &Tensor, parameters: &'a [Tensor], dropout: f64) -> Result<Pass<'a>, TchError> {
        let (b, t) = tokens.size2()?;
        Ok(Pass { parameters, dropout, b, t })
    }

    /// A parameter's values.
    pub(super) fn tensor(&self, slot: Slot) -> &Tensor {
        &self.parameters[slot.0]
    }

    /// A parameter's values, where it exists.
    pub(super) fn optional(&self, slot: Option<Slot>) -> Option<&Tensor> {
        slot.map(|slot| self.tensor(slot))
    }

    /// Drops activations, where any are to be dropped.
    pub(super) fn drop(&self, x: Tensor) -> Result<Tensor, TchError> {
        if self.dropout > 0.0 { x.f_dropout(self.dropout, true) } else { Ok(x) }
    }
}
