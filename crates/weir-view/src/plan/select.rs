//! The plan of one SELECT: its operators, the key and the schema of what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_avro::Schema;
use weir_expr::ExprError;
use weir_expr::sql::{Expr, Kind};

use super::stage::Staged;
use super::{Built, Plan, Planned, Planner, Reads, fail, has_aggregate};
use crate::projection::{Made, Projection};
use crate::relation::Relation;
use crate::sql::{How, Within};
use crate::task::{Operator, Task};

/// The rows of a SELECT before they are grouped.
pub(super) struct Rows {
    pub schema: Arc<Schema>,
    pub operator: Operator,
    pub says: String,
    pub state: String,
    pub table: bool,
}

/// The last stage of a SELECT, and what it makes.
pub(super) struct Body {
    pub task: Task,
    pub inputs: Vec<Arc<Relation>>,
    pub made: Vec<Made>,
    /// The schema that `made` leads into.
    pub schema: Arc<Schema>,
    pub says: String,
    pub state: String,
    pub table: bool,
    /// The output fields that are the key.
    pub key: Vec<String>,
    pub key_schema: Option<Arc<str>>,
    pub personal_key: bool,
}

impl Planner<'_> {
    pub(super) fn plan(&self, mut before: Staged) -> Planned<Built> {
        let query = self.query;
        let at = query.from.at;
        let first = &self.sources[0].1;
        let within = self.within()?;
        if let Some((sources, reads)) = self.moved(within.is_some(), &mut before)? {
            return Planner { query, options: self.options, sources, settled: true, reads }.plan(before);
        }
        let rows = self.rows(within)?;
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
        let mut notes = Vec::new();
        let stream = !rows.table;
        let body = match grouped {
            true => self.grouped(rows, filter.as_ref(), having.as_ref(), &columns, &mut notes, &mut before)?,
            false => self.plain(rows, filter.as_ref(), &columns)?,
        };
        if body.key.is_empty() {
            notes.push("the key of the output is not made of its fields; select the key to make it so".to_owned());
        }
        let lineage = self.lineage(&columns, &body.made, &body.schema)?;
        let json = self.schema(&columns, &body.made, &body.schema)?;
        let schema = Schema::parse(&json.to_string())
            .map_err(|e| ExprError::new(at, format!("the output has no Avro schema: {e}")))?;
        let mut personal = BTreeMap::new();
        for (name, e) in &columns {
            if let Some(class) = self.clear(e).iter().find_map(|f| self.class(f)) {
                personal.insert(name.clone(), class);
            }
        }
        notes.extend(self.unsalted(&columns)?);
        let fields = self.all_fields(&columns)?;
        let copartitioned = self.together()?;
        let event_time = first
            .event_time
            .as_ref()
            .filter(|_| stream && !body.table && within.is_none())
            .and_then(|path| self.renamed(&columns, &path.to_string()))
            .map(|n| weir_avro::FieldPath::parse(&n));
        let output = Arc::new(Relation {
            name: self.options.id.clone(),
            topic: self.options.topic.clone(),
            table: body.table,
            key: body.key,
            key_schema: body.key_schema,
            event_time,
            partitions: self.inputs().0[0].partitions,
            schema: Arc::new(schema),
            personal,
            personal_key: body.personal_key,
        });
        let says = [body.says.clone(), body.state.clone()];
        before.push(&body.inputs, &output, None, says, Vec::new(), body.task);
        notes.extend(before.stages.iter_mut().flat_map(|stage| std::mem::take(&mut stage.notes)));
        let mut inputs = before.inputs();
        inputs.sort_by_key(|input| self.sources.iter().position(|(_, r)| r.name == input.name));
        let Staged { stages, tasks } = before;
        let (operator, state) = (body.says, body.state);
        let plan =
            Plan { inputs, output, schema: json, operator, state, copartitioned, lineage, notes, fields, stages };
        Ok((plan, tasks))
    }

    /// The operator that makes the rows of the FROM clause, and their schema.
    pub(super) fn rows(&self, within: Option<Within>) -> Planned<Rows> {
        let query = self.query;
        let sides: Vec<How> = query.joins.iter().take(self.sources.len() - 1).map(|j| j.how).collect();
        let table = self.sources.iter().all(|(_, r)| r.table);
        let later_full = |i: usize| sides.iter().skip(i).any(|how| *how == How::Full);
        let nullable: Vec<bool> =
            (0..self.sources.len()).map(|i| later_full(i) || (i > 0 && sides[i - 1] != How::Inner)).collect();
        let first = &self.sources[0].1;
        if self.sources.len() == 1 {
            let (operator, says, state) = match table {
                false => (Operator::Stream { rest: Vec::new() }, "stream, record by record", "none"),
                true => (Operator::Table, "table, row by row", "a hash of the output of each key"),
            };
            let schema = Arc::clone(&first.schema);
            return Ok(Rows { schema, operator, says: says.to_owned(), state: state.to_owned(), table });
        }
        let (inputs, _) = self.inputs();
        for (i, relation) in inputs.iter().enumerate() {
            if inputs.iter().take(i).any(|r| r.topic == relation.topic) {
                return fail(
                    self.sources[i].0.at,
                    format!("the join reads {} twice; make a view of one of them and join that", relation.name),
                );
            }
        }
        let schema = self.joined(&nullable)?;
        let (operator, says, state) = if let Some(within) = within {
            let how = sides[0];
            let join = match how {
                How::Inner => "join",
                How::Left => "left join",
                How::Full => "full join",
            };
            let says = format!("{join} of two streams within {} ms, {} ms of grace", within.distance, within.grace);
            let state = "the records of both streams whose window is open, the stream time";
            (Operator::Within { how, within }, says, state)
        } else if matches!(self.reads, Reads::Answers(_)) {
            let says = format!("{} joined on a foreign key with {}", first.name, self.sources[1].1.name);
            let key = self.foreign_key(&ExprError::new(query.from.at, "ON names no key"))?;
            let by = self.rekey(&first.schema, &key, true)?;
            (Operator::Foreign { by, how: sides[0] }, says, "the newest row of each key and what was answered to it")
        } else if table {
            let says = format!("merge of {} tables on the key", self.sources.len());
            (Operator::Merge { sides, nullable }, says, "the newest row of each side for each key")
        } else {
            let met = if let Reads::Chain(chain) = &self.reads { chain.sources } else { 1 };
            let tables: Vec<_> = self.sources.iter().skip(met).map(|(_, r)| &*r.name).collect();
            let says = format!("stream looks up {}", tables.join(", "));
            let joins = query.joins.iter().take(sides.len()).skip(met - 1);
            let history: Vec<_> = joins.map(|j| j.times.of.as_ref().map(|(of, _)| of.history)).collect();
            let sides = sides.into_iter().skip(met - 1).collect();
            let state = match history.iter().any(Option::is_some) {
                true => {
                    "the rows of each table for each key, old ones as far back as the history says; the stream time"
                }
                false => "the newest row of each table for each key",
            };
            (Operator::Lookup { sides, history }, says, state)
        };
        Ok(Rows { schema: Arc::new(schema), operator, says, state: state.to_owned(), table })
    }

    /// The schema of a row of all sources, each of which may be null or not.
    pub(super) fn joined(&self, nullable: &[bool]) -> Planned<Schema> {
        let parts: Vec<_> =
            self.sources.iter().zip(nullable).map(|((s, r), n)| (&*s.alias, &*r.schema, r.schema.root(), *n)).collect();
        Schema::of_parts(&parts).map_err(|e| ExprError::new(self.query.from.at, e.to_string()))
    }

    /// What the operator of the rows reads, and which of it are tables.
    pub(super) fn inputs(&self) -> (Vec<Arc<Relation>>, Vec<bool>) {
        let sources = self.sources.iter().map(|(_, r)| r);
        let all: Vec<_> = match &self.reads {
            Reads::Answers(answers) => sources.take(1).chain([answers]).cloned().collect(),
            Reads::Chain(chain) => [&chain.relation].into_iter().chain(sources.skip(chain.sources)).cloned().collect(),
            Reads::Sources => sources.cloned().collect(),
        };
        let tables = all.iter().map(|r| r.table).collect();
        (all, tables)
    }

    /// Row by row, without groups.
    fn plain(&self, rows: Rows, filter: Option<&Expr>, columns: &[(String, Expr)]) -> Planned<Body> {
        let query = self.query;
        let first = &self.sources[0].1;
        let joined = self.sources.len() > 1;
        let Rows { schema, operator, mut says, state, table } = rows;
        let (select, made) = Projection::new(&schema, filter, columns, &self.options.salt, false)?;
        let (inputs, tables) = self.inputs();
        let mut task = Task::new(operator, select, tables);
        let (mut key, mut personal_key) = (Vec::new(), first.personal_key);
        match (&query.partition, &self.reads) {
            (Some(e), _) if table => {
                return fail(e.at, "PARTITION BY gives a stream a new key; a table keeps its own");
            }
            (Some(e), _) => {
                let e = self.resolved(e)?;
                task.rekey = Some(self.rekey(&schema, std::slice::from_ref(&e), false)?);
                key.extend(columns.iter().find(|(_, c)| *c == e).map(|(name, _)| name.clone()));
                personal_key = self.clear(&e).iter().any(|f| self.class(f).is_some());
                self.allowed(&e, "the key")?;
                says = if joined {
                    format!("{says}, under a new key")
                } else {
                    "re-key a stream, record by record".to_owned()
                };
            }
            (None, Reads::Chain(chain)) => {
                for e in &chain.key {
                    self.allowed(e, "the key")?;
                }
                let all = chain.key.iter().map(|e| columns.iter().find(|(_, c)| c == e));
                key = all.map(|found| found.map(|(name, _)| name.clone())).collect::<Option<_>>().unwrap_or_default();
                personal_key = chain.key.iter().any(|e| self.clear(e).iter().any(|f| self.class(f).is_some()));
            }
            (None, _) => {
                let all = first.key.iter().map(|field| self.renamed(columns, field));
                key = all.collect::<Option<_>>().unwrap_or_default();
                if personal_key {
                    self.key_allowed(&first.key, "give the output another key with PARTITION BY HASH")?;
                }
            }
        }
        let key_schema = inputs[0].key_schema.clone().filter(|_| query.partition.is_none());
        Ok(Body { task, inputs, made, schema, says, state, table, key, key_schema, personal_key })
    }

    /// Whether the classified ones among these fields of the first relation may stand in the key.
    pub(super) fn key_allowed(&self, fields: &[String], instead: &str) -> Planned<()> {
        let first = &self.sources[0].1;
        for field in fields {
            let from = format!("{}.{field}", first.name);
            if let Some(class) = first.personal.get(field)
                && !self.options.allow.contains(&from)
            {
                return fail(
                    self.query.from.at,
                    format!(
                        "the key of the output carries {from} ({class}); allow it by name in `allow`, or {instead}({field})"
                    ),
                );
            }
        }
        Ok(())
    }

    /// The output field that a field of the key passes on to unchanged. A join on the key has it from any side.
    fn renamed(&self, columns: &[(String, Expr)], field: &str) -> Option<String> {
        let joined = self.sources.len() > 1;
        let first = &self.sources[0].0.alias;
        let same = columns.iter().find(|(_, e)| match &e.kind {
            Kind::Path(names) if matches!(self.reads, Reads::Answers(_)) && *names[0] != **first => false,
            Kind::Path(names) => names.get(usize::from(joined)..).is_some_and(|names| names.join(".") == *field),
            _ => false,
        });
        same.map(|(name, _)| name.clone())
    }

    /// Whether the inputs of a join lie together.
    fn together(&self) -> Planned<String> {
        let (inputs, _) = self.inputs();
        let partitions: BTreeSet<_> = inputs.iter().filter_map(|r| r.partitions).collect();
        let untold = inputs.iter().find(|r| r.partitions.is_none());
        let form = if inputs.iter().all(|r| r.key_schema.is_none()) { "text" } else { "Avro" };
        Ok(match (self.sources.len() > 1, partitions.len(), untold) {
            (false, _, _) => "one input".to_owned(),
            (true, 0 | 1, Some(untold)) => {
                format!("unknown: no contract says how many partitions the topic of {} has", untold.name)
            }
            (true, 1, None) => {
                format!("yes: {} partitions, murmur2 of the same {form} key", partitions.first().unwrap_or(&0))
            }
            _ => {
                return fail(
                    self.query.joins[0].with.at,
                    format!(
                        "the inputs have {} partitions; give them the same number in their contracts",
                        partitions.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
                    ),
                );
            }
        })
    }
}
