//! What comes in while faults happen: two streams and four tables, all made of one running number, and a view of every kind over them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use weir_avro::JsonForm;
use weir_testkit::wait_for;

use crate::stages::{BY_SIZE, TIERS, rows, tiers};
use crate::views::{DAWN, ENRICHED, HOURLY, SPEND, customers, fill, orders};
use crate::world::{CUSTOMERS, LONG, ORDERS, World};

const PAYMENTS: &str = "shop.payments";
const LIMITS: &str = "shop.limits";
const CREDITS: &str = "shop.credits";
const ACCOUNTS: &str = "shop.accounts";

/// A stream with a contract: some of its records cannot be taken, and some of what comes out breaks a rule.
const SHARES: &str = "\
id: shop.shares
version: 1.0.0
team: shop
sql: |
  SELECT order_id, customer_id, 1000 / (cents % 20) AS share FROM shop.orders WHERE cents >= 5000
";
const SHARES_CONTRACT: &str = r#"
apiVersion: v3.2.0
kind: DataContract
id: shop.shares
name: Shares
version: 1.0.0
status: active
domain: shop
schema:
  - name: shares
    physicalName: shop.shares
    physicalType: topic
    logicalType: object
    description: Shares of no more than 200.
    authoritativeDefinitions:
      - { type: implementation, url: view.avsc }
    customProperties:
      - { property: kind, value: stream, vendor: weir }
      - { property: key, value: customer_id, vendor: weir }
    properties:
      - { name: order_id, logicalType: string, required: true }
      - { name: customer_id, logicalType: string, required: true }
      - { name: share, logicalType: integer, required: true, logicalTypeOptions: { maximum: 200 } }
"#;
/// Two streams within a time; some payments come too late, and some orders meet none.
const PAID: &str = "\
id: shop.paid
version: 1.0.0
team: shop
late: true
sql: |
  SELECT o.order_id, o.customer_id, o.cents, p.payment_id
  FROM shop.orders o LEFT JOIN shop.payments p WITHIN INTERVAL '1' HOUR GRACE INTERVAL '10' MINUTE
  ON o.customer_id = p.customer_id
";
/// Sessions, of records that are not in the order of their times: they grow, become one, and close.
const VISITS: &str = "\
id: shop.visits
version: 1.0.0
team: shop
late: true
sql: |
  SELECT customer_id, window_start, window_end, COUNT(*) AS payments
  FROM shop.payments GROUP BY customer_id, SESSION(INTERVAL '1' HOUR, GRACE => INTERVAL '20' MINUTE)
";
/// Three tables on one key, of which any may lack.
const MERGED: &str = "\
id: shop.merged
version: 1.0.0
team: shop
sql: |
  SELECT COALESCE(c.customer_id, l.customer_id, r.customer_id) AS customer_id,
    c.tier, c.changed_at, l.cents AS may_spend, l.set_at AS may_spend_at, r.cents AS credit, r.set_at AS credit_at
  FROM shop.customers c FULL JOIN shop.limits l ON c.customer_id = l.customer_id
  FULL JOIN shop.credits r ON c.customer_id = r.customer_id
";
/// Two tables on one key, of which neither may lack, and a row goes where it stops matching.
const LIMITED: &str = "\
id: shop.limited
version: 1.0.0
team: shop
sql: |
  SELECT c.customer_id, c.tier, l.cents, l.set_at
  FROM shop.customers c JOIN shop.limits l ON c.customer_id = l.customer_id WHERE l.cents < 7000
";
/// A table whose rows name rows of another.
const OWNERS: &str = "\
id: shop.owners
version: 1.0.0
team: shop
sql: |
  SELECT a.account_id, a.owner, a.opened_at, c.tier, c.changed_at
  FROM shop.accounts a LEFT JOIN shop.customers c ON a.owner = c.customer_id
";

/// Topic, key, value and time of a record.
type Sent = (&'static str, String, Option<Value>, i64);

/// How many numbers are written at a time: no more than a slow machine reads to the end in the time that it is given.
pub const STEP: i64 = 100;

/// Adds the products and the views.
pub fn prepare(world: &mut World) {
    world.add(PAYMENTS, "Payment.avsc", false, "customer_id", "paid_at");
    world.add(LIMITS, "Limit.avsc", true, "customer_id", "set_at");
    world.add(CREDITS, "Limit.avsc", true, "customer_id", "set_at");
    world.add(ACCOUNTS, "Account.avsc", true, "account_id", "opened_at");
    let plain = [SPEND, HOURLY, ENRICHED, BY_SIZE, TIERS, PAID, VISITS, MERGED, LIMITED, OWNERS];
    world.apply(&plain);
    world.apply_with(&[SHARES], &[Some(SHARES_CONTRACT)]);
}

/// What is written for a number: an order, nearly always a payment, and a change of one of the tables, in which rows come, change and go.
fn of(i: i64) -> Vec<Sent> {
    let time = DAWN + i * 90_000;
    let mut all: Vec<Sent> = Vec::new();
    all.extend(orders(i..i + 1).into_iter().map(|(key, value, time)| (ORDERS, key, value, time)));
    if i % 7 != 0 {
        let (customer, paid) = (format!("c{}", i * 31 % 50), time + i * 7 % 97 * 60_000);
        let value = json!({"payment_id": format!("p{i}"), "customer_id": customer, "paid_at": paid});
        all.push((PAYMENTS, customer, Some(value), paid));
    }
    let n = i / 5;
    let limit = |topic, key: String, stays: bool| {
        let value = json!({"customer_id": key, "cents": n * 613 % 10_000, "set_at": time});
        (topic, key, stays.then_some(value), time)
    };
    all.extend(match i % 5 {
        0 => customers(n..n + 1, 0).pop().map(|(key, mut value, _)| {
            value.iter_mut().for_each(|value| value["changed_at"] = json!(time));
            (CUSTOMERS, key, value, time)
        }),
        1 => Some(limit(LIMITS, format!("c{}", n * 13 % 55), n % 7 != 6)),
        2 => Some(limit(CREDITS, format!("c{}", n * 11 % 70), n % 5 != 4)),
        3 => {
            let account = format!("a{}", n * 7 % 80);
            let value = json!({"account_id": account, "owner": format!("c{}", n * 7 % 60), "opened_at": time});
            Some((ACCOUNTS, account, (n % 11 != 10).then_some(value), time))
        }
        _ => None,
    });
    all
}

/// What is written for some numbers.
pub fn load(range: std::ops::Range<i64>) -> Vec<Sent> {
    range.flat_map(of).collect()
}

/// An order of each customer, so much later that every window has closed.
pub fn close(world: &World, sent: i64) {
    let time = DAWN + sent * 90_000 + 10_000_000_000;
    let order = |i: i64| {
        let customer = format!("c{i}");
        let value = json!({"order_id": format!("last {i}"), "customer_id": customer, "cents": i, "note": null, "ordered_at": time});
        (customer, Some(value), time)
    };
    fill(world, ORDERS, &(0..50).map(order).collect::<Vec<_>>());
}

/// Holds every view against one thread over the same logs, and tables also against what the load says they are. How many records there are.
pub fn check(world: &World, sent: i64) -> usize {
    let mut made = 0;
    for view in ["spend", "hourly", "enriched", "by_size", "tiers", "paid", "visits", "merged", "limited"] {
        let view = format!("shop.{view}");
        let count = world.check(&view);
        assert!(count > 0, "{view}");
        made += count;
    }
    made += world.check_with("shop.shares", &|row| row["share"].as_i64().unwrap() > 200);
    for topic in ["shop.shares.quarantine", "shop.paid.late", "shop.visits.late"] {
        assert!(!world.read(topic).concat().is_empty(), "{topic}");
    }

    let sent = load(0..sent);
    let table = |topic: &str| {
        let of = sent.iter().filter(|(to, ..)| *to == topic);
        rows(&of.map(|(_, key, value, time)| (key.clone(), value.clone(), *time)).collect::<Vec<_>>())
    };
    let (customers, limits, credits) = (table(CUSTOMERS), table(LIMITS), table(CREDITS));
    let field = |row: Option<&Value>, name: &str| row.map_or(Value::Null, |row| row[name].clone());
    assert_eq!(world.table("shop.tiers"), tiers(&customers));
    let mut merged = BTreeMap::new();
    let mut limited = BTreeMap::new();
    for key in customers.keys().chain(limits.keys()).chain(credits.keys()) {
        let (c, l, r) = (customers.get(key), limits.get(key), credits.get(key));
        let row = json!({
            "customer_id": key, "tier": field(c, "tier"), "changed_at": field(c, "changed_at"), "may_spend": field(l, "cents"),
            "may_spend_at": field(l, "set_at"), "credit": field(r, "cents"), "credit_at": field(r, "set_at"),
        });
        merged.insert(key.clone(), row);
        if let (Some(c), Some(l)) = (c, l.filter(|l| l["cents"].as_i64().unwrap() < 7_000)) {
            let row = json!({"customer_id": key, "tier": c["tier"], "cents": l["cents"], "set_at": l["set_at"]});
            limited.insert(key.clone(), row);
        }
    }
    assert_eq!(world.table("shop.merged"), shown(world, "shop.merged", merged));
    assert_eq!(world.table("shop.limited"), shown(world, "shop.limited", limited));
    let mut owners = table(ACCOUNTS);
    for row in owners.values_mut() {
        let owner = customers.get(row["owner"].as_str().unwrap());
        (row["tier"], row["changed_at"]) = (field(owner, "tier"), field(owner, "changed_at"));
    }
    made + check_owners(world, &shown(world, "shop.owners", owners))
}

/// Rows as a view shows them, which writes times as texts.
fn shown(world: &World, view: &str, mut rows: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let schema = &world.plans[view].output.schema;
    for row in rows.values_mut() {
        let datum = weir_avro::from_json(schema, row, JsonForm::Plain).unwrap();
        *row = weir_avro::to_json(schema, &datum, JsonForm::Plain).unwrap();
    }
    rows
}

/// A join on a foreign key comes to the same table whatever happens, but not by the same way: whether an answer is of the owner as he was
/// or as he is hangs on when the question reaches him, and an answer to an account that has changed meanwhile is dropped. What is certain
/// besides is that nothing is said twice: both sides say when they changed, so a row with both never comes again, and no other twice
/// in a row.
fn check_owners(world: &World, expect: &BTreeMap<String, Value>) -> usize {
    world.settled("shop.owners");
    world.check_stage(&world.plans["shop.owners"].stages()[0], &|_| false);
    wait_for(LONG, "the owners", || world.table("shop.owners") == *expect);
    let schema = &world.plans["shop.owners"].output.schema;
    let (mut newest, mut seen, mut made) = (BTreeMap::new(), BTreeSet::new(), 0);
    for (key, value, _) in world.written("shop.owners").into_iter().flatten() {
        let row = value.map(|value| weir_avro::to_json(schema, &value, JsonForm::Plain).unwrap());
        let before = newest.insert(key.clone(), row.clone());
        assert_ne!(before.unwrap_or(None), row, "{key:?} is said twice in a row");
        if let Some(row) = row.filter(|row| !row["changed_at"].is_null()) {
            assert!(seen.insert(row.to_string()), "said again: {row}");
        }
        made += 1;
    }
    assert!(world.read("shop.owners.quarantine").concat().is_empty());
    made
}
