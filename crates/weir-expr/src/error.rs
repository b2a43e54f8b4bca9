//! What can be wrong with an expression, before and while it runs.
//!
//! An [`ExprError`] is about the source and may quote it. An [`EvalError`] is about an event: it holds the place, the
//! operation, types and the field path, never a value of the payload, so it may go to a log or a header as it is.

use std::fmt;
use std::sync::Arc;

/// A place in the source of an expression. Both numbers start at 1; a column is a Unicode code point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why an expression does not compile, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ExprError {
    /// The line, from 1.
    pub line: u32,
    /// The column in code points, from 1.
    pub column: u32,
    /// What is wrong and what would work.
    pub message: String,
}

impl ExprError {
    /// An error at a place.
    pub fn new(at: Pos, message: impl Into<String>) -> ExprError {
        ExprError { line: at.line, column: at.column, message: message.into() }
    }
}

/// Why an expression has no value for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// What went wrong.
    pub kind: EvalErrorKind,
    /// Where in the source of the expression.
    pub at: Pos,
    /// The field it went wrong with, where it is one.
    pub path: Option<Arc<str>>,
}

impl std::error::Error for EvalError {}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        write!(f, "{} (at {} of the expression)", self.kind, self.at)
    }
}

/// The kinds of failure at run time. None of them carries a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalErrorKind {
    /// An operation that needs a value met null.
    #[error("value is null")]
    Null,
    /// A field was asked of a record that is null.
    #[error("field does not exist because a record above it is null")]
    ParentNull,
    /// The result does not fit its type.
    #[error("result of {0} is out of range")]
    Overflow(&'static str),
    /// A division or remainder by zero.
    #[error("division by zero")]
    DivideByZero,
    /// A map has no such key.
    #[error("map has no such key")]
    NoSuchKey,
    /// A value of dynamic type has no such field.
    #[error("{0} has no such field")]
    NoSuchField(&'static str),
    /// A list or a string is shorter than the index.
    #[error("index is out of bounds")]
    Index,
    /// An operation has no meaning for the types that a dynamic value turned out to have.
    #[error("{op} does not take {found}")]
    NoOverload {
        /// The operation.
        op: &'static str,
        /// The type it met.
        found: &'static str,
    },
    /// A value cannot be converted.
    #[error("{from} value is not a valid {to}")]
    Convert {
        /// The type of the value.
        from: &'static str,
        /// The type asked for.
        to: &'static str,
    },
    /// A literal map names a key twice.
    #[error("map has the same key twice")]
    DuplicateKey,
    /// Bytes or a header are not UTF-8.
    #[error("not valid UTF-8")]
    Utf8,
    /// A pattern that is no literal does not compile or is too large.
    #[error("not a valid pattern")]
    Pattern,
    /// A time zone that is no literal is unknown.
    #[error("not a known time zone")]
    TimeZone,
    /// A union value could be of two branches with different meanings.
    #[error("branches of the union cannot be told apart")]
    Ambiguous,
    /// A text or list grew beyond the limit.
    #[error("result of {0} is too large")]
    TooLarge(&'static str),
    /// The work went beyond the limit of the program.
    #[error("expression takes more work than its limit allows")]
    Budget,
    /// The input does not fit the environment the program was compiled for.
    #[error("input does not fit the program; compile it for this schema")]
    Input,
}

impl EvalErrorKind {
    /// Whether `&&`, `||`, `all` and `exists` must hand the error on whatever their other operands say.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, EvalErrorKind::Budget | EvalErrorKind::Input)
    }

    #[cold]
    pub(crate) fn at(self, at: Pos, path: Option<Arc<str>>) -> EvalError {
        EvalError { kind: self, at, path }
    }
}
