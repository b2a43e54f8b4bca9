//! Reading record batches.

use super::produce::{LeaderIdAndEpoch, NodeEndpoint};
use crate::{ErrorCode, Text, Uuid};
use bytes::Bytes;

message! {
    /// Reads record batches from partitions, waiting for `min_bytes` up to `max_wait_ms`.
    ///
    /// From version 7 on within a session that remembers the partitions (KIP-227); from 13 on topics are named by id.
    pub struct FetchRequest: Fetch 4..=18, flexible 12 {
        replica_id: i32 [..=14] = -1,
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        isolation_level: i8,
        session_id: i32 [7.., ignorable],
        session_epoch: i32 [7.., ignorable] = -1,
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: Text [11.., ignorable],
    } tagged {
        0 => cluster_id: Option<Text> [ignorable],
        1 => replica_state: ReplicaState [15..],
    }

    /// The follower that fetches (KIP-903); clients do not send it.
    pub struct ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }

    /// One of the `topics` of a [`FetchRequest`].
    pub struct FetchTopic {
        topic: Text [..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<FetchPartition>,
    }

    /// One of the `partitions` of a [`FetchTopic`].
    pub struct FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9.., ignorable] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5.., ignorable] = -1,
        partition_max_bytes: i32,
    } tagged {
        0 => replica_directory_id: Uuid [17.., ignorable],
        1 => high_watermark: i64 [18.., ignorable] = i64::MAX,
    }

    /// Partitions to take out of the session.
    pub struct ForgottenTopic {
        topic: Text [..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<i32>,
    }

    /// Record batches as they lie in the log; some brokers cut the last one of a partition short.
    pub struct FetchResponse: Fetch 4..=18, flexible 12 {
        throttle_time_ms: i32,
        error_code: ErrorCode [7.., ignorable],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse>,
    } tagged {
        0 => node_endpoints: Vec<NodeEndpoint> [16..],
    }

    /// One of the `responses` of a [`FetchResponse`].
    pub struct FetchableTopicResponse {
        topic: Text [..=12, ignorable],
        topic_id: Uuid [13.., ignorable],
        partitions: Vec<FetchPartitionData>,
    }

    /// One of the `partitions` of a [`FetchableTopicResponse`].
    pub struct FetchPartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64 [5.., ignorable] = -1,
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [11..] = -1,
        records: Option<Bytes>,
    } tagged {
        0 => diverging_epoch: DivergingEpoch,
        1 => current_leader: LeaderIdAndEpoch,
        2 => snapshot_id: SnapshotId,
    }

    /// Where the log of a follower parts from ours (KIP-595).
    pub struct DivergingEpoch {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    /// A snapshot to fetch instead (KIP-630).
    pub struct SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    /// A transaction whose records a `read_committed` reader must drop.
    pub struct AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}
