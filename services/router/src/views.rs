//! The views that are to run, as the topic of the views says, each planned and ready to be given partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::Serialize;
use twox_hash::XxHash3_128;
use weir_contract::{CompiledObject, Severity};
use weir_view::{OnSchemaChange, Plan, Stage, ViewRecord};

/// A view ready to run.
#[derive(Debug)]
pub struct View {
    /// The id.
    pub id: String,
    /// The version of its file.
    pub version: String,
    /// What it does.
    pub plan: Plan,
    /// Whether records that come too late are written to a topic of their own.
    pub late: bool,
    /// What happens at a new schema of a source.
    pub on_schema_change: OnSchemaChange,
    /// The contract of what it writes, if there is one.
    pub contract: Option<Arc<CompiledObject>>,
    /// The id of the output schema in the registry.
    pub schema_id: u32,
    /// Tells this definition from every other of the id: state belongs to one.
    fingerprint: [u8; 16],
}

impl View {
    /// The topic of what comes out.
    pub fn topic(&self) -> &str {
        &self.plan.output.topic
    }

    /// The topic of what it could not take, and of what broke its contract.
    pub fn quarantine(&self) -> String {
        format!("{}.quarantine", self.topic())
    }

    /// The topic of the records that came after their windows had closed, where the view asks for them.
    pub fn late(&self) -> Option<String> {
        self.late.then(|| format!("{}.late", self.topic()))
    }

    /// Its parts, each of which runs under one key; the last one writes its topic.
    pub fn stages(&self) -> &[Stage] {
        self.plan.stages()
    }

    /// What its state must have been made by: query, salt and schemas.
    pub fn fingerprint(&self) -> &[u8; 16] {
        &self.fingerprint
    }
}

/// Why a record of the topic is not in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The version that is refused, where it could be read.
    pub version: Option<String>,
    /// Why.
    pub reason: String,
}

/// What a record of the topic changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A view runs from now on, in this version.
    Runs(String, String),
    /// A view is refused; what ran before goes on.
    Refused(String, String),
    /// A view is withdrawn.
    Withdrawn(String),
    /// Whether its schema is registered cannot be found out now.
    Waits(String),
}

/// Says under which id a schema is registered in a subject; an error where that cannot be found out now.
pub type Registered<'r> = dyn Fn(&str, &str) -> Result<Option<u32>, String> + 'r;

/// All views that are to run, under a number that changes with them.
#[derive(Clone, Default)]
pub struct Set {
    /// Grows with every change.
    pub number: u64,
    /// By id.
    pub views: Vec<Arc<View>>,
}

#[derive(Default)]
struct Inner {
    number: u64,
    loaded: bool,
    running: BTreeMap<String, Arc<View>>,
    refused: BTreeMap<String, Refusal>,
}

/// The views of the topic.
#[derive(Default)]
pub struct Views(RwLock<Inner>);

impl Views {
    /// All that are to run now.
    pub fn current(&self) -> Set {
        let inner = self.read();
        Set { number: inner.number, views: inner.running.values().cloned().collect() }
    }

    /// The number of the set that runs now; 0 until the topic was read once.
    pub fn number(&self) -> u64 {
        let inner = self.read();
        if inner.loaded { inner.number } else { 0 }
    }

    /// Says that the topic was read to its end once.
    pub fn set_loaded(&self) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.loaded = true;
        inner.number += 1;
    }

    /// What is refused, and why.
    pub fn refused(&self) -> BTreeMap<String, Refusal> {
        self.read().refused.clone()
    }

    /// Takes a record of the topic. `registered` says under which id a schema is registered in a subject.
    pub fn take(&self, key: &str, value: Option<&[u8]>, registered: &Registered<'_>) -> Change {
        let Some(value) = value else {
            let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
            inner.refused.remove(key);
            inner.number += u64::from(inner.running.remove(key).is_some());
            return Change::Withdrawn(key.to_owned());
        };
        let made = match compile(value, registered) {
            Err(Trouble::Waits(reason)) => return Change::Waits(reason),
            Err(Trouble::Refused(version, reason)) => Err((version, reason)),
            Ok(view) => Ok(view),
        };
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let made = made.and_then(|view| match conflict(&inner.running, &view) {
            Some(reason) => Err((Some(view.version), reason)),
            None => Ok(view),
        });
        match made {
            Ok(view) => {
                let change = Change::Runs(view.id.clone(), view.version.clone());
                inner.refused.remove(key);
                inner.running.insert(key.to_owned(), Arc::new(view));
                inner.number += 1;
                change
            }
            Err((version, reason)) => {
                inner.refused.insert(key.to_owned(), Refusal { version, reason: reason.clone() });
                Change::Refused(key.to_owned(), reason)
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two views may not write one topic, and none may read what it writes, over others or itself.
fn conflict(running: &BTreeMap<String, Arc<View>>, view: &View) -> Option<String> {
    let others = || running.values().filter(|other| other.id != view.id).map(|other| &**other);
    if let Some(other) = others().find(|other| other.topic() == view.topic()) {
        return Some(format!("topic {} is written by view {}; withdraw that one first", view.topic(), other.id));
    }
    let mut reached: BTreeSet<&str> = view.plan.inputs.iter().map(|input| &*input.topic).collect();
    loop {
        let before = reached.len();
        for other in others().filter(|other| reached.contains(other.topic())).collect::<Vec<_>>() {
            reached.extend(other.plan.inputs.iter().map(|input| &*input.topic));
        }
        if reached.contains(view.topic()) {
            return Some("it reads, over other views, what it writes; break the circle".to_owned());
        }
        if reached.len() == before {
            return None;
        }
    }
}

enum Trouble {
    Waits(String),
    Refused(Option<String>, String),
}

fn compile(value: &[u8], registered: &Registered<'_>) -> Result<View, Trouble> {
    let record = ViewRecord::from_json(value).map_err(|e| Trouble::Refused(None, e.to_string()))?;
    let refused = |reason: String| Trouble::Refused(Some(record.version.clone()), reason);
    let (file, plan) = record.plan().map_err(|e| refused(e.to_string()))?;
    let contract = match &record.contract {
        None => None,
        Some(contract) => {
            let (compiled, found) = contract.compile();
            let errors = found.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string);
            let compiled = compiled.ok_or_else(|| refused(errors.collect::<Vec<_>>().join("; ")))?;
            Some(compiled.objects.into_iter().next().ok_or_else(|| refused("its contract has no topic".to_owned()))?)
        }
    };
    let subject = format!("{}-value", plan.output.topic);
    let schema_id = match registered(&subject, &plan.schema.to_string()) {
        Ok(Some(id)) => id,
        Ok(None) => {
            return Err(refused(format!("its schema is not registered under {subject}; apply the view again")));
        }
        Err(reason) => return Err(Trouble::Waits(reason)),
    };
    let inputs: Vec<String> =
        plan.inputs.iter().map(|input| format!("{}:{}", input.topic, input.schema.canonical_form())).collect();
    let fingerprint = format!("{}\n{}\n{}", file.sql.trim(), file.options.salt, inputs.join("\n"));
    Ok(View {
        id: record.id.clone(),
        version: record.version.clone(),
        late: file.late,
        on_schema_change: file.on_schema_change,
        contract,
        schema_id,
        fingerprint: XxHash3_128::oneshot(fingerprint.as_bytes()).to_le_bytes(),
        plan,
    })
}
