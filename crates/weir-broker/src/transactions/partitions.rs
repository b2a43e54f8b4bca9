//! Which partitions are part of a transaction: AddPartitionsToTxn, AddOffsetsToTxn, and the question that every transactional
//! append asks first.

use super::state::State;
use super::{Caller, Perform, TopicPartition, TransactionError, Transactions};

/// The first Produce version whose partitions are added by being written to (KIP-890).
const PRODUCE_ADDS: i16 = 12;
/// The first TxnOffsetCommit version that adds the offsets partition by itself (KIP-890).
const OFFSET_COMMIT_ADDS: i16 = 5;

impl Transactions {
    /// AddPartitionsToTxn (API 24): one transaction of the request, not verify-only. The caller has checked that the
    /// partitions exist.
    ///
    /// # Errors
    /// INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED (INVALID_PRODUCER_EPOCH below version 2),
    /// CONCURRENT_TRANSACTIONS, COORDINATOR_NOT_AVAILABLE: the same for every partition of the transaction.
    pub fn add_partitions(
        &mut self,
        caller: &Caller<'_>,
        partitions: &[TopicPartition],
        now: i64,
        perform: Perform<'_>,
    ) -> Result<(), TransactionError> {
        let version = if caller.version > 3 { 2 } else { 0 };
        self.add(caller, partitions, version, now, perform).map_err(|error| error.before(caller.version, 2))
    }

    /// AddOffsetsToTxn (API 25): the partition with the committed offsets of every group takes part.
    ///
    /// # Errors
    /// As [`Transactions::add_partitions`].
    pub fn add_offsets(&mut self, caller: &Caller<'_>, now: i64, perform: Perform<'_>) -> Result<(), TransactionError> {
        let offsets = [self.offsets.clone()];
        self.add(caller, &offsets, 0, now, perform).map_err(|error| error.before(caller.version, 2))
    }

    /// AddPartitionsToTxn with VerifyOnly (version 4 on): whether each partition is part of the ongoing transaction. One answer
    /// for each partition, in order.
    ///
    /// # Errors
    /// For each partition INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS, or
    /// TRANSACTION_ABORTABLE where the partition was not added.
    pub fn verify_only(&self, caller: &Caller<'_>, partitions: &[TopicPartition]) -> Vec<Result<(), TransactionError>> {
        partitions.iter().map(|partition| self.verify(caller, partition)).collect()
    }

    /// Whether the transactional batches of a Produce request (API 0) may be appended: one answer for each partition, in order.
    /// From version 12 on, the partitions become part of the transaction by this call; before that they must have been added.
    ///
    /// The guards of the logs were taken before; see the module documentation for the order of the steps.
    ///
    /// # Errors
    /// For each partition INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE (TRANSACTION_ABORTABLE in
    /// version 11), CONCURRENT_TRANSACTIONS (NOT_ENOUGH_REPLICAS below version 12), NOT_ENOUGH_REPLICAS.
    pub fn verify_produce(
        &mut self,
        caller: &Caller<'_>,
        partitions: &[TopicPartition],
        now: i64,
        perform: Perform<'_>,
    ) -> Vec<Result<(), TransactionError>> {
        let answers = if partitions.is_empty() {
            // Nothing passed the logs' own checks. That must not begin a transaction.
            Vec::new()
        } else if caller.version >= PRODUCE_ADDS {
            vec![self.add(caller, partitions, 2, now, perform); partitions.len()]
        } else {
            self.verify_only(caller, partitions)
        };
        let translate = |error| match error {
            TransactionError::ProducerFenced => TransactionError::InvalidProducerEpoch,
            TransactionError::TransactionAbortable if caller.version < 11 => TransactionError::InvalidTxnState,
            // Older clients would give up on it; this one they retry without asking for metadata first.
            TransactionError::ConcurrentTransactions if caller.version < PRODUCE_ADDS => {
                TransactionError::NotEnoughReplicas
            }
            TransactionError::CoordinatorNotAvailable => TransactionError::NotEnoughReplicas,
            other => other,
        };
        answers.into_iter().map(|answer| answer.map_err(translate)).collect()
    }

    /// Whether the offsets of a TxnOffsetCommit request (API 28) may be appended. From version 5 on, the partition of the
    /// offsets becomes part of the transaction by this call; before that, AddOffsetsToTxn must have added it.
    ///
    /// The caller keeps these transactions locked until the offsets are appended; see the module documentation.
    ///
    /// # Errors
    /// INVALID_PRODUCER_ID_MAPPING, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE (TRANSACTION_ABORTABLE in version 4),
    /// CONCURRENT_TRANSACTIONS, COORDINATOR_NOT_AVAILABLE.
    pub fn verify_offset_commit(
        &mut self,
        caller: &Caller<'_>,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<(), TransactionError> {
        let offsets = self.offsets.clone();
        let answer = if caller.version >= OFFSET_COMMIT_ADDS {
            self.add(caller, &[offsets], 2, now, perform)
        } else {
            self.verify(caller, &offsets)
        };
        answer.map_err(|error| match error {
            TransactionError::ProducerFenced => TransactionError::InvalidProducerEpoch,
            TransactionError::TransactionAbortable if caller.version < 4 => TransactionError::InvalidTxnState,
            other => other,
        })
    }

    fn verify(&self, caller: &Caller<'_>, partition: &TopicPartition) -> Result<(), TransactionError> {
        let (_, entry) = self.of(caller)?;
        if caller.producer.epoch != entry.producer.epoch {
            return Err(TransactionError::ProducerFenced);
        }
        if entry.state.is_prepared() {
            return Err(TransactionError::ConcurrentTransactions);
        }
        if entry.partitions.contains(partition) { Ok(()) } else { Err(TransactionError::TransactionAbortable) }
    }

    fn add(
        &mut self,
        caller: &Caller<'_>,
        partitions: &[TopicPartition],
        version: i16,
        now: i64,
        perform: Perform<'_>,
    ) -> Result<(), TransactionError> {
        let (id, entry) = self.of(caller)?;
        if caller.producer.epoch != entry.producer.epoch {
            return Err(TransactionError::ProducerFenced);
        }
        if entry.state.is_prepared() {
            return Err(TransactionError::ConcurrentTransactions);
        }
        if entry.state == State::Ongoing && partitions.iter().all(|partition| entry.partitions.contains(partition)) {
            return Ok(());
        }
        let next = entry.added(partitions, version, now);
        self.write(&id, next, perform)?;
        Ok(())
    }
}
