//! Where the sdk lies that a new crate depends on: the one this program was built with, if its checkout is still there.
//! Does not fetch one.

use std::path::{Path, PathBuf};

use crate::fault::{Exit, Fault};

/// The folder of the sdk: the given one alone, or the one of the checkout that this executable lies in, or of the one it
/// was built in.
///
/// # Errors
/// U012 where there is none, saying where it looked.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, Fault> {
    if let Some(folder) = explicit {
        return sdk(folder).ok_or_else(|| {
            let fault = Fault::new("U012", Exit::Usage, "`--sdk` does not name the sdk's folder");
            let fault = fault.at(format!("--sdk {}", folder.display()));
            fault.hint("it is the folder `sdk` of a checkout of the trainer, with a Cargo.toml of package `sdk`")
        });
    }
    let executable = std::env::current_exe().ok();
    let above = executable.iter().flat_map(|path| path.ancestors().skip(1)).map(|folder| folder.join("sdk"));
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("sdk");
    above.chain([built_in]).find_map(|folder| sdk(&folder)).ok_or_else(|| {
        let fault = Fault::new("U012", Exit::Usage, "this program does not lie in a checkout of the trainer");
        fault.hint("say where the sdk is: `--sdk PATH` names the folder `sdk` of a checkout")
    })
}

/// The folder as an absolute path, where it is the sdk's.
fn sdk(folder: &Path) -> Option<PathBuf> {
    let manifest: toml::Table = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()?;
    let name = manifest.get("package")?.get("name")?.as_str()?;
    if name == "sdk" { folder.canonicalize().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_of_this_checkout_is_found_and_another_folder_refused() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = find(None).unwrap();
        assert_eq!(found, here.with_file_name("sdk").canonicalize().unwrap());
        assert_eq!(find(Some(&found)).unwrap(), found);
        for folder in [here, &here.join("nowhere"), Path::new("/")] {
            let fault = find(Some(folder)).unwrap_err();
            assert_eq!((fault.code, fault.exit), ("U012", Exit::Usage), "{}", folder.display());
        }
    }
}
