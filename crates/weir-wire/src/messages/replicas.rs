//! Where replicas lie and who leads them.

use crate::{ErrorCode, Text};

message! {
    /// Asks for an election of leaders; null is for all partitions.
    pub struct ElectLeadersRequest: ElectLeaders 0..=2, flexible 2 {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<ElectLeadersTopicPartitions>>,
        timeout_ms: i32 = 60000,
    }

    /// One of the `topic_partitions` of an [`ElectLeadersRequest`].
    pub struct ElectLeadersTopicPartitions {
        topic: Text,
        partitions: Vec<i32>,
    }

    /// The outcome for each partition.
    pub struct ElectLeadersResponse: ElectLeaders 0..=2, flexible 2 {
        throttle_time_ms: i32,
        error_code: ErrorCode [1..],
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    /// One of the `replica_election_results` of an [`ElectLeadersResponse`].
    pub struct ReplicaElectionResult {
        topic: Text,
        partition_result: Vec<PartitionResult>,
    }

    /// One of the `partition_result` of a [`ReplicaElectionResult`].
    pub struct PartitionResult {
        partition_id: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }

    /// Begins to move replicas, or cancels it (null).
    pub struct AlterPartitionReassignmentsRequest: AlterPartitionReassignments 0..=1, flexible 0 {
        timeout_ms: i32 = 60000,
        allow_replication_factor_change: bool [1..] = true,
        topics: Vec<ReassignableTopic>,
    }

    /// One of the `topics` of an [`AlterPartitionReassignmentsRequest`].
    pub struct ReassignableTopic {
        name: Text,
        partitions: Vec<ReassignablePartition>,
    }

    /// One of the `partitions` of a [`ReassignableTopic`].
    pub struct ReassignablePartition {
        partition_index: i32,
        replicas: Option<Vec<i32>>,
    }

    /// Whether each move began.
    pub struct AlterPartitionReassignmentsResponse: AlterPartitionReassignments 0..=1, flexible 0 {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1.., ignorable] = true,
        error_code: ErrorCode,
        error_message: Option<Text>,
        responses: Vec<ReassignableTopicResponse>,
    }

    /// One of the `responses` of an [`AlterPartitionReassignmentsResponse`].
    pub struct ReassignableTopicResponse {
        name: Text,
        partitions: Vec<ReassignablePartitionResponse>,
    }

    /// One of the `partitions` of a [`ReassignableTopicResponse`].
    pub struct ReassignablePartitionResponse {
        partition_index: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }

    /// Asks which replicas are moving; null is for all.
    pub struct ListPartitionReassignmentsRequest: ListPartitionReassignments 0..=0, flexible 0 {
        timeout_ms: i32 = 60000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// One of the `topics` of a [`ListPartitionReassignmentsRequest`].
    pub struct ListPartitionReassignmentsTopics {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    /// The moves that are under way.
    pub struct ListPartitionReassignmentsResponse: ListPartitionReassignments 0..=0, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        topics: Vec<OngoingTopicReassignment>,
    }

    /// One of the `topics` of a [`ListPartitionReassignmentsResponse`].
    pub struct OngoingTopicReassignment {
        name: Text,
        partitions: Vec<OngoingPartitionReassignment>,
    }

    /// One of the `partitions` of an [`OngoingTopicReassignment`].
    pub struct OngoingPartitionReassignment {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }

    /// Asks how much lies in the folders of a broker; null is for all topics.
    pub struct DescribeLogDirsRequest: DescribeLogDirs 1..=5, flexible 2 {
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    /// One of the `topics` of a [`DescribeLogDirsRequest`].
    pub struct DescribableLogDirTopic {
        topic: Text,
        partitions: Vec<i32>,
    }

    /// The folders and the partitions in them, in bytes.
    pub struct DescribeLogDirsResponse: DescribeLogDirs 1..=5, flexible 2 {
        throttle_time_ms: i32,
        error_code: ErrorCode [3.., ignorable],
        results: Vec<DescribeLogDirsResult>,
    }

    /// One of the `results` of a [`DescribeLogDirsResponse`].
    pub struct DescribeLogDirsResult {
        error_code: ErrorCode,
        log_dir: Text,
        topics: Vec<DescribeLogDirsTopic>,
        total_bytes: i64 [4.., ignorable] = -1,
        usable_bytes: i64 [4.., ignorable] = -1,
        is_cordoned: bool [5.., ignorable],
    }

    /// One of the `topics` of a [`DescribeLogDirsResult`].
    pub struct DescribeLogDirsTopic {
        name: Text,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    /// One of the `partitions` of a [`DescribeLogDirsTopic`].
    pub struct DescribeLogDirsPartition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}
