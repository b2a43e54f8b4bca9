//! Writes records, idempotent and acknowledged by all replicas, and says of each what became of it.
//!
//! [`Writer`] writes each record for itself; [`TransactionalWriter`] all of a transaction or none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::ClusterConfig;
use crate::context::{Quiet, log_of_a_producer, was_in_use};
use crate::error::{Failure, TransactionError, code_of};
use crate::record::{native_headers, native_timestamp};
use crate::{Error, Membership, Outgoing};

/// How long to sleep between two looks at a producer's queue. `poll(1 ms)` would spin: it returns at every event and
/// doubles the processor time per record.
pub(crate) const DRAIN_PAUSE: Duration = Duration::from_micros(200);
/// The same where nothing happens for long.
const LONG_DRAIN_PAUSE: Duration = Duration::from_millis(5);

/// Records queued between two looks at what the client has to report; each look costs as much as a record.
const POLL_EVERY: usize = 64;

/// A topic that cannot exist, to ask about: it keeps the answer small on a cluster of many topics.
pub(crate) const NO_TOPIC: &str = "weir.ping";

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The token given to [`Writer::send`].
    pub token: usize,
    /// Partition and offset, or why it was not written.
    pub result: Result<(i32, i64), Error>,
}

/// The token of a record of which only a failure is told.
const UNTOLD: usize = usize::MAX - 1;

/// Collects deliveries as the client reports them.
#[derive(Default)]
struct Deliveries {
    told: Mutex<Vec<Delivery>>,
    has_lost_a_connection: AtomicBool,
}

impl Deliveries {
    fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.told())
    }

    fn told(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if was_in_use(facility, message) {
            self.has_lost_a_connection.store(true, Ordering::Release);
        }
        log_of_a_producer(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        let result = match result {
            Ok(_) if token == UNTOLD => return,
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, message)) => Err(delivery_error(error, message.topic())),
        };
        self.told().push(Delivery { token, result });
    }
}

fn delivery_error(error: &KafkaError, topic: &str) -> Error {
    use RDKafkaErrorCode as Code;
    let topic = topic.to_owned();
    match code_of(error) {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            Error::TooLarge { topic }
        }
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
            Error::NoSuchTopic { topic }
        }
        _ => Error::of(format!("write to topic {topic}"), error),
    }
}

fn enqueue(
    producer: &BaseProducer<Deliveries>,
    record: &Outgoing<'_>,
    token: usize,
    timeout: Duration,
) -> Result<(), KafkaError> {
    let mut deadline = None;
    let mut native = BaseRecord::with_opaque_to(record.topic, token);
    native.partition = record.partition;
    native.key = record.key;
    native.payload = record.value;
    native.headers = native_headers(record.headers.iter().copied());
    native.timestamp = record.timestamp.map(|millis| native_timestamp(weir_pump::Timestamp::Create(millis)));
    loop {
        match producer.send::<[u8], [u8]>(native) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                if Instant::now() < *deadline.get_or_insert_with(|| Instant::now() + timeout) =>
            {
                native = back;
                producer.poll(Duration::ZERO);
                thread::sleep(DRAIN_PAUSE);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Polls until nothing is in flight; `false` if the deadline came first.
fn drain(producer: &BaseProducer<Deliveries>, deadline: Instant) -> bool {
    let (mut count, mut since) = (producer.in_flight_count(), Instant::now());
    while count > 0 {
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        producer.poll(Duration::ZERO);
        let left = producer.in_flight_count();
        if left != count {
            (count, since) = (left, now);
        }
        // While the cluster keeps silent, to look all the while would cost more than all that was sent.
        thread::sleep((now.duration_since(since) / 16).clamp(DRAIN_PAUSE, LONG_DRAIN_PAUSE));
    }
    true
}

/// Waits until a broker answers a producer that is to become transactional, no longer than `limit`. Whatever comes of it, `init_transactions`
/// finds out by itself, but it would look for a coordinator before there is any connection, and look again after half a second only.
pub(crate) fn await_broker<C: ProducerContext>(producer: &BaseProducer<C>, limit: Duration) {
    drop(producer.client().fetch_metadata(Some(NO_TOPIC), limit));
}

/// Aborts a transaction, however long that takes, unless told to give up.
///
/// librdkafka's abort waits until the reports of all purged messages have been polled. On the one thread that polls and
/// aborts, one long call would wait for itself: so it is made in short ones, which take up where the last left off.
pub(crate) fn abort_and_poll<C: ProducerContext>(
    producer: &BaseProducer<C>,
    give_up: impl Fn() -> bool,
) -> Result<(), KafkaError> {
    loop {
        match producer.abort_transaction(Duration::from_millis(100)) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && !give_up() => {
                while producer.in_flight_count() > 0 && !give_up() {
                    producer.poll(Duration::ZERO);
                    thread::sleep(DRAIN_PAUSE);
                }
            }
            ended => return ended,
        }
    }
}

/// Writes records; each that is reported as delivered is on all in-sync replicas, once.
pub struct Writer {
    producer: BaseProducer<Deliveries>,
    in_flight: usize,
    timeout: Duration,
}

impl Writer {
    /// A writer that holds at most `in_flight` records that are not yet delivered. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Refused`] if the client cannot be made of the properties.
    pub fn open(config: &ClusterConfig, in_flight: usize) -> Result<Writer, Error> {
        let timeout = Duration::from_secs(30);
        let producer = config
            .writer()
            .set("delivery.timeout.ms", timeout.as_millis().to_string())
            .create_with_context(Deliveries::default())
            .map_err(|e| Error::of("create a writer", &e))?;
        Ok(Writer { producer, in_flight: in_flight.max(1), timeout })
    }

    /// Queues a record, first waiting for room. Its delivery, under `token`, comes from a later [`Writer::deliveries`]
    /// or [`Writer::flush`].
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::NoSuchTopic`], [`Error::Unavailable`] if no room was made within 30 s.
    pub fn send(&mut self, record: &Outgoing<'_>, token: usize) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        self.producer.poll(Duration::ZERO);
        while self.producer.in_flight_count() as usize >= self.in_flight {
            if Instant::now() >= deadline {
                let action = format!("write to topic {}", record.topic);
                return Err(Error::Unavailable { action, reason: "too many records wait for delivery".to_owned() });
            }
            self.producer.poll(Duration::ZERO);
            thread::sleep(DRAIN_PAUSE);
        }
        enqueue(&self.producer, record, token, self.timeout).map_err(|e| delivery_error(&e, record.topic))
    }

    /// The deliveries since the last call, in no particular order across partitions.
    pub fn deliveries(&mut self) -> Vec<Delivery> {
        self.producer.poll(Duration::ZERO);
        self.producer.context().take()
    }

    /// Waits until every record is delivered or given up (30 s after it was queued, at most) and returns what
    /// [`Writer::deliveries`] had not yet.
    pub fn flush(&mut self) -> Vec<Delivery> {
        drain(&self.producer, Instant::now() + self.timeout + Duration::from_secs(5));
        self.producer.context().take()
    }

    /// Writes one record and waits for it: partition and offset.
    ///
    /// # Errors
    /// As its delivery.
    pub fn write(&mut self, record: &Outgoing<'_>) -> Result<(i32, i64), Error> {
        const TOKEN: usize = usize::MAX;
        self.send(record, TOKEN)?;
        let mut result = None;
        let mut others = Vec::new();
        for delivery in self.flush() {
            if delivery.token == TOKEN {
                result = Some(delivery.result);
            } else {
                others.push(delivery);
            }
        }
        self.producer.context().told().append(&mut others);
        result.unwrap_or_else(|| {
            let action = format!("write to topic {}", record.topic);
            Err(Error::Unavailable { action, reason: "no answer in time".to_owned() })
        })
    }
}

/// Writes in transactions under a transactional id of which it is the only living owner.
///
/// After [`Failure::Fenced`] stop; after [`Failure::Fatal`] open a new one and find out by reading whether the commit
/// took place: librdkafka has no KIP-890, so the old producer must not be used again after a doubtful end.
pub struct TransactionalWriter {
    config: ClusterConfig,
    id: String,
    producer: BaseProducer<Deliveries>,
    timeout: Duration,
    sent: usize,
    /// Whether the client reports what was written, and not only what was not.
    tells: bool,
    /// Those records whose places are told.
    told: usize,
}

impl TransactionalWriter {
    /// Becomes the owner of `transactional_id`: fences whoever had it and undoes what that one had not committed. No
    /// step takes longer than `timeout`, which is also the transaction's (KIP-98, `transaction.timeout.ms`).
    ///
    /// # Errors
    /// [`Failure::Retriable`] if the cluster does not answer in time, [`Failure::Fatal`] otherwise.
    pub fn open(
        config: &ClusterConfig,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<TransactionalWriter, TransactionError> {
        Self::make(config, transactional_id, timeout, true)
    }

    /// As [`TransactionalWriter::open`], for many records whose places nobody needs to know: a report for each that was written would
    /// tell nothing that the commit does not, and costs as much as a tenth of writing it. [`TransactionalWriter::send_told`] is an error.
    ///
    /// # Errors
    /// As of [`TransactionalWriter::open`].
    pub fn open_untold(
        config: &ClusterConfig,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<TransactionalWriter, TransactionError> {
        Self::make(config, transactional_id, timeout, false)
    }

    fn make(
        config: &ClusterConfig,
        transactional_id: &str,
        timeout: Duration,
        tells: bool,
    ) -> Result<TransactionalWriter, TransactionError> {
        let mut settings = if tells { config.writer() } else { config.bulk_writer() };
        let producer: BaseProducer<Deliveries> = settings
            // From this level on the loss of a connection is logged.
            .set_log_level(RDKafkaLogLevel::Info)
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .set("delivery.report.only.error", (!tells).to_string())
            .create_with_context(Deliveries::default())
            .map_err(|e| TransactionError::of("open", &e))?;
        // Both within one timeout, so that a cluster that is away is told of no later for it.
        let begun = Instant::now();
        await_broker(&producer, timeout);
        let left = timeout.saturating_sub(begun.elapsed()).max(DRAIN_PAUSE);
        producer.init_transactions(left).map_err(|e| TransactionError::of("open", &e))?;
        let (config, id) = (config.clone(), transactional_id.to_owned());
        Ok(TransactionalWriter { config, id, producer, timeout, sent: 0, tells, told: 0 })
    }

    /// Begins a transaction.
    ///
    /// Where a connection was lost since the last time, something of an earlier transaction may still arrive, its end or
    /// offsets, and would fall to this one: librdkafka asks again by itself, and its epoch stays from one transaction to
    /// the next (it has no KIP-890). So it becomes the owner anew, of the next epoch.
    ///
    /// # Errors
    /// [`Failure::Fatal`] or [`Failure::Fenced`]; as of [`TransactionalWriter::open`] after a lost connection.
    pub fn begin(&mut self) -> Result<(), TransactionError> {
        self.renew()?;
        (self.sent, self.told) = (0, 0);
        self.producer.context().take();
        self.producer.begin_transaction().map_err(|e| TransactionError::of("begin", &e))
    }

    /// Whether the next transaction will be of a new epoch: then the coordinator forgets how the last one ended.
    pub fn is_to_renew(&self) -> bool {
        self.producer.poll(Duration::ZERO);
        self.producer.context().has_lost_a_connection.load(Ordering::Acquire)
    }

    /// Becomes the owner anew where that is due. No transaction must be open.
    ///
    /// # Errors
    /// As of [`TransactionalWriter::open`].
    pub fn renew(&mut self) -> Result<(), TransactionError> {
        if self.is_to_renew() {
            tracing::info!(id = self.id, "a connection was lost, what is late on it falls to no new transaction");
            *self = TransactionalWriter::make(&self.config, &self.id, self.timeout, self.tells)?;
        }
        Ok(())
    }

    /// Queues a record in the open transaction.
    ///
    /// # Errors
    /// [`Failure::Abortable`] for a record that cannot be sent, [`Failure::Fatal`] or [`Failure::Fenced`].
    pub fn send(&mut self, record: &Outgoing<'_>) -> Result<(), TransactionError> {
        self.queue(record, UNTOLD)
    }

    /// Queues a record whose place the answer of [`TransactionalWriter::commit`] tells; the index that it has there.
    ///
    /// # Errors
    /// As of [`TransactionalWriter::send`]; [`Failure::Abortable`] of a writer that tells no places.
    pub fn send_told(&mut self, record: &Outgoing<'_>) -> Result<usize, TransactionError> {
        if !self.tells {
            let reason = "this writer tells no places; open it as one that does".to_owned();
            return Err(TransactionError { step: "send", failure: Failure::Abortable, reason });
        }
        self.queue(record, self.told)?;
        self.told += 1;
        Ok(self.told - 1)
    }

    fn queue(&mut self, record: &Outgoing<'_>, token: usize) -> Result<(), TransactionError> {
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.producer.poll(Duration::ZERO);
        }
        enqueue(&self.producer, record, token, self.timeout).map_err(|e| self.judge("send", &e))?;
        self.sent += 1;
        Ok(())
    }

    /// How many records were queued since [`TransactionalWriter::begin`].
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Puts positions of `group` into the open transaction, as (topic, partition, position). Meant for groups nobody
    /// joins: what fences here is the transactional id, not the group's generation.
    ///
    /// # Errors
    /// Any [`Failure`].
    pub fn send_offsets(&mut self, group: &str, positions: &[(&str, i32, i64)]) -> Result<(), TransactionError> {
        const STEP: &str = "send offsets";
        let failed = |e: KafkaError| TransactionError::of(STEP, &e);
        let mut list = TopicPartitionList::new();
        for (topic, partition, position) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*position)).map_err(failed)?;
        }
        let member: BaseConsumer<Quiet> =
            self.config.reader(group, "read_committed").create_with_context(Quiet::default()).map_err(failed)?;
        let metadata = member.group_metadata().ok_or_else(|| failed(KafkaError::Canceled))?;
        self.producer.send_offsets_to_transaction(&list, &metadata, self.timeout).map_err(failed)
    }

    /// Puts positions of a member's group into the open transaction, as (topic, partition, position). A member that has
    /// lost its partitions is fenced by its generation (KIP-447), as the transactional id fences an older producer.
    ///
    /// # Errors
    /// Any [`Failure`]; [`Failure::Abortable`] where the membership is lost.
    pub fn send_positions(
        &mut self,
        member: &Membership,
        positions: &[(&str, i32, i64)],
    ) -> Result<(), TransactionError> {
        const STEP: &str = "send positions";
        let mut list = TopicPartitionList::new();
        for (topic, partition, position) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*position))
                .map_err(|e| TransactionError::of(STEP, &e))?;
        }
        // Read anew for every transaction, and before the look at the mark, as in the pump.
        let lost =
            |reason: &str| TransactionError { step: STEP, failure: Failure::Abortable, reason: reason.to_owned() };
        let metadata = member.consumer().group_metadata().ok_or_else(|| lost("not a member of the group"))?;
        if member.consumer().assignment_lost() {
            return Err(lost("the partitions were lost to another member"));
        }
        self.producer.send_offsets_to_transaction(&list, &metadata, self.timeout).map_err(|e| self.judge(STEP, &e))
    }

    /// Commits, and returns partition and offset of the records of [`TransactionalWriter::send_told`], in their order.
    ///
    /// # Errors
    /// [`Failure::Abortable`] if a record was not delivered or the coordinator says so; [`Failure::Fenced`];
    /// [`Failure::Fatal`], also when no answer came in time: then nobody knows whether the transaction is committed.
    pub fn commit(&mut self) -> Result<Vec<(i32, i64)>, TransactionError> {
        const STEP: &str = "commit";
        let deadline = Instant::now() + self.timeout;
        // Drained first: `commit_transaction` flushes in rounds of 100 ms. An early end is for the commit to judge.
        drain(&self.producer, deadline);
        let mut written = vec![(0, 0); self.told];
        for delivery in self.producer.context().take() {
            match delivery.result {
                Ok(place) => {
                    if let Some(slot) = written.get_mut(delivery.token) {
                        *slot = place;
                    }
                }
                Err(error) => {
                    let failure = if self.is_fenced() { Failure::Fenced } else { Failure::Abortable };
                    return Err(TransactionError { step: STEP, failure, reason: error.to_string() });
                }
            }
        }
        let left = Timeout::After(deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)));
        self.producer.commit_transaction(left).map_err(|error| {
            let mut failed = self.judge(STEP, &error);
            if failed.failure == Failure::Retriable || matches!(error, KafkaError::Flush(_)) {
                failed.failure = Failure::Fatal;
            }
            failed
        })?;
        Ok(written)
    }

    /// Aborts: nothing of the transaction was written.
    ///
    /// # Errors
    /// [`Failure::Fatal`] or [`Failure::Fenced`]; the transaction is undone then, too, by the coordinator.
    pub fn abort(&mut self) -> Result<(), TransactionError> {
        let deadline = Instant::now() + self.timeout;
        let aborted = abort_and_poll(&self.producer, || Instant::now() >= deadline).map_err(|e| {
            let mut failed = self.judge("abort", &e);
            if failed.failure != Failure::Fenced {
                failed.failure = Failure::Fatal;
            }
            failed
        });
        drain(&self.producer, Instant::now() + self.timeout);
        self.producer.context().take();
        aborted
    }

    fn judge(&self, step: &'static str, error: &KafkaError) -> TransactionError {
        let mut failed = TransactionError::of(step, error);
        if self.is_fenced() {
            failed.failure = Failure::Fenced;
        }
        failed
    }

    /// Whether the client has been told that its epoch is over; the error at hand may only say "fatal".
    fn is_fenced(&self) -> bool {
        self.producer.client().fatal_error().is_some_and(|(code, _)| crate::error::is_fence(code))
    }
}
