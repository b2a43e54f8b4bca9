//! Values as Avro, written by their SQL type. The schema that goes with the bytes is made from the same type.

use weir_avro::{put_blob, put_long};

use crate::error::EvalErrorKind as Kind;
use crate::number::Decimal;
use crate::sql::{Column, SqlType, Unit};
use crate::time::Timestamp;
use crate::value::{Budget, List, Map, Value};

/// Appends a value of this column: a nullable one is a union of null and the type, in this order. INT is an Avro int,
/// BIGINT a long, DATE an int of days, TIME a long of microseconds, DECIMAL bytes.
///
/// # Errors
/// What the column cannot hold: null where it has none, an INT or DECIMAL out of range. `out` is then longer by a part
/// of the value.
pub fn encode(value: &Value<'_>, column: &Column, out: &mut Vec<u8>) -> Result<(), Kind> {
    if column.nullable {
        if matches!(value, Value::Null) {
            if column.ty != SqlType::Null {
                put_long(out, 0);
            }
            return Ok(());
        }
        put_long(out, 1);
    }
    let unfit = |op| Err(value.unfit(op));
    match (&column.ty, value) {
        (SqlType::Boolean, Value::Bool(b)) => out.push(u8::from(*b)),
        (SqlType::Int, Value::Int(n)) => match i32::try_from(*n) {
            Ok(n) => put_long(out, n.into()),
            Err(_) => return Err(Kind::Convert { from: "int", to: "INT" }),
        },
        (SqlType::BigInt, Value::Int(n)) => put_long(out, *n),
        (SqlType::Double, Value::Double(x)) => out.extend(x.to_le_bytes()),
        (SqlType::Decimal { precision, scale }, Value::Decimal(d)) => {
            let d = d.rescaled(*scale).filter(|d| d.digits() <= *precision);
            let unscaled = d.ok_or(Kind::Overflow("decimal"))?.unscaled();
            put_blob(out, shortest(&unscaled.to_be_bytes()));
        }
        (SqlType::Text, Value::String(text)) => put_blob(out, text.as_bytes()),
        (SqlType::Bytes, Value::Bytes(bytes)) => put_blob(out, bytes),
        (SqlType::Date, Value::Timestamp(t)) => put_long(out, t.seconds().div_euclid(86_400)),
        (SqlType::Time, Value::Duration(d)) => match i64::try_from(d.as_micros()) {
            Ok(micros) => put_long(out, micros),
            Err(_) => return Err(Kind::Overflow("time")),
        },
        (SqlType::Timestamp(unit), Value::Timestamp(t)) => {
            put_long(out, ticks(*t, *unit).ok_or(Kind::Overflow("timestamp"))?);
        }
        (SqlType::Array(item), Value::List(list)) => {
            let count = list.len(&free())?;
            if count > 0 {
                put_long(out, count as i64);
                for value in list.iter() {
                    encode(&value?, item, out)?;
                }
            }
            out.push(0);
        }
        (SqlType::Map(of), Value::Map(map)) => entries(map, of, out)?,
        (SqlType::Struct(fields), Value::List(list)) => {
            let values: &[Value<'_>] = match list {
                List::Owned(values) => values,
                List::Slice(values) => values,
                List::Array(_) => return unfit("struct"),
            };
            for ((_, column), value) in fields.iter().zip(values) {
                encode(value, column, out)?;
            }
        }
        (SqlType::Record(..), Value::Record(record)) => out.extend_from_slice(record.region.bytes),
        _ => return unfit("output"),
    }
    Ok(())
}

/// The elements of an array, in order. One whose bytes are no value of its schema is an error.
pub fn elements<'a>(list: &List<'a>) -> impl Iterator<Item = Result<Value<'a>, Kind>> {
    list.iter()
}

fn free() -> Budget {
    Budget::new(u64::MAX)
}

fn entries(map: &Map<'_>, of: &Column, out: &mut Vec<u8>) -> Result<(), Kind> {
    let budget = free();
    let keys = map.keys(&budget)?.collect::<Result<Vec<_>, _>>()?;
    if !keys.is_empty() {
        put_long(out, keys.len() as i64);
    }
    for key in keys {
        let Value::String(text) = &key else { return Err(key.unfit("key of a map")) };
        put_blob(out, text.as_bytes());
        encode(&map.get(&key, &budget)?.unwrap_or(Value::Null), of, out)?;
    }
    out.push(0);
    Ok(())
}

/// The ticks of a timestamp since the epoch, rounded down; `None` beyond 64 bits.
pub(crate) fn ticks(t: Timestamp, unit: Unit) -> Option<i64> {
    let nanos = t.as_duration().as_nanos();
    let divisor = match unit {
        Unit::Millis => 1_000_000,
        Unit::Micros => 1_000,
        Unit::Nanos => 1,
    };
    i64::try_from(nanos.div_euclid(divisor)).ok()
}

/// A two's complement number without the bytes that only repeat its sign.
fn shortest(bytes: &[u8; 16]) -> &[u8] {
    let sign = if bytes[0] & 0x80 != 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
        start += 1;
    }
    &bytes[start..]
}

impl Decimal {
    /// The same number with this many digits behind the point; `None` where digits would be lost or it does not fit.
    pub fn rescaled(self, scale: u32) -> Option<Decimal> {
        let have = self.scale();
        if scale >= have {
            return Decimal::new(self.unscaled().checked_mul(10_i128.checked_pow(scale - have)?)?, scale);
        }
        let unit = 10_i128.checked_pow(have - scale)?;
        if self.unscaled() % unit != 0 {
            return None;
        }
        Decimal::new(self.unscaled() / unit, scale)
    }

    /// The nearest number with this many digits behind the point, halves away from zero; `None` where it does not fit.
    pub fn rounded(self, scale: u32) -> Option<Decimal> {
        let have = self.scale();
        if scale >= have {
            return self.rescaled(scale);
        }
        Decimal::new(divide(self.unscaled(), 10_i128.checked_pow(have - scale)?)?, scale)
    }

    /// How many digits it has, the zero before the point not counted.
    pub fn digits(self) -> u32 {
        let n = self.unscaled().unsigned_abs();
        if n == 0 { 0 } else { n.ilog10() + 1 }
    }

    /// The quotient with this many digits behind the point, halves away from zero; `None` where it does not fit or the
    /// divisor is zero.
    pub fn quotient(self, by: Decimal, scale: u32) -> Option<Decimal> {
        let up = i64::from(scale) + i64::from(by.scale()) - i64::from(self.scale());
        let (mut a, mut b) = (self.unscaled(), by.unscaled());
        let power = 10_i128.checked_pow(u32::try_from(up.unsigned_abs()).ok()?)?;
        if up >= 0 {
            a = a.checked_mul(power)?;
        } else {
            b = b.checked_mul(power)?;
        }
        Decimal::new(divide(a, b)?, scale)
    }
}

fn divide(a: i128, b: i128) -> Option<i128> {
    let (quotient, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    // Twice the rest could overflow; the other half is compared instead.
    let half = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
    Some(if rest != 0 && half { quotient + if (a < 0) == (b < 0) { 1 } else { -1 } } else { quotient })
}
