//! View files: found in folders beside the contracts, read, planned over all products and over each other, with the
//! contracts of what they write.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use weir_contract::{ContractRecord, Diagnostic, Place, Severity};
use weir_view::{Plan, Relation, VIEWS_TOPIC, ViewFile, ViewRecord, generation_topic, plan_all};

use crate::Failure;
use crate::contracts::{ContractFile, read, search};
use crate::kafka::Kafka;
use crate::output::say;
use crate::published;

/// How a view file's name ends.
const ENDING: &str = ".view.yaml";

/// A view with its plan.
pub struct PlannedView {
    /// The view.
    pub file: ViewFile,
    /// What becomes of its query.
    pub plan: Plan,
    /// What is told to the routers.
    pub record: ViewRecord,
}

/// The view files of `paths`: files as they are where they are views, folders searched, each once, sorted.
///
/// # Errors
/// [`Failure::Usage`] for a folder that cannot be read.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            search(path, ENDING, &mut found)?;
        } else if path.to_string_lossy().ends_with(ENDING) {
            found.push(path.clone());
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The products of contract files.
fn products(contracts: &[ContractFile]) -> Vec<Relation> {
    let of = |file: &ContractFile| Some(Relation::of_contract(file.contract.as_ref()?, file.compiled.as_ref()?));
    contracts.iter().filter_map(of).flatten().collect()
}

/// Reads a view file.
fn open(path: &Path) -> Result<(String, Option<ViewFile>, Vec<Diagnostic>), Failure> {
    let name = path.display().to_string();
    let text = read(path).map_err(|why| Failure::Usage(format!("{name}: {why}; name a view file")))?;
    let (file, diagnostics) = weir_view::read(&text, &name);
    Ok((text, file, diagnostics))
}

/// What the views read that is neither a product of the contracts nor one of the views.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub fn missing(paths: &[PathBuf], contracts: &[ContractFile]) -> Result<BTreeSet<String>, Failure> {
    let mut there: BTreeSet<String> = products(contracts).into_iter().flat_map(|r| [r.name, r.topic]).collect();
    let mut reads = BTreeSet::new();
    for path in paths {
        if let (_, Some(file), _) = open(path)? {
            reads.extend(Plan::reads(&file.sql).unwrap_or_default());
            there.extend([file.options.id, file.options.topic]);
        }
    }
    Ok(reads.difference(&there).cloned().collect())
}

/// The products and views that are in force in the cluster under these names; a name that nothing there has is told to
/// the user, for the plan that lacks it says only where.
///
/// # Errors
/// [`Failure`] of the cluster.
pub fn in_force(
    names: &BTreeSet<String>,
    records: &BTreeMap<String, Vec<u8>>,
    kafka: &Kafka,
) -> Result<Vec<Relation>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let (mut relations, mut broken) = published::relations(kafka)?;
    for (id, record) in records {
        match ViewRecord::from_json(record).and_then(|record| record.plan()) {
            Ok((_, plan)) => relations.push((*plan.output).clone()),
            Err(error) => broken.push(format!("{id}: {error}")),
        }
    }
    relations.retain(|relation| names.contains(&relation.name) || names.contains(&relation.topic));
    let lacks = |name: &&String| !relations.iter().any(|r| r.name == **name || r.topic == **name);
    let lacking: Vec<&str> = names.iter().filter(lacks).map(String::as_str).collect();
    if !lacking.is_empty() {
        say(format_args!(
            "read by a view, and neither in the files nor in force in the cluster: {}; name its contract or view too, or apply it first",
            lacking.join(", ")
        ));
        broken.iter().for_each(|why| say(format_args!("in the cluster and of no use: {why}")));
    }
    Ok(relations)
}

/// Reads the views and plans them over the contracts, what is in force besides, and each other, under the generations
/// they have. What is wrong comes first; a view that something is wrong with is left out.
///
/// # Errors
/// [`Failure::Usage`] for a file that cannot be read.
pub fn load(
    paths: &[PathBuf],
    contracts: &[ContractFile],
    in_force: Vec<Relation>,
    generations: &BTreeMap<String, u32>,
) -> Result<(Vec<Diagnostic>, Vec<PlannedView>), Failure> {
    let mut found = Vec::new();
    let mut products = products(contracts);
    products.extend(in_force);
    let (mut files, mut texts) = (Vec::new(), Vec::new());
    for path in paths {
        let (text, file, diagnostics) = open(path)?;
        found.extend(diagnostics);
        if let Some(mut file) = file {
            let generation = generations.get(&file.options.id).copied().unwrap_or(1);
            file.options.topic = generation_topic(&file.options.topic, generation);
            files.push(file);
            texts.push((path, text, generation));
        }
    }
    let (plans, diagnostics) = plan_all(products, &files);
    found.extend(diagnostics);
    let mut views = Vec::new();
    for ((file, plan), (path, text, generation)) in files.into_iter().zip(plans).zip(texts) {
        let Some(plan) = plan else { continue };
        let contract = match &file.contract {
            None => None,
            Some(named) => match contract(path, named, &plan, &mut found) {
                Some(contract) => Some(contract),
                None => continue,
            },
        };
        let record = ViewRecord {
            id: file.options.id.clone(),
            version: file.version.clone(),
            generation,
            text,
            inputs: plan.inputs.clone(),
            contract,
        };
        views.push(PlannedView { file, plan, record });
    }
    found.sort();
    Ok((found, views))
}

/// The contract of what a view writes. Whatever schema it names is the one the plan made.
fn contract(view: &Path, named: &str, plan: &Plan, found: &mut Vec<Diagnostic>) -> Option<ContractRecord> {
    let path = view.parent().unwrap_or(Path::new("")).join(named);
    let name = path.display().to_string();
    let mut error = |file: &str, place: Place, message: String| {
        let Place { line, column } = place;
        let (file, severity) = (file.to_owned(), Severity::Error);
        found.push(Diagnostic { file, line, column, severity, code: "view-contract", message });
    };
    let start = Place { line: 1, column: 1 };
    let text = match read(&path) {
        Ok(text) => text,
        Err(why) => {
            error(&view.display().to_string(), start, format!("`output.contract` {name}: {why}"));
            return None;
        }
    };
    let schemas = RefCell::new(BTreeMap::new());
    let source = |url: &str| {
        let schema = plan.schema.to_string();
        schemas.borrow_mut().insert(url.to_owned(), schema.clone());
        Some(schema)
    };
    let (contract, _) = weir_contract::read(&text, &name);
    let lint = weir_contract::lint(&text, &name, &source);
    let wrong = lint.diagnostics.iter().any(|d| d.severity == Severity::Error);
    let mut topic = |contract: &weir_contract::Contract| match contract.topics().next() {
        Some(object) if object.product_topic() == plan.output.topic || generation_of(object.product_topic(), plan) => {
            true
        }
        Some(object) => {
            let place = object.physical_name.place;
            error(
                &name,
                place,
                format!("the contract is of topic {}, the view writes {}", object.product_topic(), plan.output.topic),
            );
            false
        }
        None => {
            error(&name, start, "the contract has no topic".to_owned());
            false
        }
    };
    let fits = contract.as_ref().is_some_and(&mut topic);
    found.extend(lint.diagnostics);
    let contract = contract.filter(|_| fits && !wrong)?;
    Some(ContractRecord::new(&contract, &source))
}

/// Whether the view writes a later generation of the topic.
fn generation_of(topic: &str, plan: &Plan) -> bool {
    plan.output.topic.strip_prefix(topic).is_some_and(|rest| rest.starts_with(".g"))
}

/// The records of the views topic by id; empty where there is no such topic. One that cannot be read keeps its version.
///
/// # Errors
/// [`Failure`] of the cluster.
pub fn published(kafka: &Kafka) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut records = BTreeMap::new();
    if kafka.admin().partitions(VIEWS_TOPIC).map_err(|error| kafka.failure(error))?.is_none() {
        return Ok(records);
    }
    kafka.read_all(VIEWS_TOPIC, |record| {
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

/// The generation of every view of the cluster.
pub fn generations(records: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, u32> {
    let of = |record: &Vec<u8>| ViewRecord::from_json(record).map_or(1, |record| record.generation);
    records.iter().map(|(id, record)| (id.clone(), of(record))).collect()
}
