//! Tensors as bytes, in the element types that are stored.
//! Knows no files: naming, hashing and writing are the business of `checkpoint`.

use safetensors::Dtype;
use tch::{Device, Kind, TchError, Tensor};

use crate::fault::{Exit, Fault};

/// The element types that are stored, and their two names.
const STORED: [(Kind, Dtype); 4] =
    [(Kind::Float, Dtype::F32), (Kind::Double, Dtype::F64), (Kind::BFloat16, Dtype::BF16), (Kind::Int64, Dtype::I64)];

/// Element type, shape and little-endian bytes of a tensor, row-major, wherever it lies and however it is strided.
///
/// An error for element types other than f32, f64, bf16 and i64, and where libtorch cannot copy the tensor to the CPU.
pub fn to_bytes(tensor: &Tensor) -> Result<(Dtype, Vec<usize>, Vec<u8>), Fault> {
    if !tensor.defined() {
        return Err(refused("a tensor without values cannot be stored"));
    }
    let kind = tensor.kind();
    let Some((_, dtype)) = STORED.into_iter().find(|(stored, _)| *stored == kind) else {
        return Err(refused(format!("a tensor of {kind:?} cannot be stored")).note("stored", "f32, f64, bf16 and i64"));
    };
    let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    let mut bytes = vec![0_u8; tensor.numel() * kind.elt_size_in_bytes()];
    let _guard = tch::no_grad_guard();
    tensor
        .f_detach()
        .and_then(|flat| flat.f_to_device(Device::Cpu))
        .and_then(|flat| flat.f_contiguous())
        .and_then(|flat| flat.f_copy_data_u8(&mut bytes, tensor.numel()))
        .map_err(|error| torch_refused("read", &error))?;
    Ok((dtype, shape, bytes))
}

/// A tensor with memory of its own on `device` from what [`to_bytes`] gave.
///
/// An error for other element types, and where the bytes are not as many as type and shape say.
pub fn from_bytes(dtype: Dtype, shape: &[usize], bytes: &[u8], device: Device) -> Result<Tensor, Fault> {
    let Some((kind, _)) = STORED.into_iter().find(|(_, stored)| *stored == dtype) else {
        return Err(
            refused(format!("a stored tensor of {dtype} cannot be used")).note("usable", "f32, f64, bf16 and i64")
        );
    };
    let wanted = shape.iter().try_fold(kind.elt_size_in_bytes(), |product, &size| product.checked_mul(size));
    if wanted != Some(bytes.len()) {
        return Err(refused(format!(
            "a stored tensor of {dtype} and shape {shape:?} does not have {} bytes",
            bytes.len()
        )));
    }
    let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    Tensor::f_from_data_size(bytes, &sizes, kind)
        .and_then(|tensor| tensor.f_to_device(device))
        .map_err(|error| torch_refused("made", &error))
}

fn refused(message: impl Into<String>) -> Fault {
    Fault::new("D090", Exit::Data, message)
}

fn torch_refused(what: &str, error: &TchError) -> Fault {
    Fault::new("E090", Exit::Environment, format!("a tensor cannot be {what}")).note("libtorch", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every stored type, an empty tensor, a tensor without dimensions and a strided view come back bit for bit.
    #[test]
    fn round_trip_keeps_bits() {
        let base = Tensor::from_slice(&[1.5_f64, -0.0, f64::NAN, f64::INFINITY, 3.0e-310, 7.0]).reshape([2, 3]);
        let cases = [
            base.shallow_clone(),
            base.transpose(0, 1),
            base.to_kind(Kind::Float),
            base.to_kind(Kind::BFloat16).transpose(0, 1),
            Tensor::from_slice(&[i64::MIN, -1, i64::MAX]),
            Tensor::from(2.5_f32),
            Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
        ];
        for tensor in cases {
            let (dtype, shape, bytes) = to_bytes(&tensor).unwrap();
            let back = from_bytes(dtype, &shape, &bytes, Device::Cpu).unwrap();
            assert_eq!((back.size(), back.kind()), (tensor.size(), tensor.kind()));
            assert_eq!(to_bytes(&back).unwrap(), (dtype, shape, bytes));
        }
    }

    #[test]
    fn a_view_is_stored_row_major() {
        let tensor = Tensor::from_slice(&[1_i64, 2, 3, 4]).reshape([2, 2]).transpose(0, 1);
        let (dtype, shape, bytes) = to_bytes(&tensor).unwrap();
        let expected: Vec<u8> = [1_i64, 3, 2, 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((dtype, shape, bytes), (Dtype::I64, vec![2, 2], expected));
    }

    #[test]
    fn a_tensor_that_takes_gradients_is_stored() {
        let tensor = Tensor::from_slice(&[1.0_f32]).set_requires_grad(true);
        assert_eq!(to_bytes(&tensor).unwrap().2, 1.0_f32.to_le_bytes());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(to_bytes(&Tensor::from_slice(&[true])).is_err());
        assert!(to_bytes(&Tensor::new()).is_err());
        assert!(from_bytes(Dtype::U8, &[1], &[0], Device::Cpu).is_err());
        assert!(from_bytes(Dtype::F32, &[2], &[0; 7], Device::Cpu).is_err());
        assert!(from_bytes(Dtype::F32, &[usize::MAX, 2], &[0; 8], Device::Cpu).is_err());
    }
}
