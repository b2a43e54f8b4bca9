//! From what contracts ask and what the cluster has to the steps between them. Pure: nothing is asked, nothing is
//! changed, and either all steps are there or the reasons why there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};
use weir_avro::{Schema, can_read};
use weir_registry::Compatibility;

/// The topics of one contract object; they have equally many partitions, for a record keeps its partition.
#[derive(Debug, Clone, Default)]
pub struct WantedTopics {
    /// The contract that asks, as `id@version`.
    pub contract: String,
    /// How many partitions; where it says nothing, as many as there are, or the default.
    pub partitions: Option<u32>,
    /// How many partitions new topics get where nothing else says it.
    pub default_partitions: u32,
    /// The product topic first.
    pub topics: Vec<WantedTopic>,
}

/// One topic.
#[derive(Debug, Clone, Default)]
pub struct WantedTopic {
    /// Its name.
    pub name: String,
    /// The configuration it must have.
    pub configs: BTreeMap<String, String>,
}

/// A subject.
#[derive(Debug, Clone)]
pub struct WantedSubject {
    /// The contract that asks, as `id@version`.
    pub contract: String,
    /// Its name.
    pub subject: String,
    /// The schema its events are written with.
    pub schema: String,
    /// The level it must have; the registry's own where it says nothing.
    pub level: Option<Compatibility>,
}

/// A contract to be published.
#[derive(Debug, Clone)]
pub struct WantedContract {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The record of the contracts topic.
    pub record: Vec<u8>,
    /// The topics it governs.
    pub topics: Vec<String>,
}

/// A view to be published.
#[derive(Debug, Clone)]
pub struct WantedView {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The record of the views topic.
    pub record: Vec<u8>,
}

/// Everything contracts and views ask.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Topics.
    pub topics: Vec<WantedTopics>,
    /// Subjects.
    pub subjects: Vec<WantedSubject>,
    /// Contracts.
    pub contracts: Vec<WantedContract>,
    /// Views.
    pub views: Vec<WantedView>,
}

/// A topic as it is.
#[derive(Debug, Clone, Default)]
pub struct Topic {
    /// Its partitions.
    pub partitions: u32,
    /// The configuration in force.
    pub configs: BTreeMap<String, String>,
}

/// A subject as it is.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The level it has by itself.
    pub level: Option<Compatibility>,
    /// Whether exactly the wanted schema is registered.
    pub registered: bool,
    /// The schemas it has, oldest first, with their versions.
    pub versions: Vec<(u32, String)>,
}

/// A contract as it is.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The version in the contracts topic.
    pub version: String,
    /// Its record.
    pub record: Vec<u8>,
    /// The topics it governs.
    pub topics: Vec<String>,
}

/// The cluster as it is, as far as it is asked about.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// Subjects by name.
    pub subjects: BTreeMap<String, Subject>,
    /// The level of subjects that have none.
    pub level: Option<Compatibility>,
    /// Contracts by id, all of them.
    pub contracts: BTreeMap<String, Contract>,
    /// Version and record of views by id, all of them.
    pub views: BTreeMap<String, (String, Vec<u8>)>,
}

/// One change. Steps are done in the order of the variants: topics, subjects, contracts, views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A topic that is not there.
    CreateTopic {
        /// Its name.
        topic: String,
        /// How many partitions.
        partitions: u32,
        /// Its own configuration.
        configs: BTreeMap<String, String>,
    },
    /// More partitions.
    AddPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        old: u32,
        /// How many it gets.
        new: u32,
    },
    /// A changed configuration.
    SetConfig {
        /// The topic.
        topic: String,
        /// Name, value in force, value to be.
        changes: Vec<(String, String, String)>,
    },
    /// A compatibility level.
    SetLevel {
        /// The subject.
        subject: String,
        /// The level it has by itself.
        old: Option<Compatibility>,
        /// The level it gets.
        new: Compatibility,
    },
    /// A new version of a subject.
    Register {
        /// The subject.
        subject: String,
        /// The schema.
        schema: String,
        /// The newest version so far.
        old: Option<u32>,
    },
    /// A contract for the contracts topic.
    Publish {
        /// Its id.
        contract: String,
        /// The version there.
        old: Option<String>,
        /// The version to be.
        new: String,
        /// The record.
        record: Vec<u8>,
    },
    /// A view for the views topic.
    PublishView {
        /// Its id.
        view: String,
        /// The version there.
        old: Option<String>,
        /// The version to be.
        new: String,
        /// The record.
        record: Vec<u8>,
    },
}

/// Steps, in the order they are to be done; or, where there is any, what forbids all of them.
pub fn plan(wanted: &Wanted, observed: &Observed) -> Result<Vec<Step>, Vec<String>> {
    let mut steps = Vec::new();
    let mut problems = Vec::new();
    for group in &wanted.topics {
        topics(group, observed, &mut steps, &mut problems);
    }
    let mut seen = BTreeSet::new();
    for subject in &wanted.subjects {
        // Two topics may share a subject that is named after the record.
        if seen.insert((&subject.subject, &subject.schema)) {
            self::subject(subject, observed, &mut steps, &mut problems);
        }
    }
    for contract in &wanted.contracts {
        self::contract(contract, observed, &mut steps, &mut problems);
    }
    for view in &wanted.views {
        let current = observed.views.get(&view.id);
        if current.is_none_or(|(_, record)| !same_json(record, &view.record)) {
            steps.push(Step::PublishView {
                view: view.id.clone(),
                old: current.map(|(version, _)| version.clone()),
                new: view.version.clone(),
                record: view.record.clone(),
            });
        }
    }
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}

fn topics(group: &WantedTopics, observed: &Observed, steps: &mut Vec<Step>, problems: &mut Vec<String>) {
    let there = group.topics.iter().filter_map(|topic| observed.topics.get(&topic.name));
    let most = there.map(|topic| topic.partitions).max();
    let partitions = group.partitions.or(most).unwrap_or(group.default_partitions);
    for topic in &group.topics {
        let configs = topic.configs.clone();
        let Some(current) = observed.topics.get(&topic.name) else {
            steps.push(Step::CreateTopic { topic: topic.name.clone(), partitions, configs });
            continue;
        };
        if current.partitions > partitions {
            problems.push(format!(
                "{}: topic {} has {} partitions and {partitions} are asked for; partitions cannot be taken away, ask for {}",
                group.contract, topic.name, current.partitions, current.partitions
            ));
        } else if current.partitions < partitions {
            steps.push(Step::AddPartitions { topic: topic.name.clone(), old: current.partitions, new: partitions });
        }
        let changes: Vec<_> = configs
            .into_iter()
            .filter_map(|(name, new)| {
                let old = current.configs.get(&name).cloned().unwrap_or_default();
                (!same_config(&name, &old, &new)).then_some((name, old, new))
            })
            .collect();
        if !changes.is_empty() {
            steps.push(Step::SetConfig { topic: topic.name.clone(), changes });
        }
    }
}

/// `compact,delete` says the same in any order.
fn same_config(name: &str, old: &str, new: &str) -> bool {
    let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<BTreeSet<_>>();
    old == new || (name == "cleanup.policy" && parts(old) == parts(new))
}

fn subject(wanted: &WantedSubject, observed: &Observed, steps: &mut Vec<Step>, problems: &mut Vec<String>) {
    let none = Subject::default();
    let current = observed.subjects.get(&wanted.subject).unwrap_or(&none);
    if let Some(new) = wanted.level.filter(|level| current.level != Some(*level)) {
        steps.push(Step::SetLevel { subject: wanted.subject.clone(), old: current.level, new });
    }
    if current.registered {
        return;
    }
    let level = wanted.level.or(current.level).or(observed.level).unwrap_or(Compatibility::Backward);
    for problem in incompatible(&wanted.schema, &current.versions, level) {
        problems.push(format!("{}: subject {}: {problem}", wanted.contract, wanted.subject));
    }
    let old = current.versions.last().map(|(version, _)| *version);
    steps.push(Step::Register { subject: wanted.subject.clone(), schema: wanted.schema.clone(), old });
}

/// What a level forbids about a new schema. The registry judges again; this is so that nothing is half applied.
fn incompatible(schema: &str, versions: &[(u32, String)], level: Compatibility) -> Vec<String> {
    use Compatibility as Level;
    let (backward, forward) = match level {
        Level::None => return Vec::new(),
        Level::Backward | Level::BackwardTransitive => (true, false),
        Level::Forward | Level::ForwardTransitive => (false, true),
        Level::Full | Level::FullTransitive => (true, true),
    };
    let all = matches!(level, Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive);
    let new = match Schema::parse(schema) {
        Ok(new) => new,
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    for (version, text) in if all { versions } else { &versions[versions.len().saturating_sub(1)..] } {
        let old = match Schema::parse(text) {
            Ok(old) => old,
            Err(error) => {
                problems.push(format!("version {version} cannot be compared: {error}"));
                continue;
            }
        };
        let mut say = |findings: Vec<weir_avro::Incompatibility>, what: &str| {
            for finding in findings {
                problems.push(format!(
                    "{what} version {version}, as {} asks: {} at {}",
                    level_name(level),
                    finding.message,
                    finding.path
                ));
            }
        };
        if backward {
            say(can_read(&old, &new), "the new schema cannot read");
        }
        if forward {
            say(can_read(&new, &old), "the new schema cannot be read with");
        }
    }
    problems
}

fn contract(wanted: &WantedContract, observed: &Observed, steps: &mut Vec<Step>, problems: &mut Vec<String>) {
    for (id, other) in observed.contracts.iter().filter(|(id, _)| **id != wanted.id) {
        for topic in wanted.topics.iter().filter(|topic| other.topics.contains(topic)) {
            problems.push(format!(
                "{}@{}: topic {topic} is governed by contract {id}@{} in the cluster; withdraw that one first",
                wanted.id, wanted.version, other.version
            ));
        }
    }
    let current = observed.contracts.get(&wanted.id);
    if current.is_none_or(|current| !same_json(&current.record, &wanted.record)) {
        steps.push(Step::Publish {
            contract: wanted.id.clone(),
            old: current.map(|current| current.version.clone()),
            new: wanted.version.clone(),
            record: wanted.record.clone(),
        });
    }
}

fn same_json(one: &[u8], other: &[u8]) -> bool {
    let parse = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    one == other || parse(one).is_some_and(|value| Some(value) == parse(other))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CreateTopic { topic, partitions, configs } => {
                let configs: Vec<String> = configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "+ topic {topic}: partitions={partitions} {}", configs.join(" "))
            }
            Step::AddPartitions { topic, old, new } => {
                write!(f, "~ topic {topic}: partitions {old} -> {new} (keys map to other partitions from then on)")
            }
            Step::SetConfig { topic, changes } => {
                let shown = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
                let changes: Vec<String> =
                    changes.iter().map(|(name, old, new)| format!("{name} {} -> {new}", shown(old))).collect();
                write!(f, "~ topic {topic}: {}", changes.join(", "))
            }
            Step::SetLevel { subject, old, new } => match old {
                Some(old) => {
                    write!(f, "~ subject {subject}: compatibility {} -> {}", level_name(*old), level_name(*new))
                }
                None => write!(f, "+ subject {subject}: compatibility {}", level_name(*new)),
            },
            Step::Register { subject, old: None, .. } => write!(f, "+ subject {subject}: first version"),
            Step::Register { subject, old: Some(version), .. } => {
                write!(f, "~ subject {subject}: new version behind version {version}")
            }
            Step::Publish { contract, old, new, .. } => publishes(f, "contract", contract, old.as_deref(), new),
            Step::PublishView { view, old, new, .. } => publishes(f, "view", view, old.as_deref(), new),
        }
    }
}

fn publishes(f: &mut fmt::Formatter<'_>, what: &str, id: &str, old: Option<&str>, new: &str) -> fmt::Result {
    match old {
        None => write!(f, "+ {what} {id}: version {new}"),
        Some(old) if old == new => {
            write!(f, "~ {what} {id}: new text under the same version {new} (raise the version)")
        }
        Some(old) => write!(f, "~ {what} {id}: version {old} -> {new}"),
    }
}

fn level_name(level: Compatibility) -> String {
    match serde_json::to_value(level) {
        Ok(Value::String(name)) => name,
        _ => format!("{level:?}"),
    }
}

impl Step {
    /// The step for a machine.
    pub fn json(&self) -> Value {
        match self {
            Step::CreateTopic { topic, partitions, configs } => {
                json!({ "step": "create-topic", "topic": topic, "partitions": partitions, "configs": configs })
            }
            Step::AddPartitions { topic, old, new } => {
                json!({ "step": "add-partitions", "topic": topic, "old": old, "new": new })
            }
            Step::SetConfig { topic, changes } => {
                let changes: Vec<Value> =
                    changes.iter().map(|(name, old, new)| json!({ "config": name, "old": old, "new": new })).collect();
                json!({ "step": "set-config", "topic": topic, "changes": changes })
            }
            Step::SetLevel { subject, old, new } => {
                json!({ "step": "set-compatibility", "subject": subject, "old": old, "new": new })
            }
            Step::Register { subject, old, .. } => json!({ "step": "register", "subject": subject, "old": old }),
            Step::Publish { contract, old, new, .. } => {
                json!({ "step": "publish", "contract": contract, "old": old, "new": new })
            }
            Step::PublishView { view, old, new, .. } => {
                json!({ "step": "publish-view", "view": view, "old": old, "new": new })
            }
        }
    }
}

#[cfg(test)]
mod tests;
