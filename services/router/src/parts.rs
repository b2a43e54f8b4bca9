//! What can run of the views: the stages whose topics are as they must be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_kafka::Admin;
use weir_view::Stage;

use crate::task::{Trouble, changelog};
use crate::views::{Set, View};

/// A stage of a view that can run, with the number of partitions of its inputs.
#[derive(Clone)]
pub struct Part {
    /// The view.
    pub view: Arc<View>,
    /// The number of its stage.
    pub stage: usize,
    /// How many partitions its inputs have, each.
    pub partitions: i32,
    /// How many the topic has that it writes.
    pub written: i32,
}

/// The stages of the views whose topics are as they must be, and why the others cannot run.
pub type Runnable = (Vec<Part>, BTreeMap<String, String>);

/// What can run of the views, as the topics are now.
///
/// # Errors
/// [`Trouble::Kafka`] while the cluster is away.
pub fn runnable(set: &Set, admin: &Admin) -> Result<Runnable, Trouble> {
    let there = admin.topics()?;
    let mut parts = Vec::new();
    let mut blocked = BTreeMap::new();
    for view in &set.views {
        let all: Result<Vec<(i32, i32)>, String> =
            view.stages().iter().map(|stage| partitions(view, stage, &there)).collect();
        match all {
            Ok(all) => parts.extend((0..).zip(all).map(|(stage, (partitions, written))| Part {
                view: Arc::clone(view),
                stage,
                partitions,
                written,
            })),
            Err(reason) => drop(blocked.insert(view.id.clone(), reason)),
        }
    }
    Ok((parts, blocked))
}

/// How many partitions the inputs of a stage have, and the topic that it writes.
fn partitions(view: &View, stage: &Stage, there: &BTreeMap<String, i32>) -> Result<(i32, i32), String> {
    let of = |topic: &str| {
        there.get(topic).copied().ok_or_else(|| format!("topic {topic} does not exist; apply its contract or view"))
    };
    let mut counts = Vec::new();
    for input in &stage.inputs {
        counts.push((&*input.relation.topic, of(&input.relation.topic)?));
    }
    let Some((first, count)) = counts.first().copied() else { return Err("it reads nothing".to_owned()) };
    if let Some((other, differs)) = counts.iter().find(|(_, n)| *n != count) {
        return Err(format!(
            "{first} has {count} partitions and {other} has {differs}; rows of one key would not meet, give them the same number"
        ));
    }
    let mut same = vec![changelog(stage), view.quarantine()];
    same.extend(view.late());
    let written = of(&stage.output.topic)?;
    if !stage.rekeyed {
        same.push(stage.output.topic.clone());
    }
    for topic in same {
        let has = of(&topic)?;
        if has < count {
            return Err(format!("topic {topic} has {has} partitions and {first} has {count}; give it as many"));
        }
    }
    Ok((count, written))
}

/// The partitions that tasks write: of their changelogs, of what comes out of them, and of what they put aside. Where the key of what comes
/// out chooses the partition, that is any.
pub fn written<'p>(tasks: impl Iterator<Item = (&'p Part, i32)>) -> BTreeSet<(String, i32)> {
    let mut places = BTreeSet::new();
    for (part, partition) in tasks {
        let (view, stage) = (&part.view, &part.view.stages()[part.stage]);
        let beside = [changelog(stage), view.quarantine()].into_iter().chain(view.late());
        places.extend(beside.map(|topic| (topic, partition)));
        let out = if stage.rekeyed { 0..part.written } else { partition..partition + 1 };
        places.extend(out.map(|partition| (stage.output.topic.clone(), partition)));
    }
    places
}
