//! `UNION ALL`: several SELECTs over streams, each record by record, into one output.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::encoding::unlike;
use super::stage::Staged;
use super::{Built, Options, Plan, Planned, fail, select};
use crate::relation::Relation;
use crate::sql::Query;
use crate::task::{Operator, Task};

/// What of a schema decides how a datum is read and what it means.
const MEANING: [&str; 10] =
    ["type", "name", "fields", "items", "values", "symbols", "size", "logicalType", "precision", "scale"];

pub(super) fn union(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<Built> {
    if let Some(e) = &query.partition {
        return fail(e.at, "a UNION ALL keeps the key of its streams; re-key each in a view of its own");
    }
    if let Some(at) = query.last {
        return fail(at, "EMIT FINAL needs GROUP BY with a window: without one nothing is final");
    }
    let mut all: Vec<(Plan, Task)> = Vec::new();
    for one in std::iter::once(query).chain(&query.union) {
        let at = one.from.at;
        let (plan, mut tasks) = select(one, options, relations)?;
        let Some(task) = tasks.pop().filter(|_| plan.inputs.len() == 1 && tasks.is_empty() && !plan.output.table)
        else {
            return fail(at, "UNION ALL is of SELECTs that read one stream each; make a view of a join and read that");
        };
        let input = &plan.inputs[0];
        if all.iter().any(|(other, _)| other.inputs[0].name == input.name) {
            return fail(
                at,
                format!("UNION ALL reads {} twice; use OR in WHERE, or EXPLODE(ARRAY[x, y]) AS name", input.name),
            );
        }
        if let Some((first, _)) = all.first() {
            together(first, &plan).or_else(|message| fail(at, message))?;
        }
        all.push((plan, task));
    }
    let partitions: BTreeSet<_> = all.iter().filter_map(|(plan, _)| plan.inputs[0].partitions).collect();
    let copartitioned = match (partitions.first(), partitions.last()) {
        (Some(a), Some(b)) if a != b => {
            return fail(
                query.from.at,
                format!("the inputs have {a} and {b} partitions; give them the same number in their contracts"),
            );
        }
        (Some(count), _) if all.iter().all(|(plan, _)| plan.inputs[0].partitions.is_some()) => {
            format!("yes: {count} partitions, murmur2 of the same key")
        }
        _ => "unknown: not every contract says how many partitions its topic has".to_owned(),
    };
    let count = all.len();
    let mut all = all.into_iter();
    let Some((mut plan, mut task)) = all.next() else { return fail(query.from.at, "a view is one SELECT") };
    let mut output = Relation::clone(&plan.output);
    let mut rest = Vec::new();
    for (other, one) in all {
        plan.inputs.extend(other.inputs);
        for (field, more) in plan.lineage.iter_mut().zip(other.lineage) {
            field.from.extend(more.from);
            field.masks.extend(more.masks);
            field.from.sort();
            field.from.dedup();
            field.masks.sort();
            field.masks.dedup();
        }
        plan.notes.extend(other.notes);
        plan.fields.extend(other.fields);
        output.event_time = output.event_time.filter(|path| other.output.event_time.as_ref() == Some(path));
        output.partitions = output.partitions.or(other.output.partitions);
        output.personal_key |= other.output.personal_key;
        for (field, class) in &other.output.personal {
            output.personal.entry(field.clone()).or_insert_with(|| class.clone());
        }
        rest.push(one);
    }
    plan.output = Arc::new(output);
    plan.operator = format!("union of {count} streams, record by record");
    plan.copartitioned = copartitioned;
    task.operator = Operator::Stream { rest };
    let mut staged = Staged::default();
    let says = [plan.operator.clone(), plan.state.clone()];
    staged.push(&plan.inputs, &plan.output, None, says, Vec::new(), task);
    plan.stages = staged.stages;
    Ok((plan, staged.tasks))
}

/// Whether the records of both can stand in one topic; otherwise what to do.
fn together(first: &Plan, other: &Plan) -> Result<(), String> {
    let (a, b) = (&first.output, &other.output);
    let names = (&first.inputs[0].name, &other.inputs[0].name);
    if a.fields() != b.fields() {
        return Err(format!(
            "each SELECT of a UNION ALL has the same fields in the same order: here {}, from {} {}; name them with AS",
            b.fields().join(", "),
            names.0,
            a.fields().join(", ")
        ));
    }
    for (field, more) in first.lineage.iter().zip(&other.lineage) {
        if field.ty != more.ty {
            return Err(format!(
                "`{}` is {} here and {} from {}; use CAST, or COALESCE for one that may be null",
                field.field, more.ty, field.ty, names.0
            ));
        }
    }
    if meaning(&first.schema) != meaning(&other.schema) {
        return Err(format!(
            "the fields of {} and {} have the same SQL types but not the same Avro schemas; use CAST",
            names.0, names.1
        ));
    }
    if a.key.is_empty() || a.key != b.key {
        let key = |of: &[String]| if of.is_empty() { "no field".to_owned() } else { of.join(", ") };
        return Err(format!(
            "the SELECTs of a UNION ALL have one key, made of their fields: here it is {}, from {} {}; select the key under the same name, or re-key a stream with PARTITION BY in a view of its own",
            key(&b.key),
            names.0,
            key(&a.key)
        ));
    }
    if a.key_schema != b.key_schema {
        return Err(unlike(&first.inputs[0], &other.inputs[0]));
    }
    Ok(())
}

/// A schema without its documentation, defaults and properties.
fn meaning(schema: &Json) -> Json {
    match schema {
        Json::Array(all) => all.iter().map(meaning).collect(),
        Json::Object(all) => {
            let kept = all.iter().filter(|(name, _)| MEANING.contains(&name.as_str()));
            Json::Object(kept.map(|(name, value)| (name.clone(), meaning(value))).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
