//! Creating, growing and deleting topics.

use crate::{ErrorCode, Text, Uuid};

message! {
    /// Creates topics, or only checks whether they could be.
    pub struct CreateTopicsRequest: CreateTopics 2..=7, flexible 5 {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60000,
        validate_only: bool,
    }

    /// One of the `topics` of a [`CreateTopicsRequest`].
    pub struct CreatableTopic {
        name: Text,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    /// One of the `assignments` of a [`CreatableTopic`].
    pub struct CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    /// One of the `configs` of a [`CreatableTopic`].
    pub struct CreatableTopicConfig {
        name: Text,
        value: Option<Text>,
    }

    /// What became of each topic.
    pub struct CreateTopicsResponse: CreateTopics 2..=7, flexible 5 {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    /// One of the `topics` of a [`CreateTopicsResponse`].
    pub struct CreatableTopicResult {
        name: Text,
        topic_id: Uuid [7.., ignorable],
        error_code: ErrorCode,
        error_message: Option<Text>,
        num_partitions: i32 [5.., ignorable] = -1,
        replication_factor: i16 [5.., ignorable] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5.., ignorable] = Some(Vec::new()),
    } tagged {
        0 => topic_config_error_code: ErrorCode [ignorable],
    }

    /// One of the `configs` of a [`CreatableTopicResult`].
    pub struct CreatableTopicConfigs {
        name: Text,
        value: Option<Text>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }

    /// Deletes topics by name, from version 6 on also by id.
    pub struct DeleteTopicsRequest: DeleteTopics 1..=6, flexible 4 {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Text> [..=5, ignorable],
        timeout_ms: i32,
    }

    /// One of the `topics` of a [`DeleteTopicsRequest`].
    pub struct DeleteTopicState {
        name: Option<Text>,
        topic_id: Uuid,
    }

    /// Whether each topic was deleted.
    pub struct DeleteTopicsResponse: DeleteTopics 1..=6, flexible 4 {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    /// One of the `responses` of a [`DeleteTopicsResponse`].
    pub struct DeletableTopicResult {
        name: Option<Text> [nullable 6..],
        topic_id: Uuid [6.., ignorable],
        error_code: ErrorCode,
        error_message: Option<Text> [5.., ignorable],
    }

    /// Gives topics more partitions.
    pub struct CreatePartitionsRequest: CreatePartitions 0..=3, flexible 2 {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    /// One of the `topics` of a [`CreatePartitionsRequest`].
    pub struct CreatePartitionsTopic {
        name: Text,
        count: i32,
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    /// One of the `assignments` of a [`CreatePartitionsTopic`].
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }

    /// What became of each topic.
    pub struct CreatePartitionsResponse: CreatePartitions 0..=3, flexible 2 {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    /// One of the `results` of a [`CreatePartitionsResponse`].
    pub struct CreatePartitionsTopicResult {
        name: Text,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }
}
