//! Recording lanes: running a rule on them writes its expression down.
//! Equal nodes are written once; nothing is simplified and nothing reassociated.

use core::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Sub};
use std::cell::RefCell;
use std::collections::HashMap;

use super::op::{Node, Op};
use crate::hyper::numbers;
use crate::lane::{Cond, Uniform};
use crate::record::values;
use crate::rule::{ElementwiseKernel, Kernel, Now, ReducingKernel, Step};
use crate::{Elementwise, Error, Lane, Mask, Pass, Per, Record, Reducing, Result, Scalar};

#[derive(Default)]
struct Writer {
    nodes: Vec<Node>,
    index: HashMap<Node, u32>,
}

thread_local! {
    /// What is being recorded on this thread. Operators have no room for an argument that carries it.
    static WRITER: RefCell<Writer> = RefCell::default();
}

fn write(op: Op, operands: &[Sym], bits: u64) -> Sym {
    let operand = |k: usize| operands.get(k).map_or(0, |sym| sym.0);
    let node = Node { op: op as u32, a: operand(0), b: operand(1), c: operand(2), bits };
    WRITER.with_borrow_mut(|Writer { nodes, index }| {
        Sym(*index.entry(node).or_insert_with(|| {
            nodes.push(node);
            nodes.len() as u32 - 1
        }))
    })
}

/// A lane or scalar that is being recorded: the index of its node.
#[derive(Clone, Copy, Debug)]
pub struct Sym(u32);

/// A comparison of lanes that is being recorded.
#[derive(Clone, Copy, Debug)]
pub struct SymMask(Sym);

/// Records an elementwise rule. Numbers are recorded as symbols; flags and choices as the literals they are.
///
/// # Errors
/// Another count of hyper-parameters than the rule has.
///
/// # Panics
/// Where the rule does: if it asks `is_on` of a number.
pub fn record<R: Elementwise>(hyper: &[f64]) -> Result<Vec<Node>> {
    record_kernel::<ElementwiseKernel<R>>(hyper)
}

/// As [`record`], for a rule that sums over its tensor.
///
/// # Errors
/// As [`record`].
pub fn record_reducing<R: Reducing>(hyper: &[f64]) -> Result<Vec<Node>> {
    record_kernel::<ReducingKernel<R>>(hyper)
}

/// As [`record`], for any rule over elements: what it measures, how its memory moves on, what it updates.
#[doc(hidden)]
pub fn record_kernel<R: Kernel>(hyper: &[f64]) -> Result<Vec<Node>> {
    let held = numbers::<R::Hyper<f64>>(hyper)?;
    let knobs = values(&R::hyper());
    let slots = values(&R::state(&held));
    WRITER.take();
    let h = R::Hyper::build(|k| {
        Scalar(if knobs[k].is_switch() { Sym::literal(hyper[k]) } else { write(Op::Hyper, &[], k as u64) })
    });
    let step = Step::build(|k| Scalar(write(Op::Step, &[], k as u64)));
    let (x, g) = (write(Op::X, &[], 0), write(Op::G, &[], 0));
    let mut state =
        R::State::build(|k| if slots[k].is_present() { write(Op::State, &[], k as u64) } else { Sym::from(0.0) });
    let now = |memory: Op| Now::<R, Sym> {
        h,
        step,
        sums: R::Sums::build(|k| Scalar(write(Op::Sum, &[], k as u64))),
        memory: R::Memory::build(|k| Scalar(write(memory, &[], k as u64))),
    };
    let before = now(Op::Memory);
    R::measure::<Sym>(before)(x, g, state).visit(|k, term| {
        write(Op::OutSum, &[term], k as u64);
    });
    R::advance::<Sym>(before).visit(|k, number| {
        write(Op::OutMemory, &[number.0], k as u64);
    });
    let new_x = R::update::<Sym>(now(Op::NewMemory))(x, g, &mut state);
    write(Op::OutX, &[new_x], 0);
    state.visit(|k, sym| {
        if slots[k].is_present() {
            write(Op::OutState, &[sym], k as u64);
        }
    });
    Ok(WRITER.take().nodes)
}

/// Records a pass: inputs as slots, numbers as hyper-parameters; a result per element as what is stored to the slot of its
/// index, every other as a share in the sum of its index.
///
/// # Errors
/// Another count of results than the pass has.
///
/// # Panics
/// Where the pass does: if it asks `is_on` of a number.
pub fn record_pass<P: Pass>(results: &[Per]) -> Result<Vec<Node>> {
    let expected = <P::Results<f64> as Record<f64>>::NAMES.len();
    if results.len() != expected {
        return Err(Error::new(format!("{} results, the pass has {expected}", results.len())));
    }
    WRITER.take();
    let each = P::each::<Sym>(P::Numbers::build(|k| Scalar(write(Op::Hyper, &[], k as u64))));
    each(P::Inputs::build(|k| write(Op::State, &[], k as u64))).visit(|k, result| {
        let op = if results[k] == Per::Element { Op::OutState } else { Op::OutSum };
        write(op, &[result], k as u64);
    });
    Ok(WRITER.take().nodes)
}

impl Uniform for Sym {
    type Cond = Sym;

    fn literal(x: f64) -> Sym {
        write(Op::Literal, &[], x.to_bits())
    }
    fn add(self, other: Sym) -> Sym {
        write(Op::ScalarAdd, &[self, other], 0)
    }
    fn sub(self, other: Sym) -> Sym {
        write(Op::ScalarSub, &[self, other], 0)
    }
    fn mul(self, other: Sym) -> Sym {
        write(Op::ScalarMul, &[self, other], 0)
    }
    fn div(self, other: Sym) -> Sym {
        write(Op::ScalarDiv, &[self, other], 0)
    }
    fn sqrt(self) -> Sym {
        write(Op::ScalarSqrt, &[self], 0)
    }
    fn floor(self) -> Sym {
        write(Op::ScalarFloor, &[self], 0)
    }
    fn exp(self) -> Sym {
        write(Op::ScalarExp, &[self], 0)
    }
    fn ln(self) -> Sym {
        write(Op::ScalarLn, &[self], 0)
    }
    fn pow(self, exponent: Sym) -> Sym {
        write(Op::ScalarPow, &[self, exponent], 0)
    }
    fn gt(self, other: Sym) -> Sym {
        write(Op::ScalarGt, &[self, other], 0)
    }
    fn ge(self, other: Sym) -> Sym {
        write(Op::ScalarGe, &[self, other], 0)
    }
    fn and(a: Sym, b: Sym) -> Sym {
        write(Op::CondAnd, &[a, b], 0)
    }
    fn or(a: Sym, b: Sym) -> Sym {
        write(Op::CondOr, &[a, b], 0)
    }
    fn not(a: Sym) -> Sym {
        write(Op::CondNot, &[a], 0)
    }
    fn select(condition: Sym, yes: Sym, no: Sym) -> Sym {
        write(Op::ScalarSelect, &[condition, yes, no], 0)
    }
    fn setting(self) -> f64 {
        let node = WRITER.with_borrow(|writer| writer.nodes[self.0 as usize]);
        assert!(node.operation() == Some(Op::Literal), "only a flag or a choice may decide an `if`");
        f64::from_bits(node.bits)
    }
}

impl From<f64> for Sym {
    fn from(x: f64) -> Sym {
        write(Op::Lift, &[Sym::literal(x)], 0)
    }
}

impl From<Scalar<Sym>> for Sym {
    fn from(x: Scalar<Sym>) -> Sym {
        write(Op::Lift, &[x.0], 0)
    }
}

impl Neg for Sym {
    type Output = Sym;
    fn neg(self) -> Sym {
        write(Op::Neg, &[self], 0)
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident),*) => { $(
        impl $operator for Sym {
            type Output = Sym;
            fn $method(self, other: Sym) -> Sym {
                write(Op::$operator, &[self, other], 0)
            }
        }
    )* };
}
operators!(Add add, Sub sub, Mul mul, Div div);

macro_rules! mixed_operators {
    ($($operator:ident $method:ident),*) => { $(
        impl $operator<f64> for Sym {
            type Output = Sym;
            fn $method(self, other: f64) -> Sym {
                $operator::$method(self, Sym::from(other))
            }
        }
        impl $operator<Scalar<Sym>> for Sym {
            type Output = Sym;
            fn $method(self, other: Scalar<Sym>) -> Sym {
                $operator::$method(self, Sym::from(other))
            }
        }
    )* };
}
mixed_operators!(Add add, Sub sub, Mul mul);

// Through the reciprocal, taken once in f64, as in the kernel.
impl Div<f64> for Sym {
    type Output = Sym;
    fn div(self, other: f64) -> Sym {
        self * (1.0 / other)
    }
}

impl Div<Scalar<Sym>> for Sym {
    type Output = Sym;
    fn div(self, other: Scalar<Sym>) -> Sym {
        self * (1.0 / other)
    }
}

impl Lane for Sym {
    type Uniform = Sym;
    type Mask = SymMask;

    fn sqrt(self) -> Sym {
        write(Op::Sqrt, &[self], 0)
    }
    fn abs(self) -> Sym {
        write(Op::Abs, &[self], 0)
    }
    fn sign(self) -> Sym {
        write(Op::Sign, &[self], 0)
    }
    fn max(self, other: impl Into<Sym>) -> Sym {
        write(Op::Max, &[self, other.into()], 0)
    }
    fn min(self, other: impl Into<Sym>) -> Sym {
        write(Op::Min, &[self, other.into()], 0)
    }
    fn gt(self, other: impl Into<Sym>) -> SymMask {
        SymMask(write(Op::Gt, &[self, other.into()], 0))
    }
    fn ge(self, other: impl Into<Sym>) -> SymMask {
        SymMask(write(Op::Ge, &[self, other.into()], 0))
    }
    fn fma(self, factor: impl Into<Sym>, term: impl Into<Sym>) -> Sym {
        write(Op::Fma, &[self, factor.into(), term.into()], 0)
    }
    fn exp(self) -> Sym {
        write(Op::Exp, &[self], 0)
    }
    fn ln(self) -> Sym {
        write(Op::Ln, &[self], 0)
    }
    fn tanh(self) -> Sym {
        write(Op::Tanh, &[self], 0)
    }
    fn rsqrt(self) -> Sym {
        write(Op::Rsqrt, &[self], 0)
    }
    fn choose(condition: Cond<Sym>, yes: Sym, no: Sym) -> Sym {
        SymMask(write(Op::LiftCond, &[condition.0], 0)).select(yes, no)
    }
}

impl BitAnd for SymMask {
    type Output = SymMask;
    fn bitand(self, other: SymMask) -> SymMask {
        SymMask(write(Op::And, &[self.0, other.0], 0))
    }
}

impl BitOr for SymMask {
    type Output = SymMask;
    fn bitor(self, other: SymMask) -> SymMask {
        SymMask(write(Op::Or, &[self.0, other.0], 0))
    }
}

impl Not for SymMask {
    type Output = SymMask;
    fn not(self) -> SymMask {
        SymMask(write(Op::Not, &[self.0], 0))
    }
}

impl Mask<Sym> for SymMask {
    fn select(self, yes: impl Into<Sym>, no: impl Into<Sym>) -> Sym {
        let (yes, no) = (yes.into(), no.into());
        write(Op::Select, &[self.0, yes, no], 0)
    }
}
