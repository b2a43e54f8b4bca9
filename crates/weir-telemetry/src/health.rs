//! Whether the service can do its work now, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The named conditions that keep a service from being ready. Clones share them.
///
/// A condition is set by whoever notices it and cleared by the same; each change stands in the log once, however often it is noticed.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, String>>>);

impl Health {
    /// A service that is ready. One that has to start up first sets a condition at once.
    pub fn new() -> Health {
        Health::default()
    }

    /// Not ready because of `condition`, such as `registry`; `reason` says what is wrong and what is being done about it.
    pub fn set(&self, condition: &str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut conditions = self.lock();
        if !conditions.contains_key(condition) {
            tracing::warn!(condition, reason, "not ready");
        }
        conditions.insert(condition.to_owned(), reason);
    }

    /// `condition` holds no longer.
    pub fn clear(&self, condition: &str) {
        let mut conditions = self.lock();
        if conditions.remove(condition).is_some() {
            tracing::info!(condition, ready = conditions.is_empty(), "condition cleared");
        }
    }

    /// Whether no condition is set.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// The conditions that are set, with their reasons.
    pub fn reasons(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }

    /// No code panics while it holds the lock, so what is behind it is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
