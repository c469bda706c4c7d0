//! A tape run element by element: slow, plain, and the reference that kernels are compared with.
//! Takes checked tapes only.

use super::op::{Node, Op};

/// The scalars of a step, by node, in f64, truths as 0 and 1; NaN where a node is not a scalar. `step` holds this
/// tensor's own step from 1, its number of elements, and the L2 norm of all gradients; then the sums and the memory, as
/// far as they are known: before the step for what is measured, after it for what is updated.
pub fn scalars(nodes: &[Node], hyper: &[f64], step: &[f64]) -> Vec<f64> {
    let sums = nodes.iter().filter(|node| node.operation() == Some(Op::OutSum)).count();
    let known = |place: usize| step.get(place).copied().unwrap_or(f64::NAN);
    let mut v: Vec<f64> = Vec::with_capacity(nodes.len());
    let truth = |condition: bool| f64::from(u8::from(condition));
    for node in nodes {
        let (a, b, c) = (node.a as usize, node.b as usize, node.c as usize);
        let value = match node.operation() {
            Some(Op::Literal) => f64::from_bits(node.bits),
            Some(Op::Hyper) => hyper[node.bits as usize],
            Some(Op::Step) => known(node.bits as usize),
            Some(Op::Sum) => known(3 + node.bits as usize),
            Some(Op::Memory | Op::NewMemory) => known(3 + sums + node.bits as usize),
            Some(Op::ScalarAdd) => v[a] + v[b],
            Some(Op::ScalarSub) => v[a] - v[b],
            Some(Op::ScalarMul) => v[a] * v[b],
            Some(Op::ScalarDiv) => v[a] / v[b],
            Some(Op::ScalarSqrt) => v[a].sqrt(),
            Some(Op::ScalarFloor) => v[a].floor(),
            Some(Op::ScalarExp) => libm::exp(v[a]),
            Some(Op::ScalarLn) => libm::log(v[a]),
            Some(Op::ScalarPow) => libm::pow(v[a], v[b]),
            Some(Op::ScalarGt) => truth(v[a] > v[b]),
            Some(Op::ScalarGe) => truth(v[a] >= v[b]),
            Some(Op::CondAnd) => truth(v[a] != 0.0 && v[b] != 0.0),
            Some(Op::CondOr) => truth(v[a] != 0.0 || v[b] != 0.0),
            Some(Op::CondNot) => truth(v[a] == 0.0),
            Some(Op::ScalarSelect) => v[if v[a] != 0.0 { b } else { c }],
            _ => f64::NAN,
        };
        v.push(value);
    }
    v
}

/// The memory after the step, by index, from the [`scalars`] of what is known before it and the sums.
pub fn advanced(nodes: &[Node], scalars: &[f64]) -> Vec<f64> {
    let stored = nodes.iter().filter(|node| node.operation() == Some(Op::OutMemory));
    let mut numbers: Vec<(u64, f64)> = stored.map(|node| (node.bits, scalars[node.a as usize])).collect();
    numbers.sort_unstable_by_key(|(index, _)| *index);
    numbers.into_iter().map(|(_, number)| number).collect()
}

macro_rules! interpreter {
    ($(#[$doc:meta])* $name:ident, $(#[$terms_doc:meta])* $terms:ident, $values:ident, $float:ty, $exp:path, $ln:path, $tanh:path) => {
        $(#[$doc])*
        pub fn $name(nodes: &[Node], scalars: &[f64], x: $float, g: $float, state: &[$float]) -> ($float, Vec<$float>) {
            let v = $values(nodes, scalars, x, g, state);
            let (mut new_x, mut new_state) = (x, state.to_vec());
            for (node, value) in nodes.iter().zip(v) {
                match node.operation() {
                    Some(Op::OutX) => new_x = value,
                    Some(Op::OutState) => new_state[node.bits as usize] = value,
                    _ => {}
                }
            }
            (new_x, new_state)
        }

        $(#[$terms_doc])*
        pub fn $terms(nodes: &[Node], scalars: &[f64], x: $float, g: $float, state: &[$float]) -> Vec<$float> {
            let v = $values(nodes, scalars, x, g, state);
            let shares = nodes.iter().zip(v).filter(|(node, _)| node.operation() == Some(Op::OutSum));
            let mut shares: Vec<(u64, $float)> = shares.map(|(node, value)| (node.bits, value)).collect();
            shares.sort_unstable_by_key(|(index, _)| *index);
            shares.into_iter().map(|(_, value)| value).collect()
        }

        /// What every node is for one element; NaN where a node is a scalar.
        fn $values(nodes: &[Node], scalars: &[f64], x: $float, g: $float, state: &[$float]) -> Vec<$float> {
            let mut v: Vec<$float> = Vec::with_capacity(nodes.len());
            let truth = |condition: bool| <$float>::from(u8::from(condition));
            for node in nodes {
                let (a, b, c) = (node.a as usize, node.b as usize, node.c as usize);
                let value = match node.operation() {
                    Some(Op::X) => x,
                    Some(Op::G) => g,
                    Some(Op::State) => state[node.bits as usize],
                    Some(Op::Lift | Op::LiftCond) => scalars[a] as $float,
                    Some(Op::Add) => v[a] + v[b],
                    Some(Op::Sub) => v[a] - v[b],
                    Some(Op::Mul) => v[a] * v[b],
                    Some(Op::Div) => v[a] / v[b],
                    Some(Op::Neg) => -v[a],
                    Some(Op::Sqrt) => v[a].sqrt(),
                    Some(Op::Abs) => v[a].abs(),
                    Some(Op::Sign) => truth(v[a] > 0.0) - truth(v[a] < 0.0),
                    Some(Op::Max) => v[if v[a] > v[b] { a } else { b }],
                    Some(Op::Min) => v[if v[a] < v[b] { a } else { b }],
                    Some(Op::Fma) => v[a].mul_add(v[b], v[c]),
                    Some(Op::Exp) => $exp(v[a]),
                    Some(Op::Ln) => $ln(v[a]),
                    Some(Op::Tanh) => $tanh(v[a]),
                    Some(Op::Rsqrt) => 1.0 / v[a].sqrt(),
                    Some(Op::Gt) => truth(v[a] > v[b]),
                    Some(Op::Ge) => truth(v[a] >= v[b]),
                    Some(Op::And) => truth(v[a] != 0.0 && v[b] != 0.0),
                    Some(Op::Or) => truth(v[a] != 0.0 || v[b] != 0.0),
                    Some(Op::Not) => truth(v[a] == 0.0),
                    Some(Op::Select) => v[if v[a] != 0.0 { b } else { c }],
                    Some(Op::OutX | Op::OutSum) => v[a],
                    Some(Op::OutState) => if v[a].abs() < <$float>::MIN_POSITIVE { 0.0 } else { v[a] },
                    _ => <$float>::NAN,
                };
                v.push(value);
            }
            v
        }
    };
}
interpreter!(
    /// One element's step in f32: new value and new state, the latter by index in the state record. `scalars` are those
    /// of [`scalars`]; slots that are switched off pass through.
    element_f32,
    /// One element's shares in the sums, in f32, by index.
    terms_f32, values_f32, f32, libm::expf, libm::logf, libm::tanhf
);
interpreter!(
    /// As [`element_f32`], in f64.
    element_f64,
    /// As [`terms_f32`], in f64.
    terms_f64, values_f64, f64, libm::exp, libm::log, libm::tanh
);
