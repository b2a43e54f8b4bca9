//! What becomes of every promise a contract makes, so that nothing is dropped silently.

use std::fmt;

use crate::diagnostic::Place;

/// How Weir keeps a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// Every event is judged by it.
    PerEvent,
    /// It is about many events; Weir can observe it but rejects no event for it.
    Measured,
    /// Weir can do nothing for it.
    Impossible,
}

impl How {
    /// The word `lint` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerEvent => "enforced",
            Self::Measured => "measured",
            Self::Impossible => "not enforced",
        }
    }
}

/// A promise of a contract and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Where the contract makes it.
    pub place: Place,
    /// What is promised.
    pub what: String,
    /// How it is kept.
    pub how: How,
    /// In which mode, or why not.
    pub why: String,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, how, why } = self;
        write!(f, "{}:{}: {}: {what}: {why}", place.line, place.column, how.name())
    }
}
