//! Runs a recorded rule with tensor operations, node by node: the way on devices for which no kernel was compiled.
//! Does not fuse anything, so it is slow; its bits are those of the kernel.
//!
//! Every operation that kernels define by selection (max, min, sign) is done by selection here, and scalars are rounded
//! to the lane's type before they meet a lane, as in a kernel. bf16 parameters and slots are computed in f32. The operations that
//! are not exactly defined anywhere (exp, ln, tanh, rsqrt) are libtorch's.

use sdk::tape::{self, Node, Op};
use tch::{Device, Kind, TchError, Tensor};

use super::kernel::{Target, state_kind};
use crate::{
    fault::{Exit, Fault},
    tensor::slots::without_denormals,
};

/// One step of one tensor; `numbers` are those of the step, with sums and memory.
///
/// # Errors
/// An expression that is not understood, or a failure of libtorch; nothing is changed then.
pub fn step(target: &Target<'_>, numbers: &[f64]) -> Result<(), Fault> {
    let failed = |error: TchError| fault(error.to_string());
    tch::no_grad(|| {
        let results = of_target(target, numbers)?;
        let x = results.x.ok_or_else(|| fault("it has no result".into()))?;
        target.x.shallow_clone().f_copy_(&x).map_err(failed)?;
        for (index, new) in results.state {
            if let Some(Some(slot)) = target.state.get(index) {
                slot.shallow_clone().f_copy_(&new).map_err(failed)?;
            }
        }
        Ok(())
    })
}

/// The sums of one tensor, by index. Taken in f64 in libtorch's order, so their last bits are not a kernel's.
///
/// # Errors
/// As [`step`].
pub fn measure(target: &Target<'_>, numbers: &[f64]) -> Result<Vec<f64>, Fault> {
    let failed = |error: TchError| fault(error.to_string());
    tch::no_grad(|| {
        let mut sums = Vec::new();
        for (index, shares) in of_target(target, numbers)?.sums {
            let all = shares.f_to_kind(Kind::Double).and_then(|wide| wide.f_expand(target.x.size(), false));
            let sum = all.and_then(|all| all.f_sum(Kind::Double)?.f_double_value(&[])).map_err(failed)?;
            sums.push((index, sum));
        }
        sums.sort_by_key(|(index, _)| *index);
        Ok(sums.into_iter().map(|(_, sum)| sum).collect())
    })
}

/// What a checked pass makes of every element, by index, in the type of the arithmetic: what is kept, or goes to a sum.
/// `inputs` are of one element type and device, and broadcast. A result may have fewer dimensions than they, and then is
/// the same along those.
///
/// # Errors
/// As [`step`].
pub fn pass(expression: &[Node], numbers: &[f64], inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let Some(first) = inputs.first() else { return Err("no inputs".into()) };
    let (kind, device) = (state_kind(first.kind()), first.device());
    let leaf = |_: Op, index: u64| inputs[index as usize].f_to_kind(kind).map(Some);
    let lanes = Lanes { kind, device, leaf: &leaf, scalars: tape::scalars(expression, numbers, &[]) };
    let results = tch::no_grad(|| evaluate(expression, &lanes))?;
    let mut all: Vec<(usize, Tensor)> = results.state.into_iter().chain(results.sums).collect();
    all.sort_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, tensor)| tensor).collect())
}

fn fault(text: String) -> Fault {
    let first = text.lines().next().unwrap_or_default();
    Fault::new("P013", Exit::Bug, format!("the recorded rule could not be run: {first}"))
}

/// What an expression results in, in the type of the arithmetic.
struct Results {
    x: Option<Tensor>,
    /// By place in the state record.
    state: Vec<(usize, Tensor)>,
    /// Shares in the sums, by index; one without dimensions is every element's.
    sums: Vec<(usize, Tensor)>,
}

fn of_target(target: &Target<'_>, numbers: &[f64]) -> Result<Results, Fault> {
    let scalars = tape::scalars(target.expression, target.hyper, numbers);
    let kind = state_kind(target.x.kind());
    let leaf = |op: Op, index: u64| match op {
        Op::X => target.x.f_detach()?.f_to_kind(kind).map(Some),
        Op::G => target.g.f_to_kind(kind).map(Some),
        _ => target.state.get(index as usize).and_then(Option::as_ref).map(|slot| slot.f_to_kind(kind)).transpose(),
    };
    let lanes = Lanes { kind, device: target.x.device(), leaf: &leaf, scalars };
    evaluate(target.expression, &lanes).map_err(fault)
}

fn evaluate(expression: &[Node], lanes: &Lanes<'_>) -> Result<Results, String> {
    let mut values: Vec<Option<Tensor>> = Vec::with_capacity(expression.len());
    // Where each value is used last; it is let go there.
    let mut last_use: Vec<usize> = (0..expression.len()).collect();
    for (place, node) in expression.iter().enumerate() {
        node.operands().for_each(|operand| last_use[operand] = place);
    }
    let mut results = Results { x: None, state: Vec::new(), sums: Vec::new() };
    for (place, node) in expression.iter().enumerate() {
        let at = |text: String| format!("node {place}: {text}");
        let op = node.operation().ok_or_else(|| at(format!("operation {} is not known", node.op)))?;
        let value = match op {
            op if op.is_scalar() => None,
            Op::OutMemory => None,
            Op::OutX => {
                results.x = Some(lanes.of(&values, node.a).map_err(at)?.shallow_clone());
                None
            }
            Op::OutState => {
                let stored = lanes.of(&values, node.a).and_then(|value| without_denormals(value).map_err(text));
                results.state.push((node.bits as usize, stored.map_err(at)?));
                None
            }
            Op::OutSum => {
                results.sums.push((node.bits as usize, lanes.of(&values, node.a).map_err(at)?.shallow_clone()));
                None
            }
            op => Some(lanes.value(op, node, &values).map_err(at)?),
        };
        values.push(value);
        for operand in node.operands().filter(|&operand| last_use[operand] == place) {
            values[operand] = None;
        }
    }
    Ok(results)
}

fn text(error: TchError) -> String {
    error.to_string()
}

/// What the operations of one expression have in common.
struct Lanes<'a> {
    /// Type of the arithmetic.
    kind: Kind,
    device: Device,
    /// X, G, or a slot by index; none where the slot is switched off.
    leaf: &'a dyn Fn(Op, u64) -> Result<Option<Tensor>, TchError>,
    scalars: Vec<f64>,
}

impl Lanes<'_> {
    fn of<'v>(&self, values: &'v [Option<Tensor>], index: u32) -> Result<&'v Tensor, String> {
        values.get(index as usize).and_then(Option::as_ref).ok_or_else(|| format!("operand {index} is no lane"))
    }

    /// A lane or a mask; masks are of type bool.
    fn value(&self, op: Op, node: &Node, values: &[Option<Tensor>]) -> Result<Tensor, String> {
        let a = || self.of(values, node.a);
        let b = || self.of(values, node.b);
        let c = || self.of(values, node.c);
        let scalar = || self.scalars.get(node.a as usize).copied().ok_or("a scalar is missing".to_string());
        match op {
            Op::X | Op::G | Op::State => match (self.leaf)(op, node.bits) {
                Ok(Some(tensor)) => Ok(tensor),
                Ok(None) => self.number(0.0),
                Err(error) => Err(error),
            },
            Op::Lift => self.number(scalar()?),
            Op::LiftCond => Tensor::f_full([0i64; 0], i64::from(scalar()? != 0.0), (Kind::Bool, self.device)),
            Op::Add => a()?.f_add(b()?),
            Op::Sub => a()?.f_sub(b()?),
            Op::Mul => a()?.f_mul(b()?),
            Op::Div => a()?.f_div(b()?),
            Op::Neg => a()?.f_neg(),
            Op::Sqrt => self.sqrt(a()?),
            Op::Abs => a()?.f_abs(),
            Op::Sign => self.sign(a()?),
            Op::Max => choose(a()?.f_gt_tensor(b()?), a()?, b()?),
            Op::Min => choose(a()?.f_lt_tensor(b()?), a()?, b()?),
            Op::Fma => self.fma(a()?, b()?, c()?),
            Op::Exp => a()?.f_exp(),
            Op::Ln => a()?.f_log(),
            Op::Tanh => a()?.f_tanh(),
            Op::Rsqrt => self.sqrt(a()?).and_then(|root| self.number(1.0)?.f_div(&root)),
            Op::Gt => a()?.f_gt_tensor(b()?),
            Op::Ge => a()?.f_ge_tensor(b()?),
            Op::And => a()?.f_logical_and(b()?),
            Op::Or => a()?.f_logical_or(b()?),
            Op::Not => a()?.f_logical_not(),
            Op::Select => a_or_b(a()?, b()?, c()?),
            other => return Err(format!("{other:?} is no operation on lanes")),
        }
        .map_err(text)
    }

    /// One number as a tensor without dimensions, on the device: an operand on the host would take another kernel,
    /// which divides by multiplying.
    fn number(&self, value: f64) -> Result<Tensor, TchError> {
        let rounded = if self.kind == Kind::Double { value } else { f64::from(value as f32) };
        Tensor::f_full([0i64; 0], rounded, (self.kind, self.device))
    }

    /// Correctly rounded, as in a kernel. On the CPU libtorch takes MKL's root, which is not, so it is taken value by
    /// value.
    fn sqrt(&self, a: &Tensor) -> Result<Tensor, TchError> {
        if self.device != Device::Cpu {
            return a.f_sqrt();
        }
        let wide = Vec::<f64>::try_from(a.f_to_kind(Kind::Double)?.f_reshape([-1])?)?;
        let root = |value: f64| if self.kind == Kind::Double { value.sqrt() } else { f64::from((value as f32).sqrt()) };
        let roots: Vec<f64> = wide.into_iter().map(root).collect();
        Tensor::f_from_slice(&roots)?.f_reshape(a.size())?.f_to_kind(self.kind)
    }

    fn sign(&self, a: &Tensor) -> Result<Tensor, TchError> {
        let zero = self.number(0.0)?;
        let negative = a_or_b(&a.f_lt_tensor(&zero)?, &self.number(-1.0)?, &zero)?;
        a_or_b(&a.f_gt_tensor(&zero)?, &self.number(1.0)?, &negative)
    }

    /// a·b + c rounded once. In f64 a product of two f32 is exact; the sum is rounded to odd there, so that rounding it
    /// again to f32 is as rounding once (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums").
    fn fma(&self, a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor, TchError> {
        if self.kind == Kind::Double {
            return Err(TchError::Torch("fma in f64 is done by kernels alone".into()));
        }
        let wide = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
        let (product, c) = (wide(a)?.f_mul(&wide(b)?)?, wide(c)?);
        let sum = product.f_add(&c)?;
        // Knuth's two-sum: what the addition lost, exactly.
        let part = sum.f_sub(&product)?;
        let lost = product.f_sub(&sum.f_sub(&part)?)?.f_add(&c.f_sub(&part)?)?;
        let bits = sum.f_view_dtype(Kind::Int64)?;
        let even = bits.f_bitwise_and(1)?.f_eq(0)?;
        let inexact = lost.f_ne(0.0)?.f_logical_and(&lost.f_isfinite()?)?.f_logical_and(&even)?;
        // Away from zero where what was lost has the sign of the sum, else towards it: the bits are those of the
        // magnitude.
        let outwards = lost.f_gt(0.0)?.f_eq_tensor(&sum.f_gt(0.0)?)?;
        let one = Tensor::f_full([0i64; 0], 1, (Kind::Int64, self.device))?;
        let moved = bits.f_add(&a_or_b(&outwards, &one, &one.f_neg()?)?)?;
        a_or_b(&inexact, &moved, &bits)?.f_view_dtype(Kind::Double)?.f_to_kind(Kind::Float)
    }
}

fn a_or_b(mask: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a.f_where_self(mask, b)
}

fn choose(mask: Result<Tensor, TchError>, a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    a_or_b(&mask?, a, b)
}
