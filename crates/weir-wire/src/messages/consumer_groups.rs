//! The consumer group protocol of KIP-848.

use crate::{ErrorCode, Text, Uuid};

message! {
    /// Joins a consumer group (epoch 0), stays in it, or leaves it (-1; -2 for a while). Null is: as before.
    pub struct ConsumerGroupHeartbeatRequest: ConsumerGroupHeartbeat 0..=1, flexible 0 {
        group_id: Text,
        member_id: Text,
        member_epoch: i32,
        instance_id: Option<Text>,
        rack_id: Option<Text>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<Text>>,
        subscribed_topic_regex: Option<Text> [1..],
        server_assignor: Option<Text>,
        topic_partitions: Option<Vec<HeartbeatTopicPartitions>>,
    }

    /// Partitions of a topic, by id.
    pub struct HeartbeatTopicPartitions {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }

    /// The member's epoch, and its assignment where that has changed.
    pub struct ConsumerGroupHeartbeatResponse: ConsumerGroupHeartbeat 0..=1, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        member_id: Option<Text>,
        member_epoch: i32,
        heartbeat_interval_ms: i32,
        assignment: Option<HeartbeatAssignment>,
    }

    /// All partitions that the member may use now.
    pub struct HeartbeatAssignment {
        topic_partitions: Vec<HeartbeatTopicPartitions>,
    }

    /// Asks for the state and the members of consumer groups.
    pub struct ConsumerGroupDescribeRequest: ConsumerGroupDescribe 0..=1, flexible 0 {
        group_ids: Vec<Text>,
        include_authorized_operations: bool,
    }

    /// The groups with their members and assignments.
    pub struct ConsumerGroupDescribeResponse: ConsumerGroupDescribe 0..=1, flexible 0 {
        throttle_time_ms: i32,
        groups: Vec<DescribedConsumerGroup>,
    }

    /// One of the `groups` of a [`ConsumerGroupDescribeResponse`].
    pub struct DescribedConsumerGroup {
        error_code: ErrorCode,
        error_message: Option<Text>,
        group_id: Text,
        group_state: Text,
        group_epoch: i32,
        assignment_epoch: i32,
        assignor_name: Text,
        members: Vec<DescribedConsumerGroupMember>,
        authorized_operations: i32 = i32::MIN,
    }

    /// One of the `members` of a [`DescribedConsumerGroup`].
    pub struct DescribedConsumerGroupMember {
        member_id: Text,
        instance_id: Option<Text>,
        rack_id: Option<Text>,
        member_epoch: i32,
        client_id: Text,
        client_host: Text,
        subscribed_topic_names: Vec<Text>,
        subscribed_topic_regex: Option<Text>,
        assignment: ConsumerGroupAssignment,
        target_assignment: ConsumerGroupAssignment,
        member_type: i8 [1.., ignorable] = -1,
    }

    /// The partitions of a member.
    pub struct ConsumerGroupAssignment {
        topic_partitions: Vec<AssignedTopicPartitions>,
    }

    /// Partitions of a topic, by id and name.
    pub struct AssignedTopicPartitions {
        topic_id: Uuid,
        topic_name: Text,
        partitions: Vec<i32>,
    }
}
