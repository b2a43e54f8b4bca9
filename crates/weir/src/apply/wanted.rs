//! What contracts ask of the broker and the registry, gathered for a plan.

use weir_contract::settings::{Compatibility as Level, Retention};
use weir_contract::topics::{DEFAULT_PARTITIONS, Role, TopicPlan};
use weir_contract::{CONTRACTS_TOPIC, CompiledContract, CompiledObject, Contract, ContractRecord};
use weir_registry::Compatibility;

use crate::Failure;
use crate::apply::plan::{Wanted, WantedContract, WantedSubject, WantedTopic, WantedTopics};
use crate::contracts::ContractFile;
use crate::encode::key_schema;
use crate::quarantine::markers;

/// Everything contracts ask, and the two topics Weir keeps its own books in.
pub fn wanted(files: &[ContractFile]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    for name in [CONTRACTS_TOPIC, markers::TOPIC] {
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
    Ok(wanted)
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
