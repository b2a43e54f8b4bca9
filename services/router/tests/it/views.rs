//! Every kind of operator, end to end.

use serde_json::{Value, json};
use weir_testkit::wait_for;

use crate::stages::BY_SIZE;
use crate::world::{CUSTOMERS, LONG, ORDERS, PARTITIONS, World};

pub const LARGE: &str = "\
id: shop.large_orders
version: 1.0.0
team: shop
sql: |
  SELECT order_id, customer_id, cents / 100 AS whole, UPPER(note) AS note FROM shop.orders WHERE cents >= 5000
";
pub const BY_ORDER: &str = "\
id: shop.orders_by_id
version: 1.0.0
team: shop
sql: |
  SELECT order_id, cents FROM shop.orders PARTITION BY order_id
";
pub const SPEND: &str = "\
id: shop.spend
version: 1.0.0
team: shop
sql: |
  SELECT customer_id, COUNT(*) AS orders, SUM(cents) AS cents, MAX(ordered_at) AS last FROM shop.orders GROUP BY customer_id
";
pub const HOURLY: &str = "\
id: shop.hourly
version: 1.0.0
team: shop
sql: |
  SELECT customer_id, window_start, COUNT(*) AS orders, SUM(cents) AS cents
  FROM shop.orders GROUP BY customer_id, TUMBLE(INTERVAL '1' HOUR) EMIT FINAL
";
pub const ENRICHED: &str = "\
id: shop.enriched
version: 1.0.0
team: shop
sql: |
  SELECT o.order_id, o.customer_id, o.cents, c.tier, HASH(c.name) AS who
  FROM shop.orders o LEFT JOIN shop.customers c ON c.customer_id = o.customer_id
masks: { salt: s }
";
pub const OVERVIEW: &str = "\
id: shop.overview
version: 1.0.0
team: shop
sql: |
  SELECT c.customer_id, c.tier, COALESCE(s.orders, 0) AS orders, COALESCE(s.cents, 0) AS cents
  FROM shop.customers c LEFT JOIN shop.spend s ON s.customer_id = c.customer_id
";

/// The start of all times here, in milliseconds.
pub const DAWN: i64 = 1_700_000_000_000;

/// Orders of 50 customers, some minutes apart; each differs from every other.
pub fn orders(range: std::ops::Range<i64>) -> Vec<(String, Option<Value>, i64)> {
    let order = |i: i64| {
        let time = DAWN + i * 90_000 + (i * 7919 % 11) * 1_000;
        let customer = format!("c{}", i * 31 % 50);
        let value = json!({
            "order_id": format!("o{i}"), "customer_id": customer, "cents": i * 37 % 10_000,
            "note": if i % 3 == 0 { Value::Null } else { json!(format!("note {i}")) }, "ordered_at": time,
        });
        (customer, Some(value), time)
    };
    range.map(order).collect()
}

/// Customers that come, change their tier, and go, from a moment on.
pub fn customers(range: std::ops::Range<i64>, from: i64) -> Vec<(String, Option<Value>, i64)> {
    let customer = |i: i64| {
        let time = from + i * 1_000_000;
        let id = format!("c{}", i * 17 % 60);
        let tier = if i % 2 == 0 { "basic" } else { "gold" };
        let value = json!({
            "customer_id": id, "name": format!("name {}", i % 7), "tier": tier, "changed_at": time,
        });
        (id, (i % 13 != 12).then_some(value), time)
    };
    range.map(customer).collect()
}

pub fn fill(world: &World, topic: &str, records: &[(String, Option<Value>, i64)]) {
    world.write(topic, records.iter().map(|(key, value, time)| (key.as_str(), value.clone(), *time)));
}

#[test]
fn what_views_write_is_what_their_operators_make_of_the_same_logs() {
    let Some(mut world) = World::start() else { return };
    fill(&world, ORDERS, &orders(0..6_000));
    fill(&world, CUSTOMERS, &customers(0..500, DAWN));
    world.apply(&[LARGE, BY_ORDER, SPEND, HOURLY, ENRICHED, OVERVIEW]);
    let router = world.router("a");
    world.caught_up();
    for view in ["shop.large_orders", "shop.spend", "shop.hourly", "shop.enriched"] {
        assert!(world.check(view) > 0, "{view}");
    }

    // What has a new key lies where the key says, as any client would have put it.
    let rekeyed = world.read("shop.orders_by_id");
    assert_eq!(rekeyed.iter().map(Vec::len).sum::<usize>(), 6_000);
    let keys: std::collections::BTreeMap<Vec<u8>, i32> =
        rekeyed.iter().flatten().map(|record| (record.key.clone().unwrap(), record.partition)).collect();
    let mut writer = weir_kafka::Writer::open(&world.kafka, 10).unwrap();
    for id in [b"o1", b"o2", b"o3", b"o4"] {
        let out = weir_kafka::Outgoing { topic: "shop.orders_by_id", key: Some(id), ..Default::default() };
        assert_eq!(writer.write(&out).unwrap().0, keys[&id[..]]);
    }

    // A view over a view, and a table of it all: the last word on every customer.
    let spend = world.table("shop.spend");
    let mut expect = std::collections::BTreeMap::new();
    for (id, value, _) in customers(0..500, DAWN) {
        match value {
            Some(value) => {
                let of = |name: &str| spend.get(&id).map_or(json!(0), |row| row[name].clone());
                let row =
                    json!({ "customer_id": id, "tier": value["tier"], "orders": of("orders"), "cents": of("cents") });
                expect.insert(id, row);
            }
            None => drop(expect.remove(&id)),
        }
    }
    wait_for(LONG, "the overview to be complete", || world.table("shop.overview") == expect);

    // Live, after the history: a customer goes, an order comes.
    world.write(CUSTOMERS, [("c1", None, DAWN + 90_000_000_000)]);
    let order = json!({"order_id": "new", "customer_id": "c2", "cents": 7, "note": null, "ordered_at": DAWN + 90_000_000_001_i64});
    world.write(ORDERS, [("c2", Some(order), DAWN + 90_000_000_001)]);
    let before = spend["c2"]["orders"].as_i64().unwrap();
    wait_for(LONG, "the live changes", || {
        let (spend, overview) = (world.table("shop.spend"), world.table("shop.overview"));
        spend["c2"]["orders"] == before + 1 && !overview.contains_key("c1")
    });

    let view = router.view("shop.spend");
    assert_eq!(view["tasks"].as_array().unwrap().len(), PARTITIONS as usize, "{view}");
    assert_eq!(view["total"]["received"], 6_001, "{view}");
    let metrics = router.metrics();
    assert!(metrics.contains("weir_router_received_total{view=\"shop.spend\"} 6001"), "{metrics}");
}

#[test]
fn records_that_come_too_late_are_counted_and_written_where_the_view_asks_for_them() {
    let Some(mut world) = World::start() else { return };
    let asked = HOURLY.replace("shop.hourly", "shop.hourly_late").replace("sql:", "late: true\nsql:");
    world.apply(&[HOURLY, &asked]);
    let router = world.router("a");
    let order = |id: &str, time: i64| {
        let value = json!({"order_id": id, "customer_id": "c1", "cents": 1, "note": null, "ordered_at": time});
        ("c1", Some(value), time)
    };
    const HOUR: i64 = 3_600_000;
    world.write(ORDERS, [order("first", DAWN), order("closes", DAWN + 5 * HOUR), order("late", DAWN + HOUR)]);
    for view in ["shop.hourly", "shop.hourly_late"] {
        wait_for(LONG, "the late record", || router.view(view)["total"]["late"] == 1);
        assert!(world.check(view) > 0);
    }
    let late: Vec<_> = world.read("shop.hourly_late.late").into_iter().flatten().collect();
    let sent: Vec<_> = world.read(ORDERS).into_iter().flatten().collect();
    let [late] = &late[..] else { panic!("one record is late: {late:?}") };
    assert_eq!((&late.key, &late.value, late.timestamp), (&sent[2].key, &sent[2].value, sent[2].timestamp));
    let header = |name: &str| late.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.clone());
    assert_eq!(header("weir.source.topic").as_deref(), Some(ORDERS.as_bytes()));
    assert_eq!(header("weir.source.offset").as_deref(), Some(sent[2].offset.to_string().as_bytes()));
}

#[test]
fn a_view_that_is_added_later_begins_at_the_beginning_and_the_others_go_on() {
    let Some(mut world) = World::start() else { return };
    fill(&world, ORDERS, &orders(0..1_000));
    world.apply(&[SPEND]);
    let router = world.router("a");
    world.caught_up();
    let before = world.check("shop.spend");
    world.apply(&[LARGE]);
    wait_for(LONG, "the new view to run", || {
        router.view("shop.large_orders")["tasks"].as_array().is_some_and(|t| !t.is_empty())
    });
    fill(&world, ORDERS, &orders(1_000..1_500));
    world.caught_up();
    wait_for(LONG, "the new view to be there", || router.view("shop.large_orders")["total"]["received"] == 1_500);
    world.check("shop.large_orders");
    assert!(world.check("shop.spend") > before);
    world.publish("shop.spend", None);
    wait_for(LONG, "the view to be gone", || router.view("shop.spend").is_null());
    let gone = world.check("shop.spend");
    fill(&world, ORDERS, &orders(1_500..1_600));
    wait_for(LONG, "the other to go on", || router.view("shop.large_orders")["total"]["received"] == 1_600);
    assert_eq!(world.written("shop.spend").iter().map(Vec::len).sum::<usize>(), gone);
    world.check("shop.large_orders");
}

#[test]
fn a_view_that_is_reset_is_made_anew_beside_what_it_wrote_before() {
    const VIEWS: [&str; 2] = ["shop.spend", "shop.by_size"];
    let Some(mut world) = World::start() else { return };
    fill(&world, ORDERS, &orders(0..1_000));
    fill(&world, CUSTOMERS, &customers(0..50, DAWN));
    world.apply(&[SPEND, BY_SIZE, OVERVIEW, LARGE]);
    let mut router = world.router("a");
    world.caught_up();
    for view in VIEWS {
        assert!(world.check(view) > 0, "{view}");
    }
    let (before, spend) = (VIEWS.map(|topic| world.read(topic)), world.table("shop.spend"));
    for view in VIEWS {
        world.reset(view);
        assert_eq!(world.plans[view].output.topic, format!("{view}.g2"));
        wait_for(LONG, "the view to begin anew", || router.view(view)["total"]["received"] == 2_000);
    }
    let all_is_right = |world: &World| {
        world.caught_up();
        // Their new topics are compacted, as the command makes them.
        for view in VIEWS {
            world.check_table(view);
        }
        assert_eq!(VIEWS.map(|topic| world.read(topic)), before);
        assert!(world.check("shop.large_orders") > 0);
    };
    all_is_right(&world);
    fill(&world, ORDERS, &orders(1_000..1_500));
    all_is_right(&world);

    // Who reads the old one goes on with it.
    let (id, time) = ("c2", DAWN + 90_000_000_000);
    let customer = json!({"customer_id": id, "name": "n", "tier": "other", "changed_at": time});
    world.write(CUSTOMERS, [(id, Some(customer), time)]);
    let expect =
        json!({"customer_id": id, "tier": "other", "orders": spend[id]["orders"], "cents": spend[id]["cents"]});
    wait_for(LONG, "the overview to change", || world.table("shop.overview").get(id) == Some(&expect));

    // From what its own changelog says.
    router.process.kill();
    std::fs::remove_dir_all(world.state.path().join("a")).unwrap();
    let _router = world.router("a");
    fill(&world, ORDERS, &orders(1_500..2_000));
    all_is_right(&world);
}
