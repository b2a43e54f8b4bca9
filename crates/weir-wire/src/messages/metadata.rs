//! Where topics and their partitions are.

use crate::{ErrorCode, Text, Uuid};

message! {
    /// Asks for the brokers and for some topics; null (in version 0: none) asks for all.
    pub struct MetadataRequest: Metadata 0..=13, flexible 9 {
        topics: Option<Vec<MetadataRequestTopic>> [nullable 1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    /// One of the `topics` of a [`MetadataRequest`].
    pub struct MetadataRequestTopic {
        topic_id: Uuid [10.., ignorable],
        name: Option<Text> [nullable 10..],
    }

    /// The brokers, and the leader of each partition.
    pub struct MetadataResponse: Metadata 0..=13, flexible 9 {
        throttle_time_ms: i32 [3.., ignorable],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<Text> [2.., ignorable],
        controller_id: i32 [1.., ignorable] = -1,
        topics: Vec<MetadataResponseTopic>,
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: ErrorCode [13.., ignorable],
    }

    /// One of the `brokers` of a [`MetadataResponse`].
    pub struct MetadataResponseBroker {
        node_id: i32,
        host: Text,
        port: i32,
        rack: Option<Text> [1.., ignorable],
    }

    /// One of the `topics` of a [`MetadataResponse`].
    pub struct MetadataResponseTopic {
        error_code: ErrorCode,
        name: Option<Text> [nullable 12..],
        topic_id: Uuid [10.., ignorable],
        is_internal: bool [1.., ignorable],
        partitions: Vec<MetadataResponsePartition>,
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    /// One of the `partitions` of a [`MetadataResponseTopic`].
    pub struct MetadataResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [7.., ignorable] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5.., ignorable],
    }

    /// Asks for topics page by page, from a cursor on (KIP-966).
    pub struct DescribeTopicPartitionsRequest: DescribeTopicPartitions 0..=0, flexible 0 {
        topics: Vec<DescribeTopicPartitionsTopicRequest>,
        response_partition_limit: i32 = 2000,
        cursor: Option<Cursor>,
    }

    /// One of the `topics` of a [`DescribeTopicPartitionsRequest`].
    pub struct DescribeTopicPartitionsTopicRequest {
        name: Text,
    }

    /// The partition that a page begins with.
    pub struct Cursor {
        topic_name: Text,
        partition_index: i32,
    }

    /// A page of topics, and where the next one begins.
    pub struct DescribeTopicPartitionsResponse: DescribeTopicPartitions 0..=0, flexible 0 {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Option<Cursor>,
    }

    /// One of the `topics` of a [`DescribeTopicPartitionsResponse`].
    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode,
        name: Option<Text>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        topic_authorized_operations: i32 = i32::MIN,
    }

    /// One of the `partitions` of a [`DescribeTopicPartitionsResponseTopic`].
    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
