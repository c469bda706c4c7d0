//! Reads a checkpoint, and believes nothing in it before every hash is verified.
//! Does not put anything into a model or an optimizer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde_json::{Map, Value};
use tch::{Device, Tensor};

use super::{
    HASH, Snapshot, folder_name,
    hash::{Hashes, ParameterHasher, sha256},
    pointer::{self, unreadable},
    save::FORMAT,
    step_of,
};
use crate::{
    fault::{Exit, Fault},
    run::RunDirectory,
    tensor::bytes::from_bytes,
};

/// The checkpoint that `path` means: its own folder, or the one that `latest` names in a run directory.
///
/// # Errors
/// D203 there is none.
pub fn find(path: &Path) -> Result<PathBuf, Fault> {
    if path.join(HASH).exists() || path.file_name().and_then(|name| name.to_str()).is_some_and(|n| step_of(n).is_some())
    {
        return if path.is_dir() { Ok(path.to_owned()) } else { Err(none_at(path)) };
    }
    for folder in [path.join("checkpoints"), path.to_owned()] {
        if let Some(found) = pointer::latest_in(&folder)? {
            return Ok(found);
        }
    }
    Err(none_at(path))
}

/// The run directory that a checkpoint's folder lies in, absolute.
pub fn run_of(checkpoint: &Path) -> PathBuf {
    let path = std::path::absolute(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    path.ancestors().nth(2).unwrap_or(&path).to_owned()
}

/// The checkpoint that a run directory would go on from; none where it has none yet.
///
/// # Errors
/// D203 `latest` names one that is not there.
pub fn find_latest(run: &Path) -> Result<Option<PathBuf>, Fault> {
    pointer::latest_in(&run.join("checkpoints"))
}

fn none_at(path: &Path) -> Fault {
    let fault = Fault::new("D203", Exit::Data, "there is no checkpoint").at(path.display().to_string());
    if RunDirectory::holds_a_run(path) {
        fault.hint("the run ended before its first checkpoint; begin again in another run directory")
    } else {
        fault.hint("give a run directory, or a folder `step-…` in its `checkpoints`")
    }
}

/// Reads the checkpoint in the folder `path`, verified.
///
/// # Errors
/// D201 a file is not what was written · D202 a file is missing · D204 the system cannot read it · D206 it is of
/// another format.
pub fn load(path: &Path) -> Result<Snapshot, Fault> {
    read(path).map_err(|fault| match fault.hint {
        None => match previous(path) {
            Some(previous) => {
                let previous = previous.display();
                fault.hint(format!(
                    "the one before is whole: name `{previous}`; training goes on there by `host resume {previous}`"
                ))
            }
            None => fault.hint("there is no other whole checkpoint beside it; begin again in another run directory"),
        },
        Some(_) => fault,
    })
}

fn read(path: &Path) -> Result<Snapshot, Fault> {
    let (hashes, [model, optimizer, state]) = verified(path)?;
    let [model_file, optimizer_file, state_file] = Hashes::FILES.map(|name| path.join(name));
    let (step, state) = parse_state(&state).map_err(|reason| damaged(&state_file, reason))?;
    let expected = path.file_name().and_then(|name| name.to_str()).and_then(step_of);
    if expected.is_some_and(|expected| expected != step) {
        return Err(damaged(&state_file, format!("it is of step {step}, in the folder of another")));
    }
    let (model, found) = tensors(&model_file, &model)?;
    if found != hashes.parameters {
        return Err(differs(
            &path.join(HASH),
            "the parameters are not those that were saved",
            &hashes.parameters,
            &found,
        ));
    }
    let (optimizer, _) = tensors(&optimizer_file, &optimizer)?;
    Ok(Snapshot { step, model, optimizer, state })
}

/// The hashes and the three files, each verified.
fn verified(path: &Path) -> Result<(Hashes, [Vec<u8>; 3]), Fault> {
    if !path.is_dir() {
        return Err(none_at(path));
    }
    let hash_file = path.join(HASH);
    let text = read_file(&hash_file)?;
    let hashes = std::str::from_utf8(&text).ok().and_then(Hashes::parse);
    let hashes = hashes.ok_or_else(|| damaged(&hash_file, "it is not a list of hashes".into()))?;
    let mut contents = [Vec::new(), Vec::new(), Vec::new()];
    for ((name, wanted), contents) in Hashes::FILES.iter().zip(&hashes.files).zip(&mut contents) {
        let file = path.join(name);
        *contents = read_file(&file)?;
        let found = sha256(contents);
        if found != *wanted {
            return Err(differs(&file, "a file of the checkpoint is damaged", wanted, &found));
        }
    }
    Ok((hashes, contents))
}

fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Fault::new("D202", Exit::Data, "a file of the checkpoint is missing").at(path.display().to_string())
        }
        _ => unreadable(path, &error),
    })
}

fn parse_state(bytes: &[u8]) -> Result<(u64, Map<String, Value>), String> {
    let mut object: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let format = object.get("checkpoint_format").and_then(Value::as_u64);
    if format != Some(FORMAT) {
        return Err(format!("its format is {format:?}; this program reads {FORMAT}"));
    }
    let step = object.get("step").and_then(Value::as_u64).ok_or("it names no step")?;
    match object.remove("state") {
        Some(Value::Object(state)) => Ok((step, state)),
        _ => Err("it holds no state".into()),
    }
}

/// The tensors sorted by name, with their parameter hash.
fn tensors(path: &Path, bytes: &[u8]) -> Result<(Vec<(String, Tensor)>, String), Fault> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(path, error.to_string()))?;
    let mut views = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let mut hasher = ParameterHasher::default();
    let mut tensors = Vec::with_capacity(views.len());
    for (name, view) in views {
        hasher.add(&name, view.dtype(), view.shape(), view.data());
        let tensor = from_bytes(view.dtype(), view.shape(), view.data(), Device::Cpu);
        let tensor = tensor.map_err(|fault| fault.at(path.display().to_string()).note("tensor", &name))?;
        tensors.push((name, tensor));
    }
    Ok((tensors, hasher.finish()))
}

/// The last whole checkpoint before `path`, in the same folder.
fn previous(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let step = step_of(path.file_name()?.to_str()?)?;
    let others = pointer::steps(folder).ok()?;
    let before = others.into_iter().rev().filter(|&other| other < step).map(|other| folder.join(folder_name(other)));
    before.into_iter().find(|other| verified(other).is_ok())
}

fn damaged(path: &Path, reason: String) -> Fault {
    Fault::new("D201", Exit::Data, "a file of the checkpoint is damaged")
        .at(path.display().to_string())
        .note("reason", reason)
}

fn differs(path: &Path, message: &str, wanted: &str, found: &str) -> Fault {
    Fault::new("D201", Exit::Data, message).at(path.display().to_string()).note("wanted", wanted).note("found", found)
}
