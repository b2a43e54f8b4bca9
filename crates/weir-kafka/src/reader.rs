//! Reads one topic by assignment: compacted tables, `consume`, the quarantine list. No group, no commits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::ClusterConfig;
use crate::context::Quiet;
use crate::error::code_of;
use crate::{Error, Record};

/// Where reading starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record still kept.
    #[default]
    Beginning,
    /// Behind the last record there is when the reader opens.
    End,
    /// At these offsets; partitions not named start at the beginning.
    Offsets(BTreeMap<i32, i64>),
    /// At the first record with this time or a later one, in milliseconds since the Unix epoch.
    Time(i64),
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// At the last record there is when the reader opens; later ones are not shown.
    #[default]
    End,
    /// Never: new records are shown as they come.
    Live,
}

/// How a topic is read; the default is everything that is committed, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Where to start.
    pub start: Start,
    /// Where to end.
    pub until: Until,
    /// Only these partitions, all of them if `None`.
    pub partitions: Option<Vec<i32>>,
    /// Whether to show records of open and aborted transactions too.
    pub uncommitted: bool,
}

/// What [`Reader::next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next record of some partition; records of one partition come in offset order.
    Record(Record),
    /// Everything up to the end as of opening (or of [`Reader::extend`]) was shown. Said once by a live reader, over
    /// and over by one that reads to the end.
    CaughtUp,
    /// Nothing came within the timeout.
    Idle,
}

/// Reads one topic.
pub struct Reader {
    topic: String,
    consumer: BaseConsumer<Quiet>,
    until: Until,
    timeout: Duration,
    partitions: BTreeMap<i32, Place>,
    announced: bool,
}

struct Place {
    /// The next offset.
    next: i64,
    /// The end to be reached.
    end: i64,
    /// Whether it was: by a record, or by the client that passed over markers and aborted records up to there.
    reached: bool,
}

impl Reader {
    /// Opens a reader. Waits up to 10 s for the cluster.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Unavailable`] or [`Error::Refused`].
    pub fn open(config: &ClusterConfig, topic: &str, options: ReadOptions) -> Result<Reader, Error> {
        let action = || format!("read topic {topic}");
        let failed = |e: KafkaError| Error::of(action(), &e);
        let timeout = Duration::from_secs(10);
        let isolation = if options.uncommitted { "read_uncommitted" } else { "read_committed" };
        let consumer: BaseConsumer<Quiet> =
            config.reader("weir-reader", isolation).create_with_context(Quiet::default()).map_err(failed)?;
        let metadata = consumer.fetch_metadata(Some(topic), timeout).map_err(failed)?;
        let count = metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len() as i32);
        let missing = || Error::NoSuchTopic { topic: topic.to_owned() };
        let wanted = options.partitions.unwrap_or_else(|| (0..count).collect());
        if count == 0 || wanted.iter().any(|partition| !(0..count).contains(partition)) {
            return Err(missing());
        }
        let mut partitions = BTreeMap::new();
        for partition in wanted {
            // The consumer's isolation decides which end this is: the last stable offset for read_committed.
            let (low, end) = consumer.fetch_watermarks(topic, partition, timeout).map_err(failed)?;
            let next = match &options.start {
                Start::Beginning => low,
                Start::End => end,
                Start::Offsets(offsets) => offsets.get(&partition).copied().unwrap_or(low).max(low),
                Start::Time(millis) => {
                    offset_at(&consumer, topic, partition, *millis, timeout).map_err(failed)?.unwrap_or(end)
                }
            };
            partitions.insert(partition, Place { next, end, reached: next >= end });
        }
        let reader =
            Reader { topic: topic.to_owned(), consumer, until: options.until, timeout, partitions, announced: false };
        reader.assign().map_err(failed)?;
        Ok(reader)
    }

    /// The topic that is read.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The next offset of every partition: one past the last record that was shown.
    pub fn positions(&self) -> BTreeMap<i32, i64> {
        self.partitions.iter().map(|(partition, place)| (*partition, place.next)).collect()
    }

    /// The end of every partition, as it was when the reader was opened or extended.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        self.partitions.iter().map(|(partition, place)| (*partition, place.end)).collect()
    }

    /// Waits up to `timeout` for the next record.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for a damaged batch (reading on passes over it if the client can), [`Error::NoSuchTopic`]
    /// if the topic is gone, [`Error::Refused`]. A cluster that is away is [`Read::Idle`]: it may come back.
    pub fn next(&mut self, timeout: Duration) -> Result<Read, Error> {
        // What is there already is taken without a look at the clock, of which each takes as long as a record does.
        let mut deadline = None;
        loop {
            if self.partitions.values().all(|place| place.reached) && (self.until == Until::End || !self.announced) {
                self.announced = true;
                return Ok(Read::CaughtUp);
            }
            let left = deadline.map_or(Duration::ZERO, |at: Instant| at.saturating_duration_since(Instant::now()));
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let Some(place) = self.partitions.get_mut(&message.partition()) else { continue };
                    place.reached |= message.offset() + 1 >= place.end;
                    if self.until == Until::End && message.offset() >= place.end {
                        continue;
                    }
                    place.next = message.offset() + 1;
                    return Ok(Read::Record(Record::of(&message)));
                }
                // The client has read everything there is, markers and aborted records included, and the end was
                // asked for before it began.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(place) = self.partitions.get_mut(&partition) {
                        place.reached = true;
                        place.next = place.next.max(place.end);
                    }
                }
                Some(Err(error)) => self.judge(&error)?,
                None => {}
            }
            match deadline {
                None => deadline = Some(Instant::now() + timeout),
                Some(_) if left.is_zero() => return Ok(Read::Idle),
                Some(_) => {}
            }
        }
    }

    /// Moves the end to the last record there is now; [`Read::CaughtUp`] is said again once it is reached. What was
    /// committed before this call is shown before that.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Refused`]; the old end then stands.
    pub fn extend(&mut self) -> Result<(), Error> {
        let failed = |e: KafkaError| Error::of(format!("read the end of topic {}", self.topic), &e);
        let mut ends = Vec::new();
        for partition in self.partitions.keys() {
            ends.push(self.consumer.fetch_watermarks(&self.topic, *partition, self.timeout).map_err(failed)?.1);
        }
        for (place, end) in self.partitions.values_mut().zip(ends) {
            place.end = end;
            place.reached = place.next >= end;
        }
        self.announced = false;
        // Assigned anew, so that no word of an end reached earlier is taken for this one.
        if self.partitions.values().any(|place| !place.reached) {
            self.assign().map_err(|e| Error::of(format!("read topic {}", self.topic), &e))?;
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, place) in &self.partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(place.next))?;
        }
        self.consumer.assign(&list)
    }

    fn judge(&self, error: &KafkaError) -> Result<(), Error> {
        use RDKafkaErrorCode as Code;
        let action = || format!("read topic {}", self.topic);
        match code_of(error) {
            Some(code) if is_unreadable(code) => {
                Err(Error::Unreadable { topic: self.topic.clone(), reason: self.consumer.context().last_error() })
            }
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                Err(Error::NoSuchTopic { topic: self.topic.clone() })
            }
            Some(Code::TopicAuthorizationFailed) => Err(Error::of(action(), error)),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(Error::of(action(), error)),
            // Everything else librdkafka tries again by itself.
            _ => Ok(()),
        }
    }
}

/// Codes by which librdkafka says that a batch cannot be turned into records: a wrong checksum, a decompression that
/// fails, a codec or format it does not know, and one that ends before its first record does.
pub(crate) fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BadMessage
            | Code::BadCompression
            | Code::NotImplemented
            | Code::InvalidMessage
            | Code::MessageSizeTooLarge
    )
}

fn offset_at(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    partition: i32,
    millis: i64,
    timeout: Duration,
) -> Result<Option<i64>, KafkaError> {
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(topic, partition, Offset::Offset(millis))?;
    let found = consumer.offsets_for_times(times, timeout)?;
    Ok(found.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}
