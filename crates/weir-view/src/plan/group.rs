//! `GROUP BY`: the aggregates of a query, and the row they make for each group.

use std::sync::Arc;

use serde_json::json;
use weir_avro::{Schema, SchemaWriter};
use weir_expr::sql::{self, Column, Expr, Kind, SqlType};
use weir_expr::{ExprError, Wanted};

use super::{Planned, Planner, aggregate_kind, fail, has_aggregate};
use crate::aggregate::{self, Aggregate};
use crate::projection::{Made, Projection};
use crate::task::Operator;

impl Planner<'_> {
    #[allow(clippy::type_complexity, reason = "the parts of one plan")]
    pub(super) fn group(
        &self,
        schema: &Arc<Schema>,
        filter: Option<&Expr>,
        having: Option<&Expr>,
        columns: &[(String, Expr)],
        notes: &mut Vec<String>,
    ) -> Planned<(Operator, Projection, Vec<Made>, Arc<Schema>, String, String)> {
        let query = self.query;
        let relation = &self.sources[0].1;
        let group = query.group.iter().map(|e| self.resolved(e)).collect::<Planned<Vec<_>>>()?;
        let is_key = group.len() == 1 && group[0].kind == Kind::RowKey
            || group.len() == relation.key.len()
                && group.iter().zip(&relation.key).all(|(e, k)| matches!(&e.kind, Kind::Path(p) if p.join(".") == **k));
        if !is_key || group.is_empty() {
            let at = group.first().map_or(query.from.at, |e| e.at);
            return fail(
                at,
                format!(
                    "GROUP BY names the key of {} ({}), in its order; to group by something else, re-key it with PARTITION BY in a view of its own",
                    relation.name,
                    relation.key.join(", ")
                ),
            );
        }
        let key_columns: Vec<_> = group.iter().enumerate().map(|(i, e)| (format!("k{i}"), e.clone())).collect();
        let (keys, made) = Projection::new(schema, filter, &key_columns, &self.options.salt, false)?;
        let mut writer = SchemaWriter::default();
        let mut fields = self.fields(&key_columns, &made, schema, &mut writer, "Group")?;
        if query.window.is_some() {
            for name in ["window_start", "window_end"] {
                fields.push(json!({"name": name, "type": {"type": "long", "logicalType": "timestamp-millis"}}));
            }
        }
        // Every aggregate once, whether it stands in SELECT or HAVING.
        let mut calls: Vec<Expr> = Vec::new();
        let mut rewrite = |e: &Expr| {
            let mut e = e.clone();
            rewrite(&mut e, &group, &mut calls)?;
            Ok::<_, ExprError>(e)
        };
        let columns = columns.iter().map(|(n, e)| Ok((n.clone(), rewrite(e)?))).collect::<Planned<Vec<_>>>()?;
        let having = having.map(&mut rewrite).transpose()?;
        let (mut args, mut all) = (Vec::new(), Vec::new());
        for (i, call) in calls.iter().enumerate() {
            let Kind::Call(name, given) = &call.kind else { continue };
            let mut kind = aggregate_kind(name).unwrap_or(aggregate::Kind::Count);
            let (arg, more) = match &given[..] {
                [] if kind == aggregate::Kind::Count => (None, None),
                [arg] => (Some(arg), None),
                [arg, k] => (Some(arg), Some(k)),
                _ => return fail(call.at, format!("{name} takes one argument")),
            };
            match (kind, more.map(|k| &k.kind)) {
                (aggregate::Kind::TopK(_), Some(Kind::Int(k))) if (1..=aggregate::BOUND as i64).contains(k) => {
                    kind = aggregate::Kind::TopK(*k as usize)
                }
                (aggregate::Kind::TopK(_), _) => return fail(call.at, "write TOPK(x, 3), with at most 1000"),
                (_, None) => {}
                (_, Some(_)) => return fail(call.at, format!("{name} takes one argument")),
            }
            let arg_column = match arg {
                Some(arg) if has_aggregate(arg) => return fail(arg.at, "an aggregate cannot stand inside another"),
                Some(arg) => Some(sql::compile(arg, schema, &self.options.salt, &mut Wanted::new())?.1),
                None => None,
            };
            let Some(result) = Aggregate::result(kind, arg_column.as_ref()) else {
                return fail(
                    call.at,
                    format!(
                        "{name} does not take {}; use CAST",
                        arg_column.map_or("nothing".to_owned(), |c| c.ty.to_string())
                    ),
                );
            };
            if matches!(
                kind,
                aggregate::Kind::CountDistinct | aggregate::Kind::CollectList | aggregate::Kind::CollectSet
            ) {
                notes.push(format!(
                    "{name} holds at most {} values of a group; {}",
                    aggregate::BOUND,
                    if kind == aggregate::Kind::CountDistinct {
                        "a record that brings one more goes to quarantine"
                    } else {
                        "later ones are not collected"
                    }
                ));
            }
            let stored = match &arg_column {
                Some(column) => self.avro(
                    &Column::new(column.ty.clone(), false),
                    schema,
                    &mut SchemaWriter::default(),
                    "Arg",
                    call.at,
                )?,
                None => json!("null"),
            };
            let stored = Schema::parse(&stored.to_string()).map_err(|e| ExprError::new(call.at, e.to_string()))?;
            let ty = self.avro(&result, schema, &mut writer, &format!("Result{i}"), call.at)?;
            fields.push(json!({"name": format!("a{i}"), "type": ty}));
            args.push((format!("{name}()"), arg.cloned().unwrap_or_else(|| Expr::new(call.at, Kind::Bool(true)))));
            all.push(Aggregate { kind, arg: arg_column, schema: stored, result });
        }
        let (args, _) = Projection::new(schema, None, &args, &self.options.salt, true)?;
        let row = json!({"type": "record", "name": "Group", "fields": fields});
        let row = Arc::new(Schema::parse(&row.to_string()).map_err(|e| ExprError::new(query.from.at, e.to_string()))?);
        let (select, made) = Projection::new(&row, having.as_ref(), &columns, &self.options.salt, false)?;
        let window = query.window.map(|(w, _)| w);
        let (says, state) = match window {
            None => (format!("{} aggregates for each key", all.len()), "one row of aggregates for each key".to_owned()),
            Some(w) => (
                format!(
                    "{} aggregates for each key and window of {} ms every {} ms, {} ms of grace, emitted {}",
                    all.len(),
                    w.size,
                    w.step,
                    w.grace,
                    if query.last.is_some() { "when the window closes" } else { "at each change" }
                ),
                "one row of aggregates for each key and open window, the stream time".to_owned(),
            ),
        };
        // Texts that hold the sign between them would make one key of two groups.
        let texts = match relation.text_key && group.len() > 1 {
            true => {
                let text = |e: &Expr| Expr::new(e.at, Kind::Cast(Box::new(e.clone()), SqlType::Text, false));
                let texts: Vec<_> = group.iter().map(|e| ("key".to_owned(), text(e))).collect();
                Some(Projection::new(schema, None, &texts, &self.options.salt, true)?.0)
            }
            false => None,
        };
        let operator = Operator::Aggregate { keys, texts, args, all, window, last: query.last.is_some() };
        Ok((operator, select, made, row, says, state))
    }
}

/// Groups become `k0`, aggregates `a0`; whatever else reads a field is in neither.
fn rewrite(e: &mut Expr, group: &[Expr], calls: &mut Vec<Expr>) -> Planned<()> {
    let field = |name: String| Kind::Path([name.into()].into());
    if let Some(i) = group.iter().position(|g| g == e) {
        e.kind = field(format!("k{i}"));
        return Ok(());
    }
    if matches!(&e.kind, Kind::Call(name, _) if aggregate_kind(name).is_some()) {
        let i = calls.iter().position(|c| c == e).unwrap_or_else(|| {
            calls.push(e.clone());
            calls.len() - 1
        });
        e.kind = field(format!("a{i}"));
        return Ok(());
    }
    match &e.kind {
        Kind::Path(names) if matches!(&*names[0], "window_start" | "window_end") => Ok(()),
        Kind::Path(names) => fail(e.at, format!("`{}` is neither in GROUP BY nor in an aggregate", names.join("."))),
        Kind::RowKey | Kind::RowTime | Kind::RowPartition | Kind::RowOffset | Kind::Headers => {
            fail(e.at, "the pseudo-columns of a record are not those of a group; aggregate them")
        }
        _ => e.inner_mut().into_iter().try_for_each(|inner| rewrite(inner, group, calls)),
    }
}
