//! The contracts in force: read live from the compacted topic, compiled, and handed to the workers as one set.
//!
//! A contract that does not compile is refused: the version before it stays in force, and the refusal shows on
//! `/contracts`, in the metrics and in the log. Each record is judged under exactly one set, because a worker takes
//! the set once per run of records.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use weir_avro::Schema;
use weir_contract::{CompiledContract, CompiledObject, ContractRecord, Severity};
use weir_pump::Route;

/// The contracts in force at one moment, by landing topic.
#[derive(Clone, Debug, Default)]
pub struct ContractSet {
    objects: HashMap<String, Arc<CompiledObject>>,
}

impl ContractSet {
    /// The promise that events of this landing topic have to keep.
    pub fn by_source(&self, topic: &str) -> Option<&Arc<CompiledObject>> {
        self.objects.get(topic)
    }

    /// Whether this very object is in force.
    pub fn contains(&self, object: &Arc<CompiledObject>) -> bool {
        object.landing().and_then(|topic| self.objects.get(topic)).is_some_and(|known| Arc::ptr_eq(known, object))
    }

    /// One route per landing topic, in order of their names.
    pub fn routes(&self) -> Vec<Route> {
        let mut routes: Vec<_> = self.objects.values().filter_map(|object| route(object)).collect();
        routes.sort();
        routes
    }
}

fn route(object: &CompiledObject) -> Option<Route> {
    Some(Route {
        source: object.landing()?.to_owned(),
        accepted: object.topic().to_owned(),
        quarantine: object.quarantine().to_owned(),
    })
}

/// A contract as `/contracts` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The contract's id.
    pub id: String,
    /// The version in force; none where no version ever compiled.
    pub version: Option<String>,
    /// The landing topics it governs.
    pub topics: Vec<String>,
    /// The newest version, where it was refused, and why.
    pub refused: Option<Refusal>,
}

/// A contract version that is not in force because it cannot be.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// The version, where it could be read.
    pub version: Option<String>,
    /// All that is wrong with it.
    pub reasons: Vec<String>,
}

/// What is kept of a compiled contract.
#[derive(Debug)]
struct InForce {
    version: String,
    objects: Box<[Arc<CompiledObject>]>,
}

#[derive(Debug, Default)]
struct Inner {
    in_force: BTreeMap<String, InForce>,
    refused: BTreeMap<String, Refusal>,
    set: Arc<ContractSet>,
    /// Whether the topic was read to its end once.
    loaded: bool,
}

/// The live contracts, shared by the thread that reads them and the workers.
#[derive(Debug, Default)]
pub struct Contracts(RwLock<Inner>);

/// What a record of the contracts topic led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A contract came into force, as id and version.
    InForce(String, String),
    /// A contract was withdrawn.
    Withdrawn(String),
    /// A version was refused, as contract id and reasons.
    Refused(String, Vec<String>),
}

impl Inner {
    fn objects(&self) -> impl Iterator<Item = &Arc<CompiledObject>> {
        self.in_force.values().flat_map(|contract| &contract.objects)
    }

    /// An equal schema of a contract in force.
    fn schema_like(&self, schema: &Schema) -> Option<Arc<Schema>> {
        self.objects().map(|object| object.schema()).find(|known| ***known == *schema).cloned()
    }

    /// Puts a contract into force in the place of the one before it, or withdraws that.
    fn replace(&mut self, key: &str, contract: Option<InForce>) {
        self.refused.remove(key);
        let before = match contract {
            Some(contract) => self.in_force.insert(key.to_owned(), contract),
            None => self.in_force.remove(key),
        };
        // A copy where workers hold the set, in place while the topic is read for the first time.
        let set = Arc::make_mut(&mut self.set);
        for topic in before.iter().flat_map(|before| &before.objects).filter_map(|object| object.landing()) {
            set.objects.remove(topic);
        }
        let now = self.in_force.get(key).into_iter().flat_map(|contract| &contract.objects);
        set.objects.extend(now.filter_map(|object| Some((object.landing()?.to_owned(), object.clone()))));
    }
}

impl Contracts {
    /// The set in force now.
    pub fn current(&self) -> Arc<ContractSet> {
        self.read().set.clone()
    }

    /// Says that the topic was read to its end once.
    pub fn set_loaded(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).loaded = true;
    }

    /// Whether the topic was read to its end once.
    pub fn loaded(&self) -> bool {
        self.read().loaded
    }

    /// Every contract with what is in force and what was refused.
    pub fn standings(&self) -> Vec<Standing> {
        let inner = self.read();
        let ids: std::collections::BTreeSet<_> = inner.in_force.keys().chain(inner.refused.keys()).collect();
        ids.into_iter()
            .map(|id| {
                let contract = inner.in_force.get(id);
                Standing {
                    id: id.clone(),
                    version: contract.map(|c| c.version.clone()),
                    topics: contract
                        .into_iter()
                        .flat_map(|c| &*c.objects)
                        .filter_map(|o| o.landing().map(str::to_owned))
                        .collect(),
                    refused: inner.refused.get(id).cloned(),
                }
            })
            .collect()
    }

    /// Takes a record of the contracts topic: the newest version of a contract, or its withdrawal.
    ///
    /// Compiling happens before the lock is taken, so that workers are never held up.
    pub fn take(&self, key: &str, value: Option<&[u8]>) -> Change {
        let compiled = value.map(compile);
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match compiled {
            None => {
                inner.replace(key, None);
                Change::Withdrawn(key.to_owned())
            }
            Some(Ok(mut contract)) => match conflict(&inner.in_force, key, &contract) {
                Some(reason) => refuse(&mut inner, key, Some(contract.version), vec![reason]),
                None => {
                    contract.share_schemas(|schema| inner.schema_like(schema));
                    let change = Change::InForce(key.to_owned(), contract.version.clone());
                    inner.replace(key, Some(InForce { version: contract.version, objects: contract.objects.into() }));
                    change
                }
            },
            Some(Err((version, reasons))) => refuse(&mut inner, key, version, reasons),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(inner: &mut Inner, key: &str, version: Option<String>, reasons: Vec<String>) -> Change {
    inner.refused.insert(key.to_owned(), Refusal { version, reasons: reasons.clone() });
    Change::Refused(key.to_owned(), reasons)
}

/// Two contracts may not govern one topic: the one that came first keeps it.
fn conflict(in_force: &BTreeMap<String, InForce>, key: &str, new: &CompiledContract) -> Option<String> {
    let mut others = in_force.iter().filter(|(id, _)| *id != key);
    others.find_map(|(owner, contract)| {
        let topic = contract.objects.iter().map(|o| o.topic()).find(|t| new.objects.iter().any(|o| o.topic() == *t))?;
        Some(format!("topic {topic} is governed by contract {owner}; withdraw that one first"))
    })
}

fn compile(value: &[u8]) -> Result<CompiledContract, (Option<String>, Vec<String>)> {
    let record = ContractRecord::from_json(value).map_err(|e| (None, vec![e.to_string()]))?;
    let (compiled, diagnostics) = record.compile();
    let errors = || diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect();
    compiled.ok_or_else(|| (Some(record.version.clone()), errors()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, topic: &str) -> Vec<u8> {
        let contract = include_str!("../tests/fixtures/orders.odcs.yaml");
        let contract = contract
            .replace("id: shop.orders", &format!("id: {id}"))
            .replace("Name: shop.orders", &format!("Name: {topic}"));
        let schemas = [("Order.avsc".to_owned(), include_str!("../tests/fixtures/Order.avsc").to_owned())].into();
        ContractRecord { id: id.to_owned(), version: "1.0.0".to_owned(), contract, schemas }.to_json().into_bytes()
    }

    fn sources(contracts: &Contracts) -> Vec<String> {
        contracts.current().routes().into_iter().map(|route| route.source).collect()
    }

    #[test]
    fn a_set_follows_its_contracts_and_one_that_was_taken_stays_as_it_was() {
        let contracts = Contracts::default();
        let version = || "1.0.0".to_owned();
        for (id, topic) in [("a", "shop.a"), ("b", "shop.b")] {
            assert_eq!(contracts.take(id, Some(&record(id, topic))), Change::InForce(id.to_owned(), version()));
        }
        let before = contracts.current();
        let of = |topic: &str| before.by_source(topic).unwrap().schema().clone();
        assert!(Arc::ptr_eq(&of("shop.a.landing"), &of("shop.b.landing")), "equal schemas are held once");

        assert_eq!(contracts.take("a", Some(&record("a", "shop.c"))), Change::InForce("a".to_owned(), version()));
        assert_eq!(sources(&contracts), ["shop.b.landing", "shop.c.landing"]);
        let taken = "topic shop.b is governed by contract b; withdraw that one first".to_owned();
        assert_eq!(contracts.take("c", Some(&record("c", "shop.b"))), Change::Refused("c".to_owned(), vec![taken]));
        assert_eq!(contracts.take("b", None), Change::Withdrawn("b".to_owned()));
        assert_eq!(sources(&contracts), ["shop.c.landing"]);
        assert!(before.by_source("shop.a.landing").is_some() && before.by_source("shop.c.landing").is_none());
    }
}
