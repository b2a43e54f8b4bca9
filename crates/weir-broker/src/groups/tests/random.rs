//! Whatever members do in whatever order: what [`Lab`] checks after each step holds, everybody is answered once, and in the
//! end the group is empty.

use super::lab::Lab;
use crate::groups::Settings;
use proptest::prelude::*;
use proptest::sample::select;

/// Members d and e are static.
const WHO: [&str; 5] = ["a", "b", "c", "d i=i", "e i=k"];

fn command() -> impl Strategy<Value = String> {
    let who = || select(&WHO[..]);
    let join = (who(), select(&["", "", "", "anew"][..]), 0..2, select(&["range", "range,sticky", "sticky,range"][..]));
    let join = (join, select(&[3, 8, 9, 9][..]), select(&[6_000, 10_000][..]), select(&[-1, 1, 5_000, 60_000][..]));
    let join = join.prop_map(|((who, anew, m, p), v, s, r)| format!("join {who} {anew} m={m} p={p} v={v} s={s} r={r}"));
    let named = |verb: &'static str| who().prop_map(move |who| format!("{verb} {who}"));
    let commit =
        (select(&["commit", "txn"][..]), who(), 7..9, 0..2, 0..100).prop_map(|(verb, who, by, partition, offset)| {
            format!("{verb} {who} by={by} t-{partition}={offset} u-0={offset}")
        });
    let leave = select(&["a", "b a", "c ?x", "d=i", "nobody=k", "e"][..]).prop_map(|who| format!("leave {who}"));
    let rest = [
        "commit nobody t-0=3",
        "txn nobody t-1=3",
        "end 7 commit",
        "end 7 abort",
        "end 8 commit",
        "unsubscribe t-0 u-0",
    ];
    let rest = select([&rest[..], &["topics u", "delete g", "restart", "fetch", "list"]].concat());
    prop_oneof![
        8 => join,
        5 => named("lead"),
        4 => named("beat"),
        1 => named("sync"),
        1 => named("forget"),
        2 => commit,
        2 => leave,
        2 => rest.prop_map(str::to_owned),
        1 => Just("fail KAFKA_STORAGE_ERROR".to_owned()),
        4 => Just("tick".to_owned()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(i64, String)>> {
    let pause = prop_oneof![6 => Just(0), 6 => 1i64..2_000, 2 => 2_000i64..12_000, 1 => 12_000i64..700_000];
    prop::collection::vec((pause, command()), 1..80)
}

fn run(settings: Settings, steps: &[(i64, String)], with_faults: bool) {
    let mut lab = Lab::new(settings);
    for (pause, command) in steps {
        let now = lab.now + pause;
        let waits = command.strip_prefix("forget ").is_none_or(|who| lab.waits(&who[..1]));
        if waits && (with_faults || !command.starts_with("fail")) {
            lab.run(&format!("{now}: {command}"));
        }
    }
    // Nobody says anything any more: everybody is answered and counted out.
    let end = lab.now + 3_600_000;
    lab.run(&format!("{}: end 7 abort", lab.now));
    while let Some(next) = lab.groups.next_deadline().filter(|next| *next < end) {
        lab.run(&format!("{}: tick", next.max(lab.now)));
    }
    assert_eq!(lab.waiting(), 0, "somebody still waits");
    assert!(lab.run(&format!("{end}: list preparingrebalance completingrebalance stable")).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_members_do_the_group_stays_whole(steps in steps(), delay in 0..2i64, max_size in 2usize..7) {
        let settings = Settings { initial_rebalance_delay_ms: delay * 3000, max_size, ..Settings::default() };
        run(settings, &steps, false);
    }

    #[test]
    fn whatever_is_lost_the_group_stays_whole(steps in steps()) {
        run(Settings::default(), &steps, true);
    }
}
