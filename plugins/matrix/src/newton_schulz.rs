//! The Newton-Schulz iteration of Muon: the nearest orthogonal matrix, roughly, by matrix products alone.
//!
//! An iteration X ← a·X + b·(XXᵀ)X + c·(XXᵀ)²X is X ← P(G)·X with the polynomial P(G) = a + b·G + c·G² in G = XXᵀ, and
//! G ← P(G)·G·P(G). All of them are polynomials in the first G: they are symmetric and commute. So a matrix that is much
//! wider than high is touched at the first and the last iteration only, and what lies between are products of small
//! symmetric matrices, each half a product ("Gram Newton-Schulz"). A G taken along for long loses what X's small singular
//! values are, squared; it is made anew from X after every third iteration, which keeps f32's last digits.

use sdk::*;

/// Iterations that one G is taken along for.
const KEPT: usize = 3;

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
        let dtype = u.dtype()?;
        // XXᵀ is as large as the first dimension: let that be the shorter one.
        let tall = u.size(-2)? > u.size(-1)?;
        let mut x = if self.in_bf16 { u.cast(Dtype::Bf16)? } else { u };
        if tall {
            x = x.t()?;
        }
        x = x.div(x.norm(&[-2, -1])?.max_scalar(self.eps)?)?;
        let mut left = self.steps as usize;
        while left > 0 {
            // Products of small matrices save nothing where the matrix is hardly wider; in bf16 they lose too much.
            let wide = 2 * x.size(-1)? > 3 * x.size(-2)?;
            let together = if wide && !self.in_bf16 { left.min(KEPT) } else { 1 };
            x = self.iterate(x, together)?;
            left -= together;
        }
        if tall { x.t()?.cast(dtype) } else { x.cast(dtype) }
    }

    /// So many iterations, at least one, by way of one G.
    fn iterate<'t>(&self, x: Tensor<'t>, count: usize) -> Result<Tensor<'t>> {
        let [a, b, c] = self.coefficients;
        let mut gram = x.symmetric_matmul(x.t()?)?;
        // P(G) − a, and the product of all P(G) before it.
        let mut polynomial = gram.add_symmetric_matmul(gram, gram, b, c)?;
        if count == 1 {
            return x.add_matmul(polynomial, x, a, 1.0);
        }
        let n = gram.size(-1)?;
        let mut product = polynomial.add(gram.eye(n)?.mul_scalar(a)?)?;
        for _ in 1..count {
            gram = gram.add_symmetric_matmul(polynomial, gram, a, 1.0)?;
            gram = gram.add_symmetric_matmul(polynomial, gram, a, 1.0)?;
            polynomial = gram.add_symmetric_matmul(gram, gram, b, c)?;
            product = product.add_symmetric_matmul(polynomial, product, a, 1.0)?;
        }
        product.matmul(x)
    }
}
