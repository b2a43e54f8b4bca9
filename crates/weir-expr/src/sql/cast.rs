//! `CAST` and `TRY_CAST`: from one type to another, or an error of the row. Nothing wraps, nothing saturates.

use jiff::SignedDuration;

use crate::error::EvalErrorKind as Kind;
use crate::number::{Decimal, double_text, double_to_int};
use crate::sql::{SqlType, Unit};
use crate::time::{Timestamp, duration_text};
use crate::value::{Shared, Value};

/// What a cast makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Boolean,
    Int,
    BigInt,
    Double,
    Decimal {
        precision: u32,
        scale: u32,
    },
    Text,
    /// A date as text.
    DateText,
    TimeText,
    Bytes,
    Date,
    Time,
    Timestamp(Unit),
}

/// In seconds.
pub(crate) const DAY: i64 = 86_400;

/// The cast from a type to another; `None` where there is none.
pub(crate) fn plan(from: &SqlType, to: &SqlType) -> Option<Cast> {
    use SqlType as T;
    let number = from.is_number() || matches!(from, T::Text | T::Null);
    Some(match (from, to) {
        (T::Boolean | T::Text | T::Null, T::Boolean) => Cast::Boolean,
        (_, T::Int) if number || *from == T::Boolean => Cast::Int,
        (_, T::BigInt) if number || *from == T::Boolean => Cast::BigInt,
        (T::Timestamp(_), T::BigInt) => Cast::BigInt,
        (_, T::Double) if number => Cast::Double,
        (_, T::Decimal { precision, scale }) if number => Cast::Decimal { precision: *precision, scale: *scale },
        (T::Date, T::Text) => Cast::DateText,
        (T::Time, T::Text) => Cast::TimeText,
        (T::Boolean | T::Text | T::Bytes | T::Timestamp(_) | T::Interval | T::Null, T::Text) => Cast::Text,
        (_, T::Text) if number => Cast::Text,
        (T::Text | T::Bytes | T::Null, T::Bytes) => Cast::Bytes,
        (T::Text | T::Date | T::Timestamp(_) | T::Null, T::Date) => Cast::Date,
        (T::Text | T::Time | T::Timestamp(_) | T::Null, T::Time) => Cast::Time,
        (T::Text | T::Date | T::Timestamp(_) | T::Null, T::Timestamp(unit)) => Cast::Timestamp(*unit),
        (T::BigInt | T::Int, T::Timestamp(unit)) => Cast::Timestamp(*unit),
        _ => return None,
    })
}

/// Casts a value that is not null. Numbers are cut towards zero to become integers, and rounded, halves away from
/// zero, to become decimals. An integer is a timestamp in milliseconds since the epoch.
pub(crate) fn cast<'a>(value: &Value<'a>, to: Cast) -> Result<Value<'a>, Kind> {
    let name = match to {
        Cast::Boolean => "BOOLEAN",
        Cast::Int => "INT",
        Cast::BigInt => "BIGINT",
        Cast::Double => "DOUBLE",
        Cast::Decimal { .. } => "DECIMAL",
        Cast::Text | Cast::DateText | Cast::TimeText => "TEXT",
        Cast::Bytes => "BYTES",
        Cast::Date => "DATE",
        Cast::Time => "TIME",
        Cast::Timestamp(_) => "TIMESTAMP",
    };
    let fail = || Kind::Convert { from: value.type_name(), to: name };
    let made = match (to, value) {
        (_, Value::Null) => Some(Value::Null),
        (Cast::Boolean, Value::Bool(_)) => Some(value.clone()),
        (Cast::Boolean, Value::String(t)) => match t.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(Value::Bool(true)),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        (Cast::Int | Cast::BigInt, _) => {
            let n = match value {
                Value::Int(n) => Some(*n),
                Value::Bool(b) => Some(i64::from(*b)),
                Value::Double(x) => double_to_int(*x),
                Value::Decimal(d) => d.to_int(),
                Value::String(t) => t.trim().parse().ok(),
                Value::Timestamp(t) => crate::sql::encode::ticks(*t, Unit::Millis),
                _ => None,
            };
            n.filter(|n| to == Cast::BigInt || i32::try_from(*n).is_ok()).map(Value::Int)
        }
        (Cast::Double, _) => match value {
            Value::Int(n) => Some(*n as f64),
            Value::Double(x) => Some(*x),
            Value::Decimal(d) => Some(d.to_double()),
            Value::String(t) => t.trim().parse().ok(),
            _ => None,
        }
        .map(Value::Double),
        (Cast::Decimal { precision, scale }, _) => {
            let d = match value {
                Value::Int(n) => Some(Decimal::from(*n)),
                Value::Decimal(d) => Some(*d),
                Value::Double(x) => long_decimal(*x, scale),
                Value::String(t) => Decimal::parse(t.trim()),
                _ => None,
            };
            d.and_then(|d| d.rounded(scale)).filter(|d| d.digits() <= precision).map(Value::Decimal)
        }
        (Cast::Text, Value::String(_)) | (Cast::Bytes, Value::Bytes(_)) => Some(value.clone()),
        (Cast::Text, Value::Bytes(b)) => std::str::from_utf8(b).ok().map(|t| Value::text(t.to_owned())),
        (Cast::Text, _) => text(value).map(Value::text),
        (Cast::DateText, Value::Timestamp(t)) => Some(Value::text(t.to_string()[..10].to_owned())),
        (Cast::TimeText, Value::Duration(d)) => time_text(*d).map(Value::text),
        (Cast::Bytes, Value::String(Shared::Borrowed(t))) => Some(Value::Bytes(Shared::Borrowed(t.as_bytes()))),
        (Cast::Bytes, Value::String(t)) => Some(Value::bytes(t.as_bytes())),
        (Cast::Date, Value::Timestamp(t)) => {
            Timestamp::from_seconds(t.seconds().div_euclid(DAY) * DAY).map(Value::Timestamp)
        }
        (Cast::Date, Value::String(t)) => date(t.trim()).map(Value::Timestamp),
        (Cast::Time, Value::Duration(_)) => Some(value.clone()),
        (Cast::Time, Value::Timestamp(t)) => {
            let day = SignedDuration::from_secs(t.seconds().div_euclid(DAY) * DAY);
            t.as_duration().checked_sub(day).map(Value::Duration)
        }
        (Cast::Time, Value::String(t)) => {
            let at = Timestamp::parse(&format!("1970-01-01T{}Z", t.trim()));
            at.map(|t| Value::Duration(t.as_duration()))
        }
        (Cast::Timestamp(unit), Value::Timestamp(t)) => floor(*t, unit).map(Value::Timestamp),
        (Cast::Timestamp(_), Value::Int(n)) => Timestamp::from_millis(*n).map(Value::Timestamp),
        (Cast::Timestamp(unit), Value::String(t)) => {
            timestamp(t.trim()).and_then(|t| floor(t, unit)).map(Value::Timestamp)
        }
        _ => None,
    };
    made.ok_or_else(fail)
}

/// A double has the digits of its shortest text; those beyond the scale round.
fn long_decimal(x: f64, scale: u32) -> Option<Decimal> {
    if !x.is_finite() {
        return None;
    }
    Decimal::parse(&format!("{x}")).or_else(|| Decimal::parse(&format!("{x:.*}", scale.min(38) as usize)))
}

/// A value as text, as `CAST(... AS TEXT)` writes it.
pub(crate) fn text(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(x) => double_text(*x),
        Value::Decimal(d) => d.to_string(),
        Value::String(t) => (**t).to_owned(),
        Value::Timestamp(t) => t.to_string(),
        Value::Duration(d) => duration_text(*d),
        _ => return None,
    })
}

fn time_text(time: SignedDuration) -> Option<String> {
    let t = Timestamp::since_epoch(time)?.to_string();
    Some(t[11..].trim_end_matches('Z').to_owned())
}

fn date(text: &str) -> Option<Timestamp> {
    if text.len() != 10 {
        return None;
    }
    Timestamp::parse(&format!("{text}T00:00:00Z"))
}

/// RFC 3339, also with a blank for the `T`, without a zone (UTC) and without a time of day.
fn timestamp(text: &str) -> Option<Timestamp> {
    let t = text.replacen(' ', "T", 1);
    Timestamp::parse(&t).or_else(|| Timestamp::parse(&format!("{t}Z"))).or_else(|| date(text))
}

/// The last tick of the unit that is not after the instant.
fn floor(t: Timestamp, unit: Unit) -> Option<Timestamp> {
    let step = match unit {
        Unit::Millis => 1_000_000,
        Unit::Micros => 1_000,
        Unit::Nanos => return Some(t),
    };
    let rest = t.as_duration().subsec_nanos().rem_euclid(step);
    Timestamp::since_epoch(t.as_duration().checked_sub(SignedDuration::from_nanos(rest.into()))?)
}
