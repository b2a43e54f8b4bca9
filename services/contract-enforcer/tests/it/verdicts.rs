//! Every kind of bad input ends in quarantine with its code, byte for byte, and the partition goes on.

use serde_json::{Value, json};
use weir_testkit::ledger::{Record, Verdict};

use crate::world::{Encoder, LANDING, PARTITIONS, QUARANTINE, SECONDS, TOPIC, World, headers, outgoing, sum};

/// What the faults suite sends, as a pure function of the record's id.
pub fn order(encoder: &Encoder, id: weir_testkit::ledger::Id, key: &str, verdict: Verdict<'_>) -> Record {
    let mut order = json!({
        "order_id": format!("{}-{}", id.partition, id.seq), "customer_id": key, "email": "a@example.com",
        "store": 1 + id.seq % 900, "created_at": 1_700_000_000_000_i64 + id.seq as i64, "status": "PAID",
        "currency": "EUR", "quantity": 1 + id.seq % 9, "unit_price": 9.5, "discount": 0.5, "total": 9.0,
        "channel": "web", "note": null,
    });
    let code = match verdict {
        Verdict::Accepted => "",
        Verdict::Quarantined(code) => code,
    };
    match code {
        "FIELD_RANGE" => order["quantity"] = json!(0),
        "RULE_FAILED" => order["total"] = json!(-1.0),
        "FIELD_PATTERN" => order["currency"] = json!("euro"),
        "FIELD_ENUM" => order["status"] = json!("UNKNOWN"),
        "KEY_MISMATCH" => order["customer_id"] = json!("somebody-else"),
        _ => {}
    }
    if code == "FIELD_RANGE" {
        order["discount"] = json!(0.0);
    }
    let mut value = encoder.encode(&order);
    match code {
        "PAYLOAD_MALFORMED" => value.truncate(20),
        "PAYLOAD_TRAILING_BYTES" => value.push(0),
        "FRAME_MISSING" => value = b"{\"json\": true}".to_vec(),
        "SCHEMA_UNKNOWN" => value[1..5].copy_from_slice(&99_999u32.to_be_bytes()),
        _ => {}
    }
    Record {
        timestamp: 1_700_000_000_000 + id.seq as i64,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value),
        headers: vec![("trace".into(), Some(vec![1, 2, 3])), ("empty".into(), None)],
    }
}

fn record(world: &World, verdict: Verdict<'_>) -> Record {
    order(&world.encoder, weir_testkit::ledger::Id { run: 0, partition: 0, seq: 7 }, "k", verdict)
}

fn codes(record: &Record) -> Vec<String> {
    let header = record.headers.iter().find(|(name, _)| name == "weir.violations").expect("weir.violations");
    let list: Value = serde_json::from_slice(header.1.as_ref().unwrap()).unwrap();
    list["violations"].as_array().unwrap().iter().filter_map(|v| v["code"].as_str().map(str::to_owned)).collect()
}

fn text(record: &Record, name: &str) -> String {
    let value = record.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.clone());
    String::from_utf8(value.unwrap_or_default()).unwrap()
}

#[test]
fn bad_input_is_quarantined_byte_for_byte_with_its_code() {
    let Some(world) = World::start() else { return };
    let foreign =
        world.register("other-value", r#"{"type":"record","name":"Other","fields":[{"name":"a","type":"int"}]}"#);
    let enforcer = world.enforcer("a");

    let good = || record(&world, Verdict::Accepted);
    let with = |change: &dyn Fn(&mut Record)| {
        let mut r = good();
        change(&mut r);
        r
    };
    let mut cases: Vec<(Record, &str)> = Vec::new();
    for code in [
        "FIELD_RANGE",
        "RULE_FAILED",
        "FIELD_PATTERN",
        "FIELD_ENUM",
        "KEY_MISMATCH",
        "PAYLOAD_MALFORMED",
        "PAYLOAD_TRAILING_BYTES",
        "FRAME_MISSING",
        "SCHEMA_UNKNOWN",
    ] {
        cases.push((record(&world, Verdict::Quarantined(code)), code));
    }
    cases.push((with(&|r| r.key = None), "KEY_MISSING"));
    cases.push((with(&|r| r.value = None), "TOMBSTONE_DENIED"));
    for bytes in 0..5 {
        cases.push((with(&|r| r.value = Some(vec![0; bytes])), "FRAME_MISSING"));
    }
    cases.push((
        with(&|r| r.value.as_mut().unwrap()[1..5].copy_from_slice(&foreign.to_be_bytes())),
        "SCHEMA_NOT_ALLOWED",
    ));
    // The first string claims 2^62 bytes.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    cases.push((with(&|r| r.value.as_mut().unwrap().splice(5.., huge).for_each(drop)), "PAYLOAD_MALFORMED"));
    // The first string is no UTF-8.
    cases.push((with(&|r| r.value.as_mut().unwrap()[6] = 0xff), "PAYLOAD_MALFORMED"));
    cases.push((with(&|r| r.headers.push(("__value_schema_id".into(), Some(vec![1, 2, 3])))), "FRAME_MISSING"));

    let mut writer = weir_kafka::Writer::open(&world.kafka, 1000).unwrap();
    for (sent, _) in &cases {
        writer.send(&outgoing(LANDING, 0, sent, &headers(sent)), 0).unwrap();
        writer.send(&outgoing(LANDING, 0, &good(), &headers(&good())), 0).unwrap();
    }
    // A partition without any record would have no committed offset to wait for.
    writer.send(&outgoing(LANDING, PARTITIONS - 1, &good(), &headers(&good())), 0).unwrap();
    assert!(writer.flush().iter().all(|d| d.result.is_ok()));
    world.drained(SECONDS(30));

    let accepted = world.read(TOPIC);
    let reasons = || world.read(QUARANTINE).iter().map(|r| text(&r.record, "weir.violations")).collect::<Vec<_>>();
    assert_eq!(accepted.len(), cases.len() + 1, "{:#?}", reasons());
    for received in &accepted {
        assert_eq!(received.record, good(), "accepted records stay as they were");
    }
    let quarantined = world.read(QUARANTINE);
    assert_eq!(quarantined.len(), cases.len());
    for (received, (sent, code)) in quarantined.iter().zip(&cases) {
        let found = &received.record;
        assert_eq!((&found.key, &found.value, found.timestamp), (&sent.key, &sent.value, sent.timestamp), "{code}");
        assert_eq!(found.headers[..sent.headers.len()], sent.headers, "{code}");
        assert_eq!(codes(found), [*code]);
        assert_eq!(text(found, "weir.contract"), "shop.orders@1.0.0");
        assert_eq!(text(found, "weir.source.topic"), LANDING);
        assert_eq!(text(found, "weir.source.partition"), "0");
        assert_eq!(text(found, "__connect.errors.topic"), LANDING);
        let personal =
            found.headers.iter().filter(|(name, _)| name.starts_with("weir.") || name.starts_with("__connect"));
        for (name, value) in personal {
            let shown = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
            assert!(!shown.contains("example.com"), "{name} shows personal data: {shown}");
        }
    }

    let page = enforcer.metrics();
    let count = |name: &str| sum(&page, name);
    assert_eq!(count("weir_enforcer_received_total"), 2 * cases.len() as u64 + 1, "{page}");
    assert_eq!(
        count("weir_enforcer_received_total"),
        count("weir_enforcer_accepted_total")
            + count("weir_enforcer_quarantined_total")
            + count("weir_enforcer_in_flight"),
        "{page}"
    );
}
