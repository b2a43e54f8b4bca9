//! Producer ids and transactions.

use crate::{ErrorCode, Text};

message! {
    /// Asks for a producer id and epoch; for a transactional id, fences who had it before and ends what it left open.
    pub struct InitProducerIdRequest: InitProducerId 0..=5, flexible 2 {
        transactional_id: Option<Text>,
        transaction_timeout_ms: i32,
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }

    /// The producer id and epoch to write with.
    pub struct InitProducerIdResponse: InitProducerId 0..=5, flexible 2 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }

    /// Takes partitions into a transaction.
    ///
    /// From version 4 on brokers ask this of the coordinator, for several transactions, and may only verify (KIP-890).
    pub struct AddPartitionsToTxnRequest: AddPartitionsToTxn 0..=5, flexible 3 {
        transactions: Vec<AddPartitionsToTxnTransaction> [4..],
        v3_and_below_transactional_id: Text [..=3],
        v3_and_below_producer_id: i64 [..=3],
        v3_and_below_producer_epoch: i16 [..=3],
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [..=3],
    }

    /// One of the `transactions` of an [`AddPartitionsToTxnRequest`].
    pub struct AddPartitionsToTxnTransaction {
        transactional_id: Text,
        producer_id: i64,
        producer_epoch: i16,
        verify_only: bool,
        topics: Vec<AddPartitionsToTxnTopic>,
    }

    /// One of the `topics` of an [`AddPartitionsToTxnTransaction`].
    pub struct AddPartitionsToTxnTopic {
        name: Text,
        partitions: Vec<i32>,
    }

    /// Whether each partition is part of the transaction.
    pub struct AddPartitionsToTxnResponse: AddPartitionsToTxn 0..=5, flexible 3 {
        throttle_time_ms: i32,
        error_code: ErrorCode [4.., ignorable],
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..],
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [..=3],
    }

    /// One of the `results_by_transaction` of an [`AddPartitionsToTxnResponse`].
    pub struct AddPartitionsToTxnResult {
        transactional_id: Text,
        topic_results: Vec<AddPartitionsToTxnTopicResult>,
    }

    /// One of the `topic_results` of an [`AddPartitionsToTxnResult`].
    pub struct AddPartitionsToTxnTopicResult {
        name: Text,
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
    }

    /// One of the `results_by_partition` of an [`AddPartitionsToTxnTopicResult`].
    pub struct AddPartitionsToTxnPartitionResult {
        partition_index: i32,
        partition_error_code: ErrorCode,
    }

    /// Takes the offsets of a group into a transaction.
    pub struct AddOffsetsToTxnRequest: AddOffsetsToTxn 0..=4, flexible 3 {
        transactional_id: Text,
        producer_id: i64,
        producer_epoch: i16,
        group_id: Text,
    }

    /// Whether the group is part of the transaction.
    pub struct AddOffsetsToTxnResponse: AddOffsetsToTxn 0..=4, flexible 3 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
    }

    /// Stores offsets of a group that become visible when the transaction commits.
    pub struct TxnOffsetCommitRequest: TxnOffsetCommit 0..=5, flexible 3 {
        transactional_id: Text,
        group_id: Text,
        producer_id: i64,
        producer_epoch: i16,
        generation_id: i32 [3..] = -1,
        member_id: Text [3..],
        group_instance_id: Option<Text> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic>,
    }

    /// One of the `topics` of a [`TxnOffsetCommitRequest`].
    pub struct TxnOffsetCommitRequestTopic {
        name: Text,
        partitions: Vec<TxnOffsetCommitRequestPartition>,
    }

    /// One of the `partitions` of a [`TxnOffsetCommitRequestTopic`].
    pub struct TxnOffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [2.., ignorable] = -1,
        committed_metadata: Option<Text>,
    }

    /// Whether each offset was stored.
    pub struct TxnOffsetCommitResponse: TxnOffsetCommit 0..=5, flexible 3 {
        throttle_time_ms: i32,
        topics: Vec<TxnOffsetCommitResponseTopic>,
    }

    /// One of the `topics` of a [`TxnOffsetCommitResponse`].
    pub struct TxnOffsetCommitResponseTopic {
        name: Text,
        partitions: Vec<TxnOffsetCommitResponsePartition>,
    }

    /// One of the `partitions` of a [`TxnOffsetCommitResponseTopic`].
    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }

    /// Commits or aborts a transaction.
    pub struct EndTxnRequest: EndTxn 0..=5, flexible 3 {
        transactional_id: Text,
        producer_id: i64,
        producer_epoch: i16,
        committed: bool,
    }

    /// From version 5 on with the producer id and epoch for the next transaction (KIP-890).
    pub struct EndTxnResponse: EndTxn 0..=5, flexible 3 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        producer_id: i64 [5.., ignorable] = -1,
        producer_epoch: i16 [5.., ignorable] = -1,
    }

    /// Tells brokers that transactions have ended, to mark it in the logs.
    pub struct WriteTxnMarkersRequest: WriteTxnMarkers 1..=2, flexible 1 {
        markers: Vec<WritableTxnMarker>,
    }

    /// One of the `markers` of a [`WriteTxnMarkersRequest`].
    pub struct WritableTxnMarker {
        producer_id: i64,
        producer_epoch: i16,
        transaction_result: bool,
        topics: Vec<WritableTxnMarkerTopic>,
        coordinator_epoch: i32,
        transaction_version: i8 [2.., ignorable],
    }

    /// One of the `topics` of a [`WritableTxnMarker`].
    pub struct WritableTxnMarkerTopic {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    /// Whether each marker was written.
    pub struct WriteTxnMarkersResponse: WriteTxnMarkers 1..=2, flexible 1 {
        markers: Vec<WritableTxnMarkerResult>,
    }

    /// One of the `markers` of a [`WriteTxnMarkersResponse`].
    pub struct WritableTxnMarkerResult {
        producer_id: i64,
        topics: Vec<WritableTxnMarkerTopicResult>,
    }

    /// One of the `topics` of a [`WritableTxnMarkerResult`].
    pub struct WritableTxnMarkerTopicResult {
        name: Text,
        partitions: Vec<WritableTxnMarkerPartitionResult>,
    }

    /// One of the `partitions` of a [`WritableTxnMarkerTopicResult`].
    pub struct WritableTxnMarkerPartitionResult {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
