//! The form of a contract on the wire, what it asks of Kafka, and texts that are no contract at all.

use crate::order;
use proptest::prelude::*;
use weir_contract::{Contract, ContractRecord, RecordError, lint, read};

fn contract() -> Contract {
    read(order::CONTRACT, "order.odcs.yaml").0.unwrap()
}

#[test]
fn a_record_comes_back_as_it_went() {
    let record = ContractRecord::new(&contract(), &|_| Some(order::SCHEMA.to_owned()));
    let json = record.to_json();
    assert!(json.starts_with(r#"{"form":1,"id":"bench-orders","version":"1.0.0","contract":"apiVersion"#), "{json}");
    let back = ContractRecord::from_json(json.as_bytes()).unwrap();
    assert_eq!(back, record);
    assert_eq!(back.compile().0.unwrap().objects[0].topic(), "bench.orders");
    let without = ContractRecord { schemas: Default::default(), ..back };
    let (compiled, findings) = without.compile();
    assert!(compiled.is_none());
    assert_eq!(
        findings[0].to_string(),
        "bench-orders:11:16: error[schema-missing]: the schema order.avsc cannot be found"
    );
}

#[test]
fn other_forms_are_refused() {
    for (text, expect) in [
        ("{", "the record is not JSON"),
        ("{}", "the record lacks `form`"),
        (r#"{"form":2}"#, "the record has the form 2"),
        (r#"{"form":1,"schemas":{}}"#, "the record lacks `id`"),
        (r#"{"form":1,"id":"a","version":"1","contract":"","schemas":{"a":1}}"#, "the record lacks `schemas`"),
    ] {
        let error: RecordError = ContractRecord::from_json(text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(expect), "{text}: {error}");
    }
}

#[test]
fn topics_and_subjects_follow_the_settings() {
    let with = |settings: &str| {
        let settings: String = settings.lines().map(|line| format!("  - {{ {line}, vendor: weir }}\n")).collect();
        let text = order::CONTRACT.replace("schema:\n", &format!("customProperties:\n{settings}schema:\n"));
        let (contract, findings) = read(&text, "c");
        let contract = contract.unwrap_or_else(|| panic!("{findings:?}"));
        let record = ContractRecord::new(&contract, &|_| Some(order::SCHEMA.to_owned()));
        let (compiled, findings) = record.compile();
        let plan = compiled.unwrap_or_else(|| panic!("{findings:?}")).objects[0].kafka_plan();
        let topics = plan.topics.iter().map(|t| format!("{} {} {:?}\n", t.name, t.partitions, t.config));
        let subjects = plan.subjects.iter().map(|s| format!("{} {}\n", s.name, s.compatibility.name()));
        topics.chain(subjects).collect::<String>() + &format!("{:?}", plan.quota)
    };
    let stream = r#"bench.orders 6 {"cleanup.policy": "delete", "max.message.bytes": "1048588", "message.timestamp.type": "CreateTime"}
bench.orders.landing 6 {"cleanup.policy": "delete", "max.message.bytes": "1048588", "message.timestamp.type": "CreateTime", "retention.ms": "604800000"}
bench.orders.quarantine 6 {"cleanup.policy": "delete", "max.message.bytes": "1114124", "message.timestamp.type": "CreateTime", "retention.ms": "2592000000"}
bench.orders-value BACKWARD
bench.orders.landing-value BACKWARD
None"#;
    assert_eq!(with("property: kind, value: stream"), stream);
    let table = r#"bench.orders 3 {"cleanup.policy": "compact,delete", "max.message.bytes": "1048588", "message.timestamp.type": "CreateTime", "retention.ms": "3600000"}
bench.orders.quarantine 3 {"cleanup.policy": "delete", "max.message.bytes": "1114124", "message.timestamp.type": "CreateTime", "retention.ms": "2592000000"}
weir.bench.Order FULL_TRANSITIVE
Some(1000000)"#;
    let settings = "property: kind, value: table\nproperty: key, value: order_id\nproperty: partitions, value: 3\n\
        property: retention, value: 1h\nproperty: landing, value: false\nproperty: subject, value: RecordName\n\
        property: compatibility, value: FULL_TRANSITIVE\nproperty: quota, value: 1MB/s";
    assert_eq!(with(settings), table);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No text makes reading or linting panic: here real contracts with a piece cut out, doubled or replaced.
    #[test]
    fn broken_texts_end_in_findings(at in 0usize..2500, length in 0usize..200, piece in "[-a-z:{}\\[\\]&*!|>#\"'\\n ]{0,12}", twice: bool) {
        let text = order::CONTRACT;
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        let middle = if twice { text[at..end].repeat(2) } else { String::new() };
        let broken = format!("{}{piece}{middle}{}", &text[..at], &text[end..]);
        let lint = lint(&broken, "f", &|_| Some(order::SCHEMA.to_owned()));
        prop_assert!(lint.diagnostics.is_sorted());
        // What is left may be a contract without a topic, which is no error and promises nothing.
        prop_assert!(!lint.has_errors() || lint.promises.is_empty());
        prop_assert!(lint.has_errors() || read(&broken, "f").0.is_some());
    }
}
