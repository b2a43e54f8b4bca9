//! Several views at once: planned in the order in which they read each other, and their inline tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use weir_avro::{FieldPath, JsonForm, Kind, Limits, Logical, NodeId, Schema, Slot, Walker, from_json, to_json};
use weir_contract::{Diagnostic, Severity};
use weir_expr::Timestamp;

use crate::file::{Test, ViewFile};
use crate::flow::Flow;
use crate::plan::{Plan, plan};
use crate::relation::Relation;
use crate::task::{Emit, Fault, Output, Record};

/// Plans views over products, each after those it reads. What is wrong with one is a diagnostic; those that read it are
/// left out.
pub fn plan_all(products: Vec<Relation>, files: &[ViewFile]) -> (Vec<Option<Plan>>, Vec<Diagnostic>) {
    let mut relations: Vec<Arc<Relation>> = products.into_iter().map(Arc::new).collect();
    let mut plans: Vec<Option<Plan>> = files.iter().map(|_| None).collect();
    let mut found = Vec::new();
    let mut failed = BTreeSet::new();
    let mut left: Vec<usize> = (0..files.len()).collect();
    let at = |file: &ViewFile, code, message: String| Diagnostic {
        file: file.file.clone(),
        line: 1,
        column: 1,
        severity: Severity::Error,
        code,
        message,
    };
    for (i, file) in files.iter().enumerate() {
        let id = &file.options.id;
        let taken = relations.iter().any(|r| r.name == *id || r.topic == file.options.topic)
            || files
                .iter()
                .enumerate()
                .any(|(j, f)| j != i && (f.options.id == *id || f.options.topic == file.options.topic));
        if taken {
            found.push(at(
                file,
                "view-taken",
                format!("the id `{id}` or its topic belongs to another product or view; give this one another"),
            ));
            left.retain(|l| *l != i);
        }
    }
    loop {
        let waits = |i: usize, left: &[usize]| {
            let reads = Plan::reads(&files[i].sql).unwrap_or_default();
            let view =
                |name: &String| left.iter().any(|o| files[*o].options.id == *name || files[*o].options.topic == *name);
            reads.iter().any(view)
        };
        let Some(at) = left.iter().position(|i| !waits(*i, &left)) else { break };
        let i = left.remove(at);
        let file = &files[i];
        let reads = Plan::reads(&file.sql).unwrap_or_default();
        if reads.iter().any(|name| failed.contains(name)) {
            failed.insert(file.options.id.clone());
            continue;
        }
        match plan(&file.sql, &file.options, &relations) {
            Ok(made) => {
                let unread = file.allows_nothing(&made);
                if !unread.is_empty() {
                    failed.insert(file.options.id.clone());
                    found.extend(unread);
                    continue;
                }
                relations.push(Arc::clone(&made.output));
                plans[i] = Some(made);
            }
            Err(error) => {
                failed.insert(file.options.id.clone());
                found.push(file.diagnostic(&error));
            }
        }
    }
    let cycle: Vec<&str> = left.iter().map(|i| files[*i].options.id.as_str()).collect();
    for i in &left {
        found.push(at(
            &files[*i],
            "view-cycle",
            format!("these views read each other in a circle or something that does: {}; break it", cycle.join(", ")),
        ));
    }
    found.sort();
    (plans, found)
}

/// The key and the value of a record.
type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

#[derive(Default)]
struct Collected(Vec<Pair>);

impl Emit for Collected {
    fn emit(&mut self, output: Output<'_>) {
        self.0.push((output.key.map(<[u8]>::to_vec), output.value.map(<[u8]>::to_vec)));
    }
}

impl Test {
    /// Runs the test on one task of each stage with states in memory.
    ///
    /// # Errors
    /// What differs from what the test expects, for people.
    pub fn run(&self, plan: &Plan) -> Result<(), String> {
        let mut flow = Flow::new(plan).map_err(|e| e.to_string())?;
        let mut out = Collected::default();
        let (mut clock, mut faults) = (0, Vec::new());
        for (i, given) in self.given.iter().enumerate() {
            let place = format!("given[{i}]");
            let input = plan.inputs.iter().position(|r| r.name == given.from || r.topic == given.from);
            let input = input.ok_or_else(|| format!("{place}: the view does not read `{}`", given.from))?;
            let relation = &plan.inputs[input];
            let value = match &given.value {
                Json::Null => None,
                value => {
                    let whole = filled(&relation.schema, relation.schema.root(), value);
                    Some(from_json(&relation.schema, &whole, JsonForm::Plain).map_err(|e| format!("{place}: {e}"))?)
                }
            };
            let key = match &given.key {
                Some(key) => Some(key.clone()),
                None => key_of(relation, &given.value, value.as_deref()),
            };
            clock = match &given.time {
                Some(text) => Timestamp::parse(text)
                    .and_then(millis)
                    .ok_or_else(|| format!("{place}: `{text}` is no RFC 3339 time"))?,
                None => value.as_deref().and_then(|v| relation.time_of(v)).unwrap_or(clock),
            };
            let key = key.as_deref().map(str::as_bytes);
            let record =
                Record { key, value: value.as_deref(), time: clock, partition: 0, offset: i as i64, headers: &[] };
            match flow.process(&relation.name, &record, &mut out) {
                Ok(_) => {}
                Err(Fault::Record(fault)) => faults.push(format!("{place}: {fault}")),
                Err(fault) => return Err(format!("{place}: {fault}")),
            }
            faults.extend(flow.faults.drain(..).map(|fault| format!("{place}, behind a repartition: {fault}")));
            faults.extend(flow.undefined.drain(..).map(|row| format!("{place} makes due {}", row.reason)));
        }
        if faults.len() != self.faults {
            return Err(format!(
                "{} records or rows were put aside, {} expected\n{}",
                faults.len(),
                self.faults,
                faults.join("\n")
            ));
        }
        let schema = &plan.output.schema;
        let mut expected = Vec::new();
        for (i, (key, value)) in self.expect.iter().enumerate() {
            let value = match value {
                Json::Null => None,
                value => Some(from_json(schema, value, JsonForm::Plain).map_err(|e| format!("expect[{i}]: {e}"))?),
            };
            expected.push((key.clone().map(String::into_bytes), value));
        }
        if expected == out.0 {
            return Ok(());
        }
        let show = |records: &[Pair]| {
            let line = |(key, value): &Pair| {
                let value =
                    value.as_ref().map_or(Json::Null, |v| to_json(schema, v, JsonForm::Plain).unwrap_or_default());
                let key = key.as_ref().map(|k| String::from_utf8_lossy(k).into_owned());
                format!("  {}\n", json!({"key": key, "value": value}))
            };
            records.iter().map(line).collect::<String>()
        };
        Err(format!("came out:\n{}expected:\n{}", show(&out.0), show(&expected)))
    }
}

fn millis(t: Timestamp) -> Option<i64> {
    i64::try_from(t.as_duration().as_millis()).ok()
}

/// The text of the key that a value has: its JSON, but for times, which are numbers in a key.
fn key_of(relation: &Relation, value: &Json, datum: Option<&[u8]>) -> Option<String> {
    let part = |field: &String| {
        let path = FieldPath::parse(field);
        let node = relation.schema.find(&path).map(|node| relation.schema.non_null(node).0);
        if let (Some(datum), Some(Kind::Int | Kind::Long)) = (datum, node.map(|n| &relation.schema.node(n).kind)) {
            let walker = Walker::new(Arc::clone(&relation.schema), &[path], Limits::default()).ok()?;
            let mut slots = Vec::new();
            walker.walk(datum, &mut slots).ok()?;
            return if let Some(Slot::Long(n)) = slots.first() { Some(n.to_string()) } else { None };
        }
        let found = field.split('.').try_fold(value, |at, name| at.get(name))?;
        found.as_str().map(str::to_owned).or_else(|| Some(found.to_string()))
    };
    let parts = relation.key.iter().map(part).collect::<Option<Vec<_>>>()?;
    (!parts.is_empty()).then(|| parts.join("|"))
}

/// The value with the least of each type where a field of a record is left out.
fn filled(schema: &Schema, id: NodeId, value: &Json) -> Json {
    let (Kind::Record { fields }, Json::Object(given)) = (&schema.node(id).kind, value) else { return value.clone() };
    let mut whole = given.clone();
    for field in fields {
        if !whole.contains_key(&*field.name) && field.default.is_none() {
            whole.insert(field.name.to_string(), least(schema, field.node));
        }
    }
    whole.into()
}

fn least(schema: &Schema, id: NodeId) -> Json {
    let node = schema.node(id);
    match (&node.kind, node.logical) {
        (Kind::Null, _) => Json::Null,
        (_, Some(Logical::Uuid)) => json!("00000000-0000-0000-0000-000000000000"),
        (_, Some(Logical::Decimal { .. } | Logical::BigDecimal)) => json!("0"),
        (Kind::Boolean, _) => json!(false),
        (Kind::Int | Kind::Long | Kind::Float | Kind::Double, _) => json!(0),
        (Kind::String | Kind::Bytes, _) => json!(""),
        (Kind::Enum { symbols, .. }, _) => json!(symbols.first()),
        (Kind::Array { .. }, _) => json!([]),
        (Kind::Map { .. }, _) => json!({}),
        (Kind::Union { branches }, _) => branches.first().map_or(Json::Null, |b| least(schema, *b)),
        (Kind::Record { .. }, _) => filled(schema, id, &json!({})),
        (Kind::Fixed { size }, _) => json!("A".repeat(size.div_ceil(3) * 4)),
    }
}
