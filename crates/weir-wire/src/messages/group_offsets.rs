//! The offsets a group has committed.

use crate::{ErrorCode, Text, Uuid};

message! {
    /// Stores how far a group has read. From version 10 on topics are named by id.
    pub struct OffsetCommitRequest: OffsetCommit 2..=10, flexible 8 {
        group_id: Text,
        generation_id_or_member_epoch: i32 = -1,
        member_id: Text,
        group_instance_id: Option<Text> [7..],
        retention_time_ms: i64 [..=4, ignorable] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }

    /// One of the `topics` of an [`OffsetCommitRequest`].
    pub struct OffsetCommitRequestTopic {
        name: Text [..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// One of the `partitions` of an [`OffsetCommitRequestTopic`].
    pub struct OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6.., ignorable] = -1,
        committed_metadata: Option<Text>,
    }

    /// Whether each offset was stored.
    pub struct OffsetCommitResponse: OffsetCommit 2..=10, flexible 8 {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    /// One of the `topics` of an [`OffsetCommitResponse`].
    pub struct OffsetCommitResponseTopic {
        name: Text [..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// One of the `partitions` of an [`OffsetCommitResponseTopic`].
    pub struct OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }

    /// Asks how far groups have read: one group up to version 7, several from 8 on (KIP-709).
    ///
    /// No topics (null) asks for all.
    pub struct OffsetFetchRequest: OffsetFetch 1..=10, flexible 6 {
        group_id: Text [..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7, nullable 2..] = Some(Vec::new()),
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }

    /// One of the `topics` of an [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestTopic {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    /// One of the `groups` of an [`OffsetFetchRequest`].
    pub struct OffsetFetchRequestGroup {
        group_id: Text,
        member_id: Option<Text> [9.., ignorable],
        member_epoch: i32 [9.., ignorable] = -1,
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    /// One of the `topics` of an [`OffsetFetchRequestGroup`].
    pub struct OffsetFetchRequestTopics {
        name: Text [..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partition_indexes: Vec<i32>,
    }

    /// The committed offsets; -1 where there is none.
    pub struct OffsetFetchResponse: OffsetFetch 1..=10, flexible 6 {
        throttle_time_ms: i32 [3.., ignorable],
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        error_code: ErrorCode [2..=7, ignorable],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// One of the `topics` of an [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseTopic {
        name: Text,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// One of the `partitions` of an [`OffsetFetchResponseTopic`].
    pub struct OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5.., ignorable] = -1,
        metadata: Option<Text>,
        error_code: ErrorCode,
    }

    /// One of the `groups` of an [`OffsetFetchResponse`].
    pub struct OffsetFetchResponseGroup {
        group_id: Text,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: ErrorCode,
    }

    /// One of the `topics` of an [`OffsetFetchResponseGroup`].
    pub struct OffsetFetchResponseTopics {
        name: Text [..=9, ignorable],
        topic_id: Uuid [10.., ignorable],
        partitions: Vec<OffsetFetchResponsePartitions>,
    }

    /// One of the `partitions` of an [`OffsetFetchResponseTopics`].
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        metadata: Option<Text>,
        error_code: ErrorCode,
    }

    /// Deletes committed offsets of topics that the group does not read any more (KIP-496).
    pub struct OffsetDeleteRequest: OffsetDelete 0..=0 {
        group_id: Text,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// One of the `topics` of an [`OffsetDeleteRequest`].
    pub struct OffsetDeleteRequestTopic {
        name: Text,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// One of the `partitions` of an [`OffsetDeleteRequestTopic`].
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32,
    }

    /// Whether each offset was deleted.
    pub struct OffsetDeleteResponse: OffsetDelete 0..=0 {
        error_code: ErrorCode,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// One of the `topics` of an [`OffsetDeleteResponse`].
    pub struct OffsetDeleteResponseTopic {
        name: Text,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// One of the `partitions` of an [`OffsetDeleteResponseTopic`].
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: ErrorCode,
    }
}
