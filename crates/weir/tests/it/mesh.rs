//! `apply`, `produce` and `consume` on a real Kafka and a real registry.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_kafka::{Outgoing, Writer};

use crate::world::World;

const CONTRACT: &str = "mesh/orders.odcs.yaml";

#[test]
fn a_contract_is_applied_once_and_its_events_come_back() {
    let Some(mut world) = World::start() else { return };
    nothing_is_applied_halfway(&world);
    apply(&world);
    produce(&world);
    consume(&world);
    world.stop_registry();
    let away = world.weir(&["apply", CONTRACT, "--yes"]).code(69);
    assert!(away.stderr.contains(&world.registry), "{}", away.stderr);
}

fn topics(world: &World) -> BTreeMap<String, i32> {
    world.admin.topics().unwrap().into_iter().filter(|(topic, _)| topic != "_schemas").collect()
}

fn nothing_is_applied_halfway(world: &World) {
    let produced = world.weir(&["produce", "--contract", CONTRACT, "--file", "check/events.jsonl"]).code(1);
    assert!(produced.stderr.contains("run `weir apply` first"), "{}", produced.stderr);
    let asked = world.weir(&["apply", CONTRACT]).code(64);
    assert!(asked.stderr.contains("add --yes"), "{}", asked.stderr);
    let broken = world.weir(&["apply", "lint/broken", CONTRACT, "--yes"]).code(1);
    assert!(broken.stderr.contains("error: nothing was applied: the contracts have "), "{}", broken.stderr);
    let dry = world.weir(&["apply", CONTRACT, "--dry-run"]).code(3);
    assert!(dry.stdout.contains("+ topic shop.orders.landing: partitions=3"), "{}", dry.stdout);
    assert!(dry.stdout.ends_with("+ contract shop.orders: version 1.0.0\n"), "{}", dry.stdout);
    assert_eq!(topics(world), BTreeMap::new());
}

fn apply(world: &World) {
    let dry = world.weir(&["apply", CONTRACT, "--dry-run"]).code(3);
    let done = world.weir(&["apply", CONTRACT, "--yes"]).code(0);
    assert_eq!(done.stdout, dry.stdout, "what is shown is what is done");
    let expect = [
        ("shop.orders", 3),
        ("shop.orders.landing", 3),
        ("shop.orders.quarantine", 3),
        ("weir.contracts", 1),
        ("weir.replays", 1),
        ("weir.views", 1),
    ];
    assert_eq!(topics(world), expect.map(|(topic, partitions)| (topic.to_owned(), partitions)).into());
    let limit = |topic: &str| -> u64 {
        world.admin.configs(&[topic]).unwrap()[topic]["max.message.bytes"].value.parse().unwrap()
    };
    assert!(limit("shop.orders.quarantine") > limit("shop.orders.landing"));
    for arguments in [&["apply", CONTRACT, "--yes"][..], &["apply", CONTRACT, "--dry-run"], &["apply", CONTRACT]] {
        let again = world.weir(arguments).code(0);
        assert_eq!(
            (again.stdout.as_str(), again.stderr.as_str()),
            ("", "nothing to do: the cluster is as 1 contract ask\n")
        );
    }
    let wrong = world.weir(&["apply", "mesh/incompatible", "--yes"]).code(1);
    assert!(wrong.stderr.contains("shop.orders-value: the new schema cannot read version 1"), "{}", wrong.stderr);
    assert!(world.weir(&["apply", CONTRACT]).code(0).stderr.starts_with("nothing to do"));
    let again = world.weir(&["apply", "mesh/relaxed", "--dry-run", "--json"]).code(3);
    let step: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&step["step"], &step["old"], &step["new"]), (&"publish".into(), &"1.0.0".into(), &"1.1.0".into()));
}

fn produce(world: &World) {
    let stopped = world.weir(&["produce", "--contract", CONTRACT, "--file", "check/events.csv"]).code(1);
    assert!(stopped.stderr.contains("check/events.csv:4: cannot be encoded: quantity"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("2 events written to shop.orders.landing"), "{}", stopped.stderr);
    let passed = world
        .weir(&["produce", "--contract", CONTRACT, "--file", "check/events.jsonl", "--keep-going", "--json"])
        .code(1);
    let counts: Value = serde_json::from_str(&passed.stdout).unwrap();
    assert_eq!((&counts["written"], &counts["failed"]), (&4.into(), &2.into()));
    let records = world.read("shop.orders.landing");
    assert_eq!(records.len(), 6);
    for record in &records {
        assert!(record.key.is_some() && record.headers.is_empty(), "{record:?}");
        assert_eq!(record.timestamp.millis().map(|ms| ms / 1_000_000), Some(1_767_323), "the time of the event");
    }
    let partition = |key: &str| -> Vec<i32> {
        let same = records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
        same.map(|record| record.partition).collect()
    };
    let both = partition("o-1");
    assert!(both.len() == 2 && both[0] == both[1], "one key, one partition: {both:?}");
}

fn consume(world: &World) {
    let mut writer = Writer::open(&world.config, 10).unwrap();
    let garbage = Outgoing {
        topic: "shop.orders.landing",
        partition: Some(0),
        value: Some(b"\x00\x00\x00\x03\xe7!"),
        ..Outgoing::default()
    };
    writer.write(&garbage).unwrap();
    writer.write(&Outgoing { key: Some(b"gone"), value: None, ..garbage }).unwrap();
    let mut values = world.weir(&["consume", "shop.orders.landing"]).code(0).stdout;
    let mut sorted: Vec<&str> = values.lines().collect();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "null",
            r#"{"$base64":"AAAAA+ch","$reason":"schema id 999 is not registered"}"#,
            r#"{"id":"an-id-that-is-too-long","quantity":-1,"note":null,"at":"2026-01-02T03:04:07Z"}"#,
            r#"{"id":"o-1","quantity":2,"note":"first","at":"2026-01-02T03:04:05Z"}"#,
            r#"{"id":"o-1","quantity":2,"note":"first","at":"2026-01-02T03:04:05Z"}"#,
            r#"{"id":"o-2","quantity":0,"note":null,"at":"2026-01-02T03:04:06Z"}"#,
            r#"{"id":"o-2","quantity":0,"note":null,"at":"2026-01-02T03:04:06Z"}"#,
            r#"{"id":"o-5","quantity":3,"note":null,"at":"2026-01-02T03:04:09Z"}"#,
        ]
    );
    values = world.weir(&["consume", "shop.orders.landing", "--json", "--partition", "0"]).code(0).stdout;
    let last: Value = serde_json::from_str(values.lines().last().unwrap()).unwrap();
    assert_eq!((&last["key"], &last["value"], &last["partition"]), (&"gone".into(), &Value::Null, &0.into()));
    assert_eq!(world.weir(&["consume", "shop.orders.landing", "-n", "3", "--avro-json"]).code(0).lines().len(), 3);
    let check = |more: &[&str], expect: &str| {
        let empty = world.weir(&[&["consume", "shop.orders"], more].concat()).code(0);
        assert_eq!((empty.stdout.as_str(), empty.stderr.as_str()), ("", expect));
    };
    check(&[], "topic shop.orders holds no committed record\n");
    check(&["--partition", "2"], "topic shop.orders holds no committed record in partition 2\n");
    let missing = world.weir(&["consume", "no.such.topic"]).code(64);
    assert!(missing.stderr.contains("topic no.such.topic does not exist"), "{}", missing.stderr);
    world.weir(&["consume", "shop.orders.landing", "--partition", "9"]).code(64);
}
