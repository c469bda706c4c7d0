//! The exact fingerprint of a rule: equal fingerprints mean equal bits, up to the names of slots and hyper-parameters.
//! Sees neither names nor defaults, and knows no algebra: `(a + b) + c` and `a + (b + c)` differ, as their bits do.

use super::op::{Node, Op, Sort};
use super::{live, reaching};
use crate::abi::SlotDescriptor;
use crate::state::FIRST_NUMBER;

/// Most orders of indistinguishable names that are tried before the rest is taken as it comes. Beyond it equal rules
/// could get different fingerprints; different rules never get equal ones.
const MOST_ORDERS: usize = 5040;

/// Fingerprint of a checked tape with its slots, as 32 hexadecimal digits.
///
/// Covers everything that decides the numbers: the lane expression, the scalars of a step, shape and initial value of
/// the slots. Hyper-parameters and slots count by what is done with them, not by name or order; operands of commutative
/// operations in either order.
pub fn fingerprint(nodes: &[Node], slots: &[SlotDescriptor]) -> String {
    let nodes = merged(nodes);
    let mut names = Vec::new();
    for slot in slots {
        let fill = if slot.start == 1 { slot.fill.to_bits() } else { 0 };
        let start = [u128::from(slot.start), u128::from(fill), u128::from(slot.shape_kind)];
        let (op, index) = match slot.is_number() {
            true => (Op::Memory, slot.index - FIRST_NUMBER),
            false => (Op::State, slot.index),
        };
        names.push(Name { op, index: index.into(), first: fold(1, start) });
    }
    let live = live(&nodes);
    for (node, live) in nodes.iter().zip(&live) {
        if *live && node.operation() == Some(Op::Hyper) {
            names.push(Name { op: Op::Hyper, index: node.bits, first: 2 });
        }
    }
    let rule = Rule { nodes, live, names };
    let colours = rule.names.iter().map(|name| name.first).collect();
    let mut orders = 0;
    format!("{:032x}", rule.least(colours, &mut orders))
}

/// Fingerprint of a checked pass, as [`fingerprint`]. Numbers, inputs and results count by their places.
pub fn pass_fingerprint(nodes: &[Node]) -> String {
    let nodes = merged(nodes);
    let live: Vec<bool> = reaching(&nodes, |_| true);
    let mut names: Vec<Name> = Vec::new();
    for node in &nodes {
        let (op, index) = match node.operation() {
            Some(Op::Hyper) => (Op::Hyper, node.bits),
            Some(Op::State | Op::OutState) => (Op::State, node.bits),
            _ => continue,
        };
        if !names.iter().any(|name| name.op == op && name.index == index) {
            names.push(Name { op, index, first: fold(12, [op as u128, index.into()]) });
        }
    }
    let rule = Rule { nodes, live, names };
    let colours: Vec<u128> = rule.names.iter().map(|name| name.first).collect();
    format!("{:032x}", rule.hash(&colours))
}

/// A hyper-parameter or a slot: what it is called is arbitrary.
struct Name {
    op: Op,
    index: u64,
    /// What is known of it before looking at its uses.
    first: u128,
}

/// A tape whose names are to be put in an order that depends on nothing but the rule.
struct Rule {
    nodes: Vec<Node>,
    live: Vec<bool>,
    names: Vec<Name>,
}

impl Rule {
    /// Colours the names by their uses until no more differ; where some still look alike, takes each in turn as the
    /// first of them, and of all fingerprints the least.
    fn least(&self, mut colours: Vec<u128>, orders: &mut usize) -> u128 {
        loop {
            let refined = self.refined(&colours);
            let done = kinds(&refined) == kinds(&colours);
            colours = refined;
            if done {
                break;
            }
        }
        let mut sorted = colours.clone();
        sorted.sort_unstable();
        let Some(alike) = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) else {
            *orders += 1;
            return self.hash(&colours);
        };
        let mut least = u128::MAX;
        for (i, colour) in colours.iter().enumerate() {
            if *colour == alike && (least == u128::MAX || *orders < MOST_ORDERS) {
                let mut chosen = colours.clone();
                chosen[i] = fold(3, [alike]);
                least = least.min(self.least(chosen, orders));
            }
        }
        least
    }

    /// Each name's colour with what is stored into it and where it is used.
    fn refined(&self, colours: &[u128]) -> Vec<u128> {
        let hashes = self.hashes(colours);
        let mut contexts: Vec<Vec<u128>> = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            let (true, Some(op)) = (self.live[i], node.operation()) else { continue };
            contexts[i].sort_unstable();
            let own = stored(op).and_then(|of| self.colour(colours, of, node.bits)).unwrap_or(0);
            let context = fold(4, contexts[i].iter().copied().chain([own, hashes[i]]));
            for (place, operand) in node.operands().enumerate() {
                let place = if op.commutes() && place < 2 { 0 } else { place as u128 };
                contexts[operand].push(fold(5, [context, place]));
            }
        }
        let refined = self.names.iter().zip(colours).map(|(name, &colour)| {
            let mut all = vec![colour];
            for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| self.live[*i]) {
                let op = node.operation();
                if op == Some(name.op) && node.bits == name.index {
                    all.push(fold(6, contexts[i].iter().copied()));
                }
                if op == Some(Op::NewMemory) && name.op == Op::Memory && node.bits == name.index {
                    all.push(fold(13, contexts[i].iter().copied()));
                }
                if op.and_then(stored) == Some(name.op) && node.bits == name.index {
                    all.push(fold(7, [hashes[node.a as usize]]));
                }
            }
            fold(8, all)
        });
        refined.collect()
    }

    /// Hash of what each live node computes, given the names' colours.
    fn hashes(&self, colours: &[u128]) -> Vec<u128> {
        let mut hashes: Vec<u128> = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let (true, Some(op)) = (self.live[i], node.operation()) else { continue };
            let leaf = match op {
                Op::Hyper | Op::State | Op::OutState => {
                    self.colour(colours, stored(op).unwrap_or(op), node.bits).unwrap_or(0)
                }
                // Numbers that all tensors share have no names.
                Op::Memory | Op::NewMemory | Op::OutMemory => {
                    self.colour(colours, Op::Memory, node.bits).unwrap_or(node.bits.into())
                }
                _ => node.bits.into(),
            };
            let mut operands: Vec<u128> = node.operands().map(|operand| hashes[operand]).collect();
            if op.commutes() {
                operands[..2].sort_unstable();
            }
            hashes[i] = fold(9, [u128::from(node.op), leaf].into_iter().chain(operands));
        }
        hashes
    }

    /// Fingerprint with the names in the order of their colours, all of which differ.
    fn hash(&self, colours: &[u128]) -> u128 {
        let mut order: Vec<usize> = (0..colours.len()).collect();
        order.sort_unstable_by_key(|&i| colours[i]);
        let mut ranks = vec![0; colours.len()];
        for (rank, &i) in order.iter().enumerate() {
            ranks[i] = fold(10, [rank as u128, self.names[i].first]);
        }
        let hashes = self.hashes(&ranks);
        let is_result = |i: &usize| self.live[*i] && self.nodes[*i].operation().map(Op::sort) == Some(Sort::Result);
        let mut results: Vec<u128> = (0..self.nodes.len()).filter(is_result).map(|i| hashes[i]).collect();
        results.sort_unstable();
        fold(11, results.into_iter().chain(order.iter().map(|&i| ranks[i])))
    }

    /// The colour of a name; none where there is no such name.
    fn colour(&self, colours: &[u128], op: Op, index: u64) -> Option<u128> {
        self.names.iter().position(|name| name.op == op && name.index == index).map(|place| colours[place])
    }
}

/// What an operation stores into.
fn stored(op: Op) -> Option<Op> {
    match op {
        Op::OutState => Some(Op::State),
        Op::OutMemory => Some(Op::Memory),
        _ => None,
    }
}

/// The same tape, with commutative operands in the order of their nodes: `a·b` and `b·a` become one node.
fn merged(nodes: &[Node]) -> Vec<Node> {
    let mut merged: Vec<Node> = Vec::with_capacity(nodes.len());
    let mut place = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mut operands = node.operands().map(|operand| place[operand] as u32);
        let mut own = Node { a: 0, b: 0, c: 0, ..*node };
        own.a = operands.next().unwrap_or(0);
        own.b = operands.next().unwrap_or(0);
        own.c = operands.next().unwrap_or(0);
        if node.operation().is_some_and(Op::commutes) && own.b < own.a {
            (own.a, own.b) = (own.b, own.a);
        }
        let known = merged.iter().position(|other| *other == own);
        place.push(known.unwrap_or(merged.len()));
        if known.is_none() {
            merged.push(own);
        }
    }
    merged
}

/// How many different colours there are.
fn kinds(colours: &[u128]) -> usize {
    let mut sorted = colours.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len()
}

/// A hash of a sequence. Not against an adversary: a plugin is code, it need not forge fingerprints.
fn fold(tag: u128, values: impl IntoIterator<Item = u128>) -> u128 {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let mut hash = (tag + 1).wrapping_mul(FACTOR);
    for value in values {
        hash = (hash ^ value).wrapping_mul(FACTOR);
        hash ^= hash >> 61;
        hash = hash.wrapping_mul(FACTOR) ^ (hash >> 67);
    }
    hash ^ (hash >> 64)
}
