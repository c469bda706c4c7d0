//! Compiled kernels on disk, by the hash of all that decides what the compiler makes.
//! Compiles nothing; a cache that cannot be read or written costs time and nothing else.
//!
//! In `$XDG_CACHE_HOME/trainer/kernels`, else `~/.cache/trainer/kernels`. May be deleted at any time.

use std::{env, fs, path::PathBuf};

use sha2::{Digest, Sha256};

use super::nvrtc;
use crate::{registry::lock::hex, run::atomic};

/// The cubin of a source: from disk, else compiled and kept.
///
/// # Errors
/// As [`nvrtc::compile`].
pub fn cubin(source: &str, architecture: &str) -> Result<Vec<u8>, String> {
    let (major, minor) = nvrtc::version()?;
    let kept = folder().map(|folder| folder.join(key(source, architecture, (major, minor)) + ".cubin"));
    if let Some(path) = &kept
        && let Some(cubin) = fs::read(path).ok().and_then(unsealed)
    {
        return Ok(cubin);
    }
    let cubin = nvrtc::compile(source, architecture)?;
    if let Some(path) = kept {
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = made.and_then(|()| atomic::write_file(&path, &sealed(&cubin))) {
            tracing::debug!("{} is not kept: {error}", path.display());
        }
    }
    Ok(cubin)
}

fn key(source: &str, architecture: &str, (major, minor): (i32, i32)) -> String {
    let mut hash = Sha256::new();
    for part in [source, architecture, &format!("{major}.{minor}"), &nvrtc::FLAGS.join(" ")] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// With its own hash before it: half a file, or another's, is never run.
fn sealed(cubin: &[u8]) -> Vec<u8> {
    [Sha256::digest(cubin).as_slice(), cubin].concat()
}

fn unsealed(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (hash, cubin) = bytes.split_at_checked(32)?;
    (Sha256::digest(cubin).as_slice() == hash).then(|| cubin.to_vec())
}

fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("trainer/kernels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_in_the_key() {
        let key = |source, architecture, version| key(source, architecture, version);
        let first = key("a", "sm_90", (13, 0));
        assert_eq!(first.len(), 64);
        assert_eq!(first, key("a", "sm_90", (13, 0)));
        for other in [key("b", "sm_90", (13, 0)), key("a", "sm_80", (13, 0)), key("a", "sm_90", (13, 1))] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_spoiled_file_is_no_cubin() {
        let whole = sealed(b"a kernel");
        assert_eq!(unsealed(whole.clone()).as_deref(), Some(&b"a kernel"[..]));
        let mut changed = whole.clone();
        changed[35] ^= 1;
        for spoiled in [changed, whole[..36].to_vec(), whole[..20].to_vec(), Vec::new()] {
            assert_eq!(unsealed(spoiled), None);
        }
    }
}
