//! The parts of the parser's tree that hold no expressions: names, sources, operators, literals, types, intervals.

use sqlparser::ast as p;
use weir_expr::sql::{Binary, Kind, SqlType, Unit};
use weir_expr::{ExprError, Pos};

use super::{Parsed, Source, at, fail};

/// Names are taken as they are written: Avro's are.
pub(super) fn names(parts: Vec<p::Ident>) -> Kind {
    if let [name] = &parts[..] {
        match name.value.to_ascii_lowercase().as_str() {
            "rowkey" => return Kind::RowKey,
            "rowtime" => return Kind::RowTime,
            "rowpartition" => return Kind::RowPartition,
            "rowoffset" => return Kind::RowOffset,
            "headers" => return Kind::Headers,
            _ => {}
        }
    }
    Kind::Path(parts.into_iter().map(|part| part.value.into()).collect())
}

pub(super) fn source(factor: p::TableFactor) -> Parsed<Source> {
    let place = at(&factor);
    match factor {
        p::TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_directives,
            inheritance: None,
        } if with_hints.is_empty() && partitions.is_empty() && index_directives.is_empty() => {
            let parts: Vec<String> = name
                .0
                .iter()
                .map(|part| part.as_ident().map_or_else(|| part.to_string(), |i| i.value.clone()))
                .collect();
            let alias = match alias {
                Some(alias) if alias.columns.is_empty() => alias.name.value,
                Some(_) => return fail(place, "an alias is one name"),
                None => parts.last().cloned().unwrap_or_default(),
            };
            Ok(Source { name: parts.join("."), alias, at: place })
        }
        _ => fail(place, "FROM and JOIN name products or views, as in FROM sales.transactions t"),
    }
}

pub(super) fn binary(op: &p::BinaryOperator, place: Pos) -> Parsed<Binary> {
    use p::BinaryOperator as B;
    Ok(match op {
        B::Plus => Binary::Add,
        B::Minus => Binary::Sub,
        B::Multiply => Binary::Mul,
        B::Divide => Binary::Div,
        B::Modulo => Binary::Rem,
        B::StringConcat => Binary::Concat,
        B::Gt => Binary::Gt,
        B::Lt => Binary::Lt,
        B::GtEq => Binary::Ge,
        B::LtEq => Binary::Le,
        B::Eq => Binary::Eq,
        B::NotEq => Binary::Ne,
        B::And => Binary::And,
        B::Or => Binary::Or,
        other => return fail(place, format!("the operator {other} is not part of the language")),
    })
}

pub(super) fn literal(value: p::Value, place: Pos) -> Parsed<Kind> {
    Ok(match value {
        p::Value::Null => Kind::Null,
        p::Value::Boolean(b) => Kind::Bool(b),
        p::Value::SingleQuotedString(text) => Kind::Text(text.into()),
        p::Value::Number(text, _) => match text.parse() {
            Ok(n) => Kind::Int(n),
            Err(_) => Kind::Number(text.into()),
        },
        p::Value::DoubleQuotedString(_) => return fail(place, "a text stands in single quotes"),
        other => return fail(place, format!("the literal {other} is not part of the language")),
    })
}

pub(super) fn sql_type(ty: &p::DataType, place: Pos) -> Parsed<SqlType> {
    use p::DataType as D;
    let unit = |digits: &Option<u64>| match digits {
        None | Some(3) => Some(Unit::Millis),
        Some(6) => Some(Unit::Micros),
        Some(9) => Some(Unit::Nanos),
        _ => None,
    };
    let made = match ty {
        D::Boolean | D::Bool => Some(SqlType::Boolean),
        D::Int(None) | D::Integer(None) => Some(SqlType::Int),
        D::BigInt(None) => Some(SqlType::BigInt),
        D::Double(_) | D::DoublePrecision => Some(SqlType::Double),
        D::Text | D::String(None) | D::Varchar(None) => Some(SqlType::Text),
        D::Bytes(None) | D::Bytea => Some(SqlType::Bytes),
        D::Date => Some(SqlType::Date),
        D::Time(None, _) => Some(SqlType::Time),
        D::Timestamp(digits, _) => unit(digits).map(SqlType::Timestamp),
        D::Decimal(info) | D::Numeric(info) | D::Dec(info) => match info {
            p::ExactNumberInfo::PrecisionAndScale(p, s) if *p <= 38 && (0..=38).contains(s) && *s <= *p as i64 => {
                Some(SqlType::Decimal { precision: *p as u32, scale: *s as u32 })
            }
            p::ExactNumberInfo::Precision(p) if *p <= 38 => Some(SqlType::Decimal { precision: *p as u32, scale: 0 }),
            _ => None,
        },
        _ => None,
    };
    let known = "BOOLEAN, INT, BIGINT, DOUBLE, DECIMAL(p,s) up to 38 digits, TEXT, BYTES, DATE, TIME, TIMESTAMP(3|6|9)";
    made.ok_or_else(|| ExprError::new(place, format!("there is no type {ty}; there are {known}")))
}

/// `INTERVAL '7' DAY`, `INTERVAL '7 days'`.
pub(super) fn interval(i: &p::Interval, place: Pos) -> Parsed<i64> {
    let form = "write INTERVAL '7' DAY, with WEEK, DAY, HOUR, MINUTE, SECOND or MILLISECOND";
    let text = match &*i.value {
        p::Expr::Value(p::ValueWithSpan { value: p::Value::SingleQuotedString(text), .. }) => text.clone(),
        p::Expr::Value(p::ValueWithSpan { value: p::Value::Number(text, _), .. }) => text.clone(),
        _ => return fail(place, form),
    };
    let (number, unit) = match (&i.leading_field, text.trim().split_once(' ')) {
        (Some(field), None) => (text.trim().to_owned(), field.to_string()),
        (None, Some((number, unit))) => (number.to_owned(), unit.to_owned()),
        _ => return fail(place, form),
    };
    let scale = match unit.trim().to_ascii_uppercase().trim_end_matches('S') {
        "WEEK" => 604_800_000,
        "DAY" => 86_400_000,
        "HOUR" => 3_600_000,
        "MINUTE" => 60_000,
        "SECOND" => 1_000,
        "MILLISECOND" => 1,
        _ => return fail(place, form),
    };
    match number.parse::<i64>().ok().and_then(|n| n.checked_mul(scale)) {
        Some(ms) => Ok(ms),
        None => fail(place, form),
    }
}
