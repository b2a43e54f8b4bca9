//! From a query and the relations it names to a plan: what comes out, under which key, from what, by which operators.
//!
//! A plan is a short row of stages. Where the key really changes, a stage writes an internal topic that the next reads;
//! the last one writes the view.

mod encoding;
mod explode;
mod group;
mod join;
mod lineage;
mod masks;
mod moved;
mod names;
mod schema;
mod select;
mod show;
mod stage;
mod union;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;
use weir_expr::sql::{Expr, Kind};
use weir_expr::{ExprError, Pos};

pub use stage::{Stage, StageInput};

use crate::aggregate;
use crate::relation::Relation;
use crate::sql::{Query, Source};
use crate::task::Task;
use stage::{Recipe, Staged};

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
    /// The products and views it reads. With one stage they are in the order the task numbers them; with several each
    /// [`Stage`] has inputs of its own.
    pub inputs: Vec<Arc<Relation>>,
    /// What comes out.
    pub output: Arc<Relation>,
    /// The text of the output schema.
    pub schema: Json,
    /// The operator of the last stage, in a line.
    pub operator: String,
    /// What the state of the last stage will hold, in a line.
    pub state: String,
    /// Whether the inputs lie together, in a line.
    pub copartitioned: String,
    /// For each output field the fields it is made of, and the masks on it.
    pub lineage: Vec<Lineage>,
    /// Worth knowing.
    pub notes: Vec<String>,
    /// The fields that the query and the keys of what it reads are made of, as `domain.product.field`.
    pub fields: BTreeSet<String>,
    stages: Vec<Stage>,
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

/// A plan and the task of each of its stages.
type Built = (Plan, Vec<Task>);

struct Planner<'p> {
    query: &'p Query,
    options: &'p Options,
    sources: Vec<(&'p Source, Arc<Relation>)>,
    /// Whether what a join needs under another key has it.
    settled: bool,
    reads: Reads,
}

/// What the sources of a join are read as.
#[derive(Clone, Default)]
enum Reads {
    /// Each as itself.
    #[default]
    Sources,
    /// The right side of a join on a foreign key as its answers.
    Answers(Arc<Relation>),
    /// The first ones, joined in stages before, as their rows.
    Chain(Chain),
}

/// The rows of a stream and the tables that it has met so far.
#[derive(Clone)]
struct Chain {
    relation: Arc<Relation>,
    /// How many of the sources are in it.
    sources: usize,
    /// The fields that are its key, from the root of the row.
    key: Vec<Expr>,
}

/// Plans the query `text` of a view over `relations`.
///
/// # Errors
/// The first thing that is wrong, with its place in the text and what would work.
pub fn plan(text: &str, options: &Options, relations: &[Arc<Relation>]) -> Planned<Plan> {
    let query = crate::sql::parse(text)?;
    let (mut plan, _) = build(&query, options, relations)?;
    let recipe = Arc::new(Recipe { query, options: options.clone(), relations: relations.to_vec() });
    for (i, stage) in plan.stages.iter_mut().enumerate() {
        stage.recipe = Some((Arc::clone(&recipe), i));
    }
    Ok(plan)
}

impl Plan {
    /// What it takes to run it, in order: a view whose key does not change on the way is one stage. The last stage writes
    /// the view, each other one an internal topic that a later one reads.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The task of every stage, in order, each for one partition.
    ///
    /// # Errors
    /// None that [`plan`] has not found; the plan is compiled anew.
    pub fn tasks(&self) -> Planned<Vec<Task>> {
        match self.stages.first().and_then(|stage| stage.recipe.as_ref()) {
            Some((of, _)) => build(&of.query, &of.options, &of.relations).map(|(_, tasks)| tasks),
            None => Ok(Vec::new()),
        }
    }

    /// A task for one partition of the inputs of a plan of one stage.
    ///
    /// # Errors
    /// For a plan of several stages, each of which has a task of its own; otherwise none that [`plan`] has not found:
    /// the plan is compiled anew.
    pub fn task(&self) -> Planned<Task> {
        match &self.stages[..] {
            [stage] => stage.task(),
            stages => fail(Pos::default(), format!("the plan has {} stages; run the task of each", stages.len())),
        }
    }

    /// Whether what the last stage puts out has another key than what goes in, so that the key says in which partition it
    /// lies; otherwise it lies in that of its input.
    pub fn rekeyed(&self) -> bool {
        self.stages.last().is_some_and(|stage| stage.rekeyed)
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

fn build(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<Built> {
    if query.union.is_empty() { select(query, options, relations) } else { union::union(query, options, relations) }
}

/// Plans one SELECT, whatever a UNION ALL puts behind it.
fn select(query: &Query, options: &Options, relations: &[Arc<Relation>]) -> Planned<Built> {
    let mut sources = Vec::new();
    for source in self::sources(query) {
        let Some(relation) = relations.iter().find(|r| r.name == source.name || r.topic == source.name) else {
            let known: Vec<&str> = relations.iter().map(|r| &*r.name).collect();
            let known =
                if known.is_empty() { "none is known".to_owned() } else { format!("known are {}", known.join(", ")) };
            return fail(source.at, format!("there is no product or view `{}`; {known}", source.name));
        };
        if sources.iter().any(|(known, _): &(&Source, _)| known.alias == source.alias) {
            return fail(source.at, format!("two relations are called `{}`; give one another alias", source.alias));
        }
        sources.push((source, Arc::clone(relation)));
    }
    Planner { query, options, sources, settled: false, reads: Reads::Sources }.plan(Staged::default())
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
