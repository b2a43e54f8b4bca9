//! Membership of a consumer group for a loop of its own: one that reads many topics, keeps state between records and
//! decides by itself where each partition is read from. The pump is the simpler way where a record becomes a record.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use weir_pump::{Header, Timestamp};

use crate::Error;
use crate::config::{ClusterConfig, FETCH};
use crate::error::code_of;
use crate::pump::context::{Event, Member, MemberContext, answer};
use crate::reader::is_unreadable;
use crate::record::{timestamp, visit_headers};

/// How a member joins.
#[derive(Clone, Debug)]
pub struct MembershipOptions {
    /// The group.
    pub group: String,
    /// The name a static member keeps over a new start (KIP-345); none for one that leaves when it ends.
    pub instance: Option<String>,
    /// After how long a silent member is given up.
    pub session_timeout: Duration,
}

/// A change of what a member owns. It owns all of a list or nothing: the group uses the eager protocol and the range
/// assignor, which gives partition n of every topic with equally many partitions to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// These are its own from now on; answered by [`Membership::read_from`].
    Assigned(Vec<(String, i32)>),
    /// Nothing is its own any more; answered by [`Membership::give_back`].
    Revoked {
        /// Whether another member may have them already: what is not committed must be undone.
        lost: bool,
    },
}

/// How far a partition has been read, as the client knows it every 200 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The end: the last stable offset.
    pub end: i64,
    /// The offset behind the last one that was fetched, transaction markers included.
    pub fetched: i64,
    /// Whether all that was fetched has been handed out.
    pub taken: bool,
}

/// A record as the client holds it. It keeps the client's memory until it is dropped.
pub struct Incoming<'m>(BorrowedMessage<'m>);

impl Incoming<'_> {
    /// The topic.
    pub fn topic(&self) -> &str {
        self.0.topic()
    }
    /// The partition.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }
    /// The offset.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }
    /// The time it carries.
    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.0.timestamp())
    }
    /// The key; `None` is a null key.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }
    /// The value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }
    /// Shows the headers in order.
    pub fn visit_headers<'h>(&'h self, visit: impl FnMut(Header<'h>)) {
        visit_headers(self.0.headers(), visit);
    }
    /// Whether the other is of the same partition; cheaper than to compare the names of topics.
    pub fn is_of(&self, other: &Incoming<'_>) -> bool {
        self.0.topic_ptr() == other.0.topic_ptr() && self.0.partition() == other.0.partition()
    }
}

/// A member of a consumer group. Dropping it leaves the group, which can take a while where the cluster is away.
pub struct Membership(Member);

impl Membership {
    /// Joins a group once [`Membership::subscribe`] says for what.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Refused`] for settings the client does not take.
    pub fn join(cluster: &ClusterConfig, options: &MembershipOptions) -> Result<Membership, Error> {
        let session = options.session_timeout.as_millis().to_string();
        let heartbeat = (options.session_timeout / 4).as_millis().to_string();
        // What the client tells the brokers of itself (KIP-714) has a histogram that takes in every poll, one a record.
        let fetch: Vec<_> = FETCH.iter().copied().chain([("enable.metrics.push", "false")]).collect();
        let mut config = cluster.client(
            &fetch,
            &[
                ("group.id", options.group.as_str()),
                ("isolation.level", "read_committed"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("enable.partition.eof", "false"),
                ("check.crcs", "true"),
                ("statistics.interval.ms", "200"),
                // As in the pump: histograms of a producer, which a consumer has no use for.
                ("message.max.bytes", "1000"),
                ("batch.num.messages", "1"),
                ("partition.assignment.strategy", "range"),
                ("session.timeout.ms", &session),
                ("heartbeat.interval.ms", &heartbeat),
            ],
        );
        if let Some(instance) = &options.instance {
            config.set("group.instance.id", instance);
        }
        let consumer =
            config.create_with_context(MemberContext::default()).map_err(|e| Error::of("join a group", &e))?;
        Ok(Membership(Member(consumer)))
    }

    pub(crate) fn consumer(&self) -> &BaseConsumer<MemberContext> {
        &self.0.0
    }

    /// Says which topics it wants partitions of.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), Error> {
        if topics.is_empty() {
            self.consumer().unsubscribe();
            return Ok(());
        }
        self.consumer().subscribe(topics).map_err(|e| Error::of("subscribe", &e))
    }

    /// The next record of any partition it reads, waiting no longer than `wait`. None while a [`Moved`] waits.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a damaged batch; [`Error::Refused`] where the client is of no more use. What is merely
    /// away is tried again by the client.
    pub fn poll(&self, wait: Duration) -> Result<Option<Incoming<'_>>, Error> {
        if self.consumer().context().has_event() {
            return Ok(None);
        }
        match self.consumer().poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(Incoming(message))),
            Some(Err(error)) => match code_of(&error) {
                Some(code) if is_unreadable(code) => {
                    let reason = self.consumer().context().last_error();
                    Err(Error::Unreadable { topic: "of the group".to_owned(), reason })
                }
                Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed) => {
                    Err(Error::of("read", &error))
                }
                _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(Error::of("read", &error)),
                _ => {
                    tracing::debug!(%error, "consumer reports an error");
                    Ok(None)
                }
            },
        }
    }

    /// A change of what it owns, if there is one. It is not in force before it is answered, so that what is open can be
    /// committed first.
    pub fn next_moved(&self) -> Option<Moved> {
        let lost = self.consumer().assignment_lost();
        Some(match self.consumer().context().next_event()? {
            Event::Assign(list) => Moved::Assigned(
                list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect(),
            ),
            Event::Revoke(_) => Moved::Revoked { lost },
        })
    }

    /// Reads these partitions from now on, as (topic, partition, position), and no others; from the first record still
    /// kept where there is no position. Also the way to go back: what was fetched before is forgotten.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn read_from(&self, positions: &[(&str, i32, Option<i64>)]) -> Result<(), Error> {
        let failed = |e: KafkaError| Error::of("take over partitions", &e);
        let mut list = TopicPartitionList::new();
        for (topic, partition, position) in positions {
            let from = position.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(topic, *partition, from).map_err(failed)?;
        }
        self.consumer().assign(&list).map_err(failed)
    }

    /// Gives all its partitions back.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn give_back(&self) -> Result<(), Error> {
        answer(self.consumer(), &Event::Revoke(TopicPartitionList::new()))
            .map_err(|e| Error::of("give back partitions", &e))
    }

    /// Stops reading partitions for a while, or goes on with them.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn pause(&self, partitions: &[(&str, i32)], pause: bool) -> Result<(), Error> {
        if partitions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let done = if pause { self.consumer().pause(&list) } else { self.consumer().resume(&list) };
        done.map_err(|e| Error::of("pause partitions", &e))
    }

    /// How far its partitions have been read, as of the client's last report; empty where there was none since the last
    /// call.
    pub fn standings(&self) -> Vec<Standing> {
        let all = self.consumer().context().take_ahead().into_iter();
        all.map(|a| Standing { topic: a.topic, partition: a.partition, end: a.end, fetched: a.fetched, taken: a.taken })
            .collect()
    }
}
