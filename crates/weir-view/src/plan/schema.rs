//! The Avro schema of what comes out.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use weir_avro::{Schema, SchemaWriter};
use weir_expr::sql::{Column, Expr, SqlType, Unit};
use weir_expr::{ExprError, Pos};

use super::{Planned, Planner, fail};
use crate::projection::Made;

impl Planner<'_> {
    pub(super) fn schema(&self, columns: &[(String, Expr)], made: &[Made], schema: &Arc<Schema>) -> Planned<Json> {
        let (space, name) = self.options.id.rsplit_once('.').unwrap_or(("", &self.options.id));
        let name: String = name
            .split(['_', '-'])
            .map(|w| w.chars().take(1).flat_map(char::to_uppercase).chain(w.chars().skip(1)).collect::<String>())
            .collect();
        let fields = self.fields(columns, made, schema, &mut SchemaWriter::default(), &name)?;
        let mut record = Map::from_iter([("type".to_owned(), json!("record")), ("name".to_owned(), json!(name))]);
        if !space.is_empty() {
            record.insert("namespace".to_owned(), json!(format!("views.{space}")));
        }
        record.insert("fields".to_owned(), fields.into());
        Ok(record.into())
    }

    pub(super) fn fields(
        &self,
        columns: &[(String, Expr)],
        made: &[Made],
        schema: &Arc<Schema>,
        writer: &mut SchemaWriter,
        outer: &str,
    ) -> Planned<Vec<Json>> {
        let mut fields = Vec::new();
        for ((name, e), made) in columns.iter().zip(made) {
            fields.push(match made {
                Made::Field(path, wrap) => {
                    let segments: Vec<&str> = path.segments().collect();
                    let (last, above) = segments.split_last().map_or(("", &[][..]), |(l, a)| (*l, a));
                    let above = above.iter().fold(weir_avro::FieldPath::root(), |p, s| p.join(s));
                    let record = schema.find(&above).map(|n| schema.non_null(n).0);
                    let Some((_, field)) = record.and_then(|r| schema.field(r, last)) else {
                        return fail(e.at, format!("`{name}` is no field"));
                    };
                    let taken = |other| {
                        ExprError::new(
                            e.at,
                            format!("two different types are called {other}; select their fields one by one"),
                        )
                    };
                    let mut made = writer.field(schema, field, name).map_err(taken)?;
                    if *wrap {
                        made["type"] = json!(["null", made["type"].take()]);
                        made["default"] = Json::Null;
                    }
                    made
                }
                Made::Typed(column) => {
                    let ty = self.avro(column, schema, writer, &format!("{outer}_{name}"), e.at)?;
                    let mut field = json!({"name": name, "type": ty});
                    if column.nullable {
                        field["default"] = Json::Null;
                    }
                    field
                }
            });
        }
        Ok(fields)
    }

    /// The Avro type that [`sql::encode`] writes for a column.
    pub(super) fn avro(
        &self,
        column: &Column,
        schema: &Schema,
        writer: &mut SchemaWriter,
        name: &str,
        at: Pos,
    ) -> Planned<Json> {
        let logical = |ty: &str, logical: &str| json!({"type": ty, "logicalType": logical});
        let ty = match &column.ty {
            SqlType::Boolean => json!("boolean"),
            SqlType::Int => json!("int"),
            SqlType::BigInt => json!("long"),
            SqlType::Double => json!("double"),
            SqlType::Decimal { precision, scale } => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
            }
            SqlType::Text => json!("string"),
            SqlType::Bytes => json!("bytes"),
            SqlType::Date => logical("int", "date"),
            SqlType::Time => logical("long", "time-micros"),
            SqlType::Timestamp(Unit::Millis) => logical("long", "timestamp-millis"),
            SqlType::Timestamp(Unit::Micros) => logical("long", "timestamp-micros"),
            SqlType::Timestamp(Unit::Nanos) => logical("long", "timestamp-nanos"),
            SqlType::Array(item) => {
                json!({"type": "array", "items": self.avro(item, schema, writer, &format!("{name}_item"), at)?})
            }
            SqlType::Map(value) => {
                json!({"type": "map", "values": self.avro(value, schema, writer, &format!("{name}_value"), at)?})
            }
            SqlType::Struct(fields) => {
                let mut all = Vec::new();
                for (field, column) in fields {
                    all.push(json!({"name": field, "type": self.avro(column, schema, writer, &format!("{name}_{field}"), at)?}));
                }
                json!({"type": "record", "name": name, "fields": all})
            }
            SqlType::Record(node, _) => writer.write(schema, *node).map_err(|other| {
                ExprError::new(at, format!("two different types are called {other}; select their fields one by one"))
            })?,
            SqlType::Null | SqlType::Interval | SqlType::Opaque(_) => {
                return fail(at, format!("an output cannot hold {}; use CAST", column.ty));
            }
        };
        Ok(if column.nullable { json!(["null", ty]) } else { ty })
    }
}
