//! Sources that change under a view.

use serde_json::json;
use weir_avro::{JsonForm, Schema, to_json};
use weir_kafka::{Outgoing, Record, Writer};

use crate::views::{LARGE, fill, orders};
use crate::world::{ORDERS, World};

/// What comes before a record of a new schema is committed before it is taken up, though all of it was there at once.
#[test]
fn a_transaction_ends_before_a_record_of_a_new_schema() {
    let Some(mut world) = World::start() else { return };
    world.apply(&[LARGE]);
    fill(&world, ORDERS, &orders(140..200));
    let channel = r#"{"name": "channel", "type": "string", "default": "web"}, {"name": "order_id""#;
    let newer = include_str!("../fixtures/Order.avsc").replace(r#"{"name": "order_id""#, channel);
    world.register(ORDERS, &newer);
    let schema = Schema::parse(&newer).unwrap();
    let mut writer = Writer::open(&world.kafka, 10).unwrap();
    // Those that come first the view passes over.
    for (key, value, _) in orders(271..290).into_iter().chain(orders(200..260)) {
        let mut value = value.unwrap();
        value["channel"] = json!("shop");
        let bytes = world.encode(ORDERS, &schema, &value);
        let out = Outgoing { topic: ORDERS, key: Some(key.as_bytes()), value: Some(&bytes), ..Outgoing::default() };
        writer.write(&out).unwrap();
    }
    let _router = world.router("a");
    world.caught_up();
    world.decided("shop.large_orders");
    let order = |record: &Record| {
        let schema = &world.plans["shop.large_orders"].output.schema;
        let value = to_json(schema, &record.value.as_ref().unwrap()[5..], JsonForm::Plain).unwrap();
        value["order_id"].as_str().unwrap().trim_start_matches('o').parse::<u32>().unwrap()
    };
    for records in world.read("shop.large_orders") {
        let first = records.iter().position(|record| order(record) >= 200).unwrap();
        assert!(first > 0 && records[first..].iter().all(|record| order(record) >= 200));
        let gap = records[first].offset - records[first - 1].offset;
        assert_eq!(gap, 2, "a marker lies between the two");
    }
}
