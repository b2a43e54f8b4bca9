//! What contracts ask of the broker and the registry, gathered for a plan.

use weir_contract::settings::{Compatibility as Level, Retention};
use weir_contract::topics::{DEFAULT_PARTITIONS, Role, TopicPlan};
use weir_contract::{CONTRACTS_TOPIC, CompiledContract, CompiledObject, Contract, ContractRecord};
use weir_registry::Compatibility;
use weir_view::VIEWS_TOPIC;

use crate::Failure;
use crate::apply::plan::{Wanted, WantedContract, WantedSubject, WantedTopic, WantedTopics, WantedView};
use crate::contracts::ContractFile;
use crate::encode::key_schema;
use crate::quarantine::{self, markers};
use crate::views::PlannedView;

/// Bytes of a record of a changelog: what an aggregate gathers for one key may be large.
const CHANGELOG_RECORD: &str = "10485760";
/// How long a changelog keeps tombstones, in milliseconds, 7 days: a router that was away longer restores its state whole.
const CHANGELOG_TOMBSTONES: &str = "604800000";

/// Everything contracts and views ask, and the topics Weir keeps its own books in.
pub fn wanted(files: &[ContractFile], views: &[PlannedView]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    for name in [CONTRACTS_TOPIC, markers::TOPIC, VIEWS_TOPIC] {
        let configs = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
        wanted.topics.push(WantedTopics {
            contract: "weir".to_owned(),
            partitions: Some(1),
            default_partitions: 1,
            topics: vec![WantedTopic { name: name.to_owned(), configs }],
        });
    }
    for file in files {
        let (Some(contract), Some(compiled)) = (&file.contract, &file.compiled) else { continue };
        for object in &compiled.objects {
            wanted.topics.push(topics(object));
            wanted.subjects.extend(subjects(file, object)?);
        }
        wanted.contracts.push(published(file, contract, compiled));
    }
    for view in views {
        add_view(&mut wanted, view);
    }
    Ok(wanted)
}

/// What one view asks: its topic and its quarantine, the topics between its stages, the changelog of each, the schema of
/// what it writes, and itself.
pub fn add_view(wanted: &mut Wanted, view: &PlannedView) {
    let PlannedView { plan, record, file } = view;
    let output = &plan.output;
    let id = format!("{}@{}", record.id, record.version);
    let configs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    // As with contracts: records carry the time of the event, also those of views that it no longer shows, and an old one that has just come
    // must not be gone.
    let kept: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.ms", "-1")];
    let own = if output.table { &[("cleanup.policy", "compact")] } else { kept };
    let changelog = [
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", CHANGELOG_TOMBSTONES),
        ("max.message.bytes", CHANGELOG_RECORD),
        ("segment.bytes", "67108864"),
    ];
    // What was read is deleted by the routers, and nothing before.
    let between = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.bytes", "67108864")];
    let mut ask = |name: String, partitions: Option<u32>, pairs: &[(&str, &str)]| {
        wanted.topics.push(WantedTopics {
            contract: id.clone(),
            partitions,
            default_partitions: DEFAULT_PARTITIONS,
            topics: vec![WantedTopic { name, configs: configs(pairs) }],
        });
    };
    ask(output.topic.clone(), output.partitions, own);
    let mut most = output.partitions;
    for stage in plan.stages() {
        let tasks = stage.inputs.iter().filter_map(|input| input.relation.partitions).max();
        most = most.max(tasks);
        if stage.suffix.is_some() {
            ask(stage.output.topic.clone(), stage.output.partitions, &between);
        }
        ask(format!("{}.changelog", stage.output.topic), tasks, &changelog);
    }
    // Each stage puts aside under the number of its own partition.
    let default = plan.stages().iter().any(|stage| stage.inputs.iter().all(|i| i.relation.partitions.is_none()));
    let most = most.map(|most| if default { most.max(DEFAULT_PARTITIONS) } else { most });
    ask(format!("{}{}", output.topic, quarantine::SUFFIX), most, kept);
    if file.late {
        ask(format!("{}.late", output.topic), most, kept);
    }
    let (subject, schema) = (format!("{}-value", output.topic), plan.schema.to_string());
    wanted.subjects.push(WantedSubject { contract: id, subject, schema, level: None });
    wanted.views.push(WantedView {
        id: record.id.clone(),
        version: record.version.clone(),
        record: record.to_json().into_bytes(),
    });
}

fn topics(object: &CompiledObject) -> WantedTopics {
    let topics = object.kafka_plan().topics.into_iter().map(|plan| topic(object, plan)).collect();
    WantedTopics {
        contract: object.contract().to_owned(),
        partitions: object.settings().partitions.as_ref().map(|at| at.value),
        default_partitions: DEFAULT_PARTITIONS,
        topics,
    }
}

fn topic(object: &CompiledObject, plan: TopicPlan) -> WantedTopic {
    let mut configs: std::collections::BTreeMap<String, String> =
        plan.config.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // Kafka counts retention from the time a record carries. Where that is the time of the event, an old event that
    // has just come would be gone before it is judged or repaired: such topics keep what the product keeps.
    if plan.role != Role::Product && object.settings().event_time.is_some() {
        let kept = match object.settings().retention.as_ref().map(|at| at.value) {
            Some(Retention::Millis(millis)) => millis,
            Some(Retention::Forever) | None => -1,
        };
        configs.insert("retention.ms".to_owned(), kept.to_string());
    }
    WantedTopic { name: plan.name, configs }
}

fn subjects(file: &ContractFile, object: &CompiledObject) -> Result<Vec<WantedSubject>, Failure> {
    let contract = object.contract();
    let mut subjects = Vec::new();
    for plan in object.kafka_plan().subjects {
        let schema = file.schemas.get(&plan.schema).cloned().ok_or_else(|| {
            Failure::other(format!("{}: the schema {} cannot be found any more", file.path.display(), plan.schema))
        })?;
        let level = Some(level(plan.compatibility));
        subjects.push(WantedSubject { contract: contract.to_owned(), subject: plan.name, schema, level });
    }
    if let Some(schema) = key_schema(object) {
        for topic in [Some(object.topic()), object.landing()].into_iter().flatten() {
            let (contract, schema) = (contract.to_owned(), schema.clone());
            subjects.push(WantedSubject { contract, subject: format!("{topic}-key"), schema, level: None });
        }
    }
    Ok(subjects)
}

fn level(level: Level) -> Compatibility {
    match level {
        Level::None => Compatibility::None,
        Level::Backward => Compatibility::Backward,
        Level::BackwardTransitive => Compatibility::BackwardTransitive,
        Level::Forward => Compatibility::Forward,
        Level::ForwardTransitive => Compatibility::ForwardTransitive,
        Level::Full => Compatibility::Full,
        Level::FullTransitive => Compatibility::FullTransitive,
    }
}

fn published(file: &ContractFile, contract: &Contract, compiled: &CompiledContract) -> WantedContract {
    let record = ContractRecord::new(contract, &|url| file.schemas.get(url).cloned());
    WantedContract {
        id: compiled.id.clone(),
        version: compiled.version.clone(),
        record: record.to_json().into_bytes(),
        topics: compiled.objects.iter().map(|object| object.topic().to_owned()).collect(),
    }
}
