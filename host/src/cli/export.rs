//! `host export`: a trained network as one safetensors file, whole or not there.

use std::path::Path;

use super::{Invocation, export_args::ExportFlags, stdout};
use crate::{
    export,
    fault::{Exit, Fault},
    run::{RunDirectory, atomic},
    trained::{Place, Trained},
};

/// `host export`.
///
/// # Errors
/// A checkpoint that is missing or damaged; a file that is there already or cannot be written (D207).
pub fn export(flags: &ExportFlags, invocation: &Invocation) -> anyhow::Result<Exit> {
    let refused = |text: String, hint: &str| {
        Fault::new("D207", Exit::Data, text).at(format!("--out {}", flags.out.display())).hint(hint)
    };
    let out = std::path::absolute(&flags.out)?;
    if out.exists() && (!flags.force || !out.is_file()) {
        return Err(
            refused("the file is there already".into(), "give another name, or `--force` to replace a file").into()
        );
    }
    let folder = out.parent().unwrap_or(Path::new("/"));
    if let Some(run) = folder.ancestors().find(|folder| RunDirectory::holds_a_run(folder)) {
        let text = format!("{} is a run directory, in which a run alone writes", run.display());
        return Err(refused(text, "write beside it").into());
    }
    let trained = Trained::open(&flags.from, &invocation.cwd, Place::Cpu)?;
    let bytes = export::file(&trained)?;
    atomic::write_file(&out, &bytes).map_err(|error| {
        refused(format!("the file cannot be written: {error}"), "the folder has to be there, writable, with room")
    })?;
    let text = format!("{}: {} bytes, from {}\n", flags.out.display(), bytes.len(), trained.path.display());
    stdout::print(&text).map(|()| Exit::Ok)
}
