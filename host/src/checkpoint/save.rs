//! Writes a checkpoint: temporary folder, sync, rename, `best` and `latest`, then what need not stay is removed.
//! Does not gather what goes into it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, View};
use serde_json::{Map, Value};
use tch::Tensor;

use super::{
    HASH, Snapshot, folder_name,
    hash::{Hashes, ParameterHasher, sha256},
    pointer::{self, BEST, LATEST},
    retention,
};
use crate::{
    fault::{Exit, Fault},
    run::{RunDirectory, atomic, atomic::NewFolder, directory::unwritable},
    tensor::bytes::to_bytes,
};

/// Version of the format, in `state.json`.
pub(super) const FORMAT: u64 = 1;

/// What stays besides the new checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// This many of the last ones.
    pub last: usize,
    /// Whether this one has the lowest validation loss so far.
    pub best: bool,
}

/// A checkpoint in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// [`super::parameter_hash`] of its model.
    pub parameter_hash: String,
    /// Size of its files.
    pub bytes: u64,
    /// Older ones that were removed.
    pub pruned: Vec<PathBuf>,
}

/// Told a checkpoint's [`super::parameter_hash`] before the checkpoint is in place: a record of it may stand without the
/// checkpoint, but no checkpoint stands without its record.
pub type Announce<'a> = dyn FnMut(&str) -> Result<(), Fault> + 'a;

/// Saves a snapshot and makes `latest` name it.
///
/// # Errors
/// D105 the disk is full or not writable: what was there before, and `latest`, are as they were, and nothing half
/// written is left. What `announce` refuses.
pub fn save(run: &RunDirectory, snapshot: &Snapshot, keep: Keep, announce: &mut Announce) -> Result<Saved, Fault> {
    save_with(run, snapshot, keep, announce, &|path| File::create_new(path))
}

/// As [`save`], with `create` to open each file. Tests put a full device behind it.
pub(super) fn save_with(
    run: &RunDirectory,
    snapshot: &Snapshot,
    keep: Keep,
    announce: &mut Announce,
    create: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<Saved, Fault> {
    let checkpoints = run.checkpoints();
    let path = checkpoints.join(folder_name(snapshot.step));
    let refused = |error: io::Error| unwritable(&path, &error);
    if !checkpoints.exists() {
        fs::create_dir_all(&checkpoints).and_then(|()| atomic::sync_folder(run.path())).map_err(refused)?;
    }
    let mut folder = NewFolder::begin_with(&path, create).map_err(refused)?;
    let mut bytes = 0;
    let mut write = |name: &str, contents: Vec<u8>| {
        bytes += contents.len() as u64;
        folder.file(name, &contents).map_err(refused)?;
        Ok(sha256(&contents))
    };
    // One file after the other, so that only one is in memory.
    let (model, parameters) = serialized_model(&snapshot.model)?;
    let [model_file, optimizer_file, state_file] = Hashes::FILES;
    let files = [
        write(model_file, model)?,
        write(optimizer_file, serialized(&snapshot.optimizer, None)?)?,
        write(state_file, state(snapshot)?)?,
    ];
    let hashes = Hashes { files, parameters };
    write(HASH, hashes.to_text().into_bytes())?;
    announce(&hashes.parameters)?;
    folder.commit().map_err(refused)?;
    if keep.best {
        pointer::point(run, BEST, snapshot.step)?;
    }
    pointer::point(run, LATEST, snapshot.step)?;
    let pruned = retention::prune(run, keep.last)?;
    Ok(Saved { path, parameter_hash: hashes.parameters, bytes, pruned })
}

fn state(snapshot: &Snapshot) -> Result<Vec<u8>, Fault> {
    let mut object = Map::new();
    object.insert("checkpoint_format".into(), FORMAT.into());
    object.insert("step".into(), snapshot.step.into());
    object.insert("state".into(), Value::Object(snapshot.state.clone()));
    let mut text = serde_json::to_vec_pretty(&object).map_err(|error| not_serialized(&error))?;
    text.push(b'\n');
    Ok(text)
}

/// The model's file and its parameter hash, from one reading of every tensor.
fn serialized_model(tensors: &[(String, Tensor)]) -> Result<(Vec<u8>, String), Fault> {
    let views = views(tensors)?;
    let mut hasher = ParameterHasher::default();
    for (name, view) in &views {
        hasher.add(name, view.dtype, &view.shape, &view.bytes);
    }
    let hash = hasher.finish();
    Ok((safetensors::serialize(views, None).map_err(|error| not_serialized(&error))?, hash))
}

/// A safetensors file of these tensors, with entries in its header.
///
/// # Errors
/// D205 two tensors of one name; D090 a tensor that cannot be read.
pub fn serialized(tensors: &[(String, Tensor)], header: Option<HashMap<String, String>>) -> Result<Vec<u8>, Fault> {
    safetensors::serialize(views(tensors)?, header).map_err(|error| not_serialized(&error))
}

/// The tensors by name, in the order of the names.
fn views(tensors: &[(String, Tensor)]) -> Result<Vec<(&str, Bytes)>, Fault> {
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, shape, bytes) = to_bytes(tensor).map_err(|fault| fault.note("tensor", name))?;
        views.push((name.as_str(), Bytes { dtype, shape, bytes }));
    }
    views.sort_by_key(|(name, _)| *name);
    if let Some(twice) = views.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(not_serialized(&format!("two tensors are named `{}`", twice[0].0)));
    }
    Ok(views)
}

struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn not_serialized(reason: &dyn std::fmt::Display) -> Fault {
    Fault::new("D205", Exit::Bug, "tensors or counters cannot be put into bytes").note("reason", reason.to_string())
}
