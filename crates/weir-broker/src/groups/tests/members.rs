//! Dynamic members come, go and are counted out.

use super::lab::{Lab, check};
use crate::groups::Settings;

#[track_caller]
fn plain(lines: &[&str]) -> Lab {
    check(Settings::default(), lines)
}

/// Members a and b in generation 2, a leading, b's assignment being y.
pub const PAIR: [&str; 8] = [
    "0: join a | a: MEMBER_ID_REQUIRED",
    "0: join a | a: joined 1 range leader=a [a]",
    "0: sync a a=x | kept 1 [a=x]; a: synced x",
    "0: join b | b: MEMBER_ID_REQUIRED",
    "0: join b |",
    "0: join a | a: joined 2 range leader=a [a b]; b: joined 2 range leader=a",
    "0: sync b |",
    "0: sync a a=x b=y | kept 2 [a=x b=y]; a: synced x; b: synced y",
];

/// What follows [`PAIR`].
#[track_caller]
pub fn after_pair(lines: &[&str]) -> Lab {
    plain(&[&PAIR, lines].concat())
}

#[test]
fn a_dynamic_member_is_told_its_id_first_and_then_leads_alone() {
    plain(&[
        "0: join a | a: MEMBER_ID_REQUIRED",
        "0: describe | Empty \"\" []",
        "0: join a | a: joined 1 range leader=a [a]",
        "0: describe | CompletingRebalance \"\" [a=]",
        "0: sync a a=x | kept 1 [a=x]; a: synced x",
        "0: describe | Stable \"range\" [a=x]",
        "1: beat a | alive",
        "2: leave a | kept 2 []; left ok",
        "2: list | g \"consumer\" Empty",
        "2: beat a gen=2 | UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn before_version_4_a_member_gets_its_id_with_the_generation() {
    plain(&[
        "0: join a v=3 | a: joined 1 range leader=a [a]",
        "0: join b v=3 |",
        "0: join a v=3 | a: joined 2 range leader=a [a b]; b: joined 2 range leader=a",
    ]);
}

#[test]
fn members_are_asked_to_join_again_and_followers_wait_for_the_leader() {
    plain(&[
        "0: join a | a: MEMBER_ID_REQUIRED",
        "0: join a | a: joined 1 range leader=a [a]",
        "0: sync a a=x | kept 1 [a=x]; a: synced x",
        "1: join b | b: MEMBER_ID_REQUIRED",
        "1: beat a | alive",
        "1: join b |",
        "1: beat a | REBALANCE_IN_PROGRESS",
        "1: sync a | a: REBALANCE_IN_PROGRESS",
        "1: commit a t-0=4 | t-0=4; a: ok",
        "2: join a | a: joined 2 range leader=a [a b]; b: joined 2 range leader=a",
        "2: commit a t-0=5 | a: REBALANCE_IN_PROGRESS",
        "2: sync b |",
        "2: beat b | alive",
        "3: sync a a=x b=y | kept 2 [a=x b=y]; a: synced x; b: synced y",
        "3: sync b | b: synced y",
    ]);
}

#[test]
fn a_follower_that_joins_again_unchanged_changes_nothing() {
    after_pair(&["1: join b | b: joined 2 range leader=a", "1: sync b | b: synced y", "1: beat a | alive"]);
}

#[test]
fn a_follower_with_other_metadata_and_a_leader_with_the_same_start_a_rebalance() {
    after_pair(&[
        "1: join b m=1 |",
        "1: beat a | REBALANCE_IN_PROGRESS",
        "2: join a | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: join b m=1 | b: joined 3 range leader=a",
        "2: join a | a: joined 3 range leader=a [a b]",
        "3: sync b |",
        "3: sync a a=x | kept 3 [a=x b=]; a: synced x; b: synced nothing",
        "4: join a |",
        "4: beat b | REBALANCE_IN_PROGRESS",
    ]);
}

#[test]
fn other_metadata_while_assignments_are_awaited_sends_everybody_back() {
    after_pair(&[
        "1: join a |",
        "1: join b | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "2: join a m=1 | b: REBALANCE_IN_PROGRESS",
        "2: describe | PreparingRebalance \"\" [a= b=]",
        "3: join b | a: joined 4 range leader=a [a b]; b: joined 4 range leader=a",
    ]);
}

#[test]
fn only_members_of_this_generation_and_protocol_are_heard() {
    after_pair(&[
        "1: beat b gen=1 | ILLEGAL_GENERATION",
        "1: beat b gen=3 | ILLEGAL_GENERATION",
        "1: beat ?x | UNKNOWN_MEMBER_ID",
        "1: beat b i=z | UNKNOWN_MEMBER_ID",
        "1: beat b group=other gen=2 | UNKNOWN_MEMBER_ID",
        "1: beat b group= gen=2 | INVALID_GROUP_ID",
        "1: sync b gen=1 | b: ILLEGAL_GENERATION",
        "1: sync ?x | ?x: UNKNOWN_MEMBER_ID",
        "1: sync b p=roundrobin | b: INCONSISTENT_GROUP_PROTOCOL",
        "1: sync b type=connect | b: INCONSISTENT_GROUP_PROTOCOL",
        "1: sync b p=range type=consumer | b: synced y",
        "1: sync b group= | b: INVALID_GROUP_ID",
        "1: sync b group=other | b: UNKNOWN_MEMBER_ID",
        "1: join ?x | ?x: UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn a_request_to_join_is_checked_before_anything_is_kept() {
    plain(&[
        "0: join a group= | a: INVALID_GROUP_ID",
        "0: join a s=5999 | a: INVALID_SESSION_TIMEOUT",
        "0: join a s=1800001 | a: INVALID_SESSION_TIMEOUT",
        "0: join ?x | ?x: UNKNOWN_MEMBER_ID",
        "0: join a p= | a: INCONSISTENT_GROUP_PROTOCOL",
        "0: join a type= | a: INCONSISTENT_GROUP_PROTOCOL",
        "0: list |",
    ]);
}

#[test]
fn a_member_must_share_protocol_type_and_a_protocol_with_all() {
    after_pair(&[
        "1: join c p=sticky | c: INCONSISTENT_GROUP_PROTOCOL",
        "1: join c type=connect | c: INCONSISTENT_GROUP_PROTOCOL",
        "1: join c p=sticky,range | c: MEMBER_ID_REQUIRED",
    ]);
}

#[test]
fn the_protocol_with_the_most_votes_is_taken_among_those_all_have() {
    plain(&[
        "0: join a v=3 p=x,y,z | a: joined 1 x leader=a [a]",
        "0: join b v=3 p=y,z |",
        "0: join a p=x,y,z | a: joined 2 y leader=a [a b]; b: joined 2 y leader=a",
        "0: join c v=3 p=z,y |",
        "0: join b p=z,y |",
        "0: join a p=x,y,z | a: joined 3 z leader=a [a b c]; b: joined 3 z leader=a; c: joined 3 z leader=a",
    ]);
}

#[test]
fn a_member_that_is_not_heard_of_is_out_after_its_session_timeout() {
    after_pair(&[
        "9000: beat a | alive",
        "9999: tick |",
        "10000: tick |",
        "10001: beat b | UNKNOWN_MEMBER_ID",
        "10001: beat a | REBALANCE_IN_PROGRESS",
        "10002: join a | a: joined 3 range leader=a [a]",
    ]);
}

#[test]
fn a_commit_shows_that_a_member_lives() {
    after_pair(&[
        "9000: commit b t-0=1 | t-0=1; b: ok",
        "9000: beat a | alive",
        "18000: tick |",
        "18000: beat b | alive",
    ]);
}

#[test]
fn the_last_member_to_time_out_leaves_an_empty_group() {
    plain(&[
        "0: join a v=3 | a: joined 1 range leader=a [a]",
        "10000: tick | kept 2 []",
        "10000: list | g \"consumer\" Empty",
    ]);
}

#[test]
fn a_member_that_waits_does_not_time_out() {
    after_pair(&[
        "1: join b m=1 r=30000 |",
        "9000: beat a | REBALANCE_IN_PROGRESS",
        "11000: tick |",
        "18000: beat a | REBALANCE_IN_PROGRESS",
        "27000: beat a | REBALANCE_IN_PROGRESS",
        "30000: join a r=30000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "39999: tick |",
        "39999: beat b | alive",
    ]);
}

#[test]
fn a_rebalance_waits_no_longer_than_its_timeout_and_somebody_else_leads() {
    after_pair(&[
        "1: join b m=1 |",
        "9000: beat a | REBALANCE_IN_PROGRESS",
        "18000: beat a | REBALANCE_IN_PROGRESS",
        "27000: beat a | REBALANCE_IN_PROGRESS",
        "36000: beat a | REBALANCE_IN_PROGRESS",
        "45000: beat a | REBALANCE_IN_PROGRESS",
        "54000: beat a | REBALANCE_IN_PROGRESS",
        "60000: tick |",
        "60001: tick | b: joined 3 range leader=b [b]",
        "60001: beat a | UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn who_never_asks_for_its_assignment_is_out() {
    after_pair(&[
        "1: join a s=100000 |",
        "1: join b m=1 s=100000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync a a=x b=y | kept 3 [a=x b=y]; a: synced x",
        "60000: tick |",
        "60000: beat b | alive",
        "60001: tick |",
        "60001: beat b | UNKNOWN_MEMBER_ID",
        "60001: beat a | REBALANCE_IN_PROGRESS",
    ]);
    after_pair(&[
        "1: join a s=100000 |",
        "1: join b m=1 s=100000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "60001: tick | b: REBALANCE_IN_PROGRESS",
        "60001: beat a | UNKNOWN_MEMBER_ID",
        "60002: join b m=1 | b: joined 4 range leader=b [b]",
    ]);
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_longer_while_some_come() {
    let settings = Settings { initial_rebalance_delay_ms: 3000, ..Settings::default() };
    check(
        settings,
        &[
            "0: join a v=3 r=7000 |",
            "2000: join b v=3 r=7000 |",
            "3000: tick |",
            "5000: join c v=3 r=7000 |",
            "6000: tick |",
            "6500: join d v=3 r=7000 |",
            "6999: tick |",
            "7000: tick | a: joined 1 range leader=a [a b c d]; b: joined 1 range leader=a; \
             c: joined 1 range leader=a; d: joined 1 range leader=a",
        ],
    );
}

#[test]
fn the_first_rebalance_takes_its_time_though_everybody_is_there() {
    let settings = Settings { initial_rebalance_delay_ms: 3000, ..Settings::default() };
    check(
        settings,
        &[
            "0: join a | a: MEMBER_ID_REQUIRED",
            "0: join a |",
            "1000: join a | a: REBALANCE_IN_PROGRESS",
            "3000: tick | a: joined 1 range leader=a [a]",
        ],
    );
}

#[test]
fn a_rebalance_waits_for_ids_that_were_promised_as_long_as_their_session() {
    after_pair(&[
        "1: join c | c: MEMBER_ID_REQUIRED",
        "2: join a |",
        "3: join b |",
        "10001: tick | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "10002: join c | c: UNKNOWN_MEMBER_ID",
    ]);
    after_pair(&[
        "1: join c | c: MEMBER_ID_REQUIRED",
        "2: join a |",
        "3: join b |",
        "4: leave c | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a; left ok",
    ]);
}

#[test]
fn several_members_leave_at_once_and_each_is_told() {
    after_pair(&["1: leave ?x b | left UNKNOWN_MEMBER_ID ok", "1: beat a | REBALANCE_IN_PROGRESS"]);
    after_pair(&["1: leave a b | kept 3 []; left ok ok"]);
    after_pair(&["1: leave ?x | left UNKNOWN_MEMBER_ID", "1: beat a | alive"]);
    after_pair(&["1: leave a group=other | left UNKNOWN_MEMBER_ID"]);
}

#[test]
fn when_the_last_that_was_waited_for_leaves_the_rebalance_goes_on() {
    after_pair(&["1: join b m=1 |", "2: leave a | b: joined 3 range leader=b [b]; left ok"]);
}

#[test]
fn a_member_removed_while_it_waits_is_answered() {
    after_pair(&[
        "1: join a |",
        "1: join b m=1 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "2: leave b | b: UNKNOWN_MEMBER_ID; left ok",
        "3: join a | a: joined 4 range leader=a [a]",
    ]);
    after_pair(&["1: join b m=1 |", "1: leave b | b: UNKNOWN_MEMBER_ID; left ok"]);
}

#[test]
fn a_group_takes_no_more_members_than_its_size() {
    let settings = Settings { max_size: 2, ..Settings::default() };
    check(settings.clone(), &[&PAIR[..], &["1: join c | c: GROUP_MAX_SIZE_REACHED", "1: beat a | alive"]].concat());
    // Of three that were promised an id, the one who comes last with it is refused.
    check(
        settings,
        &[
            "0: join a | a: MEMBER_ID_REQUIRED",
            "0: join b | b: MEMBER_ID_REQUIRED",
            "0: join c | c: MEMBER_ID_REQUIRED",
            "0: join a | a: joined 1 range leader=a [a]",
            "0: join b |",
            "0: join a |",
            "0: join c | c: GROUP_MAX_SIZE_REACHED; a: joined 2 range leader=a [a b]; b: joined 2 range leader=a",
        ],
    );
}

#[test]
fn a_member_that_asks_twice_is_answered_twice() {
    let lab = after_pair(&[
        "1: join b m=1 |",
        "2: join b m=1 | b: REBALANCE_IN_PROGRESS",
        "3: join a | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "4: sync b |",
        "5: sync b | b: REBALANCE_IN_PROGRESS",
        "6: sync a b=z | kept 3 [a= b=z]; a: synced nothing; b: synced z",
    ]);
    assert_eq!(lab.waiting(), 0);
}

#[test]
fn a_join_whose_connection_is_gone_still_counts() {
    after_pair(&[
        "1: join b m=1 |",
        "2: forget b |",
        "3: join a | a: joined 3 range leader=a [a b]",
        "4: join b m=1 | b: joined 3 range leader=a",
        "5: sync b |",
        "5: forget b |",
        "6: sync a a=x b=y | kept 3 [a=x b=y]; a: synced x",
        "7: sync b | b: synced y",
    ]);
}

#[test]
fn a_new_member_whose_connection_is_gone_has_its_session_timeout_to_come_back() {
    let lines =
        ["1: join c | c: MEMBER_ID_REQUIRED", "2: join c |", "3: forget c |", "9000: beat a | REBALANCE_IN_PROGRESS"];
    let gone = [
        "9001: join b |",
        "10003: tick |",
        "10004: join a | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
    ];
    after_pair(&[&lines[..], &gone].concat());
    let back = ["9001: join c |", "9002: join b |"];
    let all =
        ["11000: join a | a: joined 3 range leader=a [a b c]; b: joined 3 range leader=a; c: joined 3 range leader=a"];
    after_pair(&[&lines[..], &back, &all].concat());
}

#[test]
fn a_new_member_times_out_after_five_minutes_of_waiting() {
    let settings = Settings { initial_rebalance_delay_ms: 400_000, ..Settings::default() };
    check(settings, &["0: join a v=3 r=400000 |", "299999: tick |", "300000: tick | a: UNKNOWN_MEMBER_ID"]);
}

#[test]
fn a_lost_assignment_sends_everybody_back() {
    after_pair(&[
        "1: join a |",
        "1: join b m=1 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "2: fail KAFKA_STORAGE_ERROR |",
        "2: sync a a=x b=y | lost; a: NOT_COORDINATOR; b: NOT_COORDINATOR",
        "2: beat a | REBALANCE_IN_PROGRESS",
        "3: join b m=1 |",
        "3: join a | a: joined 4 range leader=a [a b]; b: joined 4 range leader=a",
    ]);
}

#[test]
fn assignments_for_nobody_of_the_group_are_left_out() {
    after_pair(&[
        "1: join a |",
        "1: leave b | a: joined 3 range leader=a [a]; left ok",
        "2: sync a a=x b=y | kept 3 [a=x]; a: synced x",
    ]);
}
