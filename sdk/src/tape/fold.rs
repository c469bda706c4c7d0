//! A tape at given hyper-parameters, simplified as on paper: what a 0 or a 1 makes of it, without what then is dead.
//! For remarks alone: rounding, infinities and NaN are left out of sight, so nothing is computed by what comes out.

use std::collections::HashMap;

use super::op::{Node, Op, Sort};
use crate::abi::SlotDescriptor;
use crate::state::{FIRST_NUMBER, NUMBER};

/// What a node of the old tape has become.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Number(f64),
    Truth(bool),
    /// A node of the new tape.
    At(u32),
}

/// A simplified tape with the slots that it still needs.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The nodes; results that nothing needs are gone.
    pub nodes: Vec<Node>,
    /// The slots that are read.
    pub slots: Vec<SlotDescriptor>,
    /// Whether nothing was divided by zero on the way, which on paper means nothing.
    pub defined: bool,
}

/// Simplifies a checked tape of these slots. Hyper-parameters that are 0 or 1 become numbers, the others stay symbols; NaN
/// keeps one a symbol whatever its value.
pub fn folded(nodes: &[Node], slots: &[SlotDescriptor], hyper: &[f64]) -> Folded {
    let mut constants: HashMap<u64, f64> = HashMap::new();
    loop {
        let mut folder = Folder {
            nodes: Vec::new(),
            index: HashMap::new(),
            constants: &constants,
            hyper,
            moved: HashMap::new(),
            defined: true,
        };
        folder.run(nodes);
        let folded = Folded { defined: folder.defined, ..without_dead(folder.nodes, slots) };
        let still = folded.slots.iter().filter_map(|slot| {
            let start = start(slot)?;
            let stays = folded.nodes.iter().any(|node| stays_at(&folded.nodes, node, slot.index.into(), start));
            stays.then_some((u64::from(slot.index), start))
        });
        // A slot known to be a number is not read again, so each round finds others.
        let found: Vec<(u64, f64)> = still.filter(|(slot, _)| !constants.contains_key(slot)).collect();
        if found.is_empty() {
            return folded;
        }
        constants.extend(found);
    }
}

/// What a slot starts as, where that is one number.
fn start(slot: &SlotDescriptor) -> Option<f64> {
    match slot.start {
        0 => Some(0.0),
        1 => Some(slot.fill),
        _ => None,
    }
}

/// Whether a result stores into the slot what it held, or what it started as.
fn stays_at(nodes: &[Node], node: &Node, slot: u64, start: f64) -> bool {
    let stored = &nodes[node.a as usize];
    let number = || (stored.operation() == Some(Op::Lift)).then(|| &nodes[stored.a as usize]);
    let is_start = number().is_some_and(|n| n.operation() == Some(Op::Literal) && f64::from_bits(n.bits) == start);
    let is_itself = stored.operation() == Some(Op::State) && stored.bits == slot;
    node.operation() == Some(Op::OutState) && node.bits == slot && (is_start || is_itself)
}

struct Folder<'a> {
    nodes: Vec<Node>,
    index: HashMap<Node, u32>,
    /// Slots that never move, and what they hold.
    constants: &'a HashMap<u64, f64>,
    hyper: &'a [f64],
    /// What numbers that last have become.
    moved: HashMap<u64, Value>,
    defined: bool,
}

impl Folder<'_> {
    fn run(&mut self, nodes: &[Node]) {
        let mut values: Vec<Value> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let operands: Vec<Value> = node.operands().map(|operand| values[operand]).collect();
            // A checked tape has no unknown operation.
            let Some(op) = node.operation() else { continue };
            values.push(self.value(op, node.bits, &operands));
        }
    }

    fn value(&mut self, op: Op, bits: u64, operands: &[Value]) -> Value {
        use Value::Number;
        match op {
            Op::Literal => return Number(f64::from_bits(bits)),
            Op::Hyper => {
                if let Some(&value) = self.hyper.get(bits as usize).filter(|value| [0.0, 1.0].contains(*value)) {
                    return Number(value);
                }
            }
            Op::State => {
                if let Some(&value) = self.constants.get(&bits) {
                    return Number(value);
                }
            }
            Op::OutMemory => {
                self.moved.insert(bits, operands[0]);
            }
            Op::NewMemory => {
                if let Some(&value) = self.moved.get(&bits) {
                    return value;
                }
            }
            _ => {}
        }
        let simpler = match *operands {
            [a] => self.unary(op, a),
            [a, b] => self.binary(op, a, b),
            [a, b, c] => self.ternary(op, a, b, c),
            _ => None,
        };
        simpler.unwrap_or_else(|| self.write(op, bits, operands))
    }

    fn unary(&mut self, op: Op, a: Value) -> Option<Value> {
        use Value::{Number, Truth};
        Some(match (op, a) {
            (Op::Lift | Op::LiftCond, Number(_) | Truth(_)) => a,
            (Op::CondNot | Op::Not, Truth(a)) => Truth(!a),
            (Op::Neg, Number(a)) => Number(-a),
            (Op::Neg, _) => self.negated(a)?,
            (Op::Abs, Number(a)) => Number(a.abs()),
            (Op::Abs, _) => {
                let inner = self.negated(a)?;
                self.value(Op::Abs, 0, &[inner])
            }
            (Op::Sign, Number(a)) => Number(if a == 0.0 { 0.0 } else { a.signum() }),
            (Op::ScalarSqrt | Op::Sqrt, Number(a)) if a >= 0.0 => Number(a.sqrt()),
            (Op::ScalarFloor, Number(a)) => Number(a.floor()),
            (Op::ScalarExp | Op::Exp, Number(a)) => Number(libm::exp(a)),
            (Op::ScalarLn | Op::Ln, Number(a)) if a > 0.0 => Number(libm::log(a)),
            _ => return None,
        })
    }

    fn binary(&mut self, op: Op, a: Value, b: Value) -> Option<Value> {
        use Value::{Number, Truth};
        let lanes = op.sort() == Sort::Lane;
        Some(match (op, a, b) {
            (Op::ScalarAdd | Op::Add, Number(a), Number(b)) => Number(a + b),
            (Op::ScalarAdd | Op::Add, Number(0.0), other) | (Op::ScalarAdd | Op::Add, other, Number(0.0)) => other,
            (Op::Add, a, b) => match (self.negated(a), self.negated(b)) {
                (_, Some(b)) => self.value(Op::Sub, 0, &[a, b]),
                (Some(a), None) => self.value(Op::Sub, 0, &[b, a]),
                _ => return None,
            },
            (Op::ScalarSub | Op::Sub, Number(a), Number(b)) => Number(a - b),
            (Op::ScalarSub | Op::Sub, a, Number(0.0)) => a,
            (Op::ScalarSub | Op::Sub, a, b) if a == b => Number(0.0),
            (Op::Sub, Number(0.0), b) => self.value(Op::Neg, 0, &[b]),
            (Op::Sub, a, b) => {
                let b = self.negated(b)?;
                self.value(Op::Add, 0, &[a, b])
            }
            (Op::ScalarMul | Op::Mul, Number(a), Number(b)) => Number(a * b),
            (Op::ScalarMul | Op::Mul, Number(0.0), _) | (Op::ScalarMul | Op::Mul, _, Number(0.0)) => Number(0.0),
            (Op::ScalarMul | Op::Mul, Number(1.0), other) | (Op::ScalarMul | Op::Mul, other, Number(1.0)) => other,
            (Op::Mul, Number(-1.0), other) | (Op::Mul, other, Number(-1.0)) => self.value(Op::Neg, 0, &[other]),
            (Op::Mul, a, b) => match (self.negated(a), self.negated(b)) {
                (Some(a), Some(b)) => self.value(Op::Mul, 0, &[a, b]),
                (Some(positive), None) => self.negative_product(positive, b),
                (None, Some(positive)) => self.negative_product(a, positive),
                (None, None) => return None,
            },
            (Op::ScalarDiv | Op::Div, Number(a), Number(b)) if b != 0.0 => Number(a / b),
            (Op::ScalarDiv | Op::Div, _, Number(0.0)) => {
                self.defined = false;
                return None;
            }
            (Op::ScalarDiv | Op::Div, Number(0.0), _) => Number(0.0),
            (Op::ScalarDiv | Op::Div, a, Number(1.0)) => a,
            (Op::ScalarDiv | Op::Div, a, b) if a == b => Number(1.0),
            (Op::ScalarPow, Number(a), Number(b)) => Number(libm::pow(a, b)),
            (Op::ScalarPow, _, Number(0.0)) | (Op::ScalarPow, Number(1.0), _) => Number(1.0),
            (Op::ScalarPow, a, Number(1.0)) => a,
            // A tensor's step counts from 1; other exponents may be 0.
            (Op::ScalarPow, Number(0.0), b) if self.is_step(b) => Number(0.0),
            (Op::Max, Number(a), Number(b)) => Number(if a > b { a } else { b }),
            (Op::Min, Number(a), Number(b)) => Number(if a < b { a } else { b }),
            (Op::Max | Op::Min, a, b) if lanes && a == b => a,
            (Op::ScalarGt | Op::Gt, Number(a), Number(b)) => Truth(a > b),
            (Op::ScalarGe | Op::Ge, Number(a), Number(b)) => Truth(a >= b),
            (Op::ScalarGt | Op::Gt, a, b) if a == b => Truth(false),
            (Op::ScalarGe | Op::Ge, a, b) if a == b => Truth(true),
            (Op::CondAnd | Op::And, Truth(true), other) | (Op::CondAnd | Op::And, other, Truth(true)) => other,
            (Op::CondAnd | Op::And, Truth(false), _) | (Op::CondAnd | Op::And, _, Truth(false)) => Truth(false),
            (Op::CondOr | Op::Or, Truth(false), other) | (Op::CondOr | Op::Or, other, Truth(false)) => other,
            (Op::CondOr | Op::Or, Truth(true), _) | (Op::CondOr | Op::Or, _, Truth(true)) => Truth(true),
            _ => return None,
        })
    }

    fn ternary(&mut self, op: Op, a: Value, b: Value, c: Value) -> Option<Value> {
        use Value::{Number, Truth};
        Some(match (op, a, b, c) {
            (Op::ScalarSelect | Op::Select, Truth(condition), yes, no) => {
                if condition {
                    yes
                } else {
                    no
                }
            }
            (Op::ScalarSelect | Op::Select, _, yes, no) if yes == no => yes,
            (Op::Fma, Number(0.0), _, c) | (Op::Fma, _, Number(0.0), c) => c,
            (Op::Fma, Number(1.0), other, c) | (Op::Fma, other, Number(1.0), c) => self.value(Op::Add, 0, &[other, c]),
            (Op::Fma, a, b, Number(0.0)) => self.value(Op::Mul, 0, &[a, b]),
            _ => return None,
        })
    }

    /// −(a·b), so that a sum sees the sign.
    fn negative_product(&mut self, a: Value, b: Value) -> Value {
        let product = self.value(Op::Mul, 0, &[a, b]);
        self.value(Op::Neg, 0, &[product])
    }

    /// b, where a value is −b.
    fn negated(&self, value: Value) -> Option<Value> {
        let Value::At(at) = value else { return None };
        let node = &self.nodes[at as usize];
        (node.operation() == Some(Op::Neg)).then_some(Value::At(node.a))
    }

    fn is_step(&self, value: Value) -> bool {
        matches!(value, Value::At(at) if self.nodes[at as usize].operation() == Some(Op::Step) && self.nodes[at as usize].bits == 0)
    }

    fn write(&mut self, op: Op, bits: u64, operands: &[Value]) -> Value {
        let mut at = [0; 3];
        for ((place, value), sort) in at.iter_mut().zip(operands).zip(op.operands()) {
            *place = self.place(*value, *sort);
        }
        Value::At(self.put(Node { op: op as u32, a: at[0], b: at[1], c: at[2], bits }))
    }

    /// The node of a value as an operand of this sort.
    fn place(&mut self, value: Value, sort: Sort) -> u32 {
        let number = match value {
            Value::At(at) => return at,
            Value::Number(number) => number,
            // Every operation on a known truth has been folded but its use as a lone operand of an unknown one.
            Value::Truth(truth) => f64::from(u8::from(truth)),
        };
        let leaf = |op: Op, a: u32, b: u32, bits: u64| Node { op: op as u32, a, b, c: 0, bits };
        let literal = self.put(leaf(Op::Literal, 0, 0, number.to_bits()));
        match sort {
            Sort::Lane => self.put(leaf(Op::Lift, literal, 0, 0)),
            Sort::Cond | Sort::Mask => {
                let zero = self.put(leaf(Op::Literal, 0, 0, 0.0_f64.to_bits()));
                let truth = self.put(leaf(Op::ScalarGt, literal, zero, 0));
                if sort == Sort::Mask { self.put(leaf(Op::LiftCond, truth, 0, 0)) } else { truth }
            }
            Sort::Scalar | Sort::Result => literal,
        }
    }

    fn put(&mut self, node: Node) -> u32 {
        let Folder { nodes, index, .. } = self;
        *index.entry(node).or_insert_with(|| {
            nodes.push(node);
            nodes.len() as u32 - 1
        })
    }
}

/// The results that the parameter's new value needs, now or at a later step, and what they are made of. Sums and
/// numbers of the memory that are left are counted anew.
fn without_dead(nodes: Vec<Node>, slots: &[SlotDescriptor]) -> Folded {
    let mut needed = vec![false; nodes.len()];
    loop {
        let before = needed.iter().filter(|needed| **needed).count();
        let read = |needed: &[bool], ops: &[Op], bits: u64| {
            let mut read = nodes.iter().zip(needed).filter(|(_, needed)| **needed);
            read.any(|(node, _)| node.bits == bits && node.operation().is_some_and(|op| ops.contains(&op)))
        };
        for i in (0..nodes.len()).rev() {
            let node = &nodes[i];
            needed[i] |= match node.operation() {
                Some(Op::OutX) => true,
                Some(Op::OutState) => read(&needed, &[Op::State], node.bits),
                Some(Op::OutSum) => read(&needed, &[Op::Sum], node.bits),
                Some(Op::OutMemory) => read(&needed, &[Op::Memory, Op::NewMemory], node.bits),
                _ => false,
            };
            if needed[i] {
                for operand in node.operands() {
                    needed[operand] = true;
                }
            }
        }
        if needed.iter().filter(|needed| **needed).count() == before {
            break;
        }
    }
    let stored = |op: Op| -> Vec<u64> {
        let stored = nodes.iter().zip(&needed).filter(|(node, needed)| **needed && node.operation() == Some(op));
        stored.map(|(node, _)| node.bits).collect()
    };
    let (sums, memory) = (stored(Op::OutSum), stored(Op::OutMemory));
    let state = stored(Op::OutState);
    let counted = |all: &[u64], bits: u64| all.iter().position(|known| *known == bits).unwrap_or(0) as u64;
    let slots = slots.iter().filter_map(|slot| match (u64::from(slot.index), slot.shape_kind) {
        (index, NUMBER) => {
            let number = index.checked_sub(FIRST_NUMBER.into()).filter(|number| memory.contains(number))?;
            Some(SlotDescriptor { index: FIRST_NUMBER + counted(&memory, number) as u32, ..slot.clone() })
        }
        (index, _) => state.contains(&index).then(|| slot.clone()),
    });
    let slots = slots.collect();
    let (mut kept, mut place) = (Vec::new(), vec![0; nodes.len()]);
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
        let mut node = *node;
        let count = node.operands().count();
        for operand in [&mut node.a, &mut node.b, &mut node.c].into_iter().take(count) {
            *operand = place[*operand as usize];
        }
        node.bits = match node.operation() {
            Some(Op::Sum | Op::OutSum) => counted(&sums, node.bits),
            Some(Op::Memory | Op::NewMemory | Op::OutMemory) => counted(&memory, node.bits),
            _ => node.bits,
        };
        place[i] = kept.len() as u32;
        kept.push(node);
    }
    Folded { nodes: kept, slots, defined: true }
}
