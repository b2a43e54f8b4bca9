//! Views whose key changes on the way: what one stage writes the next one reads, over topics of their own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_testkit::wait_for;

use crate::views::{DAWN, customers, fill, orders};
use crate::world::{CUSTOMERS, LONG, ORDERS, World};

/// A stream grouped by another field.
const LATEST: &str = "\
id: shop.latest
version: 1.0.0
team: shop
sql: |
  SELECT order_id, LATEST_BY_OFFSET(customer_id) AS buyer, SUM(cents) AS cents FROM shop.orders GROUP BY order_id
";
/// A table whose rows name rows of another.
const BUYERS: &str = "\
id: shop.buyers
version: 1.0.0
team: shop
sql: |
  SELECT l.order_id, l.buyer, l.cents, c.tier FROM shop.latest l LEFT JOIN shop.customers c ON l.buyer = c.customer_id
";
/// A stream grouped by what is computed of it.
pub const BY_SIZE: &str = "\
id: shop.by_size
version: 1.0.0
team: shop
sql: |
  SELECT cents / 1000 AS size, COUNT(*) AS orders, SUM(cents) AS cents FROM shop.orders GROUP BY cents / 1000
";
/// A table grouped by a field that changes.
pub const TIERS: &str = "\
id: shop.tiers
version: 1.0.0
team: shop
sql: |
  SELECT tier, COUNT(*) AS customers FROM shop.customers GROUP BY tier
";

/// The rows of a table that a log ends with, made in memory.
pub fn rows(records: &[(String, Option<Value>, i64)]) -> BTreeMap<String, Value> {
    let mut last = BTreeMap::new();
    for (id, value, _) in records {
        match value {
            Some(value) => drop(last.insert(id.clone(), value.clone())),
            None => drop(last.remove(id)),
        }
    }
    last
}

pub fn tiers(customers: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in customers.values() {
        *counts.entry(row["tier"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts.into_iter().map(|(tier, n)| (tier.clone(), json!({"tier": tier, "customers": n}))).collect()
}

fn buyers(orders: &[(String, Option<Value>, i64)], customers: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let row = |(buyer, order, _): &(String, Option<Value>, i64)| {
        let order = order.as_ref().unwrap();
        let tier = customers.get(buyer).map_or(Value::Null, |row| row["tier"].clone());
        let row = json!({"order_id": order["order_id"], "buyer": buyer, "cents": order["cents"], "tier": tier});
        (order["order_id"].as_str().unwrap().to_owned(), row)
    };
    orders.iter().map(row).collect()
}

#[test]
fn stages_hand_on_what_the_next_one_needs() {
    let Some(mut world) = World::start() else { return };
    let (mut bought, mut known) = (orders(0..400), customers(0..200, DAWN));
    fill(&world, ORDERS, &bought);
    fill(&world, CUSTOMERS, &known);
    world.apply(&[LATEST, BUYERS, TIERS]);
    assert_eq!(world.plans["shop.buyers"].stages().len(), 3);
    let router = world.router("a");
    let last = rows(&known);
    wait_for(LONG, "the tiers", || world.table("shop.tiers") == tiers(&last));
    wait_for(LONG, "the buyers", || world.table("shop.buyers") == buyers(&bought, &last));
    // The stages of the other one meet as they come; what they end at is the same.
    for view in ["shop.latest", "shop.tiers"] {
        assert!(world.check(view) > 0, "{view}");
    }

    // Live: a second router takes a share of the stages, customers change tier and go, orders come.
    let second = world.router("b");
    let more = orders(400..450);
    let mut changes: Vec<_> = customers(200..230, DAWN);
    changes.push(("c3".to_owned(), None, DAWN + 400_000_000));
    fill(&world, ORDERS, &more);
    fill(&world, CUSTOMERS, &changes);
    bought.extend(more);
    known.extend(changes);
    let last = rows(&known);
    wait_for(LONG, "the tiers to follow", || world.table("shop.tiers") == tiers(&last));
    wait_for(LONG, "the buyers to follow", || world.table("shop.buyers") == buyers(&bought, &last));
    for view in ["shop.latest", "shop.tiers"] {
        world.check(view);
    }

    // What was received is what the products have, though stages read some of it twice and each other.
    let received = |view: &str| {
        let of = |router: &crate::world::Router| router.view(view)["total"]["received"].as_u64().unwrap_or(0);
        of(&router) + of(&second)
    };
    assert_eq!(received("shop.latest"), 450);
    assert_eq!(received("shop.tiers"), 231);
    let stages = router.view("shop.buyers")["tasks"].to_string();
    assert!(stages.contains("\"stage\":0") && stages.contains("\"stage\":2"), "{stages}");
}

#[test]
fn what_every_stage_has_read_is_deleted_and_the_view_goes_on() {
    let Some(mut world) = World::start() else { return };
    world.purge = true;
    let mut bought = orders(0..500);
    fill(&world, ORDERS, &bought);
    world.apply(&[LATEST]);
    let mut router = world.router("a");
    let between = world.plans["shop.latest"].stages()[0].output.topic.clone();
    assert_eq!(between, "shop.latest-repartition-1");
    wait_for(LONG, "the orders", || world.table("shop.latest").len() == 500);
    wait_for(LONG, "the topic between to be emptied", || world.read(&between).iter().all(Vec::is_empty));
    router.process.kill();
    let more = orders(500..700);
    fill(&world, ORDERS, &more);
    bought.extend(more);
    let _router = world.router("a");
    wait_for(LONG, "the others", || world.table("shop.latest").len() == 700);
    let cents = |(_, order, _): &(String, Option<Value>, i64)| order.as_ref().unwrap()["cents"].as_i64().unwrap();
    let sum: i64 = world.table("shop.latest").values().map(|row| row["cents"].as_i64().unwrap()).sum();
    assert_eq!(sum, bought.iter().map(cents).sum::<i64>());
}
