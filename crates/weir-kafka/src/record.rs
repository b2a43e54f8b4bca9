//! Records that own their bytes, and records about to be written.
//!
//! The only place that turns rdkafka's messages into ours.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::Message;
use rdkafka::message::{BorrowedHeaders, Header as NativeHeader, Headers as _, OwnedHeaders};
use weir_pump::{Header, Timestamp};

/// What stands for a header name that is not UTF-8.
const UNREADABLE_NAME: &str = "\u{fffd}";

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The time it carries.
    pub timestamp: Timestamp,
    /// The key; `None` is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers in order. A name that is not UTF-8 shows as U+FFFD with no value.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// Its partition; `None` lets the key choose, as the Java client does (murmur2).
    pub partition: Option<i32>,
    /// The key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers in order.
    pub headers: &'a [Header<'a>],
    /// Milliseconds since the Unix epoch; `None` is now. 0 is written as 1, for librdkafka takes 0 for now.
    pub timestamp: Option<i64>,
}

impl Record {
    pub(crate) fn of(message: &impl Message<Headers = BorrowedHeaders>) -> Record {
        let mut headers = Vec::new();
        visit_headers(message.headers(), |(name, value)| headers.push((name.to_owned(), value.map(<[u8]>::to_vec))));
        Record {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: timestamp(message.timestamp()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }
}

/// Shows the headers of a message in order.
pub(crate) fn visit_headers<'m>(headers: Option<&'m BorrowedHeaders>, mut visit: impl FnMut(Header<'m>)) {
    let Some(headers) = headers else { return };
    for index in 0..headers.count() {
        // Any producer can write a header name that is not UTF-8, and rdkafka panics on one. No other safe way shows
        // a header, so the panic is caught here; the bytes themselves are forwarded untouched, by a native copy.
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(index))) {
            Ok(Some(header)) => visit((header.key, header.value)),
            Ok(None) => {}
            Err(_) => visit((UNREADABLE_NAME, None)),
        }
    }
}

pub(crate) fn timestamp(timestamp: rdkafka::Timestamp) -> Timestamp {
    match timestamp {
        rdkafka::Timestamp::NotAvailable => Timestamp::None,
        rdkafka::Timestamp::CreateTime(millis) => Timestamp::Create(millis),
        rdkafka::Timestamp::LogAppendTime(millis) => Timestamp::LogAppend(millis),
    }
}

/// The value to hand to librdkafka so that a record keeps its time. -1 is Kafka's "no timestamp"; 0, the first
/// millisecond of 1970, means "now" to librdkafka and becomes 1.
pub(crate) fn native_timestamp(timestamp: Timestamp) -> i64 {
    match timestamp.millis() {
        None => -1,
        Some(0) => 1,
        Some(millis) => millis,
    }
}

/// Headers in librdkafka's own form; `None` if there are none, which spares an allocation per record.
pub(crate) fn native_headers<'a>(headers: impl ExactSizeIterator<Item = Header<'a>>) -> Option<OwnedHeaders> {
    if headers.len() == 0 {
        return None;
    }
    Some(append(OwnedHeaders::new_with_capacity(headers.len()), headers))
}

pub(crate) fn append<'a>(native: OwnedHeaders, headers: impl Iterator<Item = Header<'a>>) -> OwnedHeaders {
    headers.fold(native, |native, (key, value)| native.insert(NativeHeader { key, value }))
}
