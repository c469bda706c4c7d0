//! What a recording is, and what is refused as one.

use sdk::abi::SlotDescriptor;
use sdk::tape::{self, Node, Op};
use sdk::{Elementwise, Record};

use crate::rule_set::{AdamW, Approximate, Lion, Portable, rule};

const LION: [f64; 4] = [1e-4, 0.9, 0.99, 0.0];

fn slots<R: Elementwise>(hyper: &[f64]) -> Vec<SlotDescriptor> {
    sdk::slot_descriptors(&R::state(&R::Hyper::build(|k| hyper[k])))
}

#[test]
fn equal_nodes_are_written_once() {
    let nodes = tape::record::<AdamW>(&[0.5, 0.5, 0.5, 0.5, 0.5, 1.0]).unwrap();
    for (i, node) in nodes.iter().enumerate() {
        assert!(!nodes[..i].contains(node), "{node:?}");
    }
}

#[test]
fn a_rule_is_recorded_alike_each_time() {
    assert_eq!(tape::record::<Lion>(&LION).unwrap(), tape::record::<Lion>(&[0.3, 0.2, 0.1, 0.5]).unwrap());
}

#[test]
fn approximate_operations_make_a_rule_not_portable() {
    assert!(tape::portable(&tape::record::<Lion>(&LION).unwrap()));
    assert!(tape::portable(&tape::record::<Portable>(&[0.5, 0.5, 0.5, 0.0]).unwrap()));
    assert!(!tape::portable(&tape::record::<Approximate>(&[0.5]).unwrap()));
}

rule!(BranchOnNumber(lr: knob(0.5, 0.0..=1.0, "")), (m: Slot::zeros()), h, step, [], |x, g, s| {
    s.m = g;
    if h.lr.is_on() { x - g } else { x }
});

#[test]
#[should_panic(expected = "only a flag or a choice may decide an `if`")]
fn a_branch_on_a_number_is_refused() {
    let _ = tape::record::<BranchOnNumber>(&[0.5]);
}

#[test]
fn another_count_of_hyper_parameters_is_refused() {
    assert!(tape::record::<Lion>(&[0.5]).unwrap_err().to_string().contains("1 hyper-parameters"));
}

#[test]
fn what_the_sdk_records_passes_its_own_check() {
    tape::check(&tape::record::<Lion>(&LION).unwrap(), 4, &slots::<Lion>(&LION)).unwrap();
}

#[test]
fn every_way_of_not_being_a_tape_is_refused() {
    let nodes = tape::record::<Lion>(&LION).unwrap();
    let slots = slots::<Lion>(&LION);
    let find = |op: Op| nodes.iter().position(|node| node.op == op as u32).unwrap();
    let broken = |i: usize, change: fn(&mut Node)| {
        let mut nodes = nodes.clone();
        change(&mut nodes[i]);
        tape::check(&nodes, 4, &slots).unwrap_err().to_string()
    };
    let cases = [
        (broken(0, |node| node.op = 7), "operation 7 is not known here"),
        (broken(find(Op::Mul), |node| node.a = 999), "does not come before it"),
        (broken(find(Op::Lift), |node| node.a = u32::MAX), "does not come before it"),
        (broken(find(Op::Sign), |node| node.a = 0), "takes a Lane"),
        (broken(find(Op::Hyper), |node| node.bits = 4), "hyper-parameter 4 of 4"),
        (broken(find(Op::Step), |node| node.bits = 3), "step number 3 of 3"),
        (broken(find(Op::State), |node| node.bits = 1), "slot 1 is not declared"),
        (broken(find(Op::OutX), |node| node.op = Op::Neg as u32), "stores the parameter 0 times"),
        (broken(find(Op::OutState), |node| node.op = Op::Neg as u32), "stores slot `exp_avg` 0 times"),
    ];
    for (got, want) in cases {
        assert!(got.contains(want), "{got} says {want}");
    }
    let mut twice = nodes.clone();
    twice.push(nodes[find(Op::OutX)]);
    assert!(tape::check(&twice, 4, &slots).unwrap_err().to_string().contains("2 times"));
    assert!(tape::check(&[], 4, &slots).is_err());
}

#[test]
fn every_operation_has_its_own_number() {
    let known: Vec<Op> = (0..=1000).filter_map(Op::of).collect();
    assert!(known.len() > 40);
    assert!((0..=1000).all(|number| Op::of(number).is_none_or(|op| op as u32 == number)));
    assert_eq!(Op::of(u32::MAX), None);
}
