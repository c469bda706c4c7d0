//! A disk that is full, read-only or gone at a chosen call of the program: `tests/fixtures/faulty_disk.c`, preloaded.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{Finished, Workshop, repository};

/// What the disk does from the chosen call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// There is no room.
    Full,
    /// Nothing can be changed.
    ReadOnly,
    /// The process kills itself, in the middle of a write where the call is one.
    Kill,
}

/// The library, compiled once per test program.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("faulty_disk.so");
        let source = repository().join("tests/fixtures/faulty_disk.c");
        compile(&["-ldl"], &source, &path);
        (folder, path)
    });
    path
}

/// Compiles a C file into a shared library, with the compiler that the build needs anyway.
pub fn compile(more: &[&str], source: &Path, library: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(library).arg(source).args(more);
    let status = command.status().unwrap_or_else(|error| panic!("`{compiler}`: {error}"));
    assert!(status.success(), "{} does not compile", source.display());
}

/// Runs the program to its end on a disk that fails at the `at`th change below a path with `under` in it.
pub fn run(shop: &Workshop, args: &[&str], under: &str, at: usize, does: Does) -> Finished {
    let does = match does {
        Does::Full => "full",
        Does::ReadOnly => "readonly",
        Does::Kill => "kill",
    };
    let at = at.to_string();
    shop.run(args, &[preload(), ("FAULTY_DISK_UNDER", under), ("FAULTY_DISK_AT", &at), ("FAULTY_DISK_DOES", does)])
}

/// Runs the program to its end on a disk that never fails, and gives the changes below a path with `under` in it, in
/// their order.
pub fn changes(shop: &Workshop, args: &[&str], under: &str) -> Vec<String> {
    let log = shop.path().join("changes.log");
    let path = log.display().to_string();
    shop.run(args, &[preload(), ("FAULTY_DISK_UNDER", under), ("FAULTY_DISK_LOG", &path)]).expect(0);
    let changes = fs::read_to_string(&log).expect("the library was loaded and saw changes");
    fs::remove_file(log).unwrap();
    changes.lines().map(str::to_string).collect()
}

fn preload() -> (&'static str, &'static str) {
    ("LD_PRELOAD", library().to_str().expect("a path in UTF-8"))
}
