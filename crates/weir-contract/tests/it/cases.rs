//! Case files: a contract, its schema and what Weir says about it or about events.
//!
//! A case is one file of sections, each under a line `=== name`. `lint/` cases have `contract`, any number of
//! `schema <url>` and `expect`. `events/` cases have also `writer` where the writer's schema is another one, and
//! `events`, one JSON object per line. Where a case fails, what was found is written beside the test binary.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use weir_avro::{JsonForm, Schema, from_json};
use weir_contract::{DataFault, Event, Outcome, SchemaRef, compile, decide, lint, read};

struct Case {
    name: String,
    sections: Vec<(String, String)>,
}

impl Case {
    fn section(&self, name: &str) -> Option<&str> {
        self.sections.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
    }

    fn schema(&self, url: &str) -> Option<String> {
        self.section(&format!("schema {url}")).map(str::to_owned)
    }
}

fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            match line.strip_prefix("=== ") {
                Some(name) => sections.push((name.trim().to_owned(), String::new())),
                None => {
                    let (_, text) = sections.last_mut().expect("a case begins with a section");
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        Case { name: path.file_stem().unwrap().to_string_lossy().into_owned(), sections }
    };
    files.iter().map(read).collect()
}

fn check(folder: &str, found: impl Fn(&Case) -> String) {
    let mut failed = Vec::new();
    for case in cases(folder) {
        let found = found(&case);
        if Some(found.trim()) != case.section("expect").map(str::trim) {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.found", case.name));
            std::fs::write(&file, &found).unwrap();
            failed.push(format!("{folder}/{}: found\n{found}(in {})", case.name, file.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn lint_says_everything_at_once() {
    check("lint", |case| {
        let lint = lint(case.section("contract").unwrap(), "c.yaml", &|url| case.schema(url));
        let lines = lint.diagnostics.iter().map(ToString::to_string);
        lines.chain(lint.promises.iter().map(ToString::to_string)).map(|line| line + "\n").collect()
    });
}

#[test]
fn events_get_their_verdicts() {
    check("events", |case| {
        let (contract, findings) = read(case.section("contract").unwrap(), "c.yaml");
        let contract = contract.unwrap_or_else(|| panic!("{}: {findings:?}", case.name));
        let (compiled, findings) = compile(&contract, &|url| case.schema(url));
        let compiled = compiled.unwrap_or_else(|| panic!("{}: {findings:?}", case.name));
        let object = &compiled.objects[0];
        let writer = match case.section("writer") {
            Some(text) => Arc::new(Schema::parse(text).unwrap()),
            None => object.schema().clone(),
        };
        let binding = match object.bind(writer.clone()) {
            Ok(binding) => binding,
            Err(reasons) => return reasons.iter().map(|d| format!("{d}\n")).collect(),
        };
        let events = case.section("events").unwrap().lines().filter(|line| !line.trim().is_empty());
        events.map(|line| one(&case.name, line, &writer, &binding)).collect()
    });
}

fn one(case: &str, line: &str, writer: &Schema, binding: &weir_contract::Binding) -> String {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{case}: {e}: {line}"));
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let key = match (event.get("key"), event.get("keyHex")) {
        (Some(key), _) => key.as_str().map(|key| key.as_bytes().to_vec()),
        (_, Some(bytes)) => Some(hex(bytes.as_str().unwrap())),
        _ => None,
    };
    let body = match (event.get("value"), event.get("hex")) {
        (_, Some(bytes)) => Some(hex(bytes.as_str().unwrap())),
        (Some(Value::Null) | None, _) => None,
        (Some(value), _) => {
            Some(from_json(writer, value, JsonForm::Plain).unwrap_or_else(|e| panic!("{case}: {e}: {line}")))
        }
    };
    let time = |name: &str| {
        event.get(name).and_then(Value::as_str).map(|t| t.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    };
    let header = event.get("header").and_then(Value::as_str);
    let headers: Vec<_> = header.iter().map(|name| (*name, None)).collect();
    let event = Event {
        key: key.as_deref(),
        body: body.as_deref().unwrap_or_default(),
        headers: &headers,
        timestamp_ms: time("timestamp"),
        now_ms: time("now").unwrap_or(0),
    };
    let outcome = match (&body, event.headers.first()) {
        (Some(_), _) => binding.check(&event, &mut Vec::new()),
        (None, Some(("unknown", _))) => Err(DataFault::SchemaUnknown { id: SchemaRef::Id(7) }),
        (None, _) => binding.object().check_tombstone(&event),
    };
    let verdict = decide(binding.object(), outcome);
    let mut out = match verdict.outcome() {
        Outcome::Accepted => "accepted\n".to_owned(),
        Outcome::Warned => "warned\n".to_owned(),
        Outcome::Quarantined => "quarantined\n".to_owned(),
    };
    for v in verdict.violations() {
        out += &format!("  {} [{}] {}: {}: {}\n", v.code, v.mode.name(), v.rule, v.path, v.message);
    }
    out
}
