//! Runs the files of `tests/cases`. A file names its schema in the first line (`schema: order.avsc`, or none), then
//! come blocks: an expression, and below it, indented, what is expected:
//!
//! ```text
//! this.quantity > 0
//!   {"id": "a", "quantity": 3} -> true     the value, as CEL spells it; without a datum the least one is taken
//!   {"id": "a"} ! 1:3 null                 an evaluation error whose text has these words
//!   !! 1:6 did you mean                    a compile error whose text has these words
//! ```
//!
//! All cases see the key `k-1`, the time 2024-02-29T12:30:15.250Z and the headers of [`HEADERS`].

use std::path::Path;
use std::sync::Arc;

use weir_avro::{JsonForm, Limits, Schema, Slot, Walker, from_json};
use weir_expr::{Env, Input, Wanted, compile};

const HEADERS: [(&str, Option<&[u8]>); 5] = [
    ("trace", Some(b"t1")),
    ("source", Some(b"shop")),
    ("empty", None),
    ("bad", Some(b"\xff")),
    ("trace", Some(b"t2")),
];
const NOW: i64 = 1_709_209_815_250;

fn has_words(text: &str, words: &str) -> bool {
    words.split_whitespace().all(|word| text.contains(word))
}

fn check(schema: &Arc<Schema>, expression: &str, expectation: &str, least: &str) -> Result<(), String> {
    let mut wanted = Wanted::new();
    let compiled = compile(expression, &Env::new(schema), &mut wanted);
    if let Some(words) = expectation.strip_prefix("!!") {
        return match compiled {
            Ok(program) => Err(format!("compiles to {}, expected an error with {words}", program.result())),
            Err(errors) => {
                let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
                if has_words(&text, words) { Ok(()) } else { Err(format!("{text}, expected{words}")) }
            }
        };
    }
    let program = compiled.map_err(|errors| format!("does not compile: {errors:?}"))?;
    let (datum, value, error) = match (expectation.split_once(" -> "), expectation.split_once(" ! ")) {
        (Some((datum, value)), _) => (datum, Some(value), ""),
        (_, Some((datum, error))) => (datum, None, error),
        _ => return Err(format!("no expectation: {expectation}")),
    };
    let datum = if datum.trim().is_empty() { least } else { datum };
    let json = serde_json::from_str(datum).map_err(|e| format!("{datum}: {e}"))?;
    let bytes = from_json(schema, &json, JsonForm::Plain).map_err(|e| e.to_string())?;
    let walker = Walker::new(schema.clone(), wanted.paths(), Limits::default()).map_err(|e| e.to_string())?;
    let mut slots = Vec::new();
    walker.walk(&bytes, &mut slots).map_err(|e| e.to_string())?;
    let input = Input { key: Slot::Str("k-1".into()), headers: &HEADERS, now_ms: NOW, ..Input::new(schema, &slots) };
    let outcome = program.eval(&input);
    // Asking for a boolean takes other ways through the evaluator and must say the same.
    match (&outcome, program.test(&input)) {
        (Ok(value), test) if value.as_bool().is_some() => assert_eq!(test.ok(), value.as_bool(), "{expression}"),
        (Err(e), test) => assert_eq!(test.map_err(|t| (t.kind, t.at)), Err((e.kind, e.at)), "{expression}"),
        (Ok(_), test) => assert!(test.is_err(), "{expression}"),
    }
    match (outcome, value) {
        (Ok(found), Some(value)) if found.to_string() == value.trim() => Ok(()),
        (Err(e), None) if has_words(&e.to_string(), error) => Ok(()),
        (Ok(found), _) => Err(format!("{found}, expected {}", value.unwrap_or(error))),
        (Err(e), _) => Err(format!("{e}, expected {}", value.unwrap_or(error))),
    }
}

#[test]
fn case_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "txt"));
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let (schema, least) = match text.lines().next().and_then(|l| l.strip_prefix("schema: ")) {
            Some(avsc) => (std::fs::read_to_string(folder.join(avsc)).unwrap(), r#"{"id": "a"}"#),
            None => ("\"null\"".to_owned(), "null"),
        };
        let schema = Arc::new(Schema::parse(&schema).unwrap());
        let mut expression = "";
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.starts_with("schema: ") || line.trim().is_empty() {
                continue;
            }
            if !line.starts_with("  ") {
                expression = line;
                continue;
            }
            count += 1;
            // The first blank of the indentation belongs to the arrow where no datum stands before it.
            let expectation = if line.trim_start().starts_with("!!") { line.trim_start() } else { &line[1..] };
            if let Err(why) = check(&schema, expression, expectation, least) {
                failures.push(format!("{name}:{}: {expression}\n      {why}", number + 1));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases failed:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 750, "only {count} cases were found");
}
