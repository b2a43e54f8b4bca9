//! From a query and the relations it names to a plan: what comes out, under which key, from what, by which operator.

mod explode;
mod group;
mod join;
mod lineage;
mod names;
mod schema;
mod show;
mod union;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;
use weir_avro::Schema;
use weir_expr::sql::{Expr, Kind, SqlType};
use weir_expr::{ExprError, Pos};

use crate::aggregate;
use crate::projection::Projection;
use crate::relation::Relation;
use crate::sql::{How, Query, Source};
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

    /// Whether what comes out has another key than what goes in, so that the key says in which partition it lies.
    pub fn rekeyed(&self) -> bool {
        std::iter::once(&self.query).chain(&self.query.union).any(|query| query.partition.is_some())
    }

    /// The names of the relations a query reads, for the order in which views are planned.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn reads(text: &str) -> Planned<Vec<String>> {
        let query = crate::sql::parse(text)?;
        let all = std::iter::once(&query).chain(&query.union);
        Ok(all.flat_map(sources).map(|s| s.name.clone()).collect())
    }
}

/// What one SELECT reads.
fn sources(query: &Query) -> impl Iterator<Item = &Source> {
    std::iter::once(&query.from).chain(query.joins.iter().map(|j| &j.with))
}

fn build(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<(Plan, Task)> {
    if query.union.is_empty() { select(query, options, relations) } else { union::union(query, options, relations) }
}

/// Plans one SELECT, whatever a UNION ALL puts behind it.
fn select(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<(Plan, Task)> {
    let mut sources = Vec::new();
    for source in self::sources(query) {
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
        let within = self.within()?;
        for (i, join) in query.joins.iter().enumerate() {
            self.on_keys(i + 1, &join.on)?;
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
        self.exploded(&columns, filter.as_ref())?;
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
                            Operator::Stream { rekey: Some(rekey), rest: Vec::new() },
                            "re-key a stream, record by record".to_owned(),
                            "none".to_owned(),
                        )
                    }
                    (None, false) => {
                        let operator = Operator::Stream { rekey: None, rest: Vec::new() };
                        (operator, "stream, record by record".to_owned(), "none".to_owned())
                    }
                    (None, true) => {
                        (Operator::Table, "table, row by row".to_owned(), "a hash of the output of each key".to_owned())
                    }
                }
            } else if let Some(e) = &query.partition {
                return fail(e.at, "a join keeps its key; re-key it in a view of its own");
            } else if let Some(within) = within {
                let how = sides[0];
                let says = format!(
                    "{} of two streams within {} ms, {} ms of grace",
                    match how {
                        How::Inner => "join",
                        How::Left => "left join",
                        How::Full => "full join",
                    },
                    within.distance,
                    within.grace
                );
                let state = "the records of both streams whose window is open, the stream time".to_owned();
                (Operator::Within { how, within }, says, state)
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
                Kind::Path(names) => names[usize::from(joined)..].join(".") == *field,
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
            .filter(|_| !table && within.is_none())
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
}
