//! Keyed state exactly once. The truth is a changelog in Kafka, one partition of a compacted topic for each store; what
//! lies on the local disk is a copy that says up to where it has followed it.
//!
//! ```text
//! get, put, delete, scan    what a task does with it; changes stay in memory
//! changes                   to the changelog, in the transaction of the output
//! commit(position)          once that is committed: changes and position, still in memory
//! save                      after many commits: all of them to the disk, in one atomic write
//! load                      what the changelog has beyond the position, after a crash or a move
//! ```
//!
//! A crash leaves a copy that is a few transactions behind, and says so. A folder that is gone, or an
//! old copy of it, has no position or an earlier one, and is filled from there. Nothing is ever wiped on suspicion: only
//! a copy that can no longer be brought up to date is ([`Folder::clear`]).
//!
//! The crate knows no Kafka. Who uses it reads and writes the changelog.

mod folder;
mod store;

pub use folder::Folder;
pub use store::{Entry, Position, Store};

/// Why a store could not do what it was asked: a fault of the disk, never of a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder belongs to another process.
    #[error("the state folder {0} is in use by another process; give each process a folder of its own")]
    Taken(String),
    /// The folder cannot be opened.
    #[error(
        "the state folder {0} cannot be opened: {1}; if it is damaged, remove it: everything in it is restored from the changelog"
    )]
    Open(String, String),
    /// A read or a write failed, or an earlier one did and nothing is accepted any more.
    #[error("the state store {0}: {1}; make room on the disk or mend it, then start again")]
    Disk(String, String),
    /// The name of a store.
    #[error("{0:?} cannot be the name of a store; it has 1 to 255 letters, digits, dots, dashes or underscores")]
    Name(String),
    /// A key that a store cannot hold.
    #[error("a key of {0} bytes cannot be kept; a store takes 1 to {max}, and none that begins with 0xFF", max = store::MAX_KEY)]
    Key(usize),
    /// The position of a store has a form that this version does not know.
    #[error("the state store {0} was written by another version; remove it: it is restored from the changelog")]
    Form(String),
}
