//! What librdkafka tells a worker: rebalances, damaged batches, statistics, deliveries that failed.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use serde::Deserialize;

use weir_pump::GroupProtocol;

use super::shared::Shared;
use crate::config::FETCH;
use crate::context::{log, log_of_a_producer, was_in_use};

/// A change of the assignment that waits for the worker.
pub(crate) enum Event {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// Where a partition stood when the statistics were made.
pub(crate) struct Ahead {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The last stable offset.
    pub(crate) end: i64,
    /// The next offset to be fetched.
    pub(crate) fetched: i64,
    /// Whether everything fetched had been taken by the worker.
    pub(crate) taken: bool,
    /// The first offset still kept.
    pub(crate) start: i64,
    /// The position the group had committed when the partition was assigned, if any.
    pub(crate) committed: i64,
}

/// What is read of librdkafka's statistics; see its `STATISTICS.md`.
#[derive(Deserialize)]
struct Statistics<'s> {
    #[serde(borrow)]
    topics: HashMap<Cow<'s, str>, Topic<'s>>,
}

#[derive(Deserialize)]
struct Topic<'s> {
    #[serde(borrow)]
    partitions: HashMap<&'s str, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: i32,
    fetchq_cnt: i64,
    next_offset: i64,
    lo_offset: i64,
    ls_offset: i64,
    committed_offset: i64,
}

/// The context of a worker's consumer.
///
/// The default `rebalance` drops the errors of (un)assigning, so it is overridden. The callback only notes the event:
/// librdkafka waits for the call to (un)assign, which need not come from inside the callback. So the worker finishes
/// its transaction and makes that call from its own loop, on the same thread, with all its state at hand.
#[derive(Default)]
pub(crate) struct MemberContext {
    events: Mutex<VecDeque<Event>>,
    pending: AtomicBool,
    closing: AtomicBool,
    ahead: Mutex<Vec<Ahead>>,
    last_error: Mutex<String>,
}

impl MemberContext {
    pub(crate) fn has_event(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    pub(crate) fn next_event(&self) -> Option<Event> {
        let mut events = lock(&self.events);
        let event = events.pop_front();
        self.pending.store(!events.is_empty(), Ordering::Release);
        event
    }

    pub(crate) fn take_ahead(&self) -> Vec<Ahead> {
        std::mem::take(&mut lock(&self.ahead))
    }

    pub(crate) fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        reason.clone_into(&mut lock(&self.last_error));
    }

    /// Read in place and for what is needed of them: all of them, of a thousand topics, are megabytes every second.
    fn stats_raw(&self, statistics: &[u8]) {
        let statistics: Statistics<'_> = match serde_json::from_slice(statistics) {
            Ok(statistics) => statistics,
            Err(error) => return tracing::warn!(%error, "cannot read the statistics of the client, lag is not known"),
        };
        let mut ahead = Vec::with_capacity(statistics.topics.len());
        for (topic, Topic { partitions }) in statistics.topics {
            for partition in partitions.into_values().filter(|p| p.partition >= 0 && p.ls_offset >= 0) {
                ahead.push(Ahead {
                    topic: topic.clone().into_owned(),
                    partition: partition.partition,
                    end: partition.ls_offset,
                    fetched: partition.next_offset,
                    taken: partition.fetchq_cnt == 0,
                    start: partition.lo_offset,
                    committed: partition.committed_offset,
                });
            }
        }
        *lock(&self.ahead) = ahead;
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let event = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Event::Assign(list.clone()),
            _ => Event::Revoke(list.clone()),
        };
        if self.closing.load(Ordering::Acquire) {
            return answer_closing(consumer, &event);
        }
        let mut events = lock(&self.events);
        events.push_back(event);
        self.pending.store(true, Ordering::Release);
    }
}

/// A consumer's membership in its group. However it is dropped, by a panic too, every revocation gets its answer:
/// closing a consumer waits for that, and nobody else is left to give it.
pub(crate) struct Member(pub(crate) BaseConsumer<MemberContext>);

impl Drop for Member {
    fn drop(&mut self) {
        let context = self.0.context();
        context.closing.store(true, Ordering::Release);
        while let Some(event) = context.next_event() {
            answer_closing(&self.0, &event);
        }
    }
}

/// Makes the call librdkafka waits for, whose error the default callback drops.
pub(crate) fn answer(consumer: &BaseConsumer<MemberContext>, event: &Event) -> KafkaResult<()> {
    match (event, consumer.rebalance_protocol()) {
        (Event::Assign(list), RebalanceProtocol::Cooperative) => consumer.incremental_assign(list),
        (Event::Assign(list), _) => consumer.assign(list),
        (Event::Revoke(list), RebalanceProtocol::Cooperative) => consumer.incremental_unassign(list),
        (Event::Revoke(_), _) => consumer.unassign(),
    }
}

fn answer_closing(consumer: &BaseConsumer<MemberContext>, event: &Event) {
    if let Err(error) = answer(consumer, event) {
        tracing::warn!(%error, "cannot hand back partitions while closing");
    }
}

/// A delivery that failed.
#[derive(Clone, Debug)]
pub(super) struct Undelivered {
    pub(super) error: KafkaError,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// The context of a worker's producer. Only failures are reported (`delivery.report.only.error`): a transaction is
/// committed with all its records or not at all, so a report per record would tell nothing and cost much.
#[derive(Default)]
pub(super) struct ProducerSide {
    undelivered: Mutex<Option<Undelivered>>,
    any: AtomicBool,
    has_lost_a_connection: AtomicBool,
}

impl ProducerSide {
    /// The first delivery that failed since the last [`ProducerSide::reset`].
    pub(super) fn undelivered(&self) -> Option<Undelivered> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.undelivered).clone()
    }

    /// Whether a connection was lost while it was in use. What was asked on it may still be under way; librdkafka asks again by itself
    /// and says nothing of it but in the log.
    pub(super) fn has_lost_a_connection(&self) -> bool {
        self.has_lost_a_connection.load(Ordering::Acquire)
    }

    pub(super) fn reset(&self) {
        self.any.store(false, Ordering::Release);
        *lock(&self.undelivered) = None;
    }
}

impl ClientContext for ProducerSide {
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

impl ProducerContext for ProducerSide {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            lock(&self.undelivered).get_or_insert_with(|| Undelivered {
                error: error.clone(),
                topic: message.topic().to_owned(),
                partition: message.partition(),
            });
            self.any.store(true, Ordering::Release);
        }
    }
}

pub(super) fn member_config(shared: &Shared, worker: usize) -> ClientConfig {
    let session = shared.config.session_timeout.as_millis().to_string();
    let heartbeat = (shared.config.session_timeout / 4).as_millis().to_string();
    let mut config = shared.cluster.client(
        FETCH,
        &[
            ("group.id", &shared.config.group),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "false"),
            ("check.crcs", "true"),
            ("statistics.interval.ms", "1000"),
            // With statistics on, librdkafka keeps two histograms per topic, as wide as these two; both are a producer's. As shipped
            // they take 22 KiB a topic.
            ("message.max.bytes", "1000"),
            ("batch.num.messages", "1"),
        ],
    );
    if shared.config.static_members {
        config.set("group.instance.id", shared.worker_name(worker));
    }
    let classic = match shared.config.protocol {
        GroupProtocol::Cooperative => "cooperative-sticky",
        GroupProtocol::Eager => "range,roundrobin",
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
            return config;
        }
    };
    config
        .set("partition.assignment.strategy", classic)
        .set("session.timeout.ms", session)
        .set("heartbeat.interval.ms", heartbeat);
    config
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
