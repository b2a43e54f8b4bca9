//! `weir apply`: contracts and views become topics, subjects and records of the contracts topic and the views topic.
//!
//! First everything is read and compared, then everything is shown, then everything is done, in the order topics,
//! subjects, contracts, views: the enforcer hears of a contract, and the router of a view, when all it needs is there. A
//! run that was cut short is taken up by the next one.

pub mod plan;
pub mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;

use weir_contract::{CONTRACTS_TOPIC, ContractRecord, Diagnostic, Severity};
use weir_kafka::{NewTopic, Outgoing, Writer};
use weir_view::{Relation, VIEWS_TOPIC, ViewRecord};

use crate::args::Apply;
use crate::contracts::{ContractFile, load_all};
use crate::kafka::Kafka;
use crate::output::{Out, ask, count, say};
use crate::quarantine::markers;
use crate::registry::Registry;
use crate::views::PlannedView;
use crate::{Exit, Failure, views};
use plan::{Contract, Observed, Step, Subject, Topic, Wanted, WantedSubject, plan};

/// How many questions are put to the registry at a time.
const HANDS: usize = 64;
/// How many topics are asked for in one request, and how many records wait for the broker at a time.
const TOGETHER: usize = 100;

/// Shows what has to be done and, where it may, does it.
///
/// # Errors
/// [`Failure::No`] when the contracts have errors or the cluster forbids them: then nothing was changed.
pub fn run(arguments: &Apply) -> Result<Exit, Failure> {
    let asked = Asked::load(&arguments.paths)?;
    asked.check()?;
    let kafka = Kafka::connect(&arguments.kafka)?;
    let registry = Registry::of(&arguments.registry)?;
    let steps = compare(&asked, &kafka, &registry)?;
    if steps.is_empty() {
        say(format_args!("nothing to do: the cluster is as {} ask", asked.count()));
        return Ok(Exit::Done);
    }
    let mut out = Out::new();
    for step in &steps {
        if arguments.json {
            out.json(&step.json())?;
        } else {
            out.line(step)?;
        }
    }
    out.flush()?;
    let number = count(steps.len() as u64, "step");
    if arguments.dry_run {
        say(format_args!("{number} to do; run without --dry-run to do them"));
        return Ok(Exit::Differs);
    }
    if !arguments.yes {
        match ask(&format!("do {number}?")) {
            Some(true) => {}
            Some(false) => return Err(Failure::No("nothing was applied".to_owned())),
            None => return Err(Failure::Usage("nobody to ask; add --yes to apply or --dry-run to look".to_owned())),
        }
    }
    perform(&steps, &kafka, &registry)?;
    say(format_args!("{number} done"));
    Ok(Exit::Done)
}

/// Applies contracts and views without asking; the number of steps that it took.
///
/// # Errors
/// As [`run`].
pub fn apply(asked: &Asked, kafka: &Kafka, registry: &Registry) -> Result<usize, Failure> {
    asked.check()?;
    let steps = compare(asked, kafka, registry)?;
    perform(&steps, kafka, registry)?;
    Ok(steps.len())
}

/// What is to be applied.
pub struct Asked {
    /// The contracts.
    pub contracts: Vec<ContractFile>,
    /// The files of the views.
    pub views: Vec<PathBuf>,
}

impl Asked {
    /// The contracts and view files of `paths`. What the views read besides is taken from the cluster.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a path that is not there.
    pub fn load(paths: &[PathBuf]) -> Result<Asked, Failure> {
        let views = views::find(paths)?;
        let contracts: Vec<PathBuf> = paths.iter().filter(|path| !views.contains(path)).cloned().collect();
        Ok(Asked { contracts: load_all(&contracts)?, views })
    }

    /// How many there are, in words.
    pub fn count(&self) -> String {
        let contracts = count(self.contracts.len() as u64, "contract");
        let views = count(self.views.len() as u64, "view");
        match (self.contracts.is_empty(), self.views.is_empty()) {
            (_, true) => contracts,
            (true, false) => views,
            (false, false) => format!("{contracts} and {views}"),
        }
    }

    /// Whether nothing has an error, as far as the files say by themselves; before anything is asked of the cluster.
    fn check(&self) -> Result<(), Failure> {
        let findings = self.contracts.iter().flat_map(|file| &file.diagnostics).cloned();
        forbid("contracts", findings.collect())?;
        if views::missing(&self.views, &self.contracts)?.is_empty() {
            self.plan(Vec::new(), &BTreeMap::new())?;
        }
        Ok(())
    }

    /// The views, planned over the contracts and what is in force besides.
    fn plan(&self, in_force: Vec<Relation>, generations: &BTreeMap<String, u32>) -> Result<Vec<PlannedView>, Failure> {
        let (found, planned) = views::load(&self.views, &self.contracts, in_force, generations)?;
        forbid("views", found)?;
        Ok(planned)
    }
}

/// Fails with all errors that were found.
fn forbid(what: &str, mut found: Vec<Diagnostic>) -> Result<(), Failure> {
    found.retain(|finding| finding.severity == Severity::Error);
    if found.is_empty() {
        return Ok(());
    }
    found.iter().for_each(say);
    let errors = count(found.len() as u64, "error");
    Err(Failure::No(format!("nothing was applied: the {what} have {errors}; correct them")))
}

fn compare(asked: &Asked, kafka: &Kafka, registry: &Registry) -> Result<Vec<Step>, Failure> {
    let records = views::published(kafka)?;
    let in_force = views::in_force(&views::missing(&asked.views, &asked.contracts)?, &records, kafka)?;
    // A view that was made anew has topics of its own, and so have those that read it.
    let planned = asked.plan(in_force, &views::generations(&records))?;
    steps(wanted::wanted(&asked.contracts, &planned)?, records, kafka, registry)
}

/// The steps from the cluster as it is to what is wanted.
///
/// # Errors
/// [`Failure::No`] where the cluster forbids it.
pub fn compare_wanted(wanted: Wanted, kafka: &Kafka, registry: &Registry) -> Result<Vec<Step>, Failure> {
    steps(wanted, views::published(kafka)?, kafka, registry)
}

/// As [`compare_wanted`], with the records of the views topic.
fn steps(
    wanted: Wanted,
    records: BTreeMap<String, Vec<u8>>,
    kafka: &Kafka,
    registry: &Registry,
) -> Result<Vec<Step>, Failure> {
    let mut observed = observe(&wanted, kafka, registry)?;
    let version =
        |record: &Vec<u8>| ViewRecord::from_json(record).map_or_else(|_| "unreadable".to_owned(), |r| r.version);
    observed.views = records.into_iter().map(|(id, record)| (id, (version(&record), record))).collect();
    plan(&wanted, &observed).map_err(|problems| {
        for problem in &problems {
            say(problem);
        }
        let problems = count(problems.len() as u64, "problem");
        Failure::No(format!("nothing was applied: {problems} with the cluster as it is"))
    })
}

fn observe(wanted: &Wanted, kafka: &Kafka, registry: &Registry) -> Result<Observed, Failure> {
    let fail = |error| kafka.failure(error);
    let all = kafka.admin().topics().map_err(fail)?;
    let names: BTreeSet<&str> =
        wanted.topics.iter().flat_map(|group| &group.topics).map(|topic| topic.name.as_str()).collect();
    let there: Vec<&str> = names.into_iter().filter(|name| all.contains_key(*name)).collect();
    let mut observed = Observed::default();
    if !there.is_empty() {
        for (topic, configs) in kafka.admin().configs(&there).map_err(fail)? {
            let partitions = all.get(&topic).copied().and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
            let configs = configs.into_iter().map(|(name, config)| (name, config.value)).collect();
            observed.topics.insert(topic, Topic { partitions, configs });
        }
    }
    // A registry looks at its log's end before it says that a subject is not there, which takes it a tenth of a second for one and for
    // many at once.
    let share = wanted.subjects.len().div_ceil(HANDS).max(1);
    let asked: Vec<_> = thread::scope(|scope| {
        let ask = |part: &[WantedSubject]| part.iter().map(|one| subject(one, registry)).collect::<Result<Vec<_>, _>>();
        let hands: Vec<_> = wanted.subjects.chunks(share).map(|part| scope.spawn(move || ask(part))).collect();
        hands.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for found in asked {
        let found =
            found.unwrap_or_else(|_| Err(Failure::other("a thread that asks the registry ended in a panic")))?;
        observed.subjects.extend(found);
    }
    observed.level = registry.level(None)?;
    observed.contracts = published(kafka)?;
    Ok(observed)
}

/// A subject as it is.
fn subject(wanted: &WantedSubject, registry: &Registry) -> Result<(String, Subject), Failure> {
    let versions = registry.versions(&wanted.subject)?;
    let registered = !versions.is_empty() && registry.look_up(&wanted.subject, &wanted.schema)?.is_some();
    let current = Subject {
        level: registry.level(Some(&wanted.subject))?,
        registered,
        versions: versions.into_iter().map(|one| (one.version.unwrap_or_default(), one.schema)).collect(),
    };
    Ok((wanted.subject.clone(), current))
}

/// The contracts of the cluster and what they govern.
fn published(kafka: &Kafka) -> Result<BTreeMap<String, Contract>, Failure> {
    let contracts = crate::published::records(kafka)?.into_iter().map(|(id, record)| {
        let read = ContractRecord::from_json(&record).ok();
        let compiled = read.as_ref().and_then(|read| read.compile().0);
        let objects = compiled.iter().flat_map(|compiled| &compiled.objects);
        let topics = objects.map(|object| object.topic().to_owned()).collect();
        let version = read.map_or_else(|| "unreadable".to_owned(), |read| read.version);
        (id, Contract { version, record, topics })
    });
    Ok(contracts.collect())
}

/// What can be done together.
#[derive(PartialEq, Eq)]
enum Kind {
    /// New topics, with one request.
    Topics,
    /// Subjects, each by itself and all at a time: a registry may write together what it is asked for together.
    Subjects,
    /// Records of contracts and views.
    Records,
    /// One after the other.
    Alone,
}

fn kind(step: &Step) -> Kind {
    match step {
        Step::CreateTopic { .. } => Kind::Topics,
        Step::SetLevel { .. } | Step::Register { .. } => Kind::Subjects,
        Step::Publish { .. } | Step::PublishView { .. } => Kind::Records,
        Step::AddPartitions { .. } | Step::SetConfig { .. } => Kind::Alone,
    }
}

/// Does the steps, in their order; what follows each other and can be done together is.
///
/// # Errors
/// Whatever the first one that fails says; those before it are done, and perhaps some of those that go with it.
pub fn perform(steps: &[Step], kafka: &Kafka, registry: &Registry) -> Result<(), Failure> {
    let fail = |error| kafka.failure(error);
    let mut writer = Writer::open(kafka.config(), TOGETHER).map_err(fail)?;
    let made = steps.iter().filter_map(|step| match step {
        Step::CreateTopic { topic, .. } if topic.ends_with(crate::quarantine::SUFFIX) => Some(topic.as_str()),
        _ => None,
    });
    let replays = markers::keys(kafka, &made.collect())?;
    let mut done = 0;
    for some in steps.chunk_by(|one, next| kind(one) == kind(next)).flat_map(|alike| alike.chunks(TOGETHER)) {
        let of_kafka = |all: Result<Vec<Result<(), weir_kafka::Error>>, weir_kafka::Error>| match all {
            Ok(all) => all.into_iter().map(|one| one.map_err(fail)).collect(),
            Err(error) => vec![Err(fail(error))],
        };
        let outcomes: Vec<Result<(), Failure>> = match kind(&some[0]) {
            Kind::Topics => of_kafka(create(some, &replays, kafka, &mut writer)),
            Kind::Records => of_kafka(write(some, &mut writer)),
            Kind::Subjects => subjects(some, registry),
            Kind::Alone => of_kafka(Ok(some.iter().map(|step| alone(step, kafka)).collect())),
        };
        let mut outcomes = outcomes.into_iter();
        for step in some {
            let outcome = outcomes.next().unwrap_or_else(|| Err(Failure::other("nobody has said what became of it")));
            outcome.inspect_err(|_| {
                let left = count((steps.len() - done) as u64, "step");
                say(format_args!("stopped at: {step}\n{left} not done; run this again once the cause is gone"));
            })?;
            done += 1;
        }
    }
    Ok(())
}

/// Makes topics; what became of each.
fn create(
    steps: &[Step],
    replays: &BTreeMap<String, BTreeSet<String>>,
    kafka: &Kafka,
    writer: &mut Writer,
) -> Result<Vec<Result<(), weir_kafka::Error>>, weir_kafka::Error> {
    let mut topics = Vec::new();
    for step in steps {
        if let Step::CreateTopic { topic, partitions, configs } = step {
            forget_replays(replays.get(topic).into_iter().flatten(), writer)?;
            let mut new = NewTopic::new(topic, i32::try_from(*partitions).unwrap_or(i32::MAX));
            new.configs = configs.clone();
            topics.push(new);
        }
    }
    Ok(kafka.admin().create_topics(&topics)?.into_iter().map(|made| made.map(drop)).collect())
}

/// Writes records of contracts and views; what became of each.
fn write(steps: &[Step], writer: &mut Writer) -> Result<Vec<Result<(), weir_kafka::Error>>, weir_kafka::Error> {
    for (token, step) in steps.iter().enumerate() {
        let (topic, key, value) = match step {
            Step::Publish { contract, record, .. } => (CONTRACTS_TOPIC, contract, record),
            Step::PublishView { view, record, .. } => (VIEWS_TOPIC, view, record),
            _ => continue,
        };
        let (key, value) = (Some(key.as_bytes()), Some(value.as_slice()));
        writer.send(&Outgoing { topic, key, value, ..Outgoing::default() }, token)?;
    }
    let mut deliveries = writer.flush();
    deliveries.sort_by_key(|delivery| delivery.token);
    Ok(deliveries.into_iter().map(|delivery| delivery.result.map(drop)).collect())
}

/// Sets levels and registers schemas; what became of each. The steps of one subject follow each other.
fn subjects(steps: &[Step], registry: &Registry) -> Vec<Result<(), Failure>> {
    fn subject(step: &Step) -> Option<&str> {
        match step {
            Step::SetLevel { subject, .. } | Step::Register { subject, .. } => Some(subject),
            _ => None,
        }
    }
    let one = |step: &Step| match step {
        Step::SetLevel { subject, new, .. } => registry.set_level(subject, *new),
        Step::Register { subject, schema, .. } => registry.register(subject, schema).map(drop),
        _ => Ok(()),
    };
    let all = |steps: &[Step]| steps.iter().map(one).collect::<Vec<_>>();
    thread::scope(|scope| {
        let hands: Vec<_> = (steps.chunk_by(|one, next| subject(one) == subject(next)))
            .map(|steps| (steps.len(), scope.spawn(move || all(steps))))
            .collect();
        let joined = hands.into_iter().map(|(length, hand)| {
            let panicked =
                |_| (0..length).map(|_| Err(Failure::other("a thread that asks the registry panicked"))).collect();
            hand.join().unwrap_or_else(panicked)
        });
        joined.flatten().collect()
    })
}

/// Changes one topic.
fn alone(step: &Step, kafka: &Kafka) -> Result<(), weir_kafka::Error> {
    match step {
        Step::AddPartitions { topic, new, .. } => {
            kafka.admin().set_partitions(topic, i32::try_from(*new).unwrap_or(i32::MAX))
        }
        Step::SetConfig { topic, changes } => {
            let changes = changes.iter().map(|(name, _, new)| (name.clone(), new.clone())).collect();
            kafka.admin().alter_configs(topic, &changes)
        }
        _ => Ok(()),
    }
}

/// A topic that is made anew counts its offsets from the start: what was noted about its predecessor would be taken
/// for its own. Before it is made, so that a run which is cut short leaves nothing that the next one would pass over.
fn forget_replays<'k>(
    mut keys: impl Iterator<Item = &'k String>,
    writer: &mut Writer,
) -> Result<(), weir_kafka::Error> {
    keys.try_for_each(|key| {
        let tombstone = Outgoing { topic: markers::TOPIC, key: Some(key.as_bytes()), ..Outgoing::default() };
        writer.write(&tombstone).map(drop)
    })
}
