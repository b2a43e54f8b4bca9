//! The tests themselves: one rule made as cheap as a writer's schema allows.
//!
//! A test looks at one slot and says yes or no. It allocates nothing, except for `uniqueItems` on long lists and for
//! the first use of a pattern on a thread. Nulls pass every test but [`Test::Present`].

use weir_avro::{Kind, Logical, NodeId, Schema, Slot, Utf8};

use crate::exact::{Exact, unscaled};
use crate::pattern::Pattern;
use crate::rule::{Check, Side};
use crate::text_format::{Clock, Format};
use crate::yaml::Value;

/// A rule for the values of one Avro type.
#[derive(Debug)]
pub(crate) enum Test {
    /// The value is not null.
    Present,
    /// Never holds where the record around it exists: a default that breaks its own contract.
    Never,
    Long {
        lo: i64,
        hi: i64,
    },
    Double {
        lo: f64,
        hi: f64,
    },
    Decimal(Box<(i128, i128)>),
    /// The integer times 10^`scale` is a multiple of `step`.
    LongStep(Box<(i128, i128)>),
    DoubleStep(f64),
    DecimalStep(Box<(i128, i128)>),
    Chars {
        least: u64,
        most: u64,
    },
    Pattern(Box<Pattern>),
    Format(Format),
    Written(Box<Clock>),
    TextInstant(Box<(i128, i128, Clock)>),
    Texts(Box<[Box<str>]>, bool),
    Longs(Box<[i64]>, bool),
    Doubles(Box<[f64]>, bool),
    Bools(Box<[bool]>, bool),
    Decimals(Box<[i128]>, bool),
    Blobs(Box<[Box<[u8]>]>, bool),
    Count {
        least: u64,
        most: u64,
    },
    Fields {
        least: u64,
        most: u64,
    },
    Unique,
}

/// Whether a rule can be tested on values of a type; the error finishes the sentence `the rule x ...`.
pub(crate) fn testable(check: &Check, schema: &Schema, id: NodeId) -> Result<(), String> {
    lower(check, schema, id).map(|_| ())
}

/// The test of a rule for a type. Nothing where every value of the type keeps the rule.
pub(crate) fn lower(check: &Check, schema: &Schema, id: NodeId) -> Result<Option<Test>, String> {
    let (inner, nullable) = schema.non_null(id);
    let node = schema.node(inner);
    if let Check::Required = check {
        let null = |n: NodeId| matches!(schema.node(n).kind, Kind::Null);
        let nullable = nullable
            || null(inner)
            || matches!(&node.kind, Kind::Union { branches } if branches.iter().copied().any(null));
        return Ok(nullable.then_some(Test::Present));
    }
    lower_type(check, &node.kind, node.logical, &crate::agree::describe(schema, inner))
}

/// The same for a type that is not null, with its name for an error.
pub(crate) fn lower_type(
    check: &Check,
    kind: &Kind,
    logical: Option<Logical>,
    name: &str,
) -> Result<Option<Test>, String> {
    let cannot = || Err(format!("cannot be tested on {name}"));
    let decimal = match logical {
        Some(Logical::Decimal { scale, .. }) => Some(scale as u32),
        _ => None,
    };
    let is_text = matches!(kind, Kind::String | Kind::Enum { .. });
    let is_long = matches!(kind, Kind::Int | Kind::Long) && decimal.is_none();
    let is_double = matches!(kind, Kind::Float | Kind::Double);
    let is_float = matches!(kind, Kind::Float);
    Ok(Some(match check {
        Check::Required | Check::Cel(_) => return Ok(None),
        Check::Number { bound, side, exclusive } if is_double => {
            let (lo, hi) = double_range(*bound, *side, *exclusive, is_float);
            Test::Double { lo, hi }
        }
        Check::Number { bound, side, exclusive } if is_long => {
            let (lo, hi) = int_range(*bound, 0, *side, *exclusive);
            return Ok(long_test(lo, hi, kind));
        }
        Check::Number { bound, side, exclusive } => match decimal {
            Some(scale) => Test::Decimal(Box::new(int_range(*bound, scale, *side, *exclusive))),
            None => return cannot(),
        },
        Check::Instant { bound, side, exclusive, clock } => match nanos_per_unit(logical) {
            Some(unit) => {
                let bound = Exact { unscaled: *bound, scale: 0 };
                let (lo, hi) = int_range(bound, 0, *side, *exclusive);
                let lo = if lo == i128::MIN { lo } else { -(-lo).div_euclid(unit) };
                let hi = if hi == i128::MAX { hi } else { hi.div_euclid(unit) };
                return Ok(long_test(lo, hi, kind));
            }
            None if is_text => {
                let (lo, hi) = int_range(Exact { unscaled: *bound, scale: 0 }, 0, *side, *exclusive);
                Test::TextInstant(Box::new((lo, hi, clock.clone())))
            }
            None => return cannot(),
        },
        Check::MultipleOf(step) if is_long => {
            let factor = 10i128.checked_pow(step.scale).filter(|f| *f < i128::from(u64::MAX));
            let Some(factor) = factor else { return Err("has too many digits".to_owned()) };
            if factor % step.unscaled == 0 {
                return Ok(None);
            }
            Test::LongStep(Box::new((factor, step.unscaled)))
        }
        Check::MultipleOf(step) if is_double => Test::DoubleStep(step.to_f64()),
        Check::MultipleOf(step) => match decimal {
            Some(scale) => {
                let common = scale.max(step.scale);
                let factor = 10i128.checked_pow(common - scale);
                let (Some(factor), Some(step)) = (factor, step.whole_at(common)) else {
                    return Err("has too many digits".to_owned());
                };
                Test::DecimalStep(Box::new((factor, step)))
            }
            None => return cannot(),
        },
        Check::Width(lo, hi) if is_long => return Ok(long_test(*lo, *hi, kind)),
        Check::Width(lo, hi) => match decimal {
            Some(0) => Test::Decimal(Box::new((*lo, *hi))),
            _ => return cannot(),
        },
        Check::Float32 if is_float || is_long => return Ok(None),
        Check::Float32 if is_double => Test::Double { lo: f64::from(f32::MIN), hi: f64::from(f32::MAX) },
        Check::Float32 => return cannot(),
        Check::Chars { least, most } if is_text || matches!(kind, Kind::Bytes | Kind::Fixed { .. }) => {
            Test::Chars { least: *least, most: *most }
        }
        Check::Pattern(pattern) if is_text => Test::Pattern(Box::new(pattern.clone())),
        Check::Format(format) if is_text => match logical {
            Some(Logical::Uuid) if *format == Format::Uuid => return Ok(None),
            _ => Test::Format(*format),
        },
        // An Avro type that is a uuid, a date or a time has its form by itself, and bytes need no base64.
        Check::Format(Format::Uuid) if logical == Some(Logical::Uuid) => return Ok(None),
        Check::Format(Format::Byte) if matches!(kind, Kind::Bytes | Kind::Fixed { .. }) => return Ok(None),
        Check::Written(clock) if is_text => Test::Written(Box::new(clock.clone())),
        Check::Written(_) => return Ok(None),
        Check::Listed { values, allowed } => return list(values, *allowed, kind, logical, name).map(Some),
        Check::Count { least, most } => match kind {
            Kind::Array { .. } | Kind::Map { .. } => Test::Count { least: *least, most: *most },
            Kind::Record { .. } => Test::Fields { least: *least, most: *most },
            _ => return cannot(),
        },
        Check::Unique if matches!(kind, Kind::Array { .. }) => Test::Unique,
        Check::Chars { .. } | Check::Pattern(_) | Check::Format(_) | Check::Unique => return cannot(),
    }))
}

/// The inclusive range of integers at `scale` that a bound leaves.
fn int_range(bound: Exact, scale: u32, side: Side, exclusive: bool) -> (i128, i128) {
    match (side, exclusive) {
        (Side::Least, false) => (bound.ceil_at(scale), i128::MAX),
        (Side::Least, true) => (bound.floor_at(scale).saturating_add(1), i128::MAX),
        (Side::Most, false) => (i128::MIN, bound.floor_at(scale)),
        (Side::Most, true) => (i128::MIN, bound.ceil_at(scale).saturating_sub(1)),
    }
}

/// A range test on an int or long; nothing where the type holds no value outside the range.
fn long_test(lo: i128, hi: i128, kind: &Kind) -> Option<Test> {
    let (least, most) = match kind {
        Kind::Int => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    if lo <= least && hi >= most {
        return None;
    }
    match (i64::try_from(lo.max(least)), i64::try_from(hi.min(most))) {
        (Ok(lo), Ok(hi)) => Some(Test::Long { lo, hi }),
        // The bound lies beyond the type, so no value keeps it.
        _ => Some(Test::Long { lo: 1, hi: 0 }),
    }
}

/// The inclusive range of doubles that a bound leaves. The bound of a float is rounded as its values were.
fn double_range(bound: Exact, side: Side, exclusive: bool, float: bool) -> (f64, f64) {
    let exact = bound.to_f64();
    let (at, above, below) = if float {
        let single = exact as f32;
        (f64::from(single), f64::from(single.next_up()), f64::from(single.next_down()))
    } else {
        (exact, exact.next_up(), exact.next_down())
    };
    match side {
        Side::Least => (if exclusive { above } else { at }, f64::INFINITY),
        Side::Most => (f64::NEG_INFINITY, if exclusive { below } else { at }),
    }
}

fn nanos_per_unit(logical: Option<Logical>) -> Option<i128> {
    Some(match logical? {
        Logical::Date => 86_400_000_000_000,
        Logical::TimeMillis | Logical::TimestampMillis | Logical::LocalTimestampMillis => 1_000_000,
        Logical::TimeMicros | Logical::TimestampMicros | Logical::LocalTimestampMicros => 1_000,
        Logical::TimestampNanos | Logical::LocalTimestampNanos => 1,
        _ => return None,
    })
}

/// A list of values, each of which must be of the type it is compared with.
fn list(values: &[Value], allowed: bool, kind: &Kind, logical: Option<Logical>, name: &str) -> Result<Test, String> {
    fn all<T>(values: &[Value], wanted: &str, of: impl Fn(&Value) -> Option<T>) -> Result<Box<[T]>, String> {
        let value = |value: &Value| of(value).ok_or_else(|| format!("lists a value that is not {wanted}"));
        values.iter().map(value).collect()
    }
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.as_str().into()),
        _ => None,
    };
    let exact = |value: &Value| match value {
        Value::Int(n) => Some(Exact { unscaled: *n, scale: 0 }),
        Value::Float(n) if n.is_finite() => Exact::parse(&n.to_string()),
        _ => None,
    };
    Ok(match (kind, logical) {
        (Kind::Enum { symbols, .. }, _) => {
            let texts: Box<[Box<str>]> = all(values, "a text", text)?;
            if let Some(strange) = texts.iter().find(|text| allowed && !symbols.contains(text)) {
                let near = crate::diagnostic::hint(strange, symbols.iter().map(AsRef::as_ref));
                return Err(format!("lists `{strange}`, which is no symbol of the schema's enum{near}"));
            }
            Test::Texts(texts, allowed)
        }
        (Kind::String, _) => Test::Texts(all(values, "a text", text)?, allowed),
        (Kind::Int | Kind::Long, None) => {
            let whole = |v: &Value| exact(v)?.whole_at(0).and_then(|n| i64::try_from(n).ok());
            Test::Longs(all(values, "an integer", whole)?, allowed)
        }
        (Kind::Float, _) => {
            Test::Doubles(all(values, "a number", |v| Some(f64::from(exact(v)?.to_f64() as f32)))?, allowed)
        }
        (Kind::Double, _) => Test::Doubles(all(values, "a number", |v| Some(exact(v)?.to_f64()))?, allowed),
        (Kind::Boolean, _) => {
            let flag = |v: &Value| if let Value::Bool(b) = v { Some(*b) } else { None };
            Test::Bools(all(values, "true or false", flag)?, allowed)
        }
        (Kind::Bytes | Kind::Fixed { .. }, Some(Logical::Decimal { scale, .. })) => {
            let number = |v: &Value| exact(v)?.whole_at(scale as u32);
            Test::Decimals(all(values, &format!("a number of {scale} decimal places"), number)?, allowed)
        }
        (Kind::Bytes | Kind::Fixed { .. }, Some(Logical::Uuid)) => {
            let uuid = |v: &Value| match v {
                Value::Text(text) if Format::Uuid.fits(text) => {
                    let digits = text.replace('-', "");
                    Some(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes().as_slice().into())
                }
                _ => None,
            };
            Test::Blobs(all(values, "a uuid", uuid)?, allowed)
        }
        _ => return Err(format!("cannot be tested on {name}")),
    })
}

impl Test {
    /// Whether a value keeps the rule. The tests that most rules are come first and are a part of the loop over them.
    #[inline(always)]
    pub(crate) fn holds<'a>(&self, slot: &Slot<'a>, schema: &'a Schema) -> bool {
        match (self, slot) {
            (Self::Long { lo, hi }, Slot::Long(n)) => lo <= n && n <= hi,
            (Self::Double { lo, hi }, Slot::Double(n)) => lo <= n && n <= hi,
            (Self::Present, slot) => !matches!(slot, Slot::Null),
            (Self::Texts(list, allowed), Slot::Str(text)) => list.iter().any(|t| text.is(t.as_bytes())) == *allowed,
            (Self::Chars { least, most }, Slot::Str(text)) => has_length(*text, *least, *most),
            (Self::Pattern(pattern), Slot::Str(text)) => pattern.is_match(*text),
            (test, slot) => test.holds_rarely(*slot, schema),
        }
    }

    #[inline(never)]
    fn holds_rarely<'a>(&self, slot: Slot<'a>, schema: &'a Schema) -> bool {
        match (self, slot) {
            (_, Slot::Null | Slot::Absent) => true,
            (Self::Never, _) => false,
            (Self::Longs(list, allowed), Slot::Long(n)) => list.contains(&n) == *allowed,
            (Self::Doubles(list, allowed), Slot::Double(n)) => list.contains(&n) == *allowed,
            (Self::Bools(list, allowed), Slot::Bool(b)) => list.contains(&b) == *allowed,
            (Self::Decimals(list, allowed), Slot::Bytes(b)) => list.contains(&unscaled(b)) == *allowed,
            (Self::Blobs(list, allowed), Slot::Bytes(b)) => list.iter().any(|l| **l == *b) == *allowed,
            (Self::Decimal(range), Slot::Bytes(b)) => (range.0..=range.1).contains(&unscaled(b)),
            (Self::LongStep(step), Slot::Long(n)) => (i128::from(n) * step.0) % step.1 == 0,
            (Self::DecimalStep(step), Slot::Bytes(b)) => {
                unscaled(b).checked_mul(step.0).is_some_and(|n| n % step.1 == 0)
            }
            (Self::DoubleStep(step), Slot::Double(n)) => {
                // Decimal fractions have no exact double, so the quotient need only be as whole as a double can tell.
                let quotient = n / step;
                (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
            }
            (Self::Chars { least, most }, Slot::Bytes(b)) => in_range(b.len() as u64, *least, *most),
            (Self::Format(format), Slot::Str(text)) => format.fits(text.as_str()),
            (Self::Written(clock), Slot::Str(text)) => clock.read(text.as_str()).is_some(),
            // A text that is no date breaks the rule about its form and not this one as well.
            (Self::TextInstant(range), Slot::Str(text)) => {
                range.2.read(text.as_str()).is_none_or(|n| (range.0..=range.1).contains(&n))
            }
            (Self::Count { least, most }, Slot::Region(region)) => in_range(region.count(schema) as u64, *least, *most),
            (Self::Fields { least, most }, Slot::Region(region)) => {
                let Kind::Record { fields } = &schema.node(region.node).kind else { return true };
                let given = (0..fields.len()).filter(|i| region.field(schema, *i) != Slot::Null).count();
                in_range(given as u64, *least, *most)
            }
            (Self::Unique, Slot::Region(region)) => unique(region.items(schema)),
            // A writer's bytes may be read as a text (Avro specification, "Schema Resolution").
            (test, Slot::Bytes(bytes)) => Utf8::new(bytes).is_some_and(|text| test.holds(&Slot::Str(text), schema)),
            _ => true,
        }
    }
}

/// Whether a text has so many characters. One takes one to four bytes, which settles most texts without counting.
#[inline]
pub(crate) fn has_length(text: Utf8<'_>, least: u64, most: u64) -> bool {
    let bytes = text.as_bytes().len() as u64;
    (bytes <= most && bytes.div_ceil(4) >= least) || in_range(text.chars() as u64, least, most)
}

#[inline]
fn in_range(n: u64, least: u64, most: u64) -> bool {
    least <= n && n <= most
}

/// Whether no two items are equal. Short lists are compared in place; long ones through a set of their hashes.
fn unique<'a>(items: weir_avro::Items<'a>) -> bool {
    const SHORT: usize = 32;
    if items.clone().nth(SHORT).is_none() {
        return items.clone().enumerate().all(|(i, item)| !items.clone().take(i).any(|before| before == item));
    }
    let mut seen: std::collections::HashMap<u64, Vec<Slot<'a>>> = std::collections::HashMap::new();
    items.into_iter().all(|item| {
        let same = seen.entry(hash(item)).or_default();
        let fresh = !same.contains(&item);
        same.push(item);
        fresh
    })
}

fn hash(slot: Slot<'_>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    match slot {
        Slot::Absent | Slot::Null => {}
        Slot::Bool(b) => b.hash(&mut hasher),
        Slot::Long(n) => n.hash(&mut hasher),
        // The two zeros are equal and must hash alike.
        Slot::Double(n) => (n + 0.0).to_bits().hash(&mut hasher),
        Slot::Bytes(bytes) => bytes.hash(&mut hasher),
        Slot::Str(text) => text.as_bytes().hash(&mut hasher),
        Slot::Region(region) => region.bytes.hash(&mut hasher),
    }
    hasher.finish()
}
