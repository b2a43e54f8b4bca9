//! `GROUP BY`: the aggregates of a query, and the row they make for each group.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_avro::{Schema, SchemaWriter};
use weir_expr::sql::{self, Column, Expr, Kind};
use weir_expr::{ExprError, Pos, Wanted};

use super::select::{Body, Rows};
use super::stage::Staged;
use super::{Planned, Planner, Reads, aggregate_kind, fail, has_aggregate};
use crate::aggregate::{self, Aggregate};
use crate::projection::{Made, Projection};
use crate::relation::Relation;
use crate::sql::{Shape, Window};
use crate::task::{Changes, Operator, Task};

/// Sets the operator of a second task in a row apart in the state.
const BEHIND: u8 = 0x10;

/// What makes the groups.
struct Groups {
    operator: Operator,
    select: Projection,
    made: Vec<Made>,
    /// The schema of a group's row.
    row: Arc<Schema>,
    says: String,
    state: String,
    front: Option<Front>,
}

/// What is taken of each row before it is grouped: the group and the arguments of the aggregates.
struct Front {
    select: Projection,
    /// The schema of what goes on: the rows of a stream, the changes of a table.
    schema: Arc<Schema>,
    /// The names of the group's fields.
    key: Vec<String>,
}

impl Planner<'_> {
    pub(super) fn grouped(
        &self,
        rows: Rows,
        filter: Option<&Expr>,
        having: Option<&Expr>,
        columns: &[(String, Expr)],
        notes: &mut Vec<String>,
        before: &mut Staged,
    ) -> Planned<Body> {
        let query = self.query;
        let at = query.from.at;
        let joined = self.sources.len() > 1;
        let group = query.group.iter().map(|e| self.resolved(e)).collect::<Planned<Vec<_>>>()?;
        if let Some(e) = &query.partition {
            return fail(e.at, "PARTITION BY and GROUP BY do not stand together: the group is the key");
        }
        if group.is_empty() {
            return fail(at, "an aggregate is of groups; name their fields in GROUP BY");
        }
        if let (Some((_, place)), true) = (&query.window, rows.table) {
            return fail(*place, "a window is over the records of a stream; a table has no more than its newest rows");
        }
        let own = self.is_own_key(&group, &rows);
        let personal_key = group.iter().any(|e| self.clear(e).iter().any(|f| self.class(f).is_some()));
        let direct = own && !joined && !rows.table;
        let Rows { schema, operator, says, state, table } = rows;
        let groups = self.group(&schema, filter, having, columns, notes, &group, (!direct).then_some(table), !own)?;
        group.iter().try_for_each(|e| self.group_allowed(e))?;
        let Groups { operator: aggregate, select, made, row, says: sums, state: kept, front } = groups;
        let mut key: Vec<String> = Vec::new();
        let window_start = Kind::Path(["window_start".into()].into());
        let window = query.window.as_ref().map(|(_, at)| Expr::new(*at, window_start));
        for e in group.iter().chain(&window) {
            key.extend(columns.iter().find(|(_, c)| c == e).map(|(name, _)| name.clone()));
        }
        if key.len() < group.len() + usize::from(window.is_some()) {
            key.clear();
        }
        let (sources, tables) = self.inputs();
        let (partitions, of_key) = (sources[0].partitions, sources[0].key_schema.clone());
        let body = |task, inputs, says, state| {
            let key_schema = of_key.clone().filter(|_| own);
            Body { task, inputs, made, schema: row, says, state, table: true, key, key_schema, personal_key }
        };
        let Some(front) = front else { return Ok(body(Task::new(aggregate, select, tables), sources, sums, kept)) };
        let mut task = Task::new(operator, front.select, tables);
        task.retracts = table;
        if !own || (of_key.is_none() && group.len() > 1) {
            task.rekey = Some(self.rekey(&schema, &group, true)?);
        }
        let state = match (table, joined) {
            (true, false) => "the newest row of each key, as far as it is summed up".to_owned(),
            (true, true) => format!("{state}, and what of them is summed up"),
            (false, _) => state,
        };
        let mut behind = Task::new(aggregate, select, vec![false]);
        if own {
            behind.space = BEHIND;
            task.next = Some(Box::new(behind));
            return Ok(body(task, sources, format!("{says}; {sums}"), format!("{state}; {kept}")));
        }
        let suffix = before.suffix();
        let topic = format!("{}-{suffix}", self.options.topic);
        let says = format!(
            "{says}, re-keyed by the group{}",
            if table { ", the old row taken out and the new one put in" } else { "" }
        );
        let relation = Arc::new(Relation {
            name: topic.clone(),
            topic,
            table: false,
            key: front.key,
            key_schema: None,
            event_time: None,
            partitions,
            schema: front.schema,
            personal: Default::default(),
            personal_key,
        });
        let mut told = Vec::new();
        if query.window.is_some() && partitions != Some(1) {
            told.push(
                "behind the repartition the records of several partitions meet; GRACE says how far apart in time they may come".to_owned(),
            );
        }
        before.push(&sources, &relation, Some(suffix), [says, state], told, task);
        Ok(body(behind, vec![relation], sums, kept))
    }

    /// Whether the group is the key as the records have it.
    fn is_own_key(&self, group: &[Expr], rows: &Rows) -> bool {
        let (first, joined) = (&self.sources[0], self.sources.len() > 1);
        if let [Expr { kind: Kind::RowKey, .. }] = group {
            return true;
        }
        if let Reads::Chain(chain) = &self.reads {
            return *group == *chain.key;
        }
        // The first relation's key may be null in a row of a full join, the record's is not.
        let whole = match rows.schema.find(&weir_avro::FieldPath::root().join(&first.0.alias)) {
            Some(node) if joined => !rows.schema.non_null(node).1,
            _ => true,
        };
        let field = |e: &Expr, key: &String| match &e.kind {
            Kind::Path(names) if joined => *names[0] == *first.0.alias && names[1..].join(".") == **key,
            Kind::Path(names) => names.join(".") == **key,
            _ => false,
        };
        whole && group.len() == first.1.key.len() && group.iter().zip(&first.1.key).all(|(e, key)| field(e, key))
    }

    /// Whether the group may show what it is made of, as the key of the output.
    fn group_allowed(&self, e: &Expr) -> Planned<()> {
        for field in self.clear(e) {
            if let Some(class) = self.class(&field)
                && !self.options.allow.contains(&field)
            {
                self.hidden_by(e, &field, &class)?;
                let name = field.rsplit('.').next().unwrap_or_default();
                return fail(
                    e.at,
                    format!(
                        "the key of the output carries {field} ({class}); allow it by name in `allow`, or group by HASH({name})"
                    ),
                );
            }
        }
        Ok(())
    }

    /// The aggregates. With `front`, which says whether a table is summed up, the group and the arguments are taken of
    /// each row first and go on, to another task where they go `apart`.
    #[allow(clippy::too_many_arguments, reason = "the clauses of one query")]
    fn group(
        &self,
        schema: &Arc<Schema>,
        filter: Option<&Expr>,
        having: Option<&Expr>,
        columns: &[(String, Expr)],
        notes: &mut Vec<String>,
        group: &[Expr],
        front: Option<bool>,
        apart: bool,
    ) -> Planned<Groups> {
        let query = self.query;
        let table = front == Some(true);
        // Every aggregate once, whether it stands in SELECT or HAVING.
        let mut calls: Vec<Expr> = Vec::new();
        let mut rewrite = |e: &Expr| {
            let mut e = e.clone();
            rewrite(&mut e, group, &mut calls)?;
            Ok::<_, ExprError>(e)
        };
        let columns = columns.iter().map(|(n, e)| Ok((n.clone(), rewrite(e)?))).collect::<Planned<Vec<_>>>()?;
        let having = having.map(&mut rewrite).transpose()?;
        let mut taken: Vec<(String, Expr)> =
            group.iter().enumerate().map(|(i, e)| (format!("k{i}"), e.clone())).collect();
        let mut calls = calls.into_iter().map(|call| self.call(call, schema)).collect::<Planned<Vec<_>>>()?;
        let (mut schema, mut filter, mut group) = (Arc::clone(schema), filter, group.to_vec());
        let (mut changes, mut made_front) = (None, None);
        if front.is_some() {
            for (i, call) in calls.iter_mut().enumerate() {
                let Some(arg) = &mut call.arg else { continue };
                if call.kind == aggregate::Kind::Count {
                    // It counts whether the value is there, whatever its type.
                    let there = Expr::new(arg.at, Kind::IsNull(Box::new(arg.clone()), true));
                    let one = Expr::new(arg.at, Kind::Bool(true));
                    arg.kind = Kind::Case(None, vec![[there, one]], None);
                }
                taken.push((format!("x{i}"), arg.clone()));
                arg.kind = Kind::Path([format!("x{i}").into()].into());
            }
            let (select, made) = Projection::new(&schema, filter, &taken, &self.options.salt, false)?;
            let fields = self.fields(&taken, &made, &schema, &mut SchemaWriter::default(), "Input")?;
            let input = json!({"type": "record", "name": "Input", "fields": fields});
            let (inner, outer) = (parsed(&input, query.from.at)?, if table { Some(changed(&input)) } else { None });
            let outer = match outer {
                Some(change) => {
                    let change = parsed(&change, query.from.at)?;
                    changes = Some(Changes::new(&change, apart)?);
                    change
                }
                None => Arc::clone(&inner),
            };
            let key: Vec<String> = (0..group.len()).map(|i| format!("k{i}")).collect();
            made_front = Some(Front { select, schema: outer, key });
            for (i, e) in group.iter_mut().enumerate() {
                e.kind = Kind::Path([format!("k{i}").into()].into());
            }
            (schema, filter) = (inner, None);
        }
        let schema = &schema;
        let key_columns: Vec<_> = group.iter().enumerate().map(|(i, e)| (format!("k{i}"), e.clone())).collect();
        let (keys, made) = Projection::new(schema, filter, &key_columns, &self.options.salt, false)?;
        let mut writer = SchemaWriter::default();
        let mut fields = self.fields(&key_columns, &made, schema, &mut writer, "Group")?;
        if query.window.is_some() {
            for name in ["window_start", "window_end"] {
                fields.push(json!({"name": name, "type": {"type": "long", "logicalType": "timestamp-millis"}}));
            }
        }
        let (mut args, mut all) = (Vec::new(), Vec::new());
        for (i, Call { at, name, kind, arg }) in calls.into_iter().enumerate() {
            if table && matches!(kind, aggregate::Kind::Latest | aggregate::Kind::Earliest) {
                return fail(
                    at,
                    format!("{name} is of a stream: the rows of a table have no order; use MIN or MAX of a time"),
                );
            }
            let arg_column = match &arg {
                Some(arg) => Some(sql::compile(arg, schema, &self.options.salt, &mut Wanted::new())?.1),
                None => None,
            };
            let Some(result) = Aggregate::result(kind, arg_column.as_ref()) else {
                return fail(
                    at,
                    format!(
                        "{name} does not take {}; use CAST",
                        arg_column.map_or("nothing".to_owned(), |c| c.ty.to_string())
                    ),
                );
            };
            notes.extend(given_up(&name, kind, table));
            let stored = match &arg_column {
                Some(column) => {
                    let column = Column::new(column.ty.clone(), false);
                    self.avro(&column, schema, &mut SchemaWriter::default(), "Arg", at)?
                }
                None => json!("null"),
            };
            let stored = Schema::parse(&stored.to_string()).map_err(|e| ExprError::new(at, e.to_string()))?;
            let ty = self.avro(&result, schema, &mut writer, &format!("Result{i}"), at)?;
            fields.push(json!({"name": format!("a{i}"), "type": ty}));
            args.push((format!("{name}()"), arg.unwrap_or_else(|| Expr::new(at, Kind::Bool(true)))));
            all.push(Aggregate { kind, arg: arg_column, schema: stored, result, retracts: table });
        }
        let (args, _) = Projection::new(schema, None, &args, &self.options.salt, true)?;
        let row = parsed(&json!({"type": "record", "name": "Group", "fields": fields}), query.from.at)?;
        let (select, made) = Projection::new(&row, having.as_ref(), &columns, &self.options.salt, false)?;
        let window = query.window.as_ref().map(|(w, _)| w.clone());
        let count = all.len();
        let (says, state) = match &window {
            None => (format!("{count} aggregates for each key"), "one row of aggregates for each key".to_owned()),
            Some(Window { shape, grace }) => {
                let when = if query.last.is_some() { "when the window closes" } else { "at each change" };
                let what = match shape {
                    Shape::Hop { size, step } => format!("window of {size} ms every {step} ms"),
                    Shape::Days { size, step, zone } => {
                        let zone = zone.iana_name().unwrap_or("UTC");
                        format!("window of {size} days every {step} days in {zone}")
                    }
                    Shape::Session { gap } => format!("session with gaps of at most {gap} ms"),
                };
                (
                    format!("{count} aggregates for each key and {what}, {grace} ms of grace, emitted {when}"),
                    "one row of aggregates for each key and open window, the stream time".to_owned(),
                )
            }
        };
        // Texts that hold the sign between them would make one key of two groups. What goes on has such a key already.
        let texts = match front.is_none() && self.sources[0].1.key_schema.is_none() && group.len() > 1 {
            true => Some(self.rekey(schema, &group, true)?),
            false => None,
        };
        let last = query.last.is_some();
        let operator = Operator::Aggregate { changes, keys, texts, args, all, window, last };
        Ok(Groups { operator, select, made, row, says, state, front: made_front })
    }

    /// What an aggregate is called with.
    fn call(&self, call: Expr, schema: &Schema) -> Planned<Call> {
        let Kind::Call(name, mut given) = call.kind else { return fail(call.at, "this is no aggregate") };
        let mut kind = aggregate_kind(&name).unwrap_or(aggregate::Kind::Count);
        let more = if given.len() == 2 { given.pop() } else { None };
        let arg = given.pop();
        if !given.is_empty() || (arg.is_none() && kind != aggregate::Kind::Count) {
            return fail(call.at, format!("{name} takes one argument"));
        }
        match (kind, more.map(|k| k.kind)) {
            (aggregate::Kind::TopK(_), Some(Kind::Int(k))) if (1..=aggregate::BOUND as i64).contains(&k) => {
                kind = aggregate::Kind::TopK(k as usize)
            }
            (aggregate::Kind::TopK(_), _) => return fail(call.at, "write TOPK(x, 3), with at most 1000"),
            (_, None) => {}
            (_, Some(_)) => return fail(call.at, format!("{name} takes one argument")),
        }
        let Some(arg) = arg else { return Ok(Call { at: call.at, name, kind, arg: None }) };
        if has_aggregate(&arg) {
            return fail(arg.at, "an aggregate cannot stand inside another");
        }
        let (_, column) = sql::compile(&arg, schema, &self.options.salt, &mut Wanted::new())?;
        if Aggregate::result(kind, Some(&column)).is_none() {
            return fail(call.at, format!("{name} does not take {}; use CAST", column.ty));
        }
        Ok(Call { at: call.at, name, kind, arg: Some(arg) })
    }
}

/// One call of an aggregate.
struct Call {
    at: Pos,
    name: Box<str>,
    kind: aggregate::Kind,
    arg: Option<Expr>,
}

pub(super) fn parsed(schema: &Json, at: Pos) -> Planned<Arc<Schema>> {
    Schema::parse(&schema.to_string()).map(Arc::new).map_err(|e| ExprError::new(at, e.to_string()))
}

/// The schema of a change: the old row and the new.
fn changed(row: &Json) -> Json {
    json!({"type": "record", "name": "Change", "fields": [
        {"name": "old", "type": ["null", row]}, {"name": "new", "type": ["null", row["name"]]},
    ]})
}

/// What is given up past the bound on the values of a group.
fn given_up(name: &str, kind: aggregate::Kind, table: bool) -> Option<String> {
    use aggregate::Kind as K;
    let than = match (kind, table) {
        (K::CountDistinct, false) => {
            return Some(format!(
                "{name} is exact to {} values of a group; beyond it is an estimate by HyperLogLog, with a standard error of 1.6 %",
                aggregate::BOUND
            ));
        }
        (K::CollectList | K::CollectSet, false) => "later ones are not collected",
        (K::Min | K::Max | K::TopK(_), true) => {
            "where the last of these has gone and others are left, it is unknown until those have gone too"
        }
        (K::CountDistinct, true) => "it counts no further, and too low until as many rows have gone as it did not hold",
        (K::CollectList | K::CollectSet, true) => "others are not collected, even when one has gone",
        _ => return None,
    };
    let best = if matches!(kind, K::Min | K::Max | K::TopK(_)) { "the best " } else { "at most " };
    Some(format!("{name} holds {best}{} values of a group; {than}", aggregate::BOUND))
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
