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
        Slot::Long(value) => return long(read.long, value),
        Slot::Double(value) => Value::Double(value),
        Slot::Bytes(value) => return bytes(read.bytes, value),
        Slot::Str(value) => Value::text(value),
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

fn long<'a>(long: LongAs, value: i64) -> Result<Value<'a>, EvalErrorKind> {
    let instant = |d: SignedDuration| {
        Timestamp::since_epoch(d).map(Value::Timestamp).ok_or(EvalErrorKind::Convert { from: "long", to: "timestamp" })
    };
    match long {
        LongAs::Int => Ok(Value::Int(value)),
        // The days of an int times 86,400 stay far inside 64 bits.
        LongAs::Date => instant(SignedDuration::from_secs(value.saturating_mul(86_400))),
        LongAs::Millis => instant(SignedDuration::from_millis(value)),
        LongAs::Micros => instant(SignedDuration::from_micros(value)),
        LongAs::Nanos => instant(SignedDuration::from_nanos(value)),
        LongAs::TimeMillis => Ok(Value::Duration(SignedDuration::from_millis(value))),
        LongAs::TimeMicros => Ok(Value::Duration(SignedDuration::from_micros(value))),
        LongAs::Unclear => Err(EvalErrorKind::Ambiguous),
    }
}

fn bytes<'a>(as_: BytesAs, value: &'a [u8]) -> Result<Value<'a>, EvalErrorKind> {
    let decimal = |d: Option<Decimal>| {
        d.map(Value::Decimal).ok_or(EvalErrorKind::Convert { from: "bytes", to: "decimal of up to 38 digits" })
    };
    match as_ {
        BytesAs::Bytes => Ok(Value::Bytes(Shared::Borrowed(value))),
        BytesAs::Decimal(scale) => decimal(Decimal::from_bytes(value, scale)),
        BytesAs::BigDecimal => decimal(Decimal::from_big(value)),
        BytesAs::Uuid => match <[u8; 16]>::try_from(value) {
            Ok(uuid) => Ok(Value::String(Shared::Owned(uuid_text(uuid)))),
            Err(_) => Err(EvalErrorKind::Convert { from: "bytes", to: "uuid" }),
        },
        BytesAs::Unclear => Err(EvalErrorKind::Ambiguous),
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
