//! Finds the damaged batch behind an error that does not say where it is.
//!
//! librdkafka (2.12.1) fetches a batch that cannot be decompressed again for ever, and passes over one whose checksum
//! is wrong with no more than an error event; rdkafka then drops topic and partition of that event. So the worker
//! looks: short-lived consumers, each assigned to one offset of one partition, read at the position and at offsets behind it.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::context::Quiet;
use crate::error::code_of;
use crate::reader::is_unreadable;
use crate::{ClusterConfig, Error};

/// Offsets that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) first: i64,
    pub(super) last: i64,
    /// What the client said.
    pub(super) why: String,
}

/// What lies at an offset or behind it.
enum Found {
    /// A record, or the end of the partition.
    Readable,
    /// A batch that cannot be read; the text names its first offset.
    Damaged(String),
}

pub(super) struct Prober {
    config: ClientConfig,
    consumer: BaseConsumer<Quiet>,
    timeout: Duration,
}

impl Prober {
    pub(super) fn new(cluster: &ClusterConfig) -> Result<Prober, Error> {
        let mut config = cluster.reader("weir-prober", "read_committed");
        config.set("fetch.wait.max.ms", "10").set("fetch.error.backoff.ms", "10");
        let consumer = consumer(&config)?;
        Ok(Prober { config, consumer, timeout: Duration::from_secs(10) })
    }

    /// The damaged batch that keeps a consumer from reading at `from`, if there is one.
    pub(super) fn damage(&self, topic: &str, partition: i32, from: i64) -> Result<Option<Damage>, Error> {
        let Found::Damaged(why) = self.look(topic, partition, from)? else { return Ok(None) };
        let action = || format!("look for a damaged batch in topic {topic}");
        let (_, end) =
            self.consumer.fetch_watermarks(topic, partition, self.timeout).map_err(|e| Error::of(action(), &e))?;
        let base = offset_in(&why);
        // A broker answers a fetch at any offset of a batch with the whole batch, so the error at an offset names the
        // batch it lies in. That it must be the same batch keeps a good one between two damaged ones from being lost.
        let inside = |offset: i64| match self.look(topic, partition, offset)? {
            Found::Damaged(why) => Ok::<bool, Error>(offset_in(&why) == base && base.is_some()),
            Found::Readable => Ok(false),
        };
        let (mut damaged, mut step) = (from, 1);
        let mut behind = loop {
            let offset = damaged + step;
            if offset >= end {
                break end.max(from + 1);
            }
            if !inside(offset)? {
                break offset;
            }
            damaged = offset;
            step *= 2;
        };
        while behind - damaged > 1 {
            let middle = damaged + (behind - damaged) / 2;
            if inside(middle)? { damaged = middle } else { behind = middle }
        }
        Ok(Some(Damage { first: base.unwrap_or(from).clamp(from, damaged), last: damaged, why }))
    }

    /// The position to start at where none is known: the group's, or the first offset kept.
    pub(super) fn start(
        &self,
        member: &BaseConsumer<impl rdkafka::consumer::ConsumerContext>,
        topic: &str,
        partition: i32,
    ) -> Result<i64, Error> {
        let failed = |e: KafkaError| Error::of(format!("read the position in topic {topic}"), &e);
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = member.committed_offsets(list, self.timeout).map_err(failed)?;
        let (low, _) = self.consumer.fetch_watermarks(topic, partition, self.timeout).map_err(failed)?;
        Ok(match committed.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset) {
            Some(Offset::Offset(position)) => position.max(low),
            _ => low,
        })
    }

    /// A consumer of its own for every look: an error event says neither which partition nor which fetch it is of, so one that comes
    /// late would be taken for the answer to the next look.
    fn look(&self, topic: &str, partition: i32, offset: i64) -> Result<Found, Error> {
        let action = || format!("look for a damaged batch in topic {topic}");
        let failed = |e: KafkaError| Error::of(action(), &e);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed)?;
        let consumer = consumer(&self.config)?;
        consumer.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match consumer.poll(left) {
                Some(Ok(message)) if message.offset() >= offset => return Ok(Found::Readable),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Found::Readable),
                Some(Err(error)) if code_of(&error).is_some_and(is_unreadable) => {
                    return Ok(Found::Damaged(consumer.context().last_error()));
                }
                _ if left.is_zero() => {
                    return Err(Error::Unavailable { action: action(), reason: "no answer in time".to_owned() });
                }
                _ => {}
            }
        }
    }
}

fn consumer(config: &ClientConfig) -> Result<BaseConsumer<Quiet>, Error> {
    config.create_with_context(Quiet::default()).map_err(|e| Error::of("create a consumer", &e))
}

/// The offset librdkafka names in its text: "MessageSet at offset 12 (34 bytes) failed CRC32C check …", "Decompression
/// (codec 0x4) of message at 12 of 34 bytes failed: …".
fn offset_in(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| matches!(pair[0], "at" | "offset")).find_map(|pair| pair[1].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_read_out_of_the_text() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(offset_in(text), expect, "{text}");
        check("MessageSet at offset 12 (345 bytes) failed CRC32C check (original 0x1 != calculated 0x2)", Some(12));
        check("Decompression (codec 0x4) of message at 9 of 1024 bytes failed: Local: Bad compression", Some(9));
        check("Unsupported Message(Set) MagicByte 3 at offset 77", Some(77));
        check("at all", None);
        check("", None);
    }
}
