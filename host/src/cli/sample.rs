//! `host sample`: text that a trained network writes.
//! Needs no data and no plugin: the vocabulary is in the checkpoint.

use super::{Invocation, args::SampleFlags, stdout};
use crate::{
    checkpoint,
    config::{self, write::CONFIG},
    data::Tokenizer,
    fault::Exit,
    model::{Architecture, Gpt},
    sample::{Sampling, generate},
    tensor::device,
    train::Progress,
};

/// `host sample`.
///
/// # Errors
/// A checkpoint that is missing or damaged, or a prompt outside the vocabulary.
pub fn sample(flags: &SampleFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let path = checkpoint::find(&flags.from)?;
    let run = checkpoint::run_of(&path);
    let settings = config::recorded(&run.join(CONFIG), &invocation.cwd)?.settings;
    let snapshot = checkpoint::load(&path)?;
    let progress = Progress::from_state(snapshot.state)?;
    let tokenizer = Tokenizer::from_vocabulary(progress.vocabulary.as_deref());
    let device = device::open(settings.device)?;
    let begun = Architecture { settings: settings.model, vocab_size: tokenizer.vocab_size() };
    let Architecture { settings: sizes, vocab_size } = progress.architecture(&begun)?;
    let mut model = Gpt::new(&sizes, vocab_size, settings.seed, settings.format, device)?;
    model.load(&snapshot.model)?;
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
