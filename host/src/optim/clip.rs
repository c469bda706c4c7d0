//! The global norm of the raw gradient, and clipping by it.
//! Does not decide what becomes of a gradient that is not finite; that is `non_finite.rs`.

use tch::Tensor;

use crate::{
    fault::{Exit, Fault},
    model::Parameter,
    rules::norm,
};

/// What one read of all gradients tells.
#[derive(Clone, Debug, PartialEq)]
pub struct GradNorm {
    /// L2 norm over all gradients that are finite, before clipping.
    pub norm: f64,
    /// Per parameter, whether its gradient holds an infinity or a NaN.
    pub non_finite: Vec<bool>,
}

/// A parameter's gradient; none where it is frozen or the last backward pass did not reach it.
pub fn grad(parameter: &Parameter) -> Option<Tensor> {
    if parameter.frozen {
        return None;
    }
    let grad = parameter.tensor.grad();
    grad.defined().then_some(grad)
}

/// Reads every gradient once. The norm has the same bits for any number of threads.
///
/// # Errors
/// A gradient of an element type that has no norm.
pub fn measure(params: &[Parameter]) -> Result<GradNorm, Fault> {
    let grads: Vec<Option<Tensor>> = params.iter().map(grad).collect();
    let each = norm::squared_norms(&grads)?;
    let sum = each.iter().filter(|one| one.finite).fold(0.0, |sum, one| sum + one.sum);
    Ok(GradNorm { norm: sum.sqrt(), non_finite: each.iter().map(|one| !one.finite).collect() })
}

/// What gradients are multiplied by so that their norm is at most `max_norm`; 0 is no clipping. As torch's
/// `clip_grad_norm_`: `max_norm/(norm + 1e-6)`, at most 1.
pub fn factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

/// Multiplies every gradient by `factor`, in place.
///
/// # Errors
/// A failure of libtorch.
pub fn scale(params: &[Parameter], factor: f64) -> Result<(), Fault> {
    if factor == 1.0 {
        return Ok(());
    }
    for parameter in params {
        let Some(mut grad) = grad(parameter) else { continue };
        if let Err(error) = grad.f_mul_scalar_(factor) {
            let text = format!("the gradient of `{}` could not be clipped: {error}", parameter.name);
            return Err(Fault::new("N004", Exit::Bug, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::model::Role;

    fn parameter(name: &str, grad: Option<&[f32]>) -> Parameter {
        let tensor = Tensor::zeros([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        if let Some(grad) = grad {
            (&tensor * Tensor::from_slice(grad)).sum(None).backward();
        }
        Parameter { name: name.into(), role: Role::Vector, layer: None, tensor, frozen: false }
    }

    #[test]
    fn the_norm_is_over_finite_gradients_and_clipping_scales_to_it() {
        let mut params = vec![
            parameter("a", Some(&[3.0, 0.0])),
            parameter("missing", None),
            parameter("b", Some(&[0.0, 4.0])),
            parameter("nan", Some(&[f32::NAN, 1e30])),
            parameter("frozen", Some(&[100.0, 100.0])),
        ];
        params[4].frozen = true;
        let found = measure(&params).unwrap();
        assert_eq!(found, GradNorm { norm: 5.0, non_finite: vec![false, false, false, true, false] });
        assert_eq!(factor(found.norm, 0.0), 1.0);
        assert_eq!(factor(found.norm, 5.1), 1.0);
        assert_eq!(factor(found.norm, 1.0), 1.0 / (5.0 + 1e-6));
        scale(&params, 0.5).unwrap();
        assert_eq!(measure(&params).unwrap().norm, 2.5);
        assert_eq!(params[4].tensor.grad().double_value(&[0]), 100.0);
    }
}
