//! Static members (KIP-345): they come back without a rebalance, and only one at a time is heard.

use super::lab::{Lab, check};
use crate::groups::Settings;

/// Static members a (instance i) and b (instance k) in generation 2, a leading, b's assignment being y.
const PAIR: [&str; 6] = [
    "0: join a i=i | a: joined 1 range leader=a [a]",
    "0: sync a i=i a=x | kept 1 [a=x]; a: synced x",
    "0: join b i=k |",
    "0: join a i=i | a: joined 2 range leader=a [a b]; b: joined 2 range leader=a",
    "0: sync b i=k |",
    "0: sync a i=i a=x b=y | kept 2 [a=x b=y]; a: synced x; b: synced y",
];

#[track_caller]
fn after_pair(lines: &[&str]) -> Lab {
    check(Settings::default(), &[&PAIR, lines].concat())
}

#[test]
fn a_follower_comes_back_under_a_new_id_and_keeps_its_assignment() {
    after_pair(&[
        "1: join B i=k | kept 2 [a=x B=y]; B: joined 2 range leader=a",
        "1: sync B i=k | B: synced y",
        "1: beat a i=i | alive",
        "1: beat B i=k | alive",
    ]);
}

#[test]
fn the_old_id_is_fenced() {
    after_pair(&[
        "1: join B i=k | kept 2 [a=x B=y]; B: joined 2 range leader=a",
        "2: beat b i=k | FENCED_INSTANCE_ID",
        "2: sync b i=k | b: FENCED_INSTANCE_ID",
        "2: join b i=k | b: FENCED_INSTANCE_ID",
        "2: commit b i=k t-0=1 | b: FENCED_INSTANCE_ID",
        "2: txn b i=k t-0=1 | b: FENCED_INSTANCE_ID",
        "2: leave b=k | left FENCED_INSTANCE_ID",
        "2: beat b | UNKNOWN_MEMBER_ID",
        "2: commit B i=k t-0=1 | t-0=1; B: ok",
    ]);
}

#[test]
fn the_leader_comes_back_and_need_not_assign_anew() {
    after_pair(&[
        "1: join A i=i v=9 | kept 2 [A=x b=y]; A: joined 2 range leader=A [A b] skip",
        "1: sync A i=i | A: synced x",
    ]);
    // Before version 9 it cannot be told so, and is made to believe that it follows.
    after_pair(&[
        "1: join A i=i v=8 | kept 2 [A=x b=y]; A: joined 2 range leader=a",
        "1: sync A i=i | A: synced x",
        "2: join A i=i v=8 |",
        "2: beat b i=k | REBALANCE_IN_PROGRESS",
    ]);
}

#[test]
fn a_change_that_changes_the_protocol_takes_a_rebalance() {
    after_pair(&[
        "1: join b i=k p=range,sticky |",
        "1: join a i=i p=range,sticky | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "1: sync b i=k |",
        "1: sync a i=i a=x b=y | kept 3 [a=x b=y]; a: synced x; b: synced y",
        "2: join B i=k p=sticky |",
        "2: beat a i=i | REBALANCE_IN_PROGRESS",
        "3: join a i=i p=range,sticky | a: joined 4 sticky leader=a [a B]; B: joined 4 sticky leader=a",
    ]);
}

#[test]
fn who_waits_under_the_old_id_is_fenced_at_once() {
    after_pair(&[
        "1: join a i=i |",
        "2: join A i=i | a: FENCED_INSTANCE_ID",
        "3: join b i=k | A: joined 3 range leader=A [A b]; b: joined 3 range leader=A",
        "4: sync b i=k |",
        // The leader may be assigning to the old id already, so that everybody has to join again.
        "5: join B i=k | b: FENCED_INSTANCE_ID",
        "5: beat A i=i | REBALANCE_IN_PROGRESS",
        "6: join A i=i | A: joined 4 range leader=A [A B]; B: joined 4 range leader=A",
    ]);
}

#[test]
fn a_static_member_that_is_away_stays_in_the_rebalance_until_its_session_ends() {
    after_pair(&[
        "1: join a i=i m=1 s=100000 r=5000 |",
        "9999: tick |",
        // The time for joining is that of the most patient member, and b is out before.
        "10000: tick | a: joined 3 range leader=a [a]",
    ]);
    let away = [
        "0: join a i=i s=60000 r=5000 |",
        "0: join b i=k s=60000 r=5000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "0: sync b i=k |",
        "0: sync a i=i a=x b=y | kept 3 [a=x b=y]; a: synced x; b: synced y",
        "1: join a i=i m=1 s=60000 r=5000 |",
        "5001: tick | a: joined 4 range leader=a [a b]",
        "5002: sync a i=i a=v b=w | kept 4 [a=v b=w]; a: synced v",
        "5003: join B i=k s=60000 r=5000 | kept 4 [a=v B=w]; B: joined 4 range leader=a",
        "5004: sync B i=k | B: synced w",
        "11000: tick |",
        "11000: beat a i=i | alive",
    ];
    after_pair(&away);
}

#[test]
fn when_only_absent_static_members_remain_their_sessions_decide() {
    after_pair(&[
        "1: join c | c: MEMBER_ID_REQUIRED",
        "1: join c r=1000 |",
        "2: leave c | c: UNKNOWN_MEMBER_ID; left ok",
        "9000: beat a i=i | REBALANCE_IN_PROGRESS",
        "9000: beat b i=k | REBALANCE_IN_PROGRESS",
        "19000: tick | kept 3 []",
    ]);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    after_pair(&[
        "1: leave ?=z | left UNKNOWN_MEMBER_ID",
        "1: leave nobody=k | left ok",
        "2: beat b i=k | UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn an_instance_that_left_is_a_new_member() {
    after_pair(&[
        "1: leave b=k | left ok",
        "1: join B i=k |",
        "2: join a i=i | a: joined 3 range leader=a [a B]; B: joined 3 range leader=a",
    ]);
}

#[test]
fn a_return_that_is_not_kept_is_refused() {
    after_pair(&["1: fail KAFKA_STORAGE_ERROR |", "1: join B i=k | lost; B: NOT_COORDINATOR"]);
}

#[test]
fn a_static_member_that_did_not_sync_before_it_came_back_is_still_expected_to() {
    after_pair(&[
        "1: join a i=i s=100000 |",
        "1: join b i=k m=1 s=100000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync a i=i a=x b=y | kept 3 [a=x b=y]; a: synced x",
        "3: join B i=k s=100000 | kept 3 [a=x B=y]; B: joined 3 range leader=a",
        "60000: sync B i=k | B: synced y",
        "60001: tick |",
        "60001: beat a i=i | alive",
    ]);
}
