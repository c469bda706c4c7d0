//! The Newton-Schulz iteration of Muon: the nearest orthogonal matrix, roughly, by matrix products alone.

use sdk::*;

/// How it is run.
pub struct NewtonSchulz {
    /// Iterations, a whole number.
    pub steps: f64,
    /// Coefficients of X, (XXᵀ)X and (XXᵀ)²X.
    pub coefficients: [f64; 3],
    /// Smallest norm that the start is divided by.
    pub eps: f64,
    /// In bf16, not in the matrix's own element type.
    pub in_bf16: bool,
}

impl NewtonSchulz {
    /// Moves the singular values of each matrix `[batch, rows, columns]` towards 1, by a polynomial that is odd in the
    /// matrix.
    pub fn orthogonal<'t>(&self, u: Tensor<'t>) -> Result<Tensor<'t>> {
        if self.steps.fract() != 0.0 {
            return Err(format!("ns_steps = {} is not a whole number", self.steps).into());
        }
        let [a, b, c] = self.coefficients;
        let dtype = u.dtype()?;
        // XXᵀ is as large as the first dimension: let that be the shorter one.
        let tall = u.size(-2)? > u.size(-1)?;
        let mut x = if self.in_bf16 { u.cast(Dtype::Bf16)? } else { u };
        if tall {
            x = x.t()?;
        }
        x = x.div(x.norm(&[-2, -1])?.max_scalar(self.eps)?)?;
        for _ in 0..self.steps as usize {
            let square = x.matmul(x.t()?)?;
            let polynomial = square.add_matmul(square, square, b, c)?;
            x = x.add_matmul(polynomial, x, a, 1.0)?;
        }
        if tall { x.t()?.cast(dtype) } else { x.cast(dtype) }
    }
}
