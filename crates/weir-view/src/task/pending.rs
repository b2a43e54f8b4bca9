//! What a record will do, until it is certain; and what of it is given up alone.

use std::collections::BTreeMap;

use super::{Emit, Output, Undefined};
use crate::state::{State, StateError};

/// What a record will do, until it is certain.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(super) writes: BTreeMap<Vec<u8>, Write>,
    /// What each write has replaced, while a mark is set.
    replaced: Option<Vec<(Vec<u8>, Option<Write>)>>,
    bytes: Vec<u8>,
    /// Key, value and time of each output; the bytes of both lie one after the other.
    outputs: Vec<Pend>,
    /// How many of the outputs, from the first, are of records that were held until now.
    pub(super) held: usize,
    /// The rows that are due and have no value.
    pub(super) undefined: Vec<Undefined>,
}

/// A value, or that there is none.
type Write = Option<Vec<u8>>;

/// What there was when a row was begun that may be given up.
pub(super) struct Mark {
    bytes: usize,
    outputs: usize,
    undefined: usize,
}

#[derive(Debug)]
struct Pend {
    key: Option<usize>,
    value: Option<usize>,
    time: i64,
    headers: bool,
}

/// Key, value and time.
type Made = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

impl Pending {
    pub(super) fn clear(&mut self) {
        self.writes.clear();
        self.replaced = None;
        self.bytes.clear();
        self.outputs.clear();
        self.held = 0;
        self.undefined.clear();
    }

    /// Begins a row that may be given up, until [`Pending::settle`].
    pub(super) fn mark(&mut self) -> Mark {
        self.replaced = Some(Vec::new());
        Mark { bytes: self.bytes.len(), outputs: self.outputs.len(), undefined: self.undefined.len() }
    }

    /// The row stays.
    pub(super) fn settle(&mut self) {
        self.replaced = None;
    }

    /// Gives a row up: all is as it was at the mark.
    pub(super) fn undo(&mut self, mark: Mark) {
        for (key, value) in self.replaced.take().into_iter().flatten().rev() {
            match value {
                Some(value) => self.writes.insert(key, value),
                None => self.writes.remove(&key),
            };
        }
        self.bytes.truncate(mark.bytes);
        self.outputs.truncate(mark.outputs);
        self.undefined.truncate(mark.undefined);
    }

    pub(super) fn output(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, time: i64, headers: bool) {
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.outputs.push(Pend { key: key.map(<[u8]>::len), value: value.map(<[u8]>::len), time, headers });
    }

    /// How many outputs there are so far.
    pub(super) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// The outputs, taken out: key, value and time of each.
    pub(super) fn taken(&mut self) -> Vec<Made> {
        let mut at = 0;
        let mut take = |length: Option<usize>| {
            let from = at;
            at += length.unwrap_or(0);
            length.and_then(|_| self.bytes.get(from..at)).map(<[u8]>::to_vec)
        };
        let made = self.outputs.drain(..).map(|Pend { key, value, time, .. }| (take(key), take(value), time)).collect();
        self.bytes.clear();
        made
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Write) {
        match &mut self.replaced {
            Some(replaced) => {
                let old = self.writes.insert(key.clone(), value);
                replaced.push((key, old));
            }
            None => drop(self.writes.insert(key, value)),
        }
    }

    /// What the state holds once the writes are done.
    pub(super) fn get(&self, state: &dyn State, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        match self.writes.get(key) {
            Some(None) => Ok(false),
            Some(Some(known)) => {
                value.extend_from_slice(known);
                Ok(true)
            }
            None => state.get(key, value),
        }
    }

    /// Visits what the state holds under a prefix once the writes are done, in the order of the keys, until `visit` gives
    /// `false`.
    pub(super) fn scan(
        &self,
        state: &dyn State,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StateError> {
        let written = self.writes.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let mut written = written.map(|(key, value)| (key.as_slice(), value.as_deref())).peekable();
        let mut goes = true;
        let mut see = |key: &[u8], value: Option<&[u8]>| {
            goes &= value.is_none_or(|value| goes && visit(key, value));
            goes
        };
        state.scan(prefix, &mut |key, value| {
            while let Some((before, value)) = written.next_if(|(written, _)| *written < key) {
                if !see(before, value) {
                    return false;
                }
            }
            let newer = written.next_if(|(written, _)| *written == key);
            see(key, newer.map_or(Some(value), |(_, value)| value))
        })?;
        _ = written.all(|(key, value)| see(key, value));
        Ok(())
    }

    pub(super) fn commit(&mut self, state: &mut dyn State, emit: &mut dyn Emit) -> Result<(), StateError> {
        for (key, value) in &self.writes {
            match value {
                Some(value) => state.put(key, value)?,
                None => state.delete(key)?,
            }
        }
        self.writes.clear();
        let mut at = 0;
        let mut take = |length: Option<usize>| {
            let from = at;
            at += length.unwrap_or(0);
            length.map(|_| &self.bytes[from..at])
        };
        for Pend { key, value, time, headers } in self.outputs.drain(..) {
            let (key, value) = (take(key), take(value));
            emit.emit(Output { key, value, time, headers });
        }
        Ok(())
    }
}
