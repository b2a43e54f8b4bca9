//! What compaction must know of transactions: whose records were aborted, and which markers nothing refers to any more.

use std::collections::{HashMap, HashSet};

use weir_wire::batch::Header;

use crate::log::aborted::Entry;

/// What a marker still is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Records of its transaction are, or were until now, in the log; an abort keeps its index entry.
    Needed(Option<Entry>),
    /// None are left: it may go once its delete horizon has passed.
    Spent,
}

/// The transactions that are open at the batch that is looked at, going up from the start of the log.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted transactions to come, by first offset, the next one last.
    coming: Vec<Entry>,
    /// By producer, and whether a batch of it was seen.
    aborted: HashMap<i64, (Entry, bool)>,
    committed: HashSet<i64>,
}

impl Transactions {
    /// Adds the aborted transactions that reach into the next part of the log; those known already are not added twice.
    pub(super) fn add(&mut self, mut entries: Vec<Entry>) {
        entries.append(&mut self.coming);
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.first, entry.producer_id)));
        entries.dedup();
        self.coming = entries;
    }

    /// Whether the records of a data batch were aborted.
    pub(super) fn is_aborted(&mut self, header: &Header) -> bool {
        self.advance(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id()) {
            // After its marker the producer may have begun another transaction.
            Some((entry, seen)) if header.last_offset() < entry.last => {
                *seen = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id());
                false
            }
        }
    }

    /// What a marker is for; `commit` is `None` for a control batch without one, which compaction has emptied before.
    pub(super) fn marker(&mut self, header: &Header, commit: Option<bool>) -> Use {
        self.advance(header.last_offset());
        let id = header.producer_id();
        match commit {
            Some(true) if self.committed.remove(&id) => Use::Needed(None),
            Some(false) => match self.aborted.remove(&id) {
                Some((entry, true)) => Use::Needed(Some(entry)),
                _ => Use::Spent,
            },
            _ => Use::Spent,
        }
    }

    fn advance(&mut self, offset: i64) {
        while let Some(entry) = self.coming.pop_if(|entry| entry.first <= offset) {
            let known = self.aborted.get(&entry.producer_id).is_some_and(|(known, _)| *known == entry);
            if entry.last >= offset && !known {
                self.aborted.insert(entry.producer_id, (entry, false));
            }
        }
    }
}
