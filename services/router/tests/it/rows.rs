//! Rows that are due and have no value: they lie in the quarantine of their view, each once, and the view goes on.

use serde_json::{Value, json};
use weir_kafka::{Outgoing, Record, Writer};
use weir_testkit::wait_for;

use crate::stages::TIERS;
use crate::views::{DAWN, LARGE};
use crate::world::{CUSTOMERS, LONG, ORDERS, World};

/// The row of a window, which is said when it closes.
const RATE: &str = "\
id: shop.rate
version: 1.0.0
team: shop
sql: |
  SELECT customer_id, window_start, 100 / (SUM(cents) - 10) AS rate
  FROM shop.orders GROUP BY customer_id, TUMBLE(INTERVAL '1' HOUR) EMIT FINAL
";
/// A record that is said alone when its time is over.
const ALONE: &str = "\
id: shop.alone
version: 1.0.0
team: shop
sql: |
  SELECT o.order_id, CASE WHEN l.order_id IS NULL THEN 100 / (o.cents - 10) ELSE 0 END AS rate
  FROM shop.orders o LEFT JOIN shop.large_orders l WITHIN INTERVAL '1' MINUTE ON o.customer_id = l.customer_id
";
/// The row of a group behind a repartition.
const ODD: &str = "\
id: shop.odd
version: 1.0.0
team: shop
sql: |
  SELECT tier, 100 / (COUNT(*) - 2) AS rate FROM shop.customers GROUP BY tier
";
/// A join on a foreign key, of which two stages read the left side.
const BY_TIER: &str = "\
id: shop.by_tier
version: 1.0.0
team: shop
sql: |
  SELECT c.customer_id, c.tier, t.customers FROM shop.customers c LEFT JOIN shop.tiers t ON c.tier = t.tier
";

const HOUR: i64 = 3_600_000;

/// What lies in the quarantine of a view.
fn aside(world: &World, view: &str) -> Vec<Record> {
    world.read(&format!("{view}.quarantine")).into_iter().flatten().collect()
}

fn header<'r>(record: &'r Record, name: &str) -> &'r str {
    let found = record.headers.iter().rev().find(|(known, _)| known == name).unwrap();
    std::str::from_utf8(found.1.as_deref().unwrap()).unwrap()
}

fn customer(id: &str, time: i64) -> Value {
    json!({"customer_id": id, "name": "n", "tier": "gold", "changed_at": time})
}

#[test]
fn a_row_without_a_value_is_put_aside_and_the_view_goes_on() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[LARGE, RATE, ALONE, ODD]);
    let router = world.router("a");
    let orders = [("o1", 10, DAWN), ("o2", 5, DAWN + 2 * HOUR), ("o3", 3, DAWN + 4 * HOUR)];
    let order = |(id, cents, time): (&str, i64, i64)| json!({"order_id": id, "customer_id": "c1", "cents": cents, "note": null, "ordered_at": time});
    world.write(ORDERS, orders.map(|o| ("c1", Some(order(o)), o.2)));
    world.write(CUSTOMERS, ["c1", "c2", "c3"].map(|id| (id, Some(customer(id, DAWN)), DAWN)));
    let second = format!("c1|{}", (DAWN + 2 * HOUR) / HOUR * HOUR);
    wait_for(LONG, "the next window", || world.table("shop.rate").get(&second).is_some_and(|row| row["rate"] == -20));
    wait_for(LONG, "the next record alone", || world.orders_in("shop.alone") == ["o2"]);
    wait_for(LONG, "the group to have a row", || world.table("shop.odd").get("gold").is_some_and(|r| r["rate"] == 100));

    let sent: Vec<Record> = world.read(ORDERS).into_iter().flatten().collect();
    let first = format!("c1|{}", DAWN / HOUR * HOUR);
    let zero = "rate: division by zero";
    let cases = [
        (
            "shop.rate",
            first.as_str(),
            ORDERS,
            Some(sent[1].offset),
            format!("the row of the window from 2023-11-14T22:00:00Z, which has closed: {zero}"),
        ),
        (
            "shop.alone",
            "c1",
            ORDERS,
            Some(sent[0].offset),
            format!("a record that has met no other in its time: {zero}"),
        ),
        ("shop.odd", "gold", "shop.odd-repartition-1", None, format!("the row of the group: {zero}")),
    ];
    let mut values = Vec::new();
    for (view, key, topic, offset, reason) in cases {
        let entries = aside(&world, view);
        let [entry] = &entries[..] else { panic!("{view}: {entries:?}") };
        assert_eq!(entry.key.as_deref(), Some(key.as_bytes()), "{view}");
        let message = header(entry, "__connect.errors.exception.message");
        assert!(message.starts_with(&format!("VIEW_FAILED: {reason}")), "{view}: {message}");
        assert_eq!(header(entry, "weir.source.topic"), topic, "{view}");
        if let Some(offset) = offset {
            assert_eq!(header(entry, "weir.source.offset"), offset.to_string(), "{view}");
        } else {
            let between: Vec<Record> = world.read(topic).into_iter().flatten().collect();
            let from = between.iter().find(|r| header(entry, "weir.source.offset") == r.offset.to_string());
            assert_eq!(from.unwrap().value, entry.value, "{view}: the bytes are as they came");
        }
        let total = &router.view(view)["total"];
        assert_eq!((&total["quarantined"], &total["undefined"]), (&json!(1), &json!(1)), "{view}: {total}");
        values.push(entry.value.clone().unwrap());
    }
    let row: Value = serde_json::from_slice(&values[0]).unwrap();
    let expect =
        json!({"k0": "c1", "window_start": "2023-11-14T22:00:00Z", "window_end": "2023-11-14T23:00:00Z", "a0": 10});
    assert_eq!(row, expect);
    assert_eq!(values[1], sent[0].value.as_ref().unwrap()[5..], "the datum is as it came");
}

/// Both stages read it; the first one puts it aside.
#[test]
fn a_record_that_two_stages_read_is_put_aside_once() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[TIERS, BY_TIER]);
    let _router = world.router("a");
    let good = world.encode(CUSTOMERS, &world.products[1].schema.clone(), &customer("c1", DAWN));
    let mut writer = Writer::open(&world.kafka, 10).unwrap();
    let bad: [(Option<&[u8]>, &[u8]); 3] = [(Some(b"c1"), b"abcdefgh"), (Some(b"c1"), &good[..7]), (None, &good)];
    let mut partition = None;
    for (key, value) in bad.into_iter().chain([(Some(&b"c1"[..]), &good[..])]) {
        let timestamp = Some(DAWN);
        let out = Outgoing { topic: CUSTOMERS, partition, key, value: Some(value), timestamp, ..Outgoing::default() };
        partition = Some(writer.write(&out).unwrap().0);
    }
    wait_for(LONG, "the row of the good one", || {
        world.table("shop.by_tier").get("c1").is_some_and(|row| row["customers"] == 1)
    });
    for view in ["shop.tiers", "shop.by_tier"] {
        let entries: Vec<Option<Vec<u8>>> = aside(&world, view).into_iter().map(|entry| entry.value).collect();
        assert_eq!(entries, bad.map(|(_, value)| Some(value.to_vec())), "{view}");
    }
}
