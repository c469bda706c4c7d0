//! Numbers that a rule keeps per tensor, on tapes: their names mean nothing, their starts do, and a 0 folds them away.

use sdk::abi::SlotDescriptor;
use sdk::rule::RememberingKernel;
use sdk::tape::{Node, Op};
use sdk::{
    Elementwise, FIRST_NUMBER, Knob, Lane, NUMBER, Nothing, Record, Remembering, Scalar, Slot, Step, knob, tape,
};

/// Gradient descent with a corrected step: x ← x − lr/(1 − p + s)·g, p ← β·p, s ← β·(s + β).
struct Corrected;

#[derive(Record)]
struct Hyper<T> {
    lr: T,
    beta: T,
}

#[derive(Record)]
struct Memory<T> {
    product: T,
    sum: T,
}

impl Remembering for Corrected {
    type Hyper<T: Copy> = Hyper<T>;
    type State<T: Copy> = Nothing<T>;
    type Sums<T: Copy> = Nothing<T>;
    type Memory<T: Copy> = Memory<T>;

    fn hyper() -> Hyper<Knob> {
        Hyper { lr: knob(0.1, 0.0..=1.0, "step"), beta: knob(0.9, 0.0..=1.0, "factor") }
    }
    fn state(_: &Hyper<f64>) -> Nothing<Slot> {
        Nothing::default()
    }
    fn memory(_: &Hyper<f64>) -> Memory<Slot> {
        Memory { product: Slot::fill(1.0), sum: Slot::zeros() }
    }
    fn advance<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        _: Nothing<Scalar<L>>,
        memory: Memory<Scalar<L>>,
    ) -> Memory<Scalar<L>> {
        Memory { product: memory.product * h.beta, sum: h.beta * (memory.sum + h.beta) }
    }
    fn update<L: Lane>(
        h: Hyper<Scalar<L>>,
        _: Step<L>,
        memory: Memory<Scalar<L>>,
    ) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        let step_size = h.lr / (1.0 - memory.product + memory.sum);
        move |x, g, _| x - step_size * g
    }
}

/// Gradient descent.
struct Plain;

#[derive(Record)]
struct Rate<T> {
    lr: T,
}

impl Elementwise for Plain {
    type Hyper<T: Copy> = Rate<T>;
    type State<T: Copy> = Nothing<T>;

    fn hyper() -> Rate<Knob> {
        Rate { lr: knob(0.1, 0.0..=1.0, "step") }
    }
    fn state(_: &Rate<f64>) -> Nothing<Slot> {
        Nothing::default()
    }
    fn update<L: Lane>(h: Rate<Scalar<L>>, _: Step<L>) -> impl Fn(L, L, &mut Nothing<L>) -> L {
        move |x, g, _| x - h.lr * g
    }
}

fn recorded() -> Vec<Node> {
    tape::record_kernel::<RememberingKernel<Corrected>>(&[0.1, 0.9]).unwrap()
}

/// The numbers, starting as said.
fn numbers(starts: [f64; 2]) -> Vec<SlotDescriptor> {
    let number = |(index, (name, fill)): (u32, (&str, f64))| SlotDescriptor {
        name: name.into(),
        index: FIRST_NUMBER + index,
        shape_kind: NUMBER,
        start: 1,
        fill,
        value_degree: 0,
        grad_degree: 0,
    };
    (0..).zip(["product", "sum"].into_iter().zip(starts)).map(number).collect()
}

/// The same rule with its numbers in another order.
fn swapped(nodes: &[Node]) -> Vec<Node> {
    let swap = |node: &Node| match node.operation() {
        Some(Op::Memory | Op::NewMemory | Op::OutMemory) => Node { bits: 1 - node.bits, ..*node },
        _ => *node,
    };
    nodes.iter().map(swap).collect()
}

#[test]
fn numbers_count_by_what_is_done_with_them_and_how_they_start() {
    let nodes = recorded();
    let print = tape::fingerprint(&nodes, &numbers([1.0, 0.0]));
    assert_eq!(tape::fingerprint(&swapped(&nodes), &numbers([0.0, 1.0])), print, "their order means nothing");
    assert_ne!(tape::fingerprint(&nodes, &numbers([0.0, 1.0])), print, "a start belongs to its number");
    assert_ne!(tape::fingerprint(&nodes, &numbers([1.0, 0.5])), print);
}

#[test]
fn a_zero_folds_numbers_away() {
    let nodes = recorded();
    let family = |hyper: &[f64]| tape::family(&nodes, &numbers([1.0, 0.0]), hyper);
    let plain = tape::family(&tape::record::<Plain>(&[0.1]).unwrap(), &[], &[0.1]);
    assert!(plain.is_some());
    assert_eq!(family(&[0.1, 0.0]), plain);
    assert_ne!(family(&[0.1, 0.9]), plain);
}

#[test]
fn a_tape_moves_on_what_is_declared() {
    let (nodes, all) = (recorded(), numbers([1.0, 0.0]));
    assert!(tape::check(&nodes, 2, &all).is_ok());
    let refused = tape::check(&nodes, 2, &all[..1]).unwrap_err().to_string();
    assert_eq!(refused, "the recorded rule moves 2 numbers on, 1 are declared");
}
