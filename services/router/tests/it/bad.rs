//! What views cannot take, and views that cannot run: one goes to quarantine or waits with its reason, all others go on.

use serde_json::{Value, json};
use weir_kafka::{Outgoing, Record, Writer};
use weir_testkit::wait_for;

use crate::views::{DAWN, ENRICHED, LARGE, SPEND, customers, fill, orders};
use crate::world::{CUSTOMERS, LONG, ORDERS, World};

fn header<'r>(record: &'r Record, name: &str) -> Option<&'r str> {
    let found = record.headers.iter().rev().find(|(known, _)| known == name)?;
    std::str::from_utf8(found.1.as_deref()?).ok()
}

fn raw(world: &World, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
    let mut writer = Writer::open(&world.kafka, 10).unwrap();
    let partition = Some(partition);
    writer.write(&Outgoing { topic, partition, key, value, timestamp: Some(DAWN), ..Outgoing::default() }).unwrap();
}

#[test]
fn a_record_a_view_cannot_take_is_put_aside_and_the_view_goes_on() {
    let Some(mut world) = World::start() else { return };
    let view = SPEND.replace("SUM(cents) AS cents", "SUM(cents * 1000000) AS cents");
    world.apply(&[&view]);
    let router = world.router("a");
    fill(&world, ORDERS, &orders(0..100));
    let schema = world.products[0].schema.clone();
    let order =
        |cents: i64| json!({"order_id": "x", "customer_id": "c1", "cents": cents, "note": null, "ordered_at": DAWN});
    let good = world.encode(ORDERS, &schema, &order(1));
    let overflow = world.encode(ORDERS, &schema, &order(i64::MAX / 10));
    let mut unknown = good.clone();
    unknown[1..5].copy_from_slice(&9_999_u32.to_be_bytes());
    let cases: [(&str, Option<&[u8]>, &str); 6] = [
        ("no frame", Some(b"\0abc"), "too short"),
        ("no magic", Some(b"abcdefgh"), "schema id"),
        ("unknown schema", Some(&unknown), "knows no schema 9999"),
        ("cut off", Some(&good[..good.len() - 2]), "not a datum"),
        ("a null value in a stream", None, "has no value"),
        ("an overflow", Some(&overflow), "out of range"),
    ];
    for (_, value, _) in &cases {
        raw(&world, ORDERS, 1, Some(b"c1"), *value);
    }
    fill(&world, ORDERS, &orders(100..200));
    world.caught_up();
    let quarantine: Vec<Record> = world.read("shop.spend.quarantine").into_iter().flatten().collect();
    assert_eq!(quarantine.len(), cases.len(), "{quarantine:?}");
    for ((case, value, reason), entry) in cases.iter().zip(&quarantine) {
        assert_eq!(entry.value.as_deref(), *value, "{case}: the bytes are as they came");
        assert_eq!((entry.partition, entry.key.as_deref()), (1, Some(&b"c1"[..])), "{case}");
        let message = header(entry, "__connect.errors.exception.message").unwrap();
        assert!(message.starts_with("VIEW_FAILED: ") && message.contains(reason), "{case}: {message}");
        assert_eq!(header(entry, "weir.contract"), Some("shop.spend@1.0.0"), "{case}");
        assert_eq!(header(entry, "weir.source.topic"), Some(ORDERS), "{case}");
        assert_eq!(header(entry, "weir.attempt"), Some("1"), "{case}");
        let violations: Value = serde_json::from_str(header(entry, "weir.violations").unwrap()).unwrap();
        assert_eq!(violations["violations"][0]["code"], "VIEW_FAILED", "{case}");
    }
    let spend = world.table("shop.spend");
    assert_eq!(spend.values().map(|row| row["orders"].as_i64().unwrap()).sum::<i64>(), 200);
    assert!(router.ready().0 == 200, "{:?}", router.ready());
}

const CONTRACT: &str = r#"
apiVersion: v3.2.0
kind: DataContract
id: shop.large_orders
name: Large orders
version: 1.0.0
status: active
domain: shop
schema:
  - name: large_orders
    physicalName: shop.large_orders
    physicalType: topic
    logicalType: object
    description: Orders of 50 and more.
    authoritativeDefinitions:
      - { type: implementation, url: view.avsc }
    customProperties:
      - { property: kind, value: stream, vendor: weir }
      - { property: key, value: customer_id, vendor: weir }
    properties:
      - { name: order_id, logicalType: string, required: true }
      - { name: customer_id, logicalType: string, required: true }
      - { name: whole, logicalType: integer, required: true, logicalTypeOptions: { maximum: 90 } }
      - { name: note, logicalType: string, required: false }
"#;

#[test]
fn what_breaks_the_contract_of_the_view_is_in_its_quarantine_and_not_in_its_topic() {
    let Some(mut world) = World::start() else { return };
    fill(&world, ORDERS, &orders(0..2_000));
    world.apply_with(&[LARGE], &[Some(CONTRACT)]);
    let _router = world.router("a");
    world.caught_up();
    world.decided("shop.large_orders");
    world.decided("shop.large_orders.quarantine");
    let schema = world.plans["shop.large_orders"].output.schema.clone();
    let whole = |value: &[u8]| {
        weir_avro::to_json(&schema, &value[5..], weir_avro::JsonForm::Plain).unwrap()["whole"].as_i64().unwrap()
    };
    let kept: Vec<Record> = world.read("shop.large_orders").into_iter().flatten().collect();
    let broken: Vec<Record> = world.read("shop.large_orders.quarantine").into_iter().flatten().collect();
    assert!(!kept.is_empty() && kept.iter().all(|record| whole(record.value.as_ref().unwrap()) <= 90));
    assert!(!broken.is_empty() && broken.iter().all(|record| whole(record.value.as_ref().unwrap()) > 90));
    let all = world.check_with("shop.large_orders", &|row| row["whole"].as_i64().unwrap() > 90);
    assert_eq!(kept.len(), all);
    let violations: Value = serde_json::from_str(header(&broken[0], "weir.violations").unwrap()).unwrap();
    assert_eq!(violations["violations"][0]["code"], "FIELD_RANGE", "{violations}");
    assert_eq!(header(&broken[0], "weir.source.topic"), Some(ORDERS));
}

#[test]
fn a_new_schema_of_a_source_is_read_as_planned_or_stops_the_view_that_says_so() {
    let Some(mut world) = World::start() else { return };
    let strict = LARGE.replace("shop.large_orders", "shop.strict").replace("sql:", "onSchemaChange: fail\nsql:");
    world.apply(&[LARGE, &strict]);
    let router = world.router("a");
    fill(&world, ORDERS, &orders(0..100));
    world.caught_up();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/Order.avsc")).unwrap();
    // A field more in front, and a narrower type of another.
    let newer = text
        .replace(
            r#"{"name": "order_id""#,
            r#"{"name": "channel", "type": "string", "default": "web"}, {"name": "order_id""#,
        )
        .replace(r#""name": "cents", "type": "long""#, r#""name": "cents", "type": "int""#);
    let body = json!({ "compatibility": "NONE" }).to_string();
    weir_testkit::http(world.registry_port, "PUT", "/config/shop.orders-value", &body).unwrap();
    let id = world.register(ORDERS, &newer);
    let schema = weir_avro::Schema::parse(&newer).unwrap();
    let mut writer = Writer::open(&world.kafka, 10).unwrap();
    for (key, value, _) in orders(100..200) {
        let mut value = value.unwrap();
        value["channel"] = json!("shop");
        let bytes = world.encode(ORDERS, &schema, &value);
        let out = Outgoing { topic: ORDERS, key: Some(key.as_bytes()), value: Some(&bytes), ..Outgoing::default() };
        writer.write(&out).unwrap();
    }
    wait_for(LONG, "the view to read them all", || router.view("shop.large_orders")["total"]["received"] == 200);
    let ids: Vec<String> = world.orders_in("shop.large_orders");
    let expect: Vec<String> = orders(0..200)
        .into_iter()
        .filter_map(|(_, value, _)| value.filter(|v| v["cents"].as_i64().unwrap() >= 5_000))
        .map(|v| v["order_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>(), expect.iter().collect());
    assert_eq!(ids.len(), expect.len());
    wait_for(LONG, "the strict view to say why it stops", || {
        router.view("shop.strict")["tasks"].as_array().unwrap().iter().any(|task| {
            task["waits"]
                .as_str()
                .is_some_and(|why| why.contains(&format!("new schema {id}")) && why.contains("onSchemaChange"))
        })
    });
    assert_eq!(router.view("shop.strict")["total"]["received"], 100);
    wait_for(LONG, "readiness to tell", || router.ready().0 == 503 && router.ready().1.contains("shop.strict"));
}

#[test]
fn a_view_that_cannot_run_says_why_and_the_others_run() {
    let Some(mut world) = World::start() else { return };
    fill(&world, ORDERS, &orders(0..100));
    world.apply(&[LARGE]);
    let record = weir_view::ViewRecord {
        id: "shop.spend".to_owned(),
        version: "1.0.0".to_owned(),
        generation: 1,
        text: SPEND.to_owned(),
        inputs: world.products[..1].iter().cloned().map(std::sync::Arc::new).collect(),
        contract: None,
    };
    world.publish("shop.spend", Some(record.to_json().as_bytes()));
    world.publish("shop.broken", Some(b"{}"));
    world.publish("shop.nonsense", Some(&[0xFF, 0xFE]));
    let broken = weir_view::ViewRecord { text: SPEND.replace("COUNT(*)", "COUNT(nothing)"), ..record.clone() };
    world.publish("shop.unplanned", Some(broken.to_json().as_bytes()));
    let router = world.router_unready("a", &world.state.path().join("a"));
    world.caught_up();
    world.check("shop.large_orders");
    for (view, why) in [
        ("shop.spend", "is not registered under shop.spend-value"),
        ("shop.broken", "lacks `form`"),
        ("shop.nonsense", "is not JSON"),
        ("shop.unplanned", "nothing"),
    ] {
        let shown = router.view(view);
        assert!(shown["refused"]["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{view}: {shown}");
    }
    // Its schema is there now, and its topics are not.
    let schema = record.plan().unwrap().1.schema.to_string();
    world.register("shop.spend", &schema);
    world.publish("shop.spend", Some(record.to_json().as_bytes()));
    wait_for(LONG, "the view to tell what it lacks", || {
        router.view("shop.spend")["blocked"].as_str().is_some_and(|why| why.contains("does not exist"))
    });
    world.apply(&[SPEND]);
    wait_for(LONG, "the view to run", || router.view("shop.spend")["total"]["received"] == 100);
    world.check("shop.spend");

    // Another query under the same id does not go with the state there is.
    let other = weir_view::ViewRecord { text: SPEND.replace("COUNT(*)", "COUNT(note)"), ..record };
    world.publish("shop.spend", Some(other.to_json().as_bytes()));
    wait_for(LONG, "the change to be refused", || {
        router.view("shop.spend")["blocked"].as_str().is_some_and(|why| why.contains("weir view reset shop.spend"))
    });
    fill(&world, ORDERS, &orders(100..200));
    wait_for(LONG, "the other view to go on", || router.view("shop.large_orders")["total"]["received"] == 200);
}

#[test]
fn a_registry_that_is_away_is_waited_for() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[ENRICHED]);
    let router = world.router("a");
    world.registry.take().unwrap().kill();
    fill(&world, CUSTOMERS, &customers(0..50, DAWN - 1_000_000_000));
    fill(&world, ORDERS, &orders(0..100));
    wait_for(LONG, "readiness to tell of the registry", || {
        router.ready().0 == 503 && router.ready().1.contains("registry")
    });
    assert_eq!(world.written("shop.enriched").iter().map(Vec::len).sum::<usize>(), 0);
    assert_eq!(world.read("shop.enriched.quarantine").iter().map(Vec::len).sum::<usize>(), 0);
    world.start_registry();
    world.caught_up();
    assert_eq!(world.check("shop.enriched"), 100);
    router.wait_ready();
}

/// What a condition rejects is passed over without a step, which alone used to say that the wait was over.
#[test]
fn a_wait_for_the_registry_is_over_also_where_no_record_is_wanted() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[LARGE]);
    let router = world.router("a");
    world.registry.take().unwrap().kill();
    fill(&world, ORDERS, &orders(0..100));
    let waiting = || {
        let view = router.view("shop.large_orders");
        view["tasks"].as_array().unwrap().iter().filter(|task| task["waits"].is_string()).count()
    };
    wait_for(LONG, "every partition to wait", || waiting() == 3);
    world.start_registry();
    world.caught_up();
    wait_for(LONG, "no partition to wait", || waiting() == 0);
    router.wait_ready();
    world.check("shop.large_orders");
}

/// A disk that takes nothing any more: here the folder is gone under the router.
#[test]
fn a_router_whose_state_cannot_be_written_ends_and_says_so() {
    const BY_ORDER: &str = "\
id: shop.by_order
version: 1.0.0
team: shop
sql: |
  SELECT order_id, COUNT(*) AS times FROM shop.orders GROUP BY order_id
";
    let Some(mut world) = World::start() else { return };
    world.apply(&[BY_ORDER]);
    let mut router = world.router("a");
    fill(&world, ORDERS, &orders(0..100));
    world.caught_up();
    std::fs::remove_dir_all(world.state.path().join("a")).unwrap();
    // It is written at the latest with the first commit after ten seconds, and in tables of its own where it is much.
    let mut sent = 100;
    wait_for(LONG, "the router to end", || {
        fill(&world, ORDERS, &orders(sent..sent + 2_000));
        sent += 2_000;
        router.process.exited().is_some()
    });
    assert_eq!(router.process.exited().and_then(|status| status.code()), Some(70));
    let _router = world.router("a");
    world.caught_up();
    world.check("shop.by_order");
}

#[test]
fn two_routers_of_one_name_do_not_fight_for_ever() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[LARGE]);
    let mut first = world.router("a");
    let folder = world.state.path().join("second");
    let mut second = world.router_unready("a", &folder);
    wait_for(LONG, "one of the two to end", || {
        fill(&world, ORDERS, &orders(0..10));
        first.process.exited().is_some() || second.process.exited().is_some()
    });
    // Each may fence the other before it ends, and who ends is started again, as by whoever looks after it: one is left in the end.
    let (mut left, ended) = if first.process.exited().is_some() { (second, first) } else { (first, second) };
    let mut ends = vec![ended];
    wait_for(LONG, "one router to be left", || {
        if left.process.exited().is_some() {
            ends.push(std::mem::replace(&mut left, world.router_unready("a", &folder)));
        }
        left.is_ready()
    });
    for ended in &mut ends {
        assert_eq!(ended.process.exited().and_then(|status| status.code()), Some(70));
    }
    assert!(ends.len() <= 2, "{} routers have ended", ends.len());
    world.caught_up();
    world.check("shop.large_orders");
}
