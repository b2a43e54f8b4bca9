//! Puts a rewritten segment in the place of those it was made of, whole or not at all.
//!
//! 1. The new files are written beside the old ones as `<base>.<kind>.cleaned`, and flushed.
//! 2. `<base>.log.cleaned` is renamed to `<base>.<end>.log.swap`: from here on the new segment counts. `<end>` is the offset at which
//!    the next segment begins, so that the name says which segments are replaced.
//! 3. The replaced segments are deleted, the new indexes renamed, and at last the batches.
//!
//! What a process that ended on the way left behind is removed (before 2) or finished (after it) at the next open.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::files::Kind;
use super::segment::path;

const KINDS: [Kind; 3] = [Kind::Log, Kind::Index, Kind::Aborted];

/// A file of a segment that is being written.
pub(super) fn cleaned(folder: &Path, base: i64, kind: Kind) -> PathBuf {
    folder.join(format!("{base:020}.{}.cleaned", kind.ending()))
}

fn swap(folder: &Path, base: i64, end: i64) -> PathBuf {
    folder.join(format!("{base:020}.{end:020}.log.swap"))
}

/// Makes the new segment count; its three files are flushed.
pub(super) fn commit(folder: &Path, base: i64, end: i64) -> io::Result<()> {
    fs::rename(cleaned(folder, base, Kind::Log), swap(folder, base, end))?;
    File::open(folder)?.sync_all()
}

/// Ends what [`commit`] began; may be repeated from anywhere. `bases` are those of all segments.
pub(super) fn finish(folder: &Path, base: i64, end: i64, bases: &[i64]) -> io::Result<()> {
    for replaced in bases.iter().filter(|replaced| (base + 1..end).contains(replaced)) {
        for kind in KINDS {
            remove(&path(folder, *replaced, kind))?;
        }
    }
    for kind in [Kind::Index, Kind::Aborted] {
        // Where it is missing it was renamed before.
        match fs::rename(cleaned(folder, base, kind), path(folder, base, kind)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(swap(folder, base, end), path(folder, base, Kind::Log))
}

/// Removes the files of a segment that will not count.
pub(super) fn discard(folder: &Path, base: i64) -> io::Result<()> {
    KINDS.iter().try_for_each(|kind| remove(&cleaned(folder, base, *kind)))
}

/// Finishes or removes what is left of a compaction.
pub(super) fn recover(folder: &Path) -> io::Result<()> {
    let (mut bases, mut swaps, mut leftovers) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let parts: Vec<&str> = name.split('.').collect();
        match parts[..] {
            [base, "log"] => bases.extend(base.parse::<i64>().ok()),
            [base, end, "log", "swap"] => swaps.extend(base.parse::<i64>().ok().zip(end.parse::<i64>().ok())),
            [_, _, "cleaned"] => leftovers.push(folder.join(name)),
            _ => {}
        }
    }
    for (base, end) in swaps {
        tracing::info!(folder = %folder.display(), base, end, "compaction is finished that the last process began");
        finish(folder, base, end, &bases)?;
    }
    leftovers.iter().try_for_each(|path| remove(path))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
