//! The key of a group of several texts, whatever stands in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use weir_avro::{JsonForm, Schema, from_json, to_json};
use weir_view::{Emit, Memory, Options, Output, Record, Relation, plan};

struct Last(Option<(Vec<u8>, Vec<u8>)>);

impl Emit for Last {
    fn emit(&mut self, output: Output<'_>) {
        self.0 = output.key.zip(output.value).map(|(key, value)| (key.to_vec(), value.to_vec()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// `a|b` and `c` were one group with `a` and `b|c`: the records of both have the key `a|b|c`.
    #[test]
    fn groups_of_several_texts_never_share_a_key(rows in prop::collection::vec((r"[x|\\]{0,3}", r"[x|\\]{0,3}"), 0..40)) {
        let schema = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"},{"name":"b","type":"string"}]}"#;
        let relation = Relation {
            name: "r".to_owned(),
            topic: "r".to_owned(),
            table: false,
            key: vec!["a".to_owned(), "b".to_owned()],
            key_schema: None,
            event_time: None,
            partitions: Some(1),
            schema: Arc::new(Schema::parse(schema).unwrap()),
            personal: BTreeMap::new(),
            personal_key: false,
        };
        let options = Options { id: "t.v".into(), topic: "t.v".into(), ..Options::default() };
        for window in ["", ", TUMBLE(INTERVAL '1' SECOND)"] {
            let sql = format!("SELECT a, b, COUNT(*) AS c FROM r GROUP BY a, b{window}");
            let plan = plan(&sql, &options, &[Arc::new(relation.clone())]).unwrap();
            let (mut task, mut state) = (plan.task().unwrap(), Memory::default());
            let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
            let mut owners: BTreeMap<Vec<u8>, (&str, &str)> = BTreeMap::new();
            for (a, b) in &rows {
                let value = from_json(&relation.schema, &json!({"a": a, "b": b}), JsonForm::Plain).unwrap();
                let key = format!("{a}|{b}");
                let record = Record { key: Some(key.as_bytes()), value: Some(&value), time: 5, partition: 0, offset: 0, headers: &[] };
                let mut last = Last(None);
                task.process(0, &record, &mut state, &mut last).unwrap();
                let (made, value) = last.0.unwrap();
                let count = counts.entry((a.as_str(), b.as_str())).or_default();
                *count += 1;
                let row = to_json(&plan.output.schema, &value, JsonForm::Plain).unwrap();
                prop_assert_eq!(row, json!({"a": a, "b": b, "c": count}));
                if !format!("{a}{b}").contains(['|', '\\']) {
                    let expect = if window.is_empty() { key.clone() } else { format!("{key}|0") };
                    prop_assert_eq!(&made, expect.as_bytes());
                }
                prop_assert_eq!(*owners.entry(made).or_insert((a.as_str(), b.as_str())), (a.as_str(), b.as_str()));
            }
        }
    }
}

/// `r.k` was taken for the key `k`, because its last name is the key's.
#[test]
fn a_field_below_a_record_is_not_the_key() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"k","type":"string"},
        {"name":"r","type":{"type":"record","name":"S","fields":[{"name":"k","type":"string"}]}}]}"#;
    let relation = Relation {
        name: "a".to_owned(),
        topic: "a".to_owned(),
        table: false,
        key: vec!["k".to_owned()],
        key_schema: None,
        event_time: None,
        partitions: Some(1),
        schema: Arc::new(Schema::parse(schema).unwrap()),
        personal: BTreeMap::new(),
        personal_key: false,
    };
    let options = Options { id: "t.v".into(), topic: "t.v".into(), ..Options::default() };
    let check = |sql: &str, expect: &[&str]| {
        let plan = plan(sql, &options, &[Arc::new(relation.clone())]).unwrap();
        assert_eq!(plan.output.key, expect, "{sql}");
    };
    check("SELECT r.k AS k FROM a", &[]);
    check("SELECT a.k AS id, r.k AS k FROM a", &["id"]);
    check("SELECT k FROM a", &["k"]);
}
