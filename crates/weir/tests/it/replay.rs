//! Repair and replay: what is quarantined comes back once, whatever happens to the replay.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use weir_kafka::Record;
use weir_testkit::{Process, wait_for};

use crate::command;
use crate::world::{PATIENCE, World};

const GOOD: usize = 1_000;
const ZERO: usize = 12_000;
const LONG: usize = 40;

/// Events of which `ZERO` sell nothing, `LONG` have an id that is too long, and the others are good.
fn events() -> String {
    let mut text = "id,quantity,note,at\n".to_owned();
    for number in 0..GOOD + ZERO + LONG {
        let (id, quantity) = match number {
            n if n < ZERO => (format!("z-{n}"), 0),
            n if n < ZERO + LONG => (format!("long-long-long-{n}"), 1),
            n => (format!("g-{n}"), 1),
        };
        writeln!(text, "{id},{quantity},,2026-01-02T03:04:05Z").unwrap();
    }
    text
}

fn counts(world: &World, arguments: &[&str], code: i32) -> Value {
    let arguments = [&["quarantine", "replay", "shop.orders", "--json"], arguments].concat();
    serde_json::from_str(&world.weir(&arguments).code(code).stdout).unwrap()
}

fn keys(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.key.clone().unwrap()).unwrap()).collect()
}

#[test]
fn quarantined_events_replay_exactly_once() {
    let Some(mut world) = World::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.csv");
    std::fs::write(&file, events()).unwrap();
    world.weir(&["apply", "mesh/orders.odcs.yaml", "--yes"]).code(0);
    world.enforce();
    let file = file.to_str().unwrap();
    world.weir(&["produce", "--contract", "mesh/orders.odcs.yaml", "--file", file]).code(0);
    let (product, quarantine) = ("shop.orders", "shop.orders.quarantine");
    let settled = || {
        let count =
            |topic| world.admin.offsets(topic).map_or(0, |all| all.iter().map(|o| o.end - o.start).sum::<i64>());
        count(product) >= GOOD as i64 && count(quarantine) >= (ZERO + LONG) as i64
    };
    wait_for(PATIENCE, "the enforcer's verdicts", settled);
    wait_for(PATIENCE, "all verdicts", || world.read(quarantine).len() == ZERO + LONG);
    let before = world.read(quarantine);
    list_and_show(&world, &before);

    // Under the contract that broke them none passes, and a dry run changes nothing.
    let dry = counts(&world, &["--dry-run"], 1);
    assert_eq!((&dry["passed"], &dry["failed"]), (&0.into(), &(ZERO + LONG).into()));
    world.weir(&["apply", "mesh/relaxed", "--yes"]).code(0);
    let dry = counts(&world, &["--dry-run"], 1);
    assert_eq!(
        (&dry["passed"], &dry["failed"], &dry["contract"]),
        (&ZERO.into(), &LONG.into(), &"shop.orders@1.1.0".into())
    );
    assert_eq!(dry["reasons"][0]["code"], "FIELD_LENGTH");
    assert_eq!(world.read(product).len(), GOOD);

    killed_and_fenced(&world);

    let last = counts(&world, &[], 1);
    let passed = last["passed"].as_u64().unwrap() + last["replayed_before"].as_u64().unwrap();
    assert_eq!(passed, ZERO as u64, "{last}");
    let after = world.read(product);
    let all: BTreeSet<String> = keys(&after).into_iter().collect();
    assert_eq!((after.len(), all.len()), (GOOD + ZERO, GOOD + ZERO), "each event is there, and once");
    as_it_was(&before, &after);
    assert!(world.read(quarantine) == before, "quarantine stays as it is");

    // Twice changes nothing, but the attempts of those that fail.
    let again = counts(&world, &[], 1);
    assert_eq!(
        (&again["passed"], &again["replayed_before"], &again["failed"]),
        (&0.into(), &ZERO.into(), &LONG.into())
    );
    let tired = counts(&world, &["--max-attempts", "2"], 1);
    assert_eq!((&tired["failed"], &tired["tried_too_often"]), (&0.into(), &LONG.into()));
    assert_eq!(world.read(product).len(), GOOD + ZERO);
    let listed = world.weir(&["quarantine", "list", product]).code(0);
    assert_eq!(listed.lines().len(), LONG);
    assert!(listed.lines()[0].contains("failed under shop.orders@1.1.0]"), "{}", listed.lines()[0]);
    assert_eq!(world.weir(&["quarantine", "list", product, "--all"]).code(0).lines().len(), ZERO + LONG);
}

fn list_and_show(world: &World, before: &[Record]) {
    let summary = world.weir(&["quarantine", "list", "shop.orders", "--summary"]).code(0);
    assert_eq!(summary.lines(), ["12,000  RULE_FAILED quantity is positive", "    40  FIELD_LENGTH maxLength"]);
    let few =
        world.weir(&["quarantine", "list", "shop.orders.quarantine", "--code", "FIELD_LENGTH", "-n", "3", "--json"]);
    let few = few.code(0);
    assert_eq!(few.lines().len(), 3);
    let first: Value = serde_json::from_str(few.lines()[0]).unwrap();
    assert_eq!(first["violations"][0]["path"], "id");
    assert_eq!(first["source"]["topic"], "shop.orders.landing");
    let position = format!("{}:{}", before[0].partition, before[0].offset);
    let page = world.weir(&["quarantine", "show", "shop.orders", &position]).code(0).stdout;
    for part in
        ["came from   shop.orders.landing ", "contract    shop.orders@1.0.0", "`weir explain ", "\"quantity\": "]
    {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    let page = world.weir(&["quarantine", "show", "shop.orders", &position, "--json"]).code(0).stdout;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["quarantine"]["contract"], "shop.orders@1.0.0");
    world.weir(&["quarantine", "show", "shop.orders", "0:99999999"]).code(64);
    world.weir(&["quarantine", "list", "no.such"]).code(64);
}

/// Replays that die at any moment, and two at a time.
fn killed_and_fenced(world: &World) {
    let spawn = || {
        let arguments = [&["quarantine", "replay", "shop.orders"][..], &world.addresses()].concat();
        Process::spawn(command(&arguments).stdout(Stdio::null()).stderr(Stdio::null())).unwrap()
    };
    let written = || world.admin.offsets("weir.replays").unwrap()[0].end;
    for _ in 0..3 {
        let before = written();
        let mut replay = spawn();
        // Killed in the middle: some batches are committed, one is open.
        wait_for(PATIENCE, "a part of a replay", || written() > before + 700);
        assert!(replay.exited().is_none(), "it was over before it could be killed");
        replay.kill();
    }
    let mut both = [spawn(), spawn()];
    let codes = both.each_mut().map(|replay| replay.wait(Duration::from_secs(120)).code().unwrap_or(-1));
    // One may have taken over from the other; some events fail, so the one that ends says no.
    assert!(codes.iter().all(|code| [1, 70].contains(code)) && codes.contains(&1), "{codes:?}");
}

/// Replayed events are byte for byte what the producer wrote, in the partition they came from, in their order.
fn as_it_was(before: &[Record], after: &[Record]) {
    for partition in 0..3 {
        let zero =
            |record: &&Record| record.partition == partition && record.key.as_deref().unwrap().starts_with(b"z-");
        let source: Vec<_> = before.iter().filter(zero).map(|r| (&r.key, &r.value, r.timestamp)).collect();
        let replayed: Vec<_> = after.iter().filter(zero).collect();
        assert!(replayed.iter().all(|record| record.headers.is_empty()), "no header of ours is left");
        let replayed: Vec<_> = replayed.iter().map(|r| (&r.key, &r.value, r.timestamp)).collect();
        assert!(source == replayed, "partition {partition}: {} and {}", source.len(), replayed.len());
    }
}
