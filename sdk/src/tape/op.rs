//! Nodes and operations of a tape.
//! The numbers cross the boundary: they are never reused, and gaps are room to grow.

use abi_stable::StableAbi;

/// A node of a recorded rule.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it does: an [`Op`].
    pub op: u32,
    /// First operand: index of an earlier node; 0 where there is none.
    pub a: u32,
    /// Second operand.
    pub b: u32,
    /// Third operand.
    pub c: u32,
    /// Bits of a literal, or index of a hyper-parameter, step number, slot, sum or number of the memory.
    pub bits: u64,
}

/// What kind of value a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// One f64 for the whole tensor.
    Scalar,
    /// One truth for the whole tensor.
    Cond,
    /// One number per element.
    Lane,
    /// One truth per element.
    Mask,
    /// Something stored; nobody's operand.
    Result,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal: ($($operand:ident),*) -> $sort:ident;)*) => {
        /// What a node does: operands and result stand in the table in this file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Op { $($(#[$doc])* $name = $number),* }

        impl Op {
            /// By its number; none where the number is not known here.
            pub fn of(number: u32) -> Option<Op> {
                match number {
                    $($number => Some(Op::$name),)*
                    _ => None,
                }
            }

            /// What kind of value it is.
            pub fn sort(self) -> Sort {
                match self { $(Op::$name => Sort::$sort),* }
            }

            /// What kinds of value it takes.
            pub fn operands(self) -> &'static [Sort] {
                match self { $(Op::$name => &[$(Sort::$operand),*]),* }
            }
        }
    };
}

operations! {
    // scalars
    /// A number, by its bits.
    Literal = 0: () -> Scalar;
    /// A hyper-parameter, by index.
    Hyper = 1: () -> Scalar;
    /// 0 `t`, 1 `numel`, 2 `grad_norm`.
    Step = 2: () -> Scalar;
    /// A sum over the tensor, or over all tensors, by index.
    Sum = 3: () -> Scalar;
    /// A number of the memory before the step, by index.
    Memory = 4: () -> Scalar;
    /// A number of the memory after the step, by index.
    NewMemory = 5: () -> Scalar;
    /// a + b.
    ScalarAdd = 8: (Scalar, Scalar) -> Scalar;
    /// a − b.
    ScalarSub = 9: (Scalar, Scalar) -> Scalar;
    /// a · b.
    ScalarMul = 10: (Scalar, Scalar) -> Scalar;
    /// a / b.
    ScalarDiv = 11: (Scalar, Scalar) -> Scalar;
    /// √a.
    ScalarSqrt = 12: (Scalar) -> Scalar;
    /// ⌊a⌋.
    ScalarFloor = 13: (Scalar) -> Scalar;
    /// eᵃ, by libm.
    ScalarExp = 14: (Scalar) -> Scalar;
    /// ln a, by libm.
    ScalarLn = 15: (Scalar) -> Scalar;
    /// aᵇ, by libm.
    ScalarPow = 16: (Scalar, Scalar) -> Scalar;
    /// a > b.
    ScalarGt = 24: (Scalar, Scalar) -> Cond;
    /// a ≥ b.
    ScalarGe = 25: (Scalar, Scalar) -> Cond;
    /// Both.
    CondAnd = 26: (Cond, Cond) -> Cond;
    /// Either.
    CondOr = 27: (Cond, Cond) -> Cond;
    /// Not.
    CondNot = 28: (Cond) -> Cond;
    /// `a ? b : c`.
    ScalarSelect = 29: (Cond, Scalar, Scalar) -> Scalar;

    // lanes
    /// The parameter's element.
    X = 64: () -> Lane;
    /// The gradient's element.
    G = 65: () -> Lane;
    /// A slot's element, by index.
    State = 66: () -> Lane;
    /// A scalar, rounded to the lane's precision.
    Lift = 67: (Scalar) -> Lane;
    /// A truth for every element.
    LiftCond = 68: (Cond) -> Mask;
    /// a + b.
    Add = 72: (Lane, Lane) -> Lane;
    /// a − b.
    Sub = 73: (Lane, Lane) -> Lane;
    /// a · b.
    Mul = 74: (Lane, Lane) -> Lane;
    /// a / b.
    Div = 75: (Lane, Lane) -> Lane;
    /// −a.
    Neg = 76: (Lane) -> Lane;
    /// √a.
    Sqrt = 77: (Lane) -> Lane;
    /// |a|.
    Abs = 78: (Lane) -> Lane;
    /// `a > 0 ? 1 : a < 0 ? −1 : 0`.
    Sign = 79: (Lane) -> Lane;
    /// `a > b ? a : b`.
    Max = 80: (Lane, Lane) -> Lane;
    /// `a < b ? a : b`.
    Min = 81: (Lane, Lane) -> Lane;
    /// a · b + c, rounded once.
    Fma = 82: (Lane, Lane, Lane) -> Lane;
    /// eᵃ, not bit-portable.
    Exp = 83: (Lane) -> Lane;
    /// ln a, not bit-portable.
    Ln = 84: (Lane) -> Lane;
    /// tanh a, not bit-portable.
    Tanh = 85: (Lane) -> Lane;
    /// 1/√a, not bit-portable.
    Rsqrt = 86: (Lane) -> Lane;
    /// a > b.
    Gt = 96: (Lane, Lane) -> Mask;
    /// a ≥ b.
    Ge = 97: (Lane, Lane) -> Mask;
    /// Both.
    And = 98: (Mask, Mask) -> Mask;
    /// Either.
    Or = 99: (Mask, Mask) -> Mask;
    /// Not.
    Not = 100: (Mask) -> Mask;
    /// `a ? b : c`.
    Select = 101: (Mask, Lane, Lane) -> Lane;

    // results; denormals of a slot are stored as zero
    /// The parameter's new element.
    OutX = 128: (Lane) -> Result;
    /// A slot's new element, by index.
    OutState = 129: (Lane) -> Result;
    /// An element's share in a sum, by index; added up in f64.
    OutSum = 130: (Lane) -> Result;
    /// The new value of a number of the memory, by index.
    OutMemory = 131: (Scalar) -> Result;
}

impl Op {
    /// Whether the first two operands may change places without changing bits.
    pub fn commutes(self) -> bool {
        use Op::*;
        matches!(self, ScalarAdd | ScalarMul | CondAnd | CondOr | Add | Mul | And | Or | Fma)
    }

    /// Whether it gives the same bits on every device.
    pub fn is_portable(self) -> bool {
        !matches!(self, Op::Exp | Op::Ln | Op::Tanh | Op::Rsqrt)
    }

    /// Whether it is computed once per tensor and step.
    pub fn is_scalar(self) -> bool {
        matches!(self.sort(), Sort::Scalar | Sort::Cond)
    }
}

impl Node {
    /// What it does; none where the number is not known here.
    pub fn operation(&self) -> Option<Op> {
        Op::of(self.op)
    }

    /// Indices of its operands, in order.
    pub fn operands(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let count = self.operation().map_or(0, |op| op.operands().len());
        [self.a, self.b, self.c].into_iter().map(|index| index as usize).take(count)
    }
}
