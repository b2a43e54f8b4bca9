//! What it costs to look at one event: a walk against a full decode by `apache-avro`.
//!
//! The event is an order of 13 fields and about 160 bytes, as in the design's budget; the walk validates all of it and
//! hands out the fields that 11 rules would want.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark that cannot go on shall stop")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use weir_avro::{FieldPath, JsonForm, Limits, Schema, Walker, from_json, to_json};

const ORDER: &str = r#"{"type":"record","name":"retail.Order","fields":[
  {"name":"order_id","type":"string"}, {"name":"customer_id","type":"string"}, {"name":"placed_at",
  "type":{"type":"long","logicalType":"timestamp-millis"}}, {"name":"status","type":{"type":"enum","name":"Status",
  "symbols":["NEW","PAID","SHIPPED","CANCELLED"]}}, {"name":"currency","type":"string"}, {"name":"total","type":"double"},
  {"name":"discount","type":["null","double"],"default":null}, {"name":"quantity","type":"int"},
  {"name":"store_id","type":"int"}, {"name":"coupon","type":["null","string"],"default":null},
  {"name":"email","type":"string"}, {"name":"gift","type":"boolean"}, {"name":"address","type":{"type":"record",
  "name":"Address","fields":[{"name":"street","type":"string"},{"name":"zip","type":"string"},
  {"name":"city","type":"string"}]}}]}"#;

const WANTED: [&str; 11] = [
    "order_id",
    "customer_id",
    "placed_at",
    "status",
    "currency",
    "total",
    "discount",
    "quantity",
    "coupon",
    "email",
    "address.zip",
];

fn walk(c: &mut Criterion) {
    let schema = Arc::new(Schema::parse(ORDER).unwrap());
    let order = json!({"order_id": "ord-2024-000184467", "customer_id": "cust-0099213", "placed_at": "2024-02-29T08:30:00.125Z",
        "status": "PAID", "currency": "EUR", "total": 129.95, "discount": 10.5, "quantity": 3, "store_id": 4711,
        "coupon": "SPRING-2024", "email": "jane.doe@example.com", "gift": false,
        "address": {"street": "Lange Strasse 112, Hinterhaus, 3. Stock links", "zip": "10243", "city": "Berlin"}});
    let payload = from_json(&schema, &order, JsonForm::Plain).unwrap();
    let mut group = c.benchmark_group(format!("order of {} bytes", payload.len()));
    group.throughput(Throughput::Elements(1));

    let bare = Walker::new(schema.clone(), &[], Limits::default()).unwrap();
    let wanted = Walker::new(schema.clone(), &WANTED.map(FieldPath::parse), Limits::default()).unwrap();
    for (name, walker) in [("walk, no field wanted", &bare), ("walk, 11 fields wanted", &wanted)] {
        let mut slots = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                walker.walk(black_box(&payload), &mut slots).unwrap();
                black_box(&slots);
                slots.clear();
            });
        });
    }
    group.bench_function("plain JSON", |b| b.iter(|| to_json(&schema, black_box(&payload), JsonForm::Plain).unwrap()));
    group.bench_function("from plain JSON", |b| {
        b.iter(|| from_json(&schema, black_box(&order), JsonForm::Plain).unwrap());
    });

    let parsed = apache_avro::Schema::parse_str(ORDER).unwrap();
    group.bench_function("apache_avro::from_avro_datum", |b| {
        #[expect(deprecated, reason = "the peer that users know and the design's budget names")]
        b.iter(|| apache_avro::from_avro_datum(&parsed, &mut black_box(&payload[..]), None).unwrap());
    });
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
