//! The arithmetic a rule may use: [`Lane`], one element of a tensor, and [`Scalar`], one number for the whole tensor.
//! No comparison gives a Rust `bool` and nothing converts to a number, so a branch on data does not compile.
//!
//! All operations but the four marked on [`Lane`] give the same bits on every machine: they are exactly rounded, or
//! defined by comparison and selection.

use core::fmt::Debug;
use core::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Sub};

/// One element: f32 or f64 in a kernel, a symbol when the rule is recorded.
///
/// Lanes, [`Scalar`]s and f64 literals mix in `+ − · /`, with the lane or scalar on the left of a literal. A scalar
/// that meets a lane is rounded to the lane's precision; a lane is divided by a scalar through the scalar's reciprocal,
/// taken once in f64.
///
/// ```compile_fail
/// # use sdk::Lane;
/// fn branch_on_data<L: Lane>(g: L) -> L {
///     if g > L::from(0.0) { g } else { -g }
/// }
/// ```
pub trait Lane:
    Copy
    + Debug
    + 'static
    + From<f64>
    + From<Scalar<Self>>
    + Neg<Output = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
    + Add<Scalar<Self>, Output = Self>
    + Sub<Scalar<Self>, Output = Self>
    + Mul<Scalar<Self>, Output = Self>
    + Div<Scalar<Self>, Output = Self>
{
    /// What a scalar is made of.
    #[doc(hidden)]
    type Uniform: Uniform;

    /// Result of a comparison, per element.
    type Mask: Mask<Self>;

    /// Square root.
    fn sqrt(self) -> Self;

    /// Absolute value.
    fn abs(self) -> Self;

    /// −1, 0 or 1; 0 for both zeros and for NaN.
    fn sign(self) -> Self;

    /// `self > other ? self : other`: this exact definition, so that all machines agree on ±0 and NaN.
    fn max(self, other: impl Into<Self>) -> Self;

    /// `self < other ? self : other`.
    fn min(self, other: impl Into<Self>) -> Self;

    /// Where `self > other`.
    fn gt(self, other: impl Into<Self>) -> Self::Mask;

    /// Where `self ≥ other`.
    fn ge(self, other: impl Into<Self>) -> Self::Mask;

    /// `self · factor + term`, rounded once. Slow where the machine has no such instruction.
    fn fma(self, factor: impl Into<Self>, term: impl Into<Self>) -> Self;

    /// eˣ. Not bit-portable: a rule that uses it agrees with other devices only approximately.
    fn exp(self) -> Self;

    /// Natural logarithm. Not bit-portable.
    fn ln(self) -> Self;

    /// Hyperbolic tangent. Not bit-portable.
    fn tanh(self) -> Self;

    /// 1/√x. Not bit-portable; `L::from(1.0) / x.sqrt()` is.
    fn rsqrt(self) -> Self;

    #[doc(hidden)]
    fn choose(condition: Cond<Self>, yes: Self, no: Self) -> Self;
}

/// A comparison of lanes; decides per element. Combined by `&`, `|` and `!`.
pub trait Mask<L>: Copy + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self> {
    /// `yes` where the comparison holds, else `no`. Both are computed.
    fn select(self, yes: impl Into<L>, no: impl Into<L>) -> L;
}

/// One number for the whole tensor and step, computed in f64 once.
#[derive(Clone, Copy, Debug)]
pub struct Scalar<L: Lane>(pub(crate) L::Uniform);

/// A comparison of scalars; decides for the whole tensor. Combined by `&`, `|` and `!`.
#[derive(Clone, Copy, Debug)]
pub struct Cond<L: Lane>(pub(crate) <L::Uniform as Uniform>::Cond);

/// What scalars are made of: f64 in a kernel, a symbol when recorded.
#[doc(hidden)]
pub trait Uniform: Copy + Debug + 'static {
    type Cond: Copy + Debug;
    fn literal(x: f64) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn pow(self, exponent: Self) -> Self;
    fn gt(self, other: Self) -> Self::Cond;
    fn ge(self, other: Self) -> Self::Cond;
    fn and(a: Self::Cond, b: Self::Cond) -> Self::Cond;
    fn or(a: Self::Cond, b: Self::Cond) -> Self::Cond;
    fn not(a: Self::Cond) -> Self::Cond;
    fn select(condition: Self::Cond, yes: Self, no: Self) -> Self;
    /// The value of a flag or a choice, which is known when a rule is recorded.
    fn setting(self) -> f64;
}

impl<L: Lane> Scalar<L> {
    /// Square root.
    #[inline(always)]
    pub fn sqrt(self) -> Self {
        Scalar(self.0.sqrt())
    }

    /// Largest whole number that is not greater.
    #[inline(always)]
    pub fn floor(self) -> Self {
        Scalar(self.0.floor())
    }

    /// eˣ, in the same bits everywhere.
    #[inline(always)]
    pub fn exp(self) -> Self {
        Scalar(self.0.exp())
    }

    /// Natural logarithm, in the same bits everywhere.
    #[inline(always)]
    pub fn ln(self) -> Self {
        Scalar(self.0.ln())
    }

    /// A power, in the same bits everywhere.
    #[inline(always)]
    pub fn pow(self, exponent: impl Into<Self>) -> Self {
        Scalar(self.0.pow(exponent.into().0))
    }

    /// Rounded to f32's 24 bits (Veltkamp's splitting), for rules whose reference keeps a number in f32. Of numbers whose
    /// product with 2²⁹ + 1 is finite.
    #[inline(always)]
    pub fn in_f32(self) -> Self {
        let wide = self * 536_870_913.0;
        wide - (wide - self)
    }

    /// Whether `self > other`.
    #[inline(always)]
    pub fn gt(self, other: impl Into<Self>) -> Cond<L> {
        Cond(self.0.gt(other.into().0))
    }

    /// Whether `self ≥ other`.
    #[inline(always)]
    pub fn ge(self, other: impl Into<Self>) -> Cond<L> {
        Cond(self.0.ge(other.into().0))
    }

    /// `self > other ? self : other`.
    #[inline(always)]
    pub fn max(self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.gt(other).select(self, other)
    }

    /// `other > self ? self : other`.
    #[inline(always)]
    pub fn min(self, other: impl Into<Self>) -> Self {
        let other = other.into();
        other.gt(self).select(self, other)
    }

    /// Whether a [`flag`](crate::flag) is on. Flags and choices are the only values a rule may branch on with `if`:
    /// each setting is another rule, recorded and fingerprinted as such. Asked of a number, recording fails.
    #[inline(always)]
    pub fn is_on(self) -> bool {
        self.0.setting() != 0.0
    }

    /// Whether a [`choice`](crate::choice) is the one with this index; as [`Scalar::is_on`].
    #[inline(always)]
    pub fn is(self, index: usize) -> bool {
        self.0.setting() == index as f64
    }
}

impl<L: Lane> Cond<L> {
    /// `yes` if it holds, else `no`.
    #[inline(always)]
    pub fn select(self, yes: impl Into<Scalar<L>>, no: impl Into<Scalar<L>>) -> Scalar<L> {
        Scalar(L::Uniform::select(self.0, yes.into().0, no.into().0))
    }

    /// As [`Cond::select`], between lanes.
    #[inline(always)]
    pub fn choose(self, yes: impl Into<L>, no: impl Into<L>) -> L {
        L::choose(self, yes.into(), no.into())
    }
}

impl<L: Lane> BitAnd for Cond<L> {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Cond(L::Uniform::and(self.0, other.0))
    }
}

impl<L: Lane> BitOr for Cond<L> {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Cond(L::Uniform::or(self.0, other.0))
    }
}

impl<L: Lane> Not for Cond<L> {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Cond(L::Uniform::not(self.0))
    }
}

impl<L: Lane> From<f64> for Scalar<L> {
    #[inline(always)]
    fn from(x: f64) -> Self {
        Scalar(L::Uniform::literal(x))
    }
}

impl<L: Lane> Neg for Scalar<L> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        0.0 - self
    }
}

macro_rules! scalar_operators {
    ($($operator:ident $method:ident),*) => { $(
        impl<L: Lane> $operator for Scalar<L> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Scalar(self.0.$method(other.0))
            }
        }
        impl<L: Lane> $operator<f64> for Scalar<L> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: f64) -> Self {
                Scalar(self.0.$method(L::Uniform::literal(other)))
            }
        }
        impl<L: Lane> $operator<Scalar<L>> for f64 {
            type Output = Scalar<L>;
            #[inline(always)]
            fn $method(self, other: Scalar<L>) -> Scalar<L> {
                Scalar(L::Uniform::literal(self).$method(other.0))
            }
        }
        impl<L: Lane> $operator<L> for Scalar<L> {
            type Output = L;
            #[inline(always)]
            fn $method(self, other: L) -> L {
                L::from(self).$method(other)
            }
        }
    )* };
}
scalar_operators!(Add add, Sub sub, Mul mul, Div div);

impl Uniform for f64 {
    type Cond = bool;

    #[inline(always)]
    fn literal(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn add(self, other: f64) -> f64 {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: f64) -> f64 {
        self - other
    }
    #[inline(always)]
    fn mul(self, other: f64) -> f64 {
        self * other
    }
    #[inline(always)]
    fn div(self, other: f64) -> f64 {
        self / other
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn floor(self) -> f64 {
        f64::floor(self)
    }
    // libm's own code, not the platform's: the platform's last bit differs between machines.
    #[inline(always)]
    fn exp(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        libm::log(self)
    }
    #[inline(always)]
    fn pow(self, exponent: f64) -> f64 {
        libm::pow(self, exponent)
    }
    #[inline(always)]
    fn gt(self, other: f64) -> bool {
        self > other
    }
    #[inline(always)]
    fn ge(self, other: f64) -> bool {
        self >= other
    }
    #[inline(always)]
    fn and(a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn or(a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn not(a: bool) -> bool {
        !a
    }
    #[inline(always)]
    fn select(condition: bool, yes: f64, no: f64) -> f64 {
        if condition { yes } else { no }
    }
    #[inline(always)]
    fn setting(self) -> f64 {
        self
    }
}
