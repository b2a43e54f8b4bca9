//! The conditions that most rules are made of, decided from the slots alone: ranges, orders, arithmetic on doubles,
//! lengths, lists and null, joined by `&&`, `||` and `!`; of CEL and of SQL alike.
//!
//! A condition that meets a slot it was not made for (null, or a value of another type) decides nothing, and the
//! [`Code`] it was made from is evaluated. So there are no errors here, and no other answer than the code would give.

use weir_avro::Slot;

use crate::arith::of_doubles;
use crate::ast;
use crate::code::{Code, How, Op};
use crate::func::Func;
use crate::logic::{among, holds};
use crate::sql::Op as Sql;
use crate::value::Value;

/// The longest text whose characters are counted here. A longer one is counted at the cost of the program's budget.
const SHORT: usize = 256;

#[derive(Debug)]
pub(crate) enum Quick {
    /// An integer from `lo` to `hi`.
    Long {
        slot: u32,
        lo: i64,
        hi: i64,
    },
    /// A double from `lo` to `hi`, which NaN never is.
    Double {
        slot: u32,
        lo: f64,
        hi: f64,
    },
    Longs(ast::Op, [u32; 2]),
    Doubles(ast::Op, [u32; 2]),
    /// An order of doubles that are worked out.
    Reals(ast::Op, Box<[Real; 2]>),
    /// A text of `lo` to `hi` code points.
    Chars {
        slot: u32,
        lo: i64,
        hi: i64,
    },
    /// One of these texts, which are sorted.
    Texts(u32, Box<[Box<str>]>),
    /// One of these integers, which are sorted.
    Ints(u32, Box<[i64]>),
    Bool(u32),
    Null(u32),
    /// Neither null nor below something that is.
    Has(u32),
    Not(Box<Quick>),
    All(Box<[Quick]>),
    Any(Box<[Quick]>),
}

/// A double that is worked out of slots and constants alone.
#[derive(Debug)]
pub(crate) enum Real {
    Const(f64),
    Slot(u32),
    /// An integer as a double.
    Whole(u32),
    Arith(ast::Op, Box<[Real; 2]>),
}

impl Real {
    fn of(code: &Code) -> Option<Real> {
        Some(match &code.op {
            Op::Const(Value::Double(value)) => Real::Const(*value),
            Op::Slot(slot, ..) => Real::Slot(*slot),
            Op::NonNull(of) => Real::of(of)?,
            Op::Call(Func::ToDouble, args) => match &**args {
                [of] => match &of.op {
                    Op::Slot(slot, read, _) if read.is_int() => Real::Whole(*slot),
                    _ => Real::of(of)?,
                },
                _ => return None,
            },
            Op::Arith(How::Double, op, two) => Real::Arith(*op, Box::new([Real::of(&two[0])?, Real::of(&two[1])?])),
            _ => return None,
        })
    }

    fn value(&self, slots: &[Slot<'_>]) -> Option<f64> {
        match self {
            Real::Const(value) => Some(*value),
            Real::Slot(slot) => match slots.get(*slot as usize) {
                Some(Slot::Double(value)) => Some(*value),
                _ => None,
            },
            Real::Whole(slot) => match slots.get(*slot as usize) {
                Some(Slot::Long(value)) => Some(*value as f64),
                _ => None,
            },
            Real::Arith(op, two) => of_doubles(*op, two[0].value(slots)?, two[1].value(slots)?),
        }
    }
}

impl Quick {
    /// The condition that a code is, if it is one of these.
    pub(crate) fn of(code: &Code) -> Option<Quick> {
        Some(match &code.op {
            Op::And(codes) => all(codes.iter().map(Quick::of).collect::<Option<_>>()?),
            Op::Or(any) => Quick::Any(any.iter().map(Quick::of).collect::<Option<_>>()?),
            Op::Not(of) => Quick::Not(Box::new(Quick::of(of)?)),
            Op::Order(how, op, two) => order(*how, *op, &two[0], &two[1])?,
            Op::Eq(How::Text, not, two) => {
                let (slot, text) = sides(&two[0], &two[1], |code| match &code.op {
                    Op::Const(Value::String(text)) => Some(Box::from(&**text)),
                    _ => None,
                })?;
                negated(*not, Quick::Texts(slot, [text].into()))
            }
            Op::Eq(how, not, two) => {
                let [a, b] = &**two;
                let (least, most) = (order(*how, ast::Op::Ge, a, b)?, order(*how, ast::Op::Le, a, b)?);
                negated(*not, all(vec![least, most]))
            }
            Op::InTexts(of, texts) => Quick::Texts(slot(of)?, texts.clone()),
            Op::InInts(of, ints) => Quick::Ints(slot(of)?, ints.clone()),
            Op::IsNull(of, not) if let Op::Slot(slot, ..) = &of.op => negated(*not, Quick::Null(*slot)),
            Op::HasSlot(slot) => Quick::Has(*slot),
            Op::Slot(slot, ..) => Quick::Bool(*slot),
            _ => return None,
        })
    }

    /// The condition of SQL that a code is, if it is one of these.
    pub(crate) fn of_sql(code: &Code) -> Option<Quick> {
        let Op::Sql(op, args) = &code.op else { return None };
        Some(match (op, &args[..]) {
            (Sql::And, codes) => all(codes.iter().map(Quick::of_sql).collect::<Option<_>>()?),
            (Sql::Or, codes) => Quick::Any(codes.iter().map(Quick::of_sql).collect::<Option<_>>()?),
            (Sql::Not, [of]) => Quick::Not(Box::new(Quick::of_sql(of)?)),
            (Sql::IsNull(not), [of]) => negated(*not, Quick::Null(field(of)?.0)),
            (Sql::Field(slot, _), []) => Quick::Bool(*slot),
            (Sql::Compare(sign), [a, b]) => match (field(a), field(b)) {
                (Some(of), None) => range(of, *sign, b)?,
                (None, Some(of)) => range(of, mirrored(*sign), a)?,
                _ => return None,
            },
            (Sql::Equal(not), [a, b]) => {
                let (of, constant) = field(a).map(|of| (of, b)).or_else(|| Some((field(b)?, a)))?;
                let equal = match &constant.op {
                    Op::Const(Value::String(text)) => Quick::Texts(of.0, [Box::from(&**text)].into()),
                    _ => all(vec![range(of, ast::Op::Ge, constant)?, range(of, ast::Op::Le, constant)?]),
                };
                negated(*not, equal)
            }
            _ => return None,
        })
    }

    /// Whether the condition holds; nothing where the slots do not say.
    #[inline]
    pub(crate) fn decide(&self, slots: &[Slot<'_>]) -> Option<bool> {
        match self {
            Quick::Long { slot, lo, hi } => match slots.get(*slot as usize) {
                Some(Slot::Long(value)) => Some(lo <= value && value <= hi),
                _ => None,
            },
            Quick::Double { slot, lo, hi } => match slots.get(*slot as usize) {
                Some(Slot::Double(value)) => Some(lo <= value && value <= hi),
                _ => None,
            },
            Quick::Doubles(op, [a, b]) => match (slots.get(*a as usize), slots.get(*b as usize)) {
                (Some(Slot::Double(a)), Some(Slot::Double(b))) => Some(holds(*op, a.partial_cmp(b))),
                _ => None,
            },
            Quick::Chars { slot, lo, hi } => match slots.get(*slot as usize) {
                Some(Slot::Str(text)) if text.as_bytes().len() <= SHORT => {
                    let count = text.chars() as i64;
                    Some(*lo <= count && count <= *hi)
                }
                _ => None,
            },
            _ => self.decide_others(slots),
        }
    }

    fn decide_others(&self, slots: &[Slot<'_>]) -> Option<bool> {
        let at = |slot: &u32| slots.get(*slot as usize);
        match self {
            Quick::Longs(op, [a, b]) => match (at(a), at(b)) {
                (Some(Slot::Long(a)), Some(Slot::Long(b))) => Some(holds(*op, Some(a.cmp(b)))),
                _ => None,
            },
            Quick::Reals(op, two) => Some(holds(*op, two[0].value(slots)?.partial_cmp(&two[1].value(slots)?))),
            Quick::Texts(slot, texts) => match at(slot) {
                Some(Slot::Str(text)) => Some(among(texts, text.as_bytes())),
                _ => None,
            },
            Quick::Ints(slot, ints) => match at(slot) {
                Some(Slot::Long(value)) => Some(ints.binary_search(value).is_ok()),
                _ => None,
            },
            Quick::Bool(slot) => match at(slot) {
                Some(Slot::Bool(value)) => Some(*value),
                _ => None,
            },
            Quick::Null(slot) => match at(slot) {
                Some(Slot::Absent) | None => None,
                Some(slot) => Some(matches!(slot, Slot::Null)),
            },
            Quick::Has(slot) => at(slot).map(|slot| !matches!(slot, Slot::Null | Slot::Absent)),
            Quick::Not(of) => of.decide(slots).map(|value| !value),
            Quick::All(all) => {
                for one in all {
                    if !one.decide(slots)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Quick::Any(any) => {
                for one in any {
                    if one.decide(slots)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Quick::Long { .. } | Quick::Double { .. } | Quick::Doubles(..) | Quick::Chars { .. } => self.decide(slots),
        }
    }
}

/// The slot of a field in SQL, and whether a long in it is a number.
fn field(code: &Code) -> Option<(u32, bool)> {
    match &code.op {
        Op::Sql(Sql::Field(slot, read), _) => Some((*slot, read.is_int())),
        _ => None,
    }
}

/// A field that is so ordered to a constant of its own type.
fn range((slot, int): (u32, bool), sign: ast::Op, constant: &Code) -> Option<Quick> {
    match constant.op {
        Op::Const(Value::Int(bound)) if int => {
            let (lo, hi) = integers(sign, bound);
            Some(Quick::Long { slot, lo, hi })
        }
        Op::Const(Value::Double(bound)) => {
            let (lo, hi) = doubles(sign, bound);
            Some(Quick::Double { slot, lo, hi })
        }
        _ => None,
    }
}

fn negated(not: bool, of: Quick) -> Quick {
    if not { Quick::Not(Box::new(of)) } else { of }
}

/// The slot that a code reads, whether or not null is an error there.
fn slot(code: &Code) -> Option<u32> {
    match &code.op {
        Op::Slot(slot, ..) => Some(*slot),
        Op::NonNull(of) => slot(of),
        _ => None,
    }
}

/// A slot beside a constant, in either order.
fn sides<T>(a: &Code, b: &Code, constant: impl Fn(&Code) -> Option<T>) -> Option<(u32, T)> {
    slot(a).zip(constant(b)).or_else(|| slot(b).zip(constant(a)))
}

fn order(how: How, op: ast::Op, a: &Code, b: &Code) -> Option<Quick> {
    let whole = |code: &Code| match &code.op {
        Op::Const(Value::Int(value)) => Some(*value),
        _ => None,
    };
    let real = |code: &Code| match &code.op {
        Op::Const(Value::Double(value)) => Some(*value),
        _ => None,
    };
    if let (Some(a), Some(b)) = (slot(a), slot(b)) {
        return match how {
            How::Int => Some(Quick::Longs(op, [a, b])),
            How::Double => Some(Quick::Doubles(op, [a, b])),
            _ => None,
        };
    }
    let worked_out = || Some(Quick::Reals(op, Box::new([Real::of(a)?, Real::of(b)?])));
    // The constant to the right.
    let (of, constant, op) = match (&a.op, &b.op) {
        (_, Op::Const(_)) => (a, b, op),
        (Op::Const(_), _) => (b, a, mirrored(op)),
        _ if how == How::Double => return worked_out(),
        _ => return None,
    };
    Some(match (how, &of.op) {
        (How::Int, Op::Size(text)) => {
            let (slot, (lo, hi)) = (slot(text)?, integers(op, whole(constant)?));
            Quick::Chars { slot, lo, hi }
        }
        (How::Int, _) => {
            let (slot, (lo, hi)) = (slot(of)?, integers(op, whole(constant)?));
            Quick::Long { slot, lo, hi }
        }
        (How::Double, _) => match slot(of) {
            Some(slot) => {
                let (lo, hi) = doubles(op, real(constant)?);
                Quick::Double { slot, lo, hi }
            }
            None => return worked_out(),
        },
        _ => return None,
    })
}

/// The operator with its sides exchanged.
fn mirrored(op: ast::Op) -> ast::Op {
    match op {
        ast::Op::Lt => ast::Op::Gt,
        ast::Op::Le => ast::Op::Ge,
        ast::Op::Gt => ast::Op::Lt,
        ast::Op::Ge => ast::Op::Le,
        other => other,
    }
}

/// The integers that are so ordered to a bound. An empty range has its ends crossed.
fn integers(op: ast::Op, bound: i64) -> (i64, i64) {
    const NONE: (i64, i64) = (i64::MAX, i64::MIN);
    match op {
        ast::Op::Lt => bound.checked_sub(1).map_or(NONE, |most| (i64::MIN, most)),
        ast::Op::Le => (i64::MIN, bound),
        ast::Op::Gt => bound.checked_add(1).map_or(NONE, |least| (least, i64::MAX)),
        _ => (bound, i64::MAX),
    }
}

/// The doubles that are so ordered to a bound.
fn doubles(op: ast::Op, bound: f64) -> (f64, f64) {
    const NONE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);
    match op {
        _ if bound.is_nan() => NONE,
        ast::Op::Lt if bound == f64::NEG_INFINITY => NONE,
        ast::Op::Lt => (f64::NEG_INFINITY, bound.next_down()),
        ast::Op::Le => (f64::NEG_INFINITY, bound),
        ast::Op::Gt if bound == f64::INFINITY => NONE,
        ast::Op::Gt => (bound.next_up(), f64::INFINITY),
        _ => (bound, f64::INFINITY),
    }
}

/// Conditions that must all hold, with neighbouring ranges of one slot made into one.
fn all(conditions: Vec<Quick>) -> Quick {
    let mut out: Vec<Quick> = Vec::new();
    for next in conditions {
        match (out.last_mut(), &next) {
            (Some(Quick::Long { slot, lo, hi }), Quick::Long { slot: s, lo: l, hi: h })
            | (Some(Quick::Chars { slot, lo, hi }), Quick::Chars { slot: s, lo: l, hi: h })
                if slot == s =>
            {
                (*lo, *hi) = ((*lo).max(*l), (*hi).min(*h));
            }
            (Some(Quick::Double { slot, lo, hi }), Quick::Double { slot: s, lo: l, hi: h }) if slot == s => {
                (*lo, *hi) = (lo.max(*l), hi.min(*h));
            }
            _ => out.push(next),
        }
    }
    match <[Quick; 1]>::try_from(out) {
        Ok([one]) => one,
        Err(out) => Quick::All(out.into()),
    }
}
