//! Record batch v2: the 61-byte header as a view, splitting a run of batches, the checksum and the broker's restamp.
//!
//! A batch stays the slice of the frame or file it came in; nothing here looks into the records (`records` does) or
//! knows about logs. Layout: KIP-98, "Record Batch" in Kafka's protocol documentation.

use std::ops::Deref;

use bytes::{Buf, Bytes};
use thiserror::Error;

use crate::build::Producer;
use crate::codec::Codec;

/// Bytes of a batch before its records.
pub const HEADER_SIZE: usize = 61;
/// Bytes before the part that the length field counts: base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// Bytes that are enough to know how long a batch is and which format it has ([`Header::peek_size`]).
pub const PREFIX_SIZE: usize = 17;

const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
pub(crate) const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const COUNT: usize = 57;

const CODEC_MASK: i16 = 0b111;
pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
pub(crate) const CONTROL: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

/// Why bytes are no record batch. A broker answers with the Kafka error named at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes end inside the batch: CORRUPT_MESSAGE when produced, a torn tail at the end of a log.
    #[error("record batch is cut off: {have} of {need} bytes are there")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the batch needs.
        need: usize,
    },
    /// The length field cannot be true: CORRUPT_MESSAGE.
    #[error("record batch claims a length of {length} bytes, the smallest is 49")]
    Length {
        /// The length field as it was read.
        length: i32,
    },
    /// A message set of magic 0 or 1 (before Kafka 0.11; KIP-724 ended them) or a format unknown here: INVALID_RECORD.
    #[error("record batch has magic {magic}, only magic 2 is supported; use a client of Kafka 0.11 or later")]
    Magic {
        /// The magic byte as it was read.
        magic: i8,
    },
    /// The checksum does not fit: CORRUPT_MESSAGE.
    #[error("record batch at offset {base_offset} has CRC-32C {stored:#010x}, its bytes have {computed:#010x}")]
    Crc {
        /// Base offset in the header (which the checksum does not cover).
        base_offset: i64,
        /// Checksum in the header.
        stored: u32,
        /// Checksum of the bytes.
        computed: u32,
    },
    /// A header field has a value that no batch can have: INVALID_RECORD.
    #[error("record batch has {field} {value}, which must not be negative")]
    Negative {
        /// Kafka's name of the field.
        field: &'static str,
        /// The value as it was read.
        value: i32,
    },
    /// The attributes name a codec that does not exist: UNSUPPORTED_COMPRESSION_TYPE.
    #[error("record batch names compression codec {id}, which does not exist")]
    Codec {
        /// Bits 0 to 2 of the attributes.
        id: u8,
    },
}

/// Whose clock the timestamps of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's, one per record.
    CreateTime,
    /// The broker's at the append, one for the whole batch: its maximum timestamp.
    LogAppendTime,
}

/// The header of a record batch. Length, magic, count and last offset delta have been checked, the checksum has not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header([u8; HEADER_SIZE]);

impl Header {
    /// Bytes of the whole batch that starts with `prefix` ([`PREFIX_SIZE`] bytes or more), for a reader of files.
    ///
    /// Checks the magic and that the length is possible; the bytes of the batch need not be there.
    pub fn peek_size(prefix: &[u8]) -> Result<usize, BatchError> {
        if prefix.len() < PREFIX_SIZE {
            return Err(BatchError::Truncated { have: prefix.len(), need: HEADER_SIZE });
        }
        // The magic stands at the same place in all formats; the length means something else in the old ones.
        let magic = (&prefix[MAGIC..]).get_i8();
        if magic != 2 {
            return Err(BatchError::Magic { magic });
        }
        let length = (&prefix[LENGTH..]).get_i32();
        match usize::try_from(length) {
            Ok(n) if n >= HEADER_SIZE - LENGTH_OVERHEAD => Ok(n + LENGTH_OVERHEAD),
            _ => Err(BatchError::Length { length }),
        }
    }

    /// The header at the start of `bytes`, which need not hold the records.
    pub fn read(bytes: &[u8]) -> Result<Header, BatchError> {
        Self::peek_size(bytes)?;
        let Some(raw) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(BatchError::Truncated { have: bytes.len(), need: HEADER_SIZE });
        };
        let header = Header(*raw);
        for (field, value) in [("lastOffsetDelta", header.last_offset_delta()), ("recordsCount", header.count())] {
            if value < 0 {
                return Err(BatchError::Negative { field, value });
            }
        }
        Ok(header)
    }

    /// The header as it is on the wire.
    pub fn as_bytes(&self) -> &[u8; HEADER_SIZE] {
        &self.0
    }

    /// Bytes of the whole batch, header included, as the length field says; at least [`HEADER_SIZE`].
    pub fn size(&self) -> usize {
        usize::try_from(self.i32(LENGTH)).unwrap_or(0) + LENGTH_OVERHEAD
    }

    /// Offset of the first record (what a client sends here means nothing).
    pub fn base_offset(&self) -> i64 {
        self.i64(0)
    }

    /// Last offset less base offset; at least 0. Compaction keeps it when records go.
    pub fn last_offset_delta(&self) -> i32 {
        self.i32(LAST_OFFSET_DELTA)
    }

    /// Offset of the last record; saturates.
    pub fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// Epoch of the leader that appended the batch.
    pub fn leader_epoch(&self) -> i32 {
        self.i32(LEADER_EPOCH)
    }

    /// CRC-32C (Castagnoli) over everything from the attributes on, as stored.
    pub fn crc(&self) -> u32 {
        (&self.0[CRC..]).get_u32()
    }

    /// All attribute bits.
    pub fn attributes(&self) -> i16 {
        self.i16(ATTRIBUTES)
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        let id = (self.attributes() & CODEC_MASK) as u8;
        Codec::from_id(id).ok_or(BatchError::Codec { id })
    }

    /// Whose clock the timestamps are.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.has(LOG_APPEND_TIME) { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.has(TRANSACTIONAL)
    }

    /// Whether the batch holds control records (transaction markers), which no client may produce.
    pub fn is_control(&self) -> bool {
        self.has(CONTROL)
    }

    /// Timestamp in ms since 1970 that the records' deltas count from; with a delete horizon it is that.
    pub fn base_timestamp(&self) -> i64 {
        self.i64(BASE_TIMESTAMP)
    }

    /// Highest timestamp in ms since 1970 (-1: none), or the time of the append.
    pub fn max_timestamp(&self) -> i64 {
        self.i64(MAX_TIMESTAMP)
    }

    /// Time in ms since 1970 from which compaction may drop the batch's tombstones and marker (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        self.has(DELETE_HORIZON).then(|| self.base_timestamp())
    }

    /// Producer id of an idempotent producer, or -1.
    pub fn producer_id(&self) -> i64 {
        self.i64(PRODUCER_ID)
    }

    /// Epoch of the producer id, or -1.
    pub fn producer_epoch(&self) -> i16 {
        self.i16(PRODUCER_EPOCH)
    }

    /// Sequence number of the first record, or -1.
    pub fn base_sequence(&self) -> i32 {
        self.i32(BASE_SEQUENCE)
    }

    /// Sequence number of the last offset, which wraps from `i32::MAX` to 0; -1 without one.
    pub fn last_sequence(&self) -> i32 {
        let base = self.base_sequence();
        if base < 0 { base } else { base.wrapping_add(self.last_offset_delta()) & i32::MAX }
    }

    /// Number of records; 0 only where compaction emptied the batch.
    pub fn count(&self) -> i32 {
        self.i32(COUNT)
    }

    fn has(&self, bit: i16) -> bool {
        self.attributes() & bit != 0
    }

    fn i16(&self, at: usize) -> i16 {
        (&self.0[at..]).get_i16()
    }

    fn i32(&self, at: usize) -> i32 {
        (&self.0[at..]).get_i32()
    }

    fn i64(&self, at: usize) -> i64 {
        (&self.0[at..]).get_i64()
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&value);
    }

    /// Makes the header a client's, of `producer`; the checksum is left as it was.
    pub(crate) fn stamp(raw: &mut [u8; HEADER_SIZE], attributes: i16, producer: Producer) {
        let mut header = Header(*raw);
        header.put(0, 0i64.to_be_bytes());
        header.put(LEADER_EPOCH, (-1i32).to_be_bytes());
        header.put(ATTRIBUTES, attributes.to_be_bytes());
        header.put(PRODUCER_ID, producer.id.to_be_bytes());
        header.put(PRODUCER_EPOCH, producer.epoch.to_be_bytes());
        header.put(BASE_SEQUENCE, producer.base_sequence.to_be_bytes());
        *raw = header.0;
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("base_offset", &self.base_offset())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("count", &self.count())
            .field("size", &self.size())
            .field("leader_epoch", &self.leader_epoch())
            .field("attributes", &self.attributes())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("crc", &self.crc())
            .finish()
    }
}

/// One whole record batch, a slice of where it came from. Derefs to its [`Header`].
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
}

impl Batch {
    /// Takes the next batch off `bytes`; `None` at the end. On an error `bytes` is left as it was.
    ///
    /// Checks that the batch is whole, its magic, and that count and last offset delta are not negative; the checksum
    /// is left to [`Batch::verify_crc`], the records to [`crate::records`]. [`BatchError::Truncated`] at the end of a
    /// fetch response is nothing bad: a broker may cut the last batch.
    pub fn split(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let need = Header::peek_size(bytes)?;
        if bytes.len() < need {
            return Err(BatchError::Truncated { have: bytes.len(), need });
        }
        let header = Header::read(bytes)?;
        Ok(Some(Batch { header, bytes: bytes.split_to(need) }))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole batch as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What follows the header: the records, compressed as [`Header::codec`] says.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_SIZE..)
    }

    /// Compares the checksum in the header with the one of the bytes.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), crc32c::crc32c(&self.bytes[ATTRIBUTES..]));
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::Crc { base_offset: self.base_offset(), stored, computed })
        }
    }
}

impl Deref for Batch {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.header.fmt(f)
    }
}

/// The header a broker stores in place of the client's: with the offset and leader epoch it gave, and with
/// `append_time` (ms since 1970) for a topic whose timestamps are the broker's.
///
/// The checksum does not cover offset and epoch and stays; only `append_time` changes what it covers and has it made
/// anew, over all bytes of the batch, so the batch must have passed [`Batch::verify_crc`].
pub fn restamp(batch: &Batch, base_offset: i64, leader_epoch: i32, append_time: Option<i64>) -> [u8; HEADER_SIZE] {
    let mut header = batch.header;
    header.put(0, base_offset.to_be_bytes());
    header.put(LEADER_EPOCH, leader_epoch.to_be_bytes());
    if let Some(time) = append_time {
        header.put(ATTRIBUTES, (header.attributes() | LOG_APPEND_TIME).to_be_bytes());
        header.put(MAX_TIMESTAMP, time.to_be_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header.0[ATTRIBUTES..]), &batch.bytes[HEADER_SIZE..]);
        header.put(CRC, crc.to_be_bytes());
    }
    header.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of `records` bytes that is no valid run of records, with a valid checksum.
    fn bytes(attributes: i16, records: &[u8]) -> Bytes {
        let mut header = Header([0; HEADER_SIZE]);
        header.put(LENGTH, i32::try_from(49 + records.len()).unwrap().to_be_bytes());
        header.put(MAGIC, [2]);
        header.put(ATTRIBUTES, attributes.to_be_bytes());
        header.put(LAST_OFFSET_DELTA, 2i32.to_be_bytes());
        header.put(BASE_TIMESTAMP, 1_000i64.to_be_bytes());
        header.put(MAX_TIMESTAMP, 1_002i64.to_be_bytes());
        header.put(PRODUCER_ID, 7i64.to_be_bytes());
        header.put(PRODUCER_EPOCH, 3i16.to_be_bytes());
        header.put(BASE_SEQUENCE, (i32::MAX - 1).to_be_bytes());
        header.put(COUNT, 3i32.to_be_bytes());
        let mut all = header.0.to_vec();
        all.extend_from_slice(records);
        let crc = crc32c::crc32c(&all[ATTRIBUTES..]);
        all[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(all)
    }

    fn edit(at: usize, value: &[u8]) -> Bytes {
        let mut all = bytes(0, b"abc").to_vec();
        all[at..at + value.len()].copy_from_slice(value);
        Bytes::from(all)
    }

    #[test]
    fn split_takes_whole_batches_without_a_copy() {
        let one = bytes(TRANSACTIONAL | 4, b"abc");
        let mut run = Bytes::from([&one[..], &one[..]].concat());
        let start = run.as_ptr();
        let batch = Batch::split(&mut run).unwrap().unwrap();
        assert_eq!(batch.bytes().as_ptr(), start);
        assert_eq!((batch.size(), batch.count(), batch.last_offset_delta()), (64, 3, 2));
        assert_eq!((batch.codec(), batch.is_transactional(), batch.is_control()), (Ok(Codec::Zstd), true, false));
        assert_eq!((batch.producer_id(), batch.producer_epoch()), (7, 3));
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (i32::MAX - 1, 0));
        assert_eq!((batch.base_timestamp(), batch.max_timestamp(), batch.delete_horizon()), (1_000, 1_002, None));
        assert_eq!(&batch.payload()[..], b"abc");
        batch.verify_crc().unwrap();
        assert!(Batch::split(&mut run).unwrap().is_some());
        assert_eq!(Batch::split(&mut run).unwrap(), None);
    }

    #[test]
    fn split_says_what_is_wrong() {
        let check = |bytes: Bytes, expect: BatchError| {
            let mut rest = bytes.clone();
            assert_eq!(Batch::split(&mut rest), Err(expect));
            assert_eq!(rest, bytes);
        };
        let one = bytes(0, b"abc");
        for have in 1..PREFIX_SIZE {
            check(one.slice(..have), BatchError::Truncated { have, need: HEADER_SIZE });
        }
        for have in PREFIX_SIZE..one.len() {
            check(one.slice(..have), BatchError::Truncated { have, need: 64 });
        }
        for magic in [-1i8, 0, 1, 3] {
            check(edit(MAGIC, &magic.to_be_bytes()), BatchError::Magic { magic });
        }
        for length in [i32::MIN, -1, 0, 48] {
            check(edit(LENGTH, &length.to_be_bytes()), BatchError::Length { length });
        }
        let need = usize::try_from(i32::MAX).unwrap() + LENGTH_OVERHEAD;
        check(edit(LENGTH, &i32::MAX.to_be_bytes()), BatchError::Truncated { have: 64, need });
        check(edit(COUNT, &[255; 4]), BatchError::Negative { field: "recordsCount", value: -1 });
        check(edit(LAST_OFFSET_DELTA, &[255; 4]), BatchError::Negative { field: "lastOffsetDelta", value: -1 });
        let batch = Batch::split(&mut bytes(5, b"")).unwrap().unwrap();
        assert_eq!(batch.codec(), Err(BatchError::Codec { id: 5 }));
    }

    #[test]
    fn the_checksum_covers_everything_from_the_attributes_on() {
        let one = bytes(0, b"abc");
        for at in ATTRIBUTES..one.len() {
            let mut all = one.to_vec();
            all[at] ^= 1;
            if let Ok(Some(batch)) = Batch::split(&mut Bytes::from(all)) {
                assert!(matches!(batch.verify_crc(), Err(BatchError::Crc { .. })), "byte {at}");
            }
        }
    }

    #[test]
    fn restamp_keeps_the_checksum_valid() {
        let batch = Batch::split(&mut bytes(TRANSACTIONAL, b"abc")).unwrap().unwrap();
        let stamped = |append_time| {
            let header = restamp(&batch, 1 << 40, 9, append_time);
            let mut all = Bytes::from([&header[..], &batch.payload()[..]].concat());
            let stamped = Batch::split(&mut all).unwrap().unwrap();
            stamped.verify_crc().unwrap();
            assert_eq!((stamped.base_offset(), stamped.leader_epoch()), (1 << 40, 9));
            assert!(stamped.is_transactional());
            stamped
        };
        assert_eq!(stamped(None).crc(), batch.crc());
        let appended = stamped(Some(5_000));
        assert_eq!(appended.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((appended.base_timestamp(), appended.max_timestamp()), (1_000, 5_000));
    }

    #[test]
    fn the_last_offset_does_not_overflow() {
        let batch = Batch::split(&mut edit(0, &i64::MAX.to_be_bytes())).unwrap().unwrap();
        assert_eq!(batch.last_offset(), i64::MAX);
    }
}
