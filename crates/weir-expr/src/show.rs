//! Values as text, spelled as CEL would spell them. For results that are shown on purpose: a view's test, a check
//! on the command line. It prints payload, so it has no place in logs and errors.

use std::fmt::{self, Display, Formatter, Write};

use weir_avro::Kind;

use crate::error::EvalErrorKind;
use crate::time::duration_text;
use crate::value::{Budget, Value};

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let free = Budget::new(u64::MAX);
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::Uint(v) => write!(f, "{v}u"),
            Value::Double(v) if v.is_finite() => write!(f, "{v:?}"),
            Value::Double(v) => write!(f, "double(\"{v}\")"),
            Value::Decimal(v) => write!(f, "decimal(\"{v}\")"),
            Value::String(v) => write!(f, "{:?}", &**v),
            Value::Bytes(v) => write!(f, "b\"{}\"", v.escape_ascii()),
            Value::Timestamp(v) => write!(f, "timestamp(\"{v}\")"),
            Value::Duration(v) => write!(f, "duration(\"{}\")", duration_text(*v)),
            Value::Type(v) => f.write_str(v),
            Value::List(list) => {
                f.write_char('[')?;
                for (i, item) in list.iter().enumerate() {
                    separate(f, i)?;
                    show(f, item)?;
                }
                f.write_char(']')
            }
            Value::Map(map) => {
                f.write_char('{')?;
                for (i, key) in map.keys(&free).map_err(|_| fmt::Error)?.enumerate() {
                    let key = key.map_err(|_| fmt::Error)?;
                    separate(f, i)?;
                    write!(f, "{key}: ")?;
                    show(f, map.get(&key, &free).and_then(|v| v.ok_or(EvalErrorKind::NoSuchKey)))?;
                }
                f.write_char('}')
            }
            Value::Record(record) => {
                f.write_str(record.name())?;
                f.write_char('{')?;
                if let Kind::Record { fields } = &record.schema.node(record.region.node).kind {
                    for (i, field) in fields.iter().enumerate() {
                        separate(f, i)?;
                        write!(f, "{}: ", field.name)?;
                        show(f, record.named(&field.name, &free).and_then(|v| v.ok_or(EvalErrorKind::Input)))?;
                    }
                }
                f.write_char('}')
            }
        }
    }
}

fn separate(f: &mut Formatter<'_>, index: usize) -> fmt::Result {
    f.write_str(if index > 0 { ", " } else { "" })
}

/// An item that cannot be read shows why.
fn show(f: &mut Formatter<'_>, value: Result<Value<'_>, EvalErrorKind>) -> fmt::Result {
    match value {
        Ok(value) => value.fmt(f),
        Err(kind) => write!(f, "<{kind}>"),
    }
}
