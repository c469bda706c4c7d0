//! Text to tokens to batches.
//! Never makes up text: what is asked for is read, or the run ends. The embedded corpus is used where none is asked
//! for.

mod batches;
pub mod corpus;
mod overlap;
pub mod synthetic;
pub mod tokenizer;

pub use corpus::Corpus;
pub use tokenizer::Tokenizer;
