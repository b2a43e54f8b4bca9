//! A type of a schema as schema text again: for a schema that is put together from fields of others.
//!
//! What the arena keeps is written: names, documentation, aliases, defaults, logical types and the properties of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{Field, Kind, Logical, Node, NodeId, Schema};

/// Writes types of several schemas into one text, each named type once.
#[derive(Debug, Default)]
pub struct SchemaWriter {
    /// The named types so far, each with its whole text, by which a second one of the name is held to be the same.
    known: BTreeMap<String, Value>,
}

impl SchemaWriter {
    /// The JSON of a type; a named type that was written before is its name.
    ///
    /// # Errors
    /// The full name of a type that was written before and was another one.
    pub fn write(&mut self, schema: &Schema, id: NodeId) -> Result<Value, String> {
        let node = schema.node(id);
        if let Some(name) = &node.name {
            let whole = Whole { schema, open: Vec::new() }.text(id);
            match self.known.get(&**name) {
                Some(before) if *before == whole => return Ok(Value::from(&**name)),
                Some(_) => return Err(name.to_string()),
                None => _ = self.known.insert(name.to_string(), whole),
            }
        }
        text(schema, id, &mut |id| self.write(schema, id))
    }

    /// The JSON of a field with another name.
    ///
    /// # Errors
    /// As [`SchemaWriter::write`].
    pub fn field(&mut self, schema: &Schema, field: &Field, name: &str) -> Result<Value, String> {
        let ty = self.write(schema, field.node)?;
        Ok(field_text(field, name, ty))
    }
}

/// Writes a type with every named type below it in full, so that two texts are equal where the types are.
struct Whole<'s> {
    schema: &'s Schema,
    /// The types that are being written: a type inside itself is its name.
    open: Vec<NodeId>,
}

impl Whole<'_> {
    fn text(&mut self, id: NodeId) -> Value {
        if self.open.contains(&id) {
            return Value::from(self.schema.node(id).name.as_deref().unwrap_or_default());
        }
        let schema = self.schema;
        self.open.push(id);
        let text = text(schema, id, &mut |id| Ok::<_, ()>(self.text(id)));
        self.open.pop();
        text.unwrap_or_default()
    }
}

fn field_text(field: &Field, name: &str, ty: Value) -> Value {
    let mut text = Map::from_iter([("name".to_owned(), Value::from(name)), ("type".to_owned(), ty)]);
    if let Some(doc) = &field.doc {
        text.insert("doc".to_owned(), (&**doc).into());
    }
    if let Some(default) = &field.default {
        text.insert("default".to_owned(), default.clone());
    }
    if !field.aliases.is_empty() {
        text.insert("aliases".to_owned(), field.aliases.iter().map(|a| Value::from(&**a)).collect());
    }
    for (key, value) in &field.attributes {
        text.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(text)
}

fn text<E>(schema: &Schema, id: NodeId, inner: &mut dyn FnMut(NodeId) -> Result<Value, E>) -> Result<Value, E> {
    let node = schema.node(id);
    let mut text = Map::new();
    let mut put = |key: &str, value: Value| _ = text.insert(key.to_owned(), value);
    put("type", node.kind.name().into());
    match &node.kind {
        Kind::Union { branches } => return branches.iter().map(|b| inner(*b)).collect(),
        Kind::Array { items } => put("items", inner(*items)?),
        Kind::Map { values } => put("values", inner(*values)?),
        Kind::Fixed { size } => {
            name(node, &mut put);
            put("size", (*size).into());
        }
        Kind::Enum { symbols, default } => {
            name(node, &mut put);
            put("symbols", symbols.iter().map(|s| Value::from(&**s)).collect());
            if let Some(default) = default {
                put("default", (&**default).into());
            }
        }
        Kind::Record { fields } => {
            name(node, &mut put);
            let fields = fields.iter().map(|f| Ok(field_text(f, &f.name, inner(f.node)?)));
            put("fields", fields.collect::<Result<Vec<_>, E>>()?.into());
        }
        _ if node.logical.is_none() => return Ok(node.kind.name().into()),
        _ => {}
    }
    if let Some(logical) = node.logical {
        put("logicalType", logical.name().into());
        if let Logical::Decimal { precision, scale } = logical {
            put("precision", precision.into());
            put("scale", scale.into());
        }
    }
    Ok(Value::Object(text))
}

fn name(node: &Node, put: &mut dyn FnMut(&str, Value)) {
    put("name", node.name.as_deref().unwrap_or_default().into());
    if !node.aliases.is_empty() {
        put("aliases", node.aliases.iter().map(|a| Value::from(&**a)).collect());
    }
    if let Some(doc) = &node.doc {
        put("doc", (&**doc).into());
    }
}

impl Logical {
    /// The name of the logical type in the Avro specification.
    pub fn name(self) -> &'static str {
        match self {
            Logical::Decimal { .. } => "decimal",
            Logical::BigDecimal => "big-decimal",
            Logical::Uuid => "uuid",
            Logical::Date => "date",
            Logical::TimeMillis => "time-millis",
            Logical::TimeMicros => "time-micros",
            Logical::TimestampMillis => "timestamp-millis",
            Logical::TimestampMicros => "timestamp-micros",
            Logical::TimestampNanos => "timestamp-nanos",
            Logical::LocalTimestampMillis => "local-timestamp-millis",
            Logical::LocalTimestampMicros => "local-timestamp-micros",
            Logical::LocalTimestampNanos => "local-timestamp-nanos",
            Logical::Duration => "duration",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_written_schema_reads_back_as_it_was() {
        let text = r#"{"type":"record","name":"a.R","doc":"d","fields":[
            {"name":"e","type":{"type":"enum","name":"a.E","symbols":["X","Y"],"default":"X"},"doc":"an e"},
            {"name":"again","type":["null","a.E"],"default":null,"classification":"internal"},
            {"name":"list","type":{"type":"array","items":{"type":"map","values":{"type":"long","logicalType":"timestamp-millis"}}}},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
            {"name":"id","type":{"type":"fixed","name":"b.U","size":16,"logicalType":"uuid"}},
            {"name":"next","type":["null","a.R"],"default":null}]}"#;
        let schema = Schema::parse(text).unwrap();
        let written = SchemaWriter::default().write(&schema, schema.root()).unwrap();
        assert_eq!(Schema::parse(&written.to_string()).unwrap(), schema);
        // A second type of a name must be the first one.
        let other = Schema::parse(r#"{"type":"fixed","name":"a.E","size":2}"#).unwrap();
        let mut writer = SchemaWriter::default();
        writer.write(&schema, schema.root()).unwrap();
        assert_eq!(writer.write(&schema, schema.root()), Ok(json!("a.R")));
        assert_eq!(writer.write(&other, other.root()), Err("a.E".to_owned()));
    }
}
