//! What the versions of the messages say differently.

use crate::groups::*;
use weir_wire::messages::{
    JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupRequest, MemberIdentity, SyncGroupRequest,
};
use weir_wire::messages::{SyncGroupRequestAssignment, SyncGroupResponse};

fn text(text: &'static str) -> Text {
    Text::from_static(text)
}

/// The answer of a call that needs no write.
fn answer(actions: Vec<Action>) -> Answer {
    match <[Action; 1]>::try_from(actions) {
        Ok([Action::Answer { answer, .. }]) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_joins_syncs_and_leaves_in_messages() {
    let mut groups = Groups::new(Settings::default(), 1);
    assert!(groups.loaded(0).is_empty());
    let mut join = JoinGroupRequest {
        group_id: text("g"),
        session_timeout_ms: 10_000,
        protocol_type: text("consumer"),
        protocols: vec![JoinGroupRequestProtocol { name: text("range"), metadata: Bytes::from_static(b"m") }],
        ..JoinGroupRequest::default()
    };
    let Answer::Join(refused) = answer(groups.join_group(&join, 4, ("c", "/h"), Ticket(1), 0)) else { panic!() };
    for (version, protocol_name) in [(6, Some(Text::EMPTY)), (7, None)] {
        let response = refused.clone().response(version);
        assert_eq!((response.error_code, response.generation_id), (ErrorCode::MEMBER_ID_REQUIRED, -1));
        assert_eq!((response.protocol_name, response.protocol_type), (protocol_name, None));
        assert!(response.member_id.starts_with("c-"));
        join.member_id = response.member_id;
    }
    let Answer::Join(joined) = answer(groups.join_group(&join, 4, ("c", "/h"), Ticket(2), 0)) else { panic!() };
    let response = joined.response(9);
    assert_eq!((response.error_code, response.generation_id), (ErrorCode::NONE, 1));
    assert_eq!((response.protocol_type, response.protocol_name), (Some(text("consumer")), Some(text("range"))));
    assert_eq!((&response.leader, &response.member_id), (&join.member_id, &join.member_id));
    assert_eq!(
        (response.members[0].member_id.clone(), &response.members[0].metadata[..]),
        (join.member_id.clone(), &b"m"[..])
    );

    let assignments =
        vec![SyncGroupRequestAssignment { member_id: join.member_id.clone(), assignment: Bytes::from_static(b"a") }];
    let sync = SyncGroupRequest {
        group_id: text("g"),
        generation_id: 1,
        member_id: join.member_id.clone(),
        assignments,
        ..SyncGroupRequest::default()
    };
    let mut actions = groups.sync_group(&sync, Ticket(3), 0);
    let Some(Action::Write(write)) = actions.pop() else { panic!("{actions:?}") };
    let Answer::Sync(synced) = answer(groups.written(write, Ok(0), 0)) else { panic!() };
    let expected = SyncGroupResponse {
        protocol_type: Some(text("consumer")),
        protocol_name: Some(text("range")),
        assignment: Bytes::from_static(b"a"),
        ..SyncGroupResponse::default()
    };
    assert_eq!(sync_response(synced), expected);
    assert_eq!(sync_response(Err(ErrorCode::ILLEGAL_GENERATION)).error_code, ErrorCode::ILLEGAL_GENERATION);

    let described = describe_response(text("g"), groups.describe("g"), 6);
    assert_eq!((described.group_state, described.protocol_data), (text("Stable"), text("range")));
    let member = &described.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "/h"));
    assert_eq!((&member.member_metadata[..], &member.member_assignment[..]), (&b"m"[..], &b"a"[..]));

    let unknown = LeaveGroupRequest { group_id: text("g"), member_id: text("x"), ..LeaveGroupRequest::default() };
    let Answer::Leave(left) = answer(groups.leave_group(&unknown, 2, Ticket(4), 0)) else { panic!() };
    let response = leave_response(left.clone(), 2);
    assert_eq!((response.error_code, response.members.len()), (ErrorCode::UNKNOWN_MEMBER_ID, 0));
    let response = leave_response(left, 3);
    assert_eq!((response.error_code, response.members[0].error_code), (ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID));
    let identity = MemberIdentity { member_id: join.member_id, ..MemberIdentity::default() };
    let leave = LeaveGroupRequest { group_id: text("g"), members: vec![identity], ..LeaveGroupRequest::default() };
    let actions = groups.leave_group(&leave, 5, Ticket(5), 0);
    let [Action::Write(_), Action::Answer { answer: Answer::Leave(Ok(left)), .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(left[0].error, ErrorCode::NONE);
}

#[test]
fn a_group_that_does_not_exist_is_dead_and_from_version_6_an_error() {
    let mut groups = Groups::new(Settings::default(), 1);
    assert!(groups.loaded(0).is_empty());
    let old = describe_response(text("g"), groups.describe("g"), 5);
    assert_eq!((old.error_code, old.error_message, old.group_state), (ErrorCode::NONE, None, text("Dead")));
    let new = describe_response(text("g"), groups.describe("g"), 6);
    assert_eq!((new.error_code, new.group_state), (ErrorCode::GROUP_ID_NOT_FOUND, text("Dead")));
    assert_eq!(new.error_message, Some(text("Group g not found.")));
}
