//! `host export`: a trained network as one safetensors file, whole or not there.

use super::{Invocation, export_args::ExportFlags, stdout};
use crate::{
    export,
    fault::{Exit, Fault},
    run::{Output, Unfit, atomic},
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
    let unwritable = |error: std::io::Error| {
        refused(format!("the file cannot be written: {error}"), "the folder has to be there, writable, with room")
    };
    let out = Output::at(&flags.out).map_err(|unfit| match unfit {
        Unfit::InRun(run) => {
            let text = format!("{} is a run directory, in which a run alone writes", run.display());
            refused(text, "write beside it")
        }
        Unfit::Unreachable(error) => unwritable(error),
    })?;
    match out.there {
        Some(there) if !there.is_file() => {
            return Err(refused("what is there already is not a file".into(), "give another name").into());
        }
        Some(_) if !flags.force => {
            let hint = "give another name, or `--force` to replace the file";
            return Err(refused("the file is there already".into(), hint).into());
        }
        _ => {}
    }
    let trained = Trained::open(&flags.from, &invocation.cwd, Place::Cpu)?;
    let bytes = export::file(&trained)?;
    atomic::write_file(&out.path, &bytes).map_err(unwritable)?;
    let text = format!("{}: {} bytes, from {}\n", flags.out.display(), bytes.len(), trained.path.display());
    stdout::print(&text).map(|()| Exit::Ok)
}
