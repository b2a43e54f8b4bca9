//! Topics, their configuration, offsets and a group's lag: everything about a cluster that is not records.
//!
//! All calls block, each for no longer than the timeout given to [`Admin::with_timeout`]; none retries.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use weir_pump::native::{self, Transactions};

use crate::Error;
use crate::config::ClusterConfig;
use crate::context::Quiet;
use crate::error::is_away;
use crate::writer::NO_TOPIC;

/// How many topics are described in one request.
const DESCRIBED: usize = 64;

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies; -1 is the broker's default.
    pub replication: i32,
    /// Topic configuration that differs from the broker's default.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's default replication and configuration.
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions, replication: -1, configs: BTreeMap::new() }
    }

    /// Sets a topic configuration.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic configuration as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its value.
    pub value: String,
    /// Whether it is set on the topic itself rather than taken over from the broker.
    pub own: bool,
}

/// The offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The partition.
    pub partition: i32,
    /// The first offset still kept.
    pub start: i64,
    /// One past the last offset a read_committed reader can see (the last stable offset).
    pub end: i64,
}

/// Administers one cluster.
pub struct Admin {
    config: ClusterConfig,
    client: AdminClient<Quiet>,
    reader: BaseConsumer<Quiet>,
    /// As `reader`, but it sees what is not decided yet.
    early: BaseConsumer<Quiet>,
    timeout: Duration,
}

impl Admin {
    /// A client with a timeout of 10 s per call. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Config`] if the client cannot be made of the properties.
    pub fn new(config: &ClusterConfig) -> Result<Admin, Error> {
        let make = |e| Error::of("create an admin client", &e);
        Ok(Admin {
            client: config.client(&[], &[]).create_with_context(Quiet::default()).map_err(make)?,
            reader: config
                .reader("weir-admin", "read_committed")
                .create_with_context(Quiet::default())
                .map_err(make)?,
            early: config
                .reader("weir-admin", "read_uncommitted")
                .create_with_context(Quiet::default())
                .map_err(make)?,
            config: config.clone(),
            timeout: Duration::from_secs(10),
        })
    }

    /// Sets how long one call may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Admin {
        self.timeout = timeout;
        self
    }

    /// A way to ask about transactions, and to end what hangs, on connections of its own.
    ///
    /// # Errors
    /// [`Error::Config`] if the native lane, whose connections these are, cannot reach this cluster.
    pub fn transactions(&self) -> Result<Transactions, Error> {
        let unfit = |reason: String| Error::config("lane", format!("transactions cannot be looked at: {reason}"));
        let cluster = native::Cluster::new(self.config.bootstrap(), self.config.properties());
        Transactions::new(&cluster.map_err(|error| unfit(error.to_string()))?, self.timeout).map_err(unfit)
    }

    /// Whether the cluster answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not, within the timeout.
    pub fn ping(&self) -> Result<(), Error> {
        self.reader
            .fetch_metadata(Some(NO_TOPIC), self.timeout)
            .map(drop)
            .map_err(|e| Error::of("reach the cluster", &e))
    }

    /// Two ends of a partition: of what is decided (the last stable offset), and of all there is (the high watermark).
    /// Between them lie records of transactions that are neither committed nor aborted yet.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`] or [`Error::Refused`].
    pub fn stable_end(&self, topic: &str, partition: i32) -> Result<(i64, i64), Error> {
        let failed = |e: KafkaError| Error::of(format!("read the end of topic {topic}"), &e);
        // This one first: what is decided meanwhile then makes the two equal, and never the first one larger.
        let (_, end) = self.early.fetch_watermarks(topic, partition, self.timeout).map_err(failed)?;
        let (_, stable) = self.reader.fetch_watermarks(topic, partition, self.timeout).map_err(failed)?;
        Ok((stable.min(end), end))
    }

    /// The id of the cluster, which tells it from every other (KIP-78).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not answer within the timeout.
    pub fn cluster_id(&self) -> Result<String, Error> {
        self.reader.client().fetch_cluster_id(self.timeout).ok_or_else(|| Error::Unavailable {
            action: "ask for the id of the cluster".to_owned(),
            reason: "no answer in time".to_owned(),
        })
    }

    /// All topics and their number of partitions, without the cluster's internal ones.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Refused`].
    pub fn topics(&self) -> Result<BTreeMap<String, i32>, Error> {
        let metadata = self.reader.fetch_metadata(None, self.timeout).map_err(|e| Error::of("list topics", &e))?;
        let visible = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
        Ok(visible.map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
    }

    /// How many partitions `topic` has, `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Refused`].
    pub fn partitions(&self, topic: &str) -> Result<Option<i32>, Error> {
        let metadata = self
            .reader
            .fetch_metadata(Some(topic), self.timeout)
            .map_err(|e| Error::of(format!("describe topic {topic}"), &e))?;
        let count = metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len() as i32);
        Ok((count > 0).then_some(count))
    }

    /// Creates a topic and waits until the controller has done so; `false` if it was there already (then nothing is
    /// changed).
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] with the broker's reason.
    pub fn create_topic(&self, topic: &NewTopic) -> Result<bool, Error> {
        let made = self.create_topics(std::slice::from_ref(topic))?.pop();
        made.unwrap_or_else(|| {
            Err(Error::Refused {
                action: format!("create topic {}", topic.name),
                reason: "the answer is empty".to_owned(),
            })
        })
    }

    /// Creates topics with one request; what became of each stands where the topic stood, as of [`Admin::create_topic`].
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] where the request as a whole was not answered.
    pub fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<Result<bool, Error>>, Error> {
        let new = topics.iter().map(|topic| {
            let (name, replication) = (&topic.name, TopicReplication::Fixed(topic.replication));
            let new = rdkafka::admin::NewTopic::new(name, topic.partitions, replication);
            topic.configs.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<_> = new.collect();
        let results = block_on(self.client.create_topics(&new, &self.options()));
        let answers = results.map_err(|e| Error::of(format!("create {} topics", topics.len()), &e))?;
        let mut found: BTreeMap<String, Option<RDKafkaErrorCode>> = BTreeMap::new();
        for answer in answers {
            match answer {
                Ok(name) => found.insert(name, None),
                Err((name, code)) => found.insert(name, Some(code)),
            };
        }
        let of = |topic: &NewTopic| {
            let action = || format!("create topic {}", topic.name);
            match found.get(&topic.name) {
                Some(None) => Ok(true),
                Some(Some(RDKafkaErrorCode::TopicAlreadyExists)) => Ok(false),
                Some(Some(code)) => Err(refused(action(), *code)),
                None => Err(Error::Refused { action: action(), reason: "the answer does not name it".to_owned() }),
            }
        };
        Ok(topics.iter().map(of).collect())
    }

    /// Deletes a topic with all its records; `false` if there was none.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] with the broker's reason.
    pub fn delete_topic(&self, topic: &str) -> Result<bool, Error> {
        let results = block_on(self.client.delete_topics(&[topic], &self.options()));
        match self.one(format!("delete topic {topic}"), results)? {
            Ok(_) => Ok(true),
            Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(false),
            Err((_, code)) => Err(refused(format!("delete topic {topic}"), code)),
        }
    }

    /// Raises the number of partitions of `topic` to `partitions`. Keys then map to other partitions than before.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] with the broker's reason.
    pub fn set_partitions(&self, topic: &str, partitions: i32) -> Result<(), Error> {
        let new = NewPartitions::new(topic, usize::try_from(partitions).unwrap_or(0));
        let results = block_on(self.client.create_partitions([&new], &self.options()));
        match self.one(format!("add partitions to topic {topic}"), results)? {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(refused(format!("add partitions to topic {topic}"), code)),
        }
    }

    /// The configuration of `topics` in force; a topic that does not exist is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Refused`].
    pub fn configs(&self, topics: &[&str]) -> Result<BTreeMap<String, BTreeMap<String, TopicConfig>>, Error> {
        let mut found = BTreeMap::new();
        self.describe(topics, |topic, entries| {
            let entries = entries.into_iter().filter_map(|entry| {
                let own = entry.source == ConfigSource::DynamicTopic;
                Some((entry.name, TopicConfig { value: entry.value?, own }))
            });
            found.insert(topic.to_owned(), entries.collect());
        })?;
        Ok(found)
    }

    /// The values in force of some configurations of `topics`, by topic and name; a topic that does not exist is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Refused`].
    pub fn values(&self, topics: &[&str], names: &[&str]) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
        let mut found = BTreeMap::new();
        self.describe(topics, |topic, entries| {
            let wanted = entries.into_iter().filter(|entry| names.contains(&&*entry.name));
            found.insert(topic.to_owned(), wanted.filter_map(|entry| Some((entry.name, entry.value?))).collect());
        })?;
        Ok(found)
    }

    /// Describes topics a few at a time: the answer about one is some 20 kB in memory, whatever is wanted of it.
    fn describe(&self, topics: &[&str], mut take: impl FnMut(&str, Vec<ConfigEntry>)) -> Result<(), Error> {
        let action = "describe topic configurations";
        for topics in topics.chunks(DESCRIBED) {
            let wanted: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
            let results =
                block_on(self.client.describe_configs(&wanted, &self.options())).map_err(|e| Error::of(action, &e))?;
            for (topic, result) in topics.iter().zip(results) {
                let resource = result.map_err(|code| refused(action.to_owned(), code))?;
                // A topic that does not exist is answered with no entries: rdkafka leaves its error code out.
                if !resource.entries.is_empty() {
                    take(topic, resource.entries);
                }
            }
        }
        Ok(())
    }

    /// Sets topic configurations and leaves the others as they are.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`], or [`Error::Refused`] with the broker's reason.
    pub fn alter_configs(&self, topic: &str, changes: &BTreeMap<String, String>) -> Result<(), Error> {
        // AlterConfigs replaces all of a topic's own entries, and rdkafka has no incremental form: read, merge, write.
        let current = self.configs(&[topic])?;
        let current = current.get(topic).ok_or_else(|| Error::NoSuchTopic { topic: topic.to_owned() })?;
        let mut merged: BTreeMap<&str, &str> =
            current.iter().filter(|(_, c)| c.own).map(|(name, c)| (name.as_str(), c.value.as_str())).collect();
        merged.extend(changes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        alter.entries = merged.into_iter().collect();
        let action = format!("alter the configuration of topic {topic}");
        match self.one(action.clone(), block_on(self.client.alter_configs([&alter], &self.options())))? {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(refused(action, code)),
        }
    }

    /// Start and end of every partition of `topic`.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`] or [`Error::Refused`].
    pub fn offsets(&self, topic: &str) -> Result<Vec<Offsets>, Error> {
        let partitions = self.partitions(topic)?.ok_or_else(|| Error::NoSuchTopic { topic: topic.to_owned() })?;
        let read = |partition| {
            let (start, end) = self
                .reader
                .fetch_watermarks(topic, partition, self.timeout)
                .map_err(|e| Error::of(format!("read the offsets of topic {topic}"), &e))?;
            Ok(Offsets { partition, start, end })
        };
        (0..partitions).map(read).collect()
    }

    /// The positions `group` has committed for `topic`, by partition. Waits for a transaction that is just committing
    /// offsets (KIP-447).
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`] or [`Error::Refused`].
    pub fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, Error> {
        let partitions = self.partitions(topic)?.ok_or_else(|| Error::NoSuchTopic { topic: topic.to_owned() })?;
        let action = || format!("read the offsets of group {group}");
        let member: BaseConsumer<Quiet> = self
            .config
            .reader(group, "read_committed")
            .create_with_context(Quiet::default())
            .map_err(|e| Error::of(action(), &e))?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(topic, 0, partitions - 1);
        let committed = member.committed_offsets(wanted, self.timeout).map_err(|e| Error::of(action(), &e))?;
        let mut positions = BTreeMap::new();
        for element in committed.elements() {
            element.error().map_err(|e| Error::of(action(), &e))?;
            if let Offset::Offset(position) = element.offset() {
                positions.insert(element.partition(), position);
            }
        }
        Ok(positions)
    }

    /// How many offsets of `topic` lie ahead of `group`, by partition: records and transaction markers.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`] or [`Error::Refused`].
    pub fn lag(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, u64>, Error> {
        let committed = self.committed(group, topic)?;
        let ahead = |o: Offsets| {
            let position = committed.get(&o.partition).copied().unwrap_or(o.start).max(o.start);
            (o.partition, u64::try_from(o.end - position).unwrap_or(0))
        };
        Ok(self.offsets(topic)?.into_iter().map(ahead).collect())
    }

    /// Deletes the records of `topic` before an offset of each of some partitions (KIP-107), which may not lie behind the
    /// partition's end.
    ///
    /// # Errors
    /// [`Error::Unavailable`], or [`Error::Refused`] with the broker's reason for the first partition that it refuses.
    pub fn delete_before(&self, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<(), Error> {
        let action = || format!("delete records of topic {topic}");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|e| Error::of(action(), &e))?;
        }
        let deleted =
            block_on(self.client.delete_records(&list, &self.options())).map_err(|e| Error::of(action(), &e))?;
        deleted.elements().iter().try_for_each(|element| element.error().map_err(|e| Error::of(action(), &e)))
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }

    fn one<T>(&self, action: String, results: rdkafka::error::KafkaResult<Vec<T>>) -> Result<T, Error> {
        let results = results.map_err(|e| Error::of(action.clone(), &e))?;
        results.into_iter().next().ok_or(Error::Refused { action, reason: "the answer is empty".to_owned() })
    }
}

fn refused(action: String, code: RDKafkaErrorCode) -> Error {
    let reason = code.to_string();
    if is_away(code) { Error::Unavailable { action, reason } } else { Error::Refused { action, reason } }
}

/// Waits for an answer of the admin client, whose own thread completes the future.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
