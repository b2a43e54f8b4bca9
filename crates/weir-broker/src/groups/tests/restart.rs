//! What a new process knows of the groups of the last one.

use super::lab::check;
use super::members::after_pair;
use crate::groups::*;

#[test]
fn members_go_on_after_a_restart_without_a_rebalance() {
    after_pair(&[
        "1: commit a t-0=4/note | t-0=4; a: ok",
        "5000: restart |",
        "5001: beat a | alive",
        "5001: beat b | alive",
        "5001: describe | Stable \"range\" [a=x b=y]",
        "5001: sync b | b: synced y",
        "5002: commit b t-1=1 | t-1=1; b: ok",
        "5002: fetch | t-0=4/note; t-1=1",
        "5003: join b | b: joined 2 range leader=a",
        "5003: unsubscribe t-0 | GROUP_SUBSCRIBED_TO_TOPIC",
        "12000: beat a | alive",
        "15001: tick |",
        "15001: beat a | alive",
        "15002: tick |",
        "15003: beat a | REBALANCE_IN_PROGRESS",
        "15003: beat b | UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn a_rebalance_that_a_restart_interrupts_begins_anew_from_the_last_assignment() {
    after_pair(&[
        "1: join c | c: MEMBER_ID_REQUIRED",
        "1: join c |",
        "2: join a |",
        "3: restart |",
        "3: beat a | alive",
        "3: join c | c: UNKNOWN_MEMBER_ID",
        "3: join c anew | c: MEMBER_ID_REQUIRED",
        "3: join c |",
        "4: join a |",
        "4: join b | a: joined 3 range leader=a [a b c]; b: joined 3 range leader=a; c: joined 3 range leader=a",
    ]);
}

#[test]
fn an_instance_is_known_after_a_restart() {
    check(
        Settings::default(),
        &[
            "0: join a i=i | a: joined 1 range leader=a [a]",
            "0: sync a i=i a=x | kept 1 [a=x]; a: synced x",
            "1: restart |",
            "1: join A i=i | kept 1 [A=x]; A: joined 1 range leader=A [A] skip",
            "2: restart |",
            "2: beat a i=i | FENCED_INSTANCE_ID",
            "2: sync A i=i | A: synced x",
        ],
    );
}

#[test]
fn offsets_of_an_open_transaction_wait_through_a_restart() {
    let begun = [
        "0: commit nobody t-0=1 | t-0=1; nobody: ok",
        "0: txn nobody t-0=2 | t-0=2 by 7; nobody: ok",
        "1: restart |",
        "1: fetch t-0 | t-0=1",
        "1: fetch t-0 stable | t-0=-1 UNSTABLE_OFFSET_COMMIT",
    ];
    let committed = ["2: end 7 commit |", "2: fetch t-0 stable | t-0=2", "3: restart |", "3: fetch t-0 stable | t-0=2"];
    let aborted = ["2: end 7 abort |", "2: fetch t-0 stable | t-0=1", "3: restart |", "3: fetch t-0 stable | t-0=1"];
    check(Settings::default(), &[&begun[..], &committed].concat());
    check(Settings::default(), &[&begun[..], &aborted].concat());
}

#[test]
fn a_group_that_became_too_large_is_made_smaller_as_its_members_join() {
    let lab = after_pair(&["1: sync b | b: synced y"]);
    let mut groups = Groups::new(Settings { max_size: 1, ..Settings::default() }, 9);
    lab.replay_into(&mut groups);
    assert!(groups.loaded(2).is_empty());
    assert_eq!(groups.describe("g").unwrap().state, "PreparingRebalance");
}

#[test]
fn nothing_is_served_before_everything_is_loaded() {
    let loading = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    let mut groups = Groups::new(Settings::default(), 1);
    let join = Join {
        version: 9,
        group: "g",
        member: "",
        instance: None,
        client_id: "c",
        client_host: "",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer",
        protocols: &[("range", b"")],
    };
    let sync = Sync {
        group: "g",
        generation: 1,
        member: "m",
        instance: None,
        protocol_type: None,
        protocol: None,
        assignments: &[],
    };
    let partition = CommitPartition { partition: 0, offset: 1, leader_epoch: -1, metadata: "" };
    let topics: &[(&str, &[CommitPartition<'_>])] = &[("t", &[partition])];
    let commit =
        Commit { version: 9, group: "g", generation: -1, member: "", instance: None, retention_ms: -1, topics };
    let leaving = [Leaving { member: "m", instance: None }];
    let failed = Answer::Commit(vec![TopicOutcome { topic: "t".into(), partitions: vec![(0, loading)] }]);
    let answers = [
        (groups.join(join, Ticket(1), 0), Answer::Join(Joined::refused("", loading))),
        (groups.sync(sync, Ticket(1), 0), Answer::Sync(Err(loading))),
        (groups.leave("g", &leaving, Ticket(1), 0), Answer::Leave(Err(loading))),
        (groups.commit(commit, Ticket(1), 0), failed.clone()),
        (groups.txn_commit(commit, (7, 0), Ticket(1), 0), failed),
        (groups.delete(&["g"], Ticket(1)), Answer::Delete(vec![("g".into(), loading)])),
        (groups.delete_offsets("g", &[("t", &[0])], Ticket(1)), Answer::DeleteOffsets(Err(loading))),
    ];
    for (actions, expected) in answers {
        let [Action::Answer { ticket: Ticket(1), answer }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(*answer, expected);
    }
    let fetch = FetchOffsets { group: "g", topics: None, require_stable: false };
    assert_eq!(groups.fetch_offsets(fetch), Err(loading));
    assert_eq!(groups.list(&[], &[]), Err(loading));
    assert_eq!(groups.describe("g"), Err(loading));
    // A member is not to be worried.
    assert_eq!(groups.heartbeat("g", 1, "m", None, 0), Ok(()));
}

#[test]
fn records_of_other_kinds_of_groups_are_passed_over_and_broken_ones_named() {
    let mut groups = Groups::new(Settings::default(), 1);
    let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
    groups.replay(&bytes(b"\0\x03\0\x01g"), Some(&bytes(b"\0\0")), None, 0).unwrap();
    for (key, value) in [
        (&b"\0"[..], &b""[..]),
        (b"\0\x01\0\x01g", b""),
        (b"\0\x01\0\x01g\0\x01t\0\0\0\0", b"\0\x63"),
        (b"\0\x02\0\x01g", b"\0\x03\0\x08consumer\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0\x7f\xff\xff\xff"),
    ] {
        let error = groups.replay(&bytes(key), Some(&bytes(value)), None, 0).unwrap_err();
        assert!(error.to_string().starts_with("not a record of __consumer_offsets: "), "{error}");
    }
    groups.loaded(0).clear();
    assert_eq!(groups.list(&[], &[]), Ok(Vec::new()));
}
