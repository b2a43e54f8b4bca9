//! The log of schemas: a compacted topic with one partition. Data goes one way: a request decides on the state,
//! its records go to the topic, one thread reads the topic and applies it, and only then the request is answered.
//!
//! Several instances may work on one topic. Whoever writes owns one fixed transactional id, and Kafka lets only its
//! newest owner commit. So an instance that opens its writer, then reads to the end of the log, then decides, knows
//! that nothing was written in between: had another instance become the owner, the commit would fail. Confluent's
//! own registry takes no part in this and must not write to the topic at the same time.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;
use weir_kafka::{
    Admin, Error, Failure, NewTopic, Outgoing, Read, ReadOptions, Reader, TransactionError, TransactionalWriter, Until,
};
use weir_telemetry::Health;

use crate::config::Config;
use crate::decide::Decision;
use crate::fault::Fault;
use crate::metrics::Counters;
use crate::record::Record;
use crate::store::{Applied, Store};

/// How often the topic is looked at for records of other instances when there is nothing else to do.
const POLL: Duration = Duration::from_millis(20);
/// How often the end of the log is asked for when there is nothing else to do, to learn whether Kafka is there.
const PROBE: Duration = Duration::from_secs(3);
/// Pause between two attempts to reach Kafka at the start.
const RECONNECT: Duration = Duration::from_millis(500);
/// Bounds of the limit for one step of a transaction, and for the transaction; between them the request's own holds.
const STEP: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
/// Requests that may wait for the log.
const QUEUE: usize = 1024;
/// Requests that are written together at most.
const TOGETHER: usize = 64;
/// What a batch adds to the record in it, generously.
const BATCH_OVERHEAD: usize = 512;
/// The health condition of this module.
const CONDITION: &str = "kafka";

type Decide = Box<dyn FnMut(&Store) -> Result<Decision<Value>, Fault> + Send>;
type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// What each of several requests is answered with.
type Answers = Vec<Result<Value, Fault>>;

enum Job {
    CatchUp(Reply<()>),
    Write(Change),
}

/// A request that may change something.
struct Change {
    decide: Decide,
    reply: Reply<Value>,
    deadline: Instant,
}

/// The log as requests see it.
#[derive(Clone)]
pub struct Log {
    store: Arc<RwLock<Store>>,
    jobs: SyncSender<Job>,
    loaded: Arc<AtomicBool>,
    timeout: Duration,
}

impl Log {
    /// Starts the thread that owns the log. It ends when all clones of the log are dropped.
    pub(crate) fn start(
        config: &Config,
        store: Arc<RwLock<Store>>,
        health: Health,
        counters: Counters,
    ) -> std::io::Result<(Log, JoinHandle<()>)> {
        health.set(CONDITION, format!("reading topic {}", config.topic));
        let (jobs, queue) = sync_channel(QUEUE);
        let loaded = Arc::new(AtomicBool::new(false));
        let log = Log { store: store.clone(), jobs, loaded: loaded.clone(), timeout: config.request_timeout };
        let connecting = Connecting { config: config.clone(), store, loaded, health, counters, queue };
        let thread = thread::Builder::new().name("schemas-log".to_owned()).spawn(move || connecting.run())?;
        Ok((log, thread))
    }

    /// Answers from memory.
    pub fn read<T>(&self, ask: impl FnOnce(&Store) -> Result<T, Fault>) -> Result<T, Fault> {
        self.ready()?;
        ask(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers from memory; what is not found there is looked for again after reading the log to its end, so that
    /// nothing another instance has confirmed is said not to exist.
    pub async fn find<T>(&self, ask: impl Fn(&Store) -> Result<T, Fault>) -> Result<T, Fault> {
        match self.read(&ask) {
            Err(Fault::SubjectNotFound(_) | Fault::VersionNotFound(_) | Fault::SchemaNotFound) => {
                self.catch_up().await?;
                self.read(ask)
            }
            answer => answer,
        }
    }

    /// Waits until everything is applied that is in the log now.
    pub async fn catch_up(&self) -> Result<(), Fault> {
        self.submit(Job::CatchUp).await
    }

    /// Decides, writes, and answers once the state has the change. The decision may be made several times.
    pub async fn write(
        &self,
        decide: impl FnMut(&Store) -> Result<Decision<Value>, Fault> + Send + 'static,
    ) -> Result<Value, Fault> {
        let deadline = Instant::now() + self.timeout;
        self.submit(|reply| Job::Write(Change { decide: Box::new(decide), reply, deadline })).await
    }

    fn ready(&self) -> Result<(), Fault> {
        let loaded = self.loaded.load(Ordering::Acquire);
        loaded.then_some(()).ok_or_else(|| Fault::NotReady("try again once /health/ready answers 200".to_owned()))
    }

    async fn submit<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Fault> {
        self.ready()?;
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(job(reply)).map_err(|error| match error {
            TrySendError::Full(_) => Fault::Timeout(format!("{QUEUE} requests wait already")),
            TrySendError::Disconnected(_) => Fault::NotReady("the service is stopping".to_owned()),
        })?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Fault::Timeout("the service is stopping".to_owned())),
            Err(_) => Err(Fault::Timeout(format!("nothing after {} s", self.timeout.as_secs()))),
        }
    }
}

/// The thread until the log was read once.
struct Connecting {
    config: Config,
    store: Arc<RwLock<Store>>,
    loaded: Arc<AtomicBool>,
    health: Health,
    counters: Counters,
    queue: Receiver<Job>,
}

impl Connecting {
    fn run(self) {
        let (reader, limit) = loop {
            match self.connect() {
                Ok(connected) => break connected,
                Err(reason) => self.health.set(CONDITION, reason),
            }
            // Nothing is queued before the log is loaded, so this only waits, or learns that the service stops.
            match self.queue.recv_timeout(RECONNECT) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let Connecting { config, store, loaded, health, counters, queue } = self;
        let transactional_id = format!("weir.schema-registry.{}", config.topic);
        let worker = Worker {
            config,
            transactional_id,
            limit,
            store,
            loaded,
            health,
            counters,
            reader,
            writer: None,
            awaited: None,
            conflict: None,
            contact: Instant::now(),
        };
        worker.run(&queue);
    }

    /// Makes sure that the topic is there and fit, and opens it; also the size its records may have.
    fn connect(&self) -> Result<(Reader, usize), String> {
        let Config { topic, cluster, .. } = &self.config;
        let text = |error: Error| error.to_string();
        let admin = Admin::new(cluster).map_err(text)?;
        let wanted = NewTopic { replication: self.config.replication, ..NewTopic::new(topic, 1) };
        if admin.partitions(topic).map_err(text)?.is_none()
            && admin.create_topic(&wanted.set("cleanup.policy", "compact")).map_err(text)?
        {
            tracing::info!(topic, "topic created");
        }
        let settings = admin.configs(&[topic]).map_err(text)?.remove(topic).unwrap_or_default();
        let setting = |name: &str| settings.get(name).map(|setting| setting.value.as_str());
        if setting("cleanup.policy") != Some("compact") {
            // Anything else would delete schemas by age.
            return Err(format!("topic {topic} must have cleanup.policy=compact and nothing else; set it"));
        }
        if admin.partitions(topic).map_err(text)? != Some(1) {
            return Err(format!("topic {topic} must have one partition; give another topic"));
        }
        // To close its clients takes 0.2 s, for which nothing here has to wait.
        thread::spawn(move || drop(admin));
        let limit = setting("max.message.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(1 << 20);
        let options = ReadOptions { until: Until::Live, ..ReadOptions::default() };
        Ok((Reader::open(cluster, topic, options).map_err(text)?, usize::saturating_sub(limit, BATCH_OVERHEAD)))
    }
}

/// The thread that owns the log once it is open.
struct Worker {
    config: Config,
    transactional_id: String,
    limit: usize,
    store: Arc<RwLock<Store>>,
    loaded: Arc<AtomicBool>,
    health: Health,
    counters: Counters,
    reader: Reader,
    writer: Option<TransactionalWriter>,
    /// A record whose transaction ended in doubt, until it is seen.
    awaited: Option<Record>,
    /// Offset of the last record that was left out because its id belongs to another schema.
    conflict: Option<i64>,
    contact: Instant,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        while !self.loaded.load(Ordering::Acquire) {
            // Nothing is queued before the log is loaded: this only learns that the service stops.
            if let Err(RecvTimeoutError::Disconnected) = queue.recv_timeout(Duration::ZERO) {
                return;
            }
            match self.reader.next(POLL) {
                Ok(Read::Record(record)) => self.apply(&record),
                Ok(Read::CaughtUp) => {
                    let (subjects, versions, schemas) = self.read(Store::counts);
                    tracing::info!(topic = self.config.topic, subjects, versions, schemas, "log of schemas is read");
                    self.health.clear(CONDITION);
                    self.loaded.store(true, Ordering::Release);
                }
                Ok(Read::Idle) => {}
                Err(error) => self.trouble(&error),
            }
        }
        loop {
            let first = match queue.recv_timeout(POLL) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.poll();
            let (mut readers, mut changes) = (Vec::new(), Vec::new());
            for job in first.into_iter().chain(queue.try_iter().take(QUEUE)) {
                match job {
                    Job::CatchUp(reply) => readers.push(reply),
                    Job::Write(change) => changes.push(change),
                }
            }
            while !changes.is_empty() {
                let later = changes.split_off(changes.len().min(TOGETHER));
                self.write(std::mem::replace(&mut changes, later));
            }
            if !readers.is_empty() || self.contact.elapsed() > PROBE {
                let done = self.catch_up(Instant::now() + self.config.request_timeout);
                readers.into_iter().for_each(|reply| drop(reply.send(done.clone())));
            }
        }
    }

    fn read<T>(&self, ask: impl FnOnce(&Store) -> T) -> T {
        ask(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies what has arrived.
    fn poll(&mut self) {
        loop {
            match self.reader.next(Duration::ZERO) {
                Ok(Read::Record(record)) => self.apply(&record),
                Ok(Read::CaughtUp) => {}
                Ok(Read::Idle) => return,
                Err(error) => return self.trouble(&error),
            }
        }
    }

    /// Applies everything up to the end of the log as of now.
    fn catch_up(&mut self, deadline: Instant) -> Result<(), Fault> {
        self.contact = Instant::now();
        let extended = self.reader.extend();
        let done = extended.and_then(|()| {
            loop {
                match self.reader.next(POLL)? {
                    Read::Record(record) => self.apply(&record),
                    Read::CaughtUp => return Ok(()),
                    Read::Idle if Instant::now() < deadline => {}
                    Read::Idle => {
                        let reason = "the end of the log was not reached in time".to_owned();
                        return Err(Error::Unavailable { action: format!("read topic {}", self.config.topic), reason });
                    }
                }
            }
        });
        match done {
            Ok(()) => {
                self.health.clear(CONDITION);
                Ok(())
            }
            Err(error) => {
                self.trouble(&error);
                Err(Fault::Timeout(error.to_string()))
            }
        }
    }

    fn trouble(&self, error: &Error) {
        self.health.set(CONDITION, error.to_string());
    }

    fn apply(&mut self, record: &weir_kafka::Record) {
        let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
        let applied = self.store.write().unwrap_or_else(PoisonError::into_inner).apply(key, value);
        let offset = record.offset;
        let outcome = match applied {
            Ok(Applied::Yes) => "applied",
            Ok(Applied::Foreign(what)) => {
                tracing::debug!(offset, what, "record of the log is about something else");
                "foreign"
            }
            Ok(Applied::Conflict { id }) => {
                self.conflict = Some(offset);
                tracing::error!(offset, id, "record of the log gives the id of one schema to another, it is left out");
                "conflict"
            }
            Err(error) => {
                tracing::error!(offset, %error, "record of the log cannot be read, it is left out");
                "unreadable"
            }
        };
        self.counters.records.get_or_create(&[("outcome", outcome)]).inc();
        self.awaited.take_if(|awaited| awaited.key == key && awaited.value.as_deref() == value);
    }

    /// Writes what several requests change in one transaction, and answers them.
    fn write(&mut self, mut changes: Vec<Change>) {
        // A request that is given up is not written either.
        changes.retain(|change| !change.reply.is_closed());
        let Some(deadline) = changes.iter().map(|change| change.deadline).max() else { return };
        let mut in_doubt = None;
        let mut attempts = 0;
        let answers = loop {
            let reason = match self.attempt(&mut changes, deadline, &mut in_doubt) {
                Ok(answers) => break answers,
                Err(Stop::Fault(fault)) => break vec![Err(fault); changes.len()],
                Err(Stop::Again(reason)) => reason,
            };
            attempts += 1;
            let pause = jitter(attempts);
            if Instant::now() + pause >= deadline {
                self.awaited = None;
                break vec![Err(Fault::Timeout(reason)); changes.len()];
            }
            thread::sleep(pause);
        };
        changes.into_iter().zip(answers).for_each(|(change, answer)| drop(change.reply.send(answer)));
    }

    fn attempt(
        &mut self,
        changes: &mut [Change],
        deadline: Instant,
        in_doubt: &mut Option<Answers>,
    ) -> Result<Answers, Stop> {
        if let Some(answers) = in_doubt.take() {
            // A transaction that ended in doubt is settled once the transactional id has a new owner.
            if let Err(stop) = self.own(deadline) {
                *in_doubt = Some(answers);
                return Err(stop);
            }
            if self.awaited.take().is_none() {
                return Ok(answers);
            }
        }
        let limit = self.limit;
        // The owner's state is the log's end for certain if its commit succeeds, and for nothing else.
        let optimistic = self.writer.as_ref().map(|_| self.read(|store| decide(store, changes, limit)));
        let mut decision = match optimistic {
            Some((decision, changing)) if changing == changes.len() => decision,
            _ => {
                self.catch_up(deadline)?;
                self.read(|store| decide(store, changes, limit)).0
            }
        };
        if !decision.records.is_empty() && self.writer.is_none() {
            // What was decided before owning the log counts for nothing: it only spared taking it from another
            // instance for a schema that is registered already.
            self.own(deadline)?;
            decision = self.read(|store| decide(store, changes, limit)).0;
        }
        if !decision.records.is_empty() {
            let (first, last) = self.transact(&decision, in_doubt)?;
            // An owner whose state lacks its own writes must not decide on it.
            self.await_offset(last, deadline).inspect_err(|_| self.writer = None)?;
            // A transaction that nobody could see was in front of it after all: Kafka forgets the end of one when it is killed at the
            // wrong moment, and ends it with the next. What was decided without it counts for nothing where the two disagree.
            if self.conflict.is_some_and(|offset| (first..=last).contains(&offset)) {
                return Err(Stop::Again("another record of the log has this id".to_owned()));
            }
        }
        Ok(decision.answer)
    }

    /// Becomes the owner of the log, if this instance is not, and learns all that was written before.
    fn own(&mut self, deadline: Instant) -> Result<(), Stop> {
        if self.writer.is_none() {
            let limit = self.config.request_timeout.clamp(STEP.0, STEP.1);
            let writer = TransactionalWriter::open(&self.config.cluster, &self.transactional_id, limit)
                .inspect_err(|error| self.health.set(CONDITION, error.to_string()))?;
            tracing::info!(transactional_id = self.transactional_id, "this instance writes");
            self.catch_up(deadline)?;
            self.writer = Some(writer);
        }
        Ok(())
    }

    /// Writes the records of a decision, all or none; the answer are the offsets of the first and the last.
    fn transact(&mut self, decision: &Decision<Answers>, in_doubt: &mut Option<Answers>) -> Result<(i64, i64), Stop> {
        let writer = self.writer.as_mut().ok_or_else(|| Stop::Again("the writer is not open".to_owned()))?;
        let error = match commit(writer, &self.config.topic, &decision.records) {
            Ok(places) => {
                let offset = |place: Option<&(i32, i64)>| place.map_or(-1, |(_, offset)| *offset);
                return Ok((offset(places.first()), offset(places.last())));
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "write failed, trying again");
        if error.failure != Failure::Fenced {
            // Said before the attempt is undone: with the brokers away that takes as long again.
            self.health.set(CONDITION, error.to_string());
        }
        match error.failure {
            Failure::Abortable if writer.abort().is_ok() => {}
            Failure::Abortable | Failure::Retriable => self.writer = None,
            Failure::Fenced | Failure::Fatal => {
                if error.failure == Failure::Fenced {
                    self.counters.fenced.get_or_create(&[]).inc();
                }
                // A commit whose answer was lost may be told of the next owner when it is tried again.
                self.writer = None;
                self.awaited = decision.records.last().cloned();
                *in_doubt = Some(decision.answer.clone());
            }
        }
        Err(error.into())
    }

    /// Applies until the record at this offset was.
    fn await_offset(&mut self, offset: i64, deadline: Instant) -> Result<(), Fault> {
        while self.reader.positions().values().any(|next| *next <= offset) {
            match self.reader.next(POLL) {
                Ok(Read::Record(record)) => self.apply(&record),
                Ok(Read::CaughtUp | Read::Idle) => {}
                Err(error) => self.trouble(&error),
            }
            if Instant::now() >= deadline {
                return Err(Fault::Timeout("the change is written but was not read back".to_owned()));
            }
        }
        // While one write follows another nobody catches up, so this must end the trouble that was told of before.
        self.contact = Instant::now();
        self.health.clear(CONDITION);
        Ok(())
    }
}

/// Why an attempt to write brought no answer.
enum Stop {
    /// It will not bring another one.
    Fault(Fault),
    /// The next attempt may.
    Again(String),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

impl From<TransactionError> for Stop {
    fn from(error: TransactionError) -> Stop {
        Stop::Again(error.to_string())
    }
}

/// Decides on several changes, one after the other, each on what those before it leave behind. Also how many of them change anything.
fn decide(store: &Store, changes: &mut [Change], limit: usize) -> (Decision<Answers>, usize) {
    let (mut records, mut changing, count) = (Vec::new(), 0, changes.len());
    let mut after: Option<Store> = None;
    let answers = changes.iter_mut().enumerate().map(|(number, change)| {
        if change.reply.is_closed() {
            return Err(Fault::Timeout("the request was given up".to_owned()));
        }
        let decision = (change.decide)(after.as_ref().unwrap_or(store))?;
        let size = decision.records.iter().map(size).max().unwrap_or_default();
        if size > limit {
            return Err(Fault::TooLarge { size, limit });
        }
        if !decision.records.is_empty() {
            changing += 1;
            if number + 1 < count {
                let after = after.get_or_insert_with(|| store.clone());
                // What cannot be applied here cannot be when it is read back either, where it is told.
                decision.records.iter().for_each(|record| drop(after.apply(&record.key, record.value.as_deref())));
            }
        }
        records.extend(decision.records);
        Ok(decision.answer)
    });
    let answer = answers.collect();
    (Decision { records, answer }, changing)
}

fn commit(
    writer: &mut TransactionalWriter,
    topic: &str,
    records: &[Record],
) -> Result<Vec<(i32, i64)>, TransactionError> {
    writer.begin()?;
    for record in records {
        let (key, value) = (Some(&*record.key), record.value.as_deref());
        writer.send_told(&Outgoing { topic, partition: Some(0), key, value, ..Outgoing::default() })?;
    }
    writer.commit()
}

fn size(record: &Record) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, Vec::len)
}

/// A random pause that grows with the attempts, so that instances that take the log from each other get out of step.
fn jitter(attempt: u32) -> Duration {
    let random = RandomState::new().hash_one(attempt) % 64;
    Duration::from_millis(random * u64::from(attempt.min(8)))
}
