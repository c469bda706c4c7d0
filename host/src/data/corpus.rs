//! The text of a run: a training and a validation part, as tokens.
//! Does not train, and never replaces what it cannot read.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use super::{batches, overlap, synthetic, tokenizer::Tokenizer};
use crate::{
    config::settings::{DataSettings, Tokens},
    fault::{Exit, Fault, Faults},
    model::refused,
    random::Stream,
};

/// Training and validation text.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// What a token is.
    pub tokenizer: Tokenizer,
    /// Training tokens.
    pub train: Vec<u16>,
    /// Validation tokens.
    pub val: Vec<u16>,
    /// Bits per byte of the validation text that no model can beat, where they are known.
    pub floor_bpb: Option<f64>,
    /// Where the text came from, for people.
    pub description: String,
    /// Digest of both texts, in hexadecimal.
    pub sha256: String,
}

impl Corpus {
    /// Bytes of text per training token, on average.
    pub fn bytes_per_training_token(&self) -> f64 {
        let bytes: usize = self.train.iter().map(|&token| self.tokenizer.bytes_of(token)).sum();
        bytes as f64 / self.train.len().max(1) as f64
    }

    /// Reads what the settings name: a file, or a directory, whose `*.txt` are taken in the order of their paths.
    /// Without a path it is the embedded synthetic corpus. Without a validation text the last `val_fraction` of the
    /// tokens validates.
    ///
    /// # Errors
    /// `D401` not UTF-8 where tokens are characters, `D402` too many different characters, `D403` a validation
    /// character that is not in the training text, `D404` a path that cannot be read, `D405` a directory without
    /// `*.txt`, `D406` validation text of which 256 bytes in a row occur in the training text, `D407` a text with
    /// fewer than `block_size + 1` tokens, `C102` a fraction that is not in (0, 1), `C103` validation text without
    /// training text. All faults found are returned together.
    pub fn load(settings: &DataSettings, block_size: usize) -> Result<Corpus, Faults> {
        let mut faults = Faults::none();
        if settings.val.is_none() && !(settings.val_fraction > 0.0 && settings.val_fraction < 1.0) {
            let message = format!("data.val_fraction = {} is not in (0, 1)", settings.val_fraction);
            faults.push(Fault::new("C102", Exit::Config, message));
        }
        let Some(train_path) = &settings.train else {
            if let Some(val) = &settings.val {
                let fault = Fault::new("C103", Exit::Config, "validation text without training text");
                faults.push(fault.at(val.display().to_string()).hint("name the training text as well: data.train"));
            }
            faults.check()?;
            return embedded(settings, block_size);
        };
        let train = faults.take(read(train_path));
        let val = settings.val.as_ref().map(|path| faults.take(read(path)));
        let (Some(train), Some(val)) = (train, val.map_or(Some(None), |val| val.map(Some))) else {
            return Err(faults);
        };
        faults.check()?;

        let name = |path: &Path, text: &[u8]| format!("{} ({} bytes)", path.display(), text.len());
        let mut description = name(train_path, &train);
        let place = train_path.display().to_string();
        let tokenizer = Tokenizer::of(settings.tokens, &train, &place)?;
        let tokens = tokenizer.encode(&train, &place)?;
        let mut digest = Sha256::new().chain_update((train.len() as u64).to_le_bytes()).chain_update(&train);
        let (train, val) = match (&settings.val, &val) {
            (Some(path), Some(val)) => {
                description = format!("{description}, validation {}", name(path, val));
                digest.update(val);
                (tokens, separate(&tokenizer, &train, val, &path.display().to_string())?)
            }
            _ => {
                description = format!("{description}, last {} validates", settings.val_fraction);
                split(tokens, settings.val_fraction)
            }
        };
        let sha256 = hex(&digest.finalize());
        Corpus { tokenizer, train, val, floor_bpb: None, description, sha256 }.checked(block_size)
    }

    /// Inputs and targets of a training batch, both `[batch_size, block_size]` of i64: random stretches which depend
    /// on the arguments alone.
    ///
    /// # Errors
    /// `E101` if libtorch has no room for it.
    pub fn batch(
        &self,
        seed: u64,
        step: u64,
        micro: u64,
        batch_size: usize,
        block_size: usize,
        device: Device,
    ) -> Result<(Tensor, Tensor), Fault> {
        let stream = Stream::new(seed, "batch");
        let starts = self.train.len().saturating_sub(block_size).max(1) as u64;
        let offset = |row: usize| batches::offset(&stream, step, micro, row as u64, starts) as usize;
        let offsets: Vec<usize> = (0..batch_size).map(offset).collect();
        batches::tensors(&self.train, &offsets, block_size, device).map_err(refused)
    }

    /// Inputs and targets of validation windows that begin at these tokens, `[windows, length]` of i64.
    ///
    /// # Errors
    /// `E101` if libtorch has no room for it.
    pub fn val_windows(&self, starts: &[usize], length: usize, device: Device) -> Result<(Tensor, Tensor), Fault> {
        batches::tensors(&self.val, starts, length, device).map_err(refused)
    }

    fn checked(self, block_size: usize) -> Result<Corpus, Faults> {
        let mut faults = Faults::none();
        for (name, tokens) in [("training", &self.train), ("validation", &self.val)] {
            if tokens.len() <= block_size {
                let message = format!(
                    "the {name} text has {} tokens; a window of {block_size} and its last target need {}",
                    tokens.len(),
                    block_size + 1
                );
                faults.push(Fault::new("D407", Exit::Data, message).at(self.description.clone()));
            }
        }
        faults.check().map(|()| self)
    }
}

/// The synthetic corpus; its floor is the generator's own code length of the bytes that are predicted.
fn embedded(settings: &DataSettings, block_size: usize) -> Result<Corpus, Faults> {
    let text = synthetic::corpus();
    let place = "the embedded corpus";
    let tokenizer = Tokenizer::of(settings.tokens, text.bytes(), place)?;
    let tokens = tokenizer.encode(text.bytes(), place)?;
    let (train, val) = split(tokens, settings.val_fraction);
    // A token is a byte in either reading, for the language is ASCII. The first one is never predicted.
    let floor = text.bits_per_byte(train.len() + 1..text.bytes().len());
    let unit = match settings.tokens {
        Tokens::Bytes => "bytes",
        Tokens::Chars => "characters",
    };
    let description = format!("{place}: {} {unit} of a synthetic language", text.bytes().len());
    let sha256 = hex(&Sha256::digest(text.bytes()));
    Corpus { tokenizer, train, val, floor_bpb: Some(floor), description, sha256 }.checked(block_size)
}

/// The first part trains, as in nanoGPT: ⌊(1 − fraction)·n⌋ tokens.
fn split(mut tokens: Vec<u16>, val_fraction: f64) -> (Vec<u16>, Vec<u16>) {
    let val = tokens.split_off(((1.0 - val_fraction) * tokens.len() as f64) as usize);
    (tokens, val)
}

/// Validation tokens of a text of its own, which training must not have seen.
fn separate(tokenizer: &Tokenizer, train: &[u8], val: &[u8], place: &str) -> Result<Vec<u16>, Faults> {
    let mut faults = Faults::none();
    let tokens = faults.take(tokenizer.encode(val, place));
    if let Some((in_val, in_train)) = overlap::find(train, val) {
        let message = format!("the validation text repeats {} bytes of the training text", overlap::WINDOW);
        let fault = Fault::new("D406", Exit::Data, message)
            .at(format!("{place}, byte {in_val}"))
            .note("training text", format!("byte {in_train}"))
            .hint("take the repeated part out of one of the two");
        faults.push(fault);
    }
    faults.check()?;
    Ok(tokens.unwrap_or_default())
}

/// A file, or the `*.txt` of a directory, below it too, in the order of their paths.
fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    if !path.is_dir() {
        return fs::read(path).map_err(|error| unreadable(path, &error));
    }
    let mut files = Vec::new();
    collect(path, &mut files)?;
    files.sort();
    if files.is_empty() {
        let fault = Fault::new("D405", Exit::Data, "the directory holds no *.txt");
        return Err(fault.at(path.display().to_string()));
    }
    let mut text = Vec::new();
    for file in files {
        text.extend(fs::read(&file).map_err(|error| unreadable(&file, &error))?);
    }
    Ok(text)
}

fn collect(directory: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<(), Fault> {
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        // A link to a directory is not followed: it may lead back here.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let fault = Fault::new("D404", Exit::Data, "text cannot be read").at(path.display().to_string());
    fault.note("system", error.to_string())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
