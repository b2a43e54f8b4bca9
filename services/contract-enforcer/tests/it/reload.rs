//! Contracts change while the stream runs: a new version takes effect live, a broken one is refused and seen.

use weir_testkit::ledger::{Id, Verdict};
use weir_testkit::wait_for;

use crate::verdicts::order;
use crate::world::{LANDING, PARTITIONS, SECONDS, World, headers, outgoing};

fn version(enforcer: &crate::world::Enforcer) -> Option<String> {
    enforcer.contracts()[0]["version"].as_str().map(str::to_owned)
}

#[test]
fn a_new_version_takes_effect_and_a_broken_one_is_refused() {
    let Some(world) = World::start() else { return };
    let enforcer = world.enforcer("a");
    let mut sent = 0;
    let mut send = |verdict: Verdict<'_>| {
        let mut writer = weir_kafka::Writer::open(&world.kafka, 10).unwrap();
        for partition in 0..PARTITIONS {
            let record = order(&world.encoder, Id { run: 0, partition, seq: sent }, "k", verdict);
            writer.write(&outgoing(LANDING, partition, &record, &headers(&record))).unwrap();
            sent += 1;
        }
        world.drained(SECONDS(30));
        world.outcome()
    };
    assert_eq!(send(Verdict::Quarantined("FIELD_RANGE")), (0, 2));

    let relaxed = world
        .contract()
        .replace("version: 1.0.0", "version: 1.1.0")
        .replace("minimum: 1, maximum: 1000", "minimum: 0, maximum: 1000");
    world.publish(&relaxed);
    wait_for(SECONDS(20), "version 1.1.0 to be in force", || version(&enforcer).as_deref() == Some("1.1.0"));
    assert_eq!(send(Verdict::Quarantined("FIELD_RANGE")), (2, 2));

    for broken in [
        relaxed.replace("this.total >= 0.0", "this.totl >= 0.0"),
        relaxed.replace("logicalType: object", "logicalTyp: object"),
        "not: [a contract".to_owned(),
    ] {
        world.publish(&broken.replace("version: 1.1.0", "version: 1.2.0"));
        wait_for(SECONDS(20), "the refusal to be seen", || !enforcer.contracts()[0]["refused"].is_null());
        assert_eq!(version(&enforcer).as_deref(), Some("1.1.0"), "the version before stays in force");
        assert_eq!(enforcer.metric("weir_contract_refused"), 1);
        world.publish(&relaxed);
        wait_for(SECONDS(20), "the refusal to be taken back", || enforcer.contracts()[0]["refused"].is_null());
    }
    assert_eq!(send(Verdict::Accepted), (4, 2));

    let strict = world.contract().replace("version: 1.0.0", "version: 2.0.0");
    world.publish(&strict);
    wait_for(SECONDS(20), "version 2.0.0 to be in force", || version(&enforcer).as_deref() == Some("2.0.0"));
    assert_eq!(send(Verdict::Quarantined("FIELD_RANGE")), (4, 4));
    let judged = world.read("shop.orders.quarantine");
    let by: Vec<_> = judged
        .iter()
        .map(|r| r.record.headers.iter().find(|(n, _)| n == "weir.contract").and_then(|(_, v)| v.clone()).unwrap())
        .map(|v| String::from_utf8(v).unwrap())
        .collect();
    assert_eq!(by.iter().filter(|v| *v == "shop.orders@1.0.0").count(), 2, "{by:?}");
    assert_eq!(by.iter().filter(|v| *v == "shop.orders@2.0.0").count(), 2, "{by:?}");
}
