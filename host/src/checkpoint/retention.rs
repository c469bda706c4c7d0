//! Which checkpoints stay: the last few, the best, and the one that `latest` names.
//! Does not decide when one is made.

use std::path::PathBuf;

use super::{
    folder_name,
    pointer::{self, BEST, LATEST},
};
use crate::{
    fault::Fault,
    run::{RunDirectory, atomic, directory::unwritable},
};

/// Steps to remove out of `steps`, which ascend.
///
/// The last `keep` up to `latest` stay, and the best. Steps after `latest` are of a line that was given up when the
/// run was resumed from before them.
pub fn to_remove(steps: &[u64], keep: usize, latest: Option<u64>, best: Option<u64>) -> Vec<u64> {
    let current: Vec<u64> = steps.iter().copied().filter(|&step| latest.is_none_or(|latest| step <= latest)).collect();
    let kept = &current[current.len().saturating_sub(keep)..];
    let stays = |step: &u64| kept.contains(step) || Some(*step) == latest || Some(*step) == best;
    steps.iter().copied().filter(|step| !stays(step)).collect()
}

/// Removes what need not stay, and says what that was.
pub(super) fn prune(run: &RunDirectory, keep: usize) -> Result<Vec<PathBuf>, Fault> {
    let folder = run.checkpoints();
    let (latest, best) = (pointer::named(&folder, LATEST)?, pointer::named(&folder, BEST)?);
    let mut removed = Vec::new();
    for step in to_remove(&pointer::steps(&folder)?, keep, latest, best) {
        let path = folder.join(folder_name(step));
        atomic::remove_folder(&path).map_err(|error| unwritable(&path, &error))?;
        removed.push(path);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (steps, keep, latest, best, removed) in [
            (&[][..], 2, None, None, &[][..]),
            (&[10], 2, Some(10), None, &[]),
            (&[10, 20, 30], 2, Some(30), None, &[10]),
            (&[10, 20, 30], 2, Some(30), Some(10), &[]),
            (&[10, 20, 30, 40], 2, Some(40), Some(20), &[10]),
            (&[10, 20, 30], 0, Some(30), None, &[10, 20]),
            (&[10, 20, 30], 0, Some(30), Some(20), &[10]),
            (&[10, 20, 30], 9, Some(30), None, &[]),
            // Resumed from 20: what came after belongs to a line that was given up, but for the best.
            (&[10, 20, 30, 40], 2, Some(20), None, &[30, 40]),
            (&[10, 20, 30, 40], 1, Some(20), Some(40), &[10, 30]),
            (&[10, 20], 1, None, None, &[10]),
        ] {
            assert_eq!(to_remove(steps, keep, latest, best), removed, "{steps:?} {keep} {latest:?} {best:?}");
        }
    }
}
