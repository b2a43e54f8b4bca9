//! The functions of SQL by name: what they take and what they give.

use crate::sql::collections::Of;
use crate::sql::func::{Extract, Func, extract};
use crate::sql::hash::Base;
use crate::sql::json::Ask;
use crate::sql::{Column, SqlType, cast};

/// The functions by name, with the forms they are called in.
pub const FUNCTIONS: &[(&str, &str)] = &[
    ("ABS", "ABS(number)"),
    ("ARRAY_CONCAT", "ARRAY_CONCAT(array, array)"),
    ("ARRAY_CONTAINS", "ARRAY_CONTAINS(array, item)"),
    ("ARRAY_DISTINCT", "ARRAY_DISTINCT(array)"),
    ("ARRAY_JOIN", "ARRAY_JOIN(array of texts, separator)"),
    ("ARRAY_MAX", "ARRAY_MAX(array)"),
    ("ARRAY_MIN", "ARRAY_MIN(array)"),
    ("ARRAY_POSITION", "ARRAY_POSITION(array, item)"),
    ("ARRAY_REMOVE", "ARRAY_REMOVE(array, item)"),
    ("ARRAY_SORT", "ARRAY_SORT(array)"),
    ("CARDINALITY", "CARDINALITY(array or map)"),
    ("CEIL", "CEIL(number)"),
    ("CHAR_LENGTH", "CHAR_LENGTH(text)"),
    ("COALESCE", "COALESCE(value, ...)"),
    ("CONCAT", "CONCAT(text, ...)"),
    ("DATE_TRUNC", "DATE_TRUNC('unit', time)"),
    ("DECODE", "DECODE(text, 'hex'), DECODE(text, 'base64')"),
    ("ENCODE", "ENCODE(text or bytes, 'hex'), ENCODE(text or bytes, 'base64')"),
    ("ENDS_WITH", "ENDS_WITH(text, end)"),
    ("EXTRACT", "EXTRACT(part FROM time)"),
    ("FLOOR", "FLOOR(number)"),
    ("GREATEST", "GREATEST(value, ...)"),
    ("HASH", "HASH(value)"),
    ("JSON_ARRAY_LENGTH", "JSON_ARRAY_LENGTH(text), JSON_ARRAY_LENGTH(text, '$.path')"),
    ("JSON_EXISTS", "JSON_EXISTS(text, '$.path')"),
    ("JSON_ITEMS", "JSON_ITEMS(text), JSON_ITEMS(text, '$.path')"),
    ("JSON_QUERY", "JSON_QUERY(text, '$.path')"),
    ("JSON_VALUE", "JSON_VALUE(text, '$.path')"),
    ("LEAST", "LEAST(value, ...)"),
    ("LEFT", "LEFT(text, length)"),
    ("LENGTH", "LENGTH(text or bytes)"),
    ("LOWER", "LOWER(text)"),
    ("LPAD", "LPAD(text, length, fill)"),
    ("LTRIM", "LTRIM(text)"),
    ("MAP_CONTAINS_KEY", "MAP_CONTAINS_KEY(map, text)"),
    ("MAP_KEYS", "MAP_KEYS(map)"),
    ("MAP_VALUES", "MAP_VALUES(map)"),
    ("MASK", "MASK(value)"),
    ("MOD", "MOD(number, number)"),
    ("NULLIF", "NULLIF(value, value)"),
    ("POSITION", "POSITION(part IN text)"),
    ("POWER", "POWER(number, number)"),
    ("REDACT", "REDACT(value)"),
    ("REPLACE", "REPLACE(text, old, new)"),
    ("REVERSE", "REVERSE(text)"),
    ("RIGHT", "RIGHT(text, length)"),
    ("ROUND", "ROUND(number, digits)"),
    ("RPAD", "RPAD(text, length, fill)"),
    ("RTRIM", "RTRIM(text)"),
    ("SHA256", "SHA256(text or bytes)"),
    ("SHA512", "SHA512(text or bytes)"),
    ("SIGN", "SIGN(number)"),
    ("SLICE", "SLICE(array, from, to)"),
    ("SPLIT", "SPLIT(text, separator)"),
    ("SQRT", "SQRT(number)"),
    ("STARTS_WITH", "STARTS_WITH(text, start)"),
    ("SUBSTRING", "SUBSTRING(text, start, length)"),
    ("TRIM", "TRIM(text)"),
    ("TRUNCATE", "TRUNCATE(text, length), TRUNCATE(integer, step)"),
    ("TRY", "TRY(value)"),
    ("UPPER", "UPPER(text)"),
];

/// Whether a function hides the value of a field, so that a classified field may pass through it.
pub fn is_mask(name: &str) -> bool {
    matches!(name, "MASK" | "HASH" | "REDACT" | "TRUNCATE")
}

/// What a call means: the function, the types its arguments are cast to, and what comes out.
pub(crate) type Meaning = (Func, Vec<Column>, Column);

/// The meaning of a call; `None` where the function does not take these types.
pub(crate) fn resolve(name: &str, args: &[Column], literal: Option<&str>, salt: &str) -> Option<Meaning> {
    use SqlType as T;
    let nullable = args.iter().any(|a| a.nullable);
    let make = |func, want: &[SqlType], result| {
        if want.len() != args.len() {
            return None;
        }
        let fits = args
            .iter()
            .zip(want)
            .all(|(a, w)| a.ty == *w || a.ty == T::Null || (a.ty.is_number() && a.ty.join(w).as_ref() == Some(w)));
        let want = args.iter().zip(want).map(|(a, w)| Column::new(w.clone(), a.nullable)).collect();
        fits.then_some((func, want, Column::new(result, nullable)))
    };
    let ty = |i: usize| args.get(i).map(|a| a.ty.clone());
    let keep = |func, result| Some((func, args.to_vec(), Column::new(result, nullable)));
    let text = || T::Text;
    // A function of an array and an item of it; what comes out is the array where nothing else is said.
    let item = |of, result: Option<SqlType>| match args {
        [Column { ty: array @ T::Array(item), .. }, with] if item.ty.join(&with.ty).is_some() => {
            keep(Func::Collection(of), result.unwrap_or_else(|| array.clone()))
        }
        _ => None,
    };
    // The path may be left out where the whole text can be meant.
    let json = |ask, result, nullable| {
        let whole = args.len() == 1 && matches!(ask, Ask::Length | Ask::Items);
        let want = if whole { vec![T::Text] } else { vec![T::Text, T::Text] };
        make(Func::Json(ask), &want, result).map(|(f, a, column)| (f, a, Column::new(column.ty, nullable)))
    };
    let many =
        |func, min: usize| (args.len() >= min).then(|| make(func, &vec![T::Text; args.len()], T::Text)).flatten();
    match name {
        "UPPER" => make(Func::Upper, &[text()], text()),
        "LOWER" => make(Func::Lower, &[text()], text()),
        "TRIM" => make(Func::Trim, &[text()], text()),
        "LTRIM" => make(Func::LeftTrim, &[text()], text()),
        "RTRIM" => make(Func::RightTrim, &[text()], text()),
        "LENGTH" | "CHAR_LENGTH" if ty(0) == Some(T::Bytes) => make(Func::Length, &[T::Bytes], T::BigInt),
        "LENGTH" | "CHAR_LENGTH" | "CHARACTER_LENGTH" => make(Func::Length, &[text()], T::BigInt),
        "SUBSTRING" | "SUBSTR" if args.len() == 2 => make(Func::Substring, &[text(), T::BigInt], text()),
        "SUBSTRING" | "SUBSTR" => make(Func::Substring, &[text(), T::BigInt, T::BigInt], text()),
        "LEFT" => make(Func::Left, &[text(), T::BigInt], text()),
        "RIGHT" => make(Func::Right, &[text(), T::BigInt], text()),
        "REPLACE" => make(Func::Replace, &[text(), text(), text()], text()),
        "POSITION" => make(Func::Position, &[text(), text()], T::BigInt),
        "SPLIT" => make(Func::Split, &[text(), text()], T::Array(Box::new(Column::new(T::Text, false)))),
        "STARTS_WITH" => make(Func::StartsWith, &[text(), text()], T::Boolean),
        "ENDS_WITH" => make(Func::EndsWith, &[text(), text()], T::Boolean),
        "REVERSE" => make(Func::Reverse, &[text()], text()),
        "LPAD" => make(Func::LeftPad, &[text(), T::BigInt, text()], text()),
        "RPAD" => make(Func::RightPad, &[text(), T::BigInt, text()], text()),
        // Nulls are passed over, as in PostgreSQL.
        "CONCAT" => many(Func::Concat, 1).map(|(f, a, _)| (f, a, Column::new(T::Text, false))),
        "ABS" | "FLOOR" | "CEIL" | "CEILING" | "ROUND" if args.len() == 1 && ty(0)?.is_number() => {
            let func = match name {
                "ABS" => Func::Abs,
                "FLOOR" => Func::Floor,
                "ROUND" => Func::Round,
                _ => Func::Ceil,
            };
            let result = match (ty(0)?, &func) {
                (T::Int, _) => T::BigInt,
                (T::Decimal { precision, .. }, Func::Floor | Func::Ceil | Func::Round) => {
                    T::Decimal { precision, scale: 0 }
                }
                (other, _) => other,
            };
            keep(func, result)
        }
        "ROUND" if args.len() == 2 && ty(0)?.is_number() && ty(1)?.is_integer() => match ty(0)? {
            T::Decimal { precision, .. } => {
                let scale = literal.and_then(|n| n.parse::<u32>().ok()).filter(|n| *n <= 38)?;
                keep(Func::Round, T::Decimal { precision, scale })
            }
            T::Double => keep(Func::Round, T::Double),
            _ => None,
        },
        "SIGN" if args.len() == 1 && ty(0)?.is_number() => keep(Func::Sign, T::BigInt),
        "POWER" | "POW" => make(Func::Power, &[T::Double, T::Double], T::Double),
        "SQRT" => make(Func::Sqrt, &[T::Double], T::Double),
        "GREATEST" | "LEAST" if !args.is_empty() => {
            let ty = args.iter().try_fold(T::Null, |all, a| all.join(&a.ty)).filter(SqlType::is_ordered)?;
            let func = if name == "LEAST" { Func::Least } else { Func::Greatest };
            // Nulls are passed over, as in PostgreSQL.
            let column = Column::new(ty.clone(), args.iter().all(|a| a.nullable));
            Some((func, args.iter().map(|a| Column::new(ty.clone(), a.nullable)).collect(), column))
        }
        "EXTRACT" => {
            let part = extract(literal?)?;
            let result = if part == Extract::Second || part == Extract::Epoch { T::Double } else { T::BigInt };
            matches!(ty(1)?, T::Date | T::Timestamp(_)).then(|| keep(Func::Extract(part), result)).flatten()
        }
        "DATE_TRUNC" => {
            let part = extract(literal?).filter(|p| !matches!(p, Extract::Dow | Extract::Doy | Extract::Epoch))?;
            match ty(1)? {
                T::Date => keep(Func::Truncate(part), T::Date),
                T::Timestamp(unit) => keep(Func::Truncate(part), T::Timestamp(unit)),
                _ => None,
            }
        }
        "SHA256" | "HASH" if args.len() == 1 => {
            let salt = if name == "HASH" { salt } else { "" };
            cast::plan(&ty(0)?, &T::Text).or((ty(0)? == T::Bytes).then_some(cast::Cast::Bytes))?;
            keep(Func::Sha256(salt.into()), T::Text)
        }
        "MASK" if args.len() == 1 => {
            cast::plan(&ty(0)?, &T::Text)?;
            Some((Func::Mask, vec![Column::new(T::Text, args[0].nullable)], Column::new(T::Text, nullable)))
        }
        // It hides even whether there is a value.
        "REDACT" if args.len() == 1 => Some((Func::Redact, args.to_vec(), Column::new(T::Text, false))),
        "TRUNCATE" if ty(0)? == T::Text => make(Func::Prefix, &[text(), T::BigInt], text()),
        "TRUNCATE" => make(Func::Band, &[T::BigInt, T::BigInt], T::BigInt),
        "CARDINALITY" if args.len() == 1 => {
            matches!(ty(0)?, T::Array(_) | T::Map(_)).then(|| keep(Func::Cardinality, T::BigInt)).flatten()
        }
        "ARRAY_CONTAINS" => item(Of::Contains, Some(T::Boolean)),
        "ARRAY_POSITION" => item(Of::Position, Some(T::BigInt)),
        "ARRAY_REMOVE" => item(Of::Remove, None).map(|(f, a, ty)| (f, a, Column::new(ty.ty, args[0].nullable))),
        "ARRAY_JOIN" => match ty(0)? {
            T::Array(item) if item.ty == T::Text && args.len() == 2 && ty(1)? == T::Text => {
                keep(Func::Collection(Of::Join), T::Text)
            }
            _ => None,
        },
        "ARRAY_DISTINCT" if args.len() == 1 => {
            matches!(ty(0)?, T::Array(_)).then(|| keep(Func::Collection(Of::Distinct), ty(0)?)).flatten()
        }
        "ARRAY_CONCAT" if args.len() == 2 => {
            let ty = ty(0)?.join(&ty(1)?).filter(|t| matches!(t, T::Array(_)))?;
            make(Func::Collection(Of::Concat), &[ty.clone(), ty.clone()], ty)
        }
        "ARRAY_SORT" | "ARRAY_MIN" | "ARRAY_MAX" if args.len() == 1 => match ty(0)? {
            T::Array(item) if item.ty.is_ordered() => match name {
                "ARRAY_SORT" => keep(Func::Collection(Of::Sort), ty(0)?),
                _ => {
                    let of = if name == "ARRAY_MIN" { Of::Min } else { Of::Max };
                    Some((Func::Collection(of), args.to_vec(), Column::new(item.ty, true)))
                }
            },
            _ => None,
        },
        "SLICE" => match ty(0)? {
            array @ T::Array(_) => make(Func::Collection(Of::Slice), &[array.clone(), T::BigInt, T::BigInt], array),
            _ => None,
        },
        "MAP_KEYS" if args.len() == 1 => {
            let keys = T::Array(Box::new(Column::new(T::Text, false)));
            matches!(ty(0)?, T::Map(_)).then(|| keep(Func::Collection(Of::MapKeys), keys)).flatten()
        }
        "MAP_VALUES" if args.len() == 1 => match ty(0)? {
            T::Map(of) => keep(Func::Collection(Of::MapValues), T::Array(of)),
            _ => None,
        },
        "MAP_CONTAINS_KEY" => match ty(0)? {
            map @ T::Map(_) => make(Func::Collection(Of::MapContainsKey), &[map, text()], T::Boolean),
            _ => None,
        },
        "SHA512" if args.len() == 1 && matches!(ty(0)?, T::Text | T::Bytes) => keep(Func::Sha512, T::Text),
        "ENCODE" if args.len() == 2 && matches!(ty(0)?, T::Text | T::Bytes) => {
            keep(Func::Encode(Base::by_name(literal?)?), T::Text)
        }
        "DECODE" if args.len() == 2 && ty(0)? == T::Text => keep(Func::Decode(Base::by_name(literal?)?), T::Bytes),
        "JSON_VALUE" => json(Ask::Value, T::Text, true),
        "JSON_QUERY" => json(Ask::Query, T::Text, true),
        "JSON_EXISTS" => json(Ask::Exists, T::Boolean, nullable),
        "JSON_ARRAY_LENGTH" => json(Ask::Length, T::BigInt, true),
        "JSON_ITEMS" => json(Ask::Items, T::Array(Box::new(Column::new(T::Text, false))), true),
        _ => None,
    }
}
