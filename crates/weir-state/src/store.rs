//! One store: what is committed lies on the disk, what is pending in memory above it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Bound;

use fjall::{Keyspace, OwnedWriteBatch, Slice};
use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::{RawEntryApiV1, RawEntryMut};

use crate::Error;

/// The most bytes of a key.
pub(crate) const MAX_KEY: usize = 60_000;
/// Where the position lies. No key of a user begins like it.
const POSITION: &[u8] = &[0xFF, b'p'];
/// The form of a position.
const FORM: u8 = 1;

/// Entries whose room a store keeps when they are saved, to be used again: some megabytes.
const KEPT: usize = 1 << 16;
/// Bytes that an entry takes in memory besides its key and its value.
const OVERHEAD: usize = 64;

/// What stands in front of the keys of a store.
pub(crate) type Number = [u8; 4];

/// A key of a changelog with its value; a tombstone where there is none.
pub type Entry<'e> = (&'e [u8], Option<&'e [u8]>);

/// What is above the disk, in the form in which the disk takes it: a short key lies in its place, and nothing is copied when it is saved.
type Changes = IndexMap<Slice, Change, foldhash::fast::RandomState>;

/// The newest value of a key.
#[derive(Clone)]
struct Change {
    /// None where the key was removed.
    value: Option<Slice>,
    /// The number of the transaction it is of.
    of: u64,
}

impl Change {
    /// Bytes it takes in memory, with its key.
    fn size(&self, key: &Slice) -> usize {
        key.len() + self.value.as_ref().map_or(0, |value| value.len()) + OVERHEAD
    }
}

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
/// Reads show what is pending as well. Changes stay pending until [`Store::commit`], or until [`Store::discard`]; what is
/// committed stays in memory until [`crate::Folder::save`].
pub struct Store {
    name: String,
    keyspace: Keyspace,
    /// What stands in front of its keys there, and here.
    number: Number,
    /// What is pending, and what is committed and not yet on the disk: a key that was touched a moment ago is most often touched
    /// again, and is written once for many commits.
    changes: Changes,
    /// Where in it lies what is pending, and what was there before. Keys that are new there lie at its end.
    pending: Vec<(usize, Option<Change>)>,
    /// The number of the transaction that is open.
    transaction: u64,
    /// Bytes of what is committed and not on the disk.
    bytes: usize,
    /// The keys of the changes in their order, once a scan has asked for it: most states are never scanned, or seldom.
    order: RefCell<Option<BTreeSet<Slice>>>,
    position: Option<Position>,
    /// The position on the disk.
    saved: Option<Position>,
    /// Room for a key with its number.
    key: RefCell<Vec<u8>>,
}

impl Store {
    pub(crate) fn new(name: String, keyspace: Keyspace, number: Number) -> Result<Store, Error> {
        let mut store = Store {
            name,
            keyspace,
            number,
            changes: Changes::default(),
            pending: Vec::new(),
            transaction: 1,
            bytes: 0,
            order: RefCell::default(),
            position: None,
            saved: None,
            key: RefCell::default(),
        };
        let found = store.keyspace.get(store.numbered(POSITION)).map_err(|e| store.disk(&e))?;
        store.position = match found.as_deref() {
            None => None,
            Some(bytes) => Some(read_position(bytes).ok_or_else(|| Error::Form(store.name.clone()))?),
        };
        store.saved = store.position;
        Ok(store)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// Goes on under a number under which nothing lies.
    pub(crate) fn renew(&mut self, number: Number) {
        self.number = number;
        self.discard();
        (self.changes, self.bytes) = (Changes::default(), 0);
        (self.position, self.saved) = (None, None);
    }

    pub(crate) fn numbered(&self, key: &[u8]) -> Vec<u8> {
        [&self.number[..], key].concat()
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
        let mut whole = self.key.borrow_mut();
        whole.clear();
        whole.extend_from_slice(&self.number);
        whole.extend_from_slice(key);
        if let Some(Change { value: known, .. }) = self.changes.get(whole.as_slice()) {
            value.extend_from_slice(known.as_deref().unwrap_or_default());
            return Ok(known.is_some());
        }
        let found = self.keyspace.get(&*whole).map_err(|e| self.disk(&e))?;
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
        let whole = self.key.get_mut();
        whole.clear();
        whole.extend_from_slice(&self.number);
        whole.extend_from_slice(key);
        let change = Change { value: value.map(Slice::from), of: self.transaction };
        match self.changes.raw_entry_mut_v1().from_key(whole.as_slice()) {
            RawEntryMut::Occupied(mut known) => {
                let (at, known) = (known.index(), known.get_mut());
                let before = std::mem::replace(known, change);
                if before.of != self.transaction {
                    self.pending.push((at, Some(before)));
                }
            }
            RawEntryMut::Vacant(free) => {
                let key = Slice::from(&**whole);
                if let Some(order) = self.order.get_mut() {
                    order.insert(key.clone());
                }
                self.pending.push((free.index(), None));
                free.insert(key, change);
            }
        }
        Ok(())
    }

    /// Visits all keys that begin with `prefix`, in their order, until `visit` gives `false`.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        let prefix = &self.numbered(prefix)[..];
        let mut visit = |key: &[u8], value: &[u8]| visit(bare(key), value);
        let mut order = self.order.borrow_mut();
        let order = order.get_or_insert_with(|| self.changes.keys().cloned().collect());
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let above = order.range::<[u8], _>(range).take_while(|key| key.starts_with(prefix));
        let mut above = above.filter_map(|key| Some((key, &self.changes.get(&**key)?.value))).peekable();
        for below in self.keyspace.prefix(prefix) {
            let (key, value) = below.into_inner().map_err(|e| self.disk(&e))?;
            if bare(&key).first() == Some(&0xFF) {
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
        let changed = self.pending.iter().filter_map(|(at, _)| self.changes.get_index(*at));
        changed.map(|(key, change)| (bare(key), change.value.as_deref()))
    }

    /// Whether anything is pending.
    pub fn is_changed(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Drops what is pending: the transaction was undone.
    pub fn discard(&mut self) {
        let mut known = self.changes.len();
        for (at, before) in self.pending.drain(..) {
            match (before, self.changes.get_index_mut(at)) {
                (Some(before), Some((_, change))) => *change = before,
                _ => known -= 1,
            }
        }
        self.changes.truncate(known);
        *self.order.get_mut() = None;
    }

    /// Takes what is pending for committed, with the position in the changelog that it leads to. It lies in memory until
    /// [`crate::Folder::save`]; what is lost there is in the changelog behind the position that is on the disk.
    pub fn commit(&mut self, position: Position) {
        for (at, before) in &self.pending {
            if let Some((key, change)) = self.changes.get_index(*at) {
                self.bytes += change.size(key);
                self.bytes -= before.as_ref().map_or(0, |before| before.size(key));
            }
        }
        // A transaction that was larger than usual leaves no room behind that is not used.
        self.pending.shrink_to(2 * self.pending.len());
        self.pending.clear();
        self.transaction += 1;
        self.position = Some(position);
    }

    /// Bytes in memory that are not on the disk.
    pub(crate) fn unsaved(&self) -> usize {
        self.bytes
    }

    /// How far the disk is behind, in milliseconds; `None` where it is not.
    pub(crate) fn behind_ms(&self) -> Option<i64> {
        let position = self.position.filter(|at| self.saved != Some(*at))?;
        Some(self.saved.map_or(i64::MAX, |saved| position.at_ms.saturating_sub(saved.at_ms)))
    }

    /// Takes out what is to be written, the position with it, in no order. What is pending stays.
    pub(crate) fn take_unsaved(&mut self, into: &mut Vec<(Slice, Option<Slice>)>) {
        let changed = self.pending.iter().filter_map(|(at, _)| self.changes.get_index(*at));
        let pending: Vec<(Slice, Change)> = changed.map(|(key, change)| (key.clone(), change.clone())).collect();
        self.discard();
        into.extend(self.changes.drain(..).map(|(key, change)| (key, change.value)));
        self.changes.shrink_to(KEPT);
        for (key, change) in pending {
            self.pending.push((self.changes.len(), None));
            self.changes.insert(key, change);
        }
        self.bytes = 0;
        if let Some(position) = self.position {
            into.push((self.numbered(POSITION).into(), Some(Slice::from(write_position(position)))));
        }
        self.saved = self.position;
    }

    pub(crate) fn load_into(&self, batch: &mut OwnedWriteBatch, entries: &[Entry<'_>]) {
        for (key, value) in entries {
            let key = self.numbered(key);
            match value {
                Some(value) => batch.insert(&self.keyspace, key, *value),
                None => batch.remove(&self.keyspace, key),
            }
        }
    }

    pub(crate) fn stand(&mut self, batch: &mut OwnedWriteBatch, position: Position) {
        batch.insert(&self.keyspace, self.numbered(POSITION), write_position(position));
        (self.position, self.saved) = (Some(position), Some(position));
    }

    fn disk(&self, error: &fjall::Error) -> Error {
        Error::Disk(self.name.clone(), error.to_string())
    }
}

/// A key without the number in front.
fn bare(key: &[u8]) -> &[u8] {
    key.get(size_of::<Number>()..).unwrap_or_default()
}

pub(crate) fn check_key(key: &[u8]) -> Result<(), Error> {
    match key {
        [] | [0xFF, ..] => Err(Error::Key(key.len())),
        _ if key.len() > MAX_KEY => Err(Error::Key(key.len())),
        _ => Ok(()),
    }
}

fn write_position(position: Position) -> [u8; 17] {
    let mut bytes = [FORM; 17];
    bytes[1..9].copy_from_slice(&position.next.to_be_bytes());
    bytes[9..].copy_from_slice(&position.at_ms.to_be_bytes());
    bytes
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let rest = bytes.strip_prefix(&[FORM])?;
    let (next, at) = rest.split_first_chunk::<8>()?;
    Some(Position { next: i64::from_be_bytes(*next), at_ms: i64::from_be_bytes(at.try_into().ok()?) })
}
