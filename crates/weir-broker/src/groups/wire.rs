//! Kafka's messages to what is asked here, and the answers to Kafka's messages, with what their versions say differently.
//!
//! Throttle times and authorized operations are the shell's. So are the topics of OffsetCommit, TxnOffsetCommit and
//! OffsetDelete: only it knows which exist.

use super::request::{Action, Described, FetchedOffset, Join, Joined, Leaving, Left, Listed, Sync, Synced, Ticket};
use super::{ErrorCode, Groups};
use std::sync::Arc;
use weir_wire::Text;
use weir_wire::messages::{
    DescribedGroup, DescribedGroupMember, JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
    LeaveGroupMemberResponse, LeaveGroupRequest, LeaveGroupResponse, ListedGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, SyncGroupRequest, SyncGroupResponse,
};

impl Groups {
    /// [`Groups::join`] with the message itself. `client_id` is that of the header, `client_host` where it came from
    /// (`/127.0.0.1`).
    pub fn join_group(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        (client_id, client_host): (&str, &str),
        ticket: Ticket,
        now: i64,
    ) -> Vec<Action> {
        let protocols: Vec<(&str, &[u8])> =
            request.protocols.iter().map(|protocol| (protocol.name.as_str(), &*protocol.metadata)).collect();
        let join = Join {
            version,
            group: &request.group_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            client_id,
            client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocol_type: &request.protocol_type,
            protocols: &protocols,
        };
        self.join(join, ticket, now)
    }

    /// [`Groups::sync`] with the message itself.
    pub fn sync_group(&mut self, request: &SyncGroupRequest, ticket: Ticket, now: i64) -> Vec<Action> {
        let assignments: Vec<(&str, &[u8])> =
            request.assignments.iter().map(|one| (one.member_id.as_str(), &*one.assignment)).collect();
        let sync = Sync {
            group: &request.group_id,
            generation: request.generation_id,
            member: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            protocol_type: request.protocol_type.as_deref(),
            protocol: request.protocol_name.as_deref(),
            assignments: &assignments,
        };
        self.sync(sync, ticket, now)
    }

    /// [`Groups::leave`] with the message itself, which names one member before version 3.
    pub fn leave_group(&mut self, request: &LeaveGroupRequest, version: i16, ticket: Ticket, now: i64) -> Vec<Action> {
        let members: Vec<Leaving<'_>> = if version < 3 {
            vec![Leaving { member: &request.member_id, instance: None }]
        } else {
            request
                .members
                .iter()
                .map(|member| Leaving { member: &member.member_id, instance: member.group_instance_id.as_deref() })
                .collect()
        };
        self.leave(&request.group_id, &members, ticket, now)
    }
}

impl Joined {
    /// The message.
    pub fn response(self, version: i16) -> JoinGroupResponse {
        let member = |member: super::JoinedMember| JoinGroupResponseMember {
            member_id: text(&member.member),
            group_instance_id: member.instance.as_ref().map(text),
            metadata: member.metadata,
        };
        let protocol = self.protocol.as_ref().map(text);
        JoinGroupResponse {
            error_code: self.error,
            generation_id: self.generation,
            protocol_type: self.protocol_type.as_ref().map(text),
            protocol_name: if version < 7 { protocol.or(Some(Text::EMPTY)) } else { protocol },
            leader: text(&self.leader),
            skip_assignment: self.skip_assignment,
            member_id: text(&self.member),
            members: self.members.into_iter().map(member).collect(),
            ..JoinGroupResponse::default()
        }
    }
}

/// The message that answers [`Groups::sync`].
pub fn sync_response(answer: Result<Synced, ErrorCode>) -> SyncGroupResponse {
    match answer {
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.as_ref().map(text),
            protocol_name: synced.protocol.as_ref().map(text),
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error_code) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() },
    }
}

/// The message that answers [`Groups::leave`]. Before version 3 the error of the one member is that of the message.
pub fn leave_response(answer: Result<Vec<Left>, ErrorCode>, version: i16) -> LeaveGroupResponse {
    let member = |left: &Left| LeaveGroupMemberResponse {
        member_id: text(&left.member),
        group_instance_id: left.instance.as_ref().map(text),
        error_code: left.error,
    };
    match answer {
        Err(error_code) => LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() },
        Ok(left) if version < 3 => {
            let error_code = left.first().map(|left| left.error).unwrap_or_default();
            LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
        }
        Ok(left) => LeaveGroupResponse { members: left.iter().map(member).collect(), ..LeaveGroupResponse::default() },
    }
}

impl From<Listed> for ListedGroup {
    fn from(group: Listed) -> ListedGroup {
        ListedGroup {
            group_id: text(&group.group),
            protocol_type: text(&group.protocol_type),
            group_state: Text::from_static(group.state),
            group_type: Text::from_static("classic"),
        }
    }
}

/// The message that answers [`Groups::describe`]. From version 6 a group that does not exist is an error.
pub fn describe_response(group: Text, answer: Result<Described, ErrorCode>, version: i16) -> DescribedGroup {
    let member = |member: super::DescribedMember| DescribedGroupMember {
        member_id: text(&member.member),
        group_instance_id: member.instance.as_ref().map(text),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    match answer {
        Err(error_code) => DescribedGroup { error_code, group_id: group, ..DescribedGroup::default() },
        Ok(described) => {
            let missing = version >= 6 && described.state == "Dead";
            DescribedGroup {
                error_code: if missing { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE },
                error_message: missing.then(|| Text::from(format!("Group {group} not found."))),
                group_id: group,
                group_state: Text::from_static(described.state),
                protocol_type: text(&described.protocol_type),
                protocol_data: text(&described.protocol),
                members: described.members.into_iter().map(member).collect(),
                ..DescribedGroup::default()
            }
        }
    }
}

impl From<FetchedOffset> for OffsetFetchResponsePartition {
    fn from(offset: FetchedOffset) -> OffsetFetchResponsePartition {
        OffsetFetchResponsePartition {
            partition_index: offset.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            metadata: Some(text(&offset.metadata)),
            error_code: offset.error,
        }
    }
}

impl From<FetchedOffset> for OffsetFetchResponsePartitions {
    fn from(offset: FetchedOffset) -> OffsetFetchResponsePartitions {
        OffsetFetchResponsePartitions {
            partition_index: offset.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            metadata: Some(text(&offset.metadata)),
            error_code: offset.error,
        }
    }
}

fn text(text: &Arc<str>) -> Text {
    Text::from(&**text)
}
