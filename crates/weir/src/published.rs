//! The contracts of the cluster, as the topic of contracts holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_contract::{CONTRACTS_TOPIC, CompiledContract, CompiledObject, ContractRecord};
use weir_view::Relation;

use crate::Failure;
use crate::kafka::Kafka;

/// The newest record of every contract, by contract id; none where there is no such topic.
///
/// # Errors
/// [`Failure`] of the cluster.
pub fn records(kafka: &Kafka) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut records = BTreeMap::new();
    if kafka.admin().partitions(CONTRACTS_TOPIC).map_err(|error| kafka.failure(error))?.is_none() {
        return Ok(records);
    }
    kafka.read_all(CONTRACTS_TOPIC, |record| {
        if let Some(id) = record.key.and_then(|key| String::from_utf8(key).ok()) {
            match record.value {
                Some(value) => drop(records.insert(id, value)),
                None => drop(records.remove(&id)),
            }
        }
        Ok(())
    })?;
    Ok(records)
}

/// The promise that events of a product topic have to keep now.
///
/// # Errors
/// [`Failure::No`] where no contract governs the topic, or the one that does cannot be used: an older version is not
/// taken in its place, for nobody could tell which one judged.
pub fn governing(kafka: &Kafka, product: &str) -> Result<Arc<CompiledObject>, Failure> {
    let (compiled, broken) = compiled(kafka)?;
    let mut objects = compiled.iter().flat_map(|(_, compiled)| &compiled.objects);
    if let Some(object) = objects.find(|object| object.topic() == product) {
        return Ok(object.clone());
    }
    let mut text =
        format!("no contract in topic {CONTRACTS_TOPIC} governs {product}; run `weir apply` with its contract");
    if !broken.is_empty() {
        text.push_str(&format!("\nthese contracts cannot be used:\n{}", broken.join("\n")));
    }
    Err(Failure::No(text))
}

/// The products of the cluster as views see them, and what is wrong with contracts that cannot be used.
///
/// # Errors
/// [`Failure`] of the cluster.
pub fn relations(kafka: &Kafka) -> Result<(Vec<Relation>, Vec<String>), Failure> {
    let (compiled, broken) = compiled(kafka)?;
    let of = |(record, compiled): &(ContractRecord, CompiledContract)| {
        let contract = weir_contract::read(&record.contract, &record.id).0?;
        Some(Relation::of_contract(&contract, compiled))
    };
    Ok((compiled.iter().filter_map(of).flatten().collect(), broken))
}

/// The contracts of the cluster, and what is wrong with those that cannot be used.
#[allow(clippy::type_complexity, reason = "two lists, taken apart at once")]
fn compiled(kafka: &Kafka) -> Result<(Vec<(ContractRecord, CompiledContract)>, Vec<String>), Failure> {
    let (mut all, mut broken) = (Vec::new(), Vec::new());
    for (id, record) in records(kafka)? {
        match ContractRecord::from_json(&record) {
            Ok(record) => match record.compile() {
                (Some(compiled), _) => all.push((record, compiled)),
                (None, errors) => broken.extend(errors.into_iter().map(|error| error.to_string())),
            },
            Err(error) => broken.push(format!("{id}: {error}")),
        }
    }
    Ok((all, broken))
}
