//! Records meet only where equal keys are the same bytes: what a plan says of keys that are encoded in different ways.

use std::sync::Arc;

use serde_json::json;
use weir_avro::{FieldPath, JsonForm, Schema, from_json, to_json};
use weir_view::{Emit, Flow, Options, Output, Record, Relation, plan};

/// A relation of the fields `id`, of this type, `more` and `x`; the key is Avro where `avro` says so.
fn relation(name: &str, table: bool, ty: &str, avro: bool, key: &[&str]) -> Arc<Relation> {
    let schema = format!(
        r#"{{"type":"record","name":"{name}","fields":[{{"name":"id","type":{ty}}},{{"name":"more","type":"string"}},{{"name":"x","type":"int"}}]}}"#
    );
    let schema = Schema::parse(&schema).unwrap();
    let paths: Vec<_> = key.iter().map(|field| FieldPath::parse(field)).collect();
    Arc::new(Relation {
        name: name.to_owned(),
        topic: name.to_owned(),
        table,
        key: key.iter().map(|field| (*field).to_owned()).collect(),
        key_schema: if avro { weir_contract::key_schema(&schema, &paths).map(Arc::from) } else { None },
        event_time: None,
        partitions: Some(4),
        schema: Arc::new(schema),
        personal: Default::default(),
        personal_key: false,
    })
}

const UUID: &str = r#"{"type":"string","logicalType":"uuid"}"#;
const MILLIS: &str = r#"{"type":"int","logicalType":"time-millis"}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"time-micros"}"#;
const DATE: &str = r#"{"type":"int","logicalType":"date"}"#;

fn options() -> Options {
    Options { id: "t.v".into(), topic: "t.v".into(), ..Options::default() }
}

/// The relation `s` is a stream, `t` and `u` are tables; what the plan says is its error, or how its inputs lie together.
#[track_caller]
fn check(of: [(&str, &str, bool); 2], sql: &str, expect: &str) {
    let of = of.map(|(name, ty, avro)| relation(name, !name.starts_with('s'), ty, avro, &["id"]));
    let found = match plan(sql, &options(), &of) {
        Ok(plan) => format!("{} stages, {}", plan.stages().len(), plan.copartitioned),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expect, "{sql}");
}

#[test]
fn keys_of_different_encodings_never_meet() {
    let tables = "SELECT t.id AS id, u.x AS x FROM t JOIN u ON t.id = u.id";
    let lookup = "SELECT s.id AS id, t.x AS x FROM s JOIN t ON s.id = t.id";
    let whole = "SELECT t.id AS id, u.x AS x FROM t JOIN u ON t.rowkey = u.rowkey";
    let streams = "SELECT s.id AS id, s2.x AS x FROM s JOIN s2 WITHIN INTERVAL '1' HOUR ON s.id = s2.id";
    let union = "SELECT id, x FROM s UNION ALL SELECT id, x FROM s2";
    let avro = "yes: 4 partitions, murmur2 of the same Avro key";
    let text = "yes: 4 partitions, murmur2 of the same text key";

    check([("t", "\"int\"", true), ("u", "\"int\"", true)], tables, &format!("1 stages, {avro}"));
    check([("t", "\"int\"", false), ("u", "\"long\"", false)], tables, &format!("1 stages, {text}"));
    check(
        [("t", "\"int\"", true), ("u", "\"long\"", true)],
        tables,
        "1:46: the key of u is Avro \"long\"; t, whose own key is Avro \"int\", can name it only as text, so they never meet; give u a text key: `keyFormat: string` in its contract, or GROUP BY CAST(id AS TEXT) in a view of it",
    );
    check(
        [("t", "\"int\"", false), ("u", "\"int\"", true)],
        tables,
        "1:46: the key of u is Avro \"int\"; t, whose own key is text, can name it only as text, so they never meet; give u a text key: `keyFormat: string` in its contract, or GROUP BY CAST(id AS TEXT) in a view of it",
    );
    // The left rows name the right ones by a text.
    check([("t", "\"int\"", true), ("u", "\"int\"", false)], tables, &format!("3 stages, {avro}"));
    check(
        [("t", "\"string\"", true), ("u", UUID, true)],
        whole,
        "1:46: the key of u is Avro {\"type\":\"string\",\"logicalType\":\"uuid\"}; t, whose own key is Avro \"string\", can name it only as text, so they never meet; give u a text key: `keyFormat: string` in its contract, or GROUP BY CAST(id AS TEXT) in a view of it",
    );
    check(
        [("t", "\"int\"", true), ("u", "\"int\"", false)],
        "SELECT t.x AS x, u.x AS y FROM t FULL JOIN u ON t.id = u.id",
        "1:49: the key of t is Avro \"int\" and that of u is text: their bytes differ, so they never meet; give t a text key: `keyFormat: string` in its contract, or GROUP BY CAST(id AS TEXT) in a view of it",
    );
    check(
        [("s", "\"int\"", true), ("t", "\"long\"", true)],
        lookup,
        "1:46: the key of t is Avro \"long\"; s, whose own key is Avro \"int\", can name it only as text, so they never meet; give t a text key: `keyFormat: string` in its contract, or GROUP BY CAST(id AS TEXT) in a view of it",
    );
    check([("s", "\"int\"", true), ("t", "\"int\"", true)], lookup, &format!("1 stages, {avro}"));
    // A stream is re-keyed: both, where neither has a text.
    check([("s", "\"int\"", true), ("t", "\"int\"", false)], lookup, &format!("2 stages, {text}"));
    check([("s", "\"int\"", true), ("s2", "\"int\"", true)], streams, &format!("1 stages, {avro}"));
    check([("s", "\"int\"", true), ("s2", "\"int\"", false)], streams, &format!("2 stages, {text}"));
    check([("s", "\"int\"", true), ("s2", "\"long\"", true)], streams, &format!("3 stages, {text}"));
    check(
        [("s", "\"int\"", true), ("s2", "\"int\"", true)],
        union,
        "1 stages, yes: 4 partitions, murmur2 of the same key",
    );
    check(
        [("s", "\"int\"", false), ("s2", "\"int\"", true)],
        union,
        "1:49: the key of s is text and that of s2 is Avro \"int\": their bytes differ, so they never meet; give s2 a text key: `keyFormat: string` in its contract, or PARTITION BY id in a view of it",
    );
    check(
        [("s", MILLIS, false), ("t", MICROS, false)],
        lookup,
        "1:46: id of s is TIME in milliseconds and id of t is TIME in microseconds: as keys they never meet; CAST one of them in a view of its own and join that",
    );
    check(
        [("s", "\"int\"", false), ("t", MILLIS, false)],
        "SELECT s.id AS id, t.x AS x FROM s JOIN t ON CAST(s.id AS TIME) = t.id",
        "1:51: a join meets by fields; give the expression a name in a view and join that",
    );
    check(
        [("t", MILLIS, false), ("u", MICROS, false)],
        tables,
        "1:46: a TIME is no key, for its number depends on its unit; CAST it to TEXT",
    );
    check(
        [("s", MILLIS, true), ("t", MILLIS, false)],
        lookup,
        "1:46: a TIME is no key, for its number depends on its unit; CAST it to TEXT",
    );
}

/// The schema of a key of several fields has the name of its product, so that of a view is known only by where it is from.
#[test]
fn a_view_has_the_key_of_its_source() {
    let of = ["p", "q"].map(|name| relation(name, true, "\"int\"", true, &["id", "more"]));
    let view = |name: &str, sql: &str| {
        let options = Options { id: name.into(), topic: name.into(), ..Options::default() };
        plan(sql, &options, &of).unwrap().output
    };
    let all = [
        view("a.one", "SELECT id, more, x FROM p WHERE x > 0"),
        view("a.two", "SELECT id AS i, more AS m, COUNT(*) AS n FROM p GROUP BY id, more"),
        view("a.three", "SELECT id, more, x FROM q"),
        view("a.four", "SELECT id, COUNT(*) AS n FROM p GROUP BY id"),
    ];
    let schemas = all.each_ref().map(|relation| relation.key_schema.as_deref());
    assert!(schemas[0].is_some_and(|schema| schema.contains("\"pKey\"")), "{schemas:?}");
    assert_eq!((schemas[1], schemas[3]), (schemas[0], None));
    let join = |sql: &str| plan(sql, &options(), &all).map(|_| ()).map_err(|e| e.message);
    assert_eq!(join("SELECT a.id, a.more, b.n FROM a.one a JOIN a.two b ON a.id = b.i AND a.more = b.m"), Ok(()));
    let error = join("SELECT a.id, a.more, b.x FROM a.one a JOIN a.three b ON a.id = b.id AND a.more = b.more");
    assert!(error.as_ref().is_err_and(|e| e.contains("pKey") && e.contains("qKey")), "{error:?}");
    let error = join("SELECT a.id, a.more, b.n FROM a.four b JOIN a.one a ON a.id = b.id");
    assert!(error.as_ref().is_err_and(|e| e.contains("pKey") && e.contains("text")), "{error:?}");
}

#[derive(Default)]
struct Out(Vec<(String, Vec<u8>)>);

impl Emit for Out {
    fn emit(&mut self, output: Output<'_>) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.0.push((output.key.map(text).unwrap(), output.value.unwrap().to_vec()));
    }
}

/// A contract has a date as a number in the key. A stream that was re-keyed by one had its text, and met nothing.
#[test]
fn a_stream_meets_the_dates_of_a_table() {
    let of = [relation("s", false, DATE, false, &["more"]), relation("t", true, DATE, false, &["id"])];
    let row = |of: &Relation, x: i32| {
        from_json(&of.schema, &json!({"id": "2024-02-29", "more": "m", "x": x}), JsonForm::Plain).unwrap()
    };
    let check = |sql: &str, expect: (&str, serde_json::Value)| {
        let plan = plan(sql, &options(), &of).unwrap();
        let (mut flow, mut out) = (Flow::new(&plan).unwrap(), Out::default());
        for (i, key) in [(1, "19782"), (0, "m")] {
            let value = row(&of[i], i as i32);
            let record = Record {
                key: Some(key.as_bytes()),
                value: Some(&value),
                time: 5,
                partition: 0,
                offset: 0,
                headers: &[],
            };
            if plan.inputs.iter().any(|input| input.name == of[i].name) {
                flow.process(&of[i].name, &record, &mut out).unwrap();
            }
        }
        let (key, value) = out.0.pop().unwrap();
        let value = to_json(&plan.output.schema, &value, JsonForm::Plain).unwrap();
        assert_eq!((key.as_str(), value), expect, "{sql}");
    };
    check("SELECT s.id AS id, t.x AS x FROM s JOIN t ON s.id = t.id", ("19782", json!({"id": "2024-02-29", "x": 1})));
    check("SELECT id, x FROM s PARTITION BY id", ("19782", json!({"id": "2024-02-29", "x": 0})));
    check(
        "SELECT id, more, COUNT(*) AS n FROM s GROUP BY id, more",
        ("19782|m", json!({"id": "2024-02-29", "more": "m", "n": 1})),
    );
    check("SELECT x FROM s PARTITION BY CAST(id AS TEXT)", ("2024-02-29", json!({"x": 0})));
    check("SELECT x FROM s PARTITION BY CAST(id AS TIMESTAMP)", ("1709164800000", json!({"x": 0})));
    check("SELECT x FROM s PARTITION BY CAST(id AS TIMESTAMP(6))", ("1709164800000000", json!({"x": 0})));
}
