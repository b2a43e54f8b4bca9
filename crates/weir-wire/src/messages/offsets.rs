//! Positions in a log: by time, by leader epoch, and where the log begins.

use crate::{ErrorCode, Text};

message! {
    /// Asks for the offset at a time (ms), or at one of the negative times that stand for the ends of the log.
    pub struct ListOffsetsRequest: ListOffsets 1..=11, flexible 6 {
        replica_id: i32,
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10.., ignorable],
    }

    /// One of the `topics` of a [`ListOffsetsRequest`].
    pub struct ListOffsetsTopic {
        name: Text,
        partitions: Vec<ListOffsetsPartition>,
    }

    /// One of the `partitions` of a [`ListOffsetsTopic`].
    pub struct ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4.., ignorable] = -1,
        timestamp: i64,
    }

    /// The first offset at or after each time; -1 where there is none.
    pub struct ListOffsetsResponse: ListOffsets 1..=11, flexible 6 {
        throttle_time_ms: i32 [2.., ignorable],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    /// One of the `topics` of a [`ListOffsetsResponse`].
    pub struct ListOffsetsTopicResponse {
        name: Text,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// One of the `partitions` of a [`ListOffsetsTopicResponse`].
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32 [4..] = -1,
    }

    /// Asks where a leader epoch ends, to find out whether a log was cut (KIP-320).
    pub struct OffsetForLeaderEpochRequest: OffsetForLeaderEpoch 2..=4, flexible 4 {
        replica_id: i32 [3.., ignorable] = -2,
        topics: Vec<OffsetForLeaderTopic>,
    }

    /// One of the `topics` of an [`OffsetForLeaderEpochRequest`].
    pub struct OffsetForLeaderTopic {
        topic: Text,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    /// One of the `partitions` of an [`OffsetForLeaderTopic`].
    pub struct OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 = -1,
        leader_epoch: i32,
    }

    /// The end offset of the largest epoch that is not above the one asked for; -1 where there is none.
    pub struct OffsetForLeaderEpochResponse: OffsetForLeaderEpoch 2..=4, flexible 4 {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// One of the `topics` of an [`OffsetForLeaderEpochResponse`].
    pub struct OffsetForLeaderTopicResult {
        topic: Text,
        partitions: Vec<EpochEndOffset>,
    }

    /// Where an epoch ends in one partition.
    pub struct EpochEndOffset {
        error_code: ErrorCode,
        partition: i32,
        leader_epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    /// Moves the beginning of logs up to an offset; -1 is the high watermark.
    pub struct DeleteRecordsRequest: DeleteRecords 0..=2, flexible 2 {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    /// One of the `topics` of a [`DeleteRecordsRequest`].
    pub struct DeleteRecordsTopic {
        name: Text,
        partitions: Vec<DeleteRecordsPartition>,
    }

    /// One of the `partitions` of a [`DeleteRecordsTopic`].
    pub struct DeleteRecordsPartition {
        partition_index: i32,
        offset: i64,
    }

    /// Where the logs begin now.
    pub struct DeleteRecordsResponse: DeleteRecords 0..=2, flexible 2 {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    /// One of the `topics` of a [`DeleteRecordsResponse`].
    pub struct DeleteRecordsTopicResult {
        name: Text,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    /// One of the `partitions` of a [`DeleteRecordsTopicResult`].
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: ErrorCode,
    }
}
