//! A file of the run directory that grows: metrics, logs, events.
//! Does not know what its lines mean.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::directory::unwritable;
use crate::fault::Fault;

/// Appends to one file. Every write reaches the kernel at once, so that a killed process loses nothing it had written.
#[derive(Debug)]
pub struct Stream {
    path: PathBuf,
    file: File,
}

impl Stream {
    /// Opens or creates the file at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Stream, Fault> {
        let file = File::options().create(true).append(true).open(&path);
        Ok(Stream { file: file.map_err(|error| unwritable(&path, &error))?, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All that was written so far.
    pub fn contents(&self) -> Result<Vec<u8>, Fault> {
        fs::read(&self.path).map_err(|error| unwritable(&self.path, &error))
    }

    /// Appends in one write.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|error| unwritable(&self.path, &error))
    }

    /// Drops what follows the last line end, where lines are appended and a process may have been killed.
    pub fn drop_half_line(&mut self) -> Result<(), Fault> {
        let contents = self.contents()?;
        let kept = contents.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if kept < contents.len() { self.truncate(kept as u64) } else { Ok(()) }
    }

    /// Keeps the first `length` bytes.
    pub fn truncate(&mut self, length: u64) -> Result<(), Fault> {
        self.file.set_len(length).map_err(|error| unwritable(&self.path, &error))
    }

    /// Waits until all that was written is on disk.
    pub fn sync(&self) -> Result<(), Fault> {
        self.file.sync_all().map_err(|error| unwritable(&self.path, &error))
    }
}
