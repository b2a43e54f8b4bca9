//! One partition's place in its source: what was received, what was done with it, what may be committed.
//!
//! The rules it keeps, and the tests show: a position is committed only when every record below it has its action in
//! the same transaction; after an abort reading starts again at the first record of that transaction; every offset is
//! counted once however often it is read. It moves no bytes and talks to no broker.

use std::sync::Arc;

use crate::{Ledger, RecordView};

/// What was done with one record in the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent to the accepted topic as it was.
    Accepted,
    /// Sent to the accepted topic with headers added.
    Warned,
    /// Sent to the quarantine topic.
    Quarantined,
}

/// The actions of the open transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    accepted: u64,
    warned: u64,
    quarantined: u64,
    unreadable: u64,
}

/// The progress of one assigned partition. Dropping it hands back what is not committed (see
/// [`Counts::released`](crate::Counts::released)).
#[derive(Debug)]
pub struct Progress {
    topic: Arc<str>,
    ledger: Arc<Ledger>,
    /// Offsets below are done; `None` until the first record shows where the partition stands.
    next: Option<i64>,
    /// The first offset done in the open transaction: where to read again after an abort.
    base: Option<i64>,
    /// Offsets below were counted as received.
    seen: i64,
    /// Records received and not committed.
    pending: u64,
    done: Done,
}

impl Progress {
    /// Starts the books of a partition of `topic` that was just assigned.
    pub fn new(topic: Arc<str>, ledger: Arc<Ledger>) -> Progress {
        Progress { topic, ledger, next: None, base: None, seen: i64::MIN, pending: 0, done: Done::default() }
    }

    /// The next offset to be judged, once known.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// Whether a record at `offset` is still to be judged; one below the next offset was, and must be dropped.
    pub fn is_due(&self, offset: i64) -> bool {
        self.next.is_none_or(|next| offset >= next)
    }

    /// Counts records that are about to be shown to the stage, in offset order.
    pub fn receive(&mut self, records: &[RecordView<'_>]) {
        let Some(last) = records.last() else { return };
        let known = records.partition_point(|record| record.offset < self.seen);
        let fresh = (records.len() - known) as u64;
        if fresh > 0 {
            self.seen = last.offset + 1;
            self.count_received(fresh);
        }
    }

    /// Notes that the record at `offset` has its action in the open transaction.
    pub fn act(&mut self, offset: i64, outcome: Outcome) {
        debug_assert!(self.is_due(offset), "offset {offset} has its action already");
        self.advance(offset, offset + 1);
        match outcome {
            Outcome::Accepted => self.done.accepted += 1,
            Outcome::Warned => {
                self.done.accepted += 1;
                self.done.warned += 1;
            }
            Outcome::Quarantined => self.done.quarantined += 1,
        }
    }

    /// Notes that the records at `first` and up to `next` have their actions in the open transaction: so many of them were
    /// accepted, of these so many with a warning, and so many quarantined.
    pub fn act_run(&mut self, first: i64, next: i64, accepted: u64, warned: u64, quarantined: u64) {
        debug_assert!(self.is_due(first), "offset {first} has its action already");
        self.advance(first, next);
        self.done.accepted += accepted;
        self.done.warned += warned;
        self.done.quarantined += quarantined;
    }

    /// Notes that one entry in quarantine, in the open transaction, stands for the offsets `first..=last`.
    pub fn act_unreadable(&mut self, first: i64, last: i64) {
        if last >= self.seen {
            self.seen = last + 1;
            self.count_received(1);
        }
        self.advance(first, last + 1);
        self.done.quarantined += 1;
        self.done.unreadable += (last - first + 1).unsigned_abs();
    }

    /// The position to commit with the open transaction: offsets below it all have their action. `None` if the
    /// transaction holds nothing of this partition.
    pub fn position(&self) -> Option<i64> {
        self.base.and(self.next)
    }

    /// The transaction is committed.
    pub fn commit(&mut self) {
        let done = std::mem::take(&mut self.done);
        self.base = None;
        let total = done.accepted + done.quarantined;
        // What was read again after an abort need not be what was read first: retention may have deleted records in
        // between, or a batch that could not be read now can. Both are put right here, so the books always balance.
        let late = total.saturating_sub(self.pending);
        self.pending = (self.pending + late) - total;
        let caught_up = self.next.is_some_and(|next| next >= self.seen);
        let gone = if caught_up { std::mem::take(&mut self.pending) } else { 0 };
        self.ledger.update(&self.topic, |counts| {
            counts.received += late;
            counts.in_flight = counts.in_flight + late - total - gone;
            counts.accepted += done.accepted;
            counts.warned += done.warned;
            counts.quarantined += done.quarantined;
            counts.unreadable += done.unreadable;
            counts.released += gone;
        });
    }

    /// The transaction is aborted: returns the offset to read again from, `None` if it held nothing of this partition.
    pub fn abort(&mut self) -> Option<i64> {
        self.done = Done::default();
        let base = self.base.take();
        if base.is_some() {
            self.next = base;
        }
        base
    }

    /// The log was cut: other records will stand at `to` and behind than were read there. What the open transaction holds from
    /// there is to be aborted.
    pub fn cut(&mut self, to: i64) {
        self.next = self.next.map(|next| next.min(to));
        self.base = self.base.map(|base| base.min(to));
        self.seen = self.seen.min(to);
    }

    /// The transaction ended and nobody knows how; `committed` is the group's position asked for after the old producer
    /// was fenced. Books the transaction accordingly and returns the offset to read from, `None` if it held nothing of
    /// this partition.
    pub fn settle(&mut self, committed: Option<i64>) -> Option<i64> {
        let position = self.position()?;
        match committed {
            Some(committed) if committed >= position => {
                self.commit();
                self.next = Some(committed);
                self.next
            }
            _ => self.abort(),
        }
    }

    fn advance(&mut self, first: i64, next: i64) {
        self.base.get_or_insert(first);
        self.next = Some(next);
    }

    fn count_received(&mut self, records: u64) {
        self.pending += records;
        self.ledger.update(&self.topic, |counts| {
            counts.received += records;
            counts.in_flight += records;
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let pending = self.pending;
        if pending > 0 {
            self.ledger.update(&self.topic, |counts| {
                counts.in_flight -= pending;
                counts.released += pending;
            });
        }
    }
}
