//! Looking at groups and deleting them.

use crate::{ErrorCode, Text};
use bytes::Bytes;

message! {
    /// Asks for all groups, or those of some states or types.
    pub struct ListGroupsRequest: ListGroups 0..=5, flexible 3 {
        states_filter: Vec<Text> [4..],
        types_filter: Vec<Text> [5..],
    }

    /// The groups that the broker coordinates.
    pub struct ListGroupsResponse: ListGroups 0..=5, flexible 3 {
        throttle_time_ms: i32 [1.., ignorable],
        error_code: ErrorCode,
        groups: Vec<ListedGroup>,
    }

    /// One of the `groups` of a [`ListGroupsResponse`].
    pub struct ListedGroup {
        group_id: Text,
        protocol_type: Text,
        group_state: Text [4.., ignorable],
        group_type: Text [5.., ignorable],
    }

    /// Asks for the state and the members of classic groups.
    pub struct DescribeGroupsRequest: DescribeGroups 0..=6, flexible 5 {
        groups: Vec<Text>,
        include_authorized_operations: bool [3..],
    }

    /// The groups with their members.
    pub struct DescribeGroupsResponse: DescribeGroups 0..=6, flexible 5 {
        throttle_time_ms: i32 [1.., ignorable],
        groups: Vec<DescribedGroup>,
    }

    /// One of the `groups` of a [`DescribeGroupsResponse`].
    pub struct DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<Text> [6..],
        group_id: Text,
        group_state: Text,
        protocol_type: Text,
        protocol_data: Text,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// One of the `members` of a [`DescribedGroup`].
    pub struct DescribedGroupMember {
        member_id: Text,
        group_instance_id: Option<Text> [4.., ignorable],
        client_id: Text,
        client_host: Text,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }

    /// Deletes groups that have no members.
    pub struct DeleteGroupsRequest: DeleteGroups 0..=2, flexible 2 {
        groups_names: Vec<Text>,
    }

    /// Whether each group was deleted.
    pub struct DeleteGroupsResponse: DeleteGroups 0..=2, flexible 2 {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    /// One of the `results` of a [`DeleteGroupsResponse`].
    pub struct DeletableGroupResult {
        group_id: Text,
        error_code: ErrorCode,
    }
}
