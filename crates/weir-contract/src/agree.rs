//! Whether a property of a contract and a type of an Avro schema can mean the same.
//!
//! Agreement is about types only; whether a value may be null, and which values there may be, is a rule, and the
//! contract may be stricter there than its schema.

use weir_avro::{Kind, Logical, NodeId, Schema};

use crate::model::{LogicalType, Property};
use crate::yaml::Node;

/// Why the two do not agree: what the contract says and what would; nothing where they do.
pub(crate) fn disagreement(property: &Property, schema: &Schema, id: NodeId) -> Option<String> {
    let kind = property.logical_type.as_ref()?.value;
    let branches: Vec<NodeId> = match &schema.node(id).kind {
        Kind::Union { branches } => {
            branches.iter().copied().filter(|b| !matches!(schema.node(*b).kind, Kind::Null)).collect()
        }
        _ => vec![id],
    };
    let odd = branches.into_iter().find(|branch| !fits(property, kind, schema, *branch))?;
    Some(format!(
        "the contract says logicalType {}, the schema {}; {}",
        kind.name(),
        describe(schema, odd),
        match suggestion(schema, odd) {
            Some(name) => format!("`logicalType: {name}` would agree"),
            None => "change one of the two".to_owned(),
        }
    ))
}

fn fits(property: &Property, kind: LogicalType, schema: &Schema, id: NodeId) -> bool {
    use Kind as K;
    use Logical as L;
    use LogicalType as T;
    let node = schema.node(id);
    let format = property.options.as_ref().and_then(|o| o.get("format")).and_then(Node::as_text);
    match (kind, &node.kind, node.logical) {
        (T::String, K::String | K::Enum { .. }, _) => true,
        (T::String, K::Bytes | K::Fixed { .. }, Some(L::Uuid)) => true,
        (T::String, K::Bytes | K::Fixed { .. }, None) => matches!(format, Some("binary" | "byte")),
        (T::Integer, K::Int | K::Long, None) => true,
        (T::Integer, _, Some(L::Decimal { scale: 0, .. })) => true,
        (T::Number, K::Float | K::Double, _) | (T::Number, K::Int | K::Long, None) => true,
        (T::Number, _, Some(L::Decimal { .. } | L::BigDecimal)) => true,
        (T::Boolean, K::Boolean, _) => true,
        (T::Date, _, Some(L::Date)) | (T::Time, _, Some(L::TimeMillis | L::TimeMicros)) => true,
        (T::Timestamp, K::Long, Some(logical)) => !matches!(logical, L::TimeMicros),
        (T::Date | T::Timestamp | T::Time, K::String, None) => true,
        (T::Object, K::Record { .. } | K::Map { .. }, _) => true,
        (T::Array, K::Array { .. }, _) | (T::Map, K::Map { .. }, _) => true,
        (T::Vector, K::Array { items }, _) => {
            matches!(schema.node(*items).kind, K::Float | K::Double | K::Int | K::Long)
        }
        (T::Vector, K::Bytes | K::Fixed { .. }, None) => true,
        _ => false,
    }
}

/// The logical type of ODCS nearest to an Avro type.
pub(crate) fn suggestion(schema: &Schema, id: NodeId) -> Option<&'static str> {
    use Logical as L;
    let node = schema.node(id);
    Some(match (&node.kind, node.logical) {
        (_, Some(L::Date)) => "date",
        (_, Some(L::TimeMillis | L::TimeMicros)) => "time",
        (Kind::Long, Some(_)) => "timestamp",
        (_, Some(L::Decimal { .. } | L::BigDecimal)) | (Kind::Float | Kind::Double, _) => "number",
        (Kind::Boolean, _) => "boolean",
        (Kind::Int | Kind::Long, _) => "integer",
        (Kind::String | Kind::Enum { .. }, _) | (_, Some(L::Uuid)) => "string",
        (Kind::Array { .. }, _) => "array",
        (Kind::Map { .. }, _) => "map",
        (Kind::Record { .. }, _) => "object",
        _ => return None,
    })
}

/// An Avro type with its logical type, for a message.
pub(crate) fn describe(schema: &Schema, id: NodeId) -> String {
    let logical = match schema.node(id).logical {
        Some(Logical::Decimal { precision, scale }) => format!(" (decimal {precision},{scale})"),
        Some(Logical::BigDecimal) => " (big-decimal)".to_owned(),
        Some(Logical::Uuid) => " (uuid)".to_owned(),
        Some(Logical::Date) => " (date)".to_owned(),
        Some(Logical::TimeMillis | Logical::TimeMicros) => " (time)".to_owned(),
        Some(Logical::Duration) => " (duration)".to_owned(),
        Some(_) => " (timestamp)".to_owned(),
        None => String::new(),
    };
    format!("{}{logical}", schema.describe(id))
}

/// Whether `physicalType` names an Avro type that the schema does not have here.
pub(crate) fn physical_mismatch(name: &str, schema: &Schema, id: NodeId) -> bool {
    let names =
        ["boolean", "int", "long", "float", "double", "bytes", "string", "fixed", "enum", "array", "map", "record"];
    let kind = schema.node(id).kind.name();
    names.contains(&name) && !matches!(schema.node(id).kind, Kind::Union { .. }) && name != kind
}
