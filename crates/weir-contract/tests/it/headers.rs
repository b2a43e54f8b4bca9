//! What stands in the headers of a record that is not simply accepted, and what never does.

use weir_contract::{
    Action, CompiledContract, DataFault, Event, MAX_HEADER_BYTES, MAX_HEADER_VIOLATIONS, Outcome, SchemaRef, Source,
    attempts, compile, decide, plan, read,
};

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"int"},
  {"name":"secret","type":"string"},{"name":"list","type":{"type":"array","items":"string"}}]}"#;

fn contract(status: &str, mode: &str) -> CompiledContract {
    let text = format!(
        "
apiVersion: v3.2.0
kind: DataContract
id: orders
version: 2.1.0
status: {status}
customProperties: [{{ property: mode, value: {mode}, vendor: weir }}]
schema:
  - name: t
    physicalType: topic
    authoritativeDefinitions: [{{ url: a.avsc, type: implementation }}]
    properties:
      - {{ name: n, logicalType: integer, required: true, logicalTypeOptions: {{ minimum: 1 }} }}
      - name: secret
        logicalType: string
        required: true
        classification: restricted
        logicalTypeOptions: {{ maxLength: 3, pattern: '^a', format: uuid }}
        enum: [{{ value: abc }}]
      - name: list
        logicalType: array
        required: true
        items: {{ logicalType: string, logicalTypeOptions: {{ maxLength: 1 }} }}
"
    );
    let (compiled, findings) = compile(&read(&text, "c").0.unwrap(), &|_| Some(SCHEMA.to_owned()));
    compiled.unwrap_or_else(|| panic!("{findings:?}"))
}

const SOURCE: Source<'_> =
    Source { topic: "t.landing", partition: 3, offset: 42, schema_id: Some(SchemaRef::Id(7)), attempt: 2 };

fn act(contract: &CompiledContract, body: &[u8]) -> (Outcome, Action) {
    let object = &contract.objects[0];
    let binding = object.bind(object.schema().clone()).unwrap();
    let event = Event { key: None, body, headers: &[], timestamp_ms: None, now_ms: 0 };
    let verdict = decide(object, binding.check(&event, &mut Vec::new()));
    (verdict.outcome(), plan(object, &verdict, &SOURCE))
}

fn lines(action: &Action) -> Vec<String> {
    let (Action::Quarantine(headers) | Action::ForwardWith(headers)) = action else { return Vec::new() };
    headers.iter().map(|(name, value)| format!("{name}={}", std::str::from_utf8(value).unwrap())).collect()
}

/// n = 0, secret = "topsecret", no items.
const BODY: &[u8] = b"\x00\x12topsecret\x00";

#[test]
fn a_quarantined_record_tells_everything_but_protected_values() {
    let (outcome, action) = act(&contract("active", "enforce"), BODY);
    assert_eq!(outcome, Outcome::Quarantined);
    let found = lines(&action);
    let violations = concat!(
        r#"weir.violations={"violations":["#,
        r#"{"code":"FIELD_RANGE","rule":"minimum","path":"n","mode":"enforce","message":"n must be at least 1, is 0"},"#,
        r#"{"code":"FIELD_LENGTH","rule":"maxLength","path":"secret","mode":"enforce","message":"secret must have at most 3 characters"},"#,
        r#"{"code":"FIELD_PATTERN","rule":"pattern","path":"secret","mode":"enforce","message":"secret must match ^a"},"#,
        r#"{"code":"FIELD_FORMAT","rule":"format","path":"secret","mode":"enforce","message":"secret must be a uuid"},"#,
        r#"{"code":"FIELD_ENUM","rule":"enum","path":"secret","mode":"enforce","message":"secret must be one of \"abc\""}"#,
        r#"],"omitted":0}"#
    );
    assert_eq!(
        found,
        [
            "weir.contract=orders@2.1.0",
            violations,
            "weir.source.topic=t.landing",
            "weir.source.partition=3",
            "weir.source.offset=42",
            "weir.schema.id=7",
            "weir.attempt=2",
            "__connect.errors.topic=t.landing",
            "__connect.errors.partition=3",
            "__connect.errors.offset=42",
            "__connect.errors.exception.message=FIELD_RANGE: n must be at least 1, is 0 (and 4 more)",
        ]
    );
    assert!(!found.concat().contains("topsecret"));
}

#[test]
fn modes_decide() {
    for (status, mode, outcome, headers) in [
        ("active", "enforce", Outcome::Quarantined, 11),
        ("active", "warn", Outcome::Warned, 2),
        ("active", "shadow", Outcome::Accepted, 0),
        ("draft", "enforce", Outcome::Accepted, 0),
    ] {
        let (found, action) = act(&contract(status, mode), BODY);
        assert_eq!((found, lines(&action).len()), (outcome, headers), "{status} {mode}");
        if outcome == Outcome::Warned {
            assert!(
                lines(&action)[1].starts_with("weir.warnings={\"violations\":[{\"code\":\"FIELD_RANGE\""),
                "{action:?}"
            );
        }
    }
}

#[test]
fn the_header_is_capped_and_says_so() {
    let mut body = b"\x02\x06abc\xf4\x03".to_vec();
    (0..250).for_each(|_| body.extend(b"\x04xx"));
    body.push(0);
    let (_, action) = act(&contract("active", "enforce"), &body);
    let Action::Quarantine(headers) = action else { panic!("{action:?}") };
    let violations: serde_json::Value = serde_json::from_slice(&headers[1].1).unwrap();
    // The secret "abc" is no uuid, and every item is too long.
    assert_eq!(violations["violations"].as_array().unwrap().len(), MAX_HEADER_VIOLATIONS);
    assert_eq!(violations["omitted"], 251 - MAX_HEADER_VIOLATIONS);
    assert!(headers[1].1.len() < MAX_HEADER_BYTES + 64);
}

#[test]
fn faults_of_the_record_become_verdicts() {
    let contract = contract("active", "shadow");
    let draft = self::contract("draft", "shadow");
    let guid = SchemaRef::Guid([
        0x53, 0x58, 0x14, 0x32, 0x6c, 0x55, 0x4b, 0xa2, 0xa6, 0x5f, 0x72, 0x34, 0x4a, 0x91, 0x55, 0x3a,
    ]);
    let cases = [
        (DataFault::FrameMissing, true, "FRAME_MISSING: the value carries no schema id"),
        (
            DataFault::SchemaUnknown { id: guid },
            true,
            "SCHEMA_UNKNOWN: the registry knows no schema 53581432-6c55-4ba2-a65f-72344a91553a",
        ),
        (
            DataFault::SchemaNotAllowed { id: SchemaRef::Id(9), reasons: vec!["a".into(), "b".into()] },
            true,
            "SCHEMA_NOT_ALLOWED: the contract does not allow the schema 9: a; b",
        ),
        (DataFault::TombstoneDenied, true, "TOMBSTONE_DENIED: the value is null and the contract allows no tombstones"),
        (
            DataFault::RecordTooLarge { size: 2_000_000, limit: 1_000_000 },
            false,
            "RECORD_TOO_LARGE: the record takes 2000000 bytes, the topic takes 1000000",
        ),
        (
            DataFault::BatchUnreadable { first: 5, last: 9, reason: "crc".into() },
            false,
            "BATCH_UNREADABLE: the records from offset 5 to 9 cannot be read: crc",
        ),
    ];
    for (fault, passes_draft, message) in cases {
        let verdict = decide(&contract.objects[0], Err(fault.clone()));
        let action = plan(&contract.objects[0], &verdict, &Source { schema_id: None, ..SOURCE });
        let last = lines(&action).pop().unwrap();
        assert_eq!(last, format!("__connect.errors.exception.message={message}"));
        assert_eq!(lines(&action).len(), 10, "no schema id, no header for it");
        let in_draft = decide(&draft.objects[0], Err(fault)).outcome() == Outcome::Accepted;
        assert_eq!(in_draft, passes_draft, "{message}");
    }
    let object = &contract.objects[0];
    let binding = object.bind(object.schema().clone()).unwrap();
    for (body, code) in [(&b"\x00\x02x\x00\x00"[..], "PAYLOAD_TRAILING_BYTES"), (b"", "PAYLOAD_MALFORMED")] {
        let event = Event { key: None, body, headers: &[], timestamp_ms: None, now_ms: 0 };
        let verdict = decide(object, binding.check(&event, &mut Vec::new()));
        assert_eq!(verdict.violations()[0].code.name(), code);
        assert_eq!(verdict.outcome(), Outcome::Quarantined);
    }
}

#[test]
fn the_last_attempt_counts() {
    let header = |value: &'static str| ("weir.attempt", Some(value.as_bytes()));
    assert_eq!(attempts(&[]), 0);
    assert_eq!(attempts(&[header("1"), ("x", None), header("2")]), 2);
    assert_eq!(attempts(&[header("many")]), 0);
}
