//! Rows of text (CSV) as plain JSON, on their way to Avro bytes: every cell is read by the type of its field.

use serde_json::{Map, Value};

use crate::encode::{EncodeError, Encoder, Reading, expected};
use crate::schema::{Kind, NodeId, Schema};

/// A row of text cells as plain JSON for [`from_json`]. A column is a field, or `a.b` for a field of a nested record.
///
/// Numbers and booleans are read by the field's type, arrays, maps and whole records as JSON; logical types as in
/// plain JSON or as their number. An empty cell is null where null is allowed, empty text for `string` and `bytes`,
/// and otherwise no value, so that the default applies.
///
/// # Errors
/// [`EncodeError`] for a column that is no field and for a cell that its type cannot be read from.
pub fn row_to_json<'r>(
    schema: &Schema,
    row: impl IntoIterator<Item = (&'r str, &'r str)>,
) -> Result<Value, EncodeError> {
    let mut root = Map::new();
    for (column, text) in row {
        let fail = |message: String| EncodeError { path: column.to_owned(), message };
        let mut node = schema.root();
        let mut place = &mut root;
        let mut names = column.split('.').peekable();
        while let Some(name) = names.next() {
            let (_, field) = schema
                .field(schema.non_null(node).0, name)
                .ok_or_else(|| fail(format!("{} has no such field; correct the column", schema.describe(node))))?;
            node = field.node;
            if names.peek().is_some() {
                let below = place.entry(name).or_insert_with(|| Value::Object(Map::new()));
                place =
                    below.as_object_mut().ok_or_else(|| fail("the record is given in another column too".into()))?;
            } else if let Some(value) = cell(schema, node, text).map_err(fail)?
                && place.insert(name.to_owned(), value).is_some()
            {
                return Err(fail("the column is given twice".to_owned()));
            }
        }
    }
    Ok(Value::Object(root))
}

/// One text cell as plain JSON of the type; `None` if it is empty and stands for no value. See [`row_to_json`].
///
/// # Errors
/// [`EncodeError`] if the text cannot be read as the type.
pub fn text_to_json(schema: &Schema, node: NodeId, text: &str) -> Result<Option<Value>, EncodeError> {
    cell(schema, node, text).map_err(|message| EncodeError { path: "this".to_owned(), message })
}

fn cell(schema: &Schema, id: NodeId, text: &str) -> Result<Option<Value>, String> {
    let node = schema.node(id);
    let word = text.trim();
    let wrong = || format!("expected {}, found text that is none", expected(schema, id, Reading::Plain));
    match &node.kind {
        Kind::String | Kind::Bytes if node.logical.is_none() => return Ok(Some(Value::from(text))),
        Kind::Null if word.is_empty() => return Ok(Some(Value::Null)),
        Kind::Union { branches } => {
            let null = |b: &&NodeId| matches!(schema.node(**b).kind, Kind::Null);
            if word.is_empty() && branches.iter().any(|b| null(&b)) {
                return Ok(Some(Value::Null));
            }
            // Text that reads as another type is that type; string takes what is left.
            let stringy = |b: &&NodeId| matches!(schema.node(**b).kind, Kind::String);
            let (strings, others): (Vec<_>, Vec<_>) = branches.iter().filter(|b| !null(b)).partition(stringy);
            let encoder = Encoder::new(schema, Reading::Plain);
            let read = |b: &NodeId| match cell(schema, *b, text) {
                Ok(Some(value)) if encoder.fit(*b, &value, true).is_some() => Some(value),
                _ => None,
            };
            return match others.into_iter().chain(strings).find_map(read) {
                None if word.is_empty() => Ok(None),
                None => Err(wrong()),
                some => Ok(some),
            };
        }
        _ if word.is_empty() => return Ok(None),
        _ => {}
    }
    let value = match &node.kind {
        Kind::Boolean if word.eq_ignore_ascii_case("true") => Value::Bool(true),
        Kind::Boolean if word.eq_ignore_ascii_case("false") => Value::Bool(false),
        Kind::Boolean | Kind::Null => return Err(wrong()),
        Kind::Int | Kind::Long => match word.parse::<i64>() {
            Ok(n) => n.into(),
            Err(_) if node.logical.is_some() => word.into(),
            Err(_) => return Err(wrong()),
        },
        Kind::Float | Kind::Double => match word.parse::<f64>() {
            Ok(n) if n.is_finite() => n.into(),
            _ => word.into(),
        },
        Kind::Array { .. } | Kind::Map { .. } | Kind::Record { .. } => {
            serde_json::from_str(word).map_err(|e| format!("expected JSON in the cell: {e}"))?
        }
        _ => word.into(),
    };
    Ok(Some(value))
}
