//! One transformer block with LayerNorm before each half.
//! Does not know its neighbours.

use tch::{TchError, Tensor};

use super::{attention::Attention, builder::Builder, layer_norm::LayerNorm, linear::Linear, mlp::Mlp, pass::Pass};

/// x + attention(ln_1(x)), then x + mlp(ln_2(x)).
pub(super) struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    /// Block number `layer`, `transformer.h.{layer}`.
    pub(super) fn new(
        builder: &mut Builder,
        layer: usize,
        width: i64,
        heads: i64,
        hidden: i64,
    ) -> Result<Block, TchError> {
        let name = format!("transformer.h.{layer}");
        Ok(Block {
            ln_1: LayerNorm::new(builder, &format!("{name}.ln_1"), width)?,
            attn: Attention::new(builder, &format!("{name}.attn"), width, heads)?,
            ln_2: LayerNorm::new(builder, &format!("{name}.ln_2"), width)?,
            mlp: Mlp::new(builder, &format!("{name}.mlp"), width, hidden)?,
        })
    }

    /// `[b·t, width]` to the same shape.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        // What a half returns is nobody else's, so the sum may take its place.
        let x = self.attn.forward(pass, &self.ln_1.forward(pass, x)?)?.f_add_(x)?;
        self.mlp.forward(pass, &self.ln_2.forward(pass, &x)?)?.f_add_(&x)
    }

    /// The linear layers, which may carry adapters.
    pub(super) fn linears(&self) -> [&Linear; 4] {
        [&self.attn.c_attn, &self.attn.c_proj, &self.mlp.c_fc, &self.mlp.c_proj]
    }

    /// The same, to be changed.
    pub(super) fn linears_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.attn.c_attn, &mut self.attn.c_proj, &mut self.mlp.c_fc, &mut self.mlp.c_proj]
    }
}
