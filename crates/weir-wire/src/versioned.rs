//! Structures that carry their version with them: the keys and values of the coordinators' logs, and what the members of a
//! consumer group tell each other through the classic protocol.
//!
//! In `__consumer_offsets` and `__transaction_state` the two bytes in front of a key tell what it is the key of
//! ([`version`]): 0 and 1 an offset, 2 a group; 0 a transaction. Kinds that are not known are for the reader of the log to
//! pass over.

use crate::error::WireError;
use crate::field::{Field, Version};
use crate::message::version_of;
use crate::reader::Reader;
use crate::writer::Writer;
use crate::{Text, Uuid};
use bytes::Bytes;
use std::ops::RangeInclusive;

/// A structure behind two bytes of version.
pub trait Versioned: Field + Clone + Default + std::fmt::Debug + PartialEq {
    /// The versions it can be read and written in.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version (KIP-482); `i16::MAX` where there is none.
    const FLEXIBLE: i16;
    /// Whether a newer version begins like the newest that is known, and can be read as that.
    const NEWER: bool;

    /// Reads version and structure. As in Kafka, bytes that follow are no error.
    ///
    /// # Errors
    /// Where the version is unknown or the bytes are not this structure.
    fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let number = reader.i16()?;
        let number = if Self::NEWER { number.min(*Self::VERSIONS.end()) } else { number };
        let version = version_of(number, Self::VERSIONS, Self::FLEXIBLE, 0)?;
        Self::take(&mut reader, version)
    }

    /// Writes version and structure.
    ///
    /// # Errors
    /// Where the version is unknown or cannot carry what the structure says.
    fn encode(&self, version: i16) -> Result<Bytes, WireError> {
        let version = version_of(version, Self::VERSIONS, Self::FLEXIBLE, 0)?;
        let Version { number, .. } = version;
        let mut writer = Writer::new();
        writer.i16(number);
        self.put(&mut writer, version)?;
        writer.into_bytes()
    }
}

/// The version in front of a structure: for a key, what kind of key it is.
///
/// # Errors
/// Where there are not even two bytes.
pub fn version(bytes: &Bytes) -> Result<i16, WireError> {
    Reader::new(bytes.clone()).i16()
}

message! {
    /// Key of a committed offset. Kafka writes version 1.
    pub struct OffsetCommitKey: 0..=1 {
        group: Text,
        topic: Text,
        partition: i32,
    }

    /// A committed offset. Kafka 4.3 writes version 4, or 1 where it is to expire at a time of its own.
    pub struct OffsetCommitValue: 0..=4, flexible 4 {
        offset: i64,
        leader_epoch: i32 [3.., ignorable] = -1,
        metadata: Text,
        commit_timestamp: i64,
        expire_timestamp: i64 [1..=1, ignorable] = -1,
    } tagged {
        0 => topic_id: Uuid [ignorable],
    }

    /// Key of a classic group.
    pub struct GroupMetadataKey: 2..=2 {
        group: Text,
    }

    /// A generation of a classic group with all its members. Kafka 4.3 writes version 3.
    pub struct GroupMetadataValue: 0..=4, flexible 4 {
        protocol_type: Text,
        generation: i32,
        protocol: Option<Text>,
        leader: Option<Text>,
        current_state_timestamp: i64 [2.., ignorable] = -1,
        members: Vec<MemberMetadata>,
    }

    /// One of the `members` of a [`GroupMetadataValue`].
    pub struct MemberMetadata {
        member_id: Text,
        group_instance_id: Option<Text> [3.., ignorable],
        client_id: Text,
        client_host: Text,
        rebalance_timeout: i32 [1.., ignorable] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }

    /// Key of a transactional id.
    pub struct TransactionLogKey: 0..=0 {
        transactional_id: Text,
    }

    /// The state of a transactional id; times in ms. Kafka 4.3 writes version 1 if the feature `transaction.version` is above 0.
    pub struct TransactionLogValue: 0..=1, flexible 1 {
        producer_id: i64,
        producer_epoch: i16,
        transaction_timeout_ms: i32,
        transaction_status: i8,
        transaction_partitions: Option<Vec<TransactionPartitions>>,
        transaction_last_update_timestamp_ms: i64,
        transaction_start_timestamp_ms: i64,
    } tagged {
        0 => previous_producer_id: i64 = -1,
        1 => next_producer_id: i64 = -1,
        2 => client_transaction_version: i16,
        3 => next_producer_epoch: i16 = -1,
    }

    /// One of the `transaction_partitions` of a [`TransactionLogValue`].
    pub struct TransactionPartitions {
        topic: Text,
        partition_ids: Vec<i32>,
    }

    /// The metadata with which a consumer joins: what it wants to read and what it holds.
    pub struct ConsumerProtocolSubscription: 0..=3 or newer {
        topics: Vec<Text>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<TopicPartitions> [1.., ignorable],
        generation_id: i32 [2.., ignorable] = -1,
        rack_id: Option<Text> [3.., ignorable],
    }

    /// Partitions of a topic.
    pub struct TopicPartitions {
        topic: Text,
        partitions: Vec<i32>,
    }

    /// The assignment that the leader makes for a consumer.
    pub struct ConsumerProtocolAssignment: 0..=3 or newer {
        assigned_partitions: Vec<TopicPartitions>,
        user_data: Option<Bytes>,
    }
}
