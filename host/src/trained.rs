//! The network of a checkpoint, also of one that has grown: for those who look at it and train no further.
//! Needs no data and no plugin; the vocabulary is in the checkpoint.

use std::path::{Path, PathBuf};

use tch::Device;

use crate::{
    checkpoint,
    config::{self, Settings, write::CONFIG},
    data::Tokenizer,
    fault::{Exit, Fault},
    model::{Architecture, Gpt},
    tensor::device,
    train::Progress,
};

/// A network with what is needed to use it.
pub struct Trained {
    /// With the weights to evaluate at.
    pub model: Gpt,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How far its run had come.
    pub progress: Progress,
    /// The settings that its run began with.
    pub settings: Settings,
    /// Its checkpoint.
    pub path: PathBuf,
    /// [`checkpoint::parameter_hash`] of its parameters.
    pub parameter_hash: String,
}

/// Where the network is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where its run trained.
    AsTrained,
    /// On the CPU.
    Cpu,
}

impl Trained {
    /// Of a run directory's latest checkpoint, or of a checkpoint. Relative paths of its settings are relative to `cwd`.
    ///
    /// # Errors
    /// What is missing, damaged, or does not fit each other: D208 a checkpoint outside its run, D129 one of another run.
    pub fn open(from: &Path, cwd: &Path, place: Place) -> anyhow::Result<Trained> {
        let path = checkpoint::find(from)?;
        let run = checkpoint::run_of(&path);
        if !run.join(CONFIG).exists() {
            let fault = Fault::new("D208", Exit::Data, "the settings of the checkpoint's run are missing")
                .at(run.join(CONFIG).display().to_string())
                .note("checkpoint", path.display().to_string());
            let hint = "a checkpoint is read in the directory of its run, RUN/checkpoints/step-…, beside the run's config.toml";
            return Err(fault.hint(hint).into());
        }
        let settings = config::recorded(&run.join(CONFIG), cwd)?.settings;
        let snapshot = checkpoint::load(&path)?;
        let progress = Progress::from_state(snapshot.state)?;
        let tokenizer = Tokenizer::from_vocabulary(progress.vocabulary.as_deref());
        let device = match place {
            Place::AsTrained => device::open(settings.device)?,
            Place::Cpu => Device::Cpu,
        };
        let begun = Architecture { settings: settings.model.clone(), vocab_size: tokenizer.vocab_size() };
        progress.lineage.began_with(&begun.facts().into_iter().collect())?;
        let Architecture { settings: sizes, vocab_size } = progress.architecture(&begun)?;
        let mut model = Gpt::new(&sizes, vocab_size, settings.seed, settings.format, device)?;
        model.load(&snapshot.model)?;
        let parameter_hash = checkpoint::parameter_hash(&snapshot.model)?;
        Ok(Trained { model, tokenizer, progress, settings, path, parameter_hash })
    }
}
