//! The books: per source topic, what became of every record that was ever handed to a stage.
//!
//! One lock holds all topics, so a snapshot is consistent: in it, for every topic, received = accepted + quarantined +
//! in flight + released. The ledger lives as long as its process; it is not stored.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What happened to the records of one source topic, in records since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to a stage; an offset that is read again after an abort counts once.
    pub received: u64,
    /// Committed to the accepted topic.
    pub accepted: u64,
    /// Of the accepted ones, those that were given headers on the way.
    pub warned: u64,
    /// Committed to the quarantine topic. A range of unreadable offsets is one entry and counts as one record.
    pub quarantined: u64,
    /// Received and not yet committed.
    pub in_flight: u64,
    /// Received, not committed, and handed back because the partition moved to another member of the group.
    pub released: u64,
    /// Offsets that could not be read, each inside a range that stands as one entry in quarantine.
    pub unreadable: u64,
}

impl Counts {
    /// Whether every received record is accounted for.
    pub fn balanced(&self) -> bool {
        self.received == self.accepted + self.quarantined + self.in_flight + self.released
    }
}

/// The counts of all source topics of a process.
#[derive(Debug, Default)]
pub struct Ledger {
    topics: Mutex<BTreeMap<String, Counts>>,
}

impl Ledger {
    /// All topics at one instant.
    pub fn snapshot(&self) -> BTreeMap<String, Counts> {
        self.lock().clone()
    }

    /// One topic; zero if nothing of it was ever received.
    pub fn topic(&self, topic: &str) -> Counts {
        self.lock().get(topic).copied().unwrap_or_default()
    }

    pub(crate) fn update(&self, topic: &str, change: impl FnOnce(&mut Counts)) {
        let mut topics = self.lock();
        if let Some(counts) = topics.get_mut(topic) {
            return change(counts);
        }
        change(topics.entry(topic.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        // A panic between two additions is impossible, so a poisoned lock still guards consistent counts.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
