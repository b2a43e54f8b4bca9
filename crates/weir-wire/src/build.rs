//! Makes record batches: for what a broker writes itself (offsets, transaction states, markers), for compaction, for the
//! producers of the gateway and for tests.
//!
//! What a client sent is never built anew; a broker only stamps its header ([`crate::batch::restamp`]).

use bytes::Bytes;
use thiserror::Error;

use crate::batch::{ATTRIBUTES, CONTROL, DELETE_HORIZON, HEADER_SIZE, Header, LENGTH_OVERHEAD, LOG_APPEND_TIME};
use crate::batch::{TRANSACTIONAL, TimestampType};
use crate::codec::{Codec, CodecError};
use crate::control::Marker;
use crate::records::{Record, Skimmed};

/// The most bytes that a record takes in front of its key: its length, attributes and both deltas.
const MAX_HEAD: usize = 5 + 1 + 10 + 5;

/// Why a batch cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Record or batch would exceed 2 GiB, the end of the length fields.
    #[error("record batch would exceed 2 GiB")]
    TooLarge,
    /// Offset deltas must ascend.
    #[error("offset delta {delta} follows {last}")]
    Offset {
        /// The delta that was pushed.
        delta: i32,
        /// The one before it.
        last: i32,
    },
    /// The codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// An idempotent producer and the sequence number of the first record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id; -1 without one.
    pub id: i64,
    /// Its epoch; -1 without one.
    pub epoch: i16,
    /// Sequence number of the first record; -1 without one and in markers.
    pub base_sequence: i32,
}

impl Producer {
    /// A producer without idempotence.
    pub const NONE: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
}

/// Builds one record batch, record by record.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    codec: Codec,
    flags: i16,
    producer: Producer,
    leader_epoch: i32,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    append_time: Option<i64>,
    last_offset_delta: i32,
    next_delta: i32,
    count: i32,
    /// The records after room for the header.
    bytes: Vec<u8>,
}

impl BatchBuilder {
    /// A batch of `codec` without a producer, in leader epoch -1 (which is what clients write).
    pub fn new(codec: Codec) -> BatchBuilder {
        Self::in_buffer(codec, Vec::new())
    }

    /// The same, in memory that was used before; what is in it is forgotten.
    pub fn in_buffer(codec: Codec, mut bytes: Vec<u8>) -> BatchBuilder {
        bytes.clear();
        bytes.resize(HEADER_SIZE, 0);
        BatchBuilder {
            codec,
            flags: 0,
            producer: Producer::NONE,
            leader_epoch: -1,
            base_timestamp: None,
            max_timestamp: -1,
            append_time: None,
            last_offset_delta: -1,
            next_delta: 0,
            count: 0,
            bytes,
        }
    }

    /// A batch that keeps everything the header of another one says but its records, to which a compaction pushes what
    /// it retains ([`BatchBuilder::retain`]). `codec` replaces an unknown one. The last offset stays, the maximum
    /// timestamp is made anew. From `delete_horizon` on (ms since 1970, KIP-534) tombstones and marker may go.
    pub fn retaining(header: &Header, codec: Codec, delete_horizon: Option<i64>) -> BatchBuilder {
        let horizon = delete_horizon.or(header.delete_horizon());
        let flags = header.attributes() & (TRANSACTIONAL | CONTROL);
        BatchBuilder {
            flags: flags | if horizon.is_some() { DELETE_HORIZON } else { 0 },
            producer: Producer {
                id: header.producer_id(),
                epoch: header.producer_epoch(),
                base_sequence: header.base_sequence(),
            },
            leader_epoch: header.leader_epoch(),
            base_timestamp: horizon.or(Some(header.base_timestamp())),
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime).then(|| header.max_timestamp()),
            last_offset_delta: header.last_offset_delta(),
            ..BatchBuilder::new(codec)
        }
    }

    /// Sets the producer.
    pub fn producer(mut self, producer: Producer) -> BatchBuilder {
        self.producer = producer;
        self
    }

    /// Makes the batch part of its producer's transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.flags |= TRANSACTIONAL;
        self
    }

    /// Makes the batch hold control records.
    pub fn control(mut self) -> BatchBuilder {
        self.flags |= CONTROL;
        self
    }

    /// Sets the leader epoch.
    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    /// Gives all records the time of the append in ms since 1970 in place of their own.
    pub fn append_time(mut self, time: i64) -> BatchBuilder {
        self.append_time = Some(time);
        self
    }

    /// Adds a record at the next offset, with `timestamp` in ms since 1970 and headers as pairs of name and value.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let count = i64::try_from(headers.len()).map_err(|_| BuildError::TooLarge)?;
        self.put(self.next_delta, timestamp, Parts::Own(key, value, count, &[], headers))
    }

    /// Adds a record of another batch as it is, at its own offset delta.
    pub fn retain(&mut self, record: &Record<'_>) -> Result<(), BuildError> {
        self.put(record.offset_delta, record.timestamp, Parts::Made(record.parts))
    }

    /// Adds a record of another batch at the next offset, with more headers behind its own.
    pub fn append(&mut self, record: &Record<'_>, more: &[(&[u8], Option<&[u8]>)]) -> Result<(), BuildError> {
        let count = i64::try_from(record.headers.len() + more.len()).map_err(|_| BuildError::TooLarge)?;
        let parts = Parts::Own(record.key, record.value, count, record.headers.as_bytes(), more);
        self.put(self.next_delta, record.timestamp, parts)
    }

    /// Adds a record of another batch as it is at the next offset. It is taken for well-formed.
    #[inline]
    pub fn append_skimmed(&mut self, record: &Skimmed<'_>) -> Result<(), BuildError> {
        self.put(self.next_delta, record.timestamp, Parts::Made(record.parts))
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Number of records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes so far, header included, before compression.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch, at `base_offset` (0 from a client).
    pub fn finish(self, base_offset: i64) -> Result<Bytes, BuildError> {
        Ok(self.finish_in_buffer(base_offset)?.0)
    }

    /// The same, and the memory it was built in where the batch needs it no more, because it is compressed.
    pub fn finish_in_buffer(self, base_offset: i64) -> Result<(Bytes, Vec<u8>), BuildError> {
        let (mut bytes, mut free) = (self.bytes, Vec::new());
        if self.codec != Codec::None && self.count > 0 {
            let mut compressed = vec![0; HEADER_SIZE];
            self.codec.compress(&bytes[HEADER_SIZE..], &mut compressed)?;
            free = std::mem::replace(&mut bytes, compressed);
        }
        let length = i32::try_from(bytes.len() - LENGTH_OVERHEAD).map_err(|_| BuildError::TooLarge)?;
        let flags = self.flags | if self.append_time.is_some() { LOG_APPEND_TIME } else { 0 };
        let mut header = Vec::with_capacity(HEADER_SIZE);
        header.extend_from_slice(&base_offset.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&self.leader_epoch.to_be_bytes());
        header.extend_from_slice(&[2, 0, 0, 0, 0]);
        header.extend_from_slice(&(flags | i16::from(self.codec.id())).to_be_bytes());
        header.extend_from_slice(&self.last_offset_delta.max(0).to_be_bytes());
        header.extend_from_slice(&self.base_timestamp.unwrap_or(-1).to_be_bytes());
        header.extend_from_slice(&self.append_time.unwrap_or(self.max_timestamp).to_be_bytes());
        header.extend_from_slice(&self.producer.id.to_be_bytes());
        header.extend_from_slice(&self.producer.epoch.to_be_bytes());
        header.extend_from_slice(&self.producer.base_sequence.to_be_bytes());
        header.extend_from_slice(&self.count.to_be_bytes());
        bytes[..HEADER_SIZE].copy_from_slice(&header);
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[ATTRIBUTES - 4..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Ok((Bytes::from(bytes), free))
    }

    #[inline]
    fn put(&mut self, delta: i32, timestamp: i64, parts: Parts<'_>) -> Result<(), BuildError> {
        if delta < self.next_delta {
            return Err(BuildError::Offset { delta, last: self.next_delta - 1 });
        }
        let next_delta = delta.checked_add(1).ok_or(BuildError::TooLarge)?;
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(base);
        let length = 1 + varint_size(timestamp_delta) + varint_size(i64::from(delta)) + parts.size();
        let size = self.bytes.len() + MAX_HEAD + length;
        if i32::try_from(size).is_err() {
            return Err(BuildError::TooLarge);
        }
        // The attributes of a record are unused.
        let mut head = Head::default();
        head.varint(length as i64).byte(0).varint(timestamp_delta).varint(i64::from(delta));
        let out = &mut self.bytes;
        out.extend_from_slice(head.bytes());
        match parts {
            Parts::Made(parts) => out.extend_from_slice(parts),
            Parts::Own(key, value, header_count, headers, more) => {
                put_bytes(out, key);
                put_bytes(out, value);
                put_varint(out, header_count);
                out.extend_from_slice(headers);
                for (name, value) in more {
                    put_bytes(out, Some(name));
                    put_bytes(out, *value);
                }
            }
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset_delta = self.last_offset_delta.max(delta);
        self.next_delta = next_delta;
        self.count += 1;
        Ok(())
    }
}

/// Key, value and headers of a record.
enum Parts<'a> {
    /// In their wire form.
    Made(&'a [u8]),
    /// Key, value, number of headers, the first of these in their wire form, and the others.
    Own(Option<&'a [u8]>, Option<&'a [u8]>, i64, &'a [u8], &'a [(&'a [u8], Option<&'a [u8]>)]),
}

impl Parts<'_> {
    fn size(&self) -> usize {
        match self {
            Parts::Made(parts) => parts.len(),
            Parts::Own(key, value, header_count, headers, more) => {
                let more: usize = more.iter().map(|(name, value)| bytes_size(Some(name)) + bytes_size(*value)).sum();
                bytes_size(*key) + bytes_size(*value) + varint_size(*header_count) + headers.len() + more
            }
        }
    }
}

/// The first bytes of a record, put together before they are copied at once.
#[derive(Default)]
struct Head {
    bytes: [u8; MAX_HEAD],
    length: usize,
}

impl Head {
    #[inline]
    fn byte(&mut self, byte: u8) -> &mut Head {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        self
    }

    #[inline]
    fn varint(&mut self, value: i64) -> &mut Head {
        varint(value, |byte| {
            self.byte(byte);
        });
        self
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The batch of one control record that ends `producer`'s transaction in a partition (its sequence is -1).
pub fn marker_batch(
    marker: Marker,
    producer_id: i64,
    producer_epoch: i16,
    base_offset: i64,
    leader_epoch: i32,
    timestamp: i64,
) -> Result<Bytes, BuildError> {
    let mut batch = BatchBuilder::new(Codec::None)
        .producer(Producer { id: producer_id, epoch: producer_epoch, base_sequence: -1 })
        .transactional()
        .control()
        .leader_epoch(leader_epoch);
    batch.push(timestamp, Some(&marker.key()), Some(&marker.value()), &[])?;
    batch.finish(base_offset)
}

/// Zigzag, then seven bits to the byte, the lowest first.
#[inline]
fn varint(value: i64, mut put: impl FnMut(u8)) {
    let mut raw = (value << 1 ^ value >> 63) as u64;
    while raw >= 0x80 {
        put(raw as u8 | 0x80);
        raw >>= 7;
    }
    put(raw as u8);
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    varint(value, |byte| out.push(byte));
}

fn varint_size(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes after their length; a length of -1 stands for null.
fn put_bytes(out: &mut Vec<u8>, part: Option<&[u8]>) {
    put_varint(out, part.map_or(-1, |part| part.len() as i64));
    out.extend_from_slice(part.unwrap_or_default());
}

fn bytes_size(part: Option<&[u8]>) -> usize {
    part.map_or(1, |part| varint_size(part.len() as i64) + part.len())
}
