//! A clean event costs no allocation, and what a dirty one costs is bounded.

use crate::order;
use weir_avro::Slot;
use weir_contract::{Event, MAX_VIOLATIONS, Mode, compile, read};

#[test]
fn a_clean_event_allocates_nothing() {
    let binding = order::binding();
    let payloads: Vec<_> = (0..100).map(order::payload).collect();
    let mut slots: Vec<Slot<'_>> = Vec::new();
    let mut run = |times: usize| {
        for (key, body) in payloads.iter().cycle().take(times) {
            let event = Event { key: Some(key.as_bytes()), body, headers: &[], timestamp_ms: None, now_ms: 0 };
            let report = binding.check(&event, &mut slots).unwrap();
            assert!(report.violations().is_empty(), "{report:?}");
        }
    };
    // The first events size the slots and the pattern's cache.
    run(10);
    let counted = allocation_counter::measure(|| run(1000));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_decoder_by_hand_does_the_same_work() {
    let binding = order::binding();
    let by_hand = order::ByHand::default();
    for n in 0..100 {
        let (_, mut body) = order::payload(n);
        assert_eq!(by_hand.check(&body), Some(0));
        // Every byte changed once: both see an order or both do not, and both see the same number of broken rules.
        for at in 0..body.len() {
            let kept = body[at];
            body[at] ^= 1 << (n % 8);
            let event = Event { key: None, body: &body, headers: &[], timestamp_ms: None, now_ms: 0 };
            let mut slots = Vec::new();
            let ours = binding.check(&event, &mut slots).map(|report| report.violations().len() as u32).ok();
            assert_eq!(ours, by_hand.check(&body), "byte {at} of order {n}");
            drop(slots);
            body[at] = kept;
        }
    }
}

#[test]
fn violations_without_end_are_counted_and_not_kept() {
    let contract = "
apiVersion: v3.2.0
kind: DataContract
id: c
version: 1.0.0
schema:
  - name: t
    physicalType: topic
    authoritativeDefinitions: [{ url: a.avsc, type: implementation }]
    properties:
      - name: list
        logicalType: array
        required: true
        items: { logicalType: integer, logicalTypeOptions: { minimum: 1 } }
";
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"list","type":{"type":"array","items":"int"}}]}"#;
    let (compiled, findings) = compile(&read(contract, "c").0.unwrap(), &|_| Some(schema.to_owned()));
    let object = compiled.unwrap_or_else(|| panic!("{findings:?}")).objects.remove(0);
    let binding = object.bind(object.schema().clone()).unwrap();
    let mut body = vec![0xa0, 0x8d, 0x06];
    body.extend(vec![0; 50_000]);
    body.push(0);
    let event = Event { key: None, body: &body, headers: &[], timestamp_ms: None, now_ms: 0 };
    let report = binding.check(&event, &mut Vec::new()).unwrap();
    assert_eq!((report.violations().len(), report.omitted()), (MAX_VIOLATIONS, 50_000 - MAX_VIOLATIONS));
    assert_eq!(report.worst(), Some(Mode::Enforce));
}
