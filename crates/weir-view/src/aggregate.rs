//! What an aggregate remembers of the rows it has seen, as bytes, and what it says of them.

mod distinct;
mod merge;
mod retract;

use weir_avro::{Schema, Slot, put_blob, put_long};
use weir_expr::sql::{Column, SqlType, encode};
use weir_expr::{Decimal, Value};

use crate::bytes::Bytes;
use crate::projection::RowError;

/// The most values that are held of a group.
pub(crate) const BOUND: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Sum,
    Avg,
    Stddev,
    Min,
    Max,
    CountDistinct,
    CollectList,
    CollectSet,
    TopK(usize),
    Latest,
    Earliest,
}

/// One aggregate of a view.
#[derive(Debug)]
pub(crate) struct Aggregate {
    pub kind: Kind,
    /// The column of its argument; a count of rows has none.
    pub arg: Option<Column>,
    /// Reads a remembered value back: the schema of the argument without null.
    pub schema: Schema,
    pub result: Column,
    /// Whether rows are taken out again, those of a table.
    pub retracts: bool,
}

/// What one aggregate remembers for one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// How many values that are not null.
    count: i64,
    /// The sum of integers, or of the digits of decimals of one scale.
    exact: i128,
    /// The sum of doubles, or their mean; and what rounding has taken from it, or the sum of squared distances.
    sum: f64,
    rest: f64,
    /// The values themselves, encoded; or what is estimated by, see `distinct`.
    values: Vec<Vec<u8>>,
    /// How often each of them is there, where rows are taken out again.
    counts: Vec<i64>,
}

impl Memory {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_long(out, self.count);
        out.extend(self.exact.to_le_bytes());
        out.extend(self.sum.to_le_bytes());
        out.extend(self.rest.to_le_bytes());
        put_long(out, self.values.len() as i64);
        for value in &self.values {
            put_blob(out, value);
        }
        self.counts.iter().for_each(|count| put_long(out, *count));
    }

    /// Reads it back; `counted` as [`Aggregate::counted`] says.
    pub(crate) fn read(bytes: &mut Bytes<'_>, counted: bool) -> Option<Memory> {
        let (count, exact) = (bytes.long()?, i128::from_le_bytes(bytes.array()?));
        let (sum, rest) = (f64::from_le_bytes(bytes.array()?), f64::from_le_bytes(bytes.array()?));
        let many = bytes.long()?;
        let mut values = Vec::new();
        for _ in 0..many {
            values.push(bytes.blob()?.to_vec());
        }
        let mut counts = Vec::new();
        for _ in values.iter().filter(|_| counted) {
            counts.push(bytes.long()?);
        }
        Some(Memory { count, exact, sum, rest, values, counts })
    }
}

impl Aggregate {
    /// The result of an aggregate over this argument; `None` where it does not take it.
    pub(crate) fn result(kind: Kind, arg: Option<&Column>) -> Option<Column> {
        let nullable = |ty| Some(Column::new(ty, true));
        let list = |ty: &SqlType| Some(Column::new(SqlType::Array(Box::new(Column::new(ty.clone(), false))), false));
        let storable =
            |ty: &SqlType| !matches!(ty, SqlType::Record(..) | SqlType::Opaque(_) | SqlType::Null | SqlType::Interval);
        let Some(Column { ty, .. }) = arg else {
            return (kind == Kind::Count).then(|| Column::new(SqlType::BigInt, false));
        };
        match kind {
            Kind::Count => Some(Column::new(SqlType::BigInt, false)),
            Kind::CountDistinct if storable(ty) => Some(Column::new(SqlType::BigInt, false)),
            Kind::Sum => match ty {
                SqlType::Int | SqlType::BigInt => nullable(SqlType::BigInt),
                SqlType::Double => nullable(SqlType::Double),
                SqlType::Decimal { scale, .. } => nullable(SqlType::Decimal { precision: 38, scale: *scale }),
                _ => None,
            },
            Kind::Avg => match ty {
                SqlType::Int | SqlType::BigInt | SqlType::Double => nullable(SqlType::Double),
                SqlType::Decimal { scale, .. } => nullable(SqlType::Decimal { precision: 38, scale: (*scale).max(6) }),
                _ => None,
            },
            Kind::Stddev => matches!(ty, SqlType::Double | SqlType::Int | SqlType::BigInt)
                .then(|| Column::new(SqlType::Double, true)),
            Kind::Min | Kind::Max if ty.is_ordered() => nullable(ty.clone()),
            Kind::TopK(_) if ty.is_ordered() => list(ty),
            Kind::Latest | Kind::Earliest if storable(ty) => nullable(ty.clone()),
            Kind::CollectList | Kind::CollectSet if storable(ty) => list(ty),
            _ => None,
        }
    }

    /// Takes a value in. Null is passed over, as in SQL; a count of rows takes whatever comes.
    pub(crate) fn add(&self, memory: &mut Memory, value: &Value<'_>) -> Result<(), RowError> {
        if matches!(value, Value::Null) && self.arg.is_some() {
            return Ok(());
        }
        if self.retracts {
            return self.put_in(memory, value);
        }
        memory.count = memory.count.checked_add(1).ok_or(RowError::Record("a count is out of range"))?;
        match self.kind {
            Kind::Count => {}
            Kind::Sum | Kind::Avg => match (value, self.arg.as_ref().map(|c| &c.ty)) {
                (Value::Int(n), _) => {
                    memory.exact += i128::from(*n);
                    if self.kind == Kind::Sum && i64::try_from(memory.exact).is_err() {
                        return Err(RowError::Record(
                            "the sum is beyond BIGINT; sum CAST(... AS DECIMAL(38,0)) instead",
                        ));
                    }
                }
                (Value::Decimal(d), Some(SqlType::Decimal { scale, .. })) => {
                    let beyond = RowError::Record("the sum has more than 38 digits");
                    let sum = Decimal::new(memory.exact, *scale).and_then(|s| s.plus(*d)?.rescaled(*scale));
                    memory.exact = sum.ok_or(beyond)?.unscaled();
                }
                (Value::Double(x), _) => {
                    // Kahan's sum.
                    let y = x - memory.rest;
                    let t = memory.sum + y;
                    memory.rest = (t - memory.sum) - y;
                    memory.sum = t;
                    if !t.is_finite() && x.is_finite() {
                        return Err(RowError::Record("the sum is beyond DOUBLE"));
                    }
                }
                _ => return Err(RowError::Record("the argument of an aggregate is no number")),
            },
            Kind::Stddev => {
                // Welford's mean and squared distances.
                let x = match value {
                    Value::Double(x) => *x,
                    Value::Int(n) => *n as f64,
                    _ => return Err(RowError::Record("the argument of an aggregate is no number")),
                };
                let delta = x - memory.sum;
                memory.sum += delta / memory.count as f64;
                memory.rest += delta * (x - memory.sum);
            }
            Kind::Latest => memory.values = vec![self.encoded(value)?],
            Kind::Earliest if memory.values.is_empty() => memory.values = vec![self.encoded(value)?],
            Kind::Earliest => {}
            Kind::Min => self.rank(memory, value, 1, false)?,
            Kind::Max => self.rank(memory, value, 1, true)?,
            Kind::TopK(k) => self.rank(memory, value, k, true)?,
            Kind::CollectList if memory.values.len() < BOUND => memory.values.push(self.encoded(value)?),
            Kind::CollectList => {}
            Kind::CountDistinct => memory.note(self.encoded(value)?),
            Kind::CollectSet => {
                let value = self.encoded(value)?;
                if let Err(place) = memory.values.binary_search(&value)
                    && memory.values.len() < BOUND
                {
                    memory.values.insert(place, value);
                }
            }
        }
        Ok(())
    }

    fn encoded(&self, value: &Value<'_>) -> Result<Vec<u8>, RowError> {
        let mut bytes = Vec::new();
        if let Some(column) = &self.arg {
            let column = Column::new(column.ty.clone(), false);
            encode(value, &column, &mut bytes).map_err(|error| RowError::Encode { what: "aggregate".into(), error })?;
        }
        Ok(bytes)
    }

    /// Keeps the best `most` values, the best first; of equal ones the earlier stays in front.
    fn rank(&self, memory: &mut Memory, value: &Value<'_>, most: usize, great: bool) -> Result<(), RowError> {
        let better = |known: &Vec<u8>| {
            let slot = Slot::read(&self.schema, self.schema.root(), known).unwrap_or(Slot::Null);
            let known = Value::of_slot(&self.schema, self.schema.root(), slot);
            value.compare(&known).is_some_and(|order| if great { order.is_gt() } else { order.is_lt() })
        };
        let place = memory.values.iter().position(better).unwrap_or(memory.values.len());
        if place < most {
            memory.values.insert(place, self.encoded(value)?);
            memory.values.truncate(most);
        }
        Ok(())
    }

    /// Appends the result.
    pub(crate) fn finish(&self, memory: &Memory, out: &mut Vec<u8>) -> Result<(), RowError> {
        let scale = if let SqlType::Decimal { scale, .. } = self.result.ty { scale } else { 0 };
        let arg_scale = match self.arg.as_ref().map(|c| &c.ty) {
            Some(SqlType::Decimal { scale, .. }) => *scale,
            _ => 0,
        };
        let decimal =
            |unscaled| Decimal::new(unscaled, arg_scale).ok_or(RowError::Record("the sum has more than 38 digits"));
        let value = match (self.kind, &self.result.ty) {
            (Kind::Count, _) => Value::Int(memory.count),
            (Kind::CountDistinct, _) if self.retracts => Value::Int(memory.values.len() as i64),
            (Kind::CountDistinct, _) => Value::Int(memory.distinct()),
            (Kind::Sum | Kind::Avg | Kind::Stddev, _) if self.retracts && !memory.is_sound(self) => {
                return Err(RowError::Record("the sum of the group is out of range"));
            }
            (Kind::Sum | Kind::Avg, _) if memory.count == 0 => Value::Null,
            (Kind::Stddev, _) if memory.count < 2 => Value::Null,
            (Kind::Sum, SqlType::Double) => Value::Double(memory.sum),
            (Kind::Sum, SqlType::Decimal { .. }) => Value::Decimal(decimal(memory.exact)?),
            (Kind::Sum, _) => {
                Value::Int(i64::try_from(memory.exact).map_err(|_| RowError::Record("the sum is beyond BIGINT"))?)
            }
            (Kind::Avg, SqlType::Decimal { .. }) => {
                let quotient = Decimal::quotient(decimal(memory.exact)?, Decimal::from(memory.count), scale);
                Value::Decimal(quotient.ok_or(RowError::Record("the average has more than 38 digits"))?)
            }
            (Kind::Avg, _) if matches!(self.arg.as_ref().map(|c| &c.ty), Some(SqlType::Double)) => {
                Value::Double(memory.sum / memory.count as f64)
            }
            (Kind::Avg, _) => Value::Double(memory.exact as f64 / memory.count as f64),
            (Kind::Stddev, _) => Value::Double((memory.rest / (memory.count - 1) as f64).sqrt()),
            (Kind::TopK(k), _) if self.retracts => {
                memory.write_best(k, out);
                return Ok(());
            }
            (Kind::Min | Kind::Max | Kind::Latest | Kind::Earliest, _) => {
                match memory.values.first() {
                    Some(value) => {
                        put_long(out, 1);
                        out.extend_from_slice(value);
                    }
                    None => put_long(out, 0),
                }
                return Ok(());
            }
            (Kind::CollectList | Kind::CollectSet | Kind::TopK(_), _) => {
                if !memory.values.is_empty() {
                    put_long(out, memory.values.len() as i64);
                    memory.values.iter().for_each(|value| out.extend_from_slice(value));
                }
                out.push(0);
                return Ok(());
            }
        };
        encode(&value, &self.result, out).map_err(|error| RowError::Encode { what: "aggregate".into(), error })
    }
}
