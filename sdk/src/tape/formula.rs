//! A tape as text, for people.
//! Only what reaches a result is shown; what the text leaves out, such as rounding, `check` and the fingerprint cover.

use super::op::{Node, Op};
use super::{keeps, live};
use crate::rule::Step;

/// How tightly a piece of text holds together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bond {
    Choice,
    Logic,
    Comparison,
    Sum,
    /// Right operand of a sum: nothing is reassociated.
    SumRight,
    Quotient,
    Product,
    ProductRight,
    Atom,
}

struct Piece {
    text: String,
    bond: Bond,
}

impl Piece {
    fn at_least(&self, bond: Bond) -> String {
        if self.bond < bond { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// The rule as text, one assignment per line, for a checked tape. Names of hyper-parameters and slots stand in the
/// order of their records.
///
/// A bare name is a value from before the step; a primed one (`exp_avg′`) is the value after it.
///
/// ```text
/// x ← x·(1 − lr·weight_decay) − lr·sign(beta1·exp_avg + (1 − beta1)·g)
/// exp_avg ← beta2·exp_avg + (1 − beta2)·g
/// ```
pub fn formula(nodes: &[Node], hyper: &[&str], state: &[&str]) -> String {
    formula_with(nodes, &Names { hyper, state, sums: &[], memory: &[] })
}

/// What the numbers of a rule are called, in the order of its records.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Hyper-parameters.
    pub hyper: &'a [&'a str],
    /// State slots.
    pub state: &'a [&'a str],
    /// Sums.
    pub sums: &'a [&'a str],
    /// Memory.
    pub memory: &'a [&'a str],
}

impl Names<'_> {
    fn sum(&self, node: &Node) -> String {
        let index = node.bits as usize;
        self.sums.get(index).map_or_else(|| format!("sum{index}"), |name| name.to_string())
    }

    fn memory(&self, node: &Node) -> String {
        let index = node.bits as usize;
        self.memory.get(index).map_or_else(|| format!("memory{index}"), |name| name.to_string())
    }
}

/// As [`formula`], for a rule with sums and memory: `norm = Σ(x·x)` is a sum over the tensor or over all tensors.
pub fn formula_with(nodes: &[Node], names: &Names<'_>) -> String {
    let state = names.state;
    let live = live(nodes);
    let mut uses = vec![0; nodes.len()];
    let mut stored_as = vec![None; nodes.len()];
    for (node, _) in nodes.iter().zip(&live).filter(|(_, live)| **live) {
        for operand in node.operands() {
            uses[operand] += 1;
        }
        match node.operation() {
            Some(Op::OutX) => stored_as[node.a as usize] = Some("x"),
            Some(Op::OutState) => {
                stored_as[node.a as usize].get_or_insert(state[node.bits as usize]);
            }
            _ => {}
        }
    }
    let mut pieces: Vec<Piece> = Vec::with_capacity(nodes.len());
    let mut lines = Vec::new();
    let mut shared = 0;
    for (i, node) in nodes.iter().enumerate() {
        if !live[i] {
            pieces.push(Piece { text: String::new(), bond: Bond::Atom });
            continue;
        }
        let target = match node.operation() {
            Some(Op::OutX) => Some("x"),
            Some(Op::OutState) if !keeps(nodes, node) => Some(state[node.bits as usize]),
            _ => None,
        };
        match node.operation() {
            Some(Op::OutSum) => lines.push(format!("{} = Σ({})", names.sum(node), pieces[node.a as usize].text)),
            Some(Op::OutMemory) => lines.push(format!("{} ← {}", names.memory(node), pieces[node.a as usize].text)),
            _ => {}
        }
        let mut piece = match target {
            Some(target) => {
                let value = &pieces[node.a as usize].text;
                // a value that others use too was assigned where it was computed
                if *value != format!("{target}′") {
                    lines.push(format!("{target} ← {value}"));
                }
                Piece { text: String::new(), bond: Bond::Atom }
            }
            None => piece(node, &pieces, names),
        };
        // leaves and lifted scalars are short enough to stand everywhere
        let is_leaf = node.operands().next().is_none() || matches!(node.operation(), Some(Op::Lift | Op::LiftCond));
        if uses[i] > 1 && !is_leaf && (piece.bond < Bond::Atom || stored_as[i].is_some()) {
            let text = match stored_as[i] {
                Some(target) => {
                    lines.push(format!("{target} ← {}", piece.text));
                    format!("{target}′")
                }
                None => {
                    shared += 1;
                    lines.push(format!("a{shared} = {}", piece.text));
                    format!("a{shared}")
                }
            };
            piece = Piece { text, bond: Bond::Atom };
        }
        pieces.push(piece);
    }
    lines.join("\n")
}

/// The text of a node that is not a result.
fn piece(node: &Node, pieces: &[Piece], names: &Names<'_>) -> Piece {
    let Names { hyper, state, .. } = *names;
    let operands: Vec<&Piece> = node.operands().map(|operand| &pieces[operand]).collect();
    let index = node.bits as usize;
    let infix = |sign: &str, own: Bond, left: Bond, right: Bond| Piece {
        text: format!("{}{sign}{}", operands[0].at_least(left), operands[1].at_least(right)),
        bond: own,
    };
    let call = |name: &str| {
        let arguments: Vec<&str> = operands.iter().map(|piece| piece.text.as_str()).collect();
        Piece { text: format!("{name}({})", arguments.join(", ")), bond: Bond::Atom }
    };
    let atom = |text: String| Piece { text, bond: Bond::Atom };
    let Some(op) = node.operation() else { return atom(String::from("?")) };
    match op {
        Op::Literal => atom(number(f64::from_bits(node.bits))),
        Op::Hyper => atom(hyper[index].into()),
        Op::Step => atom(Step::<super::record::Sym>::NAMES[index].into()),
        Op::Sum => atom(names.sum(node)),
        Op::Memory => atom(names.memory(node)),
        Op::NewMemory => atom(format!("{}′", names.memory(node))),
        Op::X => atom("x".into()),
        Op::G => atom("g".into()),
        Op::State => atom(state[index].into()),
        Op::Lift | Op::LiftCond => Piece { text: operands[0].text.clone(), bond: operands[0].bond },
        Op::ScalarAdd | Op::Add => infix(" + ", Bond::Sum, Bond::Sum, Bond::SumRight),
        Op::ScalarSub | Op::Sub => infix(" − ", Bond::Sum, Bond::Sum, Bond::SumRight),
        Op::ScalarDiv | Op::Div => infix(" / ", Bond::Quotient, Bond::Product, Bond::ProductRight),
        Op::ScalarMul | Op::Mul => infix("·", Bond::Product, Bond::Product, Bond::ProductRight),
        Op::Neg => Piece { text: format!("−{}", operands[0].at_least(Bond::Atom)), bond: Bond::SumRight },
        Op::ScalarSqrt | Op::Sqrt => atom(format!("√{}", operands[0].at_least(Bond::Atom))),
        Op::ScalarPow => Piece {
            text: format!("{}^{}", operands[0].at_least(Bond::Atom), operands[1].at_least(Bond::Atom)),
            bond: Bond::ProductRight,
        },
        Op::Abs => atom(format!("|{}|", operands[0].text)),
        Op::ScalarFloor => call("floor"),
        Op::ScalarExp | Op::Exp => call("exp"),
        Op::ScalarLn | Op::Ln => call("ln"),
        Op::Sign => call("sign"),
        Op::Max => call("max"),
        Op::Min => call("min"),
        Op::Fma => call("fma"),
        Op::Tanh => call("tanh"),
        Op::Rsqrt => call("rsqrt"),
        Op::CondNot | Op::Not => call("not"),
        Op::ScalarGt | Op::Gt => infix(" > ", Bond::Comparison, Bond::Sum, Bond::Sum),
        Op::ScalarGe | Op::Ge => infix(" ≥ ", Bond::Comparison, Bond::Sum, Bond::Sum),
        Op::CondAnd | Op::And => infix(" and ", Bond::Logic, Bond::Comparison, Bond::Comparison),
        Op::CondOr | Op::Or => infix(" or ", Bond::Logic, Bond::Comparison, Bond::Comparison),
        Op::ScalarSelect | Op::Select => Piece {
            text: format!(
                "{} if {} else {}",
                operands[1].at_least(Bond::Sum),
                operands[0].at_least(Bond::Logic),
                operands[2].at_least(Bond::Sum)
            ),
            bond: Bond::Choice,
        },
        Op::OutX | Op::OutState | Op::OutSum | Op::OutMemory => atom(String::new()),
    }
}

/// Whole numbers without a point, small ones in powers of ten.
fn number(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e9 { format!("{x}") } else { format!("{x:?}") }
}
