//! Schema resolution: pairs of schemas with the verdict the Avro specification asks for, in `cases/compat.json`.

use serde_json::Value;
use weir_avro::{Schema, can_read};

#[test]
fn pairs_of_schemas_get_the_verdict_of_the_specification() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../cases/compat.json")).unwrap();
    assert!(cases.len() >= 40);
    for case in cases {
        let parse = |side: &str| Schema::parse(&case[side].to_string()).unwrap_or_else(|e| panic!("{case}: {e}"));
        let found = can_read(&parse("writer"), &parse("reader"));
        let found: Vec<String> = found.iter().map(|i| format!("{} {}", i.kind, i.path)).collect();
        let expect: Vec<&str> = case["expect"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
        assert_eq!(found, expect, "{}", case["name"]);
    }
}

#[test]
fn messages_name_both_sides_and_what_to_do() {
    let writer = Schema::parse(r#"{"type":"record","name":"a.R","fields":[]}"#).unwrap();
    let reader = Schema::parse(r#"{"type":"record","name":"b.R","fields":[{"name":"x","type":"int"}]}"#).unwrap();
    let found: Vec<String> = can_read(&writer, &reader).iter().map(ToString::to_string).collect();
    let expect = "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/0: the reader's field x is missing in the writer's a.R \
                  and has no default; add one";
    assert_eq!(found, [expect]);
}

/// Wide unions of records that contain each other must not be compared branch by branch at every level.
#[test]
fn large_recursive_unions_are_compared_in_bounded_time() {
    let text = |extra: &str| {
        let branch = |i: usize| {
            format!(
                r#"{{"type":"record","name":"R{i}","fields":[{{"name":"all","type":{{"type":"array","items":"Top"}}}}{extra}]}}"#
            )
        };
        let branches: Vec<String> = (0..300).map(branch).collect();
        format!(r#"{{"type":"record","name":"Top","fields":[{{"name":"u","type":[{}]}}]}}"#, branches.join(","))
    };
    let (old, new) =
        (Schema::parse(&text("")).unwrap(), Schema::parse(&text(r#",{"name":"n","type":"int"}"#)).unwrap());
    assert_eq!(can_read(&new, &old), []);
    // Each record is named once as a missing branch and once with its reason.
    assert_eq!(can_read(&old, &new).len(), 600);
}
