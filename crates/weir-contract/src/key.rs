//! The schema of a key in Avro.

use serde_json::{Value as Json, json};
use weir_avro::{FieldPath, Kind, Logical, NodeId, Schema};

/// The schema of a key that is the Avro encoding of these fields of a value: the type of the one field, or a record of
/// several. `None` where there is no field, or one that no such key can hold.
pub fn key_schema(schema: &Schema, key: &[FieldPath]) -> Option<String> {
    let mut fields = Vec::new();
    for path in key {
        let name = path.to_string();
        let name = name.rsplit('.').next().unwrap_or_default();
        let (node, _) = schema.non_null(schema.find(path)?);
        fields.push(json!({ "name": name, "type": key_type(schema, node)? }));
    }
    match &mut fields[..] {
        [] => None,
        [one] => Some(one["type"].take().to_string()),
        _ => {
            let name = schema.node(schema.root()).name.as_deref().unwrap_or("Event");
            Some(json!({ "type": "record", "name": format!("{name}Key"), "fields": fields }).to_string())
        }
    }
}

fn key_type(schema: &Schema, node: NodeId) -> Option<Json> {
    let node = schema.node(node);
    Some(match (&node.kind, node.logical) {
        (Kind::Int, _) => json!("int"),
        (Kind::Long, _) => json!("long"),
        (Kind::Boolean, _) => json!("boolean"),
        (Kind::String, Some(Logical::Uuid)) => json!({ "type": "string", "logicalType": "uuid" }),
        (Kind::String, _) => json!("string"),
        (Kind::Bytes, _) => json!("bytes"),
        (Kind::Fixed { size }, _) => json!({ "type": "fixed", "name": node.name.as_deref()?, "size": size }),
        _ => return None,
    })
}
