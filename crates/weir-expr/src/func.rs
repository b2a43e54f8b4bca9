//! The functions of the language: which types they take, for the check, and what they do, for the run.
//! Positions in texts are counted in Unicode code points, as CEL does.

use std::sync::Arc;

use crate::env::Type;
use crate::error::EvalErrorKind as Kind;
use crate::number::{Decimal, double_text, double_to_int, double_to_uint};
use crate::pattern;
use crate::time::{Part, Timestamp, Zone, duration_part, duration_text, parse_duration};
use crate::value::{Budget, List, Shared, Text, Value};

/// The largest text an operation makes, in bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// The largest list an operation makes.
pub(crate) const LARGEST_LIST: usize = 1 << 18;
/// What it costs to make an item of a list.
pub(crate) const ITEM: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Func {
    Size,
    Starts,
    Ends,
    Contains,
    Matches,
    Lower,
    Upper,
    Trim,
    Substring,
    IndexOf,
    LastIndexOf,
    CharAt,
    Replace,
    Split,
    Join,
    ToInt,
    ToUint,
    ToDouble,
    ToDecimal,
    ToString,
    ToBytes,
    ToBool,
    ToTimestamp,
    ToDuration,
    TypeOf,
    Get(Part),
}

/// A parameter or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum P {
    Any,
    Bool,
    Int,
    Uint,
    Double,
    Decimal,
    String,
    Bytes,
    Timestamp,
    Duration,
    Type,
    List,
    Map,
    Texts,
}

pub(crate) struct Overload {
    pub(crate) name: &'static str,
    /// Whether the first argument stands before the name: `text.startsWith(prefix)`.
    pub(crate) method: bool,
    pub(crate) args: &'static [P],
    pub(crate) result: P,
    pub(crate) func: Func,
}

const fn function(name: &'static str, args: &'static [P], result: P, func: Func) -> Overload {
    Overload { name, method: false, args, result, func }
}

const fn method(name: &'static str, args: &'static [P], result: P, func: Func) -> Overload {
    Overload { name, method: true, args, result, func }
}

pub(crate) const OVERLOADS: &[Overload] = {
    use P::{
        Any, Bool, Bytes, Decimal as Dec, Double, Duration as Dur, Int, List, Map, String as Str, Texts,
        Timestamp as Ts, Uint,
    };
    &[
        function("size", &[Str], Int, Func::Size),
        function("size", &[Bytes], Int, Func::Size),
        function("size", &[List], Int, Func::Size),
        function("size", &[Map], Int, Func::Size),
        method("size", &[Str], Int, Func::Size),
        method("size", &[Bytes], Int, Func::Size),
        method("size", &[List], Int, Func::Size),
        method("size", &[Map], Int, Func::Size),
        method("startsWith", &[Str, Str], Bool, Func::Starts),
        method("endsWith", &[Str, Str], Bool, Func::Ends),
        method("contains", &[Str, Str], Bool, Func::Contains),
        method("matches", &[Str, Str], Bool, Func::Matches),
        function("matches", &[Str, Str], Bool, Func::Matches),
        method("lowerAscii", &[Str], Str, Func::Lower),
        method("upperAscii", &[Str], Str, Func::Upper),
        method("trim", &[Str], Str, Func::Trim),
        method("substring", &[Str, Int], Str, Func::Substring),
        method("substring", &[Str, Int, Int], Str, Func::Substring),
        method("indexOf", &[Str, Str], Int, Func::IndexOf),
        method("indexOf", &[Str, Str, Int], Int, Func::IndexOf),
        method("lastIndexOf", &[Str, Str], Int, Func::LastIndexOf),
        method("charAt", &[Str, Int], Str, Func::CharAt),
        method("replace", &[Str, Str, Str], Str, Func::Replace),
        method("replace", &[Str, Str, Str, Int], Str, Func::Replace),
        method("split", &[Str, Str], Texts, Func::Split),
        method("split", &[Str, Str, Int], Texts, Func::Split),
        method("join", &[Texts], Str, Func::Join),
        method("join", &[Texts, Str], Str, Func::Join),
        function("int", &[Int], Int, Func::ToInt),
        function("int", &[Uint], Int, Func::ToInt),
        function("int", &[Double], Int, Func::ToInt),
        function("int", &[Dec], Int, Func::ToInt),
        function("int", &[Str], Int, Func::ToInt),
        function("int", &[Ts], Int, Func::ToInt),
        function("uint", &[Int], Uint, Func::ToUint),
        function("uint", &[Uint], Uint, Func::ToUint),
        function("uint", &[Double], Uint, Func::ToUint),
        function("uint", &[Str], Uint, Func::ToUint),
        function("double", &[Int], Double, Func::ToDouble),
        function("double", &[Uint], Double, Func::ToDouble),
        function("double", &[Double], Double, Func::ToDouble),
        function("double", &[Dec], Double, Func::ToDouble),
        function("double", &[Str], Double, Func::ToDouble),
        function("decimal", &[Int], Dec, Func::ToDecimal),
        function("decimal", &[Uint], Dec, Func::ToDecimal),
        function("decimal", &[Dec], Dec, Func::ToDecimal),
        function("decimal", &[Str], Dec, Func::ToDecimal),
        function("string", &[Bool], Str, Func::ToString),
        function("string", &[Int], Str, Func::ToString),
        function("string", &[Uint], Str, Func::ToString),
        function("string", &[Double], Str, Func::ToString),
        function("string", &[Dec], Str, Func::ToString),
        function("string", &[Str], Str, Func::ToString),
        function("string", &[Bytes], Str, Func::ToString),
        function("string", &[Ts], Str, Func::ToString),
        function("string", &[Dur], Str, Func::ToString),
        function("bytes", &[Bytes], Bytes, Func::ToBytes),
        function("bytes", &[Str], Bytes, Func::ToBytes),
        function("bool", &[Bool], Bool, Func::ToBool),
        function("bool", &[Str], Bool, Func::ToBool),
        function("timestamp", &[Ts], Ts, Func::ToTimestamp),
        function("timestamp", &[Str], Ts, Func::ToTimestamp),
        function("timestamp", &[Int], Ts, Func::ToTimestamp),
        function("duration", &[Dur], Dur, Func::ToDuration),
        function("duration", &[Str], Dur, Func::ToDuration),
        function("type", &[Any], P::Type, Func::TypeOf),
        method("getFullYear", &[Ts], Int, Func::Get(Part::FullYear)),
        method("getFullYear", &[Ts, Str], Int, Func::Get(Part::FullYear)),
        method("getMonth", &[Ts], Int, Func::Get(Part::Month)),
        method("getMonth", &[Ts, Str], Int, Func::Get(Part::Month)),
        method("getDate", &[Ts], Int, Func::Get(Part::Date)),
        method("getDate", &[Ts, Str], Int, Func::Get(Part::Date)),
        method("getDayOfMonth", &[Ts], Int, Func::Get(Part::DayOfMonth)),
        method("getDayOfMonth", &[Ts, Str], Int, Func::Get(Part::DayOfMonth)),
        method("getDayOfWeek", &[Ts], Int, Func::Get(Part::DayOfWeek)),
        method("getDayOfWeek", &[Ts, Str], Int, Func::Get(Part::DayOfWeek)),
        method("getDayOfYear", &[Ts], Int, Func::Get(Part::DayOfYear)),
        method("getDayOfYear", &[Ts, Str], Int, Func::Get(Part::DayOfYear)),
        method("getHours", &[Ts], Int, Func::Get(Part::Hours)),
        method("getHours", &[Ts, Str], Int, Func::Get(Part::Hours)),
        method("getHours", &[Dur], Int, Func::Get(Part::Hours)),
        method("getMinutes", &[Ts], Int, Func::Get(Part::Minutes)),
        method("getMinutes", &[Ts, Str], Int, Func::Get(Part::Minutes)),
        method("getMinutes", &[Dur], Int, Func::Get(Part::Minutes)),
        method("getSeconds", &[Ts], Int, Func::Get(Part::Seconds)),
        method("getSeconds", &[Ts, Str], Int, Func::Get(Part::Seconds)),
        method("getSeconds", &[Dur], Int, Func::Get(Part::Seconds)),
        method("getMilliseconds", &[Ts], Int, Func::Get(Part::Milliseconds)),
        method("getMilliseconds", &[Ts, Str], Int, Func::Get(Part::Milliseconds)),
        method("getMilliseconds", &[Dur], Int, Func::Get(Part::Milliseconds)),
    ]
};

impl P {
    /// Whether a value of this type may be one of the parameter.
    pub(crate) fn takes(self, ty: &Type) -> bool {
        match (self, ty.non_null()) {
            (P::Any, _) => true,
            (_, ty) if ty.is_dynamic() => true,
            (P::List, Type::List(_)) | (P::Map, Type::Map(..)) => true,
            (P::Texts, Type::List(item)) => *item.non_null() == Type::String || item.is_dynamic(),
            (P::List | P::Map | P::Texts, _) => false,
            (p, ty) => p.ty() == *ty,
        }
    }

    pub(crate) fn ty(self) -> Type {
        match self {
            P::Any => Type::Dyn,
            P::Bool => Type::Bool,
            P::Int => Type::Int,
            P::Uint => Type::Uint,
            P::Double => Type::Double,
            P::Decimal => Type::Decimal,
            P::String => Type::String,
            P::Bytes => Type::Bytes,
            P::Timestamp => Type::Timestamp,
            P::Duration => Type::Duration,
            P::Type => Type::Type,
            P::List => Type::List(Box::new(Type::Dyn)),
            P::Map => Type::Map(Box::new(Type::Dyn), Box::new(Type::Dyn)),
            P::Texts => Type::List(Box::new(Type::String)),
        }
    }
}

impl Func {
    /// Whether it reads a text as something else, so that a literal it cannot read is a mistake of the source.
    pub(crate) fn is_conversion(self) -> bool {
        use Func::*;
        matches!(self, ToInt | ToUint | ToDouble | ToDecimal | ToString | ToBytes | ToBool | ToTimestamp | ToDuration)
    }
}

/// Pays for a text of this size before it is made.
pub(crate) fn may_make(bytes: usize, op: &'static str, budget: &Budget) -> Result<(), Kind> {
    budget.spend(bytes as u64 / 8)?;
    if bytes > LARGEST_TEXT { Err(Kind::TooLarge(op)) } else { Ok(()) }
}

/// Pays for a list of this size before it is made.
pub(crate) fn may_list(items: usize, op: &'static str, budget: &Budget) -> Result<(), Kind> {
    budget.spend(items as u64 * ITEM)?;
    if items > LARGEST_LIST { Err(Kind::TooLarge(op)) } else { Ok(()) }
}

fn text<'v, 'a>(value: &'v Value<'a>, op: &'static str) -> Result<&'v Text<'a>, Kind> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(other.unfit(op)),
    }
}

fn int(value: &Value<'_>, op: &'static str) -> Result<i64, Kind> {
    match value {
        Value::Int(v) => Ok(*v),
        other => Err(other.unfit(op)),
    }
}

fn index(value: &Value<'_>, op: &'static str) -> Result<usize, Kind> {
    usize::try_from(int(value, op)?).map_err(|_| Kind::Index)
}

/// Where the code point `index` starts; the end of the text counts as one more.
fn byte_of(text: &str, index: usize) -> Result<usize, Kind> {
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(index).ok_or(Kind::Index)
}

fn slice<'a>(text: &Text<'a>, start: usize, end: usize) -> Value<'a> {
    match text {
        Shared::Borrowed(text) => Value::text(&text[start..end]),
        Shared::Owned(text) if (start, end) == (0, text.len()) => Value::String(Shared::Owned(Arc::clone(text))),
        Shared::Owned(text) => Value::text(text[start..end].to_owned()),
    }
}

/// The number of code points.
pub(crate) fn length(text: &str, budget: &Budget) -> Result<i64, Kind> {
    budget.scan(text.len())?;
    Ok(text.chars().count() as i64)
}

/// The number of code points, bytes, items or entries.
pub(crate) fn size(value: &Value<'_>, budget: &Budget) -> Result<i64, Kind> {
    Ok(match value {
        Value::String(text) => return length(text, budget),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(budget)?,
        Value::Map(map) => map.len(budget)?,
        other => return Err(other.unfit("size")),
    } as i64)
}

pub(crate) fn part(value: &Value<'_>, part: Part, zone: &Zone) -> Result<i64, Kind> {
    match value {
        Value::Timestamp(t) => Ok(t.part(part, zone)),
        Value::Duration(d) if matches!(part, Part::Hours | Part::Minutes | Part::Seconds | Part::Milliseconds) => {
            Ok(duration_part(*d, part))
        }
        other => Err(other.unfit("getter of timestamps")),
    }
}

/// What `startsWith`, `endsWith` and `contains` say.
pub(crate) fn text_test(func: Func, text: &str, other: &str, budget: &Budget) -> Result<bool, Kind> {
    budget.scan(if func == Func::Contains { text.len() } else { other.len() })?;
    Ok(match func {
        Func::Starts => text.starts_with(other),
        Func::Ends => text.ends_with(other),
        _ => text.contains(other),
    })
}

/// Runs a function; the check has seen to the number of arguments, and to their types unless those are dynamic.
pub(crate) fn run<'a>(func: Func, args: &[Value<'a>], budget: &Budget) -> Result<Value<'a>, Kind> {
    let Some(first) = args.first() else { return Err(Kind::Input) };
    for arg in args {
        if let Value::String(text) = arg {
            budget.scan(text.len())?;
        }
    }
    Ok(match func {
        Func::Size => Value::Int(size(first, budget)?),
        Func::Get(which) => {
            let zone = match args.get(1) {
                Some(name) => {
                    budget.spend(100)?;
                    Zone::parse(text(name, "getter of timestamps")?).ok_or(Kind::TimeZone)?
                }
                None => Zone::UTC,
            };
            Value::Int(part(first, which, &zone)?)
        }
        Func::TypeOf => match first {
            Value::Record(record) => Value::Type(record.name().into()),
            other => Value::Type(other.type_name().into()),
        },
        Func::Join => return join(first, args.get(1), budget),
        _ if func.is_conversion() => return convert(func, first, budget),
        _ => return of_text(func, text(first, "function of strings")?, &args[1..], budget),
    })
}

fn of_text<'a>(func: Func, subject: &Text<'a>, args: &[Value<'a>], budget: &Budget) -> Result<Value<'a>, Kind> {
    const OP: &str = "function of strings";
    let arg = |i: usize| args.get(i).ok_or(Kind::Input);
    let s: &str = subject;
    Ok(match func {
        Func::Starts | Func::Ends | Func::Contains => Value::Bool(text_test(func, s, text(arg(0)?, OP)?, budget)?),
        Func::Matches => {
            // A pattern that is no literal is compiled for every event: allowed, but dear.
            budget.spend(20_000)?;
            Value::Bool(pattern::compile(text(arg(0)?, OP)?).map_err(|_| Kind::Pattern)?.is_match(s))
        }
        Func::Lower if !s.bytes().any(|b| b.is_ascii_uppercase()) => Value::String(subject.clone()),
        Func::Upper if !s.bytes().any(|b| b.is_ascii_lowercase()) => Value::String(subject.clone()),
        Func::Lower => {
            may_make(s.len(), "lowerAscii", budget)?;
            Value::text(s.to_ascii_lowercase())
        }
        Func::Upper => {
            may_make(s.len(), "upperAscii", budget)?;
            Value::text(s.to_ascii_uppercase())
        }
        Func::Trim => {
            let start = s.len() - s.trim_start().len();
            slice(subject, start, start + s[start..].trim_end().len())
        }
        Func::Substring => {
            let start = byte_of(s, index(arg(0)?, OP)?)?;
            let end = if args.len() > 1 { byte_of(s, index(arg(1)?, OP)?)? } else { s.len() };
            if start > end {
                return Err(Kind::Index);
            }
            slice(subject, start, end)
        }
        Func::CharAt => {
            let start = byte_of(s, index(arg(0)?, OP)?)?;
            slice(subject, start, start + s[start..].chars().next().map_or(0, char::len_utf8))
        }
        Func::IndexOf => {
            let from = if args.len() > 1 { byte_of(s, index(arg(1)?, OP)?)? } else { 0 };
            let found = s[from..].find(&**text(arg(0)?, OP)?);
            Value::Int(found.map_or(-1, |at| s[..from + at].chars().count() as i64))
        }
        Func::LastIndexOf => {
            let found = s.rfind(&**text(arg(0)?, OP)?);
            Value::Int(found.map_or(-1, |at| s[..at].chars().count() as i64))
        }
        Func::Replace => {
            let (old, new) = (text(arg(0)?, OP)?, text(arg(1)?, OP)?);
            let most = match args.get(2) {
                Some(n) => usize::try_from(int(n, OP)?).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            let count = s.matches(&**old).take(most).count();
            may_make(s.len() - count * old.len() + count * new.len(), "replace", budget)?;
            Value::text(s.replacen(&**old, new, count))
        }
        Func::Split => {
            let separator = text(arg(0)?, OP)?;
            let most = match args.get(1) {
                Some(n) => usize::try_from(int(n, OP)?).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            split(subject, separator, most, budget)?
        }
        _ => return Err(Kind::Input),
    })
}

/// Cuts a text at every separator into at most `most` pieces; without a separator, into characters.
fn split<'a>(subject: &Text<'a>, separator: &str, most: usize, budget: &Budget) -> Result<Value<'a>, Kind> {
    let s: &str = subject;
    let cuts = if separator.is_empty() { s.chars().count().saturating_sub(1) } else { s.matches(separator).count() };
    may_list((cuts + 1).min(most), "split", budget)?;
    if most == 0 || (s.is_empty() && separator.is_empty()) {
        return Ok(Value::list(Vec::new()));
    }
    let mut items = Vec::new();
    let mut from = 0;
    for _ in 0..cuts.min(most - 1) {
        let piece = match separator {
            "" => s[from..].chars().next().map_or(0, char::len_utf8),
            _ => s[from..].find(separator).unwrap_or(s.len() - from),
        };
        items.push(slice(subject, from, from + piece));
        from += piece + separator.len();
    }
    items.push(slice(subject, from, s.len()));
    Ok(Value::list(items))
}

fn join<'a>(list: &Value<'a>, separator: Option<&Value<'a>>, budget: &Budget) -> Result<Value<'a>, Kind> {
    let Value::List(list) = list else { return Err(list.unfit("join")) };
    let separator = separator.map(|s| text(s, "join")).transpose()?;
    let mut out = String::new();
    for (i, item) in List::iter(list).enumerate() {
        let item = item?;
        let piece = text(&item, "join")?;
        let gap = separator.filter(|_| i > 0).map_or("", |s| s);
        budget.spend(1 + (piece.len() + gap.len()) as u64 / 8)?;
        if out.len() + piece.len() + gap.len() > LARGEST_TEXT {
            return Err(Kind::TooLarge("join"));
        }
        out.push_str(gap);
        out.push_str(piece);
    }
    Ok(Value::text(out))
}

fn convert<'a>(func: Func, value: &Value<'a>, budget: &Budget) -> Result<Value<'a>, Kind> {
    use Func::*;
    let to = match func {
        ToInt => "int",
        ToUint => "uint",
        ToDouble => "double",
        ToDecimal => "decimal",
        ToString => "string",
        ToBytes => "bytes",
        ToBool => "bool",
        ToTimestamp => "timestamp",
        _ => "duration",
    };
    let made = match (func, value) {
        (ToInt, Value::Int(_))
        | (ToUint, Value::Uint(_))
        | (ToDouble, Value::Double(_))
        | (ToDecimal, Value::Decimal(_))
        | (ToString, Value::String(_))
        | (ToBytes, Value::Bytes(_))
        | (ToBool, Value::Bool(_))
        | (ToTimestamp, Value::Timestamp(_))
        | (ToDuration, Value::Duration(_)) => Some(value.clone()),
        (ToInt, Value::Uint(v)) => i64::try_from(*v).ok().map(Value::Int),
        (ToInt, Value::Double(v)) => double_to_int(*v).map(Value::Int),
        (ToInt, Value::Decimal(v)) => v.to_int().map(Value::Int),
        (ToInt, Value::String(s)) => s.parse().ok().map(Value::Int),
        (ToInt, Value::Timestamp(t)) => Some(Value::Int(t.seconds())),
        (ToUint, Value::Int(v)) => u64::try_from(*v).ok().map(Value::Uint),
        (ToUint, Value::Double(v)) => double_to_uint(*v).map(Value::Uint),
        (ToUint, Value::String(s)) => s.parse().ok().map(Value::Uint),
        (ToDouble, Value::Int(v)) => Some(Value::Double(*v as f64)),
        (ToDouble, Value::Uint(v)) => Some(Value::Double(*v as f64)),
        (ToDouble, Value::Decimal(v)) => Some(Value::Double(v.to_double())),
        (ToDouble, Value::String(s)) => s.parse().ok().map(Value::Double),
        (ToDecimal, Value::Int(v)) => Some(Value::Decimal(Decimal::from(*v))),
        (ToDecimal, Value::Uint(v)) => Some(Value::Decimal(Decimal::from(*v))),
        (ToDecimal, Value::String(s)) => Decimal::parse(s).map(Value::Decimal),
        (ToString, Value::Bool(v)) => Some(Value::text(if *v { "true" } else { "false" })),
        (ToString, Value::Int(v)) => Some(Value::text(v.to_string())),
        (ToString, Value::Uint(v)) => Some(Value::text(v.to_string())),
        (ToString, Value::Double(v)) => Some(Value::text(double_text(*v))),
        (ToString, Value::Decimal(v)) => Some(Value::text(v.to_string())),
        (ToString, Value::Bytes(Shared::Borrowed(b))) => std::str::from_utf8(b).ok().map(Value::text),
        (ToString, Value::Bytes(b)) => std::str::from_utf8(b).ok().map(|s| Value::text(s.to_owned())),
        (ToString, Value::Timestamp(t)) => Some(Value::text(t.to_string())),
        (ToString, Value::Duration(d)) => Some(Value::text(duration_text(*d))),
        (ToBytes, Value::String(Shared::Borrowed(s))) => Some(Value::Bytes(Shared::Borrowed(s.as_bytes()))),
        (ToBytes, Value::String(s)) => {
            may_make(s.len(), "bytes", budget)?;
            Some(Value::bytes(s.as_bytes()))
        }
        (ToBool, Value::String(s)) => match &**s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        (ToTimestamp, Value::String(s)) => Timestamp::parse(s).map(Value::Timestamp),
        (ToTimestamp, Value::Int(v)) => Timestamp::from_seconds(*v).map(Value::Timestamp),
        (ToDuration, Value::String(s)) => parse_duration(s).map(Value::Duration),
        (_, other) => return Err(other.unfit(to)),
    };
    made.ok_or(Kind::Convert { from: value.type_name(), to })
}
