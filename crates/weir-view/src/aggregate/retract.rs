//! Aggregates whose rows are taken out again. Numbers are taken off; of values a bounded multiset is kept, and a count of
//! the rows whose value is not held.
//!
//! Past the bound MIN, MAX and TOPK hold the best values. While rows that are not held are left, nothing worse than the
//! worst one held is taken up, so what is held are always the best; where the last of them goes, the result is unknown
//! (null, no elements) until the rows that were not held have gone as well. COUNT(DISTINCT), COLLECT_SET and COLLECT_LIST
//! say what they hold, which is then a part.

use weir_avro::{Slot, put_long};
use weir_expr::Value;
use weir_expr::sql::SqlType;

use super::{Aggregate, BOUND, Kind, Memory};
use crate::projection::RowError;

/// More than the digits of any decimal.
const BEYOND: f64 = 1e38;

impl Memory {
    /// Whether the sum stands for the rows that are there: nothing has gone beyond its type, and none is infinite.
    pub(super) fn is_sound(&self, of: &Aggregate) -> bool {
        match of.arg.as_ref().map(|c| &c.ty) {
            Some(SqlType::Decimal { .. }) => self.sum.abs() < BEYOND,
            Some(SqlType::Double) => self.exact == 0 && self.sum.is_finite() && self.rest.is_finite(),
            _ => true,
        }
    }

    /// The best `k` values as an array.
    pub(super) fn write_best(&self, k: usize, out: &mut Vec<u8>) {
        let often = |count: &i64| usize::try_from(*count).unwrap_or(0).min(k);
        let all =
            self.values.iter().zip(&self.counts).flat_map(|(value, count)| std::iter::repeat_n(value, often(count)));
        let best: Vec<_> = all.take(k).collect();
        if !best.is_empty() {
            put_long(out, best.len() as i64);
            best.iter().for_each(|value| out.extend_from_slice(value));
        }
        out.push(0);
    }
}

impl Aggregate {
    /// Whether each value is remembered with how often it is there.
    pub(crate) fn counted(&self) -> bool {
        let multiset =
            matches!(self.kind, Kind::Min | Kind::Max | Kind::TopK(_) | Kind::CountDistinct | Kind::CollectSet);
        self.retracts && multiset
    }

    /// Takes the value of a row in. It does not fail where a number grows too great: the result does.
    pub(super) fn put_in(&self, memory: &mut Memory, value: &Value<'_>) -> Result<(), RowError> {
        memory.count += 1;
        match self.kind {
            Kind::CollectList => {
                // After a row that is not held, none is: the list is the first ones.
                if memory.values.len() < BOUND && memory.exact == 0 {
                    memory.values.push(self.encoded(value)?);
                } else {
                    memory.exact += 1;
                }
            }
            _ if self.counted() => self.hold(memory, value)?,
            _ => self.weigh(memory, value, 1)?,
        }
        Ok(())
    }

    /// Takes the value of a row out that was taken in before.
    pub(crate) fn remove(&self, memory: &mut Memory, value: &Value<'_>) -> Result<(), RowError> {
        if matches!(value, Value::Null) && self.arg.is_some() {
            return Ok(());
        }
        memory.count -= 1;
        if !self.counted() && self.kind != Kind::CollectList {
            self.weigh(memory, value, -1)?;
            if memory.count == 0 {
                // What rounding has left of doubles goes with the last of them.
                *memory = Memory::default();
            }
            return Ok(());
        }
        let value = self.encoded(value)?;
        match memory.values.iter().position(|known| *known == value) {
            Some(place) => {
                if let Some(count) = memory.counts.get_mut(place) {
                    *count -= 1;
                    if *count > 0 {
                        return Ok(());
                    }
                    memory.counts.remove(place);
                }
                memory.values.remove(place);
            }
            None => memory.exact = (memory.exact - 1).max(0),
        }
        Ok(())
    }

    /// Holds one more of a value, where it is one of the best.
    fn hold(&self, memory: &mut Memory, value: &Value<'_>) -> Result<(), RowError> {
        let encoded = self.encoded(value)?;
        let known = memory.values.iter().position(|known| *known == encoded);
        if let Some(count) = known.and_then(|place| memory.counts.get_mut(place)) {
            *count += 1;
            return Ok(());
        }
        let ranked = matches!(self.kind, Kind::Min | Kind::Max | Kind::TopK(_));
        let place = match ranked {
            true => memory.values.partition_point(|known| !self.better(value, known)),
            false => memory.values.partition_point(|known| *known < encoded),
        };
        // A value that stands behind all that are held may be worse than one that is not.
        let unknown = ranked && memory.exact > 0 && place == memory.values.len();
        if unknown || (!ranked && memory.values.len() >= BOUND) {
            memory.exact += 1;
            return Ok(());
        }
        memory.values.insert(place, encoded);
        memory.counts.insert(place, 1);
        if memory.values.len() > BOUND {
            memory.values.pop();
            memory.exact += i128::from(memory.counts.pop().unwrap_or(0));
        }
        Ok(())
    }

    /// Whether a value stands before one that is remembered.
    fn better(&self, value: &Value<'_>, known: &[u8]) -> bool {
        let slot = Slot::read(&self.schema, self.schema.root(), known).unwrap_or(Slot::Null);
        let known = Value::of_slot(&self.schema, self.schema.root(), slot);
        let order = value.compare(&known);
        order.is_some_and(|order| if self.kind == Kind::Min { order.is_lt() } else { order.is_gt() })
    }

    /// Adds a number, or takes it off.
    fn weigh(&self, memory: &mut Memory, value: &Value<'_>, sign: i128) -> Result<(), RowError> {
        let number = RowError::Record("the argument of an aggregate is no number");
        match (self.kind, value, self.arg.as_ref().map(|c| &c.ty)) {
            (Kind::Count, ..) => {}
            (Kind::Sum | Kind::Avg, Value::Int(n), _) => memory.exact += sign * i128::from(*n),
            (Kind::Sum | Kind::Avg, Value::Decimal(d), Some(SqlType::Decimal { scale, .. })) => {
                let d = d.rescaled(*scale).ok_or(RowError::Record("the sum has more than 38 digits"))?;
                // What goes round comes back when it is taken off; the double says whether it has gone round.
                memory.exact = memory.exact.wrapping_add(sign.wrapping_mul(d.unscaled()));
                memory.sum += sign as f64 * d.unscaled() as f64;
            }
            (_, Value::Double(x), _) if !x.is_finite() => memory.exact += sign,
            (Kind::Sum | Kind::Avg, Value::Double(x), _) => {
                // Kahan's sum.
                let y = sign as f64 * x - memory.rest;
                let t = memory.sum + y;
                memory.rest = (t - memory.sum) - y;
                memory.sum = t;
            }
            (Kind::Stddev, Value::Double(_) | Value::Int(_), _) => {
                let x = match value {
                    Value::Double(x) => *x,
                    Value::Int(n) => *n as f64,
                    _ => return Err(number),
                };
                // Welford's mean and squared distances of the finite ones, forwards and backwards.
                let delta = x - memory.sum;
                let finite = (i128::from(memory.count) - memory.exact) as f64;
                if finite <= 0.0 {
                    (memory.sum, memory.rest) = (0.0, 0.0);
                    return Ok(());
                }
                memory.sum += sign as f64 * delta / finite;
                memory.rest = (memory.rest + sign as f64 * delta * (x - memory.sum)).max(0.0);
            }
            _ => return Err(number),
        }
        Ok(())
    }
}
