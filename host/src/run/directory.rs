//! The folder of one run: found or made, tried for writing, locked, and the only way to write into it.
//! Does not decide what is written.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{atomic, clock::Utc, stream::Stream};
use crate::fault::{Exit, Fault};

/// How often and how long apart a lock is tried: a process that was just killed lets go of it a moment later.
const TRIES: (u32, Duration) = (10, Duration::from_millis(50));

const LOCK: &str = "run.lock";
const RECORD: &str = "run.json";
const CHECKPOINTS: &str = "checkpoints";

/// What the folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A run that begins: the folder must not hold one yet.
    New,
    /// A run that goes on: the folder must hold it.
    Resume,
    /// Whichever of the two fits.
    Auto,
}

/// A run directory held by this process until dropped.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    held_a_run: bool,
    // Locked for as long as it is open.
    _lock: File,
}

impl RunDirectory {
    /// Whether a folder holds a run already: its record, or checkpoints. A folder of that name alone is no run's.
    pub fn holds_a_run(path: &Path) -> bool {
        let of_a_checkpoint = |name: &str| name == "latest" || name.starts_with("step-");
        let holds_one = |mut entries: fs::ReadDir| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(of_a_checkpoint)))
        };
        path.join(RECORD).exists() || fs::read_dir(path.join(CHECKPOINTS)).is_ok_and(holds_one)
    }

    /// Looks, without writing, whether `path` can be opened for `purpose`.
    ///
    /// # Errors
    /// D101 it holds a run already · D102 it is not a folder · D103 it holds a run that another process is making ·
    /// D104 it holds no run to resume.
    pub fn check(path: &Path, purpose: Purpose) -> Result<(), Fault> {
        match holder(path).filter(|_| purpose == Purpose::New && RunDirectory::holds_a_run(path)) {
            Some(holder) => Err(taken(path, &holder)),
            None => RunDirectory::fits(path, purpose),
        }
    }

    fn fits(path: &Path, purpose: Purpose) -> Result<(), Fault> {
        if path.exists() && !path.is_dir() {
            return Err(fault("D102", "run directory is not a folder")
                .at(path.display().to_string())
                .hint("give another `--run-dir`"));
        }
        match (purpose, RunDirectory::holds_a_run(path)) {
            (Purpose::New, true) => Err(fault("D101", "run directory already holds a run")
                .at(path.display().to_string())
                .hint("go on with it by `--resume`, or give another `--run-dir`")),
            (Purpose::Resume, false) => Err(fault("D104", "there is no run to resume")
                .at(path.display().to_string())
                .note("looked for", format!("{RECORD}, {CHECKPOINTS}/"))
                .hint("give the folder of a run, or leave out `--resume` to begin one")),
            _ => Ok(()),
        }
    }

    /// Opens `path`, making it where it does not exist yet, and clears what a killed run left unfinished.
    ///
    /// # Errors
    /// Those of [`RunDirectory::check`]; D103 another process holds it · D105 it cannot be written.
    pub fn open(path: &Path, purpose: Purpose) -> Result<RunDirectory, Fault> {
        RunDirectory::check(path, purpose)?;
        fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
        let lock = lock(path)?;
        // Again, now that nobody else can make a run there.
        RunDirectory::fits(path, purpose)?;
        try_writing(path).map_err(|error| unwritable(path, &error))?;
        for folder in [path.to_owned(), path.join(CHECKPOINTS)] {
            let cleared = atomic::clear_leftovers(&folder).map_err(|error| unwritable(&folder, &error))?;
            for leftover in cleared {
                tracing::info!("cleared {} left by an interrupted run", leftover.display());
            }
        }
        Ok(RunDirectory { held_a_run: RunDirectory::holds_a_run(path), path: path.to_owned(), _lock: lock })
    }

    /// Makes a new folder `<parent>/<utc time>-<label>-s<seed>`; a number follows where that name is taken.
    ///
    /// # Errors
    /// D105 it cannot be made or written.
    pub fn make_under(parent: &Path, label: &str, seed: u64, now: Utc) -> Result<RunDirectory, Fault> {
        fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
        let name = format!("{}-{label}-s{seed}", now.compact());
        let mut path = parent.join(&name);
        for number in 2.. {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = parent.join(format!("{name}-{number}"));
                }
                made => {
                    made.map_err(|error| unwritable(&path, &error))?;
                    break;
                }
            }
        }
        RunDirectory::open(&path, Purpose::New)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it held a run when it was opened.
    pub fn held_a_run(&self) -> bool {
        self.held_a_run
    }

    /// Where the checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Writes `name`, which may name a file in a sub-folder, in one step.
    ///
    /// # Errors
    /// D105 it cannot be written; the old file is untouched.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Fault> {
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        let written = fs::create_dir_all(folder).and_then(|()| atomic::write_file(&path, bytes));
        written.map_err(|error| unwritable(&path, &error))?;
        Ok(path)
    }

    /// Opens `name` for appending.
    ///
    /// # Errors
    /// D105 it cannot be written.
    pub fn stream(&self, name: &str) -> Result<Stream, Fault> {
        Stream::open(self.path.join(name))
    }
}

/// Says that something cannot be written, and why.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Fault {
    let (message, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("the disk is full", "free some space, then go on with `host resume`")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            ("cannot write here", "make it writable, or give another `--run-dir`")
        }
        io::ErrorKind::FileTooLarge => (
            "a file is larger than the system allows",
            "raise the limit, such as `ulimit -f`, then go on with `host resume`",
        ),
        _ => ("cannot write", "give another `--run-dir`"),
    };
    fault("D105", message).at(path.display().to_string()).note("system", error.to_string()).hint(hint)
}

fn fault(code: &'static str, message: &str) -> Fault {
    Fault::new(code, Exit::Data, message)
}

/// Takes the lock. The system lets go of it when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File, Fault> {
    let path = folder.join(LOCK);
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.map_err(|error| unwritable(&path, &error))?;
    let mut locked = file.try_lock();
    for _ in 1..TRIES.0 {
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            thread::sleep(TRIES.1);
            locked = file.try_lock();
        }
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(taken(folder, &number_in(&mut file)));
        }
        Err(TryLockError::Error(error)) => return Err(unwritable(&path, &error)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| unwritable(&path, &error))?;
    Ok(file)
}

/// Who holds a run directory, as its lock says; none where nobody does. Takes nothing and writes nothing.
fn holder(folder: &Path) -> Option<String> {
    let mut file = File::open(folder.join(LOCK)).ok()?;
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| number_in(&mut file))
}

/// Only to say who; a holder that has not written its number yet is nobody's fault.
fn number_in(lock: &mut File) -> String {
    let mut number = String::new();
    let _ = lock.read_to_string(&mut number);
    number.trim().to_string()
}

fn taken(folder: &Path, holder: &str) -> Fault {
    let taken = fault("D103", "another process is using this run directory").at(folder.display().to_string());
    let taken = if holder.is_empty() { taken } else { taken.note("process", holder) };
    taken.hint("wait for it to end, or give another `--run-dir`")
}

/// Permission bits say nothing to root, and nothing about a full disk or a read-only mount; so it is tried.
fn try_writing(folder: &Path) -> io::Result<()> {
    let path = folder.join("writable");
    atomic::write_file(&path, b"tried\n")?;
    fs::remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purpose_must_fit_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let (missing, empty, run) = (root.path().join("missing"), root.path().join("empty"), root.path().join("run"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&run).unwrap();
        fs::write(run.join(RECORD), "{}").unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        for (path, purpose, code) in [
            (&missing, Purpose::New, None),
            (&missing, Purpose::Auto, None),
            (&missing, Purpose::Resume, Some("D104")),
            (&empty, Purpose::New, None),
            (&empty, Purpose::Resume, Some("D104")),
            (&run, Purpose::New, Some("D101")),
            (&run, Purpose::Resume, None),
            (&run, Purpose::Auto, None),
            (&file, Purpose::New, Some("D102")),
        ] {
            let checked = RunDirectory::check(path, purpose);
            assert_eq!(checked.as_ref().err().map(|fault| fault.code), code, "{} {purpose:?}", path.display());
            assert!(checked.err().is_none_or(|fault| fault.exit == Exit::Data));
        }
        assert!(!missing.exists(), "looking writes nothing");
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }

    #[test]
    fn a_refused_folder_is_left_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(RECORD), "{}").unwrap();
        assert_eq!(RunDirectory::open(root.path(), Purpose::New).unwrap_err().code, "D101");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_holders_cannot_share_a_run() {
        let root = tempfile::tempdir().unwrap();
        let first = RunDirectory::open(root.path(), Purpose::New).unwrap();
        let second = RunDirectory::open(root.path(), Purpose::New).unwrap_err();
        assert_eq!((second.code, second.exit), ("D103", Exit::Data));
        assert!(second.notes.contains(&("process", std::process::id().to_string())), "{second}");
        // Also where there is a run already, which alone would be another fault.
        first.write(RECORD, b"{}").unwrap();
        assert_eq!(RunDirectory::check(root.path(), Purpose::New).unwrap_err().code, "D103");
        drop(first);
        assert_eq!(RunDirectory::check(root.path(), Purpose::New).unwrap_err().code, "D101");
        RunDirectory::open(root.path(), Purpose::Resume).unwrap();
    }

    #[test]
    fn names_of_new_folders_never_collide() {
        let root = tempfile::tempdir().unwrap();
        let now = Utc::from_milliseconds(1_709_251_199_000);
        let names: Vec<String> = (0..3)
            .map(|_| RunDirectory::make_under(&root.path().join("runs"), "lion", 7, now).unwrap())
            .map(|run| run.path().file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["20240229-235959-lion-s7", "20240229-235959-lion-s7-2", "20240229-235959-lion-s7-3"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_refused_for_root_too() {
        // The kernel's own file systems refuse new files to everybody.
        let fault = RunDirectory::open(Path::new("/proc/self/fdinfo"), Purpose::New).unwrap_err();
        assert_eq!((fault.code, fault.exit), ("D105", Exit::Data), "{fault}");
        let fault = RunDirectory::make_under(Path::new("/proc/runs"), "lion", 1, Utc::now()).unwrap_err();
        assert_eq!(fault.code, "D105", "{fault}");
    }

    #[test]
    fn opening_clears_what_a_killed_run_left() {
        let root = tempfile::tempdir().unwrap();
        let checkpoints = root.path().join(CHECKPOINTS);
        fs::create_dir_all(checkpoints.join(".tmp-step-00000010")).unwrap();
        fs::write(root.path().join(".tmp-run.json"), "{").unwrap();
        fs::write(root.path().join(RECORD), "{}").unwrap();
        let run = RunDirectory::open(root.path(), Purpose::Resume).unwrap();
        assert!(run.held_a_run());
        assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 0);
        assert!(!root.path().join(".tmp-run.json").exists());
    }

    #[test]
    fn files_are_written_into_sub_folders_and_streams_grow() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(root.path(), Purpose::New).unwrap();
        assert!(!run.held_a_run());
        run.write("plots/loss.svg", b"<svg/>").unwrap();
        assert_eq!(fs::read(root.path().join("plots/loss.svg")).unwrap(), b"<svg/>");
        let mut stream = run.stream("metrics.jsonl").unwrap();
        stream.append(b"one\n").unwrap();
        stream.append(b"two\n").unwrap();
        stream.truncate(4).unwrap();
        stream.append(b"three\n").unwrap();
        stream.sync().unwrap();
        assert_eq!(run.stream("metrics.jsonl").unwrap().contents().unwrap(), b"one\nthree\n");
    }
}
