//! `host sample`: text that a trained network writes.

use super::{Invocation, args::SampleFlags, stdout};
use crate::{
    fault::Exit,
    sample::{Sampling, generate},
    trained::{Place, Trained},
};

/// `host sample`.
///
/// # Errors
/// A checkpoint that is missing or damaged, or a prompt outside the vocabulary.
pub fn sample(flags: &SampleFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let Trained { model, tokenizer, .. } = Trained::open(&flags.from, &invocation.cwd, Place::AsTrained)?;
    let text = generate(
        &model,
        &tokenizer,
        &Sampling {
            prompt: &flags.prompt,
            tokens: flags.tokens,
            temperature: flags.temperature,
            top_k: flags.top_k.map(|k| k as usize),
            seed: flags.seed,
        },
    )?;
    stdout::print(&format!("{text}\n")).map(|()| Exit::Ok)
}
