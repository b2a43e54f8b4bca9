//! The folder on the disk that holds all stores of a process.
//!
//! All stores lie in one keyspace, each under a number of its own in front of its keys: to make a keyspace takes several
//! times as long as to restore a small store, and each would gather bytes in memory of its own. Under number 0 lies which
//! number a name has. A store that is cleared takes a new number, so that it is empty at once whatever happens next, and
//! what lies under the old one is removed afterwards.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Slice};

use crate::store::{Entry, Number, check_key};
use crate::{Error, Position, Store};

/// Bytes of blocks of all stores that are kept in memory.
const CACHE: u64 = 64 << 20;
/// Bytes that are gathered in memory before they are written out in order.
const MEMTABLE: u64 = 32 << 20;
/// Bytes of the journal after which the stores are made to write out what it protects.
const JOURNAL: u64 = 128 << 20;
/// Bytes that stores of one owner have committed and not saved, after which they are: one write for many commits, past the journal and
/// the memory of the disk's store, and what is changed again meanwhile is not written at all.
const UNSAVED: usize = 32 << 20;
/// After how long they are in any case, so that little is left to be restored after a crash.
const UNSAVED_MS: i64 = 10_000;
/// From so many entries on they are sorted and written as tables of their own, past the journal and the memory: for a few, a
/// table would cost more.
const BULK: usize = 5_000;
/// Keys that are removed at once of a store that was cleared.
const CHUNK: usize = 10_000;

/// Under which lies what number a name has.
const NAMES: Number = [0; 4];
/// Behind it, the highest number that was given.
const HIGHEST: u8 = 0;
/// Behind it and before a name, its number.
const NAME: u8 = 1;
/// Behind it and before a number, that what lies there is to be removed.
const REMOVED: u8 = 2;

fn book(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&NAMES[..], &[kind], rest].concat()
}

/// All stores of one process, in one folder. Clones are the same folder.
#[derive(Clone)]
pub struct Folder {
    database: Database,
    keyspace: Keyspace,
    /// Held while numbers are given.
    giving: Arc<Mutex<()>>,
    /// Bytes that went into the journal since it was last cut.
    journaled: Arc<AtomicUsize>,
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
        let database = match database {
            Ok(database) => database,
            Err(fjall::Error::Locked) => return Err(Error::Taken(name)),
            Err(error) => return Err(Error::Open(name, error.to_string())),
        };
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let keyspace = database.keyspace("state", options).map_err(|e| Error::Open(name.clone(), e.to_string()))?;
        let folder = Folder { database, keyspace, giving: Arc::default(), journaled: Arc::default(), path: name };
        folder.remove()?;
        Ok(folder)
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
        let _giving = self.giving.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.get(&book(NAME, name.as_bytes()))?.and_then(|number| number.try_into().ok());
        let number = match known {
            Some(number) => number,
            None => self.give(name, None)?,
        };
        Store::new(name.to_owned(), self.keyspace.clone(), number)
    }

    /// Makes a store empty.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn clear(&self, store: &mut Store) -> Result<(), Error> {
        let given = {
            let _giving = self.giving.lock().unwrap_or_else(PoisonError::into_inner);
            self.give(store.name(), Some(store.number()))?
        };
        store.renew(given);
        self.remove()
    }

    /// Gives a name a new number; what lies under the old one is noted to be removed.
    fn give(&self, name: &str, old: Option<Number>) -> Result<Number, Error> {
        let highest: Number = self.get(&book(HIGHEST, &[]))?.and_then(|n| n.try_into().ok()).unwrap_or(NAMES);
        let number = (u32::from_be_bytes(highest) + 1).to_be_bytes();
        let mut batch = self.database.batch();
        batch.insert(&self.keyspace, book(HIGHEST, &[]), number);
        batch.insert(&self.keyspace, book(NAME, name.as_bytes()), number);
        if let Some(old) = old {
            batch.insert(&self.keyspace, book(REMOVED, &old), []);
        }
        batch.commit().map_err(|e| self.disk(&e))?;
        Ok(number)
    }

    /// Removes what lies under numbers that nobody has any more.
    fn remove(&self) -> Result<(), Error> {
        let noted = self.keys(&book(REMOVED, &[]), usize::MAX)?;
        for note in noted {
            let number = note.get(NAMES.len() + 1..).unwrap_or_default().to_vec();
            loop {
                let keys = self.keys(&number, CHUNK)?;
                let mut batch = self.database.batch();
                if keys.is_empty() {
                    batch.remove(&self.keyspace, note);
                    batch.commit().map_err(|e| self.disk(&e))?;
                    break;
                }
                keys.into_iter().for_each(|key| batch.remove(&self.keyspace, key));
                batch.commit().map_err(|e| self.disk(&e))?;
            }
        }
        Ok(())
    }

    fn keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Error> {
        let found = self.keyspace.prefix(prefix).take(most);
        found.map(|entry| entry.key().map(|key| key.to_vec()).map_err(|e| self.disk(&e))).collect()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.keyspace.get(key).map_err(|e| self.disk(&e))?.map(|value| value.to_vec()))
    }

    fn disk(&self, error: &fjall::Error) -> Error {
        Error::Disk(self.path.clone(), error.to_string())
    }

    /// Writes what the stores have committed, if there is much of it or it has waited for long, and in any case where `all` is set. All of
    /// it is on the disk then, or nothing, and each position with the changes that lead to it. It survives the end of the
    /// process at once, and a power failure once the system has written it out; until then the changelog has it.
    ///
    /// # Errors
    /// [`Error::Disk`]; the stores must be opened anew then.
    pub fn save(&self, stores: &mut [&mut Store], all: bool) -> Result<(), Error> {
        let bytes: usize = stores.iter().map(|store| store.unsaved()).sum();
        let behind = stores.iter().filter_map(|store| store.behind_ms()).max();
        if !behind.is_some_and(|ms| all || bytes >= UNSAVED || ms >= UNSAVED_MS) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for store in stores.iter_mut().filter(|store| store.behind_ms().is_some()) {
            store.take_unsaved(&mut entries);
        }
        self.write(entries).map_err(|e| self.disk(&e))
    }

    /// Writes entries of any stores, each key of which is there once.
    fn write(&self, mut entries: Vec<(Slice, Option<Slice>)>) -> fjall::Result<()> {
        if entries.len() < BULK {
            let mut batch = self.database.batch();
            let size =
                entries.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |value| value.len())).sum();
            for (key, value) in entries {
                match value {
                    Some(value) => batch.insert(&self.keyspace, key, value),
                    None => batch.remove(&self.keyspace, key),
                }
            }
            return self.commit(batch, size);
        }
        let order = in_order(&entries, |(key, _)| key);
        let mut tables = self.keyspace.start_ingestion()?;
        for at in order {
            match std::mem::take(&mut entries[at]) {
                (key, Some(value)) => tables.write(key, value)?,
                (key, None) => tables.write_tombstone(key)?,
            }
        }
        tables.finish()
    }

    /// Writes entries that come from the changelog, in the order in which they lie there, past all pending changes: a
    /// tombstone where there is no value. The position says up to where the changelog has been followed then. Where many
    /// come at once, a crash in the middle can leave some of them without the position; they are the same when they come again.
    ///
    /// # Errors
    /// [`Error::Key`] for a key that no store has written, before anything is; [`Error::Disk`].
    pub fn load(&self, store: &mut Store, entries: &[Entry<'_>], position: Position) -> Result<(), Error> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        self.save(&mut [&mut *store], true)?;
        let mut batch = self.database.batch();
        if entries.len() < BULK {
            store.load_into(&mut batch, entries);
        } else {
            self.ingest(store, entries).map_err(|e| self.disk(&e))?;
        }
        store.stand(&mut batch, position);
        let size = entries.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.commit(batch, size).map_err(|e| self.disk(&e))
    }

    /// Commits what goes by the journal, so many bytes. Tables that are written past the memory empty it on the way, so that it might never
    /// be full, which is when the journal is cut: it is cut by what went into it.
    fn commit(&self, batch: OwnedWriteBatch, size: usize) -> fjall::Result<()> {
        batch.commit()?;
        if self.journaled.fetch_add(size, Ordering::Relaxed) + size >= MEMTABLE as usize {
            self.journaled.store(0, Ordering::Relaxed);
            self.keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    fn ingest(&self, store: &Store, entries: &[Entry<'_>]) -> fjall::Result<()> {
        let order = in_order(entries, |(key, _)| key);
        let mut tables = self.keyspace.start_ingestion()?;
        // Of several entries of a key the last one holds.
        for same in order.chunk_by(|one, other| entries[*one].0 == entries[*other].0) {
            match same.last().map(|at| entries[*at]) {
                Some((key, Some(value))) => tables.write(store.numbered(key), value)?,
                Some((key, None)) => tables.write_tombstone(store.numbered(key))?,
                None => {}
            }
        }
        tables.finish()
    }

    /// Bytes it takes on the disk.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn disk_space(&self) -> Result<u64, Error> {
        self.database.disk_space().map_err(|e| self.disk(&e))
    }
}

/// The indexes of entries by their keys, and of equal ones as they came. Nearly all is decided by a few bytes behind what all keys have in
/// common, which lie beside each other: to look up two keys for each comparison would take most of the time.
fn in_order<E>(entries: &[E], key: impl Fn(&E) -> &[u8]) -> Vec<usize> {
    let first = entries.first().map_or(&[][..], &key);
    let common = |entry: &E| first.iter().zip(key(entry)).take_while(|(one, other)| one == other).count();
    let skipped = entries.iter().map(common).min().unwrap_or_default();
    let head = |entry: &E| {
        let mut head = [0; 16];
        let rest = key(entry).get(skipped..).unwrap_or_default();
        let length = rest.len().min(head.len());
        head[..length].copy_from_slice(&rest[..length]);
        u128::from_be_bytes(head)
    };
    let mut order: Vec<(u128, usize)> = entries.iter().map(head).zip(0..).collect();
    order.sort_unstable_by(|(one, i), (other, j)| {
        one.cmp(other).then_with(|| key(&entries[*i]).cmp(key(&entries[*j]))).then(i.cmp(j))
    });
    order.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::in_order;

    proptest! {
        #[test]
        fn keys_are_put_in_order(
            keys in prop::collection::vec(("(|same-for-nearly-all-of-them)(|0123456789abcdef)[ab\\x00]{0,4}", any::<u8>()), 0..40)
        ) {
            let mut expected: Vec<usize> = (0..keys.len()).collect();
            expected.sort_by_key(|at| &keys[*at].0);
            prop_assert_eq!(in_order(&keys, |(key, _)| key.as_bytes()), expected);
        }
    }
}
