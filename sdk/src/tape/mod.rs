//! A rule as an expression: recorded once, then interpreted, printed, compared, and turned into other devices' kernels.
//! Runs no training step by itself; the CPU kernel does.
//!
//! A tape is a list of [`Node`]s in which every operand stands before its user and no node stands twice. It says what
//! one element's step computes: scalars (one f64 per tensor and step), then lanes (per element, in the tensor's
//! precision), then results. Flags and choices are folded in as literals; slots that are switched off read as zero and
//! are not written. Nodes that come from a plugin are [`check`]ed before anything else reads them.

mod check;
mod cuda;
mod family;
mod fingerprint;
mod fold;
mod formula;
mod interpret;
mod op;
mod record;

pub use check::{check, check_pass};
pub use cuda::{Float, cuda_source, lifted};
pub use family::family;
pub use fingerprint::{fingerprint, pass_fingerprint};
pub use fold::{Folded, folded};
pub use formula::{Names, formula, formula_with};
pub use interpret::{advanced, element_f32, element_f64, scalars, terms_f32, terms_f64};
pub use op::{Node, Op, Sort};
pub use record::{record, record_kernel, record_pass, record_reducing};

/// Whether a checked rule gives the same bits on every device: it uses none of the operations that are not exactly
/// defined.
pub fn portable(nodes: &[Node]) -> bool {
    let live = live(nodes);
    nodes.iter().zip(live).all(|(node, live)| !live || node.operation().is_none_or(Op::is_portable))
}

/// Which nodes of a checked tape reach a result. A slot that only keeps its value is no result.
fn live(nodes: &[Node]) -> Vec<bool> {
    reaching(nodes, |node| !keeps(nodes, node))
}

/// Which nodes of a checked tape reach a result that counts.
fn reaching(nodes: &[Node], counts: impl Fn(&Node) -> bool) -> Vec<bool> {
    let mut live = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        let Some(op) = node.operation() else { continue };
        live[i] |= op.sort() == Sort::Result && counts(node);
        if live[i] {
            for operand in node.operands() {
                live[operand] = true;
            }
        }
    }
    live
}

/// Whether a result stores into a slot what the slot held before.
fn keeps(nodes: &[Node], node: &Node) -> bool {
    let stored = &nodes[node.a as usize];
    node.operation() == Some(Op::OutState) && stored.operation() == Some(Op::State) && stored.bits == node.bits
}
