//! Causal self-attention with several heads (Vaswani et al. 2017, arXiv 1706.03762).
//! Keeps no cache of keys and values.

use tch::{TchError, Tensor};

use super::{builder::Builder, linear::Linear, pass::Pass};

/// Queries, keys and values in one projection, and the projection back.
pub(super) struct Attention {
    pub(super) c_attn: Linear,
    pub(super) c_proj: Linear,
    heads: i64,
}

impl Attention {
    /// `{name}.c_attn` and `{name}.c_proj`.
    pub(super) fn new(
        builder: &mut Builder,
        name: &str,
        width: i64,
        heads: i64,
    ) -> Result<Attention, TchError> {
        let c_attn = Linear::new(builder, &format!("{name}.c_attn"), width, 3 * width, 0.02)?;
        let residual_std = builder.residual_std;
        let c_proj = Linear::new(
            builder,
            &format!("{name}.c_proj"),
            width,
            width,
            residual_std,
        )?;
        Ok(Attention {
            c_attn,
            c_proj,
            heads,
        })
    }

    /// `[b, t, width]` to the same shape; a token sees itself and earlier ones.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        let (b, t, width) = x.size3()?;
        // [b, t, 3·width] as three of [b, heads, t, width/heads], without a copy.
        let parts =
            self.c_attn
                .forward(pass, x)?
                .f_view([b, t, 3, self.heads, width / self.heads])?;
        let parts = parts.f_permute([2, 0, 3, 1, 4])?.f_unbind(0)?;
        let [q, k, v] = &parts[..] else {
            return Err(TchError::Shape("unbind gave no three parts".into()));
        };
        let mixed = Tensor::f_scaled_dot_product_attention(
            q,
            k,
            v,
            None::<&Tensor>,
            pass.dropout,
            true,
            None,
            false,
        )?;
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([b, t, width])?;
        pass.drop(self.c_proj.forward(pass, &mixed)?)
    }
}
