//! One transactional id as a record of `__transaction_state`, in Kafka's own format.

use super::state::{Entry, State};
use super::{BadRecord, Producer};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use weir_wire::versioned::{self, TransactionLogKey, TransactionLogValue, TransactionPartitions, Versioned};
use weir_wire::{Text, WireError};

/// The version of the value that is written, as by Kafka with transactions of version 2. Version 0 is read too.
const VALUE_VERSION: i16 = 1;

/// The key of the id.
pub(super) fn key(id: &str) -> Result<Bytes, WireError> {
    TransactionLogKey { transactional_id: Text::from(id) }.encode(0)
}

/// The value of its entry.
pub(super) fn value(entry: &Entry) -> Result<Bytes, WireError> {
    let mut topics: Vec<TransactionPartitions> = Vec::new();
    for (name, partition) in &entry.partitions {
        match topics.last_mut() {
            Some(topic) if topic.topic == **name => topic.partition_ids.push(*partition),
            _ => topics.push(TransactionPartitions { topic: Text::from(&**name), partition_ids: vec![*partition] }),
        }
    }
    let value = TransactionLogValue {
        producer_id: entry.producer.id,
        producer_epoch: entry.producer.epoch,
        transaction_timeout_ms: entry.timeout_ms,
        transaction_status: entry.state.number(),
        // Kafka writes null where there can be no partition.
        transaction_partitions: (entry.state != State::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: entry.updated_ms,
        transaction_start_timestamp_ms: entry.started_ms,
        previous_producer_id: entry.previous_id,
        next_producer_id: entry.next_id,
        client_transaction_version: entry.version,
        ..TransactionLogValue::default()
    };
    value.encode(VALUE_VERSION)
}

/// The id of a key; `None` for a kind of key that is not known, which is passed over as in Kafka.
pub(super) fn read_key(key: Bytes) -> Result<Option<Arc<str>>, BadRecord> {
    if !TransactionLogKey::VERSIONS.contains(&versioned::version(&key)?) {
        return Ok(None);
    }
    Ok(Some(Arc::from(TransactionLogKey::decode(key)?.transactional_id.as_str())))
}

/// The entry of a value.
pub(super) fn read_value(value: Bytes) -> Result<Entry, BadRecord> {
    let value = TransactionLogValue::decode(value)?;
    let number = value.transaction_status;
    let mut partitions = BTreeSet::new();
    for topic in value.transaction_partitions.into_iter().flatten() {
        let name: Arc<str> = Arc::from(topic.topic.as_str());
        partitions.extend(topic.partition_ids.into_iter().map(|partition| (name.clone(), partition)));
    }
    Ok(Entry {
        producer: Producer { id: value.producer_id, epoch: value.producer_epoch },
        previous_id: value.previous_producer_id,
        next_id: value.next_producer_id,
        last_epoch: -1,
        timeout_ms: value.transaction_timeout_ms,
        state: State::ALL.into_iter().find(|state| state.number() == number).ok_or(BadRecord::State(number))?,
        partitions,
        updated_ms: value.transaction_last_update_timestamp_ms,
        started_ms: value.transaction_start_timestamp_ms,
        version: value.client_transaction_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Bytes {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// The bytes are what the classes of Apache Kafka 4.3.1 write.
    fn check(entry: &Entry, hex: &str) {
        assert_eq!(value(entry).unwrap(), bytes(hex));
        assert_eq!(&read_value(bytes(hex)).unwrap(), entry);
    }

    #[test]
    fn records_are_those_of_kafka() {
        assert_eq!(key("pump-1").unwrap(), bytes("0000000670756d702d31"));
        assert_eq!(read_key(bytes("0000000670756d702d31")).unwrap().as_deref(), Some("pump-1"));

        let empty = Entry { timeout_ms: 60_000, previous_id: 7, updated_ms: 1_700_000_000_000, ..Entry::new(7, 0) };
        let empty = Entry { producer: Producer { id: 7, epoch: 3 }, ..empty };
        check(&empty, "0001000000000000000700030000ea6000000000018bcfe56800ffffffffffffffff0100080000000000000007");
        let old = bytes("0000000000000000000700030000ea6000ffffffff0000018bcfe56800ffffffffffffffff");
        assert_eq!(read_value(old).unwrap(), Entry { previous_id: -1, ..empty.clone() });

        let names = [("orders", 300), ("orders", 1), ("__consumer_offsets", 0)];
        let prepared = Entry {
            producer: Producer { id: 7, epoch: i16::MAX },
            next_id: 1000,
            state: State::PrepareCommit,
            partitions: names.into_iter().map(|(name, index)| (Arc::from(name), index)).collect(),
            started_ms: 1_699_999_999_999,
            version: 2,
            ..empty
        };
        check(
            &prepared,
            "000100000000000000077fff0000ea600203135f5f636f6e73756d65725f6f666673657473020000000000076f726465727303000000010000012c\
             000000018bcfe568000000018bcfe567ff0300080000000000000007010800000000000003e802020002",
        );
        let complete = Entry { state: State::CompleteCommit, next_id: -1, partitions: BTreeSet::new(), ..prepared };
        check(
            &complete,
            "000100000000000000077fff0000ea6004010000018bcfe568000000018bcfe567ff020008000000000000000702020002",
        );
    }

    #[test]
    fn records_that_are_none_are_told_apart() {
        assert_eq!(read_key(bytes("0001ff")).unwrap(), None, "a kind of key that is not known");
        assert!(matches!(read_key(bytes("00")), Err(BadRecord::Wire(_))));
        assert!(matches!(read_key(bytes("00000006")), Err(BadRecord::Wire(_))));
        assert!(matches!(read_value(bytes("0002")), Err(BadRecord::Wire(_))), "a newer value");
        let unknown = "0001000000000000000700030000ea6008000000018bcfe56800ffffffffffffffff00";
        assert_eq!(read_value(bytes(unknown)), Err(BadRecord::State(8)));
    }
}
