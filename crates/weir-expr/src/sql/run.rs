//! What the operations of SQL do. Null in gives null out but where an operation says otherwise; logic has three values.

use std::cmp::Ordering;

use weir_avro::Slot;

use crate::arith;
use crate::ast;
use crate::code::{Code, Outcome, Scope};
use crate::error::EvalErrorKind as Kind;
use crate::number::Decimal;
use crate::read::{Read, load};
use crate::sql::cast::{Cast, DAY, cast};
use crate::sql::encode::ticks;
use crate::sql::func::{self, Func};
use crate::sql::is_of::Look;
use crate::sql::{Unit, text};
use crate::value::{List, Map, Text, Value};

#[derive(Debug)]
pub(crate) enum Op {
    /// A field of the row; null where a record above it is.
    Field(u32, Read),
    /// A field of a record that no slot holds.
    Get(usize, Read),
    /// A field of a struct that was built in place.
    Item(usize),
    Partition,
    Offset,
    Not,
    And,
    Or,
    Compare(ast::Op),
    Equal(bool),
    Distinct(bool),
    IsNull(bool),
    IsTruth(bool, bool),
    /// Whether a field looks like one of these types.
    IsOf {
        slot: u32,
        looks: Box<[Look]>,
        not: bool,
    },
    Arith(ast::Op),
    /// A quotient of decimals with this scale.
    Quotient(u32),
    Negate,
    Concat,
    In(bool),
    Like {
        escape: Option<char>,
        fold: bool,
        not: bool,
    },
    /// Pairs of condition and result, then what else.
    Case,
    Coalesce,
    NullIf,
    Cast(Cast, bool),
    /// The ticks of a timestamp, the days of a date.
    Ticks(Option<Unit>),
    Try,
    Array,
    Map,
    /// From 1; null outside.
    ArrayItem,
    MapValue,
    Func(Func),
}

impl Code {
    #[inline(never)]
    pub(crate) fn sql<'a>(&'a self, op: &'a Op, args: &'a [Code], s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let fail = |kind| self.fail(kind);
        let budget = &s.cx.budget;
        let one = || args.first().map_or(Ok(Value::Null), |arg| arg.eval(s));
        Ok(match op {
            Op::Field(slot, read) => match s.slot(*slot) {
                Slot::Absent | Slot::Null => Value::Null,
                Slot::Long(n) if read.is_int() => Value::Int(n),
                slot => load(s.cx.input.schema, *read, slot).map_err(fail)?,
            },
            Op::Partition => Value::Int(s.cx.input.partition.into()),
            Op::Offset => Value::Int(s.cx.input.offset),
            Op::Get(index, read) => match one()? {
                Value::Null => Value::Null,
                Value::Record(record) => record.read(*index, *read, budget).map_err(fail)?,
                other => return Err(self.unfit(&other, "field")),
            },
            Op::Item(index) => match one()? {
                Value::Null => Value::Null,
                Value::List(list) => list.get(*index, budget).map_err(fail)?.unwrap_or(Value::Null),
                other => return Err(self.unfit(&other, "field")),
            },
            Op::And | Op::Or => return self.logic(matches!(op, Op::Or), args, s),
            Op::Not => match one()? {
                Value::Bool(b) => Value::Bool(!b),
                _ => Value::Null,
            },
            Op::IsNull(not) => Value::Bool(matches!(one()?, Value::Null) != *not),
            Op::IsTruth(truth, not) => {
                let holds = matches!(one()?, Value::Bool(b) if b == *truth);
                Value::Bool(holds != *not)
            }
            Op::IsOf { slot, looks, not } => match s.slot(*slot) {
                Slot::Absent | Slot::Null => Value::Null,
                slot => Value::Bool(looks.iter().any(|look| look.fits(&slot)) != *not),
            },
            Op::Case => {
                let (arms, otherwise) = args.as_chunks::<2>();
                for [condition, result] in arms {
                    if matches!(condition.eval(s)?, Value::Bool(true)) {
                        return result.eval(s);
                    }
                }
                match otherwise.first() {
                    Some(code) => code.eval(s)?,
                    None => Value::Null,
                }
            }
            Op::Coalesce => {
                for arg in args {
                    match arg.eval(s)? {
                        Value::Null => {}
                        value => return Ok(value),
                    }
                }
                Value::Null
            }
            Op::Try => match one() {
                Err(e) if !e.kind.is_final() => Value::Null,
                other => other?,
            },
            Op::Ticks(unit) => match (one()?, unit) {
                (Value::Null, _) => Value::Null,
                (Value::Timestamp(t), None) => Value::Int(t.seconds().div_euclid(DAY)),
                (Value::Timestamp(t), Some(unit)) => {
                    Value::Int(ticks(t, *unit).ok_or(Kind::Overflow("key")).map_err(fail)?)
                }
                (other, _) => return Err(self.unfit(&other, "key")),
            },
            Op::Cast(to, lenient) => match one()? {
                Value::Null => Value::Null,
                value => match cast(&value, *to) {
                    Err(kind) if *lenient && !kind.is_final() => Value::Null,
                    made => made.map_err(fail)?,
                },
            },
            Op::In(not) => {
                let value = one()?;
                let mut unknown = matches!(value, Value::Null);
                for arg in args.get(1..).unwrap_or_default() {
                    match arg.eval(s)? {
                        Value::Null => unknown = true,
                        _ if unknown => {}
                        other if value.equals(&other, budget).map_err(fail)? => return Ok(Value::Bool(!not)),
                        _ => {}
                    }
                }
                if unknown { Value::Null } else { Value::Bool(*not) }
            }
            Op::Array => {
                budget.spend(args.len() as u64).map_err(fail)?;
                Value::list(args.iter().map(|arg| arg.eval(s)).collect::<Result<_, _>>()?)
            }
            Op::Map => {
                let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(args.len() / 2);
                for [key, value] in args.as_chunks::<2>().0 {
                    let key = match key.eval(s)? {
                        Value::Null => return Err(fail(Kind::Null)),
                        key => key,
                    };
                    for (known, _) in &entries {
                        if known.equals(&key, budget).map_err(fail)? {
                            return Err(fail(Kind::DuplicateKey));
                        }
                    }
                    entries.push((key, value.eval(s)?));
                }
                Value::Map(Map::Owned(entries.into()))
            }
            Op::Distinct(not) => {
                let (a, b) = self.two(args, s)?;
                Value::Bool(a.equals(&b, budget).map_err(fail)? == *not)
            }
            Op::NullIf => {
                let (a, b) = self.two(args, s)?;
                let same =
                    !matches!((&a, &b), (Value::Null, _) | (_, Value::Null)) && a.equals(&b, budget).map_err(fail)?;
                if same { Value::Null } else { a }
            }
            Op::Func(function) => return self.sql_call(function, args, s),
            Op::Negate => match one()? {
                Value::Null => Value::Null,
                value => arith::negate(&value).map_err(fail)?,
            },
            _ => {
                let (a, b) = self.two(args, s)?;
                if matches!(a, Value::Null) || matches!(b, Value::Null) {
                    return Ok(Value::Null);
                }
                self.strict(op, a, b, s)?
            }
        })
    }

    fn two<'a>(&'a self, args: &'a [Code], s: Scope<'_, 'a>) -> Outcome<(Value<'a>, Value<'a>)> {
        match args {
            [a, b] => Ok((a.eval(s)?, b.eval(s)?)),
            _ => Err(self.fail(Kind::Input)),
        }
    }

    /// From left to right, until an operand decides.
    fn logic<'a>(&'a self, decider: bool, args: &'a [Code], s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let mut unknown = false;
        for arg in args {
            match arg.eval(s)? {
                Value::Bool(b) if b == decider => return Ok(Value::Bool(decider)),
                Value::Bool(_) => {}
                _ => unknown = true,
            }
        }
        Ok(if unknown { Value::Null } else { Value::Bool(!decider) })
    }

    /// An operation on two values that are there.
    fn strict<'a>(&'a self, op: &Op, a: Value<'a>, b: Value<'a>, s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let fail = |kind| self.fail(kind);
        let budget = &s.cx.budget;
        Ok(match op {
            Op::Equal(not) => Value::Bool(a.equals(&b, budget).map_err(fail)? != *not),
            Op::Compare(sign) => {
                let order = a.order(&b).map_err(fail)?;
                Value::Bool(match (sign, order) {
                    (_, None) => false,
                    (ast::Op::Lt, Some(o)) => o == Ordering::Less,
                    (ast::Op::Le, Some(o)) => o != Ordering::Greater,
                    (ast::Op::Gt, Some(o)) => o == Ordering::Greater,
                    (_, Some(o)) => o != Ordering::Less,
                })
            }
            Op::Arith(sign) => {
                if let (Value::Double(x), Value::Double(y)) = (&a, &b) {
                    return double(*sign, *x, *y).map(Value::Double).map_err(fail);
                }
                arith::of_values(*sign, a, b, budget).map_err(fail)?
            }
            Op::Quotient(scale) => match (&a, &b) {
                (Value::Decimal(_), Value::Decimal(y)) if y.unscaled() == 0 => return Err(fail(Kind::DivideByZero)),
                (Value::Decimal(x), Value::Decimal(y)) => {
                    Value::Decimal(Decimal::quotient(*x, *y, *scale).ok_or_else(|| fail(Kind::Overflow("/")))?)
                }
                (other, _) => return Err(self.unfit(other, "/")),
            },
            Op::Concat => arith::of_values(ast::Op::Add, a, b, budget).map_err(fail)?,
            Op::Like { escape, fold, not } => match (&a, &b) {
                (Value::String(of), Value::String(pattern)) => {
                    let found = text::like(of, pattern, *escape, *fold, budget).map_err(fail)?;
                    Value::Bool(found != *not)
                }
                (other, _) => return Err(self.unfit(other, "LIKE")),
            },
            Op::ArrayItem => match (&a, &b) {
                (Value::List(list), Value::Int(n)) => {
                    let index = n.checked_sub(1).and_then(|n| usize::try_from(n).ok());
                    let item = index.map(|index| List::get(list, index, budget)).transpose().map_err(fail)?;
                    item.flatten().unwrap_or(Value::Null)
                }
                (other, _) => return Err(self.unfit(other, "[]")),
            },
            Op::MapValue => match &a {
                Value::Map(map) => map.get(&b, budget).map_err(fail)?.unwrap_or(Value::Null),
                other => return Err(self.unfit(other, "[]")),
            },
            _ => return Err(fail(Kind::Input)),
        })
    }

    fn sql_call<'a>(&'a self, function: &Func, args: &'a [Code], s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        const MOST: usize = 4;
        let fail = |kind| self.fail(kind);
        if args.len() > MOST {
            let values = args.iter().map(|arg| arg.eval(s)).collect::<Result<Vec<_>, _>>()?;
            return func::run(function, &values, &s.cx.budget).map_err(fail);
        }
        let mut values = [const { Value::Null }; MOST];
        for (value, arg) in values.iter_mut().zip(args) {
            *value = arg.eval(s)?;
        }
        func::run(function, &values[..args.len()], &s.cx.budget).map_err(fail)
    }
}

/// IEEE 754 but for what leaves the numbers: a finite operation that is not finite is an error, as in PostgreSQL.
pub(crate) fn double(op: ast::Op, x: f64, y: f64) -> Result<f64, Kind> {
    let made = match op {
        ast::Op::Div | ast::Op::Rem if y == 0.0 => return Err(Kind::DivideByZero),
        ast::Op::Rem => x % y,
        _ => arith::of_doubles(op, x, y).ok_or(Kind::Input)?,
    };
    if made.is_finite() || !x.is_finite() || !y.is_finite() { Ok(made) } else { Err(Kind::Overflow(op.sign())) }
}

/// The text in a value.
pub(crate) fn text_of<'v, 'a>(value: &'v Value<'a>) -> Result<&'v Text<'a>, Kind> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(other.unfit("function of texts")),
    }
}
