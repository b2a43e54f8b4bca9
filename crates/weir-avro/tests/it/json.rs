//! JSON both ways: the cases of `cases/json.json`, text rows, and what comes back of random payloads.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_avro::{JsonForm, Kind, NodeId, Schema, encode_default, from_json, row_to_json, text_to_json, to_json};

use crate::generate::{self, Choices};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A case has a schema and either bytes with their JSON in one or both forms, or JSON that is only read, in `form`,
/// to bytes or to an error.
#[test]
fn json_and_bytes_are_what_the_case_says() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../cases/json.json")).unwrap();
    for case in cases {
        let schema = Schema::parse(&case["schema"].to_string()).unwrap();
        if let Some(form) = case.get("form") {
            let form = if form == "avro" { JsonForm::Avro } else { JsonForm::Plain };
            let result = from_json(&schema, &case["value"], form);
            match case.get("error") {
                Some(error) => assert_eq!(Value::from(result.unwrap_err().to_string()), *error, "{case}"),
                None => assert_eq!(Value::from(hex(&result.unwrap())), case["hex"], "{case}"),
            }
            continue;
        }
        for (name, form) in [("avro", JsonForm::Avro), ("plain", JsonForm::Plain)] {
            let Some(value) = case.get(name) else { continue };
            let bytes = from_json(&schema, value, form).unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(Value::from(hex(&bytes)), case["hex"], "{case}");
            assert_eq!(to_json(&schema, &bytes, form).unwrap(), *value, "{case}");
        }
    }
}

/// Are there unions whose branches plain JSON may not tell apart, or records that one level does not tell apart?
fn ambiguous(schema: &Schema) -> bool {
    let kind = |b: &NodeId| match schema.node(*b).kind {
        Kind::Null | Kind::Boolean | Kind::Array { .. } => None,
        Kind::Record { .. } | Kind::Map { .. } => Some('{'),
        Kind::Int | Kind::Long if schema.node(*b).logical.is_none() => Some('1'),
        Kind::Float | Kind::Double => Some('1'),
        _ => Some('"'),
    };
    let (mut open, mut seen) = (vec![schema.root()], HashSet::new());
    while let Some(id) = open.pop() {
        match &schema.node(id).kind {
            _ if !seen.insert(id) => {}
            Kind::Array { items: inner } | Kind::Map { values: inner } => open.push(*inner),
            Kind::Record { fields } => open.extend(fields.iter().map(|f| f.node)),
            Kind::Union { branches } => {
                let mut kinds: Vec<char> = branches.iter().filter_map(kind).collect();
                kinds.sort_unstable();
                // A logical number is text or a number, and NaN is text, so text and numbers meet as well.
                if kinds.windows(2).any(|k| k[0] == k[1]) || (kinds.contains(&'1') && kinds.contains(&'"')) {
                    return true;
                }
                open.extend(branches.iter());
            }
            _ => {}
        }
    }
    false
}

#[test]
fn what_was_rendered_reads_back() {
    let choices = (proptest::collection::vec(any::<u8>(), 0..64), proptest::collection::vec(any::<u8>(), 0..96));
    proptest!(ProptestConfig { cases: 6_000, failure_persistence: None, ..Default::default() },
        |((shape, content) in choices)| {
        let text = generate::schema(&mut Choices::new(&shape)).to_string();
        let schema = Schema::parse(&text).unwrap();
        let mut payload = Vec::new();
        generate::payload(&mut Choices::new(&content), &schema, schema.root(), 6, &mut payload);
        for form in [JsonForm::Avro, JsonForm::Plain] {
            let first = to_json(&schema, &payload, form).unwrap();
            let back = from_json(&schema, &first, form);
            if form == JsonForm::Plain && ambiguous(&schema) {
                // It may be refused or come back as another branch, but what it comes back as is a datum.
                if let Ok(bytes) = back {
                    prop_assert!(to_json(&schema, &bytes, form).is_ok());
                }
                continue;
            }
            let bytes = back.map_err(|e| TestCaseError::fail(format!("{form:?} {first} of {text}: {e}")))?;
            let again = to_json(&schema, &bytes, form).unwrap();
            prop_assert_eq!(&again, &first, "{:?} {}", form, text);
            // Our own spelling of a datum comes back byte by byte.
            prop_assert_eq!(from_json(&schema, &again, form).unwrap(), bytes);
        }
    });
}

/// Any JSON at all is refused or becomes a datum that the walker takes.
#[test]
fn whatever_is_accepted_is_a_datum() {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:.TZ-]{0,12}".prop_map(Value::from),
        Just(json!("2024-02-29T00:00:00Z")),
    ];
    let any_json = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("f[0-3]|long|string", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    });
    let shape = proptest::collection::vec(any::<u8>(), 0..48);
    proptest!(ProptestConfig { cases: 3_000, failure_persistence: None, ..Default::default() },
        |(shape in shape, value in any_json)| {
        let schema = Schema::parse(&generate::schema(&mut Choices::new(&shape)).to_string()).unwrap();
        for form in [JsonForm::Avro, JsonForm::Plain] {
            if let Ok(bytes) = from_json(&schema, &value, form) {
                prop_assert!(to_json(&schema, &bytes, form).is_ok());
            }
        }
        if let Ok(bytes) = encode_default(&schema, schema.root(), &value) {
            prop_assert!(to_json(&schema, &bytes, JsonForm::Avro).is_ok());
        }
    });
}

#[test]
fn a_default_takes_the_first_branch_that_fits() {
    let check = |schema: &str, default: Value, expect: &str| {
        let schema = Schema::parse(schema).unwrap();
        assert_eq!(hex(&encode_default(&schema, schema.root(), &default).unwrap()), expect);
    };
    check(r#"["double","int"]"#, json!(1), "00000000000000f03f");
    check(r#"["null","int"]"#, json!(1), "0202");
    check(r#"["bytes","string"]"#, json!("\u{ff}"), "0002ff");
    check(r#"["bytes","string"]"#, json!("\u{100}"), "0204c480");
    check(r#"{"type":"int","logicalType":"date"}"#, json!(3), "06");
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"],"default":null}]}"#;
    check(endless, json!({}), "00");
}

const ROW: &str = r#"{"type":"record","name":"R","fields":[
  {"name":"id","type":"long"}, {"name":"name","type":"string"}, {"name":"nick","type":["null","string"],"default":null},
  {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
  {"name":"ratio","type":"double","default":0.5}, {"name":"ok","type":"boolean","default":false},
  {"name":"day","type":{"type":"int","logicalType":"date"},"default":0},
  {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-millis"}],"default":null},
  {"name":"tags","type":{"type":"array","items":"string"},"default":[]},
  {"name":"any","type":["null","string","long","boolean"],"default":null},
  {"name":"home","type":["null",{"type":"record","name":"Home","fields":[{"name":"city","type":"string"}]}],"default":null}]}"#;

#[test]
fn a_row_of_text_is_read_by_the_types_of_its_columns() {
    let schema = Schema::parse(ROW).unwrap();
    let row = [
        ("id", " 7 "),
        ("name", ""),
        ("nick", ""),
        ("price", "1.50"),
        ("ratio", ""),
        ("ok", "TRUE"),
        ("day", "2024-02-29"),
        ("at", "1000"),
        ("tags", r#"["a","b"]"#),
        ("any", "12"),
        ("home.city", "Bonn"),
    ];
    let value = row_to_json(&schema, row).unwrap();
    let expect = json!({"id": 7, "name": "", "nick": null, "price": "1.50", "ok": true, "day": "2024-02-29", "at": 1000,
        "tags": ["a", "b"], "any": 12, "home": {"city": "Bonn"}});
    assert_eq!(value, expect);
    let bytes = from_json(&schema, &value, JsonForm::Plain).unwrap();
    let plain = to_json(&schema, &bytes, JsonForm::Plain).unwrap();
    assert_eq!((&plain["ratio"], &plain["at"]), (&json!(0.5), &json!("1970-01-01T00:00:01Z")));
}

#[test]
fn a_row_names_the_column_at_fault() {
    let schema = Schema::parse(ROW).unwrap();
    let check = |row: &[(&str, &str)], expect: &str| {
        assert_eq!(row_to_json(&schema, row.iter().copied()).unwrap_err().to_string(), expect);
    };
    check(&[("id", "x")], "id: expected a whole number of 64 bits, found text that is none");
    check(&[("idd", "1")], "idd: R has no such field; correct the column");
    check(&[("home.town", "1")], "home.town: [null, Home] has no such field; correct the column");
    check(&[("ok", "yes")], "ok: expected true or false, found text that is none");
    check(&[("tags", "[1")], "tags: expected JSON in the cell: EOF while parsing a list at line 1 column 2");
    check(&[("id", "1"), ("id", "2")], "id: the column is given twice");
    check(&[("home", ""), ("home.city", "x")], "home.city: the record is given in another column too");
    let price = text_to_json(&schema, schema.find(&weir_avro::FieldPath::parse("price")).unwrap(), "");
    assert_eq!(price, Ok(None));
}
