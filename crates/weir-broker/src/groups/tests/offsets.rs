//! Offsets are committed, fetched, expired and deleted.

use super::lab::{Lab, check};
use super::members::{PAIR, after_pair};
use crate::groups::Settings;

#[track_caller]
fn plain(lines: &[&str]) -> Lab {
    check(Settings::default(), lines)
}

#[test]
fn a_consumer_without_membership_commits_and_fetches() {
    plain(&[
        "0: fetch t-0 | t-0=-1",
        "0: fetch |",
        "0: commit nobody t-0=5 u-3=7/note | t-0=5; u-3=7; nobody: ok ok",
        "0: fetch t-0 u-3 u-4 | t-0=5; u-3=7/note; u-4=-1",
        "0: fetch | t-0=5; u-3=7/note",
        "0: list | g \"\" Empty",
        "0: commit nobody t-0=2 | t-0=2; nobody: ok",
        "0: fetch t-0 | t-0=2",
    ]);
}

#[test]
fn only_members_commit_while_a_group_has_some() {
    after_pair(&[
        "1: commit nobody t-0=1 | nobody: UNKNOWN_MEMBER_ID",
        "1: commit ?x t-0=1 | ?x: UNKNOWN_MEMBER_ID",
        "1: commit b gen=1 t-0=1 | b: ILLEGAL_GENERATION",
        "1: commit b i=z t-0=1 | b: UNKNOWN_MEMBER_ID",
        "1: commit b t-0=1 | t-0=1; b: ok",
        "2: leave a b | kept 3 []; left ok ok",
        "2: commit nobody t-0=9 | t-0=9; nobody: ok",
        "2: commit nobody gen=3 t-0=9 | nobody: UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn a_generation_of_a_group_that_does_not_exist_is_refused() {
    plain(&[
        "0: commit nobody gen=1 v=8 t-0=1 | nobody: ILLEGAL_GENERATION",
        "0: commit nobody gen=1 v=9 t-0=1 | nobody: GROUP_ID_NOT_FOUND",
        "0: txn nobody gen=1 v=5 t-0=1 | nobody: ILLEGAL_GENERATION",
        "0: txn nobody group= t-0=1 | nobody: INVALID_GROUP_ID",
        "0: list |",
    ]);
}

#[test]
fn metadata_that_is_too_long_is_refused_for_its_partition_alone() {
    // Kafka counts the units of Java's strings: an emoji is two.
    let settings = Settings { offset_metadata_max_bytes: 4, ..Settings::default() };
    check(
        settings,
        &[
            "0: commit nobody t-0=1/12345 t-1=1/1234 t-2=2/ääää t-3=3/😀😀 t-4=4/😀😀! | \
             t-1=1; t-2=2; t-3=3; nobody: OFFSET_METADATA_TOO_LARGE ok ok ok OFFSET_METADATA_TOO_LARGE",
            "0: commit nobody t-0=1/12345 | nobody: OFFSET_METADATA_TOO_LARGE",
            "0: fetch t-0 t-1 | t-0=-1; t-1=1/1234",
        ],
    );
}

#[test]
fn a_commit_that_is_not_written_has_not_happened() {
    plain(&[
        "0: commit nobody t-0=1 | t-0=1; nobody: ok",
        "0: fail KAFKA_STORAGE_ERROR |",
        "0: commit nobody t-0=2 | lost; nobody: NOT_COORDINATOR",
        "0: fail MESSAGE_TOO_LARGE |",
        "0: commit nobody t-0=3 | lost; nobody: UNKNOWN_SERVER_ERROR",
        "0: fail INVALID_PRODUCER_EPOCH |",
        "0: txn nobody t-0=3 | lost; nobody: INVALID_PRODUCER_EPOCH",
        "0: fetch t-0 stable | t-0=1",
    ]);
}

#[test]
fn offsets_of_a_transaction_count_when_it_is_committed() {
    plain(&[
        "0: commit nobody t-0=1 | t-0=1; nobody: ok",
        "0: txn nobody by=7 t-0=2 t-1=2 | t-0=2 by 7; t-1=2 by 7; nobody: ok ok",
        "0: fetch t-0 t-1 t-2 | t-0=1; t-1=-1; t-2=-1",
        "0: fetch t-0 t-1 t-2 stable | t-0=-1 UNSTABLE_OFFSET_COMMIT; t-1=-1 UNSTABLE_OFFSET_COMMIT; t-2=-1",
        "0: end 7 commit |",
        "0: fetch stable | t-0=2; t-1=2",
        "0: txn nobody by=7 t-0=3 | t-0=3 by 7; nobody: ok",
        "0: end 7 abort |",
        "0: end 7 commit |",
        "0: fetch stable | t-0=2; t-1=2",
    ]);
}

#[test]
fn transactions_of_several_producers_end_each_on_their_own() {
    plain(&[
        "0: txn nobody by=7 t-0=2 | t-0=2 by 7; nobody: ok",
        "0: txn nobody by=8 t-0=3 | t-0=3 by 8; nobody: ok",
        "0: txn nobody by=8 group=h t-0=4 | t-0=4 by 8; nobody: ok",
        "0: end 8 commit |",
        "0: fetch t-0 | t-0=3",
        "0: fetch group=h stable | t-0=4",
        "0: fetch t-0 stable | t-0=-1 UNSTABLE_OFFSET_COMMIT",
        // The later record counts, although its transaction ended first.
        "0: end 7 commit |",
        "0: fetch t-0 stable | t-0=3",
    ]);
}

#[test]
fn a_plain_commit_after_one_of_a_transaction_counts() {
    plain(&[
        "0: txn nobody by=7 t-0=2 | t-0=2 by 7; nobody: ok",
        "0: commit nobody t-0=5 | t-0=5; nobody: ok",
        "0: end 7 commit |",
        "0: fetch t-0 | t-0=5",
    ]);
}

#[test]
fn a_transaction_commits_for_members_of_the_generation_in_any_state() {
    after_pair(&[
        "1: txn a gen=1 t-0=1 | a: ILLEGAL_GENERATION",
        "1: txn ?x t-0=1 | ?x: UNKNOWN_MEMBER_ID",
        "1: txn a i=z t-0=1 | a: UNKNOWN_MEMBER_ID",
        "1: txn a t-0=1 | t-0=1 by 7; a: ok",
        // Producers before KIP-447 tell neither member nor generation.
        "1: txn nobody t-0=2 | t-0=2 by 7; nobody: ok",
        "2: join b m=1 |",
        "2: txn a t-0=3 | t-0=3 by 7; a: ok",
        "2: join a | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: txn a gen=2 t-0=4 | a: ILLEGAL_GENERATION",
        "2: txn a t-0=5 | t-0=5 by 7; a: ok",
    ]);
}

#[test]
fn offsets_of_topics_that_are_read_cannot_be_deleted() {
    after_pair(&[
        "1: commit a t-0=1 u-0=2 | t-0=1; u-0=2; a: ok ok",
        "1: unsubscribe t-0 u-0 u-1 | no u-0; GROUP_SUBSCRIBED_TO_TOPIC ok ok",
        "1: fetch | t-0=1",
        "2: leave a b | kept 3 []; left ok ok",
        "2: unsubscribe t-0 | no t-0; ok",
        "2: unsubscribe t-0 | ok",
        "2: unsubscribe t-0 group=h | GROUP_ID_NOT_FOUND",
        "2: unsubscribe t-0 group= | INVALID_GROUP_ID",
    ]);
    plain(&[
        "0: join a v=3 type=connect | a: joined 1 range leader=a [a]",
        "0: commit nobody t-0=1 | nobody: UNKNOWN_MEMBER_ID",
        "0: unsubscribe t-0 | NON_EMPTY_GROUP",
    ]);
}

#[test]
fn only_groups_without_members_can_be_deleted_and_their_offsets_go_too() {
    after_pair(&[
        "1: commit a t-0=1 | t-0=1; a: ok",
        "1: txn a t-0=2 t-1=2 | t-0=2 by 7; t-1=2 by 7; a: ok ok",
        "1: delete g h | NON_EMPTY_GROUP GROUP_ID_NOT_FOUND",
        "2: leave a b | kept 3 []; left ok ok",
        "2: fail KAFKA_STORAGE_ERROR |",
        "2: delete g h | lost; NOT_COORDINATOR GROUP_ID_NOT_FOUND",
        "2: fetch | t-0=1",
        "2: delete g | no t-0; no t-1; no g; ok",
        "2: list |",
        "2: end 7 commit |",
        "2: fetch |",
        "2: join a | a: UNKNOWN_MEMBER_ID",
    ]);
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it() {
    plain(&[
        "0: commit nobody t-0=1 u-0=2 | t-0=1; u-0=2; nobody: ok ok",
        "0: commit nobody group=h t-1=1 | t-1=1; nobody: ok",
        "0: txn nobody t-0=2 t-2=2 | t-0=2 by 7; t-2=2 by 7; nobody: ok ok",
        "0: topics t other | no t-0; no t-2; no t-1",
        "0: end 7 commit |",
        "0: fetch stable | u-0=2",
    ]);
}

const DAY: i64 = 24 * 60 * 60 * 1000;

#[test]
fn offsets_without_members_expire_after_their_commit() {
    let (half, seven, more) = (3 * DAY, 7 * DAY, 10 * DAY);
    plain(&[
        "0: commit nobody t-0=1 t-1=1 | t-0=1; t-1=1; nobody: ok ok",
        &format!("{half}: commit nobody t-1=2 | t-1=2; nobody: ok"),
        &format!("{}: tick |", seven - 1),
        &format!("{}: tick | no t-0", seven + 600_000),
        &format!("{}: tick |", more - 1),
        &format!("{}: tick | no t-1; no g", more + 600_000),
        &format!("{}: list |", more + 600_000),
    ]);
}

#[test]
fn offsets_with_a_retention_of_their_own_expire_by_it() {
    plain(&["0: commit nobody t-0=1 v=4 keep=1000 | t-0=1; nobody: ok", "0: restart |", "600000: tick | no t-0; no g"]);
}

#[test]
fn offsets_of_a_group_expire_after_its_last_member_left() {
    let left = 20 * DAY;
    let lines = [
        "1: commit a t-0=1 | t-0=1; a: ok".to_owned(),
        format!("{left}: leave a b | kept 3 []; left ok ok"),
        format!("{}: tick |", left + 7 * DAY - 1),
        format!("{}: tick | no t-0; no g", left + 7 * DAY + 600_000),
    ];
    // Nobody counts the members out meanwhile: the tick is only asked for here.
    after_pair(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn offsets_of_a_group_with_members_expire_only_for_topics_nobody_reads() {
    let settings = Settings { offsets_retention_ms: 1000, ..Settings::default() };
    let lines = [
        "1: commit a t-0=1 u-0=1 | t-0=1; u-0=1; a: ok ok",
        "1: txn a u-1=1 | u-1=1 by 7; a: ok",
        "1: commit a u-1=1 | u-1=1; a: ok",
        "1: join a s=1800000 |",
        "1: join b s=1800000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "600000: tick | b: REBALANCE_IN_PROGRESS",
    ];
    check(settings.clone(), &[&PAIR, &lines[..]].concat());
    let stable = [
        "1: join a s=1800000 |",
        "1: join b s=1800000 | a: joined 3 range leader=a [a b]; b: joined 3 range leader=a",
        "2: sync b |",
        "2: sync a a=x | kept 3 [a=x b=]; a: synced x; b: synced nothing",
        "3: commit a t-0=1 u-0=1 u-1=1 | t-0=1; u-0=1; u-1=1; a: ok ok ok",
        "3: txn a u-1=2 | u-1=2 by 7; a: ok",
        "600000: tick | no u-0",
    ];
    check(settings, &[&PAIR, &stable[..]].concat());
}

#[test]
fn an_empty_group_without_offsets_goes_at_the_next_look() {
    plain(&[
        "0: join a | a: MEMBER_ID_REQUIRED",
        "0: join a | a: joined 1 range leader=a [a]",
        "0: leave a | kept 2 []; left ok",
        "600000: tick | no g",
        "600000: list |",
    ]);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    after_pair(&[
        "0: commit nobody group=h t-0=1 | t-0=1; nobody: ok",
        "0: list | g \"consumer\" Stable; h \"\" Empty",
        "0: list stable | g \"consumer\" Stable",
        "0: list EMPTY dead | h \"\" Empty",
        "0: list type:Classic stable | g \"consumer\" Stable",
        "0: list type:consumer |",
        "0: describe group=x | Dead \"\" []",
    ]);
}
