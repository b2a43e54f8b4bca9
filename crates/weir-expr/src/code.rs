//! The compiled form of an expression and its evaluator.
//!
//! One tree of typed operations. An operation is asked in the most direct way its user knows: for a boolean, an
//! integer, a double or a text where the check has shown that it is one, for a [`Value`] otherwise. So the common
//! shapes run without building values, and nothing allocates unless an operation makes new text or a new list.

use std::sync::Arc;

use regex::Regex;
use weir_avro::Slot;

use crate::arith;
use crate::ast;
use crate::error::{EvalError, EvalErrorKind as Kind, Pos};
use crate::func::{self, Func};
use crate::logic::{among, holds, settle};
use crate::loops::Loop;
use crate::number::Decimal;
use crate::program::Input;
use crate::read::{Read, load};
use crate::sql;
use crate::time::{Part, Timestamp, Zone};
use crate::value::{Budget, Map, Text, Value};

#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) op: Op,
    pub(crate) at: Pos,
}

/// How the operands of a comparison or of arithmetic are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Int,
    Double,
    Text,
    Decimal,
    Instant,
    Any,
}

#[derive(Debug)]
pub(crate) enum Op {
    Const(Value<'static>),
    /// A wanted field.
    Slot(u32, Read, Arc<str>),
    Key(Read),
    Headers,
    Now,
    /// The variable of the loop this many loops further out.
    Local(usize),
    /// A field of a record that a walk has no slot for, by its index.
    Field(Box<Code>, usize, Read, Arc<str>),
    /// A field of a record or an entry of a map that is known only at run time.
    Select(Box<Code>, Box<str>),
    Index(Box<[Code; 2]>),
    List(Box<[Code]>),
    Map(Box<[[Code; 2]]>),
    Not(Box<Code>),
    And(Box<[Code]>),
    Or(Box<[Code]>),
    Cond(Box<[Code; 3]>),
    /// Whether it is null, or is not.
    IsNull(Box<Code>, bool),
    Eq(How, bool, Box<[Code; 2]>),
    Order(How, ast::Op, Box<[Code; 2]>),
    Arith(How, ast::Op, Box<[Code; 2]>),
    Negate(Box<Code>),
    In(Box<[Code; 2]>),
    /// Sorted.
    InTexts(Box<Code>, Box<[Box<str>]>),
    /// Sorted.
    InInts(Box<Code>, Box<[i64]>),
    HasSlot(u32),
    HasField(Box<Code>, usize, Read),
    HasName(Box<Code>, Box<str>),
    NonNull(Box<Code>),
    Size(Box<Code>),
    TextTest(Func, Box<[Code; 2]>),
    Matches(Box<Code>, Regex),
    Part(Box<Code>, Part, Zone),
    Call(Func, Box<[Code]>),
    Loop(Box<Loop>),
    /// An operation of SQL.
    Sql(sql::Op, Box<[Code]>),
}

/// What one evaluation is about.
pub(crate) struct Context<'s, 'a> {
    pub(crate) input: &'s Input<'a>,
    pub(crate) budget: Budget,
}

/// The variable of a loop. Frames live on the stack of the loops that made them.
pub(crate) struct Frame<'s, 'a> {
    pub(crate) value: Value<'a>,
    pub(crate) up: Option<&'s Frame<'s, 'a>>,
}

#[derive(Clone, Copy)]
pub(crate) struct Scope<'s, 'a> {
    pub(crate) cx: &'s Context<'s, 'a>,
    pub(crate) frame: Option<&'s Frame<'s, 'a>>,
}

pub(crate) type Outcome<T> = Result<T, EvalError>;

impl<'s, 'a> Scope<'s, 'a> {
    #[inline]
    pub(crate) fn slot(self, slot: u32) -> Slot<'a> {
        // The program has compared their number before.
        self.cx.input.slots.get(slot as usize).copied().unwrap_or(Slot::Absent)
    }

    fn local(self, up: usize) -> Option<&'s Value<'a>> {
        let mut frame = self.frame?;
        for _ in 0..up {
            frame = frame.up?;
        }
        Some(&frame.value)
    }
}

impl Code {
    #[cold]
    pub(crate) fn fail(&self, kind: Kind) -> EvalError {
        let path = match &self.op {
            Op::Slot(_, _, path) | Op::Field(_, _, _, path) => Some(Arc::clone(path)),
            _ => None,
        };
        kind.at(self.at, path)
    }

    /// The error of an operation that wants a value of type `wanted` from this one.
    #[cold]
    pub(crate) fn unfit(&self, found: &Value<'_>, wanted: &'static str) -> EvalError {
        self.fail(found.unfit(wanted))
    }

    /// Any value. The leaves are here, apart from the operations, whose frame on the stack is a large one.
    pub(crate) fn eval<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        match &self.op {
            Op::Const(value) => Ok(value.reborrow()),
            Op::Slot(slot, read, _) => load(s.cx.input.schema, *read, s.slot(*slot)).map_err(|kind| self.fail(kind)),
            Op::NonNull(of) => match of.eval(s) {
                Ok(Value::Null) => Err(of.fail(Kind::Null)),
                other => other,
            },
            _ => self.operate(s),
        }
    }

    #[inline(never)]
    fn operate<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let fail = |kind| self.fail(kind);
        let (input, budget) = (s.cx.input, &s.cx.budget);
        Ok(match &self.op {
            Op::Const(_) | Op::Slot(..) | Op::NonNull(_) => self.eval(s)?,
            Op::Key(read) => load(input.key_schema.unwrap_or(input.schema), *read, input.key).map_err(fail)?,
            Op::Headers => Value::Map(Map::Headers(input.headers)),
            Op::Now => match Timestamp::from_millis(input.now_ms) {
                Some(now) => Value::Timestamp(now),
                None => return Err(fail(Kind::Input)),
            },
            Op::Local(up) => s.local(*up).cloned().ok_or_else(|| fail(Kind::Input))?,
            Op::Field(of, index, read, _) => match of.eval(s)? {
                Value::Record(record) => record.read(*index, *read, budget).map_err(fail)?,
                Value::Null => return Err(fail(Kind::ParentNull)),
                other => return Err(of.unfit(&other, "field")),
            },
            Op::Select(of, name) => {
                let (value, found) = match of.eval(s)? {
                    Value::Record(record) => ("record", record.named(name, budget).map_err(fail)?),
                    Value::Map(map) => ("map", map.get(&Value::text(&**name), budget).map_err(fail)?),
                    Value::Null => return Err(fail(Kind::ParentNull)),
                    other => return Err(fail(Kind::NoSuchField(other.type_name()))),
                };
                let missing = if value == "map" { Kind::NoSuchKey } else { Kind::NoSuchField(value) };
                found.ok_or_else(|| fail(missing))?
            }
            Op::Index(two) => self.index(two[0].eval(s)?, two[1].eval(s)?, budget)?,
            Op::List(items) => {
                budget.spend(items.len() as u64 * func::ITEM).map_err(fail)?;
                Value::list(items.iter().map(|item| item.eval(s)).collect::<Result<_, _>>()?)
            }
            Op::Map(entries) => self.map(entries, s)?,
            Op::Cond(three) => {
                let [condition, then, otherwise] = &**three;
                if condition.test(s)? { then.eval(s)? } else { otherwise.eval(s)? }
            }
            Op::Arith(How::Int, ..) | Op::Size(_) | Op::Part(..) => Value::Int(self.int(s)?),
            Op::Arith(How::Double, ..) => Value::Double(self.double(s)?),
            Op::Arith(_, op, two) => arith::of_values(*op, two[0].eval(s)?, two[1].eval(s)?, budget).map_err(fail)?,
            Op::Negate(of) => arith::negate(&of.eval(s)?).map_err(fail)?,
            Op::Sql(op, args) => self.sql(op, args, s)?,
            Op::Call(function, args) => self.call(*function, args, s)?,
            Op::Loop(inner) if inner.kind.makes_list() => self.collect(inner, s)?,
            Op::Not(_)
            | Op::And(_)
            | Op::Or(_)
            | Op::IsNull(..)
            | Op::Eq(..)
            | Op::Order(..)
            | Op::In(_)
            | Op::InTexts(..)
            | Op::InInts(..)
            | Op::HasSlot(_)
            | Op::HasField(..)
            | Op::HasName(..)
            | Op::TextTest(..)
            | Op::Matches(..)
            | Op::Loop(_) => Value::Bool(self.test(s)?),
        })
    }

    /// A boolean. The common shapes are here, apart from those that need a large frame on the stack.
    pub(crate) fn test<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<bool> {
        match &self.op {
            Op::Const(Value::Bool(value)) => Ok(*value),
            Op::And(all) => settle(all, false, s),
            Op::Or(all) => settle(all, true, s),
            Op::Order(How::Int, op, two) => Ok(holds(*op, Some(two[0].int(s)?.cmp(&two[1].int(s)?)))),
            Op::Order(How::Double, op, two) => Ok(holds(*op, two[0].double(s)?.partial_cmp(&two[1].double(s)?))),
            Op::Eq(How::Text, not, two) if let (Some(a), Some(b)) = (two[0].direct(s), two[1].direct(s)) => {
                Ok((a == b) != *not)
            }
            Op::InTexts(of, texts) if let Some(text) = of.direct(s) => Ok(among(texts, text.as_bytes())),
            Op::Order(How::Decimal, op, two) => {
                Ok(holds(*op, Some(Decimal::cmp(two[0].decimal(s)?, two[1].decimal(s)?))))
            }
            Op::Order(How::Instant, op, two) => Ok(holds(*op, Some(two[0].instant(s)?.cmp(&two[1].instant(s)?)))),
            Op::IsNull(of, not) => of.is_null(s).map(|null| null != *not),
            Op::HasSlot(slot) => Ok(!matches!(s.slot(*slot), Slot::Null | Slot::Absent)),
            Op::Slot(slot, _, _) if let Slot::Bool(value) = s.slot(*slot) => Ok(value),
            _ => self.decide(s),
        }
    }

    #[inline(never)]
    fn decide<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<bool> {
        let fail = |kind| self.fail(kind);
        let budget = &s.cx.budget;
        Ok(match &self.op {
            Op::Not(of) => !of.test(s)?,
            Op::Cond(three) => {
                let [condition, then, otherwise] = &**three;
                return if condition.test(s)? { then.test(s) } else { otherwise.test(s) };
            }
            Op::Eq(how, not, two) => {
                let [a, b] = &**two;
                let equal = match how {
                    How::Int => a.int_or_null(s)? == b.int_or_null(s)?,
                    How::Double => a.double_or_null(s)? == b.double_or_null(s)?,
                    How::Text => a.text_or_null(s)?.as_deref() == b.text_or_null(s)?.as_deref(),
                    _ => a.eval(s)?.equals(&b.eval(s)?, budget).map_err(fail)?,
                };
                equal != *not
            }
            Op::Order(how, op, two) => {
                let [a, b] = &**two;
                let order = match how {
                    How::Text => Some((*a.text(s)?).cmp(&*b.text(s)?)),
                    _ => a.eval(s)?.order(&b.eval(s)?).map_err(fail)?,
                };
                holds(*op, order)
            }
            Op::In(two) => {
                let value = two[0].eval(s)?;
                match two[1].eval(s)? {
                    Value::List(list) => list.contains(&value, budget).map_err(fail)?,
                    Value::Map(map) => map.has(&value, budget).map_err(fail)?,
                    other => return Err(two[1].unfit(&other, "in")),
                }
            }
            Op::InTexts(of, texts) => of.text_or_null(s)?.is_some_and(|text| among(texts, text.as_bytes())),
            Op::InInts(of, ints) => match of.int_or_null(s)? {
                None => false,
                Some(int) => ints.binary_search(&int).is_ok(),
            },
            Op::HasField(of, index, read) => match of.present(s)? {
                Some(Value::Record(record)) => match record.read(*index, *read, budget) {
                    Ok(value) => !matches!(value, Value::Null),
                    Err(kind) if kind.is_final() => return Err(fail(kind)),
                    // What cannot be read is there all the same.
                    Err(_) => true,
                },
                Some(other) => return Err(of.unfit(&other, "has")),
                None => false,
            },
            Op::HasName(of, name) => match of.present(s)? {
                Some(Value::Record(record)) => match record.named(name, budget).map_err(fail)? {
                    Some(value) => !matches!(value, Value::Null),
                    None => false,
                },
                Some(Value::Map(map)) => map.has(&Value::text(&**name), budget).map_err(fail)?,
                Some(other) => return Err(of.unfit(&other, "has")),
                None => false,
            },
            Op::TextTest(which, two) => match (two[0].direct(s), two[1].direct(s)) {
                (Some(text), Some(other)) => func::text_test(*which, text, other, budget).map_err(fail)?,
                _ => func::text_test(*which, &two[0].text(s)?, &two[1].text(s)?, budget).map_err(fail)?,
            },
            Op::Matches(of, regex) => {
                let text = of.direct(s).map_or_else(|| of.text(s), |text| Ok(Text::Borrowed(text)))?;
                budget.spend(text.len() as u64 / 8).map_err(fail)?;
                regex.is_match(&text)
            }
            Op::Loop(inner) if !inner.kind.makes_list() => return self.search(inner, s),
            _ => match self.eval(s)? {
                Value::Bool(value) => value,
                other => return Err(self.unfit(&other, "logic")),
            },
        })
    }

    /// An integer, where the check has shown it to be one or null.
    #[inline]
    fn int<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<i64> {
        Ok(match &self.op {
            Op::Const(Value::Int(value)) => *value,
            Op::Slot(slot, _, _) if let Slot::Long(value) = s.slot(*slot) => value,
            _ => return self.int_slow(s),
        })
    }

    /// The field of a loop's variable, which is what most loops look at, without a value made of either.
    fn field<'a>(&'a self, s: Scope<'_, 'a>) -> Option<Slot<'a>> {
        match &self.op {
            Op::Field(of, index, ..) => match &of.op {
                Op::Local(up) => match s.local(*up)? {
                    Value::Record(record) => record.slot(*index, &s.cx.budget).ok(),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    fn int_slow<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<i64> {
        Ok(match &self.op {
            Op::Field(..) if let Some(Slot::Long(value)) = self.field(s) => value,
            Op::Arith(How::Int, op, two) => {
                arith::of_ints(*op, two[0].int(s)?, two[1].int(s)?).map_err(|kind| self.fail(kind))?
            }
            Op::Size(of) => match of.direct(s) {
                Some(text) => func::length(text, &s.cx.budget),
                None => func::size(&of.eval(s)?, &s.cx.budget),
            }
            .map_err(|kind| of.fail(kind))?,
            Op::Part(of, part, zone) => func::part(&of.eval(s)?, *part, zone).map_err(|kind| of.fail(kind))?,
            _ => match self.eval(s)? {
                Value::Int(value) => value,
                other => return Err(self.unfit(&other, "operation on int")),
            },
        })
    }

    #[inline]
    fn int_or_null<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Option<i64>> {
        match &self.op {
            Op::Slot(slot, _, _) if let Slot::Null = s.slot(*slot) => Ok(None),
            Op::Slot(..) | Op::Const(Value::Int(_)) | Op::Arith(How::Int, ..) | Op::Size(_) => self.int(s).map(Some),
            _ => match self.eval(s)? {
                Value::Int(value) => Ok(Some(value)),
                Value::Null => Ok(None),
                other => Err(self.unfit(&other, "operation on int")),
            },
        }
    }

    /// A double, where the check has shown it to be one or null.
    #[inline]
    fn double<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<f64> {
        Ok(match &self.op {
            Op::Const(Value::Double(value)) => *value,
            Op::Slot(slot, _, _) if let Slot::Double(value) = s.slot(*slot) => value,
            Op::Field(..) if let Some(Slot::Double(value)) = self.field(s) => value,
            _ => match self.double_or_null(s)? {
                Some(value) => value,
                None => return Err(self.fail(Kind::Null)),
            },
        })
    }

    fn double_or_null<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Option<f64>> {
        if let Op::Arith(How::Double, op, two) = &self.op {
            let result = arith::of_doubles(*op, two[0].double(s)?, two[1].double(s)?);
            return result.map(Some).ok_or_else(|| self.fail(Kind::Input));
        }
        match self.eval(s)? {
            Value::Double(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => Err(self.unfit(&other, "operation on double")),
        }
    }

    /// A decimal, where the check has shown it to be one or null.
    fn decimal<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Decimal> {
        match &self.op {
            Op::Const(Value::Decimal(value)) => Ok(*value),
            Op::Slot(slot, read, _) if let Slot::Bytes(bytes) = s.slot(*slot) => {
                read.decimal(bytes).map_err(|kind| self.fail(kind))
            }
            Op::Field(_, _, read, _) if let Some(Slot::Bytes(bytes)) = self.field(s) => {
                read.decimal(bytes).map_err(|kind| self.fail(kind))
            }
            _ => match self.eval(s)? {
                Value::Decimal(value) => Ok(value),
                other => Err(self.unfit(&other, "operation on decimal")),
            },
        }
    }

    /// An instant, where the check has shown it to be one or null.
    fn instant<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Timestamp> {
        match &self.op {
            Op::Const(Value::Timestamp(value)) => Ok(*value),
            Op::Slot(slot, read, _) if let Slot::Long(long) = s.slot(*slot) => {
                read.instant(long).map_err(|kind| self.fail(kind))
            }
            _ => match self.eval(s)? {
                Value::Timestamp(value) => Ok(value),
                other => Err(self.unfit(&other, "operation on timestamp")),
            },
        }
    }

    fn is_null<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<bool> {
        if let Op::Slot(slot, _, _) = &self.op {
            match s.slot(*slot) {
                Slot::Null => return Ok(true),
                Slot::Absent => {}
                _ => return Ok(false),
            }
        }
        Ok(matches!(self.eval(s)?, Value::Null))
    }

    /// A text that needs no operation to get at.
    fn direct<'a>(&'a self, s: Scope<'_, 'a>) -> Option<&'a str> {
        match &self.op {
            Op::Const(Value::String(text)) => Some(text),
            Op::Slot(slot, _, _) => match s.slot(*slot) {
                Slot::Str(text) => Some(text.as_str()),
                _ => None,
            },
            Op::Field(..) => match self.field(s)? {
                Slot::Str(text) => Some(text.as_str()),
                _ => None,
            },
            Op::NonNull(of) => of.direct(s),
            _ => None,
        }
    }

    /// A text, where the check has shown it to be one or null.
    #[inline]
    fn text<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Text<'a>> {
        match self.text_or_null(s)? {
            Some(text) => Ok(text),
            None => Err(self.fail(Kind::Null)),
        }
    }

    #[inline]
    fn text_or_null<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Option<Text<'a>>> {
        match self.direct(s) {
            Some(text) => Ok(Some(Text::Borrowed(text))),
            None => match self.eval(s)? {
                Value::String(text) => Ok(Some(text)),
                Value::Null => Ok(None),
                other => Err(self.unfit(&other, "operation on string")),
            },
        }
    }

    /// A value that is there: neither null nor below something that is.
    fn present<'a>(&'a self, s: Scope<'_, 'a>) -> Outcome<Option<Value<'a>>> {
        match self.eval(s) {
            Ok(Value::Null) => Ok(None),
            Err(e) if e.kind == Kind::ParentNull => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(e),
        }
    }

    fn index<'a>(&self, of: Value<'a>, by: Value<'a>, budget: &Budget) -> Outcome<Value<'a>> {
        let found = match &of {
            Value::List(list) => {
                let index = match &by {
                    Value::Int(i) => usize::try_from(*i).ok(),
                    Value::Uint(i) => usize::try_from(*i).ok(),
                    // A double counts as an index where it is whole.
                    Value::Double(d) if d.fract() == 0.0 && (0.0..1e15).contains(d) => Some(*d as usize),
                    other => return Err(self.fail(other.unfit("index"))),
                };
                match index {
                    Some(index) => list.get(index, budget).and_then(|item| item.ok_or(Kind::Index)),
                    None => Err(Kind::Index),
                }
            }
            Value::Map(map) => map.get(&by, budget).and_then(|value| value.ok_or(Kind::NoSuchKey)),
            other => Err(other.unfit("index")),
        };
        found.map_err(|kind| self.fail(kind))
    }

    fn map<'a>(&'a self, entries: &'a [[Code; 2]], s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        let budget = &s.cx.budget;
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for [key, value] in entries {
            let key_value = key.eval(s)?;
            if !matches!(key_value, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_)) {
                return Err(key.unfit(&key_value, "key of a map"));
            }
            for (other, _) in &made {
                if other.equals(&key_value, budget).map_err(|kind| key.fail(kind))? {
                    return Err(key.fail(Kind::DuplicateKey));
                }
            }
            made.push((key_value, value.eval(s)?));
        }
        budget.spend(made.len() as u64 * func::ITEM).map_err(|kind| self.fail(kind))?;
        Ok(Value::Map(Map::Owned(made.into())))
    }

    fn call<'a>(&'a self, function: Func, args: &'a [Code], s: Scope<'_, 'a>) -> Outcome<Value<'a>> {
        // No function takes more than four arguments.
        let mut values = [const { Value::Null }; 4];
        for (value, arg) in values.iter_mut().zip(args) {
            *value = arg.eval(s)?;
        }
        func::run(function, &values[..args.len().min(4)], &s.cx.budget).map_err(|kind| self.fail(kind))
    }
}
