//! What a task keeps between records, and what it is kept in: bytes under bytes, in the order of the keys.

use std::collections::BTreeMap;

/// Why a store could not do what it was asked: a fault of the system, never of the record.
#[derive(Debug, thiserror::Error)]
#[error("the state store failed: {0}")]
pub struct StateError(pub String);

/// The state of one task. What it puts and deletes is what a changelog carries; every value begins with the version of
/// its form.
pub trait State {
    /// Appends the value under a key to `value` and says whether there is one.
    ///
    /// # Errors
    /// [`StateError`] where the store cannot be read.
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError>;
    /// Sets the value under a key.
    ///
    /// # Errors
    /// [`StateError`] where the store cannot be written.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError>;
    /// Removes the value under a key, if there is one.
    ///
    /// # Errors
    /// [`StateError`] where the store cannot be written.
    fn delete(&mut self, key: &[u8]) -> Result<(), StateError>;
    /// Visits all keys that begin with `prefix`, in their order, until `visit` gives `false`.
    ///
    /// # Errors
    /// [`StateError`] where the store cannot be read.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError>;
}

/// A state in memory, for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl State for Memory {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, StateError> {
        let found = self.0.get(key);
        value.extend_from_slice(found.map_or(&[], Vec::as_slice));
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        self.0.remove(key);
        Ok(())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        for (key, value) in self.0.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
