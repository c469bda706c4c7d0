//! Where a user wants a result of its own to be written: never inside a run directory, in which a run alone writes.
//! Writes nothing.

use std::{
    fs::{self, FileType},
    io,
    path::{Path, PathBuf},
};

use super::RunDirectory;

/// A place outside run directories.
#[derive(Debug)]
pub struct Output {
    /// Absolute, and without links on the way to it.
    pub path: PathBuf,
    /// What is there already. A link is a link, wherever it leads, also where it leads nowhere.
    pub there: Option<FileType>,
}

/// Why nothing can be written there.
#[derive(Debug)]
pub enum Unfit {
    /// It lies in this run directory.
    InRun(PathBuf),
    /// Its folder is not there, or cannot be looked into.
    Unreachable(io::Error),
}

impl Output {
    /// Looks at `path`.
    ///
    /// # Errors
    /// Why nothing can be written there.
    pub fn at(path: &Path) -> Result<Output, Unfit> {
        let named = std::path::absolute(path).map_err(Unfit::Unreachable)?;
        let no_file = || Unfit::Unreachable(io::Error::new(io::ErrorKind::IsADirectory, "not the name of a file"));
        let (Some(folder), Some(name)) = (named.parent(), named.file_name()) else { return Err(no_file()) };
        // Through links, for a link may lead into a run.
        let folder = folder.canonicalize().map_err(Unfit::Unreachable)?;
        if let Some(run) = folder.ancestors().find(|folder| RunDirectory::holds_a_run(folder)) {
            return Err(Unfit::InRun(run.to_owned()));
        }
        let path = folder.join(name);
        let there = match fs::symlink_metadata(&path) {
            Ok(metadata) => Some(metadata.file_type()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Unfit::Unreachable(error)),
        };
        Ok(Output { path, there })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_run_is_found_through_links_and_by_what_makes_it_one() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let folder = |name: &str| {
            fs::create_dir_all(root.join(name)).unwrap();
            root.join(name)
        };
        let step = folder("run/checkpoints/step-00000001");
        fs::write(folder("recorded").join("run.json"), "{}").unwrap();
        // folders that only have a name in common with a run's
        folder("models/checkpoints/mine");
        folder("empty/checkpoints");
        symlink(&step, root.join("link")).unwrap();
        symlink(folder("plain"), root.join("elsewhere")).unwrap();
        symlink(root.join("nowhere"), root.join("plain/dangling")).unwrap();
        fs::write(root.join("plain/file"), "").unwrap();
        for (place, run) in [
            ("run/a", Some("run")),
            ("run/checkpoints/step-00000001/model.safetensors", Some("run")),
            ("link/model.safetensors", Some("run")),
            ("recorded/run.json", Some("recorded")),
            ("models/a", None),
            ("models/checkpoints/mine/a", None),
            ("empty/a", None),
            ("elsewhere/a", None),
        ] {
            match (Output::at(&root.join(place)), run) {
                (Err(Unfit::InRun(found)), Some(run)) => assert_eq!(found, root.join(run), "{place}"),
                (Ok(output), None) => assert!(output.there.is_none(), "{place}"),
                (found, _) => panic!("{place}: {found:?}"),
            }
        }
        let there = |place: &str| Output::at(&root.join(place)).unwrap().there.unwrap();
        assert!(there("elsewhere/file").is_file() && there("plain/dangling").is_symlink() && there("plain").is_dir());
        assert_eq!(Output::at(&root.join("elsewhere/a")).unwrap().path, root.join("plain/a"));
        for place in ["missing/a", "plain/file/a", ".."] {
            assert!(matches!(Output::at(&root.join(place)), Err(Unfit::Unreachable(_))), "{place}");
        }
    }
}
