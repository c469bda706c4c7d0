//! A tensor from another by one index map per dimension, with a factor per index.
//! Does not know what a factor means; that is `growth`'s and `optim`'s.

use tch::{Kind, TchError, Tensor};

/// One dimension: old index per new index, and a factor per new index.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Old index per new index; −1 where there is none.
    pub index: Vec<i64>,
    /// Factor per new index.
    pub factor: Vec<f64>,
}

impl Axis {
    /// Whether it copies every index of a dimension of this size to its own place, unscaled.
    pub fn is_identity(&self, size: i64) -> bool {
        let in_place = self.index.iter().enumerate().all(|(new, old)| *old == new as i64);
        self.index.len() as i64 == size && in_place && self.is_unscaled()
    }

    fn is_unscaled(&self) -> bool {
        self.factor.iter().all(|factor| *factor == 1.0)
    }
}

/// The tensor at the mapped indices times the factors of all dimensions and `scale`: memory of its own, on the same
/// device, of the same element type, rounded once. Where no factor differs from 1 the values are copied as they are.
///
/// # Errors
/// As many axes as there are dimensions are needed, and indices within them.
pub fn mapped(source: &Tensor, axes: &[Axis], scale: f64) -> Result<Tensor, TchError> {
    let _guard = tch::no_grad_guard();
    let sizes = source.size();
    if axes.len() != sizes.len() {
        return Err(TchError::Shape(format!("{} maps for the dimensions {sizes:?}", axes.len())));
    }
    let device = source.device();
    let (mut tensor, mut is_copy) = (source.f_detach()?, false);
    for (dim, (axis, size)) in axes.iter().zip(&sizes).enumerate() {
        let in_place = axis.index.iter().copied().eq(0..*size);
        if !in_place {
            let index: Vec<i64> = axis.index.iter().map(|index| (*index).max(0)).collect();
            tensor = tensor.f_index_select(dim as i64, &Tensor::f_from_slice(&index)?.f_to_device(device)?)?;
            is_copy = true;
        }
    }
    if scale == 1.0 && axes.iter().all(Axis::is_unscaled) {
        return if is_copy { Ok(tensor) } else { tensor.f_contiguous()?.f_detach_copy() };
    }
    let mut exact = tensor.f_to_kind(Kind::Double)?.f_mul_scalar(scale)?;
    for (dim, axis) in axes.iter().enumerate().filter(|(_, axis)| !axis.is_unscaled()) {
        let mut shape = vec![1; axes.len()];
        shape[dim] = axis.factor.len() as i64;
        exact = exact.f_mul(&Tensor::f_from_slice(&axis.factor)?.f_reshape(&shape)?.f_to_device(device)?)?;
    }
    exact.f_to_kind(tensor.kind())
}

/// As [`mapped`], and as `fresh`, of the new shape, wherever a dimension has no old index.
///
/// # Errors
/// As [`mapped`]; nothing to take where there is no old index.
pub fn mapped_or(source: &Tensor, axes: &[Axis], scale: f64, fresh: Option<&Tensor>) -> Result<Tensor, TchError> {
    let mut tensor = mapped(source, axes, scale)?;
    let _guard = tch::no_grad_guard();
    for (dim, axis) in axes.iter().enumerate() {
        let none: Vec<bool> = axis.index.iter().map(|index| *index < 0).collect();
        if none.iter().any(|none| *none) {
            let fresh = fresh.ok_or_else(|| TchError::Shape("a map with no old index, and nothing fresh".into()))?;
            let mut shape = vec![1; axes.len()];
            shape[dim] = none.len() as i64;
            let none = Tensor::f_from_slice(&none)?.f_reshape(&shape)?.f_to_device(tensor.device())?;
            tensor = fresh.f_detach()?.f_where_self(&none, &tensor)?;
        }
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn axis(index: &[i64], factor: &[f64]) -> Axis {
        Axis { index: index.to_vec(), factor: factor.to_vec() }
    }

    #[test]
    fn indices_and_factors_of_every_dimension() {
        let source = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([2, 3]);
        let axes = [axis(&[0, 1, 1], &[1.0, 0.25, 0.75]), axis(&[2, 0], &[1.0, 10.0])];
        let expected = [3.0_f32, 10.0, 1.5, 10.0, 4.5, 30.0];
        assert_eq!(mapped(&source, &axes, 1.0).unwrap(), Tensor::from_slice(&expected).reshape([3, 2]));
        let doubled = mapped(&source, &axes, 2.0).unwrap();
        assert_eq!(doubled, Tensor::from_slice(&expected).reshape([3, 2]) * 2.0);
        assert_eq!(mapped(&Tensor::from(3.0_f64), &[], 0.5).unwrap(), Tensor::from(1.5_f64));
        assert!(mapped(&source, &axes[..1], 1.0).is_err());
        assert!(mapped(&source, &[axis(&[2], &[1.0]), axis(&[0], &[1.0])], 1.0).is_err());
    }

    #[test]
    fn where_there_is_no_old_index_it_begins_fresh() {
        let source = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).reshape([2, 2]);
        let axes = [axis(&[1, -1, 0], &[1.0; 3]), axis(&[0, -1], &[10.0, 1.0])];
        let fresh = Tensor::from_slice(&[-1.0_f32, -2.0, -3.0, -4.0, -5.0, -6.0]).reshape([3, 2]);
        let expected = Tensor::from_slice(&[30.0_f32, -2.0, -3.0, -4.0, 10.0, -6.0]).reshape([3, 2]);
        assert_eq!(mapped_or(&source, &axes, 1.0, Some(&fresh)).unwrap(), expected);
        assert!(mapped_or(&source, &axes, 1.0, None).is_err());
    }

    /// Element types stay, and so do bits that no factor touches; nothing is shared.
    #[test]
    fn every_format_is_copied_as_it_is() {
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
            let source = Tensor::arange(4, (kind, Device::Cpu)).f_mul_scalar(0.1).unwrap().set_requires_grad(true);
            let identity = axis(&[0, 1, 2, 3], &[1.0; 4]);
            assert!(identity.is_identity(4) && !identity.is_identity(5));
            let copy = mapped(&source, std::slice::from_ref(&identity), 1.0).unwrap();
            assert!(copy.equal(&source) && copy.kind() == kind && !copy.requires_grad());
            assert_ne!(copy.data_ptr(), source.data_ptr());
            let half = axis(&[3], &[0.5]);
            assert!(!half.is_identity(1));
            let scaled = mapped(&source, &[half], 1.0).unwrap();
            assert_eq!((scaled.kind(), scaled.double_value(&[0])), (kind, source.double_value(&[3]) / 2.0));
        }
    }
}
