//! The records of a batch, checked one by one while they are walked over.
//!
//! A record is a view: its key, value and headers are slices of the batch, or of its decompressed records. What a log
//! demands of a batch beyond being well-formed (keys on compacted topics, timestamps, sequences) is not looked at here.

use bytes::Bytes;
use thiserror::Error;

use crate::batch::{Batch, BatchError, TimestampType};
use crate::codec::{Codec, CodecError};

/// Length, attributes, two deltas, two lengths of -1 and no headers, one byte each.
const SMALLEST_RECORD: usize = 7;

/// Why the records of a batch cannot be read. A broker answers with the Kafka error named at each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordsError {
    /// The header is wrong: see there.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The records do not decompress: see there.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The header counts more records than its bytes can hold: INVALID_RECORD.
    #[error("record batch claims {count} records in {bytes} bytes")]
    Count {
        /// The count in the header.
        count: i32,
        /// Bytes of all records, decompressed.
        bytes: usize,
    },
    /// Bytes follow the last record: INVALID_RECORD.
    #[error("{bytes} bytes follow the last of the {count} records of the batch")]
    Trailing {
        /// The count in the header.
        count: i32,
        /// How many bytes.
        bytes: usize,
    },
    /// A record is malformed: INVALID_RECORD, with `index` as the batch index of the record error (KIP-467).
    #[error("record {index} is malformed at byte {at} of the batch's records: {fault}")]
    Record {
        /// Place of the record in its batch, from 0.
        index: i32,
        /// Byte from the start of the decompressed records.
        at: usize,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The record, or the batch, ends inside a field.
    #[error("{field} is cut off")]
    Cut {
        /// Kafka's name of the field.
        field: &'static str,
    },
    /// A varint is longer than its type allows, or has bits that the type has no room for.
    #[error("{field} is no varint of its type")]
    Varint {
        /// Kafka's name of the field.
        field: &'static str,
    },
    /// A length or count is negative or larger than what is left of the record.
    #[error("{field} is {length}, {left} bytes are left")]
    Length {
        /// Kafka's name of the field.
        field: &'static str,
        /// The length as it was read.
        length: i32,
        /// Bytes left of the record (of the batch, for the length of the record).
        left: usize,
    },
    /// Offsets do not ascend, or leave the range that the header gives.
    #[error("offset delta {delta} is not between {low} and {high}")]
    Offset {
        /// The delta as it was read.
        delta: i32,
        /// The lowest delta that the record may have.
        low: i32,
        /// The last offset delta of the batch.
        high: i32,
    },
    /// The record is longer than its fields.
    #[error("{bytes} bytes follow the last field")]
    Surplus {
        /// How many bytes.
        bytes: usize,
    },
}

/// The records of one batch, in memory and decompressed. Iterate over `&records`.
#[derive(Debug, Clone)]
pub struct Records {
    body: Bytes,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    last_offset_delta: i32,
    count: i32,
}

impl Records {
    /// Makes the records of `batch` ready to be read; those of an uncompressed batch stay where they are, others are
    /// decompressed to at most `limit` bytes. The checksum is not looked at ([`Batch::verify_crc`]).
    pub fn read(batch: &Batch, limit: usize) -> Result<Records, RecordsError> {
        Self::read_in(batch, limit, &mut Vec::new())
    }

    /// The same, and takes `memory` for what is decompressed, whatever is in it.
    pub fn read_in(batch: &Batch, limit: usize, memory: &mut Vec<u8>) -> Result<Records, RecordsError> {
        let payload = batch.payload();
        let body = match batch.codec()? {
            // A batch that compaction emptied names its codec still.
            _ if payload.is_empty() => payload,
            Codec::None => payload,
            codec => codec.decompress_in(&payload, limit, std::mem::take(memory))?,
        };
        let count = batch.count();
        if usize::try_from(count).is_ok_and(|n| n > body.len() / SMALLEST_RECORD) {
            return Err(RecordsError::Count { count, bytes: body.len() });
        }
        Ok(Records {
            body,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: (batch.timestamp_type() == TimestampType::LogAppendTime).then(|| batch.max_timestamp()),
            last_offset_delta: batch.last_offset_delta(),
            count,
        })
    }

    /// Number of records, as the header says; [`Records::iter`] shows whether it is true.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// All records in their wire form, uncompressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The memory that the records lie in; nothing where somebody else refers to it.
    pub fn into_memory(self) -> Option<Vec<u8>> {
        self.body.is_unique().then(|| Vec::from(self.body))
    }

    /// The records in their order. After an error, or after as many records as the header says, it is at its end;
    /// bytes left then are an error of their own.
    pub fn iter(&self) -> Iter<'_> {
        Iter { records: self, at: 0, index: 0, low: 0, done: false }
    }

    /// The records from a place on that [`Iter::place`] of these records told.
    pub fn iter_from(&self, place: Place) -> Iter<'_> {
        Iter { records: self, at: place.at.min(self.body.len()), index: place.index, low: place.low, done: false }
    }

    /// A part of a record of this batch (key, value, header) as bytes that own their memory together with the batch;
    /// nothing is copied. Bytes from elsewhere are copied.
    pub fn share(&self, part: &[u8]) -> Bytes {
        let start = (part.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= self.body.len() => self.body.slice(start..end),
            _ => Bytes::copy_from_slice(part),
        }
    }

    #[inline]
    fn timestamp(&self, delta: i64) -> i64 {
        match self.append_time {
            Some(time) => time,
            None => self.base_timestamp.wrapping_add(delta),
        }
    }

    /// Walks over all records: the first error, or nothing.
    pub fn check(&self) -> Result<(), RecordsError> {
        self.iter().try_for_each(|record| record.map(drop))
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, RecordsError>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// One record, a view into its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset: that of the batch plus the record's delta; wraps where a client sent nonsense as the batch's.
    pub offset: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp in ms since 1970 (-1: none); the time of the append where the batch has that.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
    /// Key, value and headers in their wire form.
    pub(crate) parts: &'a [u8],
}

impl Record<'_> {
    /// Bytes that key, value and headers take in a batch, with their lengths.
    pub fn parts_size(&self) -> usize {
        self.parts.len()
    }
}

/// A record that was not looked into: what goes on of it in another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skimmed<'a> {
    /// Timestamp in ms since 1970 (-1: none); the time of the append where the batch has that.
    pub timestamp: i64,
    /// Key, value and headers in their wire form.
    pub(crate) parts: &'a [u8],
}

impl Skimmed<'_> {
    /// Bytes that key, value and headers take in a batch, with their lengths.
    pub fn parts_size(&self) -> usize {
        self.parts.len()
    }
}

/// The headers of a record, checked, in their order; names may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: i32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const NONE: Headers<'static> = Headers { count: 0, bytes: &[] };

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last header of a name, as Kafka's `lastHeader`.
    pub fn last(&self, key: &[u8]) -> Option<Header<'a>> {
        self.into_iter().filter(|header| header.key == key).last()
    }

    /// The headers in their wire form, without their count.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        HeaderIter(Cursor { bytes: self.bytes, at: 0 })
    }
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; UTF-8 by convention, which brokers do not check.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

/// Iterator over [`Headers`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a>(Cursor<'a>);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        // They have been read before without an error, so the first error is their end.
        self.0.header().ok()
    }
}

/// Where an iterator over [`Records`] has got to, to go on there later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    at: usize,
    index: i32,
    low: i32,
}

impl Place {
    /// Number of records before it.
    pub fn index(&self) -> usize {
        usize::try_from(self.index).unwrap_or(0)
    }
}

/// Iterator over [`Records`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    records: &'a Records,
    at: usize,
    index: i32,
    low: i32,
    done: bool,
}

impl<'a> Iter<'a> {
    /// The place in front of the next record.
    pub fn place(&self) -> Place {
        Place { at: self.at, index: self.index, low: self.low }
    }

    /// The next record without a look at its key, value and headers, for who goes over records a second time.
    pub fn skim(&mut self) -> Option<Result<Skimmed<'a>, RecordsError>> {
        self.advance(|iter| {
            let head = iter.head()?;
            iter.at = head.end;
            let parts = &iter.records.body[head.parts_at..head.end];
            Ok(Skimmed { timestamp: iter.records.timestamp(head.timestamp_delta), parts })
        })
    }

    #[inline]
    fn advance<T>(
        &mut self,
        read: impl FnOnce(&mut Iter<'a>) -> Result<T, (usize, Fault)>,
    ) -> Option<Result<T, RecordsError>> {
        if self.done {
            return None;
        }
        let count = self.records.count;
        if self.index == count {
            self.done = true;
            let bytes = self.records.body.len() - self.at;
            return (bytes > 0).then_some(Err(RecordsError::Trailing { count, bytes }));
        }
        let index = self.index;
        self.index += 1;
        match read(self) {
            Ok(record) => Some(Ok(record)),
            Err((at, fault)) => {
                self.done = true;
                Some(Err(RecordsError::Record { index, at, fault }))
            }
        }
    }

    /// What stands in front of the key. The next record has a higher offset; where it begins is left as it is.
    #[inline]
    fn head(&mut self) -> Result<Head, (usize, Fault)> {
        let mut batch = Cursor { bytes: &self.records.body, at: self.at };
        let size = batch.length("length")?;
        let end = batch.at + size;
        let mut fields = Cursor { bytes: &self.records.body[..end], at: batch.at };
        // The attributes of a record are unused.
        fields.take(1, "attributes")?;
        let timestamp_delta = fields.varlong("timestampDelta")?;
        let offset_at = fields.at;
        let offset_delta = fields.varint("offsetDelta")?;
        let (low, high) = (self.low, self.records.last_offset_delta);
        if offset_delta < low || offset_delta > high {
            return Err((offset_at, Fault::Offset { delta: offset_delta, low, high }));
        }
        self.low = offset_delta.saturating_add(1);
        Ok(Head { timestamp_delta, offset_delta, parts_at: fields.at, end })
    }

    #[inline]
    fn record(&mut self) -> Result<Record<'a>, (usize, Fault)> {
        let Head { timestamp_delta, offset_delta, parts_at, end } = self.head()?;
        let records = self.records;
        let mut fields = Cursor { bytes: &records.body[..end], at: parts_at };
        let key = fields.nullable("keyLength")?;
        let value = fields.nullable("valueLength")?;
        let headers = fields.headers()?;
        let left = fields.bytes.len() - fields.at;
        if left > 0 {
            return Err((fields.at, Fault::Surplus { bytes: left }));
        }
        self.at = end;
        Ok(Record {
            offset: records.base_offset.wrapping_add(i64::from(offset_delta)),
            offset_delta,
            timestamp: records.timestamp(timestamp_delta),
            key,
            value,
            headers,
            parts: &fields.bytes[parts_at..],
        })
    }
}

/// What stands in front of a record's key, and where it lies.
struct Head {
    timestamp_delta: i64,
    offset_delta: i32,
    parts_at: usize,
    end: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Record<'a>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Iter::record)
    }
}

impl std::iter::FusedIterator for Iter<'_> {}

#[derive(Debug, Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, (usize, Fault)>;

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize, field: &'static str) -> Read<&'a [u8]> {
        match self.bytes.get(self.at..self.at + length) {
            Some(part) => {
                self.at += length;
                Ok(part)
            }
            None => Err((self.at, Fault::Cut { field })),
        }
    }

    #[inline]
    fn varint(&mut self, field: &'static str) -> Read<i32> {
        let start = self.at;
        let raw = self.unsigned::<5>(field)?;
        match u32::try_from(raw) {
            Ok(raw) => Ok((raw >> 1) as i32 ^ -((raw & 1) as i32)),
            Err(_) => Err((start, Fault::Varint { field })),
        }
    }

    #[inline]
    fn varlong(&mut self, field: &'static str) -> Read<i64> {
        let raw = self.unsigned::<10>(field)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Seven bits to the byte, the lowest first; at most `N` bytes.
    #[inline]
    fn unsigned<const N: usize>(&mut self, field: &'static str) -> Read<u64> {
        let bytes = &self.bytes[self.at..];
        if let Some(byte) = bytes.first().filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for (i, byte) in bytes.iter().take(N).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * i);
            if *byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        let fault = if bytes.len() < N { Fault::Cut { field } } else { Fault::Varint { field } };
        Err((self.at, fault))
    }

    /// A length that fits what is left.
    #[inline]
    fn length(&mut self, field: &'static str) -> Read<usize> {
        let start = self.at;
        let length = self.varint(field)?;
        match usize::try_from(length) {
            Ok(n) if n <= self.left() => Ok(n),
            _ => Err((start, Fault::Length { field, length, left: self.left() })),
        }
    }

    /// Bytes after their length; a length of -1 stands for null.
    #[inline]
    fn nullable(&mut self, field: &'static str) -> Read<Option<&'a [u8]>> {
        let start = self.at;
        let length = self.varint(field)?;
        match usize::try_from(length) {
            Ok(n) if n <= self.left() => self.take(n, field).map(Some),
            Err(_) if length == -1 => Ok(None),
            _ => Err((start, Fault::Length { field, length, left: self.left() })),
        }
    }

    #[inline]
    fn headers(&mut self) -> Read<Headers<'a>> {
        // Most records have none.
        if self.bytes.get(self.at) == Some(&0) {
            self.at += 1;
            return Ok(Headers::NONE);
        }
        self.some_headers()
    }

    fn some_headers(&mut self) -> Read<Headers<'a>> {
        let start = self.at;
        let count = self.varint("headersCount")?;
        // A header has two bytes or more.
        if usize::try_from(count).map_or(true, |n| n > self.left() / 2) {
            return Err((start, Fault::Length { field: "headersCount", length: count, left: self.left() }));
        }
        let start = self.at;
        for _ in 0..count {
            self.header()?;
        }
        Ok(Headers { count, bytes: &self.bytes[start..self.at] })
    }

    fn header(&mut self) -> Read<Header<'a>> {
        let length = self.length("headerKeyLength")?;
        let key = self.take(length, "headerKey")?;
        Ok(Header { key, value: self.nullable("headerValueLength")? })
    }
}
