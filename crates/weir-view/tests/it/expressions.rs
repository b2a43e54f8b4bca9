//! Runs `tests/expressions.txt`: an expression, ` -> ` and its value as JSON, or ` ! ` and words of the error. The row
//! has `i` 7, `big` the largest long, `d` 2.5, `t` "Ab1 c", `n` null of text, `m` 12.34 with two digits, `at`
//! 2024-02-29T12:30:15.250Z, `day` 2024-02-29, `list` [3, 1, 3], `r` {x: 5}, `no` a null record like `r`, `map` {a: 1}; `us`, `ul`, `ur` and
//! `un` are of one union, 's', 9, {x: 5} and null; `twins` is 7 of a union of int, long and an enum; `bin` is the bytes 00 61 ff.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use weir_avro::{JsonForm, Schema, from_json, to_json};
use weir_view::{Emit, Memory, Options, Output, Record, Relation, plan};

const ROW: &str = r#"{"type":"record","name":"Row","fields":[
 {"name":"i","type":"int"},{"name":"big","type":"long"},{"name":"d","type":"double"},{"name":"t","type":"string"},
 {"name":"n","type":["null","string"]},{"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
 {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"day","type":{"type":"int","logicalType":"date"}},
 {"name":"list","type":{"type":"array","items":"int"}},{"name":"r","type":{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}},
 {"name":"no","type":["null","R"]},{"name":"map","type":{"type":"map","values":"int"}},
 {"name":"us","type":["null","string","long","R",{"type":"array","items":"int"}]},{"name":"ul","type":["null","string","long","R"]},
 {"name":"ur","type":["null","string","long","R"]},{"name":"un","type":["null","string","long","R"]},
 {"name":"twins","type":["int","long",{"type":"enum","name":"com.acme.E","symbols":["A"]}]},
 {"name":"bin","type":"bytes"}]}"#;

struct Last(Option<Vec<u8>>);

impl Emit for Last {
    fn emit(&mut self, output: Output<'_>) {
        self.0 = output.value.map(<[u8]>::to_vec);
    }
}

#[test]
fn expressions_have_their_values_and_errors() {
    let schema = Arc::new(Schema::parse(ROW).unwrap());
    let relation = Arc::new(Relation {
        name: "a".into(),
        topic: "a".into(),
        table: false,
        key: vec![],
        key_schema: None,
        event_time: None,
        partitions: None,
        schema: Arc::clone(&schema),
        personal: Default::default(),
        personal_key: false,
    });
    let row = json!({"i": 7, "big": i64::MAX, "d": 2.5, "t": "Ab1 c", "n": null, "m": "12.34", "at": "2024-02-29T12:30:15.250Z",
        "day": "2024-02-29", "list": [3, 1, 3], "r": {"x": 5}, "no": null, "map": {"a": 1}, "us": "s", "ul": 9,
        "ur": {"x": 5}, "un": null, "twins": 7, "bin": "AGH/"});
    let bytes = from_json(&schema, &row, JsonForm::Plain).unwrap();
    let found = |expression: &str| -> Result<serde_json::Value, String> {
        let options = Options { id: "t.v".into(), topic: "t".into(), ..Options::default() };
        let plan = plan(&format!("SELECT {expression} AS x FROM a"), &options, std::slice::from_ref(&relation));
        let plan = plan.map_err(|e| e.to_string())?;
        let record = Record { key: Some(b"k"), value: Some(&bytes), time: 5, partition: 1, offset: 2, headers: &[] };
        let mut last = Last(None);
        let mut task = plan.task().map_err(|e| e.to_string())?;
        task.process(0, &record, &mut Memory::default(), &mut last).map_err(|e| e.to_string())?;
        let json = to_json(&plan.output.schema, &last.0.unwrap(), JsonForm::Plain).unwrap();
        Ok(json["x"].clone())
    };
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions.txt")).unwrap();
    let (mut failed, mut count) = (Vec::new(), 0);
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        count += 1;
        if let Some((expression, expect)) = line.split_once(" -> ") {
            let value = found(expression);
            if value != Ok(serde_json::from_str(expect).unwrap()) {
                failed.push(format!("{line}\n    found {value:?}"));
            }
        } else {
            let (expression, words) = line.split_once(" ! ").unwrap();
            let value = found(expression);
            if !matches!(&value, Err(e) if words.split(' ').all(|w| e.contains(w))) {
                failed.push(format!("{line}\n    found {value:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} failed\n{}", failed.len(), failed.join("\n"));
    assert!(count > 90, "{count}");
}
