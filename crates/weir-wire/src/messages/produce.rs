//! Appending record batches.

use crate::{ErrorCode, Text, Uuid};
use bytes::Bytes;

message! {
    /// Appends record batches to partitions.
    ///
    /// From version 12 on a transaction takes the partitions in by this alone (KIP-890). From 13 on topics have ids only.
    pub struct ProduceRequest: Produce 3..=13, flexible 9 {
        transactional_id: Option<Text>,
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    /// One of the `topic_data` of a [`ProduceRequest`].
    pub struct TopicProduceData {
        name: Text [..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partition_data: Vec<PartitionProduceData>,
    }

    /// One of the `partition_data` of a [`TopicProduceData`].
    pub struct PartitionProduceData {
        index: i32,
        records: Option<Bytes>,
    }

    /// Where the batches went, or why they did not. There is none where `acks` is 0.
    pub struct ProduceResponse: Produce 3..=13, flexible 9 {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
    } tagged {
        0 => node_endpoints: Vec<NodeEndpoint> [10..],
    }

    /// One of the `responses` of a [`ProduceResponse`].
    pub struct TopicProduceResponse {
        name: Text [..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partition_responses: Vec<PartitionProduceResponse>,
    }

    /// One of the `partition_responses` of a [`TopicProduceResponse`].
    pub struct PartitionProduceResponse {
        index: i32,
        error_code: ErrorCode,
        base_offset: i64,
        log_append_time_ms: i64 = -1,
        log_start_offset: i64 [5.., ignorable] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8.., ignorable],
        error_message: Option<Text> [8.., ignorable],
    } tagged {
        0 => current_leader: LeaderIdAndEpoch [10..],
    }

    /// A record that was not taken: its place in the batch, from 0, and why (KIP-467). Ascending by place.
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<Text>,
    }

    /// Who leads a partition now, told with NOT_LEADER_OR_FOLLOWER (KIP-951).
    pub struct LeaderIdAndEpoch {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    /// How to reach a leader that the client may not know yet (KIP-951).
    pub struct NodeEndpoint {
        node_id: i32,
        host: Text,
        port: i32,
        rack: Option<Text>,
    }
}
