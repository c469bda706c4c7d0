//! Causal self-attention with several heads (Vaswani et al. 2017, arXiv 1706.03762).
//! Keeps no cache of keys and values.

use tch::{TchError, Tensor};

use super::{
    builder::Builder,
    linear::{Linear, Shape},
    pass::Pass,
};

/// Queries, keys and values in one projection, and the projection back.
pub(super) struct Attention {
    pub(super) c_attn: Linear,
    pub(super) c_proj: Linear,
    heads: i64,
}

impl Attention {
    /// `{name}.c_attn` and `{name}.c_proj`.
    pub(super) fn new(builder: &mut Builder, name: &str, width: i64, heads: i64) -> Result<Attention, TchError> {
        let (residual_std, rank) = (builder.residual_std, builder.ranks.attn);
        let shape = Shape { inputs: width, outputs: 3 * width, std: 0.02, rank };
        let c_attn = Linear::new(builder, &format!("{name}.c_attn"), shape)?;
        let shape = Shape { inputs: width, outputs: width, std: residual_std, rank };
        let c_proj = Linear::new(builder, &format!("{name}.c_proj"), shape)?;
        Ok(Attention { c_attn, c_proj, heads })
    }

    /// `[b·t, width]` to the same shape; a token sees itself and earlier ones of its sequence.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        let width = x.size2()?.1;
        // As columns and not as one view of three: so the backward pass writes the joint gradient once.
        let parts = self.c_attn.forward(pass, x)?.f_split(width, 1)?;
        let heads = |part: &Tensor| part.f_view([pass.b, pass.t, self.heads, width / self.heads])?.f_transpose(1, 2);
        let [q, k, v] = &parts[..] else {
            return Err(TchError::Shape("the projection has not three parts".into()));
        };
        let (q, k, v) = (heads(q)?, heads(k)?, heads(v)?);
        let none = None::<&Tensor>;
        let mixed = Tensor::f_scaled_dot_product_attention(&q, &k, &v, none, pass.dropout, true, None, false)?;
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([pass.b * pass.t, width])?;
        pass.drop(self.c_proj.forward(pass, &mixed)?)
    }
}
