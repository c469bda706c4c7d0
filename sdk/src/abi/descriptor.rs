//! What a plugin says about itself, once, at load.

use abi_stable::{
    StableAbi,
    std_types::{RString, RVec, Tuple2},
};

use crate::state::NUMBER;

/// One label that a plugin offers.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Descriptor {
    /// The name users write.
    pub label: RString,
    /// `optimizer`, `projection` or `arch-op`.
    pub kind: RString,
    /// One line for lists.
    pub summary: RString,
    /// Where the method comes from.
    pub paper: RString,
    /// Hyper-parameters in the order in which their values are handed over.
    pub hyper: RVec<HyperDescriptor>,
    /// Id of the plugin-side table that runs it, such as `plugin.rule/1`.
    pub table: RString,
    /// Whatever else is declared, as key and value; unknown keys are ignored.
    pub facts: RVec<Tuple2<RString, RString>>,
}

/// One hyper-parameter. Every value travels as f64: a flag as 0 or 1, a choice as its index.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct HyperDescriptor {
    /// The name users write.
    pub name: RString,
    /// `number`, `flag` or `choice`.
    pub kind: RString,
    /// Value where nobody says otherwise.
    pub default: f64,
    /// Smallest value accepted.
    pub low: f64,
    /// Largest value accepted.
    pub high: f64,
    /// Names of a choice's values, by index; empty otherwise.
    pub choices: RVec<RString>,
    /// What it does, in one line.
    pub meaning: RString,
}

/// One tensor of optimizer state per parameter, owned by the host.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq)]
pub struct SlotDescriptor {
    /// Its name, part of the key under which it is saved: `<parameter>/<slot>`.
    pub name: RString,
    /// Its place in the rule's state record; slots that are switched off are not listed. From 8 on: its place in the record
    /// of the numbers that a rule over elements keeps per tensor.
    pub index: u32,
    /// 0 elementwise, 1 row, 2 column, 3 left, 4 right, 5 scalar, 6 a number of a rule over elements, which is one f64 in
    /// main memory; 256 + n is a square matrix `[n, n]`.
    pub shape_kind: u32,
    /// 0 zeros, 1 `fill`, 2 a copy of the parameter.
    pub start: u32,
    /// Initial value where `start` is 1.
    pub fill: f64,
    /// How it scales when the parameter's values are scaled.
    pub value_degree: i32,
    /// How it scales when the parameter's gradient is scaled.
    pub grad_degree: i32,
}

impl SlotDescriptor {
    /// Whether it is a number of a rule over elements.
    pub fn is_number(&self) -> bool {
        self.shape_kind == NUMBER
    }

    /// What a number is before the first step.
    pub fn start_number(&self) -> f64 {
        if self.start == 1 { self.fill } else { 0.0 }
    }
}
