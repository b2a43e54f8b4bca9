//! The stages of a plan, and the topics between them.

use std::sync::Arc;

use weir_expr::Pos;

use super::{Options, Planned, build, fail};
use crate::relation::Relation;
use crate::sql::Query;
use crate::task::Task;

/// A part of a plan that runs under one key: a task for each partition of its inputs, and one topic that it writes.
#[derive(Debug)]
pub struct Stage {
    /// What it reads, in the order its task numbers them. They lie together: same number of partitions, same key.
    pub inputs: Vec<StageInput>,
    /// What it writes: the view, or an internal topic, whose records are Avro of this relation's schema under text keys.
    /// An internal topic needs as many partitions as the relation says, or as the input of the stage where it says none.
    pub output: Arc<Relation>,
    /// What follows the topic of the view in the name of an internal topic, behind a `-`, as in `repartition-1`; none
    /// for the view itself.
    pub suffix: Option<String>,
    /// Whether what comes out has another key than what goes in, so that the key says in which partition it lies.
    pub rekeyed: bool,
    /// The operator, in a line.
    pub operator: String,
    /// What the state will hold, in a line.
    pub state: String,
    pub(super) notes: Vec<String>,
    pub(super) recipe: Option<(Arc<Recipe>, usize)>,
}

/// What a stage reads.
#[derive(Clone, Debug)]
pub struct StageInput {
    /// The relation, whose topic it is.
    pub relation: Arc<Relation>,
    /// The number of the stage that writes it; none for a product or another view.
    pub from: Option<usize>,
}

/// What a plan is made of, to compile its tasks anew.
#[derive(Debug)]
pub(super) struct Recipe {
    pub query: Query,
    pub options: Options,
    pub relations: Vec<Arc<Relation>>,
}

impl Stage {
    /// A task for one partition of the inputs.
    ///
    /// # Errors
    /// None that [`plan`](super::plan) has not found; the plan is compiled anew.
    pub fn task(&self) -> Planned<Task> {
        let found = match &self.recipe {
            Some((of, i)) => build(&of.query, &of.options, &of.relations)?.1.into_iter().nth(*i),
            None => None,
        };
        found.map_or_else(|| fail(Pos::default(), "the plan has no such stage"), Ok)
    }
}

/// The stages so far.
#[derive(Default)]
pub(super) struct Staged {
    pub stages: Vec<Stage>,
    pub tasks: Vec<Task>,
}

impl Staged {
    /// What follows the topic of the view in the name of the next internal topic.
    pub(super) fn suffix(&self) -> String {
        format!("repartition-{}", self.stages.len() + 1)
    }

    /// Puts a stage behind those before it.
    pub(super) fn push(
        &mut self,
        inputs: &[Arc<Relation>],
        output: &Arc<Relation>,
        suffix: Option<String>,
        [operator, state]: [String; 2],
        notes: Vec<String>,
        task: Task,
    ) {
        let from = |relation: &Arc<Relation>| self.stages.iter().position(|stage| stage.output.topic == relation.topic);
        let inputs = inputs.iter().map(|r| StageInput { relation: Arc::clone(r), from: from(r) }).collect();
        let output = Arc::clone(output);
        let rekeyed = task.rekeys();
        self.stages.push(Stage { inputs, output, suffix, rekeyed, operator, state, notes, recipe: None });
        self.tasks.push(task);
    }

    /// The products and views that are read, each once.
    pub(super) fn inputs(&self) -> Vec<Arc<Relation>> {
        let mut found: Vec<Arc<Relation>> = Vec::new();
        for input in self.stages.iter().flat_map(|s| &s.inputs).filter(|i| i.from.is_none()) {
            if found.iter().all(|r| r.topic != input.relation.topic) {
                found.push(Arc::clone(&input.relation));
            }
        }
        found
    }
}
