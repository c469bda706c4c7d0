//! The CUDA source of a recorded rule in one storage format: its functions, and the loops around them.
//! Compiles nothing.
//!
//! `launch.cu` holds the loops, the same for every rule; `emulation.h` lets a C++ compiler take the same text.

use std::fmt::Write;

use sdk::tape::{self, Float, Node, Op};
use tch::Kind;

/// The loops around a rule's functions.
const LAUNCH: &str = include_str!("launch.cu");
/// What a C++20 compiler has to read before a source.
pub const EMULATION: &str = include_str!("emulation.h");
/// Threads per block on a card.
pub const THREADS: u32 = 256;

/// How parameter, gradient and state lie in memory; slots in bf16 are a [`Shape`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Storage {
    /// All f32.
    F32,
    /// All f64.
    F64,
    /// Parameter and gradient bf16; state and arithmetic f32.
    Bf16,
}

impl Storage {
    /// That of a parameter of this type; none where there is no kernel for it.
    pub fn of(kind: Kind) -> Option<Storage> {
        match kind {
            Kind::Float => Some(Storage::F32),
            Kind::Double => Some(Storage::F64),
            Kind::BFloat16 => Some(Storage::Bf16),
            _ => None,
        }
    }

    /// The type of the arithmetic.
    pub fn float(self) -> Float {
        if self == Storage::F64 { Float::F64 } else { Float::F32 }
    }

    /// C++ names of an element of the parameter and of one of its state.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Storage::F32 => ("float", "float"),
            Storage::F64 => ("double", "double"),
            Storage::Bf16 => ("bf16", "float"),
        }
    }

    /// Elements of the parameter that fill 16 bytes.
    pub fn pack(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F64 => 2,
            Storage::Bf16 => 8,
        }
    }
}

/// What a kernel and those that launch it agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How tensors lie in memory.
    pub storage: Storage,
    /// Places in the state record, at least one.
    pub slots: usize,
    /// Slots that lie in bf16, as bits.
    pub narrow: u32,
    /// Nodes of the tape whose values are handed over, in order.
    pub scalars: Vec<u32>,
    /// Sums that the rule takes.
    pub sums: usize,
    /// Whether a tensor's number of elements is among what scalars are computed from.
    pub reads_numel: bool,
}

impl Shape {
    /// Of a checked tape.
    pub fn of(nodes: &[Node], storage: Storage) -> Shape {
        let sums = nodes.iter().filter(|node| node.operation() == Some(Op::OutSum)).count();
        let reads_numel = nodes.iter().any(|node| node.operation() == Some(Op::Step) && node.bits == 1);
        let slots = places(nodes, &[Op::State, Op::OutState]).checked_ilog2().map_or(1, |last| last as usize + 1);
        Shape { storage, slots, narrow: 0, scalars: tape::lifted(nodes), sums, reads_numel }
    }

    /// With the slots of these bits in bf16.
    pub fn with_narrow(self, narrow: u32) -> Shape {
        Shape { narrow, ..self }
    }

    /// Bytes of one `Row` of `launch.cu`.
    pub fn row_bytes(&self) -> usize {
        8 * (3 + self.slots) + (self.scalars.len().max(1) * self.scalar_bytes()).next_multiple_of(8)
    }

    /// Bytes of one number in a `Row`.
    pub fn scalar_bytes(&self) -> usize {
        if self.storage == Storage::F64 { 8 } else { 4 }
    }
}

/// The whole source, for `threads` threads per block.
pub fn source(nodes: &[Node], shape: &Shape, threads: u32) -> String {
    let (value, held) = shape.storage.names();
    let real = if shape.storage == Storage::F64 { "double" } else { "float" };
    let mut text = tape::cuda_source(nodes, "rule", shape.storage.float());
    let (read, written) = (places(nodes, &[Op::State]), places(nodes, &[Op::OutState]));
    let defined = [
        ("VALUE", value.to_string()),
        ("HELD", held.to_string()),
        ("REAL", real.to_string()),
        ("SLOTS", shape.slots.to_string()),
        ("READ", format!("{read}u")),
        ("WRITTEN", format!("{written}u")),
        ("NARROW", format!("{}u", shape.narrow)),
        ("SCALARS", shape.scalars.len().max(1).to_string()),
        ("SUMS", shape.sums.to_string()),
        ("PACK", shape.storage.pack().to_string()),
        ("THREADS", threads.to_string()),
    ];
    for (name, meaning) in defined {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#define {name} {meaning}");
    }
    text + LAUNCH
}

/// Which slots these operations name, as bits.
fn places(nodes: &[Node], operations: &[Op]) -> u32 {
    let named = nodes.iter().filter(|node| node.operation().is_some_and(|op| operations.contains(&op)));
    named.fold(0, |places, node| places | 1 << (node.bits % 32))
}
