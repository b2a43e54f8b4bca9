//! A datum as JSON: Avro's own JSON encoding, or a plain form for people and for tools that know no Avro.
//!
//! The payload is validated by the walker's reader first, so rendering cannot fail in the middle of a value.
//! Reading JSON back is `encode.rs`; both sides of the text forms are `text.rs`.
//!
//! `from_json` gives back the payload, but for what is not told apart:
//! * in both forms, the spelling of a payload: block sizes, longer varints, repeated keys of a map (the last wins),
//!   NaN bits;
//! * in plain form, the branch of a union of types that look alike: `int` and `long`, `float` and `double`, `string`
//!   and `bytes` or fixed, `string` and a text that reads as a date, uuid, number or symbol of another branch, records
//!   with the same fields, `map` and a record;
//! * in plain form, a decimal in more bytes than it needs (the fewest are written) or with more digits than its
//!   precision (refused).

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Number, Value};

use crate::cursor::Cursor;
use crate::fault::{Fault, FaultKind};
use crate::read::{self, Limits};
use crate::schema::{Kind, Logical, Node, NodeId, Schema};
use crate::text;

/// The most values without bytes (nulls in an array, empty records) that one datum is rendered with. All others are
/// bounded by the length of the payload.
const EMPTY_VALUES: u32 = 1 << 16;

/// How a datum looks as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// The JSON encoding of the Avro specification: a union's value is `{"type": value}`, bytes and fixed are text with
    /// one code point up to U+00FF per byte, logical types are not looked at.
    Avro,
    /// For people and other tools: a union's value stands for itself, decimals are text with all digits, dates and
    /// times ISO 8601, timestamps RFC 3339, durations ISO 8601, a uuid its text; other bytes and fixed are base64
    /// (RFC 4648, section 4).
    Plain,
}

/// The datum in `payload` as JSON, under the default [`Limits`]. NaN and the infinities are text in both forms.
///
/// # Errors
/// [`Fault`] as from a walk, and [`FaultKind::TooManyItems`] for more than 65,536 values that take no bytes.
pub fn to_json(schema: &Schema, payload: &[u8], form: JsonForm) -> Result<Value, Fault> {
    read::validate(schema, payload, Limits::default())?;
    let mut render = Render { schema, form, cursor: Cursor::new(payload), empty: EMPTY_VALUES };
    render.value(schema.root()).map_err(|kind| Fault { kind, offset: render.cursor.at(), path: "this".to_owned() })
}

struct Render<'p> {
    schema: &'p Schema,
    form: JsonForm,
    cursor: Cursor<'p>,
    empty: u32,
}

impl Render<'_> {
    fn value(&mut self, id: NodeId) -> Result<Value, FaultKind> {
        let node = self.schema.node(id);
        let start = self.cursor.at();
        let value = match &node.kind {
            Kind::Null => Value::Null,
            Kind::Boolean => self.cursor.boolean()?.into(),
            Kind::Int | Kind::Long => {
                let n = self.cursor.long()?;
                self.logical(node).and_then(|logical| moment(logical, n)).map_or(n.into(), Value::from)
            }
            Kind::Float => float(f32::from_le_bytes(self.cursor.array()?)),
            Kind::Double => double(f64::from_le_bytes(self.cursor.array()?)),
            Kind::Bytes => {
                let bytes = self.cursor.blob()?;
                self.bytes(node, bytes)
            }
            Kind::Fixed { size } => {
                let bytes = self.cursor.take(*size)?;
                self.bytes(node, bytes)
            }
            Kind::String => self.cursor.text()?.as_str().into(),
            Kind::Enum { symbols, .. } => {
                let index = usize::try_from(self.cursor.long()?).map_err(|_| FaultKind::EnumOutOfRange)?;
                symbols.get(index).ok_or(FaultKind::EnumOutOfRange)?.as_ref().into()
            }
            Kind::Array { items } => {
                let mut values = Vec::new();
                while let (count @ 1.., _) = read::block(&mut self.cursor)? {
                    for _ in 0..count {
                        values.push(self.value(*items)?);
                    }
                }
                values.into()
            }
            Kind::Map { values } => {
                let mut entries = Map::new();
                while let (count @ 1.., _) = read::block(&mut self.cursor)? {
                    for _ in 0..count {
                        let key = self.cursor.text()?.as_str().to_owned();
                        entries.insert(key, self.value(*values)?);
                    }
                }
                entries.into()
            }
            Kind::Union { branches } => {
                let index = usize::try_from(self.cursor.long()?).map_err(|_| FaultKind::UnionOutOfRange)?;
                let branch = *branches.get(index).ok_or(FaultKind::UnionOutOfRange)?;
                let value = self.value(branch)?;
                let tagged = self.form == JsonForm::Avro && !matches!(self.schema.node(branch).kind, Kind::Null);
                if tagged { Map::from_iter([(self.schema.describe(branch), value)]).into() } else { value }
            }
            Kind::Record { fields } => {
                let mut values = Map::new();
                for field in fields {
                    values.insert(field.name.to_string(), self.value(field.node)?);
                }
                values.into()
            }
        };
        if self.cursor.at() == start {
            self.empty = self.empty.checked_sub(1).ok_or(FaultKind::TooManyItems)?;
        }
        Ok(value)
    }

    fn logical(&self, node: &Node) -> Option<Logical> {
        node.logical.filter(|_| self.form == JsonForm::Plain)
    }

    fn bytes(&self, node: &Node, bytes: &[u8]) -> Value {
        let text = match self.logical(node) {
            Some(Logical::Decimal { scale, .. }) => i64::try_from(scale).ok().map(|scale| text::decimal(bytes, scale)),
            Some(Logical::BigDecimal) => text::big_decimal(bytes),
            Some(Logical::Uuid) => Some(text::uuid(bytes)),
            Some(Logical::Duration) => text::duration(bytes),
            _ if self.form == JsonForm::Avro => Some(bytes.iter().map(|b| char::from(*b)).collect()),
            _ => None,
        };
        text.unwrap_or_else(|| BASE64_STANDARD.encode(bytes)).into()
    }
}

/// The text of a date or time; `None` for a time of day outside the day, which stays a number.
fn moment(logical: Logical, n: i64) -> Option<String> {
    match logical {
        Logical::Date => Some(text::date(n)),
        Logical::TimeMillis => text::time(n, 3),
        Logical::TimeMicros => text::time(n, 6),
        Logical::TimestampMillis => Some(text::timestamp(n, 3, true)),
        Logical::TimestampMicros => Some(text::timestamp(n, 6, true)),
        Logical::TimestampNanos => Some(text::timestamp(n, 9, true)),
        Logical::LocalTimestampMillis => Some(text::timestamp(n, 3, false)),
        Logical::LocalTimestampMicros => Some(text::timestamp(n, 6, false)),
        Logical::LocalTimestampNanos => Some(text::timestamp(n, 9, false)),
        _ => None,
    }
}

fn double(x: f64) -> Value {
    match Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// A float with the digits of a float: 0.1, not 0.10000000149011612.
fn float(x: f32) -> Value {
    let short = x.to_string().parse().ok().filter(|short: &f64| *short as f32 == x);
    double(short.unwrap_or(f64::from(x)))
}

pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}
