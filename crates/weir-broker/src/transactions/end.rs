//! EndTxn, and the end that the coordinator itself decides on: fencing, timeouts and the rest of an end that was cut short.

use super::state::{Entry, LAST_EPOCH, NONE, State};
use super::{Action, Caller, Failed, Marker, Perform, Producer, RETRY_MS, TransactionError, Transactions};
use std::sync::Arc;

/// The first EndTxn version that bumps the epoch and answers the producer id and epoch to go on with (KIP-890).
const END_BUMPS: i16 = 5;

/// What an EndTxn comes to.
enum Verdict {
    /// It was decided before; nothing is written.
    Known,
    /// It is to be decided.
    Decide,
}

impl Transactions {
    /// EndTxn (API 26): commits or aborts, and answers the producer id and epoch that the client goes on with. Responses below
    /// version 5 do not carry them.
    ///
    /// Once the decision is written, the answer is success, also where markers could not be written: as in Kafka, the rest is
    /// done later, and the client gets CONCURRENT_TRANSACTIONS until then.
    ///
    /// # Errors
    /// INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED (INVALID_PRODUCER_EPOCH below version 2),
    /// INVALID_TXN_STATE, CONCURRENT_TRANSACTIONS, COORDINATOR_NOT_AVAILABLE.
    pub fn end(
        &mut self,
        caller: &Caller<'_>,
        commit: bool,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        let ended = if caller.version >= END_BUMPS {
            self.end_and_bump(caller, commit, now, perform)
        } else {
            self.end_and_keep(caller, commit, now, perform)
        };
        ended.map_err(|error| error.before(caller.version, 2))
    }

    fn end_and_keep(
        &mut self,
        caller: &Caller<'_>,
        commit: bool,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        let (id, entry) = self.of(caller)?;
        if caller.producer.epoch != entry.producer.epoch {
            return Err(TransactionError::ProducerFenced);
        }
        let verdict = match (entry.state, commit) {
            (State::Ongoing, _) => Verdict::Decide,
            (State::CompleteCommit, true) | (State::CompleteAbort, false) => Verdict::Known,
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                return Err(TransactionError::ConcurrentTransactions);
            }
            _ => return Err(TransactionError::InvalidTxnState),
        };
        match verdict {
            Verdict::Known => Ok(entry.producer),
            Verdict::Decide => {
                let next = entry.prepared(commit, now);
                self.conclude(&id, next, now, perform)
            }
        }
    }

    fn end_and_bump(
        &mut self,
        caller: &Caller<'_>,
        commit: bool,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        if caller.transactional_id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        let (id, entry) = self.entry(caller.transactional_id).ok_or(TransactionError::InvalidProducerIdMapping)?;
        let current = entry.producer;
        let overflowed = entry.previous_id == caller.producer.id
            && current.id != caller.producer.id
            && caller.producer.epoch == LAST_EPOCH
            && current.epoch == 0;
        if current.id != caller.producer.id && !overflowed {
            return Err(TransactionError::InvalidProducerIdMapping);
        }
        // The last answer was lost: the client still has the epoch from before the bump. Kafka does not ask whether the last
        // end was one with a bump. It then serves a zombie of version 2 that a client of version 1 has fenced, as its retry.
        let retried = overflowed || (entry.version >= 2 && caller.producer.epoch.checked_add(1) == Some(current.epoch));
        let same = !overflowed && caller.producer.epoch == current.epoch;
        let valid = match entry.state {
            State::PrepareCommit | State::PrepareAbort => retried && !overflowed,
            State::CompleteCommit | State::CompleteAbort => retried || same,
            _ => same,
        };
        if !valid {
            return Err(TransactionError::ProducerFenced);
        }
        let verdict = match (entry.state, commit) {
            (State::Ongoing, _) => Verdict::Decide,
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                return Err(TransactionError::ConcurrentTransactions);
            }
            (State::CompleteCommit, true) | (State::CompleteAbort, false) if retried => Verdict::Known,
            // A transaction that the client began and that wrote nothing: only an abort is needed to end it.
            (State::Empty | State::CompleteCommit | State::CompleteAbort, false) if !retried => Verdict::Decide,
            _ => return Err(TransactionError::InvalidTxnState),
        };
        match verdict {
            Verdict::Known => Ok(current),
            Verdict::Decide => {
                let entry = entry.clone();
                let next = self.bumped(&entry, commit, now, perform)?;
                self.conclude(&id, next, now, perform)
            }
        }
    }

    /// Aborts the ongoing transaction in the coordinator's name, with an epoch that its producer does not have.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE where the decision could not be written. Markers that could not be written are no error.
    pub(super) fn fence(&mut self, id: &Arc<str>, now: i64, perform: Perform<'_>) -> Result<(), TransactionError> {
        let Some((_, entry)) = self.entry(id) else { return Ok(()) };
        let entry = entry.clone();
        let next = self.bumped(&entry, false, now, perform)?;
        self.conclude(id, next, now, perform)?;
        Ok(())
    }

    fn bumped(
        &mut self,
        entry: &Entry,
        commit: bool,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Entry, TransactionError> {
        let next_id = if entry.exhausted() { self.take_id(perform)? } else { NONE };
        Ok(entry.prepared_and_bumped(commit, next_id, now))
    }

    /// Writes the decision and does what follows from it.
    fn conclude(
        &mut self,
        id: &Arc<str>,
        prepared: Entry,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        let producer = prepared.completed(now).producer;
        self.write(id, prepared, perform)?;
        if self.finish(id, now, perform).is_err() {
            self.due(id, now + RETRY_MS);
        }
        Ok(producer)
    }

    /// Marks the partitions of a decided transaction and completes it. Doing it twice does no harm.
    ///
    /// # Errors
    /// Where an action failed; the state stays as it is.
    pub(super) fn finish(&mut self, id: &Arc<str>, now: i64, perform: Perform<'_>) -> Result<(), Failed> {
        let Some((_, entry)) = self.entry(id).filter(|(_, entry)| entry.state.is_prepared()) else { return Ok(()) };
        let next = entry.completed(now);
        if !entry.partitions.is_empty() {
            perform(Action::Mark(Marker {
                producer: entry.producer,
                commit: entry.state == State::PrepareCommit,
                transaction_version: if entry.version >= 2 { 2 } else { 0 },
                partitions: entry.partitions.iter().cloned().collect(),
            }))?;
        }
        self.write(id, next, perform)
    }
}
