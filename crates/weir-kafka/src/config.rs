//! Where the cluster is and how to talk to it: the user's client properties, and the options that are not theirs to set.
//!
//! Exactly once rests on certain options. They are set last, by us; a user who sets one is told so when the
//! configuration is loaded, with the reason and with what to use instead, rather than silently overruled.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{Error, Lane};

/// Options a user may not set: name, and why with what to do instead. A name that ends in a dot stands for all that
/// begin with it.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "is given as the bootstrap address; remove it from the properties"),
    ("metadata.broker.list", "is given as the bootstrap address; remove it from the properties"),
    ("acks", "is always all: an acknowledged event must survive the loss of a broker"),
    ("request.required.acks", "is always all: an acknowledged event must survive the loss of a broker"),
    ("enable.idempotence", "is always on: a retry must not write an event twice"),
    ("max.in.flight", "is left to the idempotent producer"),
    ("max.in.flight.requests.per.connection", "is left to the idempotent producer"),
    ("retries", "is left to the idempotent producer"),
    ("message.send.max.retries", "is left to the idempotent producer"),
    ("enable.gapless.guarantee", "would make a refused record fatal"),
    ("transactional.id", "is made of group, instance and worker so that a restart fences its predecessor"),
    ("transaction.timeout.ms", "must stay below the session timeout; use the pump's transaction timeout"),
    ("delivery.timeout.ms", "is bounded by the transaction timeout"),
    ("message.timeout.ms", "is bounded by the transaction timeout"),
    ("delivery.report.only.error", "decides which deliveries are seen"),
    ("message.max.bytes", "is decided by the topic's max.message.bytes"),
    ("batch.size", "is decided by the topic's max.message.bytes"),
    ("partitioner", "is murmur2_random, to agree with the Java client on the partition of a key"),
    ("partitioner_cb", "is murmur2_random, to agree with the Java client on the partition of a key"),
    ("isolation.level", "is read_committed: events of an aborted transaction were never written"),
    ("enable.auto.commit", "is off: offsets are committed in the transaction of their events"),
    ("auto.commit.enable", "is off: offsets are committed in the transaction of their events"),
    ("auto.commit.interval.ms", "has no meaning: offsets are committed in the transaction of their events"),
    ("enable.auto.offset.store", "is off: offsets are committed in the transaction of their events"),
    ("offset.store.method", "is the broker: offsets are committed in the transaction of their events"),
    ("auto.offset.reset", "is earliest: anything else passes over events"),
    ("enable.partition.eof", "decides how the end of a partition is seen"),
    ("check.crcs", "is always on: a damaged batch must be noticed"),
    ("group.id", "is the pump's group"),
    ("group.instance.id", "would keep the partitions of an instance that is gone; set the pump's instance"),
    ("group.protocol", "is the pump's group protocol"),
    ("group.remote.assignor", "is the pump's group protocol"),
    ("partition.assignment.strategy", "is the pump's group protocol"),
    ("session.timeout.ms", "is the pump's session timeout"),
    ("heartbeat.interval.ms", "follows the pump's session timeout"),
    ("allow.auto.create.topics", "is off: a topic is made by whoever owns its contract"),
    ("statistics.interval.ms", "is how lag is measured"),
    ("enabled_events", "decides which events are seen"),
    ("opaque", "is the client's own"),
    ("test.", "is for tests of librdkafka"),
];

/// How to reach a cluster: bootstrap address and the user's client properties (security, tuning, `client.id` …), as
/// librdkafka names them (its `CONFIGURATION.md`).
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    bootstrap: String,
    properties: BTreeMap<String, String>,
    lane: Lane,
}

/// Takes properties that were written as `name=value` apart, for [`ClusterConfig::new`]. Empty ones are left out.
///
/// # Errors
/// [`Error::Config`] for one without a value; its text, which may be a secret in the wrong place, is not shown.
pub fn properties(written: &[String]) -> Result<Vec<(String, String)>, Error> {
    let apart = |property: &String| match property.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(Error::config("--kafka-property", "is not name=value; write it as in security.protocol=ssl")),
    };
    written.iter().filter(|property| !property.trim().is_empty()).map(apart).collect()
}

/// Whether Kafka takes this as the name of a group, a member or a topic whose suffixes find room too: 1 to 200 letters,
/// digits, dots, dashes or underscores.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 200 && name.chars().all(fits)
}

impl ClusterConfig {
    /// Takes `bootstrap` (`host:port`, several separated by commas) and client properties.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty bootstrap address, an option that is reserved, or one the client does not know or
    /// whose value it does not take.
    pub fn new<K, V>(bootstrap: &str, properties: impl IntoIterator<Item = (K, V)>) -> Result<ClusterConfig, Error>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let properties: BTreeMap<String, String> =
            properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        if bootstrap.trim().is_empty() {
            return Err(Error::config("bootstrap.servers", "is empty; give host:port of a broker"));
        }
        for option in properties.keys() {
            let reserved = RESERVED.iter().find(|(name, _)| match name.strip_suffix('.') {
                Some(_) => option.starts_with(name),
                None => option == name,
            });
            if let Some((_, reason)) = reserved {
                return Err(Error::config(option, format!("cannot be set, it {reason}")));
            }
        }
        let config = ClusterConfig { bootstrap: bootstrap.trim().to_owned(), properties, lane: Lane::Auto };
        for (option, value) in &config.properties {
            // One by one, so that the option at fault is named; the value may be a secret and is not.
            ClientConfig::new().set(option, value).create_native_config().map_err(|_| {
                Error::config(
                    option,
                    "is unknown to librdkafka or has a value it does not take; see its CONFIGURATION.md",
                )
            })?;
        }
        Ok(config)
    }

    /// The bootstrap address.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Sets what moves a pump's records.
    #[must_use]
    pub fn with_lane(mut self, lane: Lane) -> ClusterConfig {
        self.lane = lane;
        self
    }

    /// What moves a pump's records, as it is asked for.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The user's client properties.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A client configuration in three layers: our defaults, the user's properties, and what correctness rests on.
    pub(crate) fn client(&self, defaults: &[(&str, &str)], reserved: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.set("client.id", "weir");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("allow.auto.create.topics", "false");
        for (name, value) in reserved {
            config.set(*name, *value);
        }
        config
    }

    /// For an assigned consumer that belongs to no group and commits nothing.
    pub(crate) fn reader(&self, group: &str, isolation: &str) -> ClientConfig {
        let fetch: Vec<_> = FETCH.iter().copied().chain([QUEUE_OF_A_READER]).collect();
        self.client(
            &fetch,
            &[
                ("group.id", group),
                ("isolation.level", isolation),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("enable.partition.eof", "true"),
                ("check.crcs", "true"),
                // Without a meaning where nobody joins, and checked against each other all the same.
                ("session.timeout.ms", "45000"),
                ("max.poll.interval.ms", "300000"),
            ],
        )
    }

    /// For a producer that never writes a record twice and never loses an acknowledged one.
    pub(crate) fn writer(&self) -> ClientConfig {
        self.writer_with(&[])
    }

    /// The same, of many records of a transaction, whose ends are asked for and not they.
    pub(crate) fn bulk_writer(&self) -> ClientConfig {
        self.writer_with(BULK)
    }

    fn writer_with(&self, more: &[(&str, &str)]) -> ClientConfig {
        self.client(
            &[PRODUCE, more].concat(),
            &[
                ("enable.idempotence", "true"),
                ("acks", "all"),
                ("partitioner", "murmur2_random"),
                ("message.max.bytes", MESSAGE_MAX_BYTES),
            ],
        )
    }
}

/// Names of properties only: a value may be a password.
impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &self.properties.keys())
            .field("lane", &self.lane)
            .finish()
    }
}

/// How records are fetched unless the user says otherwise. `fetch.queue.backoff.ms` is 1000 as shipped: once the local
/// queue was full the client would sleep a second, which costs five sixths of the throughput.
pub(crate) const FETCH: &[(&str, &str)] = &[
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "32768"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("topic.metadata.propagation.max.ms", "5000"),
];

/// A reader takes one record at a time, which it decodes: more than this ahead of it would only take memory.
const QUEUE_OF_A_READER: (&str, &str) = ("queued.max.messages.kbytes", "4096");

/// How records are produced unless the user says otherwise.
pub(crate) const PRODUCE: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("topic.metadata.propagation.max.ms", "2000"),
];

/// Larger batches, for a little of the time between two commits.
const BULK: &[(&str, &str)] = &[("linger.ms", "10")];

/// The client's own limit is as high as it goes: the topic's is the one that counts, and the broker holds it.
pub(crate) const MESSAGE_MAX_BYTES: &str = "1000000000";
