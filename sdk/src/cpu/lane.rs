//! Lanes of a kernel: an f32 or f64 with the arithmetic of [`Lane`].
//! Each definition is the meaning of the operation; the tape's interpreter and other devices must agree with it.

use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::lane::Cond;
use crate::{Lane, Mask, Scalar};

/// A lane that lives in a kernel.
pub trait CpuLane: Lane<Uniform = f64> {
    /// Zero in place of a denormal. State is stored without them: a decaying average would stop at one of them for
    /// ever, and cost a hundred cycles at each step.
    fn without_denormals(self) -> Self;

    /// As f64, exactly.
    fn wide(self) -> f64;
}

/// The parameters keep the kernels of different instruction sets and storage formats apart, so that a rule's closure
/// has a single caller, and the compiler then inlines it whatever its length.
macro_rules! cpu_lane {
    ($name:ident, $float:ty, $exp:path, $ln:path, $tanh:path) => {
        #[derive(Clone, Copy, Debug)]
        #[repr(transparent)]
        pub struct $name<const ISA: u8, const STORAGE: u8>(pub $float);

        impl<const I: u8, const S: u8> From<f64> for $name<I, S> {
            #[inline(always)]
            fn from(x: f64) -> Self {
                $name(x as $float)
            }
        }
        impl<const I: u8, const S: u8> From<Scalar<$name<I, S>>> for $name<I, S> {
            #[inline(always)]
            fn from(x: Scalar<$name<I, S>>) -> Self {
                $name(x.0 as $float)
            }
        }
        impl<const I: u8, const S: u8> Neg for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                $name(-self.0)
            }
        }
        cpu_lane!(@operators $name, Add add +, Sub sub -, Mul mul *, Div div /);
        cpu_lane!(@mixed $name, Add add, Sub sub, Mul mul);
        impl<const I: u8, const S: u8> Div<f64> for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: f64) -> Self {
                self * (1.0 / other)
            }
        }
        impl<const I: u8, const S: u8> Div<Scalar<$name<I, S>>> for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: Scalar<$name<I, S>>) -> Self {
                self * (1.0 / other)
            }
        }

        impl<const I: u8, const S: u8> Lane for $name<I, S> {
            type Uniform = f64;
            type Mask = bool;

            #[inline(always)]
            fn sqrt(self) -> Self {
                $name(self.0.sqrt())
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $name(self.0.abs())
            }
            #[inline(always)]
            fn sign(self) -> Self {
                $name(if self.0 > 0.0 { 1.0 } else if self.0 < 0.0 { -1.0 } else { 0.0 })
            }
            #[inline(always)]
            fn max(self, other: impl Into<Self>) -> Self {
                let other = other.into();
                if self.0 > other.0 { self } else { other }
            }
            #[inline(always)]
            fn min(self, other: impl Into<Self>) -> Self {
                let other = other.into();
                if self.0 < other.0 { self } else { other }
            }
            #[inline(always)]
            fn gt(self, other: impl Into<Self>) -> bool {
                self.0 > other.into().0
            }
            #[inline(always)]
            fn ge(self, other: impl Into<Self>) -> bool {
                self.0 >= other.into().0
            }
            #[inline(always)]
            fn fma(self, factor: impl Into<Self>, term: impl Into<Self>) -> Self {
                $name(self.0.mul_add(factor.into().0, term.into().0))
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $name($exp(self.0))
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $name($ln(self.0))
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $name($tanh(self.0))
            }
            #[inline(always)]
            fn rsqrt(self) -> Self {
                $name(1.0 / self.0.sqrt())
            }
            #[inline(always)]
            fn choose(condition: Cond<Self>, yes: Self, no: Self) -> Self {
                if condition.0 { yes } else { no }
            }
        }

        impl<const I: u8, const S: u8> Mask<$name<I, S>> for bool {
            #[inline(always)]
            fn select(self, yes: impl Into<$name<I, S>>, no: impl Into<$name<I, S>>) -> $name<I, S> {
                let (yes, no) = (yes.into(), no.into());
                if self { yes } else { no }
            }
        }

        impl<const I: u8, const S: u8> CpuLane for $name<I, S> {
            #[inline(always)]
            fn without_denormals(self) -> Self {
                $name(if self.0.abs() < <$float>::MIN_POSITIVE { 0.0 } else { self.0 })
            }
            #[inline(always)]
            fn wide(self) -> f64 {
                self.0.into()
            }
        }
    };
    (@operators $name:ident, $($operator:ident $method:ident $sign:tt),*) => { $(
        impl<const I: u8, const S: u8> $operator for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                $name(self.0 $sign other.0)
            }
        }
    )* };
    (@mixed $name:ident, $($operator:ident $method:ident),*) => { $(
        impl<const I: u8, const S: u8> $operator<f64> for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: f64) -> Self {
                $operator::$method(self, Self::from(other))
            }
        }
        impl<const I: u8, const S: u8> $operator<Scalar<$name<I, S>>> for $name<I, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Scalar<$name<I, S>>) -> Self {
                $operator::$method(self, Self::from(other))
            }
        }
    )* };
}
cpu_lane!(F32, f32, libm::expf, libm::logf, libm::tanhf);
cpu_lane!(F64, f64, libm::exp, libm::log, libm::tanh);
