//! From a query and the relations it names to a plan: what comes out, under which key, from what, by which operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use weir_avro::{Schema, SchemaWriter};
use weir_expr::sql::{self, Binary, Column, Expr, Kind, SqlType, Unit};
use weir_expr::{ExprError, Pos, Wanted};

use crate::aggregate::{self, Aggregate};
use crate::projection::{Made, Projection};
use crate::relation::Relation;
use crate::sql::{How, Item, Query, Source};
use crate::task::{Operator, Task};

type Planned<T> = Result<T, ExprError>;

fn fail<T>(at: Pos, message: impl Into<String>) -> Planned<T> {
    Err(ExprError::new(at, message))
}

/// What a view says beside its query.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The id of the view, `domain.name`.
    pub id: String,
    /// The topic of the output.
    pub topic: String,
    /// Classified fields that may pass unmasked, as `domain.product.field`.
    pub allow: BTreeSet<String>,
    /// What `HASH` puts in front of a value.
    pub salt: String,
}

/// A planned view.
#[derive(Debug)]
pub struct Plan {
    /// The inputs, in the order the task numbers them.
    pub inputs: Vec<Arc<Relation>>,
    /// What comes out.
    pub output: Arc<Relation>,
    /// The text of the output schema.
    pub schema: Json,
    /// The operator, in a line.
    pub operator: String,
    /// What the state will hold, in a line.
    pub state: String,
    /// Whether the inputs lie together, in a line.
    pub copartitioned: String,
    /// For each output field the fields it is made of, and the masks on it.
    pub lineage: Vec<Lineage>,
    /// Worth knowing.
    pub notes: Vec<String>,
    query: Query,
    options: Options,
    relations: Vec<Arc<Relation>>,
}

/// Where an output field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The output field.
    pub field: String,
    /// Its SQL type.
    pub ty: String,
    /// The fields it is made of, as `domain.product.field`.
    pub from: Vec<String>,
    /// The masks that all classified ones of them pass through.
    pub masks: Vec<String>,
}

struct Planner<'p> {
    query: &'p Query,
    options: &'p Options,
    sources: Vec<(&'p Source, Arc<Relation>)>,
}

/// Plans the query `text` of a view over `relations`.
///
/// # Errors
/// The first thing that is wrong, with its place in the text and what would work.
pub fn plan(text: &str, options: &Options, relations: &[Arc<Relation>]) -> Planned<Plan> {
    let query = crate::sql::parse(text)?;
    let planned = build(&query, options, relations)?;
    Ok(Plan { query, options: options.clone(), relations: relations.to_vec(), ..planned.0 })
}

impl Plan {
    /// A task for one partition of the inputs.
    ///
    /// # Errors
    /// None that [`plan`] has not found; the plan is compiled anew.
    pub fn task(&self) -> Planned<Task> {
        build(&self.query, &self.options, &self.relations).map(|(_, task)| task)
    }

    /// The names of the relations a query reads, for the order in which views are planned.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn reads(text: &str) -> Planned<Vec<String>> {
        let query = crate::sql::parse(text)?;
        Ok(std::iter::once(&query.from).chain(query.joins.iter().map(|j| &j.with)).map(|s| s.name.clone()).collect())
    }
}

fn build(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<(Plan, Task)> {
    let mut sources = Vec::new();
    for source in std::iter::once(&query.from).chain(query.joins.iter().map(|j| &j.with)) {
        let Some(relation) = relations.iter().find(|r| r.name == source.name || r.topic == source.name) else {
            let known: Vec<&str> = relations.iter().map(|r| &*r.name).collect();
            return fail(
                source.at,
                format!("there is no product or view `{}`; known are {}", source.name, known.join(", ")),
            );
        };
        if sources.iter().any(|(known, _): &(&Source, _)| known.alias == source.alias) {
            return fail(source.at, format!("two relations are called `{}`; give one another alias", source.alias));
        }
        sources.push((source, Arc::clone(relation)));
    }
    Planner { query, options, sources }.plan()
}

const AGGREGATES: [(&str, aggregate::Kind); 13] = [
    ("COUNT", aggregate::Kind::Count),
    ("COUNT DISTINCT", aggregate::Kind::CountDistinct),
    ("SUM", aggregate::Kind::Sum),
    ("AVG", aggregate::Kind::Avg),
    ("MIN", aggregate::Kind::Min),
    ("MAX", aggregate::Kind::Max),
    ("STDDEV", aggregate::Kind::Stddev),
    ("STDDEV_SAMP", aggregate::Kind::Stddev),
    ("LATEST_BY_OFFSET", aggregate::Kind::Latest),
    ("EARLIEST_BY_OFFSET", aggregate::Kind::Earliest),
    ("COLLECT_LIST", aggregate::Kind::CollectList),
    ("COLLECT_SET", aggregate::Kind::CollectSet),
    ("TOPK", aggregate::Kind::TopK(0)),
];

fn aggregate_kind(name: &str) -> Option<aggregate::Kind> {
    AGGREGATES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

fn has_aggregate(e: &Expr) -> bool {
    matches!(&e.kind, Kind::Call(name, _) if aggregate_kind(name).is_some()) || e.inner().into_iter().any(has_aggregate)
}

impl Planner<'_> {
    fn plan(&self) -> Planned<(Plan, Task)> {
        let query = self.query;
        let at = query.from.at;
        let first = &self.sources[0].1;
        let joined = self.sources.len() > 1;
        let tables: Vec<bool> = self.sources.iter().map(|(_, r)| r.table).collect();
        let sides: Vec<How> = query.joins.iter().map(|j| j.how).collect();
        let all_tables = tables.iter().all(|t| *t);
        if joined {
            if !all_tables && (tables[0] || tables[1..].iter().any(|t| !t)) {
                return fail(
                    query.joins[0].with.at,
                    "a join is of tables, or of a stream in FROM with tables; joins of two streams are not part of the language yet",
                );
            }
            if !all_tables && sides.contains(&How::Full) {
                return fail(
                    query.joins[0].with.at,
                    "a stream joins tables with JOIN or LEFT JOIN; a full join needs tables on both sides",
                );
            }
            for (i, join) in query.joins.iter().enumerate() {
                self.on_keys(i + 1, &join.on)?;
            }
        }
        let later_full = |i: usize| sides.iter().skip(i).any(|how| *how == How::Full);
        let nullable: Vec<bool> =
            (0..self.sources.len()).map(|i| later_full(i) || (i > 0 && sides[i - 1] != How::Inner)).collect();
        let schema = if joined {
            let parts: Vec<_> = self
                .sources
                .iter()
                .zip(&nullable)
                .map(|((s, r), n)| (&*s.alias, &*r.schema, r.schema.root(), *n))
                .collect();
            Arc::new(Schema::of_parts(&parts).map_err(|e| ExprError::new(at, e.to_string()))?)
        } else {
            Arc::clone(&first.schema)
        };
        let filter = query.filter.as_ref().map(|e| self.resolved(e)).transpose()?;
        if let Some(e) = filter.as_ref().filter(|e| has_aggregate(e)) {
            return fail(e.at, "an aggregate cannot stand in WHERE; use HAVING");
        }
        let columns = self.columns()?;
        let having = query.having.as_ref().map(|e| self.resolved(e)).transpose()?;
        let grouped = !query.group.is_empty()
            || query.window.is_some()
            || having.is_some()
            || columns.iter().any(|(_, e)| has_aggregate(e));
        if let (Some(place), true) = (query.last, !grouped || query.window.is_none()) {
            return fail(place, "EMIT FINAL needs GROUP BY with a window: without one nothing is final");
        }
        let mut table = all_tables;
        let mut key = first.key.clone();
        let mut personal_key = first.personal_key;
        let mut notes = Vec::new();
        let (operator, select, made, out_schema, says, state) = if grouped {
            table = true;
            if joined || first.table {
                return fail(
                    at,
                    "GROUP BY reads one stream; make a view of the join, and sum a table up where it is made from a stream",
                );
            }
            if let Some(e) = &query.partition {
                return fail(e.at, "PARTITION BY and GROUP BY do not stand together: the group is the key");
            }
            let grouped = self.group(&schema, filter.as_ref(), having.as_ref(), &columns, &mut notes)?;
            if query.window.is_some() {
                key.push("window_start".to_owned());
            }
            grouped
        } else {
            let (select, made) = Projection::new(&schema, filter.as_ref(), &columns, &self.options.salt, false)?;
            let (operator, says, state) = if !joined {
                match (&query.partition, table) {
                    (Some(e), true) => {
                        return fail(e.at, "PARTITION BY gives a stream a new key; a table keeps its own");
                    }
                    (Some(e), false) => {
                        let e = self.resolved(e)?;
                        let text = Expr::new(e.at, Kind::Cast(Box::new(e.clone()), SqlType::Text, false));
                        let column = [("key".to_owned(), text)];
                        let (rekey, _) = Projection::new(&schema, None, &column, &self.options.salt, true)?;
                        key = columns.iter().filter(|(_, c)| *c == e).take(1).map(|(name, _)| name.clone()).collect();
                        personal_key = self.clear(&e).iter().any(|f| self.class(f).is_some());
                        self.allowed(&e, "the key")?;
                        (
                            Operator::Stream { rekey: Some(rekey) },
                            "re-key a stream, record by record".to_owned(),
                            "none".to_owned(),
                        )
                    }
                    (None, false) => {
                        (Operator::Stream { rekey: None }, "stream, record by record".to_owned(), "none".to_owned())
                    }
                    (None, true) => {
                        (Operator::Table, "table, row by row".to_owned(), "a hash of the output of each key".to_owned())
                    }
                }
            } else if let Some(e) = &query.partition {
                return fail(e.at, "a join keeps its key; re-key it in a view of its own");
            } else if all_tables {
                let says = format!("merge of {} tables on the key", self.sources.len());
                (Operator::Merge { sides, nullable }, says, "the newest row of each side for each key".to_owned())
            } else {
                let says = format!(
                    "stream looks up {}",
                    self.sources[1..].iter().map(|(_, r)| &*r.name).collect::<Vec<_>>().join(", ")
                );
                (Operator::Lookup { sides }, says, "the newest row of each table for each key".to_owned())
            };
            (operator, select, made, schema, says, state)
        };
        let renamed = |field: &String| {
            let same = columns.iter().find(|(_, e)| match &e.kind {
                Kind::Path(names) => {
                    names.last().is_some_and(|n| **n == **field) || (names.len() == 1 && *names[0] == **field)
                }
                _ => false,
            });
            same.map(|(name, _)| name.clone())
        };
        let key: Vec<String> = match query.partition {
            Some(_) => key,
            None => key.iter().map(renamed).collect::<Option<_>>().unwrap_or_default(),
        };
        if query.partition.is_none() && personal_key {
            for field in &first.key {
                let from = format!("{}.{field}", first.name);
                if first.personal.contains_key(field) && !self.options.allow.contains(&from) {
                    return fail(
                        at,
                        format!(
                            "the key of the output carries {from} ({}); allow it by name in `allow`, or give the output another key with PARTITION BY HASH({field})",
                            first.personal[field]
                        ),
                    );
                }
            }
        }
        if key.is_empty() {
            notes.push("the key of the output is not made of its fields; select the key to make it so".to_owned());
        }
        let lineage = self.lineage(&columns, &made, &out_schema)?;
        let json = self.schema(&columns, &made, &out_schema)?;
        let schema = Schema::parse(&json.to_string())
            .map_err(|e| ExprError::new(at, format!("the output has no Avro schema: {e}")))?;
        let mut personal = BTreeMap::new();
        for (name, e) in &columns {
            if let Some(class) = self.clear(e).iter().find_map(|f| self.class(f)) {
                personal.insert(name.clone(), class);
            }
        }
        let partitions: BTreeSet<_> = self.sources.iter().filter_map(|(_, r)| r.partitions).collect();
        let copartitioned = match (joined, partitions.len()) {
            (false, _) => "one input".to_owned(),
            (true, 0) => "unknown: no contract says how many partitions its topic has".to_owned(),
            (true, 1) => format!("yes: {} partitions, murmur2 of the same text key", partitions.first().unwrap_or(&0)),
            _ => {
                return fail(
                    query.joins[0].with.at,
                    format!(
                        "the inputs have {} partitions; give them the same number in their contracts",
                        partitions.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
                    ),
                );
            }
        };
        let event_time = first
            .event_time
            .as_ref()
            .filter(|_| !table)
            .and_then(|path| renamed(&path.to_string()))
            .map(|n| weir_avro::FieldPath::parse(&n));
        let output = Relation {
            name: self.options.id.clone(),
            topic: self.options.topic.clone(),
            table,
            key,
            text_key: first.text_key || query.partition.is_some(),
            event_time,
            partitions: first.partitions,
            schema: Arc::new(schema),
            personal,
            personal_key,
        };
        let inputs: Vec<_> = self.sources.iter().map(|(_, r)| Arc::clone(r)).collect();
        let task = Task {
            operator,
            select,
            tables,
            pending: Default::default(),
            next_close: None,
            row: Vec::new(),
            entry: Vec::new(),
        };
        let plan = Plan {
            inputs,
            output: Arc::new(output),
            schema: json,
            operator: says,
            state,
            copartitioned,
            lineage,
            notes,
            query: query.clone(),
            options: self.options.clone(),
            relations: Vec::new(),
        };
        Ok((plan, task))
    }

    /// The condition of a join: each field of the key equal to its counterpart in a relation before.
    fn on_keys(&self, right: usize, on: &Expr) -> Planned<()> {
        let relation = &self.sources[right].1;
        let mut equal = BTreeSet::new();
        let mut left_over = vec![on];
        while let Some(e) = left_over.pop() {
            match &e.kind {
                Kind::Binary(Binary::And, two) => left_over.extend(two.iter()),
                Kind::Binary(Binary::Eq, two) => {
                    let (a, b) = (self.key_part(&two[0])?, self.key_part(&two[1])?);
                    match (a, b) {
                        (Some((s, i)), Some((t, j))) if i == j && (s == right) != (t == right) && s.max(t) == right => {
                            equal.insert(i)
                        }
                        _ => {
                            return fail(
                                e.at,
                                format!(
                                    "a join is on the keys of both sides ({} of {}); re-key a stream with PARTITION BY in a view of its own",
                                    relation.key.join(", "),
                                    relation.name
                                ),
                            );
                        }
                    };
                }
                _ => return fail(e.at, "ON takes equalities of key fields, joined with AND"),
            }
        }
        let whole = equal.contains(&usize::MAX);
        if !whole && (relation.key.is_empty() || (0..relation.key.len()).any(|i| !equal.contains(&i))) {
            return fail(
                on.at,
                format!("ON must name every field of the key of {}: {}", relation.name, relation.key.join(", ")),
            );
        }
        if self.sources.iter().take(right + 1).any(|(_, r)| r.key.len() != relation.key.len() && !whole) {
            return fail(on.at, "the keys of both sides have a different number of fields");
        }
        if self.sources[0].1.text_key != relation.text_key {
            return fail(on.at, "one side has its key as text, the other as Avro; they never meet");
        }
        Ok(())
    }

    /// Which relation's key an expression is, and which field of it; `usize::MAX` for the whole key.
    fn key_part(&self, e: &Expr) -> Planned<Option<(usize, usize)>> {
        let Kind::Path(names) = &e.kind else { return Ok(None) };
        if let [alias, name] = &names[..]
            && name.eq_ignore_ascii_case("rowkey")
        {
            return Ok(self.sources.iter().position(|(s, _)| *s.alias == **alias).map(|i| (i, usize::MAX)));
        }
        let Kind::Path(names) = self.resolved(e)?.kind else { return Ok(None) };
        let Some(source) = self.sources.iter().position(|(s, _)| *s.alias == *names[0]) else { return Ok(None) };
        let path = names[1..].join(".");
        Ok(self.sources[source].1.key.iter().position(|k| *k == path).map(|field| (source, field)))
    }

    /// The expression with every name leading from the root of the row.
    fn resolved(&self, e: &Expr) -> Planned<Expr> {
        let mut e = e.clone();
        self.resolve(&mut e)?;
        Ok(e)
    }

    fn resolve(&self, e: &mut Expr) -> Planned<()> {
        let at = e.at;
        if let Kind::Path(names) = &e.kind {
            e.kind = self.name(names, at)?;
            return Ok(());
        }
        e.inner_mut().into_iter().try_for_each(|inner| self.resolve(inner))
    }

    fn name(&self, names: &[Box<str>], at: Pos) -> Planned<Kind> {
        let joined = self.sources.len() > 1;
        let has = |r: &Relation, name: &str| r.fields().contains(&name);
        let qualified = self.sources.iter().find_map(|(s, r)| {
            let parts: Vec<&str> = s.name.split('.').collect();
            let long = names.len() > parts.len() && names.iter().zip(&parts).all(|(a, b)| **a == **b);
            match (names.len() > 1 && *s.alias == *names[0], long) {
                (true, _) => Some((s, r, 1)),
                (_, true) => Some((s, r, parts.len())),
                _ => None,
            }
        });
        if let Some((source, relation, used)) = qualified {
            let rest = &names[used..];
            if has(relation, &rest[0]) {
                let alias = joined.then(|| source.alias.as_str().into());
                return Ok(Kind::Path(alias.into_iter().chain(rest.iter().cloned()).collect()));
            }
            match rest[0].to_ascii_lowercase().as_str() {
                "rowkey" => return Ok(Kind::RowKey),
                "rowtime" => return Ok(Kind::RowTime),
                _ if has(relation, &names[0]) => {}
                _ => {
                    return fail(
                        at,
                        format!(
                            "{} has no field `{}`; it has {}",
                            relation.name,
                            rest[0],
                            relation.fields().join(", ")
                        ),
                    );
                }
            }
        }
        let mut found = self.sources.iter().filter(|(_, r)| has(r, &names[0]));
        match (found.next(), found.next()) {
            (Some((source, _)), None) => {
                let alias = joined.then(|| source.alias.as_str().into());
                Ok(Kind::Path(alias.into_iter().chain(names.iter().cloned()).collect()))
            }
            (Some((a, _)), Some((b, _))) => {
                fail(at, format!("`{0}` is a field of {1} and of {2}; write {1}.{0}", names[0], a.alias, b.alias))
            }
            (None, _) if self.query.window.is_some() && matches!(&*names[0], "window_start" | "window_end") => {
                Ok(Kind::Path(names.into()))
            }
            (None, _) => {
                let all: Vec<&str> = self.sources.iter().flat_map(|(_, r)| r.fields()).collect();
                fail(at, format!("there is no field `{}`; there are {}", names[0], all.join(", ")))
            }
        }
    }

    /// The output fields by name.
    fn columns(&self) -> Planned<Vec<(String, Expr)>> {
        let mut columns: Vec<(String, Expr)> = Vec::new();
        for item in &self.query.items {
            let new = match item {
                Item::One(e, alias) => {
                    let name = match (alias, &e.kind) {
                        (Some(alias), _) => alias.clone(),
                        (None, Kind::Path(names)) => names.last().map(ToString::to_string).unwrap_or_default(),
                        (None, Kind::Field(_, name)) => name.to_string(),
                        _ => return fail(e.at, "this needs a name: add AS name"),
                    };
                    if !is_name(&name) {
                        return fail(
                            e.at,
                            format!("`{name}` is no Avro name: letters, digits and `_`, not a digit first"),
                        );
                    }
                    vec![(name, self.resolved(e)?)]
                }
                Item::All(of, at) => {
                    let mut all = Vec::new();
                    let wanted = |s: &Source| of.as_ref().is_none_or(|of| s.alias == *of || s.name == *of);
                    for (source, relation) in self.sources.iter().filter(|(s, _)| wanted(s)) {
                        for field in relation.fields() {
                            let path = [source.alias.as_str(), field].map(Box::from).into();
                            all.push((field.to_owned(), self.resolved(&Expr::new(*at, Kind::Path(path)))?));
                        }
                    }
                    if all.is_empty() {
                        return fail(*at, format!("`{}` is no relation of this query", of.as_deref().unwrap_or("*")));
                    }
                    all
                }
            };
            for (name, e) in new {
                if columns.iter().any(|(known, _)| *known == name) {
                    return fail(e.at, format!("two output fields are called `{name}`; add AS to one"));
                }
                columns.push((name, e));
            }
        }
        Ok(columns)
    }

    #[allow(clippy::type_complexity, reason = "the parts of one plan")]
    fn group(
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
        let operator = Operator::Aggregate { keys, args, all, window, last: query.last.is_some() };
        Ok((operator, select, made, row, says, state))
    }

    // Lineage.

    /// The classification of a field by its full name.
    fn class(&self, field: &str) -> Option<String> {
        self.sources.iter().find_map(|(_, r)| {
            let path = field.strip_prefix(&*r.name)?.strip_prefix('.')?;
            let found = r
                .personal
                .iter()
                .find(|(p, _)| path == **p || p.starts_with(&format!("{path}.")) || path.starts_with(&format!("{p}.")));
            found.map(|(_, class)| class.clone())
        })
    }

    fn full(&self, names: &[Box<str>]) -> Option<String> {
        if self.sources.len() == 1 {
            let relation = &self.sources[0].1;
            return relation.fields().contains(&&*names[0]).then(|| format!("{}.{}", relation.name, names.join(".")));
        }
        let (_, relation) = self.sources.iter().find(|(s, _)| *s.alias == *names[0])?;
        Some(format!("{}.{}", relation.name, names[1..].join(".")))
    }

    fn reads(&self, e: &Expr, masked: bool, found: &mut Vec<(String, bool)>) {
        match &e.kind {
            Kind::Path(names) => found.extend(self.full(names).map(|full| (full, masked))),
            Kind::RowKey => {
                let relation = &self.sources[0].1;
                found.extend(relation.key.iter().map(|k| (format!("{}.{k}", relation.name), masked)));
            }
            _ => {}
        }
        // A count tells nothing of what is counted.
        let hides = matches!(&e.kind, Kind::Call(name, _) if sql::is_mask(name) || name.starts_with("COUNT"));
        e.inner().into_iter().for_each(|inner| self.reads(inner, masked || hides, found));
    }

    /// The fields an expression shows unmasked.
    fn clear(&self, e: &Expr) -> Vec<String> {
        let mut found = Vec::new();
        self.reads(e, false, &mut found);
        found.into_iter().filter(|(_, masked)| !masked).map(|(field, _)| field).collect()
    }

    fn allowed(&self, e: &Expr, what: &str) -> Planned<()> {
        for field in self.clear(e) {
            if let Some(class) = self.class(&field)
                && !self.options.allow.contains(&field)
            {
                return fail(
                    e.at,
                    format!(
                        "{what} shows {field}, which is {class}; put MASK, HASH, REDACT or TRUNCATE around it, or allow it by name in `allow`"
                    ),
                );
            }
        }
        Ok(())
    }

    fn lineage(&self, columns: &[(String, Expr)], made: &[Made], schema: &Arc<Schema>) -> Planned<Vec<Lineage>> {
        let mut all = Vec::new();
        for ((name, e), made) in columns.iter().zip(made) {
            self.allowed(e, &format!("`{name}`"))?;
            let mut found = Vec::new();
            self.reads(e, false, &mut found);
            let mut masks = Vec::new();
            masks_in(e, &mut masks);
            let column = match made {
                Made::Field(path, wrap) => {
                    let mut column =
                        schema.find(path).map_or(Column::new(SqlType::Null, true), |node| Column::of(schema, node));
                    column.nullable |= *wrap;
                    column
                }
                Made::Typed(column) => column.clone(),
            };
            let from: BTreeSet<String> = found.into_iter().map(|(field, _)| field).collect();
            let ty = format!("{}{}", column.ty, if column.nullable { "" } else { " NOT NULL" });
            all.push(Lineage { field: name.clone(), ty, from: from.into_iter().collect(), masks });
        }
        Ok(all)
    }

    // The output schema.

    fn schema(&self, columns: &[(String, Expr)], made: &[Made], schema: &Arc<Schema>) -> Planned<Json> {
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

    fn fields(
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
    fn avro(&self, column: &Column, schema: &Schema, writer: &mut SchemaWriter, name: &str, at: Pos) -> Planned<Json> {
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

fn masks_in(e: &Expr, masks: &mut Vec<String>) {
    if let Kind::Call(name, _) = &e.kind
        && sql::is_mask(name)
        && !masks.contains(&name.to_string())
    {
        masks.push(name.to_string());
    }
    e.inner().into_iter().for_each(|inner| masks_in(inner, masks));
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

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Plan {
    /// The plan for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let output = &self.output;
        let kind = |table| if table { "table" } else { "stream" };
        let mut line = |name: &str, value: &str| _ = writeln!(out, "{name:<14}{value}");
        line("view", &format!("{} ({}) -> {}", output.name, kind(output.table), output.topic));
        for input in &self.inputs {
            line("reads", &format!("{} ({}, key {})", input.name, kind(input.table), input.key.join(", ")));
        }
        line("operator", &self.operator);
        line("key", &if output.key.is_empty() { "not of the value".to_owned() } else { output.key.join(", ") });
        line("copartitioned", &self.copartitioned);
        line("repartition", "none");
        line("state", &self.state);
        for field in &self.lineage {
            let from = if field.from.is_empty() { "no field".to_owned() } else { field.from.join(", ") };
            let masks = if field.masks.is_empty() { String::new() } else { format!(" [{}]", field.masks.join(", ")) };
            line("field", &format!("{} {} <- {from}{masks}", field.field, field.ty));
        }
        for note in &self.notes {
            line("note", note);
        }
        out
    }

    /// The plan for tools.
    pub fn json(&self) -> Json {
        let relation = |r: &Relation| json!({"name": r.name, "topic": r.topic, "kind": if r.table { "table" } else { "stream" }, "key": r.key, "partitions": r.partitions});
        json!({
            "view": relation(&self.output),
            "reads": self.inputs.iter().map(|r| relation(r)).collect::<Vec<_>>(),
            "operator": self.operator, "state": self.state, "coPartitioned": self.copartitioned, "repartitions": [],
            "lineage": self.lineage.iter().map(|l| json!({"field": l.field, "type": l.ty, "from": l.from, "masks": l.masks})).collect::<Vec<_>>(),
            "notes": self.notes, "schema": self.schema,
        })
    }
}
