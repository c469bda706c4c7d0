//! Numbers that follow from a seed: starts and gradients of all checks.
//! Not for anything but checks: short, and the same everywhere.

use super::subject::Start;
use crate::Dtype;
use crate::cpu::{from_bf16, to_bf16};

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    pub fn of(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// The next 32 bits: PCG's output over its own generator.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let folded = (((self.0 >> 18) ^ self.0) >> 27) as u32;
        folded.rotate_right((self.0 >> 59) as u32)
    }

    /// In [−1, 1), with 24 bits, so that an f32 holds it.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.bits() >> 8) / f64::from(1 << 23) - 1.0
    }

    /// One of `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n.max(1)
    }

    /// So many in [−1, 1), times a factor that is a power of two.
    pub fn column(&mut self, n: usize, factor: f64) -> Vec<f64> {
        (0..n).map(|_| self.unit() * factor).collect()
    }

    /// A parameter of a shape.
    pub fn start(&mut self, shape: &[i64]) -> Start {
        Start { shape: shape.to_vec(), values: self.column(numel(shape), 1.0) }
    }
}

/// Elements of a shape.
pub fn numel(shape: &[i64]) -> usize {
    shape.iter().map(|&size| size as usize).product()
}

/// The nearest number of an element type.
pub fn rounded(value: f64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => value,
        Dtype::F32 => f64::from(value as f32),
        Dtype::Bf16 => f64::from(from_bf16(to_bf16(value as f32))),
    }
}

/// Whether two numbers are the same; a NaN is any NaN.
pub fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The first place where two columns differ: index and both numbers.
pub fn difference(a: &[f64], b: &[f64]) -> Option<(usize, f64, f64)> {
    if a.len() != b.len() {
        return Some((a.len().min(b.len()), a.len() as f64, b.len() as f64));
    }
    a.iter().zip(b).position(|(a, b)| !same(*a, *b)).map(|place| (place, a[place], b[place]))
}

/// Whether all are finite.
pub fn finite(columns: &[Vec<f64>]) -> bool {
    columns.iter().flatten().all(|value| value.is_finite())
}

/// L2 norm of all gradients.
pub fn norm(grads: &[Vec<f64>]) -> f64 {
    grads.iter().flatten().map(|g| g * g).sum::<f64>().sqrt()
}
