//! The way of one record through the enforcer: frame, schema, walk, check, decide, plan. Synchronous and without
//! effects but for the question to the schema cache, which answers at once.
//!
//! A data fault becomes a verdict. A system fault (a registry that is away, a contract that is not there yet)
//! becomes a [`Stall`]: the partition waits and nothing is decided.

use std::collections::HashMap;
use std::sync::Arc;

use weir_avro::{Slot, recycle};
use weir_contract::settings::Framing;
use weir_contract::{
    Binding, CompiledObject, DataFault, Event, Outcome, Report, SchemaRef, Source, Verdict, attempts, decide, plan,
};
use weir_pump::{Action, Headers, RecordView, Route, Run, Stage, Stall, added_size};
use weir_registry::frame::{self, Place, VALUE_SCHEMA_ID};
use weir_registry::{Answer, Registry, SchemaId};

use crate::contracts::{ContractSet, Contracts};
use crate::metrics::{Metrics, Reason};

/// Milliseconds since the epoch. The clock comes in from the edge so that a verdict can be repeated.
pub type Clock = fn() -> i64;

/// What a writer's schema means to a contract.
#[derive(Clone)]
enum Bound {
    Ready(Arc<Binding>),
    /// The schema may not be used on this topic, with the reasons.
    NotAllowed(Vec<String>),
}

/// Judges records. One per worker: it keeps what it has bound.
pub struct Judge {
    registry: Registry,
    bound: HashMap<(usize, SchemaId), Bound>,
    /// The objects that `bound` speaks of, kept alive so that an address never means two of them.
    objects: Vec<Arc<CompiledObject>>,
    /// What the record before was judged by; most often it is the same.
    last: Option<(usize, SchemaId, Arc<Binding>)>,
    slots: Vec<Slot<'static>>,
}

/// The most contract objects a judge keeps bindings of before it starts afresh.
const MAX_OBJECTS: usize = 4096;
/// The most bindings a judge keeps before it starts afresh.
const MAX_BOUND: usize = 16_384;

impl Judge {
    /// A judge that resolves schemas through `registry`.
    pub fn new(registry: Registry) -> Judge {
        Judge { registry, bound: HashMap::new(), objects: Vec::new(), last: None, slots: Vec::new() }
    }

    /// The verdict on a record, with the schema id that was found on it.
    ///
    /// # Errors
    /// [`Stall`] when it cannot be judged now.
    pub fn judge(
        &mut self,
        object: &Arc<CompiledObject>,
        record: &RecordView<'_>,
        now_ms: i64,
    ) -> Result<(Verdict, Option<SchemaRef>), Stall> {
        let (outcome, schema_id) = self.check(object, record, now_ms)?;
        Ok((decide(object, outcome), schema_id))
    }

    /// What is wrong with a record, with the schema id that was found on it.
    #[inline]
    fn check(
        &mut self,
        object: &Arc<CompiledObject>,
        record: &RecordView<'_>,
        now_ms: i64,
    ) -> Result<(Result<Report, DataFault>, Option<SchemaRef>), Stall> {
        let event = Event {
            key: record.key,
            body: &[],
            headers: record.headers,
            timestamp_ms: record.timestamp.millis(),
            now_ms,
        };
        let Some(value) = record.value else {
            return Ok((object.check_tombstone(&event), None));
        };
        let place = match object.framing() {
            Framing::Confluent => Place::Prefix,
            Framing::Header => Place::Header,
            Framing::Auto => Place::Either,
        };
        let Ok(frame) = frame::parse(value, record.headers, VALUE_SCHEMA_ID, place) else {
            return Ok((Err(DataFault::FrameMissing), None));
        };
        let schema_id = Some(schema_ref(frame.id));
        let address = Arc::as_ptr(object) as usize;
        let fresh = match &self.last {
            Some((of, with, _)) if (*of, *with) == (address, frame.id) => None,
            _ => match self.bind(object, frame.id)? {
                Ok(binding) => Some((address, frame.id, binding)),
                Err(fault) => return Ok((Err(fault), schema_id)),
            },
        };
        let (.., binding) = match fresh {
            Some(fresh) => self.last.insert(fresh),
            None => match &mut self.last {
                Some(last) => last,
                None => return Err(stall("nothing is bound".to_owned())),
            },
        };
        let mut slots: Vec<Slot<'_>> = std::mem::take(&mut self.slots);
        let outcome = binding.check(&Event { body: frame.body, ..event }, &mut slots);
        self.slots = recycle(slots);
        Ok((outcome, schema_id))
    }

    fn bind(&mut self, object: &Arc<CompiledObject>, id: SchemaId) -> Result<Result<Arc<Binding>, DataFault>, Stall> {
        let address = Arc::as_ptr(object) as usize;
        let bound = match self.bound.get(&(address, id)) {
            Some(bound) => bound.clone(),
            None => match self.resolve(object, id)? {
                Ok(bound) => {
                    self.keep(object, (address, id), bound.clone());
                    bound
                }
                Err(fault) => return Ok(Err(fault)),
            },
        };
        Ok(match bound {
            Bound::Ready(binding) => Ok(binding),
            Bound::NotAllowed(reasons) => Err(DataFault::SchemaNotAllowed { id: schema_ref(id), reasons }),
        })
    }

    fn resolve(&self, object: &Arc<CompiledObject>, id: SchemaId) -> Result<Result<Bound, DataFault>, Stall> {
        let unknown = || DataFault::SchemaUnknown { id: schema_ref(id) };
        let refused = |reason| DataFault::SchemaNotAllowed { id: schema_ref(id), reasons: vec![reason] };
        // Both questions are put before either answer is looked at, so that they are fetched side by side.
        let resolved = self.registry.resolve(id);
        let subjects = if object.allows_foreign_schemas() { Vec::new() } else { object.subjects() };
        let belongs: Vec<_> = subjects.iter().map(|subject| self.registry.belongs(id, subject)).collect();
        let resolved = match resolved {
            Answer::Ready(resolved) => resolved,
            Answer::NoSuchId => return Ok(Err(unknown())),
            Answer::Unusable(reason) => return Ok(Err(refused(reason.to_string()))),
            Answer::Pending => return Err(stall(format!("schema {id} is being fetched from the registry"))),
            Answer::Unavailable(reason) => return Err(stall(format!("registry: schema {id}: {reason}"))),
        };
        if !subjects.is_empty() && !belongs.contains(&Answer::Ready(true)) {
            for answer in belongs {
                match answer {
                    // A "no" is not kept: the id may be registered any moment, and the registry's cache has an expiry.
                    Answer::Ready(_) | Answer::NoSuchId | Answer::Unusable(_) => {}
                    Answer::Pending => return Err(stall(format!("the subjects of schema {id} are being fetched"))),
                    Answer::Unavailable(reason) => {
                        return Err(stall(format!("registry: subjects of schema {id}: {reason}")));
                    }
                }
            }
            return Ok(Err(refused(format!("it is not registered under subject {}", subjects.join(" or ")))));
        }
        Ok(Ok(match object.bind(resolved.schema.clone()) {
            Ok(binding) => Bound::Ready(Arc::new(binding)),
            Err(diagnostics) => Bound::NotAllowed(diagnostics.into_iter().map(|d| d.message).collect()),
        }))
    }

    fn keep(&mut self, object: &Arc<CompiledObject>, key: (usize, SchemaId), bound: Bound) {
        if !self.objects.iter().any(|known| Arc::ptr_eq(known, object)) {
            if self.objects.len() >= MAX_OBJECTS {
                self.objects.clear();
                self.bound.clear();
            }
            self.objects.push(object.clone());
        }
        if self.bound.len() >= MAX_BOUND {
            self.bound.clear();
        }
        self.bound.insert(key, bound);
    }

    /// Lets go of what was bound for contracts that are no longer in force.
    pub fn forget(&mut self, in_force: impl Fn(&Arc<CompiledObject>) -> bool) {
        self.last = None;
        self.objects.retain(in_force);
        let alive: Vec<_> = self.objects.iter().map(|known| Arc::as_ptr(known) as usize).collect();
        self.bound.retain(|(address, _), _| alive.contains(address));
    }
}

fn stall(reason: String) -> Stall {
    Stall { reason }
}

fn schema_ref(id: SchemaId) -> SchemaRef {
    match id {
        SchemaId::Id(id) => SchemaRef::Id(id),
        SchemaId::Guid(guid) => SchemaRef::Guid(guid),
    }
}

/// The stage of the stream: judges runs and counts what was broken.
pub struct Enforce {
    contracts: Arc<Contracts>,
    set: Arc<ContractSet>,
    metrics: Arc<Metrics>,
    judge: Judge,
    clock: Clock,
}

impl Enforce {
    /// A stage for one worker.
    pub fn new(contracts: Arc<Contracts>, metrics: Arc<Metrics>, registry: Registry, clock: Clock) -> Enforce {
        Enforce { set: contracts.current(), contracts, metrics, judge: Judge::new(registry), clock }
    }

    /// The object that governs a route, of the set in force now.
    fn object(&mut self, route: &Route) -> Option<Arc<CompiledObject>> {
        let current = self.contracts.current();
        if !Arc::ptr_eq(&current, &self.set) {
            self.set = current;
            let set = &self.set;
            self.judge.forget(|object| set.contains(object));
        }
        self.set.by_source(&route.source).cloned()
    }

    /// Headers of the entry for a record that could not be judged by its content.
    fn entry(&mut self, route: &Route, partition: i32, offset: i64, fault: DataFault, attempt: u32) -> Headers {
        let Some(object) = self.object(route) else { return Headers::new() };
        let verdict = decide(&object, Err(fault));
        let mut counted = Counted::default();
        counted.add(&verdict);
        self.metrics.add(counted.reasons(&route.source));
        let source = Source { topic: &route.source, partition, offset, schema_id: None, attempt };
        match plan(&object, &verdict, &source) {
            weir_contract::Action::Quarantine(headers) | weir_contract::Action::ForwardWith(headers) => headers,
            weir_contract::Action::Forward => Headers::new(),
        }
    }
}

impl Stage for Enforce {
    fn process(&mut self, run: &Run<'_>, actions: &mut Vec<Action>) -> Result<(), Stall> {
        let Some(object) = self.object(run.route) else {
            return Err(stall(format!("no contract governs topic {}; apply one", run.route.source)));
        };
        let now_ms = (self.clock)();
        let mut counted = Counted::default();
        let mut stalled = None;
        for record in run.records {
            let (outcome, schema_id) = match self.judge.check(&object, record, now_ms) {
                // Nothing is wrong, as with most records: there is nothing to decide and nothing to count.
                Ok((Ok(report), _)) if report.worst().is_none() => {
                    actions.push(Action::Forward);
                    continue;
                }
                Ok(checked) => checked,
                Err(stall) => {
                    stalled = Some(stall);
                    break;
                }
            };
            let verdict = decide(&object, outcome);
            counted.add(&verdict);
            if verdict.outcome() == Outcome::Accepted {
                actions.push(Action::Forward);
                continue;
            }
            let source = Source {
                topic: &run.route.source,
                partition: run.partition,
                offset: record.offset,
                schema_id,
                attempt: attempts(record.headers) + 1,
            };
            actions.push(match plan(&object, &verdict, &source) {
                weir_contract::Action::Forward => Action::Forward,
                // A warning is not worth a record that no longer fits its topic.
                weir_contract::Action::ForwardWith(headers)
                    if record.size() + added_size(&headers) > run.forward_limit =>
                {
                    Action::Forward
                }
                weir_contract::Action::ForwardWith(headers) => Action::ForwardWith(headers),
                weir_contract::Action::Quarantine(headers) => Action::Quarantine(headers),
            });
        }
        self.metrics.add(counted.reasons(&run.route.source));
        stalled.map_or(Ok(()), Err)
    }

    fn too_large(&mut self, run: &Run<'_>, index: usize, size: usize, limit: usize) -> Headers {
        let (offset, attempt) = run.records.get(index).map_or((0, 0), |r| (r.offset, attempts(r.headers)));
        self.entry(run.route, run.partition, offset, DataFault::RecordTooLarge { size, limit }, attempt + 1)
    }

    fn unreadable(&mut self, route: &Route, partition: i32, first: i64, last: i64, why: &str) -> Headers {
        let fault = DataFault::BatchUnreadable { first, last, reason: why.to_owned() };
        self.entry(route, partition, first, fault, 1)
    }
}

/// What was broken in one run, so that the shared counts are touched once per run and not at all by clean events.
#[derive(Default)]
struct Counted(HashMap<(&'static str, Arc<str>, &'static str), u64>);

impl Counted {
    fn add(&mut self, verdict: &Verdict) {
        for violation in verdict.violations() {
            let key = (violation.code.name(), violation.rule.clone(), violation.mode.name());
            *self.0.entry(key).or_default() += 1;
        }
    }

    fn reasons<'c>(self, topic: &'c str) -> impl Iterator<Item = (Reason, u64)> + 'c {
        self.0.into_iter().map(move |((code, rule, mode), count)| {
            (Reason { topic: topic.to_owned(), code: code.to_owned(), rule: rule.to_string(), mode }, count)
        })
    }
}
