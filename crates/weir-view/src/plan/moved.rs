//! Joins by other fields than the key: a stream is re-keyed first, in a stage of its own; a table asks for the rows of
//! another whose key it names, in two.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use weir_avro::SchemaWriter;
use weir_expr::sql::{Binary, Column, Expr, Kind, SqlType};
use weir_expr::{ExprError, Pos};

use super::encoding::meets;
use super::group::parsed;
use super::stage::Staged;
use super::{Chain, Planned, Planner, Reads, fail};
use crate::projection::Projection;
use crate::relation::Relation;
use crate::sql::{How, Source};
use crate::task::{ANSWER, Operator, SUBSCRIPTION, Task};

/// The fields of a relation that a join meets another by; none where they are its key.
type By = Option<Vec<String>>;

/// The number of a source, and the path of a field in it.
type Field = (usize, String);

/// Sources under the key they need, and what they are read as.
type Moved<'p> = (Vec<(&'p Source, Arc<Relation>)>, Reads);

impl<'p> Planner<'p> {
    /// The sources with the streams re-keyed that a join needs under another key, each by a stage, and what they are read
    /// as; none where every source has the key it needs.
    pub(super) fn moved(&self, streams: bool, before: &mut Staged) -> Planned<Option<Moved<'p>>> {
        if !matches!(self.reads, Reads::Sources) {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        for (i, join) in self.query.joins.iter().enumerate() {
            if let Err(error) = self.on_keys(i + 1, &join.on) {
                wrong.push(error);
            }
        }
        let Some(error) = wrong.into_iter().next() else { return Ok(None) };
        if self.settled {
            return Err(error);
        }
        if self.sources[0].1.table {
            return self.asked(error, before).map(Some);
        }
        if !streams {
            return self.chained(&self.table_keys(&error)?, before).map(Some);
        }
        let by = self.two_streams(error)?;
        // As many partitions as what stays has.
        let counts = |moved: bool| {
            self.sources
                .iter()
                .zip(&by)
                .filter(move |(_, by)| by.is_some() == moved)
                .filter_map(|((_, r), _)| r.partitions)
        };
        let partitions = counts(false).max().or_else(|| counts(true).max());
        let mut sources = self.sources.clone();
        for (i, by) in by.iter().enumerate() {
            if let Some(by) = by {
                // Without the key a record meets nothing; it goes on only where it is said alone.
                let how = self.query.joins[0].how;
                let needed = how == How::Inner || (i == 1 && how != How::Full);
                sources[i].1 = self.rekeyed(i, by, partitions, needed, before)?;
            }
        }
        Ok(Some((sources, Reads::Sources)))
    }

    /// A stream that meets tables by different fields: under the fields of the first ones it meets those, and goes on
    /// with their rows under the fields of the next.
    fn chained(&self, by: &[Vec<Field>], before: &mut Staged) -> Planned<Moved<'p>> {
        let query = self.query;
        self.wanted(self.sources[0].0)?;
        let mut sources = self.sources.clone();
        let first = &self.sources[0].1;
        let mut key: Vec<Field> = first.key.iter().map(|field| (0, field.clone())).collect();
        if first.key_schema.is_some() {
            key.clear();
        }
        let mut reads = Reads::Sources;
        for (i, next) in by.iter().enumerate() {
            if *next == key {
                continue;
            }
            // The tables from here on that are met by these fields.
            let alike = by[i..].iter().take_while(|by| *by == next).count();
            let partitions = self.sources[i + 1..=i + alike].iter().filter_map(|(_, r)| r.partitions).max();
            let needed = query.joins[i..i + alike].iter().any(|j| j.how == How::Inner);
            if i == 0 {
                let fields: Vec<String> = next.iter().map(|(_, field)| field.clone()).collect();
                sources[0].1 = self.rekeyed(0, &fields, partitions, needed, before)?;
            } else {
                let so_far = sources[..=i].to_vec();
                let planner = Planner { query, options: self.options, sources: so_far, settled: true, reads };
                reads = Reads::Chain(planner.link(next, partitions, needed, before)?);
            }
            key = next.clone();
        }
        Ok((sources, reads))
    }

    /// The stage that looks up what the sources so far are, and puts their rows under the next key.
    fn link(&self, next: &[Field], partitions: Option<u32>, needed: bool, before: &mut Staged) -> Planned<Chain> {
        let at = self.query.joins[0].on.at;
        let rows = self.rows(None)?;
        let columns: Vec<_> = self
            .sources
            .iter()
            .map(|(source, _)| (source.alias.clone(), Expr::new(at, Kind::Path([source.alias.as_str().into()].into()))))
            .collect();
        let (select, _) = Projection::new(&rows.schema, None, &columns, &self.options.salt, false)?;
        let mut writer = SchemaWriter::default();
        let mut fields = Vec::new();
        for (i, (_, relation)) in self.sources.iter().enumerate() {
            let part = writer.write(&relation.schema, relation.schema.root()).map_err(|other| {
                ExprError::new(
                    at,
                    format!("two different types are called {other}; select their fields in views of their own"),
                )
            })?;
            let left = i > 0 && self.query.joins[i - 1].how != How::Inner;
            fields.push(json!({"name": format!("p{i}"), "type": if left { json!(["null", part]) } else { part }}));
        }
        let path = |(of, field): &Field| {
            let names = [&*self.sources[*of].0.alias].into_iter().chain(field.split('.')).map(Box::from);
            Expr::new(at, Kind::Path(names.collect()))
        };
        let key: Vec<Expr> = next.iter().map(path).collect();
        let suffix = before.suffix();
        let topic = format!("{}-{suffix}", self.options.topic);
        let relation = Arc::new(Relation {
            name: topic.clone(),
            topic,
            table: false,
            key: next.iter().map(|(_, field)| field.clone()).collect(),
            key_schema: None,
            event_time: None,
            partitions,
            schema: parsed(&json!({"type": "record", "name": "Joined", "fields": fields}), at)?,
            personal: Default::default(),
            personal_key: key.iter().any(|e| self.clear(e).iter().any(|f| self.class(f).is_some())),
        });
        let (inputs, tables) = self.inputs();
        let mut task = Task::new(rows.operator, select, tables);
        task.rekey = Some(self.rekey(&rows.schema, &key, needed)?);
        let says = [format!("{}, re-keyed by {}", rows.says, relation.key.join(", ")), rows.state];
        before.push(&inputs, &relation, Some(suffix), says, Vec::new(), task);
        Ok(Chain { relation, sources: self.sources.len(), key })
    }

    /// The pairs of fields that a join compares: of relations before it, and of its own.
    fn pairs(&self, right: usize, error: &ExprError) -> Planned<Vec<((usize, String), String)>> {
        let Some(join) = self.query.joins.get(right - 1) else { return Ok(Vec::new()) };
        let (mut pairs, mut left_over) = (Vec::new(), vec![&join.on]);
        while let Some(e) = left_over.pop() {
            let two = match &e.kind {
                Kind::Binary(Binary::And, two) => {
                    left_over.extend(two.iter().rev());
                    continue;
                }
                Kind::Binary(Binary::Eq, two) => two,
                _ => return fail(e.at, "ON takes equalities of fields, joined with AND"),
            };
            let mut sides = [None, None];
            for (side, e) in sides.iter_mut().zip(two.iter()) {
                let Kind::Path(names) = self.resolved(e)?.kind else {
                    return fail(e.at, "a join meets by fields; give the expression a name in a view and join that");
                };
                let of = self.sources.iter().position(|(s, _)| *s.alias == *names[0]).unwrap_or_default();
                *side = Some(((of, names[1..].join(".")), self.column(of, &names[1..])));
            }
            let [Some((a, left)), Some((b, own))] = sides else { return Err(error.clone()) };
            if !meets(&left.ty, &own.ty) {
                return fail(
                    e.at,
                    format!(
                        "{} and {} have different texts as keys; CAST one of them in a view of its own",
                        left.ty, own.ty
                    ),
                );
            }
            match (a.0 == right, b.0 == right) {
                (false, true) if a.0 < right => pairs.push((a, b.1)),
                (true, false) if b.0 < right => pairs.push((b, a.1)),
                _ => return Err(error.clone()),
            }
        }
        Ok(pairs)
    }

    fn column(&self, of: usize, names: &[Box<str>]) -> Column {
        self.at(of, &names.iter().fold(weir_avro::FieldPath::root(), |path, name| path.join(name)))
    }

    /// The field of a relation at a path.
    pub(super) fn at(&self, of: usize, path: &weir_avro::FieldPath) -> Column {
        let schema = &self.sources[of].1.schema;
        schema.find(path).map_or(Column::new(SqlType::Null, true), |node| Column::of(schema, node))
    }

    /// A stream and tables: for each table the fields of sources before it that are its key.
    fn table_keys(&self, error: &ExprError) -> Planned<Vec<Vec<Field>>> {
        let mut all = Vec::new();
        for (right, (_, table)) in self.sources.iter().enumerate().skip(1) {
            self.found_by_text(right)?;
            let pairs = self.pairs(right, error)?;
            let field = |key: &String| Some(pairs.iter().find(|(_, own)| own == key)?.0.clone());
            let by: Option<Vec<Field>> = table.key.iter().map(field).collect();
            let whole = by.filter(|by| by.len() == pairs.len() && !by.is_empty());
            all.push(whole.ok_or_else(|| error.clone())?);
        }
        // A field of a table that was met under it is the field it was met by.
        let met: Vec<Vec<Field>> = all.clone();
        for by in &mut all {
            for field in by {
                while let Some(table) = field.0.checked_sub(1)
                    && let Some(place) = self.sources[field.0].1.key.iter().position(|key| *key == field.1)
                    && let Some(same) = met.get(table).and_then(|by| by.get(place))
                {
                    *field = same.clone();
                }
            }
        }
        Ok(all)
    }

    /// Two streams: the fields of both, in one order; none for one whose key they are.
    fn two_streams(&self, error: ExprError) -> Planned<Vec<By>> {
        let mut pairs = self.pairs(1, &error)?;
        // In the order of the key of one of them, where they are one.
        let keys = [&self.sources[0].1.key, &self.sources[1].1.key];
        let (left, right): (BTreeSet<_>, BTreeSet<_>) = (keys[0].iter().collect(), keys[1].iter().collect());
        let place = |key: &[String], field: &String| key.iter().position(|k| k == field);
        if pairs.iter().map(|((_, field), _)| field).collect::<BTreeSet<_>>() == left {
            pairs.sort_by_key(|((_, field), _)| place(keys[0], field));
        } else if pairs.iter().map(|(_, own)| own).collect::<BTreeSet<_>>() == right {
            pairs.sort_by_key(|(_, own)| place(keys[1], own));
        }
        let by = [pairs.iter().map(|p| p.0.1.clone()).collect::<Vec<_>>(), pairs.into_iter().map(|p| p.1).collect()];
        let moved =
            |(i, by): (usize, Vec<String>)| (by != *keys[i] || self.sources[i].1.key_schema.is_some()).then_some(by);
        Ok(by.into_iter().enumerate().map(moved).collect())
    }

    /// The fields of the left table that name the key of the right one, in its order.
    pub(super) fn foreign_key(&self, error: &ExprError) -> Planned<Vec<Expr>> {
        let at = self.query.joins.first().map_or(self.query.from.at, |j| j.on.at);
        let pairs = self.pairs(1, error)?;
        let field = |key: &String| {
            let ((_, field), _) = pairs.iter().find(|(_, own)| own == key)?;
            Some(Expr::new(at, Kind::Path(field.split('.').map(Box::from).collect())))
        };
        let key: Option<Vec<Expr>> = self.sources[1].1.key.iter().map(field).collect();
        key.filter(|key| key.len() == pairs.len() && !key.is_empty()).ok_or_else(|| error.clone())
    }

    /// The two stages of a join on a foreign key that stand before the join itself: the left rows ask, the right ones
    /// answer.
    fn asked(&self, error: ExprError, before: &mut Staged) -> Planned<Moved<'p>> {
        let [(left_source, left), (right_source, right)] = &self.sources[..] else {
            return fail(
                Pos { line: error.line, column: error.column },
                format!(
                    "{}; a join on a foreign key is of two tables, join more in a view that reads this one",
                    error.message
                ),
            );
        };
        let join = &self.query.joins[0];
        if join.how == How::Full {
            if left.key_schema != right.key_schema {
                return Err(error);
            }
            return fail(join.with.at, "a join on a foreign key is JOIN or LEFT JOIN");
        }
        self.found_by_text(1)?;
        let by = self.foreign_key(&error)?;
        let names: Vec<String> =
            by.iter().map(|e| if let Kind::Path(names) = &e.kind { names.join(".") } else { String::new() }).collect();
        let relation = |suffix: &str, key: &[String], key_schema, partitions, schema, personal_key| {
            let topic = format!("{}-{suffix}", self.options.topic);
            Arc::new(Relation {
                name: topic.clone(),
                topic,
                table: false,
                key: key.to_vec(),
                key_schema,
                event_time: None,
                partitions,
                schema,
                personal: Default::default(),
                personal_key,
            })
        };
        let asks = parsed(&serde_json::from_str(SUBSCRIPTION).unwrap_or_default(), join.on.at)?;
        let suffix = before.suffix();
        let asks = relation(&suffix, &right.key, None, right.partitions, asks, right.personal_key);
        let (none, _) = Projection::new(&left.schema, None, &[], &self.options.salt, false)?;
        let by = self.rekey(&left.schema, &by, true)?;
        let task = Task::new(Operator::Subscribe { by }, none, vec![true]);
        let says = [format!("rows of {} ask for {}", left.name, right.name), "what each key has asked for".to_owned()];
        before.push(&[Arc::clone(left)], &asks, Some(suffix), says, Vec::new(), task);

        let wanted = self.wanted(right_source)?;
        let path = |field: &str| Expr::new(join.on.at, Kind::Path([field.into()].into()));
        let fields = right.fields().into_iter().filter(|field| wanted.contains(*field));
        let columns: Vec<_> = fields.map(|field| (field.to_owned(), path(field))).collect();
        let (select, made) = Projection::new(&right.schema, None, &columns, &self.options.salt, false)?;
        let fields = self.fields(&columns, &made, &right.schema, &mut SchemaWriter::default(), "Right")?;
        let row = json!({"type": "record", "name": "Right", "fields": fields});
        let mut fields: Vec<_> = ANSWER.iter().map(|(name, ty)| json!({"name": name, "type": ty})).collect();
        fields.push(json!({"name": "right", "type": ["null", row]}));
        let answer = parsed(&json!({"type": "record", "name": "Answer", "fields": fields}), join.on.at)?;
        let suffix = before.suffix();
        let answers = relation(&suffix, &left.key, left.key_schema.clone(), left.partitions, answer, left.personal_key);
        let task = Task::new(Operator::Answer, select, vec![true, false]);
        let says = [
            format!("{} answers to {}", right.name, names.join(", ")),
            "the newest row of each key, and who has asked for it".to_owned(),
        ];
        before.push(&[Arc::clone(right), asks], &answers, Some(suffix), says, Vec::new(), task);
        let right = Relation { schema: parsed(&row, join.on.at)?, ..Relation::clone(right) };
        Ok((vec![(*left_source, Arc::clone(left)), (*right_source, Arc::new(right))], Reads::Answers(answers)))
    }

    /// The stage that puts a stream under another key, with the fields of it that the query reads.
    fn rekeyed(
        &self,
        i: usize,
        by: &[String],
        partitions: Option<u32>,
        needed: bool,
        before: &mut Staged,
    ) -> Planned<Arc<Relation>> {
        let (source, relation) = &self.sources[i];
        let at = self.query.joins.first().map_or(source.at, |j| j.on.at);
        let path = |field: &str| Expr::new(at, Kind::Path(field.split('.').map(Box::from).collect()));
        let wanted = self.wanted(source)?;
        let columns: Vec<_> = relation
            .fields()
            .into_iter()
            .filter(|field| wanted.contains(*field) || by.iter().any(|by| by.split('.').next() == Some(field)))
            .map(|field| (field.to_owned(), path(field)))
            .collect();
        let (select, made) = Projection::new(&relation.schema, None, &columns, &self.options.salt, false)?;
        let fields = self.fields(&columns, &made, &relation.schema, &mut SchemaWriter::default(), "Moved")?;
        let schema = parsed(&json!({"type": "record", "name": "Moved", "fields": fields}), at)?;
        let key: Vec<Expr> = by.iter().map(|field| path(field)).collect();
        let mut task = Task::new(Operator::Stream { rest: Vec::new() }, select, vec![false]);
        task.rekey = Some(self.rekey(&relation.schema, &key, needed)?);
        let suffix = before.suffix();
        let moved = Arc::new(Relation {
            name: relation.name.clone(),
            topic: format!("{}-{suffix}", self.options.topic),
            table: false,
            key: by.to_vec(),
            key_schema: None,
            event_time: relation.event_time.clone().filter(|path| schema.find(path).is_some()),
            partitions,
            schema,
            personal: relation.personal.clone(),
            personal_key: by.iter().any(|field| relation.personal.contains_key(field)),
        });
        let says = format!("re-key {} by {}, record by record", relation.name, by.join(", "));
        let inputs = [Arc::clone(relation)];
        before.push(&inputs, &moved, Some(suffix), [says, "none".to_owned()], Vec::new(), task);
        Ok(moved)
    }

    /// The fields of a source that the query reads.
    fn wanted(&self, source: &Source) -> Planned<BTreeSet<String>> {
        let query = self.query;
        let mut found = BTreeSet::new();
        let mut all: Vec<Expr> = Vec::new();
        all.extend(self.columns()?.into_iter().map(|(_, e)| e));
        let rest = query.filter.iter().chain(&query.having).chain(&query.partition).chain(&query.group);
        for e in rest.chain(query.joins.iter().map(|j| &j.on)) {
            all.push(self.resolved(e)?);
        }
        for e in &all {
            fields(e, source, &mut found)?;
        }
        Ok(found)
    }
}

fn fields(e: &Expr, source: &Source, found: &mut BTreeSet<String>) -> Planned<()> {
    match &e.kind {
        Kind::Path(names) if *names[0] == *source.alias => found.extend(names.get(1).map(ToString::to_string)),
        Kind::RowKey | Kind::RowPartition | Kind::RowOffset | Kind::Headers => {
            return fail(
                e.at,
                "rowkey, rowpartition, rowoffset and headers of a record do not go with it to another key; give them a name in a view of their own",
            );
        }
        _ => {}
    }
    e.inner().into_iter().try_for_each(|inner| fields(inner, source, found))
}
