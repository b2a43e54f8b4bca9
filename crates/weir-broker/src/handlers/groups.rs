//! Membership of groups, and who coordinates them: this node.

use std::sync::Arc;

use weir_wire::messages::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, FoundCoordinator, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use weir_wire::{ErrorCode, Text};

use super::{Call, GROUP_OPERATIONS};
use crate::groups::{Answer, describe_response, leave_response, sync_response};
use crate::node::NODE_ID;
use crate::topics::{OFFSETS, TRANSACTIONS};

/// Answers FindCoordinator.
pub(crate) fn find_coordinator(call: &Call<'_>, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let version = call.header.api_version;
    let many = version >= 4;
    let keys = if many { request.coordinator_keys.as_slice() } else { std::slice::from_ref(&request.key) };
    let (host, port) = call.node.advertised(call.peer.local);
    let port = i32::from(port);
    let found = match request.key_type {
        0 => call.node.internal(OFFSETS).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE),
        1 => call.node.internal(TRANSACTIONS).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE),
        _ => Err(ErrorCode::INVALID_REQUEST),
    };
    let coordinators = keys.iter().map(|key| {
        let unnamed = request.key_type == 1 && key.is_empty();
        let error = if unnamed { Some(ErrorCode::INVALID_REQUEST) } else { found.as_ref().err().copied() };
        match error {
            None => FoundCoordinator {
                key: key.clone(),
                node_id: NODE_ID,
                host: host.clone(),
                port,
                error_code: ErrorCode::NONE,
                error_message: None,
            },
            Some(error_code) => FoundCoordinator {
                key: key.clone(),
                node_id: -1,
                host: Text::EMPTY,
                port: -1,
                error_code,
                error_message: error_code.name().map(Text::from_static),
            },
        }
    });
    let mut coordinators: Vec<FoundCoordinator> = coordinators.collect();
    if many {
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let Some(one) = coordinators.pop() else { return FindCoordinatorResponse::default() };
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..Default::default()
    }
}

/// Answers JoinGroup, when the group is ready.
pub(crate) async fn join(call: &Call<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = call.header.api_version;
    let waiting = call.node.wait();
    let client = call.header.client_id.as_deref().unwrap_or("");
    let host = format!("/{}", call.peer.address.ip());
    call.node.turn_groups(|groups, now| groups.join_group(&request, version, (client, &host), waiting.ticket(), now));
    match waiting.answer().await {
        Ok(Answer::Join(joined)) => joined.response(version),
        Ok(_) => JoinGroupResponse { error_code: ErrorCode::UNKNOWN_SERVER_ERROR, ..refused_join(version) },
        Err(error_code) => JoinGroupResponse { error_code, ..refused_join(version) },
    }
}

fn refused_join(version: i16) -> JoinGroupResponse {
    // Before version 7 the name of the protocol cannot be null.
    JoinGroupResponse { protocol_name: (version < 7).then_some(Text::EMPTY), ..Default::default() }
}

/// Answers SyncGroup, when the leader has brought the assignments.
pub(crate) async fn sync(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let version = call.header.api_version;
    // From version 5 on a member says what protocol it follows.
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return sync_response(Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    }
    let waiting = call.node.wait();
    call.node.turn_groups(|groups, now| groups.sync_group(&request, waiting.ticket(), now));
    match waiting.answer().await {
        Ok(Answer::Sync(answer)) => sync_response(answer),
        Ok(_) => sync_response(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
        Err(code) => sync_response(Err(code)),
    }
}

/// Answers Heartbeat.
pub(crate) fn heartbeat(call: &Call<'_>, request: &HeartbeatRequest) -> HeartbeatResponse {
    let instance = request.group_instance_id.as_deref();
    let alive = call.node.ask_groups(|groups, now| {
        groups.heartbeat(&request.group_id, request.generation_id, &request.member_id, instance, now)
    });
    HeartbeatResponse { throttle_time_ms: 0, error_code: alive.err().unwrap_or_default() }
}

/// Answers LeaveGroup.
pub(crate) async fn leave(call: &Call<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let version = call.header.api_version;
    let waiting = call.node.wait();
    call.node.turn_groups(|groups, now| groups.leave_group(&request, version, waiting.ticket(), now));
    match waiting.answer().await {
        Ok(Answer::Leave(answer)) => leave_response(answer, version),
        Ok(_) => leave_response(Err(ErrorCode::UNKNOWN_SERVER_ERROR), version),
        Err(code) => leave_response(Err(code), version),
    }
}

/// Answers ListGroups.
pub(crate) fn list(call: &Call<'_>, request: &ListGroupsRequest) -> ListGroupsResponse {
    let states: Vec<&str> = request.states_filter.iter().map(Text::as_str).collect();
    let types: Vec<&str> = request.types_filter.iter().map(Text::as_str).collect();
    match call.node.ask_groups(|groups, _| groups.list(&states, &types)) {
        Ok(listed) => ListGroupsResponse { groups: listed.into_iter().map(Into::into).collect(), ..Default::default() },
        Err(error_code) => ListGroupsResponse { error_code, ..Default::default() },
    }
}

/// Answers DescribeGroups.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeGroupsRequest) -> DescribeGroupsResponse {
    let version = call.header.api_version;
    let groups = request.groups.iter().map(|group| {
        let described = call.node.ask_groups(|groups, _| groups.describe(group));
        let mut response = describe_response(group.clone(), described, version);
        if request.include_authorized_operations {
            response.authorized_operations = GROUP_OPERATIONS;
        }
        response
    });
    DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.collect() }
}

/// Answers DeleteGroups.
pub(crate) async fn delete(call: &Call<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let names: Vec<&str> = request.groups_names.iter().map(Text::as_str).collect();
    let waiting = call.node.wait();
    call.node.turn_groups(|groups, _| groups.delete(&names, waiting.ticket()));
    let outcomes: Vec<(Arc<str>, ErrorCode)> = match waiting.answer().await {
        Ok(Answer::Delete(outcomes)) => outcomes,
        Ok(_) => names.iter().map(|name| (Arc::from(*name), ErrorCode::UNKNOWN_SERVER_ERROR)).collect(),
        Err(code) => names.iter().map(|name| (Arc::from(*name), code)).collect(),
    };
    let results = outcomes
        .into_iter()
        .map(|(group, error_code)| DeletableGroupResult { group_id: Text::from(&*group), error_code });
    DeleteGroupsResponse { throttle_time_ms: 0, results: results.collect() }
}
