//! The tables against the JSON schemas and examples of the Bitol project, which lie beside the workspace.

use super::Version::{V31, V32};
use super::tables::*;
use super::*;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// The folder of the official data; nothing where it is absent, said aloud.
fn official(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/odcs")).join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {} is absent, so the ODCS tables are not held against the official data", path.display());
        return None;
    }
    Some(path)
}

fn examples() -> Vec<(String, String)> {
    let Some(folder) = official("examples") else { return Vec::new() };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn errors(text: &str) -> Vec<String> {
    let (_, diagnostics) = crate::model::read_all(text, "f");
    diagnostics.iter().filter(|d| d.severity == crate::Severity::Error).map(ToString::to_string).collect()
}

#[test]
fn every_official_example_reads_without_an_error() {
    for (name, text) in examples() {
        assert_eq!(errors(&text), [""; 0], "{name}");
        assert!(crate::read(&text, &name).0.is_some(), "{name}");
    }
}

/// Misspells every key of every example in turn: each is an error at its place that names what was meant.
#[test]
fn every_misspelt_key_of_every_example_is_found() {
    let mut tried = 0;
    for (name, text) in examples() {
        let mut keys = Vec::new();
        collect(&crate::yaml::parse(&text, &mut Findings::new("f")).unwrap(), &mut keys);
        // The large example repeats itself; a part of it tells as much.
        for (at, key) in keys.into_iter().take(if text.len() > 50_000 { 30 } else { 400 }) {
            let line = text.lines().nth(at.line as usize - 1).unwrap();
            let start = line.char_indices().nth(at.column as usize - 1).unwrap().0;
            if !line[start..].starts_with(&key) {
                continue;
            }
            let wrong = format!("{}{}q{}", &line[..start], key, &line[start + key.len()..]);
            let mutated: Vec<_> = text
                .lines()
                .enumerate()
                .map(|(i, l)| if i + 1 == at.line as usize { wrong.as_str() } else { l })
                .collect();
            let found = errors(&mutated.join("\n"));
            let place = format!("f:{}:{}: error[odcs-unknown-key]", at.line, at.column);
            assert!(found.iter().any(|e| e.starts_with(&place)), "{name}: {key} at {at:?}: {found:?}");
            tried += 1;
        }
    }
    assert!(tried == 0 || tried > 1000, "{tried}");
}

fn collect(node: &Node, keys: &mut Vec<(Place, String)>) {
    for entry in node.entries() {
        keys.push((entry.place, entry.key.clone()));
        if !matches!(entry.key.as_str(), "implementation" | "arguments" | "value") {
            collect(&entry.value, keys);
        }
    }
    node.items().iter().for_each(|item| collect(item, keys));
}

/// What a JSON schema says about one object.
#[derive(Default)]
struct Official {
    properties: BTreeMap<String, Json>,
    required: BTreeSet<String>,
}

struct Cross {
    root: Json,
    version: Version,
    seen: HashSet<String>,
    faults: Vec<String>,
}

impl Cross {
    fn resolve(&self, schema: &Json) -> Json {
        // A reference with a `type` beside it says more than its target does.
        match schema.get("$ref").and_then(Json::as_str).filter(|_| schema.get("type").is_none()) {
            Some(path) => self.resolve(self.root.pointer(path.trim_start_matches('#')).unwrap()),
            None => schema.clone(),
        }
    }

    /// Properties of a schema and of all it includes without a condition.
    fn gather(&self, schema: &Json, into: &mut Official) {
        if let Some(target) = schema.get("$ref") {
            self.gather(&self.resolve(&serde_json::json!({ "$ref": target })), into);
        }
        for (name, inner) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            into.properties.insert(name.clone(), inner.clone());
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten() {
            into.required.insert(name.as_str().unwrap().to_owned());
        }
        for part in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            if part.get("if").is_none() {
                self.gather(part, into);
            }
            for name in part.pointer("/not/required").and_then(Json::as_array).into_iter().flatten() {
                into.properties.remove(name.as_str().unwrap());
            }
        }
    }

    fn object(&mut self, table: &Table, extra: &[&[Key]], schemas: &[&Json], place: &str) {
        let mut official = Official::default();
        schemas.iter().for_each(|schema| self.gather(schema, &mut official));
        let keys: Vec<&Key> =
            table.keys.iter().chain(extra.iter().flat_map(|e| e.iter())).filter(|k| k.since <= self.version).collect();
        let ours: BTreeSet<_> = keys.iter().map(|k| k.name.to_owned()).collect();
        let theirs: BTreeSet<_> = official.properties.keys().cloned().collect();
        if ours != theirs {
            let (more, less): (Vec<_>, Vec<_>) =
                (ours.difference(&theirs).collect(), theirs.difference(&ours).collect());
            self.faults.push(format!("{place}: only in the table {more:?}, only in the schema {less:?}"));
        }
        let mut must: BTreeSet<_> = keys
            .iter()
            .filter(|k| k.must.is_some_and(|(a, b)| (a..=b).contains(&self.version)))
            .map(|k| k.name.to_owned())
            .collect();
        if matches!(table.more, More::Property) {
            must.insert("name".to_owned());
        }
        if must != official.required {
            self.faults.push(format!("{place}: required {must:?} in the table, {:?} in the schema", official.required));
        }
        for key in keys {
            if let Some(schema) = official.properties.get(key.name) {
                self.shape(&key.shape, &self.resolve(schema), &format!("{place}.{}", key.name));
            }
        }
    }

    fn shape(&mut self, shape: &Shape, schema: &Json, place: &str) {
        let kind = schema.get("type").and_then(Json::as_str).unwrap_or("");
        let choices = [self.resolve(&schema["oneOf"][0]), self.resolve(&schema["oneOf"][1])];
        let one_of = |i: usize| &choices[i];
        let fits = match shape {
            Shape::Any => kind.is_empty() && schema.get("enum").is_none(),
            Shape::Bool => kind == "boolean",
            Shape::Int(least) => {
                kind == "integer"
                    && schema.get("minimum").and_then(Json::as_i64).map_or(i128::MIN, i128::from) == *least
            }
            Shape::Number => kind == "number" && schema.get("exclusiveMinimum").is_none(),
            Shape::PositiveNumber => kind == "number" && schema["exclusiveMinimum"] == 0,
            Shape::NumberBound => kind == "number",
            Shape::Text => kind == "string" && schema.get("enum").is_none(),
            Shape::TextBound => kind == "string",
            Shape::Id => kind == "string" && schema["pattern"] == "^[A-Za-z0-9_-]+$",
            Shape::Date => schema["format"] == "date",
            Shape::DateTime => schema["format"] == "date-time",
            Shape::Scalar => schema["anyOf"].as_array().is_some_and(|all| all.len() == 5),
            Shape::Mapping => kind == "object",
            Shape::Port if self.version < V32 => kind == "integer",
            Shape::Port => schema["type"] == serde_json::json!(["integer", "string"]),
            Shape::Pair => kind == "array" && schema["minItems"] == 2 && schema["uniqueItems"] == true,
            Shape::TextOrMapping => one_of(0)["type"] == "string" && one_of(1)["type"] == "object",
            Shape::References => one_of(1)["type"] == "array",
            Shape::OneOf(choices) => {
                let ours: BTreeSet<_> = choices
                    .iter()
                    .filter(|c| c.1 <= self.version && c.0.len() > 2 || place.ends_with("format"))
                    .map(|c| c.0.to_owned())
                    .collect();
                let theirs = schema["enum"].as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned());
                // Weir does not read ODCS 2.
                ours == theirs.filter(|t| !t.starts_with("v2.")).collect()
            }
            Shape::Object(table) => {
                self.table(table, schema, place);
                kind == "object"
            }
            Shape::List(item) | Shape::Set(item) => {
                let unique = schema.get("uniqueItems").is_some();
                self.shape(item, &self.resolve(&schema["items"]), &format!("{place}[]"));
                kind == "array" && unique == matches!(shape, Shape::Set(_))
            }
            Shape::Objects(table) => {
                self.table(table, &self.resolve(&schema["items"]), &format!("{place}[]"));
                kind == "array"
            }
            Shape::TextOr(table) => {
                self.table(table, one_of(1), place);
                one_of(0)["type"] == "string"
            }
            Shape::ObjectOrList(one, many) => {
                self.table(one, one_of(0), place);
                self.table(many, &self.resolve(&one_of(1)["items"]), &format!("{place}[]"));
                true
            }
        };
        if !fits {
            self.faults.push(format!("{place}: the table's shape does not fit {schema}"));
        }
    }

    fn table(&mut self, table: &Table, schema: &Json, place: &str) {
        if table.name != OPTIONS && !self.seen.insert(table.name.to_owned()) {
            return;
        }
        let none = Vec::new();
        let conditions = match schema.get("$ref") {
            Some(target) => self.resolve(&serde_json::json!({ "$ref": target }))["allOf"].as_array().cloned(),
            None => schema["allOf"].as_array().cloned(),
        }
        .unwrap_or(none);
        match table.more {
            More::None => self.object(table, &[], &[schema], place),
            More::Relationship => self.object(table, &[], &[schema], place),
            More::Server => {
                let mut known: BTreeSet<&str> =
                    SERVERS.iter().filter(|s| s.1 <= self.version).flat_map(|s| s.0.iter().copied()).collect();
                for part in &conditions {
                    let kind = part["if"]["properties"]["type"]["const"].as_str().unwrap();
                    let keys = SERVERS.iter().find(|s| s.0.contains(&kind)).map(|s| s.2);
                    let Some(keys) = keys.filter(|_| known.remove(kind)) else {
                        self.faults.push(format!("{place}: no server type {kind}"));
                        continue;
                    };
                    // The type of a server is a text in the table, as its values are the table of servers.
                    let mut schema = schema.clone();
                    schema["properties"]["type"] = serde_json::json!({ "type": "string" });
                    self.object(table, &[keys], &[&schema, &part["then"]], &format!("{place}<{kind}>"));
                }
                // The schema has one dead condition per type; a type without one has no keys.
                if !known.is_empty() {
                    self.faults.push(format!("{place}: server types {known:?} are not in the schema"));
                }
            }
            More::Quality => {
                for (part, extra) in conditions.iter().zip([
                    &[&LIBRARY_KEYS[..], &OPERATORS][..],
                    &[&SQL_KEYS, &OPERATORS],
                    &[&CUSTOM_KEYS],
                ]) {
                    let mut official = Official::default();
                    self.gather(&part["then"], &mut official);
                    let mut then = part["then"].clone();
                    if extra.len() > 1 {
                        let operators = &self.root["$defs"]["DataQualityOperators"]["oneOf"];
                        let each = operators.as_array().unwrap().iter();
                        let all: serde_json::Map<_, _> =
                            each.flat_map(|o| o["properties"].as_object().unwrap().clone()).collect();
                        then = serde_json::json!({ "allOf": [then, { "properties": all }] });
                    }
                    self.object(table, extra, &[schema, &then], &format!("{place}<{}>", part["if"]));
                }
            }
            More::Property | More::Item => {
                for part in &conditions {
                    let Some(test) = part.get("if") else { continue };
                    let tests = test.get("anyOf").and_then(Json::as_array).cloned().unwrap_or(vec![test.clone()]);
                    for test in tests {
                        let kind = test["properties"]["logicalType"]["const"].as_str().unwrap();
                        let mut base = schema.clone();
                        // The schema lets an item that is no object have `properties`; the standard gives them no meaning.
                        if kind != "object" && base.get("properties").is_some() {
                            base.as_object_mut().unwrap().remove("properties");
                        }
                        let mut then = part["then"].clone();
                        if matches!(kind, "boolean" | "map") || then["properties"].get("logicalTypeOptions").is_none() {
                            then["properties"]["logicalTypeOptions"] = serde_json::json!({ "type": "object" });
                        }
                        self.object(table, &[property_keys(Some(kind))], &[&base, &then], &format!("{place}<{kind}>"));
                    }
                }
            }
        }
    }
}

#[test]
fn the_tables_say_what_the_json_schemas_say() {
    let Some(folder) = official("schema") else { return };
    for version in [V31, V32] {
        let text = std::fs::read_to_string(folder.join(format!("odcs-json-schema-{version}.json"))).unwrap();
        let root: Json = serde_json::from_str(&text).unwrap();
        let mut cross = Cross { root: root.clone(), version, seen: HashSet::new(), faults: Vec::new() };
        cross.object(&CONTRACT, &[], &[&root], "contract");
        assert!(cross.seen.len() >= 16, "{:?}", cross.seen);
        assert_eq!(cross.faults, [""; 0], "{version}");
    }
}
