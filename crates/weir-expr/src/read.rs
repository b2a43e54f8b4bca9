//! What the slots of a walk mean: the same bytes are a number, a date or an amount by the schema they were found under.

use std::sync::Arc;

use jiff::SignedDuration;
use weir_avro::{Kind, Logical, NodeId, Schema, Slot};

use crate::error::EvalErrorKind;
use crate::number::Decimal;
use crate::time::Timestamp;
use crate::value::{Collection, List, Map, Record, Shared, Value};

/// The meaning of integers and bytes at one place of a schema; all other slots speak for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    long: LongAs,
    bytes: BytesAs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongAs {
    Int,
    Date,
    Millis,
    Micros,
    Nanos,
    TimeMillis,
    TimeMicros,
    /// Two branches of a union disagree.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BytesAs {
    Bytes,
    Decimal(u32),
    BigDecimal,
    Uuid,
    /// Two branches of a union disagree.
    Unclear,
}

impl Read {
    /// Where there is nothing to interpret.
    pub(crate) const PLAIN: Read = Read { long: LongAs::Int, bytes: BytesAs::Bytes };

    pub(crate) fn of(schema: &Schema, id: NodeId) -> Read {
        let node = schema.node(id);
        if let Kind::Union { branches } = &node.kind {
            let kinds = || branches.iter().map(|b| (&schema.node(*b).kind, Read::of(schema, *b)));
            let longs = kinds().filter(|(k, _)| matches!(k, Kind::Int | Kind::Long)).map(|(_, r)| r.long);
            let bytes = kinds().filter(|(k, _)| matches!(k, Kind::Bytes | Kind::Fixed { .. })).map(|(_, r)| r.bytes);
            return Read {
                long: agreed(longs, LongAs::Int, LongAs::Unclear),
                bytes: agreed(bytes, BytesAs::Bytes, BytesAs::Unclear),
            };
        }
        let long = match node.logical {
            Some(Logical::Date) => LongAs::Date,
            Some(Logical::TimeMillis) => LongAs::TimeMillis,
            Some(Logical::TimeMicros) => LongAs::TimeMicros,
            Some(Logical::TimestampMillis | Logical::LocalTimestampMillis) => LongAs::Millis,
            Some(Logical::TimestampMicros | Logical::LocalTimestampMicros) => LongAs::Micros,
            Some(Logical::TimestampNanos | Logical::LocalTimestampNanos) => LongAs::Nanos,
            _ => LongAs::Int,
        };
        let bytes = match node.logical {
            Some(Logical::Decimal { scale, .. }) => BytesAs::Decimal(u32::try_from(scale).unwrap_or(u32::MAX)),
            Some(Logical::BigDecimal) => BytesAs::BigDecimal,
            Some(Logical::Uuid) => BytesAs::Uuid,
            _ => BytesAs::Bytes,
        };
        Read { long, bytes }
    }

    /// Whether a long is a number and nothing else.
    #[inline]
    pub(crate) fn is_int(self) -> bool {
        self.long == LongAs::Int
    }

    /// The decimal in bytes.
    pub(crate) fn decimal(self, bytes: &[u8]) -> Result<Decimal, EvalErrorKind> {
        match self.bytes {
            BytesAs::Decimal(scale) => Decimal::from_bytes(bytes, scale),
            BytesAs::BigDecimal => Decimal::from_big(bytes),
            _ => return Err(EvalErrorKind::Ambiguous),
        }
        .ok_or(EvalErrorKind::Convert { from: "bytes", to: "decimal of up to 38 digits" })
    }

    /// The instant in a long.
    pub(crate) fn instant(self, long: i64) -> Result<Timestamp, EvalErrorKind> {
        Timestamp::since_epoch(match self.long {
            // The days of an int times 86,400 stay far inside 64 bits.
            LongAs::Date => SignedDuration::from_secs(long.saturating_mul(86_400)),
            LongAs::Millis => SignedDuration::from_millis(long),
            LongAs::Micros => SignedDuration::from_micros(long),
            LongAs::Nanos => SignedDuration::from_nanos(long),
            _ => return Err(EvalErrorKind::Ambiguous),
        })
        .ok_or(EvalErrorKind::Convert { from: "long", to: "timestamp" })
    }

    /// Whether every value has one meaning.
    pub(crate) fn is_clear(self) -> bool {
        self.long != LongAs::Unclear && self.bytes != BytesAs::Unclear
    }
}

/// What all say, or `unclear`.
fn agreed<T: PartialEq + Copy>(all: impl Iterator<Item = T>, none: T, unclear: T) -> T {
    all.fold(None, |known, next| Some(if known.is_none_or(|k| k == next) { next } else { unclear })).unwrap_or(none)
}

/// The value of a slot.
#[inline]
pub(crate) fn load<'a>(schema: &'a Schema, read: Read, slot: Slot<'a>) -> Result<Value<'a>, EvalErrorKind> {
    Ok(match slot {
        Slot::Absent => return Err(EvalErrorKind::ParentNull),
        Slot::Null => Value::Null,
        Slot::Bool(value) => Value::Bool(value),
        Slot::Long(value) => return long(read, value),
        Slot::Double(value) => Value::Double(value),
        Slot::Bytes(value) => return bytes(read, value),
        Slot::Str(value) => Value::text(value.as_str()),
        Slot::Region(region) => match &schema.node(region.node).kind {
            Kind::Array { items } => {
                Value::List(List::Array(Collection { schema, region, item: Read::of(schema, *items) }))
            }
            Kind::Map { values } => {
                Value::Map(Map::Entries(Collection { schema, region, item: Read::of(schema, *values) }))
            }
            Kind::Record { .. } => Value::Record(Record { schema, region }),
            _ => return Err(EvalErrorKind::Input),
        },
    })
}

fn long<'a>(read: Read, value: i64) -> Result<Value<'a>, EvalErrorKind> {
    match read.long {
        LongAs::Int => Ok(Value::Int(value)),
        LongAs::TimeMillis => Ok(Value::Duration(SignedDuration::from_millis(value))),
        LongAs::TimeMicros => Ok(Value::Duration(SignedDuration::from_micros(value))),
        _ => read.instant(value).map(Value::Timestamp),
    }
}

fn bytes<'a>(read: Read, value: &'a [u8]) -> Result<Value<'a>, EvalErrorKind> {
    match read.bytes {
        BytesAs::Bytes => Ok(Value::Bytes(Shared::Borrowed(value))),
        BytesAs::Uuid => match <[u8; 16]>::try_from(value) {
            Ok(uuid) => Ok(Value::String(Shared::Owned(uuid_text(uuid)))),
            Err(_) => Err(EvalErrorKind::Convert { from: "bytes", to: "uuid" }),
        },
        _ => read.decimal(value).map(Value::Decimal),
    }
}

/// The 8-4-4-4-12 form of RFC 4122.
fn uuid_text(uuid: [u8; 16]) -> Arc<str> {
    let mut text = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[nibble as usize]));
        }
    }
    text.into()
}
