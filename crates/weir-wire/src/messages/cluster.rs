//! The brokers as a cluster: nodes, quorum and features.

use crate::{ErrorCode, Text, Uuid};

message! {
    /// Asks for the brokers or controllers, without topics (KIP-700).
    pub struct DescribeClusterRequest: DescribeCluster 0..=2, flexible 0 {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }

    /// The id of the cluster, its controller and its nodes.
    pub struct DescribeClusterResponse: DescribeCluster 0..=2, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        endpoint_type: i8 [1..] = 1,
        cluster_id: Text,
        controller_id: i32 = -1,
        brokers: Vec<DescribeClusterBroker>,
        cluster_authorized_operations: i32 = i32::MIN,
    }

    /// One of the `brokers` of a [`DescribeClusterResponse`].
    pub struct DescribeClusterBroker {
        broker_id: i32,
        host: Text,
        port: i32,
        rack: Option<Text>,
        is_fenced: bool [2..],
    }

    /// Asks how far the voters of the metadata quorum are (KIP-595).
    pub struct DescribeQuorumRequest: DescribeQuorum 0..=2, flexible 0 {
        topics: Vec<QuorumTopicRequest>,
    }

    /// One of the `topics` of a [`DescribeQuorumRequest`].
    pub struct QuorumTopicRequest {
        topic_name: Text,
        partitions: Vec<QuorumPartitionRequest>,
    }

    /// One of the `partitions` of a [`QuorumTopicRequest`].
    pub struct QuorumPartitionRequest {
        partition_index: i32,
    }

    /// Leader, voters and observers of the metadata quorum.
    pub struct DescribeQuorumResponse: DescribeQuorum 0..=2, flexible 0 {
        error_code: ErrorCode,
        error_message: Option<Text> [2.., ignorable] = Some(Text::EMPTY),
        topics: Vec<QuorumTopicData>,
        nodes: Vec<QuorumNode> [2..],
    }

    /// One of the `topics` of a [`DescribeQuorumResponse`].
    pub struct QuorumTopicData {
        topic_name: Text,
        partitions: Vec<QuorumPartitionData>,
    }

    /// One of the `partitions` of a [`QuorumTopicData`].
    pub struct QuorumPartitionData {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Text> [2.., ignorable] = Some(Text::EMPTY),
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<QuorumReplicaState>,
        observers: Vec<QuorumReplicaState>,
    }

    /// One of the `current_voters` of a [`QuorumPartitionData`].
    pub struct QuorumReplicaState {
        replica_id: i32,
        replica_directory_id: Uuid [2..],
        log_end_offset: i64,
        last_fetch_timestamp: i64 [1.., ignorable] = -1,
        last_caught_up_timestamp: i64 [1.., ignorable] = -1,
    }

    /// One of the `nodes` of a [`DescribeQuorumResponse`].
    pub struct QuorumNode {
        node_id: i32,
        listeners: Vec<QuorumListener>,
    }

    /// One of the `listeners` of a [`QuorumNode`].
    pub struct QuorumListener {
        name: Text,
        host: Text,
        port: u16,
    }

    /// Sets the levels of the cluster's features, such as `transaction.version` (KIP-584).
    pub struct UpdateFeaturesRequest: UpdateFeatures 0..=2, flexible 0 {
        timeout_ms: i32 = 60000,
        feature_updates: Vec<FeatureUpdateKey>,
        validate_only: bool [1..],
    }

    /// One of the `feature_updates` of a [`UpdateFeaturesRequest`].
    pub struct FeatureUpdateKey {
        feature: Text,
        max_version_level: i16,
        allow_downgrade: bool [..=0],
        upgrade_type: i8 [1..] = 1,
    }

    /// What became of each feature; one error for all from version 2 on.
    pub struct UpdateFeaturesResponse: UpdateFeatures 0..=2, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        results: Vec<UpdatableFeatureResult> [..=1, ignorable],
    }

    /// One of the `results` of a [`UpdateFeaturesResponse`].
    pub struct UpdatableFeatureResult {
        feature: Text,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }
}
