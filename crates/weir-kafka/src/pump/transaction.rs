//! The life of a worker's producer: one transaction after the other, and a new producer after a doubtful end.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::Timeout;
use weir_pump::WorkerState;

use super::context::{MemberContext, ProducerSide, Undelivered};
use super::shared::Shared;
use crate::error::{code_of, is_fence};
use crate::writer::{DRAIN_PAUSE, abort_and_poll, await_broker};

/// What a batch may take at most, as librdkafka ships it.
pub(super) const BATCH_SIZE: usize = 1_000_000;

/// Why a worker cannot simply go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The transaction must be aborted and its records read again.
    #[error("the transaction must be aborted: {0}")]
    Abort(String),
    /// As `Abort`; this topic and partition refused a record, and will again.
    #[error("a record is refused: {reason}")]
    Refused { topic: String, partition: i32, reason: String },
    /// Nobody knows whether the transaction is committed: the producer is done for.
    #[error("the end of the transaction is in doubt: {0}")]
    Doubt(String),
    /// The coordinator says that the producer's epoch is over.
    #[error("the producer is fenced: {0}")]
    Fenced(String),
    /// The consumer is done for.
    #[error("the consumer is of no more use: {0}")]
    Restart(String),
    /// The worker is done for.
    #[error("{0}")]
    Fatal(String),
}

type Native = BaseProducer<ProducerSide>;

/// A worker's producer and the transaction it has open, if any.
pub(super) struct Transaction<'s> {
    shared: &'s Shared,
    worker: usize,
    producer: Option<Native>,
    batch_size: usize,
    opened: Option<Instant>,
    /// Whether the coordinator may have been told to commit.
    ending: bool,
    records: usize,
    bytes: usize,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(shared: &'s Shared, worker: usize) -> Transaction<'s> {
        Transaction { shared, worker, producer: None, batch_size: 0, opened: None, ending: false, records: 0, bytes: 0 }
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// How long until the open transaction should be committed; zero if it is full.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let config = &self.shared.config;
        let opened = self.opened?;
        if self.records >= config.transaction_records || self.bytes >= config.transaction_bytes {
            return Some(Duration::ZERO);
        }
        Some(config.commit_interval.saturating_sub(opened.elapsed()))
    }

    /// Whether the coordinator may have aborted the open transaction because it took too long.
    pub(super) fn may_have_timed_out(&self) -> bool {
        self.opened.is_some_and(|opened| opened.elapsed() >= self.shared.config.transaction_timeout)
    }

    /// Whether the open transaction may have been committed; if not, it is undone once it has an end at all.
    pub(super) fn may_be_committed(&self) -> bool {
        self.ending
    }

    /// A new producer, which becomes the owner of the transactional id: what an older one left open is undone. Tries
    /// until it works or the pump stops. A pump that stops needs none: what it left open its successor undoes, and
    /// whoever becomes the owner late would fence that successor.
    pub(super) fn connect(&mut self) -> Result<(), Trouble> {
        let mut pause = Duration::from_millis(100);
        let mut fences = 0;
        self.forget();
        loop {
            if self.shared.is_stopping() {
                return Err(Trouble::Restart("stopping".to_owned()));
            }
            let reason = match self.create() {
                Ok(producer) => {
                    self.producer = Some(producer);
                    return Ok(());
                }
                Err(error) => {
                    if code_of(&error).is_some_and(is_fence) {
                        fences += 1;
                        if fences == 3 {
                            return Err(Trouble::Fatal(self.shared.fenced(self.worker)));
                        }
                    }
                    error.to_string()
                }
            };
            tracing::warn!(worker = self.worker, reason, "cannot initialise transactions, trying again");
            self.shared
                .set_state(self.worker, WorkerState::Waiting(format!("cannot initialise transactions: {reason}")));
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn create(&mut self) -> Result<Native, KafkaError> {
        self.batch_size = self.wanted_batch_size();
        let config = producer_config(self.shared, self.worker, self.batch_size);
        let producer: Native = config.create_with_context(ProducerSide::default())?;
        await_broker(&producer, Duration::from_secs(2));
        // A retriable error (the coordinator is loading, a broker is away) is for the same producer to try again.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.shared.is_stopping() {
            match producer.init_transactions(Duration::from_secs(2)) {
                Ok(()) => return Ok(producer),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
        Err(KafkaError::Canceled)
    }

    /// A batch larger than the smallest topic takes would be refused whole; librdkafka does not split one.
    fn wanted_batch_size(&self) -> usize {
        self.shared.smallest_limit().map_or(BATCH_SIZE, |limit| limit.min(BATCH_SIZE))
    }

    /// Queues a record, beginning a transaction if none is open: none is ever committed empty.
    pub(super) fn send(&mut self, mut record: BaseRecord<'_, [u8], [u8], ()>, bytes: usize) -> Result<(), Trouble> {
        if self.opened.is_none() {
            self.begin()?;
        }
        let (Some(opened), Some(producer)) = (self.opened, &self.producer) else {
            return Err(Trouble::Doubt("there is no producer".to_owned()));
        };
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if opened.elapsed() < self.shared.config.transaction_timeout =>
                {
                    record = back;
                    producer.poll(Duration::ZERO);
                    if producer.context().undelivered().is_some() {
                        return Err(self.why_undelivered("send"));
                    }
                    thread::sleep(DRAIN_PAUSE);
                }
                Err((error, refused)) => {
                    let partition = refused.partition.unwrap_or(-1);
                    let undelivered = Undelivered { error, topic: refused.topic.to_owned(), partition };
                    return Err(self.judge_undelivered(producer, &undelivered));
                }
            }
        }
        self.records += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        let stale = self.producer.as_ref().is_some_and(may_have_strays);
        if stale {
            tracing::info!(
                worker = self.worker,
                "a connection was lost, what is late on it falls to no new transaction"
            );
        }
        if stale || self.producer.is_none() || self.wanted_batch_size() < self.batch_size {
            self.connect()?;
        }
        let Some(producer) = &self.producer else { return Err(Trouble::Doubt("there is no producer".to_owned())) };
        producer.context().reset();
        producer.begin_transaction().map_err(|error| self.judge(producer, "begin", &error))?;
        self.opened = Some(Instant::now());
        self.ending = false;
        self.records = 0;
        self.bytes = 0;
        Ok(())
    }

    /// Serves what the client has to report and says whether the transaction is still good.
    pub(super) fn poll(&self) -> Result<(), Trouble> {
        let Some(producer) = &self.producer else { return Ok(()) };
        producer.poll(Duration::ZERO);
        match producer.context().undelivered() {
            Some(_) if self.is_open() => Err(self.why_undelivered("send")),
            _ => Ok(()),
        }
    }

    /// Commits the open transaction with these positions of the consumer's group.
    pub(super) fn commit(
        &mut self,
        consumer: &BaseConsumer<MemberContext>,
        positions: &TopicPartitionList,
    ) -> Result<(), Trouble> {
        let Some(producer) = &self.producer else { return Err(Trouble::Doubt("there is no producer".to_owned())) };
        // rdkafka's commit flushes, and a flush with something in flight takes at least 100 ms: it polls to a deadline.
        // So everything is delivered first (6 ms). Not with poll(1 ms), which spins and doubles the processor time per
        // record. It ends: a message that cannot be delivered times out with the transaction.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
            if producer.context().undelivered().is_some() {
                break;
            }
            thread::sleep(DRAIN_PAUSE);
        }
        if producer.context().undelivered().is_some() {
            return Err(self.why_undelivered("commit"));
        }
        // Read anew for every transaction, for it changes with every rebalance. A member that has lost its membership
        // has generation -1 and no member id, which the broker lets pass unfenced as "no group member at all". rdkafka
        // hides the generation; but librdkafka marks the assignment as lost in the same step that resets it, and the
        // mark stays until this thread answers the revocation. So: read first, then look at the mark.
        let Some(metadata) = consumer.group_metadata() else {
            return Err(Trouble::Abort("the consumer is not a member of its group".to_owned()));
        };
        if consumer.assignment_lost() {
            return Err(Trouble::Abort("the partitions were lost to another member".to_owned()));
        }
        // Both without a timeout, under the watchdog: the first can ignore one, and a timeout of the second would leave
        // nobody knowing whether the transaction is committed.
        self.shared
            .watched(self.worker, || producer.send_offsets_to_transaction(positions, &metadata, Timeout::Never))
            .map_err(|error| self.judge(producer, "send offsets", &error))?;
        self.ending = true;
        self.shared.watched(self.worker, || producer.commit_transaction(Timeout::Never)).map_err(|error| {
            match self.judge(producer, "commit", &error) {
                fenced @ Trouble::Fenced(_) => fenced,
                // Whatever else: the coordinator may have it committed already. librdkafka has no KIP-890, so that a
                // stray end of this transaction could otherwise land on the next one.
                _ => Trouble::Doubt(format!("commit: {error}")),
            }
        })?;
        self.opened = None;
        self.ending = false;
        Ok(())
    }

    /// Aborts the open transaction; in doubt if that fails.
    pub(super) fn abort(&mut self) -> Result<(), Trouble> {
        let Some(producer) = &self.producer else { return Ok(()) };
        if self.opened.is_none() {
            return Ok(());
        }
        let give_up = || self.shared.stop_by().is_some_and(|by| Instant::now() >= by);
        let aborted = self.shared.watched(self.worker, || abort_and_poll(producer, give_up));
        aborted.map_err(|error| match self.judge(producer, "abort", &error) {
            fenced @ Trouble::Fenced(_) => fenced,
            _ => Trouble::Doubt(format!("abort: {error}")),
        })?;
        self.opened = None;
        producer.context().reset();
        Ok(())
    }

    /// Drops the producer, and with it whatever it had open.
    pub(super) fn forget(&mut self) {
        let producer = self.producer.take();
        self.shared.watched(self.worker, || drop(producer));
        self.opened = None;
        self.ending = false;
    }

    fn why_undelivered(&self, step: &str) -> Trouble {
        match self.producer.as_ref().and_then(|producer| Some((producer, producer.context().undelivered()?))) {
            Some((producer, undelivered)) => self.judge_undelivered(producer, &undelivered),
            None => Trouble::Abort(format!("{step}: a record was not delivered")),
        }
    }

    fn judge_undelivered(&self, producer: &Native, undelivered: &Undelivered) -> Trouble {
        use RDKafkaErrorCode as Code;
        let Undelivered { error, topic, partition } = undelivered;
        let reason = format!("topic {topic}: {error}");
        if let Some((code, text)) = producer.client().fatal_error() {
            return if is_fence(code) { Trouble::Fenced(text) } else { Trouble::Doubt(text) };
        }
        match code_of(error) {
            Some(code) if is_fence(code) => Trouble::Fenced(reason),
            // The topic takes less than it did: everything for it waits until it was looked up again.
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
                self.shared.forget_limit(topic);
                Trouble::Abort(reason)
            }
            // It is gone, or the client has not heard of its new partitions: a new client asks at once.
            Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
                self.shared.forget_limit(topic);
                Trouble::Doubt(reason)
            }
            // The broker will refuse the same record again; the other partitions must not wait for that.
            Some(
                Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::InvalidMessage
                | Code::PolicyViolation
                | Code::TopicAuthorizationFailed,
            ) => Trouble::Refused { topic: topic.clone(), partition: *partition, reason },
            _ => Trouble::Abort(reason),
        }
    }

    fn judge(&self, producer: &Native, step: &str, error: &KafkaError) -> Trouble {
        let reason = format!("{step}: {error}");
        if let Some((code, text)) = producer.client().fatal_error() {
            return if is_fence(code) { Trouble::Fenced(text) } else { Trouble::Doubt(text) };
        }
        match error {
            _ if code_of(error).is_some_and(is_fence) => Trouble::Fenced(reason),
            KafkaError::Transaction(e) if e.txn_requires_abort() => Trouble::Abort(reason),
            _ => Trouble::Doubt(reason),
        }
    }
}

/// Whether something of an earlier transaction may still arrive: its end, or offsets, would fall to the next one, because an epoch of
/// librdkafka's stays from one transaction to the next (it has no KIP-890). To be asked while no transaction is open.
fn may_have_strays(producer: &Native) -> bool {
    // The loss of a connection is told before what was asked on it is asked again: it is in the queue by now.
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
    }
    producer.context().has_lost_a_connection()
}

pub(super) fn producer_config(shared: &Shared, worker: usize, batch_size: usize) -> ClientConfig {
    let mut config = shared.cluster.writer();
    let timeout = shared.config.transaction_timeout.as_millis().to_string();
    // From this level on the loss of a connection is logged.
    config
        .set_log_level(RDKafkaLogLevel::Info)
        .set("transactional.id", shared.worker_name(worker))
        .set("transaction.timeout.ms", &timeout)
        .set("delivery.timeout.ms", &timeout)
        .set("delivery.report.only.error", "true")
        .set("batch.size", batch_size.to_string());
    config
}
