//! A product that is known to be symmetric: the bands above the diagonal computed, those below mirrored.

use tch::{Device, Kind, TchError, Tensor};

/// Rows of a band. The matrix is cut into bands of rows, each computed from its diagonal block on: n rows take
/// (1 + BAND/n)/2 of the whole product's operations. Narrower bands save more and multiply more slowly.
const BAND: i64 = 192;

/// beta · c + alpha · (a @ b), `[batch, n, n]`. Without `c` as with zeros.
pub fn product(c: Option<&Tensor>, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor, TchError> {
    let n = a.size()[1];
    // Below three bands the diagonal blocks are most of the matrix. A card multiplies small blocks no faster than whole
    // matrices. In bf16, beta · c would be rounded before the product is added to it.
    if n < 3 * BAND || a.device() != Device::Cpu || a.kind() == Kind::BFloat16 {
        return match c {
            Some(c) => c.f_baddbmm(a, b, beta, alpha),
            None if alpha == 1.0 => a.f_bmm(b),
            None => a.f_bmm(b)?.f_mul_scalar(alpha),
        };
    }
    let result = match c {
        Some(c) => c.f_mul_scalar(beta)?,
        None => Tensor::f_zeros([a.size()[0], n, n], (a.kind(), a.device()))?,
    };
    let a = if alpha == 1.0 { a.shallow_clone() } else { a.f_mul_scalar(alpha)? };
    for index in 0..a.size()[0] {
        let (result, a, b) = (result.f_select(0, index)?, a.f_select(0, index)?, b.f_select(0, index)?);
        for start in (0..n).step_by(BAND as usize) {
            let (rows, columns) = (BAND.min(n - start), n - start);
            let band = result.f_narrow(0, start, rows)?;
            let _ = band
                .f_narrow(1, start, columns)?
                .f_addmm_(&a.f_narrow(0, start, rows)?, &b.f_narrow(1, start, columns)?)?;
            let (below, right) = (start + rows, columns - rows);
            if right > 0 {
                let mirrored = band.f_narrow(1, below, right)?.f_transpose(0, 1)?;
                result.f_narrow(0, below, right)?.f_narrow(1, start, rows)?.f_copy_(&mirrored)?;
            }
        }
    }
    Ok(result)
}
