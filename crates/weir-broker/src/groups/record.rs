//! The records of `__consumer_offsets`, in Kafka's own format: an offset that was committed, a group and its members.
//!
//! Written is what Kafka 4.3 writes: offsets in version 4, or in 1 where the client set how long to keep them, which no
//! other can say; groups in version 3. All versions are read. The keys of newer kinds of groups are passed over.

use super::group::{Group, Member};
use super::offsets::Offset;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_wire::versioned::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue, Versioned as _, version,
};
use weir_wire::{Text, WireError};

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Entry {
    /// An offset was committed, or deleted.
    Offset { group: Arc<str>, topic: Arc<str>, partition: i32, offset: Option<Offset> },
    /// A generation of a group has its assignments, or the group is deleted.
    Group { group: Arc<str>, generation: Option<GroupMetadataValue> },
}

/// A record that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("not a record of __consumer_offsets: {0}")]
pub struct RecordError(#[from] WireError);

/// A record: a key, and a value unless it deletes.
pub type Record = (Bytes, Option<Bytes>);

impl Entry {
    /// Key and value.
    ///
    /// # Errors
    /// Where a text is longer than the format allows.
    pub fn write(&self) -> Result<Record, RecordError> {
        match self {
            Entry::Offset { group, topic, partition, offset } => {
                let key = OffsetCommitKey { group: text(group), topic: text(topic), partition: *partition };
                let value = offset.as_ref().map(|offset| {
                    let value = OffsetCommitValue {
                        offset: offset.offset,
                        leader_epoch: offset.leader_epoch,
                        metadata: text(&offset.metadata),
                        commit_timestamp: offset.committed_at,
                        expire_timestamp: offset.expires_at.unwrap_or(-1),
                        ..OffsetCommitValue::default()
                    };
                    value.encode(if offset.expires_at.is_some() { 1 } else { 4 })
                });
                Ok((key.encode(1)?, value.transpose()?))
            }
            Entry::Group { group, generation } => {
                let value = generation.as_ref().map(|generation| generation.encode(3)).transpose()?;
                Ok((GroupMetadataKey { group: text(group) }.encode(2)?, value))
            }
        }
    }

    /// What a record says; nothing, if its key is of a kind that the classic protocol does not know.
    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Entry>, RecordError> {
        let entry = match version(key)? {
            0 | 1 => {
                let key = OffsetCommitKey::decode(key.clone())?;
                let value = value.map(|value| OffsetCommitValue::decode(value.clone())).transpose()?;
                Entry::Offset {
                    group: key.group.as_str().into(),
                    topic: key.topic.as_str().into(),
                    partition: key.partition,
                    offset: value.map(|value| Offset {
                        offset: value.offset,
                        leader_epoch: value.leader_epoch,
                        metadata: value.metadata.as_str().into(),
                        committed_at: value.commit_timestamp,
                        expires_at: Some(value.expire_timestamp).filter(|at| *at >= 0),
                        record: -1,
                    }),
                }
            }
            2 => Entry::Group {
                group: GroupMetadataKey::decode(key.clone())?.group.as_str().into(),
                generation: value.map(|value| GroupMetadataValue::decode(value.clone())).transpose()?,
            },
            _ => return Ok(None),
        };
        Ok(Some(entry))
    }

    /// The group as it is kept, with these assignments.
    pub fn of_group(group: &Group, assignments: &BTreeMap<Arc<str>, Bytes>) -> Entry {
        let member = |(id, member): (&Arc<str>, &Member)| MemberMetadata {
            member_id: text(id),
            group_instance_id: member.instance.as_ref().map(text),
            client_id: text(&member.client_id),
            client_host: text(&member.client_host),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(group.protocol.as_deref()),
            assignment: assignments.get(id).cloned().unwrap_or_default(),
        };
        let generation = GroupMetadataValue {
            protocol_type: group.protocol_type.as_ref().map(text).unwrap_or_default(),
            generation: group.generation,
            protocol: group.protocol.as_ref().map(text),
            leader: group.leader.as_ref().map(text),
            current_state_timestamp: group.since.unwrap_or(-1),
            members: group.members.iter().map(member).collect(),
        };
        Entry::Group { group: group.name.clone(), generation: Some(generation) }
    }
}

fn text(text: &Arc<str>) -> Text {
    Text::from(&**text)
}
