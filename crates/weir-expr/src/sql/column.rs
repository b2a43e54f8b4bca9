//! The types of SQL expressions. They are finer than those of the program: they say how a value is written as Avro.

use std::fmt;

use weir_avro::{Kind, Logical, NodeId, Schema};

/// A type and whether its values may be null.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The type.
    pub ty: SqlType,
    /// Whether null is one of its values.
    pub nullable: bool,
}

/// A type of SQL.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum SqlType {
    /// Only null.
    Null,
    Boolean,
    Int,
    BigInt,
    Double,
    Decimal {
        precision: u32,
        scale: u32,
    },
    Text,
    Bytes,
    Date,
    /// A time of day.
    Time,
    /// An instant in UTC.
    Timestamp(Unit),
    /// A length of time.
    Interval,
    Array(Box<Column>),
    /// Keys are texts.
    Map(Box<Column>),
    /// A struct built in place.
    Struct(Vec<(Box<str>, Column)>),
    /// A record of the row's schema.
    Record(NodeId, Box<str>),
    /// A type that can be passed on and tested for null and no more.
    Opaque(Box<str>),
}

/// What the ticks of a timestamp are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Column {
    /// A column of a type.
    pub fn new(ty: SqlType, nullable: bool) -> Column {
        Column { ty, nullable }
    }

    /// The column that the values of an Avro type make.
    pub fn of(schema: &Schema, id: NodeId) -> Column {
        let (inner, nullable) = schema.non_null(id);
        let node = schema.node(inner);
        use Logical as L;
        let opaque = || SqlType::Opaque(schema.describe(inner).into());
        let ty = match (&node.kind, node.logical) {
            (Kind::Int | Kind::Long, Some(L::Date)) => SqlType::Date,
            (Kind::Int | Kind::Long, Some(L::TimeMillis | L::TimeMicros)) => SqlType::Time,
            (Kind::Long, Some(L::TimestampMillis | L::LocalTimestampMillis)) => SqlType::Timestamp(Unit::Millis),
            (Kind::Long, Some(L::TimestampMicros | L::LocalTimestampMicros)) => SqlType::Timestamp(Unit::Micros),
            (Kind::Long, Some(L::TimestampNanos | L::LocalTimestampNanos)) => SqlType::Timestamp(Unit::Nanos),
            (Kind::Bytes | Kind::Fixed { .. }, Some(L::Decimal { precision, scale })) if scale <= 38 => {
                SqlType::Decimal { precision: precision.min(38) as u32, scale: scale as u32 }
            }
            (Kind::Bytes | Kind::Fixed { .. }, Some(L::Uuid)) => SqlType::Text,
            (Kind::Bytes | Kind::Fixed { .. }, Some(_)) => opaque(),
            (Kind::Null, _) => SqlType::Null,
            (Kind::Boolean, _) => SqlType::Boolean,
            (Kind::Int, _) => SqlType::Int,
            (Kind::Long, _) => SqlType::BigInt,
            (Kind::Float | Kind::Double, _) => SqlType::Double,
            (Kind::String | Kind::Enum { .. }, _) => SqlType::Text,
            (Kind::Bytes | Kind::Fixed { .. }, None) => SqlType::Bytes,
            (Kind::Array { items }, _) => SqlType::Array(Box::new(Column::of(schema, *items))),
            (Kind::Map { values }, _) => SqlType::Map(Box::new(Column::of(schema, *values))),
            (Kind::Record { .. }, _) => SqlType::Record(inner, node.name.clone().unwrap_or_default()),
            (Kind::Union { .. }, _) => {
                // Of several branches; null may be among them.
                return Column::new(opaque(), true);
            }
        };
        let nullable = nullable || ty == SqlType::Null;
        Column { ty, nullable }
    }

    /// The narrowest column that holds the values of both.
    pub(crate) fn join(&self, other: &Column) -> Option<Column> {
        Some(Column { ty: self.ty.join(&other.ty)?, nullable: self.nullable || other.nullable })
    }
}

impl SqlType {
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, SqlType::Int | SqlType::BigInt | SqlType::Double | SqlType::Decimal { .. })
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self, SqlType::Int | SqlType::BigInt)
    }

    /// Whether two values of the type have an order.
    pub fn is_ordered(&self) -> bool {
        use SqlType as T;
        self.is_number() || matches!(self, T::Boolean | T::Text | T::Bytes | T::Date | T::Time | T::Timestamp(_))
    }

    /// The narrowest type that holds the values of both.
    pub(crate) fn join(&self, other: &SqlType) -> Option<SqlType> {
        use SqlType as T;
        Some(match (self, other) {
            (T::Decimal { precision: p, scale: s }, T::Decimal { precision: q, scale: t }) => {
                let scale = *s.max(t);
                T::Decimal { precision: ((p - p.min(s)).max(q - q.min(t)) + scale).min(38), scale }
            }
            (a, b) if a == b => a.clone(),
            (T::Null, b) => b.clone(),
            (a, T::Null) => a.clone(),
            (T::Int, T::BigInt) | (T::BigInt, T::Int) => T::BigInt,
            (T::Double, b) | (b, T::Double) if b.is_number() => T::Double,
            (T::Decimal { scale, .. }, b) | (b, T::Decimal { scale, .. }) if b.is_integer() => {
                T::Decimal { precision: 38, scale: *scale }
            }
            (T::Timestamp(a), T::Timestamp(b)) => T::Timestamp(*a.max(b)),
            (T::Date, T::Timestamp(u)) | (T::Timestamp(u), T::Date) => T::Timestamp(*u),
            (T::Array(a), T::Array(b)) => T::Array(Box::new(a.join(b)?)),
            (T::Map(a), T::Map(b)) => T::Map(Box::new(a.join(b)?)),
            (T::Struct(a), T::Struct(b)) if a.len() == b.len() => {
                let fields = a.iter().zip(b).map(|((n, a), (m, b))| Some((n.clone(), a.join(b).filter(|_| n == m)?)));
                T::Struct(fields.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SqlType::Null => "NULL",
            SqlType::Boolean => "BOOLEAN",
            SqlType::Int => "INT",
            SqlType::BigInt => "BIGINT",
            SqlType::Double => "DOUBLE",
            SqlType::Decimal { precision, scale } => return write!(f, "DECIMAL({precision},{scale})"),
            SqlType::Text => "TEXT",
            SqlType::Bytes => "BYTES",
            SqlType::Date => "DATE",
            SqlType::Time => "TIME",
            SqlType::Timestamp(Unit::Millis) => "TIMESTAMP(3)",
            SqlType::Timestamp(Unit::Micros) => "TIMESTAMP(6)",
            SqlType::Timestamp(Unit::Nanos) => "TIMESTAMP(9)",
            SqlType::Interval => "INTERVAL",
            SqlType::Array(item) => return write!(f, "ARRAY<{}>", item.ty),
            SqlType::Map(value) => return write!(f, "MAP<TEXT, {}>", value.ty),
            SqlType::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (i, (name, column)) in fields.iter().enumerate() {
                    write!(f, "{}{name} {}", if i > 0 { ", " } else { "" }, column.ty)?;
                }
                return f.write_str(">");
            }
            SqlType::Record(_, name) => name,
            SqlType::Opaque(name) => name,
        })
    }
}
