//! InitProducerId: who may call itself the producer of a transactional id, and under which id and epoch.

use super::state::{Entry, State};
use super::{Perform, Producer, TransactionError, Transactions};
use std::sync::Arc;

/// What InitProducerId (API 22) asks for.
#[derive(Debug, Clone, Copy)]
pub struct InitProducerId<'a> {
    /// Version of the request.
    pub version: i16,
    /// The transactional id; `None` for an idempotent producer without transactions.
    pub transactional_id: Option<&'a str>,
    /// `transaction.timeout.ms` of the client, in ms.
    pub timeout_ms: i32,
    /// What the client believes to be (KIP-360, from version 3 on); [`Producer::NONE`] where it says nothing.
    pub producer: Producer,
    /// `Enable2Pc` of version 6 (KIP-939), which this broker refuses as Kafka does while two-phase commit is off.
    pub two_phase: bool,
    /// `KeepPreparedTxn` of version 6 (KIP-939), refused like it.
    pub keep_prepared: bool,
}

impl Transactions {
    /// Hands out a producer id and epoch, and fences every older producer of the transactional id.
    ///
    /// An ongoing transaction of the id is aborted first. Kafka answers CONCURRENT_TRANSACTIONS then and does it meanwhile;
    /// here the markers are written at once, so the first answer is the final one. Unlike in Kafka, a zombie that names an
    /// older epoch is told so without the ongoing transaction being touched.
    ///
    /// # Errors
    /// INVALID_REQUEST, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_VERSION, INVALID_TRANSACTION_TIMEOUT,
    /// PRODUCER_FENCED (INVALID_PRODUCER_EPOCH below version 4), CONCURRENT_TRANSACTIONS, COORDINATOR_NOT_AVAILABLE.
    pub fn init_producer_id(
        &mut self,
        request: &InitProducerId<'_>,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        let expected = match request.producer {
            Producer::NONE => None,
            Producer { id: -1, .. } | Producer { epoch: -1, .. } => return Err(TransactionError::InvalidRequest),
            producer => Some(producer),
        };
        let Some(transactional_id) = request.transactional_id else {
            return Ok(Producer { id: self.take_id(perform)?, epoch: 0 });
        };
        if transactional_id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        if request.two_phase {
            return Err(TransactionError::TransactionalIdAuthorizationFailed);
        }
        if request.keep_prepared {
            return Err(TransactionError::UnsupportedVersion);
        }
        if request.timeout_ms <= 0 || request.timeout_ms > self.config.max_timeout_ms {
            return Err(TransactionError::InvalidTransactionTimeout);
        }
        self.initialise(transactional_id, expected, request.timeout_ms, now, perform)
            .map_err(|error| error.before(request.version, 4))
    }

    fn initialise(
        &mut self,
        transactional_id: &str,
        expected: Option<Producer>,
        timeout_ms: i32,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Producer, TransactionError> {
        let (id, mut entry) = match self.entry(transactional_id) {
            Some((id, entry)) => (id, entry.clone()),
            None => (Arc::from(transactional_id), Entry::new(self.take_id(perform)?, now)),
        };
        if !expected.is_none_or(|producer| is_known(&entry, producer)) {
            return Err(TransactionError::ProducerFenced);
        }
        if entry.state.is_prepared() {
            return Err(TransactionError::ConcurrentTransactions);
        }
        if entry.state == State::Ongoing {
            if expected.is_some_and(|producer| producer != entry.producer) {
                return Err(TransactionError::ProducerFenced);
            }
            self.fence(&id, now, perform)?;
            entry = match self.entry(transactional_id) {
                Some((_, entry)) if !entry.state.is_prepared() => entry.clone(),
                _ => return Err(TransactionError::ConcurrentTransactions),
            };
        }
        let next = self.renewed(&entry, expected, timeout_ms, now, perform)?;
        let producer = next.producer;
        self.write(&id, next, perform)?;
        Ok(producer)
    }

    /// The entry with the epoch to hand out, for a state that is Empty or Complete.
    fn renewed(
        &mut self,
        entry: &Entry,
        expected: Option<Producer>,
        timeout_ms: i32,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<Entry, TransactionError> {
        let current = entry.producer;
        let bumped = Producer { id: current.id, epoch: current.epoch.saturating_add(1) };
        let (producer, last_epoch) = match expected {
            None if entry.exhausted() => (Producer { id: self.take_id(perform)?, epoch: 0 }, -1),
            None => (bumped, -1),
            Some(producer) if producer.epoch == current.epoch && entry.exhausted() => {
                (Producer { id: self.take_id(perform)?, epoch: 0 }, current.epoch)
            }
            Some(producer) if current.epoch == -1 || producer.epoch == current.epoch => (bumped, current.epoch),
            // The answer to a successful call was lost. Nobody else was initialised in between: that sets the last epoch to -1.
            Some(producer) if producer.epoch == entry.last_epoch => (current, entry.last_epoch),
            Some(_) => return Err(TransactionError::ProducerFenced),
        };
        Ok(entry.initialised(producer, last_epoch, timeout_ms, now))
    }
}

/// Whether the producer id a client names can be its own: the current one, the one before where its epochs were used up (the
/// answer that told the new id was lost), or any where the transactional id has just been created.
fn is_known(entry: &Entry, producer: Producer) -> bool {
    entry.producer.epoch == -1
        || producer.id == entry.producer.id
        || (producer.id == entry.previous_id && producer.epoch >= super::state::LAST_EPOCH)
}
