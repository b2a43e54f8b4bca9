use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir_wire::messages::{
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember, SyncGroupRequest,
    SyncGroupResponse,
};
use weir_wire::{ErrorCode, Text};

use crate::GroupProtocol;
use crate::native::assign::Assignment;
use crate::native::group::{Member, Settings, Turn, Wish};

const SESSION: Duration = Duration::from_secs(10);

fn settings(instance: Option<&str>, protocol: GroupProtocol) -> Settings {
    Settings { group: "g".to_owned(), instance: instance.map(str::to_owned), protocol, session: SESSION }
}

fn all(count: i32) -> Assignment {
    BTreeMap::from([("t".to_owned(), (0..count).collect())])
}

fn join(member: &mut Member, now: Instant) -> JoinGroupRequest {
    assert!(member.is_to_join(now));
    match member.wish(now).unwrap() {
        Some(Wish::Join(join)) => join,
        other => panic!("{other:?}"),
    }
}

/// The only member of its group joins and is given `count` partitions; returns what it is told.
fn settle(member: &mut Member, count: i32, now: Instant) -> Turn {
    let asked = join(member, now);
    let id = if asked.member_id.is_empty() { Text::from("m-1") } else { asked.member_id.clone() };
    let response = JoinGroupResponse {
        generation_id: 5,
        leader: id.clone(),
        member_id: id.clone(),
        members: vec![JoinGroupResponseMember {
            member_id: id,
            metadata: asked.protocols[0].metadata.clone(),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(member.joined(&response, now), Turn::Fine);
    let sync = lead(member, count, now);
    member.synced(&SyncGroupResponse { assignment: sync.assignments[0].assignment.clone(), ..Default::default() }, now)
}

fn lead(member: &mut Member, count: i32, now: Instant) -> SyncGroupRequest {
    assert_eq!(member.wish(now), Ok(Some(Wish::Partitions(BTreeSet::from(["t".to_owned()])))));
    member.counted(BTreeMap::from([("t".to_owned(), count)]));
    match member.wish(now).unwrap() {
        Some(Wish::Sync(sync)) => sync,
        other => panic!("{other:?}"),
    }
}

fn beat(member: &mut Member, code: ErrorCode, now: Instant) -> Turn {
    assert!(matches!(member.wish(now), Ok(Some(Wish::Heartbeat(_)))));
    member.beaten(&HeartbeatResponse { error_code: code, ..Default::default() }, now)
}

fn member(now: Instant) -> Member {
    let mut member = Member::new(settings(None, GroupProtocol::Cooperative), now);
    member.subscribe(BTreeSet::from(["t".to_owned()]));
    member
}

#[test]
fn a_member_is_told_its_id_leads_and_is_given_partitions() {
    let now = Instant::now();
    let mut member = Member::new(settings(None, GroupProtocol::Cooperative), now);
    assert_eq!(member.wish(now), Ok(None), "who reads nothing does not join");
    member.subscribe(BTreeSet::from(["t".to_owned()]));
    assert_eq!(join(&mut member, now).member_id, "");
    assert_eq!(member.wish(now), Ok(None), "one question at a time");
    let required = JoinGroupResponse {
        error_code: ErrorCode::MEMBER_ID_REQUIRED,
        member_id: Text::from("m-1"),
        ..Default::default()
    };
    assert_eq!(member.joined(&required, now), Turn::Fine);
    assert_eq!(member.identity(), None);
    assert_eq!(settle(&mut member, 3, now), Turn::Assigned { added: all(3), revoked: Assignment::new() });
    assert_eq!(member.identity(), Some(("m-1", 5)));
    assert_eq!(member.wish(now), Ok(None));
    let later = now + SESSION / 4;
    assert_eq!(beat(&mut member, ErrorCode::NONE, later), Turn::Fine);
    assert!(member.leaves().is_some());
}

#[test]
fn a_cooperative_member_keeps_what_it_holds_and_joins_again_to_let_go() {
    let now = Instant::now();
    let mut member = member(now);
    settle(&mut member, 4, now);
    let later = now + SESSION / 4;
    assert_eq!(beat(&mut member, ErrorCode::REBALANCE_IN_PROGRESS, later), Turn::Fine);
    assert_eq!(member.give_up(), Assignment::new());
    let asked = join(&mut member, later);
    let said = weir_wire::versioned::ConsumerProtocolSubscription::default();
    assert_ne!(asked.protocols[0].metadata.len(), 0);
    drop(said);
    // Another one leads now, and leaves it two of the four.
    let response = JoinGroupResponse {
        generation_id: 6,
        leader: Text::from("other"),
        member_id: Text::from("m-1"),
        ..Default::default()
    };
    assert_eq!(member.joined(&response, later), Turn::Fine);
    assert!(matches!(member.wish(later), Ok(Some(Wish::Sync(sync))) if sync.assignments.is_empty()));
    let assignment = weir_wire::versioned::ConsumerProtocolAssignment {
        assigned_partitions: vec![weir_wire::versioned::TopicPartitions {
            topic: Text::from("t"),
            partitions: vec![0, 1],
        }],
        user_data: None,
    };
    let assignment = weir_wire::versioned::Versioned::encode(&assignment, 0).unwrap();
    let turn = member.synced(&SyncGroupResponse { assignment, ..Default::default() }, later);
    let revoked = BTreeMap::from([("t".to_owned(), BTreeSet::from([2, 3]))]);
    assert_eq!(turn, Turn::Assigned { added: Assignment::new(), revoked });
    let much_later = later + SESSION / 4;
    assert!(member.is_to_join(much_later), "to say that the two are free");
}

#[test]
fn what_the_coordinator_refuses_has_its_consequence() {
    let check = |code: ErrorCode, expect: &dyn Fn(&Turn) -> bool, id: &str| {
        let now = Instant::now();
        let mut member = member(now);
        settle(&mut member, 2, now);
        let later = now + SESSION / 4;
        let turn = beat(&mut member, code, later);
        assert!(expect(&turn), "{code}: {turn:?}");
        if matches!(turn, Turn::Lost(_)) {
            assert_eq!(member.identity(), None, "{code}: nothing can be committed");
            let again = join(&mut member, later + SESSION);
            assert_eq!(again.member_id, id, "{code}");
        }
    };
    let lost: &dyn Fn(&Turn) -> bool = &|turn| matches!(turn, Turn::Lost(_));
    check(ErrorCode::UNKNOWN_MEMBER_ID, lost, "");
    check(ErrorCode::ILLEGAL_GENERATION, lost, "m-1");
    check(ErrorCode::FENCED_INSTANCE_ID, &|turn| *turn == Turn::Fenced, "");
    check(ErrorCode::NOT_COORDINATOR, &|turn| *turn == Turn::Coordinator, "");
    check(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, &|turn| *turn == Turn::Fine, "");
    check(ErrorCode::GROUP_AUTHORIZATION_FAILED, &|turn| matches!(turn, Turn::Wait(_)), "");
}

/// A commit is refused while the member waits for its assignment: what then comes is of a membership that is over.
#[test]
fn an_answer_to_a_question_of_before_everything_was_lost_means_nothing() {
    let now = Instant::now();
    let mut member = member(now);
    settle(&mut member, 2, now);
    let later = now + SESSION / 4;
    beat(&mut member, ErrorCode::REBALANCE_IN_PROGRESS, later);
    join(&mut member, later);
    assert!(member.has_moved_on(5), "an older generation is no loss while it joins");
    assert!(matches!(member.refused(ErrorCode::UNKNOWN_MEMBER_ID, later), Turn::Lost(_)));
    let joined = JoinGroupResponse { generation_id: 9, member_id: Text::from("m-1"), ..Default::default() };
    assert_eq!(member.joined(&joined, later), Turn::Fine);
    assert_eq!(member.identity(), None);
    assert_eq!(join(&mut member, later + SESSION).member_id, "");
}

#[test]
fn a_session_without_an_answer_ends() {
    let now = Instant::now();
    let mut member = member(now);
    settle(&mut member, 2, now);
    assert_eq!(member.tick(now + SESSION), Turn::Fine);
    assert!(matches!(member.tick(now + SESSION + Duration::from_millis(1)), Turn::Lost(_)));
    assert_eq!(member.tick(now + 3 * SESSION), Turn::Fine, "told once");
}

#[test]
fn an_eager_member_gives_all_up_and_a_static_one_stays() {
    let now = Instant::now();
    let mut eager = Member::new(settings(Some("w-0"), GroupProtocol::Eager), now);
    eager.subscribe(BTreeSet::from(["t".to_owned()]));
    let turn = settle(&mut eager, 2, now);
    assert_eq!(turn, Turn::Assigned { added: all(2), revoked: Assignment::new() });
    assert_eq!(eager.leaves(), None);
    let later = now + SESSION / 4;
    beat(&mut eager, ErrorCode::REBALANCE_IN_PROGRESS, later);
    assert_eq!(eager.give_up(), all(2));
    let again = join(&mut eager, later);
    assert_eq!(again.group_instance_id.as_deref(), Some("w-0"));
    assert_eq!(again.protocols[0].name, "range");
}

#[test]
fn a_topic_that_is_not_read_any_more_is_given_back() {
    let now = Instant::now();
    let mut member = member(now);
    settle(&mut member, 2, now);
    member.subscribe(BTreeSet::from(["u".to_owned()]));
    let later = now + SESSION / 4;
    let asked = join(&mut member, later);
    let said = weir_wire::versioned::ConsumerProtocolSubscription {
        topics: vec![Text::from("u")],
        generation_id: 5,
        ..Default::default()
    };
    assert_eq!(asked.protocols[0].metadata, weir_wire::versioned::Versioned::encode(&said, 3).unwrap());
}
