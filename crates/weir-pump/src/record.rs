//! A borrowed view of one record, and how large it is on the wire.
//!
//! Sizes are upper bounds: a stage or a pump that respects them never has a record refused for its size, and wastes at
//! most a few bytes of the limit. Nothing here encodes or decodes a record batch.

/// One record header: name and value; a null value is not an empty one.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// What a batch of exactly one record without headers costs at most besides its key and value, in bytes: the header of
/// a version 2 batch (61, Kafka protocol guide, "Record Batch") and the record's own lengths and deltas.
pub const RECORD_OVERHEAD: usize = 61 + 5 + 1 + 10 + 5 + 5 + 5 + 5;

/// What one header costs at most besides its name and value, in bytes: two variable-length integers.
const HEADER_OVERHEAD: usize = 5 + 5;

/// The time a record carries, in milliseconds since the Unix epoch, and who set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamp {
    /// The record has none.
    #[default]
    None,
    /// Set by the producer.
    Create(i64),
    /// Set by the broker as it appended the record.
    LogAppend(i64),
}

impl Timestamp {
    /// Milliseconds since the Unix epoch, whoever set them.
    pub fn millis(self) -> Option<i64> {
        match self {
            Timestamp::None => None,
            Timestamp::Create(millis) | Timestamp::LogAppend(millis) => Some(millis),
        }
    }
}

/// One record as it lies in the pump's memory; valid while the stage looks at its run.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its offset in the source partition.
    pub offset: i64,
    /// The time it carries.
    pub timestamp: Timestamp,
    /// The key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order. A name that is not UTF-8 shows as U+FFFD with no value: the bytes are still forwarded.
    pub headers: &'a [Header<'a>],
}

impl RecordView<'_> {
    /// The most bytes this record takes in a batch of its own, to be held against a topic's `max.message.bytes`.
    pub fn size(&self) -> usize {
        let body = self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| header_size(name, value.map_or(0, <[u8]>::len))).sum();
        RECORD_OVERHEAD + body + headers
    }
}

/// The most bytes these headers add to a record.
pub fn added_size<N: AsRef<str>, V: AsRef<[u8]>>(headers: &[(N, V)]) -> usize {
    headers.iter().map(|(name, value)| header_size(name.as_ref(), value.as_ref().len())).sum()
}

fn header_size(name: &str, value: usize) -> usize {
    HEADER_OVERHEAD + name.len() + value
}
