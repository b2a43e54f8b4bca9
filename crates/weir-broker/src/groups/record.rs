//! The records of `__consumer_offsets`, in Kafka's own format: an offset that was committed, a group and its members.
//!
//! A key begins with a number that says what it is: 0 and 1 are offsets, 2 is a group. A value begins with its version. Offsets are
//! written in version 3, or in 1 where the client set how long to keep them, which no later version can say; groups in version 3. All
//! versions that Kafka has had are read. The keys of newer kinds of groups are passed over.

use super::offsets::Offset;
use bytes::{BufMut as _, Bytes, BytesMut};
use std::sync::Arc;
use weir_wire::field::{Field, Version};
use weir_wire::{Fault, Reader, Text, WireError};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// An offset was committed, or deleted.
    Offset { group: Arc<str>, topic: Arc<str>, partition: i32, offset: Option<Offset> },
    /// A generation of a group has its assignments, or the group is deleted.
    Group { group: Arc<str>, generation: Option<Generation> },
}

/// A group as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// -1 where unknown.
    pub since: i64,
    pub members: Vec<KeptMember>,
}

/// A member as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptMember {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// -1 where it was not kept: the session timeout holds.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a record of __consumer_offsets cannot be read: {0}")]
pub struct RecordError(#[from] WireError);

const OFFSET_KEYS: [i16; 2] = [0, 1];
const GROUP_KEY: i16 = 2;
const NEWEST: i16 = 4;

impl Entry {
    /// Key and value.
    pub fn write(&self) -> (Bytes, Option<Bytes>) {
        match self {
            Entry::Offset { group, topic, partition, offset } => {
                let mut key = BytesMut::new();
                key.put_i16(1);
                put_text(&mut key, group);
                put_text(&mut key, topic);
                key.put_i32(*partition);
                (key.freeze(), offset.as_ref().map(write_offset))
            }
            Entry::Group { group, generation } => {
                let mut key = BytesMut::new();
                key.put_i16(GROUP_KEY);
                put_text(&mut key, group);
                (key.freeze(), generation.as_ref().map(write_generation))
            }
        }
    }

    /// What a record says; nothing, if its key is of a kind that the classic protocol does not know.
    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Entry>, RecordError> {
        let mut key = Reader::new(key.clone());
        let kind = key.i16()?;
        let plain = Version { number: kind, flexible: false };
        let mut text = || Text::take(&mut key, plain).map(|text| Arc::from(text.as_str()));
        if OFFSET_KEYS.contains(&kind) {
            let (group, topic) = (text()?, text()?);
            let offset = value.map(read_offset).transpose()?;
            return Ok(Some(Entry::Offset { group, topic, partition: key.i32()?, offset }));
        }
        if kind == GROUP_KEY {
            let generation = value.map(read_generation).transpose()?;
            return Ok(Some(Entry::Group { group: text()?, generation }));
        }
        Ok(None)
    }
}

fn write_offset(offset: &Offset) -> Bytes {
    let mut value = BytesMut::new();
    value.put_i16(if offset.expires_at.is_some() { 1 } else { 3 });
    value.put_i64(offset.offset);
    if offset.expires_at.is_none() {
        value.put_i32(offset.leader_epoch);
    }
    put_text(&mut value, &offset.metadata);
    value.put_i64(offset.committed_at);
    if let Some(at) = offset.expires_at {
        value.put_i64(at);
    }
    value.freeze()
}

fn read_offset(value: &Bytes) -> Result<Offset, RecordError> {
    let (mut reader, version) = versioned(value)?;
    let number = version.number;
    let offset = reader.i64()?;
    let leader_epoch = if number >= 3 { reader.i32()? } else { -1 };
    let metadata = text(&mut reader, version)?;
    let committed_at = reader.i64()?;
    let expires_at = if number == 1 { Some(reader.i64()?).filter(|at| *at >= 0) } else { None };
    Ok(Offset { offset, leader_epoch, metadata, committed_at, expires_at, record: -1 })
}

fn write_generation(group: &Generation) -> Bytes {
    let mut value = BytesMut::new();
    value.put_i16(3);
    put_text(&mut value, &group.protocol_type);
    value.put_i32(group.generation);
    put_text_or_null(&mut value, group.protocol.as_deref());
    put_text_or_null(&mut value, group.leader.as_deref());
    value.put_i64(group.since);
    value.put_i32(group.members.len() as i32);
    for member in &group.members {
        put_text(&mut value, &member.id);
        put_text_or_null(&mut value, member.instance.as_deref());
        put_text(&mut value, &member.client_id);
        put_text(&mut value, &member.client_host);
        value.put_i32(member.rebalance_timeout_ms);
        value.put_i32(member.session_timeout_ms);
        for bytes in [&member.subscription, &member.assignment] {
            value.put_i32(bytes.len() as i32);
            value.put_slice(bytes);
        }
    }
    value.freeze()
}

fn read_generation(value: &Bytes) -> Result<Generation, RecordError> {
    let (mut reader, version) = versioned(value)?;
    let number = version.number;
    let protocol_type = text(&mut reader, version)?;
    let generation = reader.i32()?;
    let protocol = text_or_null(&mut reader, version)?;
    let leader = text_or_null(&mut reader, version)?;
    let since = if number >= 2 { reader.i64()? } else { -1 };
    let count = if version.flexible { i64::from(reader.uvarint()?) - 1 } else { i64::from(reader.i32()?) };
    let mut members = Vec::new();
    // Nothing is allocated by the count: each member takes bytes from the record.
    for _ in 0..count {
        members.push(KeptMember {
            id: text(&mut reader, version)?,
            instance: if number >= 3 { text_or_null(&mut reader, version)? } else { None },
            client_id: text(&mut reader, version)?,
            client_host: text(&mut reader, version)?,
            rebalance_timeout_ms: if number >= 1 { reader.i32()? } else { -1 },
            session_timeout_ms: reader.i32()?,
            subscription: bytes(&mut reader, version)?,
            assignment: bytes(&mut reader, version)?,
        });
        if version.flexible {
            reader.tagged(|_, _| Ok(false))?;
        }
    }
    Ok(Generation { protocol_type, generation, protocol, leader, since, members })
}

fn versioned(value: &Bytes) -> Result<(Reader, Version), RecordError> {
    let mut reader = Reader::new(value.clone());
    let number = reader.i16()?;
    if !(0..=NEWEST).contains(&number) {
        return Err(WireError::new(Fault::Version(number), 0).into());
    }
    Ok((reader, Version { number, flexible: number >= 4 }))
}

fn text(reader: &mut Reader, version: Version) -> Result<Arc<str>, RecordError> {
    Ok(Text::take(reader, version)?.as_str().into())
}

fn text_or_null(reader: &mut Reader, version: Version) -> Result<Option<Arc<str>>, RecordError> {
    Ok(<Option<Text> as Field>::take(reader, version)?.map(|text| text.as_str().into()))
}

fn bytes(reader: &mut Reader, version: Version) -> Result<Bytes, RecordError> {
    // A copy: what is kept must not keep the batch that it came in.
    Ok(Bytes::copy_from_slice(&Bytes::take(reader, version)?))
}

/// Strings come from frames, where none is longer than 32,767 bytes, or are made shorter by us.
fn put_text(to: &mut BytesMut, text: &str) {
    to.put_i16(text.len() as i16);
    to.put_slice(text.as_bytes());
}

fn put_text_or_null(to: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_text(to, text),
        None => to.put_i16(-1),
    }
}
