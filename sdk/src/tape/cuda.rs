//! A tape as CUDA C++: one device function per rule and pass, with the bits of the CPU kernel.
//! Compiles nothing and launches nothing; scalars are computed by [`scalars`](super::scalars) and handed in.
//!
//! The bits are the kernel's if the compiler neither fuses nor approximates: `--fmad=false --prec-div=true
//! --prec-sqrt=true --ftz=false` for NVRTC, `-ffp-contract=off` for a C++ compiler, to which CUDA's words have to be
//! explained. exp, ln, tanh and rsqrt are the device's.

use std::fmt::Write;

use super::live;
use super::op::{Node, Op, Sort};

/// Type of the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// f32, also for bf16 parameters.
    F32,
    /// f64.
    F64,
}

impl Float {
    fn name(self) -> &'static str {
        match self {
            Float::F32 => "float",
            Float::F64 => "double",
        }
    }

    /// The ending of C's functions and literals.
    fn suffix(self) -> &'static str {
        match self {
            Float::F32 => "f",
            Float::F64 => "",
        }
    }

    /// The smallest number that is no denormal.
    fn smallest(self) -> &'static str {
        match self {
            Float::F32 => "0x1p-126f",
            Float::F64 => "0x1p-1022",
        }
    }
}

/// The scalars that a rule's lanes read, as indices of nodes in order: what `u` of the functions holds, each rounded to
/// the arithmetic's type; a truth is 1 or 0.
pub fn lifted(nodes: &[Node]) -> Vec<u32> {
    let mut all: Vec<u32> = Vec::new();
    for (node, live) in nodes.iter().zip(live(nodes)) {
        if live && matches!(node.operation(), Some(Op::Lift | Op::LiftCond)) && !all.contains(&node.a) {
            all.push(node.a);
        }
    }
    all
}

/// Source of `update_<name>(x, g, s, u)`, which moves one element's x and slots on, and, where the checked rule sums, of
/// `measure_<name>(x, g, s, u, sums)`, which writes one element's shares.
///
/// `s` holds the element's slots by index in the state record; one that is switched off is not read.
pub fn cuda_source(nodes: &[Node], name: &str, float: Float) -> String {
    let lifted = lifted(nodes);
    let ty = float.name();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "__device__ __forceinline__ void update_{name}({ty}& x, const {ty} g, {ty}* s, const {ty}* u) {{"
    );
    body(&mut text, nodes, &lifted, float, &[Op::OutX, Op::OutState]);
    text.push_str("}\n");
    if nodes.iter().any(|node| node.operation() == Some(Op::OutSum)) {
        let _ = writeln!(
            text,
            "__device__ __forceinline__ void measure_{name}(const {ty} x, const {ty} g, const {ty}* s, const {ty}* u, \
             {ty}* sums) {{"
        );
        body(&mut text, nodes, &lifted, float, &[Op::OutSum]);
        text.push_str("}\n");
    }
    text
}

/// One statement per lane that these results need; the results last, since they overwrite what is read.
fn body(text: &mut String, nodes: &[Node], lifted: &[u32], float: Float, results: &[Op]) {
    let mut needed = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        let Some(op) = node.operation() else { continue };
        needed[i] |= results.contains(&op);
        if needed[i] && !op.is_scalar() {
            node.operands().for_each(|operand| needed[operand] = true);
        }
    }
    let is_needed = |i: &usize| needed[*i] && !nodes[*i].operation().is_some_and(Op::is_scalar);
    let (ends, lanes): (Vec<usize>, Vec<usize>) = (0..nodes.len())
        .filter(is_needed)
        .partition(|&i| nodes[i].operation().is_some_and(|op| op.sort() == Sort::Result));
    for i in lanes {
        let ty = if nodes[i].operation().map(Op::sort) == Some(Sort::Mask) { "bool" } else { float.name() };
        let _ = writeln!(text, "    const {ty} v{i} = {};", expression(&nodes[i], lifted, float));
    }
    let (f, smallest) = (float.suffix(), float.smallest());
    for i in ends {
        let Node { a, bits, .. } = nodes[i];
        let _ = match nodes[i].operation() {
            Some(Op::OutX) => writeln!(text, "    x = v{a};"),
            Some(Op::OutSum) => writeln!(text, "    sums[{bits}] = v{a};"),
            _ => writeln!(text, "    s[{bits}] = fabs{f}(v{a}) < {smallest} ? 0.0{f} : v{a};"),
        };
    }
}

fn expression(node: &Node, lifted: &[u32], float: Float) -> String {
    let (a, b, c, f) = (node.a, node.b, node.c, float.suffix());
    let place = || lifted.iter().position(|&known| known == a).unwrap_or(lifted.len());
    match node.operation() {
        Some(Op::X) => "x".into(),
        Some(Op::G) => "g".into(),
        Some(Op::State) => format!("s[{}]", node.bits),
        Some(Op::Lift) => format!("u[{}]", place()),
        Some(Op::LiftCond) => format!("u[{}] != 0", place()),
        Some(Op::Add) => format!("v{a} + v{b}"),
        Some(Op::Sub) => format!("v{a} - v{b}"),
        Some(Op::Mul) => format!("v{a} * v{b}"),
        Some(Op::Div) => format!("v{a} / v{b}"),
        Some(Op::Neg) => format!("-v{a}"),
        Some(Op::Sqrt) => format!("sqrt{f}(v{a})"),
        Some(Op::Abs) => format!("fabs{f}(v{a})"),
        Some(Op::Sign) => format!("v{a} > 0.0{f} ? 1.0{f} : v{a} < 0.0{f} ? -1.0{f} : 0.0{f}"),
        Some(Op::Max) => format!("v{a} > v{b} ? v{a} : v{b}"),
        Some(Op::Min) => format!("v{a} < v{b} ? v{a} : v{b}"),
        Some(Op::Fma) => format!("fma{f}(v{a}, v{b}, v{c})"),
        Some(Op::Exp) => format!("exp{f}(v{a})"),
        Some(Op::Ln) => format!("log{f}(v{a})"),
        Some(Op::Tanh) => format!("tanh{f}(v{a})"),
        Some(Op::Rsqrt) => format!("1.0{f} / sqrt{f}(v{a})"),
        Some(Op::Gt) => format!("v{a} > v{b}"),
        Some(Op::Ge) => format!("v{a} >= v{b}"),
        Some(Op::And) => format!("v{a} && v{b}"),
        Some(Op::Or) => format!("v{a} || v{b}"),
        Some(Op::Not) => format!("!v{a}"),
        Some(Op::Select) => format!("v{a} ? v{b} : v{c}"),
        // Scalars and results are no lanes.
        _ => String::new(),
    }
}
