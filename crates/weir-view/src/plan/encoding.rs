//! How keys are encoded: records meet only where equal keys are the same bytes, in the same partition.

use std::sync::Arc;

use weir_avro::{FieldPath, Logical, Schema};
use weir_expr::Wanted;
use weir_expr::sql::{self, Column, Expr, Kind, SqlType};

use super::{Planned, Planner, fail};
use crate::relation::Relation;
use crate::task::Rekey;

impl Planner<'_> {
    /// The text key made of expressions over rows of `schema`. As in a contract, a date and a timestamp are the number
    /// that Avro holds, so that the records of a view meet those of a product.
    pub(super) fn rekey(&self, schema: &Arc<Schema>, of: &[Expr], needed: bool) -> Planned<Rekey> {
        let mut texts = Vec::new();
        for e in of {
            let (_, column) = sql::compile(e, schema, &self.options.salt, &mut Wanted::new())?;
            texts.push(match column.ty {
                SqlType::Date | SqlType::Timestamp(_) => Expr::new(e.at, Kind::Ticks(Box::new(e.clone()))),
                SqlType::Time => {
                    return fail(e.at, "a TIME is no key, for its number depends on its unit; CAST it to TEXT");
                }
                _ => e.clone(),
            });
        }
        Rekey::new(schema, &texts, &self.options.salt, needed)
    }

    /// Whether rows of a table can be found by the text of fields, as a join by other fields than the key does.
    pub(super) fn found_by_text(&self, right: usize) -> Planned<()> {
        let (source, table) = &self.sources[right];
        if table.key_schema.is_none() {
            return Ok(());
        }
        let at = self.query.joins.get(right - 1).map_or(source.at, |join| join.on.at);
        fail(
            at,
            format!(
                "the key of {} is {}; {}, whose own key is {}, can name it only as text, so they never meet; {}",
                table.name,
                table.key_form(),
                self.sources[0].1.name,
                self.sources[0].1.key_form(),
                instead(table)
            ),
        )
    }
}

/// That the keys of two relations never meet, and what would.
pub(super) fn unlike(a: &Relation, b: &Relation) -> String {
    let avro = if b.key_schema.is_some() { b } else { a };
    format!(
        "the key of {} is {} and that of {} is {}: their bytes differ, so they never meet; {}",
        a.name,
        a.key_form(),
        b.name,
        b.key_form(),
        instead(avro)
    )
}

/// How a relation with an Avro key gets another.
fn instead(of: &Relation) -> String {
    let key = of.key.first().map_or("id", |key| key);
    let view = if of.table { format!("GROUP BY CAST({key} AS TEXT)") } else { format!("PARTITION BY {key}") };
    format!("give {} a text key: `keyFormat: string` in its contract, or {view} in a view of it", of.name)
}

/// Whether equal values of two types have one text.
pub(super) fn meets(a: &SqlType, b: &SqlType) -> bool {
    let integer = |ty: &SqlType| matches!(ty, SqlType::Int | SqlType::BigInt);
    a == b || (integer(a) && integer(b))
}

/// The type of a key's field, for people, and the unit of a time of day, which the type does not tell.
pub(super) fn key_type(of: &Relation, field: &str) -> (String, Option<Logical>) {
    let Some(node) = of.schema.find(&FieldPath::parse(field)) else { return (SqlType::Null.to_string(), None) };
    let column = Column::of(&of.schema, node);
    match of.schema.node(of.schema.non_null(node).0).logical {
        Some(Logical::TimeMillis) => ("TIME in milliseconds".to_owned(), Some(Logical::TimeMillis)),
        Some(Logical::TimeMicros) => ("TIME in microseconds".to_owned(), Some(Logical::TimeMicros)),
        _ => (column.ty.to_string(), None),
    }
}
