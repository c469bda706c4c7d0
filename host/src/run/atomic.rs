//! Files and folders that appear whole or not at all, whenever the process or the machine stops.
//! Does not lock: two writers of one name are kept apart by the run directory's lock.
//!
//! Written under a temporary name in the same folder, synced, renamed, and the folder synced. Names that begin with
//! `.tmp-` are unfinished; `.old-NAME` is what NAME was until its successor arrived. [`clear_leftovers`] removes the
//! first and settles the second after a crash.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const UNFINISHED: &str = ".tmp-";
const REPLACED: &str = ".old-";

/// Writes `bytes` to `path`, replacing what is there in one step. On an error the old file is untouched.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_file_with(path, bytes, &|path| File::create(path))
}

/// Writes `bytes` to `path`, where nothing must be yet. Several writers of one name are kept apart: one of them writes,
/// the others get an error of the kind `AlreadyExists`.
pub fn write_new_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let readable = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).permissions(readable).tempfile_in(parent(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|refused| refused.error)?;
    sync_folder(parent(path))
}

/// Opens a file for writing. Tests put a full device behind it.
type Create<'a> = dyn Fn(&Path) -> io::Result<File> + 'a;

fn write_file_with(path: &Path, bytes: &[u8], create: &Create) -> io::Result<()> {
    let temporary = beside(path, UNFINISHED)?;
    let written = write_synced(&temporary, bytes, create).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error to tell is the first one; what cannot be removed now is removed at the next start.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(parent(path))
}

fn write_synced(path: &Path, bytes: &[u8], create: &Create) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames and removals inside `folder` last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder in the making. Dropped before [`NewFolder::commit`] it leaves nothing.
pub struct NewFolder<'a> {
    path: PathBuf,
    temporary: PathBuf,
    create: &'a Create<'a>,
    committed: bool,
}

impl NewFolder<'static> {
    /// Begins the folder that will stand at `path`.
    pub fn begin(path: &Path) -> io::Result<NewFolder<'static>> {
        NewFolder::begin_with(path, &|path| File::create_new(path))
    }
}

impl<'a> NewFolder<'a> {
    /// As [`NewFolder::begin`], with `create` to open each file.
    pub(crate) fn begin_with(path: &Path, create: &'a Create<'a>) -> io::Result<NewFolder<'a>> {
        let temporary = beside(path, UNFINISHED)?;
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir(&temporary)?,
        }
        Ok(NewFolder { path: path.to_owned(), temporary, create, committed: false })
    }

    /// Writes and syncs one file of it.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        write_synced(&self.temporary.join(name), bytes, self.create)
    }

    /// Puts it in place, replacing a folder that stands there.
    pub fn commit(mut self) -> io::Result<()> {
        sync_folder(&self.temporary)?;
        let replaced = beside(&self.path, REPLACED)?;
        // Folders cannot be swapped in one step, so the old one steps aside first; a crash in between is settled by
        // `clear_leftovers`, which moves it back.
        let there = self.path.exists();
        if there {
            fs::rename(&self.path, &replaced)?;
        }
        if let Err(error) = fs::rename(&self.temporary, &self.path) {
            if there {
                fs::rename(&replaced, &self.path)?;
            }
            return Err(error);
        }
        self.committed = true;
        sync_folder(parent(&self.path))?;
        if there {
            fs::remove_dir_all(&replaced)?;
        }
        Ok(())
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Removes a folder so that it is never seen half removed.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let temporary = beside(path, UNFINISHED)?;
    fs::rename(path, &temporary)?;
    fs::remove_dir_all(&temporary)
}

/// Removes what an interrupted writer left in `folder`, and puts back what it had moved aside. A folder that does not
/// exist has no leftovers. Only for the holder of the run directory's lock.
pub fn clear_leftovers(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut cleared = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cleared),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if let Some(original) = name.strip_prefix(REPLACED) {
            let original = folder.join(original);
            if original.exists() {
                remove(&path)?
            } else {
                fs::rename(&path, &original)?
            }
            cleared.push(path);
        } else if name.starts_with(UNFINISHED) {
            remove(&path)?;
            cleared.push(path);
        }
    }
    cleared.sort();
    Ok(cleared)
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, prefix: &str) -> io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    Ok(path.with_file_name(format!("{prefix}{name}")))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn full(path: &Path) -> io::Result<File> {
        File::create_new(path)?;
        File::options().write(true).open("/dev/full")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        for text in ["a long first version", "second"] {
            write_file(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["run.json"]);
    }

    #[test]
    fn one_of_several_writers_of_a_new_file_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        let written: Vec<io::Result<()>> = thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let path = &path;
                    scope.spawn(move || write_new_file(path, format!("{writer}").as_bytes()))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let first = written.iter().position(|written| written.is_ok()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first.to_string());
        let refused = written.iter().filter_map(|written| written.as_ref().err());
        let kinds: Vec<io::ErrorKind> = refused.map(io::Error::kind).collect();
        assert_eq!(kinds, [io::ErrorKind::AlreadyExists; 7]);
        assert_eq!(names(folder.path()), ["result.json"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_file(&path, b"old").unwrap();
        let error = write_file_with(&path, b"new", &full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["run.json"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        let mut first = NewFolder::begin(&path).unwrap();
        first.file("a", b"old").unwrap();
        first.commit().unwrap();

        let mut second = NewFolder::begin_with(&path, &full).unwrap();
        assert_eq!(second.file("a", b"new").unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(second);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["step"]);
    }

    #[test]
    fn a_folder_replaces_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        for text in [b"old", b"new"] {
            let mut new = NewFolder::begin(&path).unwrap();
            new.file("a", text).unwrap();
            new.commit().unwrap();
            assert_eq!(fs::read(path.join("a")).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["step"]);
    }

    #[test]
    fn leftovers_are_cleared_and_what_stepped_aside_returns() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [".tmp-step-2", ".old-step-1", ".old-step-0", "step-0"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("from"), name).unwrap();
        }
        fs::write(root.join(".tmp-run.json"), "half").unwrap();
        assert_eq!(clear_leftovers(root).unwrap().len(), 4);
        assert_eq!(names(root), ["step-0", "step-1"]);
        assert_eq!(fs::read_to_string(root.join("step-0/from")).unwrap(), "step-0", "the successor wins");
        assert_eq!(fs::read_to_string(root.join("step-1/from")).unwrap(), ".old-step-1");
        assert!(clear_leftovers(&root.join("missing")).unwrap().is_empty());
    }

    #[test]
    fn a_removed_folder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        fs::create_dir(&path).unwrap();
        remove_folder(&path).unwrap();
        assert!(names(folder.path()).is_empty());
    }
}
