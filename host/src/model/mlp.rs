//! The feed-forward half of a block: wider, GELU with the exact error function, and back.
//! Mixes nothing between positions.

use tch::{TchError, Tensor};

use super::{
    builder::Builder,
    linear::{Linear, Shape},
    pass::Pass,
};

/// Two linear layers around a GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415).
pub(super) struct Mlp {
    pub(super) c_fc: Linear,
    pub(super) c_proj: Linear,
}

impl Mlp {
    /// `{name}.c_fc` and `{name}.c_proj` around `hidden` units.
    pub(super) fn new(builder: &mut Builder, name: &str, width: i64, hidden: i64) -> Result<Mlp, TchError> {
        let (residual_std, rank) = (builder.residual_std, builder.ranks.mlp);
        let shape = Shape { inputs: width, outputs: hidden, std: 0.02, rank };
        let c_fc = Linear::new(builder, &format!("{name}.c_fc"), shape)?;
        let shape = Shape { inputs: hidden, outputs: width, std: residual_std, rank };
        let c_proj = Linear::new(builder, &format!("{name}.c_proj"), shape)?;
        Ok(Mlp { c_fc, c_proj })
    }

    /// `[b·t, width]` to the same shape.
    pub(super) fn forward(&self, pass: &Pass, x: &Tensor) -> Result<Tensor, TchError> {
        let wide = self.c_fc.forward(pass, x)?.f_gelu("none")?;
        pass.drop(self.c_proj.forward(pass, &wide)?)
    }
}
