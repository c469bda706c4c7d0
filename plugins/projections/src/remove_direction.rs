//! Removes the component of a gradient along a given direction.
//!
//! ```text
//! g ← g − overshoot·(v·g)·v
//! ```
//! v has the parameter's shape and unit length over all its elements. With overshoot 1 nothing of the direction is
//! left, so that training leaves it alone; with 2 the gradient is mirrored at the plane across it.
//!
//! The projection of Gram and Schmidt; for gradients as in Farajtabar et al. 2020, "Orthogonal Gradient Descent for
//! Continual Learning", arXiv 1910.07104, with one direction.

use sdk::*;

/// How far ‖v‖ may be from 1.
const UNIT_TOLERANCE: f64 = 1e-4;

/// The projection.
pub struct RemoveDirection;

/// Its hyper-parameters.
#[derive(Record)]
pub struct Hyper<T> {
    overshoot: T,
}

/// What a user provides per parameter: v.
#[derive(Record)]
pub struct Inputs<T> {
    direction: T,
}

/// What is reported: cosine of the gradient with v before and after; 0 for a gradient of zeros.
#[derive(Record)]
pub struct Metrics<T> {
    cos_in: T,
    cos_out: T,
}

impl Projection for RemoveDirection {
    type Hyper<T: Copy> = Hyper<T>;
    type Inputs<T: Copy> = Inputs<T>;
    type Metrics<T: Copy> = Metrics<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { overshoot: knob(1.0, 0.0..=2.0, "share of the component that is taken away; 2 mirrors it") }
    }

    fn project<'t>(h: &Hyper<f64>, g: Tensor<'t>, inputs: Inputs<Tensor<'t>>) -> Result<(Tensor<'t>, Metrics<f64>)> {
        let stored = g.dtype()?;
        // sums of many small products: bf16 would lose them
        let precise = if stored == Dtype::Bf16 { Dtype::F32 } else { stored };
        let (gradient, direction) = (g.cast(precise)?, inputs.direction.cast(precise)?);
        let (shape, given) = (g.shape()?, direction.shape()?);
        if shape != given {
            return Err(format!("the direction has shape {given:?}, the gradient {shape:?}").into());
        }
        let length = direction.norm(&[])?.item()?;
        if length.is_nan() || (length - 1.0).abs() > UNIT_TOLERANCE {
            return Err(format!("the direction must have length 1, it has {length}").into());
        }
        let along = gradient.mul(direction)?.sum(&[])?.item()?;
        let kept = gradient.add_scaled(direction, -h.overshoot * along)?;
        let metrics = Metrics {
            cos_in: cosine(along, length, gradient)?,
            cos_out: cosine(kept.mul(direction)?.sum(&[])?.item()?, length, kept)?,
        };
        Ok((kept.cast(stored)?, metrics))
    }
}

/// Cosine from a dot product with a direction of this length; 0 where there is no angle.
fn cosine(dot: f64, length: f64, gradient: Tensor<'_>) -> Result<f64> {
    let norm = gradient.norm(&[])?.item()?;
    Ok(if norm == 0.0 { 0.0 } else { dot / (norm * length) })
}

register!(
    Projection RemoveDirection, "remove-direction",
    summary = "takes the component along a given unit direction out of the gradient",
    paper = "arXiv 1910.07104"
);
