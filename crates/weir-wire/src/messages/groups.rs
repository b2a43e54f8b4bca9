//! Membership of a classic group, and where the coordinators are.

use crate::{ErrorCode, Text};
use bytes::Bytes;

message! {
    /// Asks which broker coordinates a group (key type 0) or a transactional id (1).
    ///
    /// Several at once from version 4 on (KIP-699).
    pub struct FindCoordinatorRequest: FindCoordinator 0..=6, flexible 3 {
        key: Text [..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<Text> [4..],
    }

    /// The coordinators; in the response itself up to version 3, in a list from 4 on.
    pub struct FindCoordinatorResponse: FindCoordinator 0..=6, flexible 3 {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode [..=3],
        error_message: Option<Text> [1..=3, ignorable] = Some(Text::EMPTY),
        node_id: i32 [..=3],
        host: Text [..=3],
        port: i32 [..=3],
        coordinators: Vec<FoundCoordinator> [4..],
    }

    /// The coordinator of one key.
    pub struct FoundCoordinator {
        key: Text,
        node_id: i32,
        host: Text,
        port: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }

    /// Joins a group or rejoins it, with the protocols that the member can follow.
    pub struct JoinGroupRequest: JoinGroup 0..=9, flexible 6 {
        group_id: Text,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [1.., ignorable] = -1,
        member_id: Text,
        group_instance_id: Option<Text> [5..],
        protocol_type: Text,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<Text> [8.., ignorable],
    }

    /// One of the `protocols` of a [`JoinGroupRequest`].
    pub struct JoinGroupRequestProtocol {
        name: Text,
        metadata: Bytes,
    }

    /// The generation that was formed. Only the leader is told the members, whom it must assign partitions to.
    pub struct JoinGroupResponse: JoinGroup 0..=9, flexible 6 {
        throttle_time_ms: i32 [2.., ignorable],
        error_code: ErrorCode,
        generation_id: i32 = -1,
        protocol_type: Option<Text> [7.., ignorable],
        protocol_name: Option<Text> [nullable 7..],
        leader: Text,
        skip_assignment: bool [9..],
        member_id: Text,
        members: Vec<JoinGroupResponseMember>,
    }

    /// One of the `members` of a [`JoinGroupResponse`].
    pub struct JoinGroupResponseMember {
        member_id: Text,
        group_instance_id: Option<Text> [5.., ignorable],
        metadata: Bytes,
    }

    /// Waits for the assignment of a generation; the leader brings it.
    pub struct SyncGroupRequest: SyncGroup 0..=5, flexible 4 {
        group_id: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text> [3..],
        protocol_type: Option<Text> [5.., ignorable],
        protocol_name: Option<Text> [5.., ignorable],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// One of the `assignments` of a [`SyncGroupRequest`].
    pub struct SyncGroupRequestAssignment {
        member_id: Text,
        assignment: Bytes,
    }

    /// What the member is assigned, in the format of its protocol.
    pub struct SyncGroupResponse: SyncGroup 0..=5, flexible 4 {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        protocol_type: Option<Text> [5.., ignorable],
        protocol_name: Option<Text> [5.., ignorable],
        assignment: Bytes,
    }

    /// Tells that a member lives, and asks whether it must rejoin.
    pub struct HeartbeatRequest: Heartbeat 0..=4, flexible 4 {
        group_id: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text> [3..],
    }

    /// REBALANCE_IN_PROGRESS where the member must rejoin.
    pub struct HeartbeatResponse: Heartbeat 0..=4, flexible 4 {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
    }

    /// Takes one member out of its group, several from version 3 on (KIP-345).
    pub struct LeaveGroupRequest: LeaveGroup 0..=5, flexible 4 {
        group_id: Text,
        member_id: Text [..=2],
        members: Vec<MemberIdentity> [3..],
    }

    /// One of the `members` of a [`LeaveGroupRequest`].
    pub struct MemberIdentity {
        member_id: Text,
        group_instance_id: Option<Text>,
        reason: Option<Text> [5.., ignorable],
    }

    /// What became of each member that was to leave.
    pub struct LeaveGroupResponse: LeaveGroup 0..=5, flexible 4 {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        members: Vec<LeaveGroupMemberResponse> [3..],
    }

    /// One of the `members` of a [`LeaveGroupResponse`].
    pub struct LeaveGroupMemberResponse {
        member_id: Text,
        group_instance_id: Option<Text>,
        error_code: ErrorCode,
    }
}
