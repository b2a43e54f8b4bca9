//! JSON to Avro bytes, for producers and for field defaults.
//!
//! [`JsonForm`] says how values look. Both forms are read strictly: a field the schema does not have is an error, a
//! missing one takes its default or is an error, every range is checked, and what is written the walker accepts.
//! Errors name the field and what was expected and never show a value.
//!
//! A union in plain form carries no branch name. The branch is chosen by looking at the value and one level into it,
//! so the choice is deterministic and costs linear time:
//! * null takes `null`, true and false take `boolean`, an array takes `array`;
//! * a whole number takes the first of `int`, `long`, `double`, `float`, a logical type on int or long, a decimal
//!   that it fits; another number the first of `double`, `float`, a decimal;
//! * text takes the first of an enum with that symbol, a date, time or timestamp, a uuid or duration, a decimal that
//!   it is the text of, then `string`, a fixed of that size, `bytes`, and `float` or `double` for `NaN`;
//! * an object takes the record whose fields it has, none missing without a default and none unknown; of several the
//!   one with the fewest defaults to fill in; then `map`. Equals go by the order of the branches.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::json::JsonForm;
use crate::read::{self, Limits};
use crate::schema::{Field, Kind, Logical, Node, NodeId, Schema};
use crate::text;

/// Why a value is no datum of the schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct EncodeError {
    /// The field, as `a.b[3].c`; entries of a map are counted like items. `this` is the value itself.
    pub path: String,
    /// What was expected and what kind of value was found. It never holds the value.
    pub message: String,
}

/// The Avro bytes of `value`, which is in the given form.
///
/// # Errors
/// [`EncodeError`] at the first value that does not fit the schema.
pub fn from_json(schema: &Schema, value: &Value, form: JsonForm) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode_into(schema, value, form, &mut out)?;
    Ok(out)
}

/// Like [`from_json`], appending to `out`, which keeps its length on an error.
///
/// # Errors
/// As [`from_json`].
pub fn encode_into(schema: &Schema, value: &Value, form: JsonForm, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let reading = match form {
        JsonForm::Avro => Reading::Avro,
        JsonForm::Plain => Reading::Plain,
    };
    encode(schema, schema.root(), value, reading, out)
}

/// The Avro bytes of a field's default, which has its own form: bytes as code points, and a union's value untagged,
/// for the first branch that takes it (Avro before 1.12: for the first branch).
///
/// # Errors
/// [`EncodeError`] at the first value that does not fit the type.
pub fn encode_default(schema: &Schema, node: NodeId, default: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode(schema, node, default, Reading::Default, &mut out)?;
    Ok(out)
}

/// How the JSON at hand is to be read: one of the two forms, or that of field defaults.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    Avro,
    Plain,
    Default,
}

impl EncodeError {
    fn at(message: String) -> EncodeError {
        EncodeError { path: String::new(), message }
    }

    fn in_field(mut self, name: &str) -> EncodeError {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    fn at_index(mut self, index: usize) -> EncodeError {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

fn encode(
    schema: &Schema,
    node: NodeId,
    value: &Value,
    reading: Reading,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut encoder = Encoder::new(schema, reading);
    encoder.value(node, value, out).map_err(|mut error| {
        out.truncate(start);
        if error.path.is_empty() || error.path.starts_with('[') {
            error.path.insert_str(0, "this");
        }
        error
    })
}

/// Appends the bytes of a `string` or of `bytes`: their length and themselves.
pub fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Appends an `int` or a `long`: a zigzag varint, which also is the branch of a union or the symbol of an enum.
pub fn put_long(out: &mut Vec<u8>, n: i64) {
    long(out, n);
}

pub(crate) fn long(out: &mut Vec<u8>, n: i64) {
    let mut rest = (n << 1 ^ n >> 63) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub(crate) struct Encoder<'s> {
    schema: &'s Schema,
    reading: Reading,
    depth: u32,
    items: u64,
}

/// A value that has no other values in it.
enum Scalar<'v> {
    Empty,
    Byte(u8),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Bytes behind their length.
    Blob(Cow<'v, [u8]>),
    Fixed(Cow<'v, [u8]>),
}

impl<'s> Encoder<'s> {
    pub(crate) fn new(schema: &'s Schema, reading: Reading) -> Encoder<'s> {
        let Limits { depth, items } = Limits::default();
        Encoder { schema, reading, depth, items }
    }

    fn value(&mut self, id: NodeId, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let node = self.schema.node(id);
        let limit = |what: &str| EncodeError::at(format!("{what}; make the value smaller"));
        self.items = self.items.checked_sub(1).ok_or_else(|| limit("the value holds too many values"))?;
        if !matches!(node.kind, Kind::Array { .. } | Kind::Map { .. } | Kind::Union { .. } | Kind::Record { .. }) {
            match self.scalar(id, value).map_err(EncodeError::at)? {
                Scalar::Empty => {}
                Scalar::Byte(b) => out.push(b),
                Scalar::Long(n) => long(out, n),
                Scalar::Float(x) => out.extend(x.to_le_bytes()),
                Scalar::Double(x) => out.extend(x.to_le_bytes()),
                Scalar::Fixed(bytes) => out.extend_from_slice(&bytes),
                Scalar::Blob(bytes) => {
                    long(out, bytes.len() as i64);
                    out.extend_from_slice(&bytes);
                }
            }
            return Ok(());
        }
        if let Kind::Union { branches } = &node.kind {
            let (index, value) = self.branch(id, branches, value).map_err(EncodeError::at)?;
            long(out, index as i64);
            return self.value(branches[index], value, out);
        }
        self.depth = self.depth.checked_sub(1).ok_or_else(|| limit("values nest too deep"))?;
        match (&node.kind, value) {
            (Kind::Array { items }, Value::Array(values)) => {
                if !values.is_empty() {
                    long(out, values.len() as i64);
                }
                for (i, value) in values.iter().enumerate() {
                    self.value(*items, value, out).map_err(|e| e.at_index(i))?;
                }
                out.push(0);
            }
            (Kind::Map { values }, Value::Object(entries)) => {
                if !entries.is_empty() {
                    long(out, entries.len() as i64);
                }
                for (i, (key, value)) in entries.iter().enumerate() {
                    long(out, key.len() as i64);
                    out.extend_from_slice(key.as_bytes());
                    self.value(*values, value, out).map_err(|e| e.at_index(i))?;
                }
                out.push(0);
            }
            (Kind::Record { fields }, Value::Object(given)) => self.record(id, fields, given, out)?,
            _ => return Err(EncodeError::at(self.mismatch(id, value))),
        }
        self.depth += 1;
        Ok(())
    }

    fn record(
        &mut self,
        id: NodeId,
        fields: &[Field],
        given: &Map<String, Value>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let mut known = 0;
        for field in fields {
            match (given.get(&*field.name), &field.default) {
                (Some(value), _) => {
                    known += 1;
                    self.value(field.node, value, out)
                }
                (None, Some(default)) => {
                    let reading = std::mem::replace(&mut self.reading, Reading::Default);
                    let result = self.value(field.node, default, out);
                    self.reading = reading;
                    result
                }
                (None, None) => {
                    let expected = expected(self.schema, field.node, self.reading);
                    Err(EncodeError::at(format!("expected {expected}, found nothing; the field has no default")))
                }
            }
            .map_err(|e| e.in_field(&field.name))?;
        }
        if known < given.len()
            && let Some(name) = given.keys().find(|name| !fields.iter().any(|f| *f.name == ***name))
        {
            let message = format!("{} has no such field; remove it or correct its name", self.schema.describe(id));
            return Err(EncodeError::at(message).in_field(name));
        }
        Ok(())
    }

    /// The branch that `value` is for, and the value without its tag.
    fn branch<'v>(&self, id: NodeId, branches: &[NodeId], value: &'v Value) -> Result<(usize, &'v Value), String> {
        let kind = |b: &NodeId| &self.schema.node(*b).kind;
        let mismatch = || self.mismatch(id, value);
        if value.is_null() {
            let null = branches.iter().position(|b| matches!(kind(b), Kind::Null));
            return null.map(|index| (index, value)).ok_or_else(mismatch);
        }
        if self.reading == Reading::Avro {
            let tagged =
                value.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next()).ok_or_else(mismatch)?;
            let index =
                branches.iter().position(|b| !matches!(kind(b), Kind::Null) && self.schema.describe(*b) == **tagged.0);
            return index.map(|index| (index, tagged.1)).ok_or_else(mismatch);
        }
        // Where only one branch has the shape of the value, its own error says more than that no branch fits.
        let shaped = |i: &usize| match kind(&branches[*i]) {
            Kind::Null => false,
            Kind::Record { .. } | Kind::Map { .. } => value.is_object(),
            Kind::Array { .. } => value.is_array(),
            _ => !value.is_object() && !value.is_array(),
        };
        let mut near = (0..branches.len()).filter(shaped);
        if let (Some(index), None) = (near.next(), near.next()) {
            return Ok((index, value));
        }
        let mut fits = (0..branches.len()).filter_map(|i| Some((self.fit(branches[i], value, true)?, i)));
        let best = if self.reading == Reading::Default { fits.next() } else { fits.min() };
        best.map(|(_, index)| (index, value)).ok_or_else(mismatch)
    }

    /// How well a value fits a type, looking one level into it if `deep`; less is better, `None` is not at all.
    pub(crate) fn fit(&self, id: NodeId, value: &Value, deep: bool) -> Option<(u8, usize)> {
        let node = self.schema.node(id);
        let rank = match (&node.kind, value) {
            (Kind::Union { branches }, _) => {
                return branches.iter().filter_map(|b| self.fit(*b, value, deep)).min();
            }
            (Kind::Array { .. }, Value::Array(_)) => 0,
            (Kind::Map { .. }, Value::Object(_)) => 1,
            (Kind::Record { fields }, Value::Object(given)) => {
                let mut filled = 0;
                for field in fields {
                    match given.get(&*field.name) {
                        Some(value) if deep => _ = self.fit(field.node, value, false)?,
                        Some(_) => {}
                        None if field.default.is_some() => filled += 1,
                        None => return None,
                    }
                }
                return (fields.len() - filled == given.len()).then_some((0, filled));
            }
            (Kind::Array { .. } | Kind::Map { .. } | Kind::Record { .. }, _) => return None,
            _ => {
                self.scalar(id, value).ok()?;
                match (&node.kind, value, node.logical) {
                    (Kind::Int, Value::Number(_), None) | (Kind::Enum { .. }, ..) => 0,
                    (Kind::Long, Value::Number(_), None) | (Kind::Int | Kind::Long, Value::String(_), _) => 1,
                    (Kind::Double, Value::Number(_), _) | (_, _, Some(Logical::Uuid | Logical::Duration)) => 2,
                    (Kind::Float, Value::Number(_), _) | (_, Value::String(_), Some(_)) => 3,
                    (Kind::Int | Kind::Long, ..) => 4,
                    (Kind::String, ..) | (_, _, Some(_)) => 5,
                    (Kind::Fixed { .. }, ..) => 6,
                    (Kind::Bytes, ..) => 7,
                    _ => 8,
                }
            }
        };
        Some((rank, 0))
    }

    fn mismatch(&self, id: NodeId, value: &Value) -> String {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(n) if n.is_f64() => "a number with a fraction or exponent",
            Value::Number(_) => "a whole number",
            Value::String(_) => "text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        format!("expected {}, found {found}", expected(self.schema, id, self.reading))
    }

    fn scalar<'v>(&self, id: NodeId, value: &'v Value) -> Result<Scalar<'v>, String> {
        let node = self.schema.node(id);
        let mismatch = || self.mismatch(id, value);
        Ok(match (&node.kind, value) {
            (Kind::Null, Value::Null) => Scalar::Empty,
            (Kind::Boolean, Value::Bool(b)) => Scalar::Byte(u8::from(*b)),
            (Kind::Int | Kind::Long, _) => {
                let n = self.integer(node, value).ok_or_else(mismatch)?;
                if matches!(node.kind, Kind::Int) && i32::try_from(n).is_err() {
                    return Err(format!("expected {}, found one beyond it", expected(self.schema, id, self.reading)));
                }
                Scalar::Long(n)
            }
            (Kind::Float, _) => {
                let wide = float(value).ok_or_else(mismatch)?;
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() {
                    return Err("expected a number within the range of float, found one beyond it".to_owned());
                }
                Scalar::Float(narrow)
            }
            (Kind::Double, _) => Scalar::Double(float(value).ok_or_else(mismatch)?),
            (Kind::Enum { symbols, .. }, Value::String(text)) => {
                let index = symbols.iter().position(|s| **s == **text);
                Scalar::Long(index.ok_or_else(mismatch)? as i64)
            }
            (Kind::String, Value::String(text)) => {
                if node.logical == Some(Logical::Uuid) && !read::is_uuid(text.as_bytes()) {
                    return Err(mismatch());
                }
                Scalar::Blob(text.as_bytes().into())
            }
            (Kind::Bytes, _) => {
                let bytes = self.bytes(node, value).map_err(|e| e.unwrap_or_else(mismatch))?;
                match node.logical {
                    Some(Logical::Uuid) if bytes.len() != 16 => return Err(mismatch()),
                    Some(Logical::BigDecimal) if read::big_decimal(&bytes).is_err() => return Err(mismatch()),
                    _ => Scalar::Blob(bytes),
                }
            }
            (Kind::Fixed { size }, _) => {
                let mut bytes = self.bytes(node, value).map_err(|e| e.unwrap_or_else(mismatch))?;
                if self.reading == Reading::Plain
                    && matches!(node.logical, Some(Logical::Decimal { .. }))
                    && bytes.len() < *size
                {
                    // Two's complement grows at the front by its sign.
                    let sign = if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                    let mut wide = vec![sign; size - bytes.len()];
                    wide.extend_from_slice(&bytes);
                    bytes = wide.into();
                }
                if bytes.len() != *size {
                    return Err(format!("expected {size} bytes, found {}", bytes.len()));
                }
                Scalar::Fixed(bytes)
            }
            _ => return Err(mismatch()),
        })
    }

    fn integer(&self, node: &Node, value: &Value) -> Option<i64> {
        match value {
            Value::Number(n) => n.as_i64(),
            Value::String(text) if self.reading == Reading::Plain => match node.logical? {
                Logical::Date => text::parse_date(text),
                Logical::TimeMillis => text::parse_time(text, 3),
                Logical::TimeMicros => text::parse_time(text, 6),
                Logical::TimestampMillis => text::parse_timestamp(text, 3, true),
                Logical::TimestampMicros => text::parse_timestamp(text, 6, true),
                Logical::TimestampNanos => text::parse_timestamp(text, 9, true),
                Logical::LocalTimestampMillis => text::parse_timestamp(text, 3, false),
                Logical::LocalTimestampMicros => text::parse_timestamp(text, 6, false),
                Logical::LocalTimestampNanos => text::parse_timestamp(text, 9, false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The bytes that a text stands for, or `Err(None)` for a plain mismatch.
    fn bytes<'v>(&self, node: &Node, value: &'v Value) -> Result<Cow<'v, [u8]>, Option<String>> {
        if self.reading != Reading::Plain {
            return value.as_str().and_then(latin1).map(Into::into).ok_or(None);
        }
        let text: Cow<'v, str> = match value {
            Value::String(text) => text.into(),
            Value::Number(_) if !matches!(node.logical, Some(Logical::Decimal { .. } | Logical::BigDecimal)) => {
                return Err(None);
            }
            // A double of more than 15 digits may have been rounded when the JSON was read.
            Value::Number(n) if n.is_f64() && n.to_string().bytes().filter(u8::is_ascii_digit).count() > 15 => {
                return Err(Some("expected a number this long as text, to keep its digits".to_owned()));
            }
            Value::Number(n) => n.to_string().into(),
            _ => return Err(None),
        };
        let bytes = match node.logical {
            Some(Logical::Decimal { precision, scale }) => text::parse_decimal(&text, precision, scale)?,
            Some(Logical::BigDecimal) => text::parse_big_decimal(&text)?,
            Some(Logical::Uuid) => text::parse_uuid(&text).ok_or(None)?,
            Some(Logical::Duration) => text::parse_duration(&text).ok_or(None)?,
            _ => crate::json::from_base64(&text).ok_or(None)?,
        };
        Ok(bytes.into())
    }
}

/// NaN and the infinities, which JSON numbers cannot hold, are text, as Java's Avro has them.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Avro's JSON form of bytes: one code point up to U+00FF for each.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// What a value of the type looks like, for messages.
pub(crate) fn expected(schema: &Schema, id: NodeId, reading: Reading) -> String {
    let node = schema.node(id);
    if let (Some(logical), Reading::Plain) = (node.logical, reading) {
        let fixed = match logical {
            Logical::Decimal { precision, scale } => {
                return format!("a decimal number as text, of at most {precision} digits, {scale} behind the point");
            }
            Logical::BigDecimal => "a decimal number as text",
            Logical::Uuid => "a uuid as 8-4-4-4-12 hexadecimal digits",
            Logical::Date => "a date such as 2024-02-29",
            Logical::TimeMillis => "a time such as 08:30:00.125",
            Logical::TimeMicros => "a time such as 08:30:00.000125",
            Logical::TimestampMillis | Logical::TimestampMicros | Logical::TimestampNanos => {
                "a timestamp with its offset such as 2024-02-29T08:30:00Z"
            }
            Logical::LocalTimestampMillis | Logical::LocalTimestampMicros | Logical::LocalTimestampNanos => {
                "a local timestamp such as 2024-02-29T08:30:00"
            }
            Logical::Duration => "a duration such as P1M2DT3.004S",
        };
        return fixed.to_owned();
    }
    let bytes = if reading == Reading::Plain { "in base64" } else { "as text of code points up to U+00FF" };
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Int => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        Kind::Long => "a whole number of 64 bits".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Bytes => format!("bytes {bytes}"),
        Kind::Fixed { size } => format!("{size} bytes {bytes}"),
        Kind::String if node.logical.is_some() => "a uuid as 8-4-4-4-12 hexadecimal digits".to_owned(),
        Kind::String => "text".to_owned(),
        Kind::Enum { symbols, .. } => format!("one of {}", symbols.join(", ")),
        Kind::Array { .. } => "an array".to_owned(),
        Kind::Map { .. } => "an object".to_owned(),
        Kind::Record { .. } => format!("an object with the fields of {}", schema.describe(id)),
        Kind::Union { .. } if reading == Reading::Avro => {
            format!("null or an object with the type as its only key, of {}", schema.describe(id))
        }
        Kind::Union { .. } => format!("one of {}", schema.describe(id)),
    }
}
