//! What the functions of SQL do.

use jiff::SignedDuration;

use crate::error::EvalErrorKind as Kind;
use crate::func::{may_list, may_make};
use crate::number::Decimal;
use crate::sql::collections::{self, Of};
use crate::sql::hash::{Base, sha256, sha512};
use crate::sql::json::{self, Ask};
use crate::sql::run::text_of;
use crate::sql::text::mask;
use crate::sql::{SqlType, Unit, cast};
use crate::time::{Part, Timestamp, Zone};
use crate::value::{Budget, Shared, Text, Value};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Func {
    Upper,
    Lower,
    Trim,
    LeftTrim,
    RightTrim,
    Length,
    Substring,
    Left,
    Right,
    Replace,
    Position,
    Split,
    StartsWith,
    EndsWith,
    Reverse,
    LeftPad,
    RightPad,
    Concat,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Power,
    Sqrt,
    Greatest,
    Least,
    Extract(Extract),
    Truncate(Extract),
    AddTime,
    SubTime,
    Between,
    Sha256(Box<str>),
    Sha512,
    Encode(Base),
    Decode(Base),
    Cardinality,
    Collection(Of),
    Mask,
    Redact,
    Prefix,
    Band,
    Json(Ask),
}

/// The parts of a time that `EXTRACT` and `DATE_TRUNC` know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extract {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Dow,
    Doy,
    Hour,
    Minute,
    Second,
    Epoch,
}

/// The part of a time by its name.
pub(crate) fn extract(name: &str) -> Option<Extract> {
    Some(match name.to_ascii_uppercase().as_str() {
        "YEAR" => Extract::Year,
        "QUARTER" => Extract::Quarter,
        "MONTH" => Extract::Month,
        "WEEK" => Extract::Week,
        "DAY" => Extract::Day,
        "DOW" | "DAYOFWEEK" => Extract::Dow,
        "DOY" | "DAYOFYEAR" => Extract::Doy,
        "HOUR" => Extract::Hour,
        "MINUTE" => Extract::Minute,
        "SECOND" => Extract::Second,
        "EPOCH" => Extract::Epoch,
        _ => return None,
    })
}

fn int(value: &Value<'_>) -> Result<i64, Kind> {
    match value {
        Value::Int(n) => Ok(*n),
        other => Err(other.unfit("function of integers")),
    }
}

fn float(value: &Value<'_>) -> Result<f64, Kind> {
    match value {
        Value::Double(x) => Ok(*x),
        other => Err(other.unfit("function of numbers")),
    }
}

fn instant(value: &Value<'_>) -> Result<Timestamp, Kind> {
    match value {
        Value::Timestamp(t) => Ok(*t),
        other => Err(other.unfit("function of times")),
    }
}

fn finite(x: f64, op: &'static str) -> Result<Value<'static>, Kind> {
    if x.is_finite() { Ok(Value::Double(x)) } else { Err(Kind::Overflow(op)) }
}

/// Runs a function. One that says nothing else gives null where an argument is null.
pub(crate) fn run<'a>(func: &Func, args: &[Value<'a>], budget: &Budget) -> Result<Value<'a>, Kind> {
    let passes_over = match func {
        Func::Concat | Func::Greatest | Func::Least | Func::Redact => true,
        Func::Collection(Of::Remove) => !matches!(args.first(), Some(Value::Null)),
        _ => false,
    };
    if !passes_over && args.iter().any(|arg| matches!(arg, Value::Null)) {
        return Ok(Value::Null);
    }
    for arg in args {
        if let Value::String(text) = arg {
            budget.scan(text.len())?;
        }
    }
    let arg = |i: usize| args.get(i).ok_or(Kind::Input);
    let text = |i: usize| arg(i).and_then(text_of);
    Ok(match func {
        Func::Upper => made(text(0)?.to_uppercase(), budget)?,
        Func::Lower => made(text(0)?.to_lowercase(), budget)?,
        Func::Trim => part(text(0)?, |t| t.trim()),
        Func::LeftTrim => part(text(0)?, |t| t.trim_start()),
        Func::RightTrim => part(text(0)?, |t| t.trim_end()),
        Func::Length => Value::Int(match arg(0)? {
            Value::Bytes(bytes) => bytes.len() as i64,
            _ => text(0)?.chars().count() as i64,
        }),
        Func::Substring => {
            let start = int(arg(1)?)?;
            let end = match args.get(2) {
                Some(length) => match int(length)? {
                    ..0 => return Err(Kind::Index),
                    length => start.saturating_add(length),
                },
                None => i64::MAX,
            };
            // Counted from 1; what lies before the text is passed over.
            let from = usize::try_from(start.max(1) - 1).unwrap_or(usize::MAX);
            let to = usize::try_from(end.max(1) - 1).unwrap_or(usize::MAX);
            part(text(0)?, |t| characters(t, from, to))
        }
        Func::Left | Func::Prefix => {
            let to = usize::try_from(int(arg(1)?)?).map_err(|_| Kind::Index)?;
            part(text(0)?, |t| characters(t, 0, to))
        }
        Func::Right => {
            let length = usize::try_from(int(arg(1)?)?).map_err(|_| Kind::Index)?;
            let from = text(0)?.chars().count().saturating_sub(length);
            part(text(0)?, |t| characters(t, from, usize::MAX))
        }
        Func::Replace => {
            let (of, old, new) = (text(0)?, text(1)?, text(2)?);
            if old.is_empty() {
                return Ok(arg(0)?.clone());
            }
            let count = of.matches(&**old).count();
            may_make(of.len() - count * old.len() + count.saturating_mul(new.len()), "REPLACE", budget)?;
            Value::text(of.replace(&**old, new))
        }
        Func::Position => {
            let (part, of) = (text(0)?, text(1)?);
            Value::Int(of.find(&**part).map_or(0, |at| of[..at].chars().count() as i64 + 1))
        }
        Func::Split => {
            let (of, separator) = (text(0)?, text(1)?);
            if separator.is_empty() {
                return Err(Kind::Pattern);
            }
            may_list(of.matches(&**separator).count() + 1, "SPLIT", budget)?;
            Value::list(of.split(&**separator).map(|t| Value::text(t.to_owned())).collect())
        }
        Func::StartsWith => Value::Bool(text(0)?.starts_with(&**text(1)?)),
        Func::EndsWith => Value::Bool(text(0)?.ends_with(&**text(1)?)),
        Func::Reverse => made(text(0)?.chars().rev().collect(), budget)?,
        Func::LeftPad | Func::RightPad => {
            let (of, fill) = (text(0)?, text(2)?);
            let length = usize::try_from(int(arg(1)?)?).map_err(|_| Kind::Index)?;
            let have = of.chars().count();
            if have >= length || fill.is_empty() {
                return Ok(part(of, |t| characters(t, 0, length)));
            }
            may_make(of.len().saturating_add((length - have).saturating_mul(4)), "LPAD", budget)?;
            let more: String = fill.chars().cycle().take(length - have).collect();
            Value::text(if *func == Func::LeftPad { more + of } else { (**of).to_owned() + &more })
        }
        Func::Concat => {
            let mut out = String::new();
            for (i, arg) in args.iter().enumerate() {
                if !matches!(arg, Value::Null) {
                    may_make(out.len() + text(i)?.len(), "CONCAT", budget)?;
                    out.push_str(text(i)?);
                }
            }
            Value::text(out)
        }
        Func::Abs => match arg(0)? {
            Value::Int(n) => Value::Int(n.checked_abs().ok_or(Kind::Overflow("ABS"))?),
            Value::Decimal(d) if d.unscaled() < 0 => Value::Decimal(d.negated()),
            Value::Double(x) => Value::Double(x.abs()),
            other => other.clone(),
        },
        Func::Sign => Value::Int(match arg(0)? {
            Value::Int(n) => n.signum(),
            Value::Decimal(d) => d.unscaled().signum() as i64,
            other => match float(other)? {
                0.0 => 0,
                x => x.signum() as i64,
            },
        }),
        Func::Floor | Func::Ceil | Func::Round => round(func, args)?,
        Func::Power => finite(float(arg(0)?)?.powf(float(arg(1)?)?), "POWER")?,
        Func::Sqrt => finite(float(arg(0)?)?.sqrt(), "SQRT")?,
        Func::Greatest | Func::Least => {
            let mut best = Value::Null;
            for arg in args.iter().filter(|arg| !matches!(arg, Value::Null)) {
                let better = match &best {
                    Value::Null => true,
                    best => arg.order(best)?.is_some_and(|o| o.is_gt() == (*func == Func::Greatest) && o.is_ne()),
                };
                if better {
                    best = arg.clone();
                }
            }
            best
        }
        Func::Extract(part) => extract_from(*part, instant(arg(1)?)?),
        Func::Truncate(part) => {
            Value::Timestamp(truncate(*part, instant(arg(1)?)?).ok_or(Kind::Overflow("DATE_TRUNC"))?)
        }
        Func::AddTime | Func::SubTime => match (arg(0)?, arg(1)?) {
            (Value::Timestamp(t), Value::Duration(d)) | (Value::Duration(d), Value::Timestamp(t)) => {
                Value::Timestamp(t.plus(if *func == Func::SubTime { -*d } else { *d })?)
            }
            (other, _) => return Err(other.unfit("time arithmetic")),
        },
        Func::Between => {
            let length = instant(arg(0)?)?.as_duration().checked_sub(instant(arg(1)?)?.as_duration());
            Value::Duration(length.ok_or(Kind::Overflow("-"))?)
        }
        Func::Sha256(salt) => Value::text(match arg(0)? {
            Value::Bytes(bytes) => sha256(salt, bytes),
            Value::String(text) => sha256(salt, text.as_bytes()),
            other => sha256(salt, cast::text(other).ok_or_else(|| other.unfit("HASH"))?.as_bytes()),
        }),
        Func::Sha512 => Value::text(sha512(bytes_of(arg(0)?)?)),
        Func::Encode(base) => {
            let bytes = bytes_of(arg(0)?)?;
            may_make(bytes.len().saturating_mul(2), "ENCODE", budget)?;
            Value::text(base.encode(bytes))
        }
        Func::Decode(base) => {
            let fail = Kind::Convert { from: "text", to: base.name() };
            Value::bytes(&base.decode(text(0)?).ok_or(fail)?)
        }
        Func::Cardinality => Value::Int(crate::func::size(arg(0)?, budget)?),
        Func::Collection(of) => collections::run(*of, args, budget)?,
        Func::Mask => made(mask(text(0)?), budget)?,
        Func::Redact => Value::text("***"),
        Func::Band => {
            let (n, step) = (int(arg(0)?)?, int(arg(1)?)?);
            if step <= 0 {
                return Err(Kind::DivideByZero);
            }
            Value::Int(n.div_euclid(step).checked_mul(step).ok_or(Kind::Overflow("TRUNCATE"))?)
        }
        Func::Json(what) => {
            let path = if args.len() > 1 { Some(&**text(1)?) } else { None };
            json::ask(*what, text(0)?, path, budget)?
        }
    })
}

/// The bytes of a text or of bytes.
fn bytes_of<'v>(value: &'v Value<'_>) -> Result<&'v [u8], Kind> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::String(text) => Ok(text.as_bytes()),
        other => Err(other.unfit("function of bytes")),
    }
}

fn made<'a>(text: String, budget: &Budget) -> Result<Value<'a>, Kind> {
    may_make(text.len(), "function of texts", budget)?;
    Ok(Value::text(text))
}

/// A part of a text, which borrows where the text does.
fn part<'a>(text: &Text<'a>, cut: impl Fn(&str) -> &str) -> Value<'a> {
    let range = |t: &str| {
        let part = cut(t);
        let start = part.as_ptr() as usize - t.as_ptr() as usize;
        start..start + part.len()
    };
    match text {
        Shared::Borrowed(t) => Value::text(&t[range(t)]),
        Shared::Owned(t) => Value::text(t[range(t)].to_owned()),
    }
}

/// The characters from one index to another, as far as there are any.
fn characters(text: &str, from: usize, to: usize) -> &str {
    let at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let start = at(from);
    if to <= from { &text[start..start] } else { &text[start..at(to)] }
}

fn round<'a>(func: &Func, args: &[Value<'a>]) -> Result<Value<'a>, Kind> {
    let digits = args.get(1).map(int).transpose()?.unwrap_or(0);
    Ok(match args.first() {
        Some(Value::Int(n)) => Value::Int(*n),
        Some(Value::Double(x)) if *func == Func::Floor => Value::Double(x.floor()),
        Some(Value::Double(x)) if *func == Func::Ceil => Value::Double(x.ceil()),
        Some(Value::Double(x)) if digits == 0 => Value::Double(x.round()),
        Some(Value::Double(x)) => {
            // By its decimal digits: scaling a double up and down again would not be exact.
            let digits = usize::try_from(digits.clamp(0, 17)).unwrap_or(0);
            let exact = Decimal::parse(&format!("{x}")).and_then(|d| d.rounded(digits as u32));
            Value::Double(exact.map_or(*x, Decimal::to_double))
        }
        Some(Value::Decimal(d)) => {
            let whole = |d: Decimal| d.rounded(0).ok_or(Kind::Overflow("ROUND"));
            let cut = Decimal::quotient(*d, Decimal::from(1_i64), u32::try_from(digits).map_err(|_| Kind::Index)?);
            match func {
                Func::Round => Value::Decimal(cut.ok_or(Kind::Overflow("ROUND"))?),
                _ => {
                    let near = whole(*d)?;
                    let order = Decimal::cmp(near, *d);
                    let step = match func {
                        Func::Floor if order.is_gt() => -1_i64,
                        Func::Ceil if order.is_lt() => 1,
                        _ => 0,
                    };
                    Value::Decimal(near.plus(Decimal::from(step)).ok_or(Kind::Overflow("ROUND"))?)
                }
            }
        }
        _ => return Err(Kind::Input),
    })
}

fn extract_from<'a>(part: Extract, t: Timestamp) -> Value<'a> {
    let get = |part| t.part(part, &Zone::UTC);
    Value::Int(match part {
        Extract::Year => get(Part::FullYear),
        Extract::Quarter => get(Part::Month) / 3 + 1,
        Extract::Month => get(Part::Month) + 1,
        Extract::Day => get(Part::Date),
        Extract::Dow => get(Part::DayOfWeek),
        Extract::Doy => get(Part::DayOfYear) + 1,
        Extract::Hour => get(Part::Hours),
        Extract::Minute => get(Part::Minutes),
        Extract::Week => {
            // ISO 8601: the week of the Thursday, counted from the first of January of its year.
            let days = t.seconds().div_euclid(86_400);
            let thursday = days - (days + 3).rem_euclid(7) + 3;
            let at = Timestamp::from_seconds(thursday.saturating_mul(86_400)).unwrap_or(t);
            at.part(Part::DayOfYear, &Zone::UTC) / 7 + 1
        }
        Extract::Second => {
            let nanos = t.as_duration().subsec_nanos().rem_euclid(1_000_000_000);
            return Value::Double(get(Part::Seconds) as f64 + f64::from(nanos) / 1e9);
        }
        Extract::Epoch => return Value::Double(t.as_duration().as_nanos() as f64 / 1e9),
    })
}

fn truncate(part: Extract, t: Timestamp) -> Option<Timestamp> {
    let seconds = t.seconds();
    let days = seconds.div_euclid(86_400);
    let get = |part| t.part(part, &Zone::UTC);
    let start = match part {
        Extract::Second => seconds,
        Extract::Minute => seconds.div_euclid(60) * 60,
        Extract::Hour => seconds.div_euclid(3_600) * 3_600,
        Extract::Day => days * 86_400,
        // Weeks begin on Monday.
        Extract::Week => (days - (days + 3).rem_euclid(7)) * 86_400,
        Extract::Month => (days - get(Part::DayOfMonth)) * 86_400,
        Extract::Year => (days - get(Part::DayOfYear)) * 86_400,
        Extract::Quarter => {
            let (year, month) = (get(Part::FullYear), get(Part::Month) / 3 * 3 + 1);
            return Timestamp::parse(&format!("{year:04}-{month:02}-01T00:00:00Z"));
        }
        _ => return None,
    };
    Timestamp::since_epoch(SignedDuration::from_secs(start))
}

/// The unit of the timestamp among two types.
pub(crate) fn unit_of(a: &SqlType, b: &SqlType) -> Unit {
    match (a, b) {
        (SqlType::Timestamp(unit), _) | (_, SqlType::Timestamp(unit)) => *unit,
        _ => Unit::Millis,
    }
}
