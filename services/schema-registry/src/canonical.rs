//! The text under which an Avro schema is kept, so that white space and the order of attributes make no new
//! version. It is the text Java's `Schema.toString()` gives, because Confluent's registry keeps and hashes that one
//! and the two may work on the same topic. The normalized form also sorts and qualifies what does not matter to
//! readers of data. Whether the schema is valid is not judged here. Of a JSON schema only white space is left out.

use serde_json::{Map, Value};

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Attributes that have a place of their own in a schema; all others are properties and kept as they are.
const RESERVED: [&str; 10] =
    ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
const RESERVED_IN_FIELDS: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

/// The text to keep for a schema; `normalize` also sorts properties and aliases and drops empty documentation.
pub fn canonical(schema: &Value, normalize: bool) -> String {
    Writer { normalize }.schema(schema, "").to_string()
}

/// JSON without the white space between its parts, everything else as it is written: numbers keep their digits and
/// strings their escapes, which reading and writing might change.
pub fn compact(json: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if inside || !c.is_ascii_whitespace() {
            out.push(c);
        }
        inside = if c == '"' && !escaped { !inside } else { inside };
        escaped = inside && c == '\\' && !escaped;
    }
    out
}

struct Writer {
    normalize: bool,
}

impl Writer {
    fn schema(&self, schema: &Value, space: &str) -> Value {
        match schema {
            Value::String(name) => Value::String(relative(name, space)),
            Value::Array(branches) => branches.iter().map(|branch| self.schema(branch, space)).collect(),
            Value::Object(object) => self.object(object, space),
            other => other.clone(),
        }
    }

    fn object(&self, object: &Map<String, Value>, space: &str) -> Value {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.schema(nested, space),
            None => return Value::Object(object.clone()),
        };
        let mut out = Map::new();
        out.insert("type".into(), kind.into());
        match kind {
            "record" | "error" | "enum" | "fixed" => self.named(kind, object, space, &mut out),
            "array" | "map" => {
                let inner = if kind == "array" { "items" } else { "values" };
                if let Some(schema) = object.get(inner) {
                    out.insert(inner.into(), self.schema(schema, space));
                }
                self.properties(object, &RESERVED, &mut out);
            }
            _ if PRIMITIVES.contains(&kind) => {
                self.properties(object, &RESERVED, &mut out);
                if out.len() == 1 {
                    return kind.into();
                }
            }
            name => return Value::String(relative(name, space)),
        }
        Value::Object(out)
    }

    fn named(&self, kind: &str, object: &Map<String, Value>, space: &str, out: &mut Map<String, Value>) {
        let text = |attribute: &str| object.get(attribute).and_then(Value::as_str);
        let full = text("name").unwrap_or_default();
        let (own, name) = match (full.rsplit_once('.'), text("namespace")) {
            (Some((own, name)), _) => (own, name),
            (None, Some(own)) => (own, full),
            (None, None) => (space, full),
        };
        out.insert("name".into(), name.into());
        if own != space {
            out.insert("namespace".into(), own.into());
        }
        if let Some(doc) = text("doc").filter(|doc| !(self.normalize && doc.is_empty())) {
            out.insert("doc".into(), doc.into());
        }
        match kind {
            "enum" => copy(object, out, &["symbols", "default"]),
            "fixed" => copy(object, out, &["size"]),
            _ => {
                if let Some(Value::Array(fields)) = object.get("fields") {
                    out.insert("fields".into(), fields.iter().map(|field| self.field(field, own)).collect());
                }
            }
        }
        let known: &[&str] = &[&RESERVED[..], &["default"]].concat();
        self.properties(object, if kind == "enum" { known } else { &RESERVED }, out);
        self.aliases(object, own, out);
    }

    fn field(&self, field: &Value, space: &str) -> Value {
        let Value::Object(field) = field else { return field.clone() };
        let mut out = Map::new();
        copy(field, &mut out, &["name"]);
        if let Some(schema) = field.get("type") {
            out.insert("type".into(), self.schema(schema, space));
        }
        copy(field, &mut out, &["doc", "default"]);
        if field.get("order").is_some_and(|order| order != "ascending") {
            copy(field, &mut out, &["order"]);
        }
        self.aliases(field, "", &mut out);
        self.properties(field, &RESERVED_IN_FIELDS, &mut out);
        Value::Object(out)
    }

    fn aliases(&self, object: &Map<String, Value>, space: &str, out: &mut Map<String, Value>) {
        let Some(Value::Array(aliases)) = object.get("aliases") else { return };
        let mut aliases: Vec<String> =
            aliases.iter().filter_map(Value::as_str).map(|alias| relative(alias, space)).collect();
        if self.normalize {
            aliases.sort();
        }
        if !aliases.is_empty() {
            out.insert("aliases".into(), aliases.into());
        }
    }

    /// Properties in the order given or, normalized, the logical type first and the others by name.
    fn properties(&self, object: &Map<String, Value>, reserved: &[&str], out: &mut Map<String, Value>) {
        let mut properties: Vec<(&String, &Value)> =
            object.iter().filter(|(name, _)| !reserved.contains(&name.as_str())).collect();
        if self.normalize {
            let rank = |name: &str| ["logicalType", "precision", "scale"].iter().position(|n| *n == name).unwrap_or(3);
            properties.sort_by_key(|(name, _)| (rank(name), name.as_str()));
        }
        for (name, value) in properties {
            out.insert(name.clone(), value.clone());
        }
    }
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, attributes: &[&str]) {
    for attribute in attributes {
        if let Some(value) = from.get(*attribute) {
            to.insert((*attribute).to_owned(), value.clone());
        }
    }
}

/// A name as seen from inside a namespace.
fn relative(name: &str, space: &str) -> String {
    match name.rsplit_once('.') {
        Some((own, simple)) if own == space => simple.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect` as kept, `normalized` as kept when normalized.
    fn check(schema: &str, expect: &str, normalized: &str) {
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(canonical(&schema, false), expect);
        assert_eq!(canonical(&schema, true), normalized);
    }

    fn same(schema: &str, expect: &str) {
        check(schema, expect, expect);
    }

    #[test]
    fn primitives_lose_what_is_not_needed() {
        same(r#" "int" "#, r#""int""#);
        same(r#"{"type":"int"}"#, r#""int""#);
        same(r#"{"type":{"type":"string"}}"#, r#""string""#);
        same(r#"{ "logicalType":"date", "type":"int" }"#, r#"{"type":"int","logicalType":"date"}"#);
        same(r#"["null", {"type":"string"}]"#, r#"["null","string"]"#);
    }

    #[test]
    fn records_are_written_in_java_s_order() {
        same(
            r#"{"fields":[{"default":0,"type":{"type":"int"},"name":"a","order":"ascending","pii":true,"doc":"d"}],
                "pii":1,"aliases":["x.B","C"],"doc":"r","name":"x.A","type":"record"}"#,
            r#"{"type":"record","name":"A","namespace":"x","doc":"r","fields":[{"name":"a","type":"int","doc":"d","default":0,"pii":true}],"pii":1,"aliases":["B","C"]}"#,
        );
    }

    #[test]
    fn namespaces_are_said_where_they_change() {
        same(
            r#"{"type":"record","name":"A","namespace":"x","fields":[
                {"name":"a","type":{"type":"enum","name":"E","namespace":"x","symbols":["S"],"default":"S"}},
                {"name":"b","type":"x.E"},
                {"name":"c","type":{"type":"fixed","name":"F","namespace":"","size":2}},
                {"name":"d","type":{"type":"map","values":"y.G"}}]}"#,
            r#"{"type":"record","name":"A","namespace":"x","fields":[{"name":"a","type":{"type":"enum","name":"E","symbols":["S"],"default":"S"}},{"name":"b","type":"E"},{"name":"c","type":{"type":"fixed","name":"F","namespace":"","size":2}},{"name":"d","type":{"type":"map","values":"y.G"}}]}"#,
        );
    }

    #[test]
    fn compact_json_is_what_was_written() {
        let check = |json: &str, expect: &str| assert_eq!(compact(json), expect);
        check(
            " { \"a b\" : [ 1.0 ,\n1e400, 12345678901234567890123 ] } ",
            r#"{"a b":[1.0,1e400,12345678901234567890123]}"#,
        );
        check(r#"{ "a\" : b" : "\\" , "\u00e9" : "x y" }"#, r#"{"a\" : b":"\\","\u00e9":"x y"}"#);
        check(" true\n", "true");
    }

    #[test]
    fn normalization_sorts_and_drops() {
        check(
            r#"{"type":"fixed","name":"D","doc":"","size":4,"z":1,"scale":2,"precision":5,"logicalType":"decimal","aliases":["C","B"]}"#,
            r#"{"type":"fixed","name":"D","doc":"","size":4,"z":1,"scale":2,"precision":5,"logicalType":"decimal","aliases":["C","B"]}"#,
            r#"{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":5,"scale":2,"z":1,"aliases":["B","C"]}"#,
        );
    }
}
