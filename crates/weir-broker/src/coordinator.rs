//! The shell around the coordinators: does what they say, in order, and hands their answers to those who wait.
//!
//! Locks are taken in one order: transactions, then groups, then logs. None is held while something is awaited. With `flush = fsync` a
//! call may wait for the disk; whoever runs on the async runtime then calls from a thread that may block.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use weir_wire::ErrorCode;
use weir_wire::batch::Batch;
use weir_wire::build::{BatchBuilder, Producer as BatchProducer};
use weir_wire::codec::Codec;
use weir_wire::control;
use weir_wire::records::Records;

use crate::clock::now_ms;
use crate::configs::Overrides;
use crate::groups::{self, Groups, Settings, Ticket};
use crate::log::{AppendError, Appended, Flush, Isolation, LogError, Origin};
use crate::node::Node;
use crate::topics::{OFFSETS, Partition, TRANSACTIONS, TopicError};
use crate::transactions::{self, Failed, Marker, Open, Perform, Producer, Transactions};

/// Bytes read at a time when the state is read back.
const READ: usize = 1 << 20;
/// The most that a batch of the broker's own may be when it is unpacked.
const UNPACKED: usize = 256 << 20;

/// The state machines, and those who wait for their answers.
#[derive(Debug)]
pub(crate) struct Coordinator {
    transactions: Mutex<Transactions>,
    groups: Mutex<Groups>,
    waiting: Mutex<HashMap<Ticket, oneshot::Sender<groups::Answer>>>,
    tickets: AtomicU64,
    /// The time for which the clockwork is set.
    armed: AtomicI64,
    rearm: Notify,
}

/// Why the coordinators cannot take up what they wrote before.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log cannot be read.
    #[error("{topic}: {source}")]
    Log {
        /// The topic with the state.
        topic: &'static str,
        /// What is wrong.
        source: LogError,
    },
    /// A record of it cannot be understood.
    #[error("{topic}, offset {offset}: {reason}")]
    Record {
        /// The topic with the state.
        topic: &'static str,
        /// The offset of the batch.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}

impl Coordinator {
    pub(crate) fn new(settings: Settings, next_producer_id: i64) -> Coordinator {
        let (salt, _) = uuid::Uuid::new_v4().as_u64_pair();
        Coordinator {
            transactions: Mutex::new(Transactions::new(transactions::Config::default(), next_producer_id)),
            groups: Mutex::new(Groups::new(settings, salt)),
            waiting: Mutex::default(),
            tickets: AtomicU64::new(1),
            armed: AtomicI64::new(i64::MAX),
            rearm: Notify::new(),
        }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        lock(&self.groups)
    }

    /// Sees to it that the clockwork wakes in time for a new deadline.
    fn arm(&self, deadline: Option<i64>) {
        if deadline.is_some_and(|deadline| deadline < self.armed.load(Ordering::Acquire)) {
            self.rearm.notify_one();
        }
    }

    fn hand_over(&self, answers: Vec<(Ticket, groups::Answer)>) {
        let mut waiting = lock(&self.waiting);
        for (ticket, answer) in answers {
            if let Some(waiter) = waiting.remove(&ticket) {
                // Whoever does not wait any more does not miss it.
                let _ = waiter.send(answer);
            }
        }
    }
}

/// A request that waits for a group. When it is dropped before it was answered, the group is told.
pub(crate) struct Waiting<'a> {
    node: &'a Arc<Node>,
    ticket: Ticket,
    answer: oneshot::Receiver<groups::Answer>,
    answered: bool,
}

impl Waiting<'_> {
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// COORDINATOR_NOT_AVAILABLE when the broker stops, or what was decided could not be made durable.
    pub(crate) async fn answer(mut self) -> Result<groups::Answer, ErrorCode> {
        let mut stopping = self.node.stopping();
        let answer = tokio::select! {
            biased;
            answer = &mut self.answer => answer.ok(),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        self.answered = answer.is_some();
        answer.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let coordinator = self.node.coordinator();
        if !self.answered && lock(&coordinator.waiting).remove(&self.ticket).is_some() {
            coordinator.groups().forget(self.ticket, self.node.clock().steady_ms());
        }
    }
}

impl Node {
    /// A place in the queue for an answer of a group.
    pub(crate) fn wait(self: &Arc<Node>) -> Waiting<'_> {
        let ticket = Ticket(self.coordinator().tickets.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        lock(&self.coordinator().waiting).insert(ticket, sender);
        Waiting { node: self, ticket, answer, answered: false }
    }

    /// Asks the groups something that they know without writing.
    pub(crate) fn ask_groups<T>(&self, ask: impl FnOnce(&mut Groups, i64) -> T) -> T {
        let mut groups = self.coordinator().groups();
        let answer = ask(&mut groups, self.clock().steady_ms());
        self.coordinator().arm(groups.next_deadline());
        answer
    }

    /// Has the groups decide something, and does what they say.
    pub(crate) fn turn_groups(self: &Arc<Node>, decide: impl FnOnce(&mut Groups, i64) -> Vec<groups::Action>) {
        let now = self.clock().steady_ms();
        let mut groups = self.coordinator().groups();
        let mut actions = VecDeque::from(decide(&mut groups, now));
        let (mut answers, mut written) = (Vec::new(), None);
        while let Some(action) = actions.pop_front() {
            match action {
                groups::Action::Answer { ticket, answer } => answers.push((ticket, answer)),
                groups::Action::Write(write) => {
                    let outcome = self.write_group(&write);
                    written = outcome.as_ref().ok().map(|appended| appended.last_offset + 1).or(written);
                    let outcome = outcome.map(|appended| appended.base_offset);
                    for action in groups.written(write, outcome, now).into_iter().rev() {
                        actions.push_front(action);
                    }
                }
            }
        }
        self.coordinator().arm(groups.next_deadline());
        drop(groups);
        match written.filter(|_| self.config().flush == Flush::Fsync) {
            None => self.coordinator().hand_over(answers),
            Some(end) => self.hand_over_durable(end, answers),
        }
    }

    /// Answers once the offsets log is durable up to there; where it cannot be, nobody is answered.
    fn hand_over_durable(self: &Arc<Node>, end: i64, answers: Vec<(Ticket, groups::Answer)>) {
        let node = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let durable = node.internal(OFFSETS).map_err(|_| ()).and_then(|partition| {
                let log = partition.opened().ok_or(())?;
                log.durable(end).map_err(|error| tracing::error!(%error, "group state is not durable"))
            });
            if durable.is_ok() {
                node.coordinator().hand_over(answers);
            } else {
                let mut waiting = lock(&node.coordinator().waiting);
                answers.iter().for_each(|(ticket, _)| drop(waiting.remove(ticket)));
            }
        });
    }

    fn write_group(&self, write: &groups::Write) -> Result<Appended, ErrorCode> {
        let records = write.records().map_err(|error| {
            tracing::error!(%error, "group state cannot be written");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        let mut batch = BatchBuilder::new(Codec::None);
        if let Some((id, epoch)) = write.producer {
            batch = batch.producer(BatchProducer { id, epoch, base_sequence: -1 }).transactional();
        }
        let now = now_ms();
        for (key, value) in &records {
            batch.push(now, Some(key), value.as_deref(), &[]).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        }
        let batch = batch.finish(0).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        self.store(OFFSETS, batch, now).map_err(|error| error.code)
    }

    /// Appends a batch of the broker's own.
    fn store(&self, topic: &str, batch: Bytes, now: i64) -> Result<Appended, AppendError> {
        let partition = self.internal(topic)?;
        let appended = partition.log(now).map_err(AppendError::from)?.append(batch, Origin::Coordinator, now);
        appended.inspect_err(|error| tracing::error!(topic, %error, "cannot write the broker's own state"))
    }

    /// Has the transactions decide something, and does what they say while they do.
    pub(crate) fn turn_transactions<T>(
        self: &Arc<Node>,
        decide: impl FnOnce(&mut Transactions, i64, Perform<'_>) -> T,
    ) -> T {
        let mut transactions = lock(&self.coordinator().transactions);
        let answer = decide(&mut transactions, self.clock().steady_ms(), &mut |action| self.perform(action));
        self.coordinator().arm(transactions.next_deadline());
        answer
    }

    /// The same on a thread that may wait for the disk, where that can be needed.
    pub(crate) async fn turn_transactions_async<T: Send + 'static>(
        self: &Arc<Node>,
        decide: impl FnOnce(&mut Transactions, i64, Perform<'_>) -> T + Send + 'static,
    ) -> Result<T, ErrorCode> {
        if self.config().flush == Flush::Os {
            return Ok(self.turn_transactions(decide));
        }
        let node = Arc::clone(self);
        let turn = tokio::task::spawn_blocking(move || node.turn_transactions(decide));
        turn.await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }

    fn perform(&self, action: transactions::Action) -> Result<(), Failed> {
        match action {
            transactions::Action::ReserveIds { below } => {
                self.cluster().change(|memory| memory.next_producer_id = below).map_err(|error| {
                    tracing::error!(%error, "cannot reserve producer ids");
                    Failed
                })
            }
            transactions::Action::Write { key, value, durable } => {
                let now = now_ms();
                let mut batch = BatchBuilder::new(Codec::None);
                batch.push(now, Some(&key), value.as_deref(), &[]).map_err(|_| Failed)?;
                let batch = batch.finish(0).map_err(|_| Failed)?;
                let appended = self.store(TRANSACTIONS, batch, now).map_err(|_| Failed)?;
                if durable { self.make_durable(TRANSACTIONS, appended.last_offset + 1) } else { Ok(()) }
            }
            transactions::Action::Mark(marker) => self.mark(&marker),
        }
    }

    fn make_durable(&self, topic: &'static str, end: i64) -> Result<(), Failed> {
        if self.config().flush == Flush::Os {
            return Ok(());
        }
        let partition = self.internal(topic).map_err(|_| Failed)?;
        let durable = partition.log(now_ms()).and_then(|log| log.durable(end));
        durable.map_err(|error| {
            tracing::error!(topic, %error, "transaction state is not durable");
            Failed
        })
    }

    /// Ends a transaction in each of its partitions; all are tried.
    fn mark(&self, marker: &Marker) -> Result<(), Failed> {
        let mut outcome = Ok(());
        for (topic, index) in &marker.partitions {
            let log_marker = crate::log::Marker {
                producer_id: marker.producer.id,
                producer_epoch: marker.producer.epoch,
                coordinator_epoch: 0,
                commit: marker.commit,
                transaction_version: marker.transaction_version,
            };
            match self.append_marker(topic, *index, log_marker) {
                // What is not there has nothing to end; and what has a newer epoch was ended by an operator.
                Ok(()) | Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::INVALID_PRODUCER_EPOCH) => {}
                Err(code) => {
                    tracing::error!(%topic, partition = index, %code, "cannot write the end of a transaction");
                    outcome = Err(Failed);
                }
            }
        }
        outcome
    }

    /// Writes the end of a transaction into one partition, and tells the groups where it is theirs.
    pub(crate) fn append_marker(&self, topic: &str, index: i32, marker: crate::log::Marker) -> Result<(), ErrorCode> {
        let partition = self.topics().partition(topic, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        // Nobody may look at the groups between the marker and what it means for them.
        let groups = (topic == OFFSETS).then(|| self.coordinator().groups());
        let now = now_ms();
        let log = partition.log(now).map_err(|error| error.code())?;
        let appended = log
            .append_marker(marker, now)
            .map_err(|error| if partition.is_deleted() { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { error.code })?;
        if let Some(mut groups) = groups {
            groups.complete(marker.producer_id, marker.commit);
        }
        if self.config().flush == Flush::Fsync {
            log.durable(appended.last_offset + 1).map_err(|error| error.code())?;
        }
        Ok(())
    }

    /// The partition of an internal topic, which is made when it is first needed.
    pub(crate) fn internal(&self, name: &str) -> Result<Arc<Partition>, AppendError> {
        let topic = match self.topics().get(name) {
            Some(topic) => Ok(topic),
            None => {
                let overrides: Overrides = [
                    ("cleanup.policy", "compact"),
                    ("compression.type", if name == OFFSETS { "producer" } else { "uncompressed" }),
                    ("segment.bytes", "104857600"),
                ]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
                match self.topics().create(name, 1, overrides) {
                    Err(TopicError::Exists(_)) => {
                        self.topics().get(name).ok_or_else(|| TopicError::Missing(name.into()))
                    }
                    made => made,
                }
            }
        };
        let partition = topic.and_then(|topic| topic.partition(0).ok_or_else(|| TopicError::Missing(name.into())));
        partition.map_err(|error| {
            tracing::error!(topic = name, %error, "cannot make a topic for the broker's own state");
            AppendError {
                code: ErrorCode::KAFKA_STORAGE_ERROR,
                message: format!("topic {name} cannot be made"),
                records: Vec::new(),
            }
        })
    }

    /// Does what is due until the broker stops.
    pub(crate) async fn keep_time(self: Arc<Node>) {
        let mut stopping = self.stopping();
        loop {
            // Whoever has a new deadline from here on wakes this.
            self.coordinator().armed.store(i64::MAX, Ordering::Release);
            let next = {
                let transactions = lock(&self.coordinator().transactions).next_deadline();
                let groups = self.coordinator().groups().next_deadline();
                transactions.into_iter().chain(groups).min()
            };
            self.coordinator().armed.store(next.unwrap_or(i64::MAX), Ordering::Release);
            let now = self.clock().steady_ms();
            // A deadline that cannot be kept must not make this spin.
            let wait = next.map_or(60_000, |next| next.saturating_sub(now).clamp(1, 60_000));
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = self.coordinator().rearm.notified() => continue,
                () = tokio::time::sleep(std::time::Duration::from_millis(wait.unsigned_abs())) => {}
            }
            let node = Arc::clone(&self);
            let tick = move || {
                node.turn_transactions(|transactions, now, perform| transactions.tick(now, perform));
                node.turn_groups(|groups, now| groups.tick(now));
            };
            if tokio::task::spawn_blocking(tick).await.is_err() {
                tracing::error!("a timer of the coordinators ended badly");
            }
        }
    }

    /// Takes up what the coordinators wrote before, and ends what a crash cut short.
    pub(crate) fn recover(self: &Arc<Node>) -> Result<(), RecoverError> {
        self.recover_transactions()?;
        self.recover_groups()?;
        self.turn_groups(|groups, now| groups.loaded(now));
        let open = self.open_transactions();
        self.turn_transactions(|transactions, now, perform| transactions.recover(&open, now, perform));
        Ok(())
    }

    fn recover_transactions(&self) -> Result<(), RecoverError> {
        let topic = TRANSACTIONS;
        let mut transactions = lock(&self.coordinator().transactions);
        self.replay(topic, |batch| {
            let failed = |reason: String| RecoverError::Record { topic, offset: batch.base_offset(), reason };
            if batch.is_control() {
                return Ok(());
            }
            let records = Records::read(batch, UNPACKED).map_err(|error| failed(error.to_string()))?;
            for record in &records {
                let record = record.map_err(|error| failed(error.to_string()))?;
                // Copied, as what is kept must not keep the whole batch.
                let key = record.key.map(Bytes::copy_from_slice).unwrap_or_default();
                let replayed = transactions.replay(key, record.value.map(Bytes::copy_from_slice));
                replayed.map_err(|error| failed(error.to_string()))?;
            }
            Ok(())
        })
    }

    fn recover_groups(&self) -> Result<(), RecoverError> {
        let topic = OFFSETS;
        let mut groups = self.coordinator().groups();
        self.replay(topic, |batch| {
            let failed = |reason: String| RecoverError::Record { topic, offset: batch.base_offset(), reason };
            let records = Records::read(batch, UNPACKED).map_err(|error| failed(error.to_string()))?;
            let producer = batch.is_transactional().then(|| batch.producer_id());
            for record in &records {
                let record = record.map_err(|error| failed(error.to_string()))?;
                if batch.is_control() {
                    match control::Marker::read(&record) {
                        Ok(Some(marker)) => groups.complete(batch.producer_id(), marker.commit),
                        Ok(None) => {}
                        Err(error) => return Err(failed(error.to_string())),
                    }
                    continue;
                }
                let key = record.key.map(Bytes::copy_from_slice).unwrap_or_default();
                let value = record.value.map(Bytes::copy_from_slice);
                if let Err(error) = groups.replay(&key, value.as_ref(), producer, record.offset) {
                    tracing::error!(topic, offset = record.offset, %error, "a record of the groups is left out");
                }
            }
            Ok(())
        })
    }

    /// Shows all batches of an internal topic, in order.
    fn replay(
        &self,
        topic: &'static str,
        mut show: impl FnMut(&Batch) -> Result<(), RecoverError>,
    ) -> Result<(), RecoverError> {
        let Some(partition) = self.topics().partition(topic, 0) else { return Ok(()) };
        let failed = |source| RecoverError::Log { topic, source };
        let log = partition.log(now_ms()).map_err(failed)?;
        let mut from = log.start();
        loop {
            let mut records = log.read(from, READ, Isolation::ReadUncommitted, true).map_err(failed)?.records;
            if records.is_empty() {
                return Ok(());
            }
            while let Some(batch) = Batch::split(&mut records).map_err(|error| RecoverError::Record {
                topic,
                offset: from,
                reason: error.to_string(),
            })? {
                from = batch.last_offset() + 1;
                show(&batch)?;
            }
        }
    }

    /// The transactions that the logs have open.
    fn open_transactions(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for topic in self.topics().all() {
            for partition in topic.partitions().iter() {
                let producers = partition.opened().map(|log| log.producers()).unwrap_or_default();
                open.extend(producers.iter().filter(|producer| producer.transaction_start >= 0).map(|producer| Open {
                    producer: Producer { id: producer.producer_id, epoch: producer.epoch },
                    partition: (Arc::clone(partition.topic()), partition.index()),
                }));
            }
        }
        open
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
