//! The folder on the disk that holds all stores of a process.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions, OwnedWriteBatch};

use crate::{Error, Position, Store};

/// Bytes of blocks of all stores that are kept in memory.
const CACHE: u64 = 64 << 20;
/// Bytes a store gathers in memory before it writes them out in order.
const MEMTABLE: u64 = 16 << 20;
/// Bytes of the journal after which the stores are made to write out what it protects.
const JOURNAL: u64 = 128 << 20;

/// All stores of one process, in one folder. Clones are the same folder.
#[derive(Clone)]
pub struct Folder {
    database: Database,
    path: String,
}

impl Folder {
    /// Opens the folder, or makes it. A process that was killed in the middle of a write has left it whole: what is not
    /// there any more was not committed here, and is in the changelog.
    ///
    /// # Errors
    /// [`Error::Taken`] or [`Error::Open`].
    pub fn open(path: &Path) -> Result<Folder, Error> {
        let name = path.display().to_string();
        let database = Database::builder(path).cache_size(CACHE).max_journaling_size(JOURNAL).worker_threads(1).open();
        match database {
            Ok(database) => Ok(Folder { database, path: name }),
            Err(fjall::Error::Locked) => Err(Error::Taken(name)),
            Err(error) => Err(Error::Open(name, error.to_string())),
        }
    }

    /// Opens a store, or makes an empty one.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Disk`], [`Error::Form`].
    pub fn store(&self, name: &str) -> Result<Store, Error> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
            return Err(Error::Name(name.to_owned()));
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let keyspace =
            self.database.keyspace(name, options).map_err(|e| Error::Disk(name.to_owned(), e.to_string()))?;
        Store::new(name.to_owned(), keyspace)
    }

    /// Begins an atomic write over any of its stores.
    pub fn commit(&self) -> Commit {
        Commit { batch: self.database.batch(), path: self.path.clone() }
    }

    /// Bytes it takes on the disk.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn disk_space(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(|e| Error::Disk(self.path.clone(), e.to_string()))
    }
}

/// An atomic write: after a crash all of it is there or nothing.
#[must_use = "nothing is written before `write`"]
pub struct Commit {
    batch: OwnedWriteBatch,
    path: String,
}

impl Commit {
    /// Adds the changes of a store, with the position in the changelog that they lead to. They are no longer pending.
    pub fn add(&mut self, store: &mut Store, position: Position) {
        store.commit_into(&mut self.batch, position);
    }

    /// Adds entries that come from the changelog, past all pending changes: a tombstone where there is no value. The
    /// position says up to where the changelog has been followed then.
    ///
    /// # Errors
    /// [`Error::Key`] for a key that no store has written.
    pub fn load<'e>(
        &mut self,
        store: &mut Store,
        entries: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
        position: Position,
    ) -> Result<(), Error> {
        store.load_into(&mut self.batch, entries, position)
    }

    /// Writes. It survives the end of the process at once, and a power failure once the system has written it out;
    /// until then the changelog has it.
    ///
    /// # Errors
    /// [`Error::Disk`]; the stores must be opened anew then.
    pub fn write(self) -> Result<(), Error> {
        self.batch.commit().map_err(|e| Error::Disk(self.path, e.to_string()))
    }
}
