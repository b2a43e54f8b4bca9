//! Events as the bytes a contract's producer writes: Avro value, record key, record time.
//!
//! The key is made as `weir_contract` checks it. Nothing is asked of a registry here: ids come in.

use std::sync::Arc;

use serde_json::Value;
use weir_avro::{FieldPath, JsonForm, Kind, Limits, Logical, Schema, Slot, Walker, encode_into, recycle};
use weir_contract::CompiledObject;
use weir_contract::settings::KeyFormat;

use crate::Failure;

/// The prefix of a schema id: `0x00` and four bytes, big endian.
pub const PREFIX: usize = 5;

/// An event ready to be written. Hand the same one in again and its memory is used again.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The value: prefix and Avro bytes.
    pub value: Vec<u8>,
    /// The key; empty where `keyed` is false.
    key: Vec<u8>,
    keyed: bool,
    /// The time of the event, where the contract names a field for it, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
}

impl Encoded {
    /// The key, if the event has one.
    pub fn key(&self) -> Option<&[u8]> {
        self.keyed.then_some(&self.key)
    }

    /// The Avro bytes alone.
    pub fn body(&self) -> &[u8] {
        self.value.get(PREFIX..).unwrap_or_default()
    }
}

/// Encodes events of one contract object by the object's own schema.
pub struct Encoder {
    object: Arc<CompiledObject>,
    /// Leaves the key fields in slots, and behind them the event time.
    walker: Walker,
    time: Option<Logical>,
    slots: Vec<Slot<'static>>,
    prefix: [u8; PREFIX],
    key_prefix: Option<[u8; PREFIX]>,
}

impl Encoder {
    /// An encoder that writes the ids of value and key into the prefixes. The key's counts for Avro keys only.
    ///
    /// # Errors
    /// [`Failure::Other`] when the object's fields are not those of its schema.
    pub fn new(object: &Arc<CompiledObject>, value_id: u32, key_id: u32) -> Result<Encoder, Failure> {
        let schema = object.schema();
        let mut wanted = object.key_fields().to_vec();
        let event_time = object.settings().event_time.as_ref().map(|at| FieldPath::parse(&at.value));
        let time = event_time.as_ref().and_then(|path| {
            let (node, _) = schema.non_null(schema.find(path)?);
            schema.node(node).logical
        });
        wanted.extend(event_time);
        let walker = Walker::new(schema.clone(), &wanted, Limits::default())
            .map_err(|error| Failure::other(format!("{}: {error}", object.contract())))?;
        let key_prefix = is_avro_key(object).then(|| prefix(key_id));
        Ok(Encoder { object: object.clone(), walker, time, slots: Vec::new(), prefix: prefix(value_id), key_prefix })
    }

    /// Encodes an event in plain JSON.
    ///
    /// # Errors
    /// What is wrong with it, as `path: message`; never a value.
    pub fn encode(&mut self, event: &Value, into: &mut Encoded) -> Result<(), String> {
        into.value.clear();
        into.key.clear();
        into.value.extend_from_slice(&self.prefix);
        encode_into(self.object.schema(), event, JsonForm::Plain, &mut into.value)
            .map_err(|error| error.to_string())?;
        let Encoded { value, key, keyed, timestamp } = into;
        let mut slots = recycle(std::mem::take(&mut self.slots));
        let walked = self.walker.walk(&value[PREFIX..], &mut slots);
        if let Err(fault) = walked {
            return Err(fault.to_string());
        }
        let fields = self.object.key_fields().len();
        let (of_key, of_time) = slots.split_at(fields.min(slots.len()));
        if let Some(prefix) = self.key_prefix {
            key.extend_from_slice(&prefix);
        }
        let paths = self.object.key_fields().iter();
        *keyed = fields > 0
            && of_key.iter().zip(paths).enumerate().all(|(index, (slot, path))| match self.key_prefix {
                Some(_) => avro_key(*slot, is_fixed(self.object.schema(), path), key),
                None => text_key(*slot, index, key),
            });
        *timestamp = match (of_time.first(), self.time) {
            (Some(Slot::Long(time)), Some(unit)) => millis(*time, unit).filter(|millis| *millis >= 0),
            _ => None,
        };
        self.slots = recycle(slots);
        Ok(())
    }
}

fn prefix(id: u32) -> [u8; PREFIX] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

fn is_avro_key(object: &CompiledObject) -> bool {
    object.settings().key_format.as_ref().is_some_and(|at| at.value == KeyFormat::Avro)
}

/// The schema of the key, where the contract wants the key in Avro.
pub fn key_schema(object: &CompiledObject) -> Option<String> {
    if is_avro_key(object) { weir_contract::key_schema(object.schema(), object.key_fields()) } else { None }
}

fn is_fixed(schema: &Schema, path: &FieldPath) -> bool {
    schema.find(path).is_some_and(|node| matches!(schema.node(schema.non_null(node).0).kind, Kind::Fixed { .. }))
}

/// The value as text, behind a `|` if it is not the first; false for a null, which makes no key.
fn text_key(slot: Slot<'_>, index: usize, key: &mut Vec<u8>) -> bool {
    use std::io::Write;
    if index > 0 {
        key.push(b'|');
    }
    // Writing to a vector does not fail.
    match slot {
        Slot::Str(text) => key.extend_from_slice(text.as_bytes()),
        Slot::Bool(value) => drop(write!(key, "{value}")),
        Slot::Long(number) => drop(write!(key, "{number}")),
        Slot::Bytes(uuid) => {
            for (index, byte) in uuid.iter().enumerate() {
                let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
                drop(write!(key, "{dash}{byte:02x}"));
            }
        }
        _ => return false,
    }
    true
}

/// The value in Avro encoding; false for a null.
fn avro_key(slot: Slot<'_>, fixed: bool, key: &mut Vec<u8>) -> bool {
    match slot {
        Slot::Str(text) => {
            let text = text.as_bytes();
            varint(text.len() as i64, key);
            key.extend_from_slice(text);
        }
        Slot::Bool(value) => key.push(u8::from(value)),
        Slot::Long(number) => varint(number, key),
        Slot::Bytes(bytes) => {
            if !fixed {
                varint(bytes.len() as i64, key);
            }
            key.extend_from_slice(bytes);
        }
        _ => return false,
    }
    true
}

fn varint(number: i64, out: &mut Vec<u8>) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest > 0x7f {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn millis(time: i64, unit: Logical) -> Option<i64> {
    match unit {
        Logical::TimestampMillis | Logical::LocalTimestampMillis => Some(time),
        Logical::TimestampMicros | Logical::LocalTimestampMicros => Some(time.div_euclid(1_000)),
        Logical::TimestampNanos | Logical::LocalTimestampNanos => Some(time.div_euclid(1_000_000)),
        _ => None,
    }
}
