//! How truth is settled: operands that decide although others fail, membership, and order. It evaluates no operand
//! itself.

use std::cmp::Ordering;

use weir_avro::same;

use crate::ast;
use crate::code::{Code, Outcome, Scope};
use crate::error::EvalError;

/// `&&` for `decider` false and `||` for true: any operand that decides wins over the errors of the others
/// (CEL language definition, "Logical Operators").
#[inline]
pub(crate) fn settle<'a>(all: &'a [Code], decider: bool, s: Scope<'_, 'a>) -> Outcome<bool> {
    for (i, code) in all.iter().enumerate() {
        match code.test(s) {
            Ok(value) if value == decider => return Ok(decider),
            Ok(_) => {}
            Err(e) => return settle_failed(&all[i + 1..], decider, e, s),
        }
    }
    Ok(!decider)
}

/// What is left to settle once an operand has failed.
#[cold]
fn settle_failed<'a>(rest: &'a [Code], decider: bool, failed: EvalError, s: Scope<'_, 'a>) -> Outcome<bool> {
    if failed.kind.is_final() {
        return Err(failed);
    }
    for code in rest {
        match code.test(s) {
            Ok(value) if value == decider => return Ok(decider),
            Err(e) if e.kind.is_final() => return Err(e),
            _ => {}
        }
    }
    Err(failed)
}

/// Whether a sorted list holds the text. Few texts are compared faster one by one.
#[inline]
pub(crate) fn among(texts: &[Box<str>], text: &[u8]) -> bool {
    match texts.len() {
        0..=8 => texts.iter().any(|t| same(t.as_bytes(), text)),
        _ => texts.binary_search_by(|t| t.as_bytes().cmp(text)).is_ok(),
    }
}

/// Whether an order is the one asked for. Nothing holds of NaN.
#[inline]
pub(crate) fn holds(op: ast::Op, order: Option<Ordering>) -> bool {
    match (op, order) {
        (_, None) => false,
        (ast::Op::Lt, Some(order)) => order.is_lt(),
        (ast::Op::Le, Some(order)) => order.is_le(),
        (ast::Op::Gt, Some(order)) => order.is_gt(),
        (_, Some(order)) => order.is_ge(),
    }
}
