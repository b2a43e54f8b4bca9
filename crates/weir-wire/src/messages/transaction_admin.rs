//! Looking at producers and transactions.

use crate::{ErrorCode, Text};

message! {
    /// Asks which producers have written to partitions of late (KIP-664).
    pub struct DescribeProducersRequest: DescribeProducers 0..=0, flexible 0 {
        topics: Vec<DescribeProducersTopicRequest>,
    }

    /// One of the `topics` of a [`DescribeProducersRequest`].
    pub struct DescribeProducersTopicRequest {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    /// The producers with their epochs and sequences.
    pub struct DescribeProducersResponse: DescribeProducers 0..=0, flexible 0 {
        throttle_time_ms: i32,
        topics: Vec<DescribeProducersTopicResponse>,
    }

    /// One of the `topics` of a [`DescribeProducersResponse`].
    pub struct DescribeProducersTopicResponse {
        name: Text,
        partitions: Vec<DescribeProducersPartitionResponse>,
    }

    /// One of the `partitions` of a [`DescribeProducersTopicResponse`].
    pub struct DescribeProducersPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        active_producers: Vec<ProducerState>,
    }

    /// One of the `active_producers` of a [`DescribeProducersPartitionResponse`].
    pub struct ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32 = -1,
        last_timestamp: i64 = -1,
        coordinator_epoch: i32,
        current_txn_start_offset: i64 = -1,
    }

    /// Asks for the state of transactional ids (KIP-664).
    pub struct DescribeTransactionsRequest: DescribeTransactions 0..=0, flexible 0 {
        transactional_ids: Vec<Text>,
    }

    /// The transactions with their partitions.
    pub struct DescribeTransactionsResponse: DescribeTransactions 0..=0, flexible 0 {
        throttle_time_ms: i32,
        transaction_states: Vec<DescribedTransactionState>,
    }

    /// One of the `transaction_states` of a [`DescribeTransactionsResponse`].
    pub struct DescribedTransactionState {
        error_code: ErrorCode,
        transactional_id: Text,
        transaction_state: Text,
        transaction_timeout_ms: i32,
        transaction_start_time_ms: i64,
        producer_id: i64,
        producer_epoch: i16,
        topics: Vec<TransactionTopicData>,
    }

    /// One of the `topics` of a [`DescribedTransactionState`].
    pub struct TransactionTopicData {
        topic: Text,
        partitions: Vec<i32>,
    }

    /// Asks for all transactional ids, or those of some states, producers, age (ms) or name.
    pub struct ListTransactionsRequest: ListTransactions 0..=2, flexible 0 {
        state_filters: Vec<Text>,
        producer_id_filters: Vec<i64>,
        duration_filter: i64 [1..] = -1,
        transactional_id_pattern: Option<Text> [2..],
    }

    /// The transactional ids that the broker coordinates.
    pub struct ListTransactionsResponse: ListTransactions 0..=2, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        unknown_state_filters: Vec<Text>,
        transaction_states: Vec<ListedTransactionState>,
    }

    /// One of the `transaction_states` of a [`ListTransactionsResponse`].
    pub struct ListedTransactionState {
        transactional_id: Text,
        producer_id: i64,
        transaction_state: Text,
    }
}
