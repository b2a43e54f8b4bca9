//! What two memories of one aggregate make together, where two windows become one.

use weir_avro::Slot;
use weir_expr::sql::SqlType;
use weir_expr::{Decimal, Value};

use super::{Aggregate, BOUND, Kind, Memory};
use crate::projection::RowError;

impl Aggregate {
    /// Notes the offset of the value that was just taken in, where it decides which of two stays.
    pub(crate) fn stamp(&self, memory: &mut Memory, offset: i64) {
        if matches!(self.kind, Kind::Latest | Kind::Earliest) {
            memory.exact = offset.into();
        }
    }

    /// Takes in what another memory holds. Values that are collected stand behind those that are there.
    pub(crate) fn merge(&self, memory: &mut Memory, other: &Memory) -> Result<(), RowError> {
        if other.count == 0 {
            return Ok(());
        }
        if memory.count == 0 {
            *memory = other.clone();
            return Ok(());
        }
        let (count, more) = (memory.count, other.count);
        memory.count = count.checked_add(more).ok_or(RowError::Record("a count is out of range"))?;
        match self.kind {
            Kind::Count => {}
            Kind::Sum | Kind::Avg => match self.arg.as_ref().map(|c| &c.ty) {
                Some(SqlType::Double) => {
                    // Kahan's sum, of the other sum and what rounding has taken from it.
                    for x in [other.sum, -other.rest] {
                        let y = x - memory.rest;
                        let t = memory.sum + y;
                        memory.rest = (t - memory.sum) - y;
                        memory.sum = t;
                    }
                    if !memory.sum.is_finite() && other.sum.is_finite() {
                        return Err(RowError::Record("the sum is beyond DOUBLE"));
                    }
                }
                Some(SqlType::Decimal { scale, .. }) => {
                    let sum = Decimal::new(memory.exact, *scale)
                        .zip(Decimal::new(other.exact, *scale))
                        .and_then(|(a, b)| a.plus(b)?.rescaled(*scale));
                    memory.exact = sum.ok_or(RowError::Record("the sum has more than 38 digits"))?.unscaled();
                }
                _ => {
                    memory.exact += other.exact;
                    if self.kind == Kind::Sum && i64::try_from(memory.exact).is_err() {
                        return Err(RowError::Record(
                            "the sum is beyond BIGINT; sum CAST(... AS DECIMAL(38,0)) instead",
                        ));
                    }
                }
            },
            Kind::Stddev => {
                // Chan's mean and squared distances of two parts.
                let (a, b) = (count as f64, more as f64);
                let delta = other.sum - memory.sum;
                memory.sum += delta * b / (a + b);
                memory.rest += other.rest + delta * delta * a * b / (a + b);
            }
            Kind::Latest if other.exact > memory.exact => *memory = Memory { count: memory.count, ..other.clone() },
            Kind::Earliest if other.exact < memory.exact => *memory = Memory { count: memory.count, ..other.clone() },
            Kind::Latest | Kind::Earliest => {}
            Kind::Min | Kind::Max | Kind::TopK(_) => {
                let (most, great) = match self.kind {
                    Kind::TopK(k) => (k, true),
                    kind => (1, kind == Kind::Max),
                };
                for value in &other.values {
                    let slot = Slot::read(&self.schema, self.schema.root(), value).unwrap_or(Slot::Null);
                    let value = Value::of_slot(&self.schema, self.schema.root(), slot);
                    self.rank(memory, &value, most, great)?;
                }
            }
            Kind::CollectList => {
                memory.values.extend_from_slice(&other.values);
                memory.values.truncate(BOUND);
            }
            Kind::CountDistinct => memory.note_all(other),
            Kind::CollectSet => {
                for value in &other.values {
                    if let Err(place) = memory.values.binary_search(value)
                        && memory.values.len() < BOUND
                    {
                        memory.values.insert(place, value.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
