//! The sequence of table calls that a matrix rule makes, as text.
//! Questions about shape, element type and device are left out: they change no number.

use std::fmt::Write;

use super::{Batch, tables::kind_name};

/// An argument of a table function that is not a tensor.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A real number; recorded by its bits.
    Number(f64),
    /// A size, a dimension, a seed or an element type.
    Integer(i64),
    /// Sizes, dimensions or indices.
    Integers(&'a [i64]),
    /// A name.
    Text(&'a str),
}

/// Lines, one per call: result numbers, function, operand numbers, arguments, results' types and shapes.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    text: String,
}

impl Trace {
    /// Appends one call. `first` is the number of the first result.
    pub fn record(
        &mut self,
        name: &str,
        operands: &[usize],
        arguments: &[Argument<'_>],
        first: usize,
        results: &[Batch],
    ) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "%{first} = {name}");
        for operand in operands {
            let _ = write!(self.text, " %{operand}");
        }
        for argument in arguments {
            let _ = match argument {
                Argument::Number(x) => write!(self.text, " {:016x}", x.to_bits()),
                Argument::Integer(n) => write!(self.text, " {n}"),
                Argument::Integers(all) => write!(self.text, " {all:?}"),
                Argument::Text(text) => write!(self.text, " {text:?}"),
            };
        }
        for result in results {
            let _ = write!(self.text, " : {} {:?}", kind_name(result.kind()), result.size());
        }
        self.text.push('\n');
    }

    /// The lines.
    pub fn text(&self) -> &str {
        &self.text
    }
}
