//! One store: what is committed lies on the disk, what is pending in memory above it.

use std::collections::BTreeMap;
use std::ops::Bound;

use fjall::{Keyspace, OwnedWriteBatch};

use crate::Error;

/// The most bytes of a key.
pub(crate) const MAX_KEY: usize = 60_000;
/// Where the position lies. No key of a user begins like it.
const POSITION: &[u8] = &[0xFF, b'p'];
/// The form of a position.
const FORM: u8 = 1;

/// Up to where a store has followed its changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset of the changelog.
    pub next: i64,
    /// When it stood there, in milliseconds since the epoch. A copy that is older than tombstones are kept may hold what
    /// was deleted since, and nothing in the changelog says so any more.
    pub at_ms: i64,
}

/// The state of one task: keys in their order with their values.
///
/// Reads show what is pending as well. Changes stay pending until [`crate::Commit::add`], or until
/// [`Store::discard`].
pub struct Store {
    name: String,
    keyspace: Keyspace,
    pending: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    position: Option<Position>,
}

impl Store {
    pub(crate) fn new(name: String, keyspace: Keyspace) -> Result<Store, Error> {
        let mut store = Store { name, keyspace, pending: BTreeMap::new(), position: None };
        let found = store.keyspace.get(POSITION).map_err(|e| store.disk(&e))?;
        store.position = match found.as_deref() {
            None => None,
            Some(bytes) => Some(read_position(bytes).ok_or_else(|| Error::Form(store.name.clone()))?),
        };
        Ok(store)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Up to where it has followed its changelog; `None` for one that is empty.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Appends the value under a key to `value` and says whether there is one.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, Error> {
        if let Some(pending) = self.pending.get(key) {
            value.extend_from_slice(pending.as_deref().unwrap_or_default());
            return Ok(pending.is_some());
        }
        let found = self.keyspace.get(key).map_err(|e| self.disk(&e))?;
        value.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    /// Sets the value under a key.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.set(key, Some(value))
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// [`Error::Key`].
    pub fn delete(&mut self, key: &[u8]) -> Result<(), Error> {
        self.set(key, None)
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        check_key(key)?;
        match self.pending.get_mut(key) {
            // The room of the value before is used again: a key that is hot changes many times in a transaction.
            Some(Some(known)) if value.is_some() => {
                known.clear();
                known.extend_from_slice(value.unwrap_or_default());
            }
            Some(known) => *known = value.map(<[u8]>::to_vec),
            None => drop(self.pending.insert(key.to_vec(), value.map(<[u8]>::to_vec))),
        }
        Ok(())
    }

    /// Visits all keys that begin with `prefix`, in their order, until `visit` gives `false`.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let mut above = self.pending.range::<[u8], _>(range).take_while(|(key, _)| key.starts_with(prefix)).peekable();
        for below in self.keyspace.prefix(prefix) {
            let (key, value) = below.into_inner().map_err(|e| self.disk(&e))?;
            if key.first() == Some(&0xFF) {
                continue;
            }
            while let Some((pending, change)) = above.next_if(|(pending, _)| ***pending < *key) {
                if let Some(value) = change
                    && !visit(pending, value)
                {
                    return Ok(());
                }
            }
            let shown = match above.next_if(|(pending, _)| ***pending == *key) {
                Some((_, Some(change))) => visit(&key, change),
                Some((_, None)) => true,
                None => visit(&key, &value),
            };
            if !shown {
                return Ok(());
            }
        }
        for (pending, change) in above {
            if let Some(value) = change
                && !visit(pending, value)
            {
                break;
            }
        }
        Ok(())
    }

    /// What is pending, for the changelog: each key once, a tombstone where there is no value.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.pending.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Whether anything is pending.
    pub fn is_changed(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Drops what is pending: the transaction was undone.
    pub fn discard(&mut self) {
        self.pending.clear();
    }

    /// Makes it empty, its position too: a copy that cannot be brought up to date is filled from the beginning.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn clear(&mut self) -> Result<(), Error> {
        self.pending.clear();
        self.keyspace.clear().map_err(|e| self.disk(&e))?;
        self.position = None;
        Ok(())
    }

    pub(crate) fn commit_into(&mut self, batch: &mut OwnedWriteBatch, position: Position) {
        for (key, value) in std::mem::take(&mut self.pending) {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        self.stand(batch, position);
    }

    pub(crate) fn load_into<'e>(
        &mut self,
        batch: &mut OwnedWriteBatch,
        entries: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
        position: Position,
    ) -> Result<(), Error> {
        for (key, value) in entries {
            check_key(key)?;
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        self.stand(batch, position);
        Ok(())
    }

    fn stand(&mut self, batch: &mut OwnedWriteBatch, position: Position) {
        let mut bytes = [FORM; 17];
        bytes[1..9].copy_from_slice(&position.next.to_be_bytes());
        bytes[9..].copy_from_slice(&position.at_ms.to_be_bytes());
        batch.insert(&self.keyspace, POSITION, bytes);
        self.position = Some(position);
    }

    fn disk(&self, error: &fjall::Error) -> Error {
        Error::Disk(self.name.clone(), error.to_string())
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    match key {
        [] | [0xFF, ..] => Err(Error::Key(key.len())),
        _ if key.len() > MAX_KEY => Err(Error::Key(key.len())),
        _ => Ok(()),
    }
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let rest = bytes.strip_prefix(&[FORM])?;
    let (next, at) = rest.split_first_chunk::<8>()?;
    Some(Position { next: i64::from_be_bytes(*next), at_ms: i64::from_be_bytes(at.try_into().ok()?) })
}
