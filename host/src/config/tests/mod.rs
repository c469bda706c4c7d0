//! Tables over all sources at once: precedence, faults, traps, and the way to a written file and back.

mod faults;
mod precedence;
mod round_trip;
mod sources;
mod traps;

use std::path::{Path, PathBuf};

use super::{Flags, Resolved, Value, Variables, examine, resolve};
use crate::fault::Faults;

/// All sources of one call, and a folder for its files.
pub struct Setup {
    pub folder: tempfile::TempDir,
    pub flags: Flags,
    pub variables: Variables,
}

impl Setup {
    pub fn new() -> Setup {
        Setup { folder: tempfile::tempdir().unwrap(), flags: Flags::default(), variables: Variables::new() }
    }

    pub fn cwd(&self) -> &Path {
        self.folder.path()
    }

    pub fn variable(mut self, name: &str, value: &str) -> Setup {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub fn flag(mut self, flag: &str, text: &str) -> Setup {
        self.flags = self.flags.with(flag, text).unwrap_or_else(|misfit| panic!("--{flag} {text}: {misfit:?}"));
        self
    }

    pub fn set(mut self, text: &str) -> Setup {
        self.flags = self.flags.set(text);
        self
    }

    /// Writes a file, without naming it to anyone.
    pub fn file(self, name: &str, text: &str) -> Setup {
        let path: PathBuf = self.cwd().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Writes `my.toml` and names it by `--config`.
    pub fn config(self, text: &str) -> Setup {
        self.file("my.toml", text).flag("config", "my.toml")
    }

    pub fn resolve(&self) -> Result<Resolved, Faults> {
        resolve(&self.flags, &self.variables, self.cwd())
    }

    pub fn good(&self) -> Resolved {
        self.resolve().unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// All faults as text; panics if there are none.
    pub fn faults(&self) -> String {
        let (_, faults) = examine(&self.flags, &self.variables, self.cwd());
        assert!(!faults.0.is_empty(), "no fault");
        faults.to_string()
    }
}
