//! Which stores are taken in this process.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which stores the workers of this process have. One is followed by a worker or as a copy, never both.
#[derive(Default)]
pub struct Owned {
    names: Mutex<BTreeSet<String>>,
    /// Workers that wait for a store.
    waiting: AtomicUsize,
}

impl Owned {
    /// Takes a store for a worker, once no copy of it is being written.
    pub fn take(&self, name: &str) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(name.to_owned());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives it back: the worker has dropped it.
    pub fn give_back(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether a worker waits for one.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The names; while they are held no worker takes another.
    pub fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
