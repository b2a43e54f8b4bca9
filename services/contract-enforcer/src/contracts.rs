//! The contracts in force: read live from the compacted topic, compiled, and handed to the workers as one set.
//!
//! A contract that does not compile is refused: the version before it stays in force, and the refusal shows on
//! `/contracts`, in the metrics and in the log. Each record is judged under exactly one set, because a worker takes
//! the set once per run of records.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use weir_contract::{CompiledContract, CompiledObject, ContractRecord, Severity};
use weir_pump::Route;

/// The contracts in force at one moment, by landing topic.
#[derive(Debug, Default)]
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

#[derive(Debug, Default)]
struct Inner {
    in_force: BTreeMap<String, CompiledContract>,
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
                        .flat_map(|c| &c.objects)
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
        let change = match compiled {
            None => {
                inner.in_force.remove(key);
                inner.refused.remove(key);
                Change::Withdrawn(key.to_owned())
            }
            Some(Ok(contract)) => match conflict(&inner.in_force, key, &contract) {
                Some(reason) => refuse(&mut inner, key, Some(contract.version.clone()), vec![reason]),
                None => {
                    let change = Change::InForce(key.to_owned(), contract.version.clone());
                    inner.in_force.insert(key.to_owned(), contract);
                    inner.refused.remove(key);
                    change
                }
            },
            Some(Err((version, reasons))) => refuse(&mut inner, key, version, reasons),
        };
        let objects = inner
            .in_force
            .values()
            .flat_map(|contract| &contract.objects)
            .filter_map(|object| Some((object.landing()?.to_owned(), object.clone())))
            .collect();
        inner.set = Arc::new(ContractSet { objects });
        change
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
fn conflict(in_force: &BTreeMap<String, CompiledContract>, key: &str, new: &CompiledContract) -> Option<String> {
    let others = in_force.iter().filter(|(id, _)| *id != key);
    let taken: HashMap<_, _> = others.flat_map(|(id, c)| c.objects.iter().map(move |o| (o.topic(), id))).collect();
    new.objects.iter().find_map(|o| {
        let owner = taken.get(o.topic())?;
        Some(format!("topic {} is governed by contract {owner}; withdraw that one first", o.topic()))
    })
}

fn compile(value: &[u8]) -> Result<CompiledContract, (Option<String>, Vec<String>)> {
    let record = ContractRecord::from_json(value).map_err(|e| (None, vec![e.to_string()]))?;
    let (compiled, diagnostics) = record.compile();
    let errors = || diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect();
    compiled.ok_or_else(|| (Some(record.version.clone()), errors()))
}
