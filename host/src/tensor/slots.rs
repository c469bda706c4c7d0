//! Element types by their code, and the tensors that state slots describe.
//! Owns no state: who keeps it, keyed by parameter, is `optim`.

use sdk::{NUMBER, SQUARE, abi::SlotDescriptor};
use tch::{Kind, TchError, Tensor};

/// The code of an element type at the boundary: 0 f32, 1 f64, 2 bf16.
pub fn kind_code(kind: Kind) -> Result<u32, String> {
    match kind {
        Kind::Float => Ok(0),
        Kind::Double => Ok(1),
        Kind::BFloat16 => Ok(2),
        other => Err(format!("element type {other:?} has no code")),
    }
}

/// The element type of a code.
pub fn kind_of_code(code: u32) -> Result<Kind, String> {
    match code {
        0 => Ok(Kind::Float),
        1 => Ok(Kind::Double),
        2 => Ok(Kind::BFloat16),
        other => Err(format!("there is no element type {other}; 0 is f32, 1 is f64, 2 is bf16")),
    }
}

/// Shape of a slot for a parameter of shape `[…, r, c]`.
///
/// Elementwise: as the parameter. Row: `[…, r]`. Column: `[…, c]`. Left: `[…, r, r]`. Right: `[…, c, c]`. Scalar: no
/// dimensions, and so a number of a rule over elements. From 256 on: a square matrix, `[n, n]` for 256 + n. An error where
/// the parameter has fewer than two dimensions and the slot needs them.
pub fn slot_shape(slot: &SlotDescriptor, parameter: &[i64]) -> Result<Vec<i64>, String> {
    match (slot.shape_kind, parameter) {
        (0, _) => Ok(parameter.to_vec()),
        (5 | NUMBER, _) => Ok(Vec::new()),
        (square, _) if square >= SQUARE => Ok(vec![i64::from(square - SQUARE); 2]),
        (1..=4, [leading @ .., r, c]) => {
            let tail: &[i64] = match slot.shape_kind {
                1 => &[*r],
                2 => &[*c],
                3 => &[*r, *r],
                _ => &[*c, *c],
            };
            Ok([leading, tail].concat())
        }
        (1..=4, _) => Err(format!("state slot `{}` needs a matrix, not shape {parameter:?}", slot.name)),
        (other, _) => Err(format!("state slot `{}` has shape kind {other}, which is not known", slot.name)),
    }
}

/// A slot's initial tensor for a batch of parameters `x`, `[batch, …shape]`: `[batch, …slot shape]`, device as `x`,
/// element type `kind`.
pub fn initial_slot(slot: &SlotDescriptor, x: &Tensor, kind: Kind) -> Result<Tensor, String> {
    let sizes = x.size();
    let Some((&batch, parameter)) = sizes.split_first() else {
        return Err("a batch of parameters has at least one dimension".to_owned());
    };
    let mut shape = vec![batch];
    shape.extend(slot_shape(slot, parameter)?);
    let _guard = tch::no_grad_guard();
    match slot.start {
        0 => Tensor::f_zeros(&shape, (kind, x.device())),
        1 => Tensor::f_full(&shape, slot.fill, (kind, x.device())),
        2 if slot.shape_kind == 0 => x.f_detach().and_then(|x| without_denormals(&x.f_to_dtype(kind, false, true)?)),
        other => return Err(format!("state slot `{}` starts as {other}, which does not fit it", slot.name)),
    }
    .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// As a kernel stores state: with zeros for denormals. What only hands a slot on may then leave it as it is.
pub(crate) fn without_denormals(x: &Tensor) -> Result<Tensor, TchError> {
    let smallest = if x.f_kind()? == Kind::Double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) };
    x.f_masked_fill(&x.f_abs()?.f_lt(smallest)?, 0.0)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn slot(shape_kind: u32, start: u32, fill: f64) -> SlotDescriptor {
        SlotDescriptor { name: "slot".into(), index: 0, shape_kind, start, fill, value_degree: 0, grad_degree: 1 }
    }

    #[test]
    fn shapes() {
        let expected: [&[i64]; 6] = [&[7, 2, 3], &[7, 2], &[7, 3], &[7, 2, 2], &[7, 3, 3], &[]];
        for (kind, expected) in expected.into_iter().enumerate() {
            assert_eq!(slot_shape(&slot(kind as u32, 0, 0.0), &[7, 2, 3]).unwrap(), expected);
        }
        assert_eq!(slot_shape(&slot(256 + 5, 0, 0.0), &[3]).unwrap(), [5, 5]);
        assert!(slot_shape(&slot(1, 0, 0.0), &[3]).is_err());
        assert!(slot_shape(&slot(7, 0, 0.0), &[3, 4]).is_err());
    }

    #[test]
    fn initial_values() {
        let x = Tensor::from_slice(&[1.0, 2.0, 3.0, 4.0]).reshape([2, 1, 2]);
        let start = |slot| initial_slot(&slot, &x, Kind::Float);
        assert_eq!(start(slot(0, 0, 0.0)).unwrap(), Tensor::zeros([2, 1, 2], (Kind::Float, Device::Cpu)));
        assert_eq!(start(slot(4, 1, 0.5)).unwrap(), Tensor::full([2, 2, 2], 0.5, (Kind::Float, Device::Cpu)));
        assert_eq!(start(slot(5, 0, 0.0)).unwrap().size(), [2]);
        assert_eq!(start(slot(0, 2, 0.0)).unwrap(), x.to_kind(Kind::Float));
        let small = Tensor::from_slice(&[1e-40f32, -1e-40, 2e-38, -0.5]).reshape([1, 4]);
        let kept = Tensor::from_slice(&[0f32, 0.0, 2e-38, -0.5]).reshape([1, 4]);
        assert_eq!(initial_slot(&slot(0, 2, 0.0), &small, Kind::Float).unwrap(), kept);
        assert!(start(slot(1, 2, 0.0)).is_err());
        assert!(start(slot(0, 3, 0.0)).is_err());
    }
}
