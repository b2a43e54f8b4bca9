//! One transactional id as a record of `__transaction_state`, in Kafka's own format: TransactionLogKey version 0 and
//! TransactionLogValue version 1. Version 0 of the value, which older brokers wrote, is read too.

use super::state::{Entry, NONE, State};
use super::{BadRecord, Producer, TopicPartition};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_wire::field::{Field, Version};
use weir_wire::{Reader, Text, WireError, Writer};

const KEY: Version = Version { number: 0, flexible: false };
const VALUE: Version = Version { number: 1, flexible: true };

/// The partitions of one topic; Kafka's PartitionsSchema.
struct Topic {
    name: Text,
    partitions: Vec<i32>,
}

impl Field for Topic {
    fn least(version: Version) -> usize {
        Text::least(version) + Vec::<i32>::least(version) + usize::from(version.flexible)
    }

    fn take(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
        let topic = Topic { name: Text::take(reader, version)?, partitions: Vec::take(reader, version)? };
        if version.flexible {
            reader.tagged(|_, _| Ok(false))?;
        }
        Ok(topic)
    }

    fn put(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        self.name.put(writer, version)?;
        self.partitions.put(writer, version)?;
        if version.flexible {
            writer.uvarint(0);
        }
        Ok(())
    }
}

impl weir_wire::field::Nullable for Topic {
    fn least_or_null(_: Version) -> usize {
        1
    }

    fn take_or_null(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
        Topic::take(reader, version).map(Some)
    }

    fn put_or_null(value: Option<&Self>, writer: &mut Writer, version: Version) -> Result<(), WireError> {
        value.map_or(Ok(()), |topic| topic.put(writer, version))
    }
}

/// The key of the id.
pub(super) fn key(id: &str) -> Result<Bytes, WireError> {
    let mut writer = Writer::new();
    KEY.number.put(&mut writer, KEY)?;
    Text::from(id).put(&mut writer, KEY)?;
    writer.into_bytes()
}

/// The value of its entry.
pub(super) fn value(entry: &Entry) -> Result<Bytes, WireError> {
    let mut topics: Vec<Topic> = Vec::new();
    for (name, partition) in &entry.partitions {
        match topics.last_mut() {
            Some(topic) if topic.name == **name => topic.partitions.push(*partition),
            _ => topics.push(Topic { name: Text::from(&**name), partitions: vec![*partition] }),
        }
    }
    // Kafka writes null where there can be no partition.
    let topics = Some(topics).filter(|topics| !(topics.is_empty() && entry.state == State::Empty));
    let mut writer = Writer::new();
    VALUE.number.put(&mut writer, VALUE)?;
    entry.producer.id.put(&mut writer, VALUE)?;
    entry.producer.epoch.put(&mut writer, VALUE)?;
    entry.timeout_ms.put(&mut writer, VALUE)?;
    entry.state.number().put(&mut writer, VALUE)?;
    topics.put(&mut writer, VALUE)?;
    entry.updated_ms.put(&mut writer, VALUE)?;
    entry.started_ms.put(&mut writer, VALUE)?;
    let ids = [(0, entry.previous_id), (1, entry.next_id)].map(|(tag, id)| (tag, (id != NONE).then_some(id)));
    let version = Some(entry.version).filter(|version| *version != 0);
    writer.uvarint(ids.iter().filter(|(_, id)| id.is_some()).count() as u32 + u32::from(version.is_some()));
    for (tag, id) in ids {
        if let Some(id) = id {
            writer.uvarint(tag);
            writer.uvarint(8);
            id.put(&mut writer, VALUE)?;
        }
    }
    if let Some(version) = version {
        writer.uvarint(2);
        writer.uvarint(2);
        version.put(&mut writer, VALUE)?;
    }
    writer.into_bytes()
}

/// The id of a key; `None` for a kind of key that this version of the format does not know, which is skipped as in Kafka.
pub(super) fn read_key(key: Bytes) -> Result<Option<Arc<str>>, BadRecord> {
    let mut reader = Reader::new(key);
    if reader.i16()? != KEY.number {
        return Ok(None);
    }
    Ok(Some(Arc::from(Text::take(&mut reader, KEY)?.as_str())))
}

/// The entry of a value.
pub(super) fn read_value(value: Bytes) -> Result<Entry, BadRecord> {
    let mut reader = Reader::new(value);
    let version = match reader.i16()? {
        number @ 0..=1 => Version { number, flexible: number >= 1 },
        number => return Err(BadRecord::Version(number)),
    };
    let producer = Producer { id: reader.i64()?, epoch: reader.i16()? };
    let timeout_ms = reader.i32()?;
    let number = reader.i8()?;
    let state = State::ALL.into_iter().find(|state| state.number() == number).ok_or(BadRecord::State(number))?;
    let topics = <Option<Vec<Topic>> as Field>::take(&mut reader, version)?;
    let partitions: BTreeSet<TopicPartition> = topics
        .into_iter()
        .flatten()
        .flat_map(|topic| {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        })
        .collect();
    let mut entry = Entry {
        producer,
        previous_id: NONE,
        next_id: NONE,
        last_epoch: -1,
        timeout_ms,
        state,
        partitions,
        updated_ms: reader.i64()?,
        started_ms: reader.i64()?,
        version: 0,
    };
    if version.flexible {
        reader.tagged(|tag, reader| {
            match tag {
                0 => entry.previous_id = reader.i64()?,
                1 => entry.next_id = reader.i64()?,
                2 => entry.version = reader.i16()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    }
    Ok(entry)
}
