//! Arithmetic on values. Every result that does not fit its type is an error; nothing wraps and nothing saturates.

use crate::ast::Op;
use crate::env::Type;
use crate::error::EvalErrorKind as Kind;
use crate::func::{may_list, may_make};
use crate::number::Decimal;
use crate::time::in_range;
use crate::value::{Budget, Shared, Value};

/// The type of `a op b`; `None` where the operator does not take the two.
pub(crate) fn result(op: Op, a: &Type, b: &Type) -> Option<Type> {
    use Type as T;
    if a.is_dynamic() || b.is_dynamic() {
        return Some(T::Dyn);
    }
    Some(match (op, a, b) {
        (_, T::Int, T::Int) => T::Int,
        (_, T::Uint, T::Uint) => T::Uint,
        (Op::Add | Op::Sub | Op::Mul | Op::Div, T::Double, T::Double) => T::Double,
        (Op::Add | Op::Sub | Op::Mul, T::Decimal, T::Decimal | T::Int | T::Uint) => T::Decimal,
        (Op::Add | Op::Sub | Op::Mul, T::Int | T::Uint, T::Decimal) => T::Decimal,
        (Op::Add, T::String, T::String) => T::String,
        (Op::Add, T::Bytes, T::Bytes) => T::Bytes,
        (Op::Add, T::List(_), T::List(_)) => a.clone().join(b.clone()),
        (Op::Add | Op::Sub, T::Timestamp, T::Duration) => T::Timestamp,
        (Op::Add, T::Duration, T::Timestamp) => T::Timestamp,
        (Op::Sub, T::Timestamp, T::Timestamp) => T::Duration,
        (Op::Add | Op::Sub, T::Duration, T::Duration) => T::Duration,
        _ => return None,
    })
}

#[inline]
pub(crate) fn of_ints(op: Op, a: i64, b: i64) -> Result<i64, Kind> {
    if b == 0 && matches!(op, Op::Div | Op::Rem) {
        return Err(Kind::DivideByZero);
    }
    match op {
        Op::Add => a.checked_add(b),
        Op::Sub => a.checked_sub(b),
        Op::Mul => a.checked_mul(b),
        Op::Div => a.checked_div(b),
        _ => a.checked_rem(b),
    }
    .ok_or(Kind::Overflow(op.sign()))
}

fn of_uints(op: Op, a: u64, b: u64) -> Result<u64, Kind> {
    if b == 0 && matches!(op, Op::Div | Op::Rem) {
        return Err(Kind::DivideByZero);
    }
    match op {
        Op::Add => a.checked_add(b),
        Op::Sub => a.checked_sub(b),
        Op::Mul => a.checked_mul(b),
        Op::Div => a.checked_div(b),
        _ => a.checked_rem(b),
    }
    .ok_or(Kind::Overflow(op.sign()))
}

/// IEEE 754; `None` for the remainder, which CEL does not have for doubles.
#[inline]
pub(crate) fn of_doubles(op: Op, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        _ => return None,
    })
}

fn of_decimals(op: Op, a: Decimal, b: Decimal) -> Result<Decimal, Kind> {
    match op {
        Op::Add => a.plus(b),
        Op::Sub => a.minus(b),
        Op::Mul => a.times(b),
        _ => return Err(Kind::NoOverload { op: op.sign(), found: "decimal" }),
    }
    .ok_or(Kind::Overflow(op.sign()))
}

pub(crate) fn of_values<'a>(op: Op, a: Value<'a>, b: Value<'a>, budget: &Budget) -> Result<Value<'a>, Kind> {
    use Value as V;
    let decimal = |v: &Value<'_>| match v {
        V::Decimal(d) => Some(*d),
        V::Int(i) => Some(Decimal::from(*i)),
        V::Uint(i) => Some(Decimal::from(*i)),
        _ => None,
    };
    Ok(match (op, &a, &b) {
        (_, V::Int(a), V::Int(b)) => V::Int(of_ints(op, *a, *b)?),
        (_, V::Uint(a), V::Uint(b)) => V::Uint(of_uints(op, *a, *b)?),
        (_, V::Double(x), V::Double(y)) => V::Double(of_doubles(op, *x, *y).ok_or_else(|| a.unfit(op.sign()))?),
        (_, V::Decimal(_), _) | (_, _, V::Decimal(_)) => match (decimal(&a), decimal(&b)) {
            (Some(x), Some(y)) => V::Decimal(of_decimals(op, x, y)?),
            (Some(_), None) => return Err(b.unfit(op.sign())),
            (None, _) => return Err(a.unfit(op.sign())),
        },
        (Op::Add, V::String(a), V::String(b)) => {
            may_make(a.len() + b.len(), "+", budget)?;
            V::text([&**a, &**b].concat())
        }
        (Op::Add, V::Bytes(a), V::Bytes(b)) => {
            may_make(a.len() + b.len(), "+", budget)?;
            V::Bytes(Shared::Owned([&**a, &**b].concat().into()))
        }
        (Op::Add, V::List(a), V::List(b)) => {
            may_list(a.len(budget)?.saturating_add(b.len(budget)?), "+", budget)?;
            V::list(a.iter().chain(b.iter()).collect::<Result<_, _>>()?)
        }
        (Op::Add, V::Timestamp(t), V::Duration(d)) | (Op::Add, V::Duration(d), V::Timestamp(t)) => {
            V::Timestamp(t.plus(*d)?)
        }
        (Op::Sub, V::Timestamp(t), V::Duration(d)) => V::Timestamp(t.plus(-*d)?),
        (Op::Sub, V::Timestamp(a), V::Timestamp(b)) => {
            V::Duration(in_range(a.as_duration().checked_sub(b.as_duration()))?)
        }
        (Op::Add, V::Duration(a), V::Duration(b)) => V::Duration(in_range(a.checked_add(*b))?),
        (Op::Sub, V::Duration(a), V::Duration(b)) => V::Duration(in_range(a.checked_sub(*b))?),
        (_, _, V::Null) => return Err(Kind::Null),
        _ => {
            // The operand that no operator of this kind takes, or else the right one.
            let odd = if matches!(a, V::Null | V::Bool(_) | V::Map(_) | V::Record(_) | V::Type(_)) { &a } else { &b };
            return Err(odd.unfit(op.sign()));
        }
    })
}

pub(crate) fn negate(value: &Value<'_>) -> Result<Value<'static>, Kind> {
    Ok(match value {
        Value::Int(v) => Value::Int(v.checked_neg().ok_or(Kind::Overflow("-"))?),
        Value::Double(v) => Value::Double(-v),
        Value::Decimal(v) => Value::Decimal(v.negated()),
        other => return Err(other.unfit("-")),
    })
}
