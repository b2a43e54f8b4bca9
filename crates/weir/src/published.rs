//! The contracts of the cluster, as the topic of contracts holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_contract::{CONTRACTS_TOPIC, CompiledObject, ContractRecord};

use crate::Failure;
use crate::kafka::Kafka;

/// The newest record of every contract, by contract id.
///
/// # Errors
/// [`Failure`] of the cluster, also where there is no such topic.
pub fn records(kafka: &Kafka) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut records = BTreeMap::new();
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
    let exists = kafka.admin().partitions(CONTRACTS_TOPIC).map_err(|error| kafka.failure(error))?.is_some();
    let records = if exists { records(kafka)? } else { BTreeMap::new() };
    let mut broken = Vec::new();
    for (id, record) in &records {
        let compiled = match ContractRecord::from_json(record) {
            Ok(record) => match record.compile() {
                (Some(compiled), _) => compiled,
                (None, errors) => {
                    broken.extend(errors.into_iter().map(|error| error.to_string()));
                    continue;
                }
            },
            Err(error) => {
                broken.push(format!("{id}: {error}"));
                continue;
            }
        };
        if let Some(object) = compiled.objects.iter().find(|object| object.topic() == product) {
            return Ok(object.clone());
        }
    }
    let mut text =
        format!("no contract in topic {CONTRACTS_TOPIC} governs {product}; run `weir apply` with its contract");
    if !broken.is_empty() {
        text.push_str(&format!("\nthese contracts cannot be used:\n{}", broken.join("\n")));
    }
    Err(Failure::No(text))
}
