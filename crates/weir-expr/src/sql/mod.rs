//! SQL expressions: the second spelling of the typed program. A tree of what was written, the check that gives it
//! types and turns it into the operations of [`code`](crate::code), and what those operations do.
//!
//! The tree is ours, so that whoever parses SQL decides with what. Names are resolved before: a [`Kind::Path`] leads
//! from the root of the row to a field. Logic has three values, arithmetic on null is null, decimals are exact;
//! every overflow, failing cast and division by zero is an error of the row, never a panic.
//! What the language is stands in `docs/views.md`.

mod cast;
mod check;
mod collections;
mod column;
mod encode;
mod forms;
mod func;
mod hash;
mod is_of;
mod json;
mod run;
mod text;

pub use check::compile;
pub use column::{Column, SqlType, Unit};
pub use encode::{elements, encode};
pub use forms::{FUNCTIONS, is_mask};
pub(crate) use run::Op;

use crate::error::Pos;

/// An expression as written.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Where it begins in the source.
    pub at: Pos,
    /// What it is.
    pub kind: Kind,
}

/// Two expressions are the same where they say the same, wherever they stand.
impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.kind == other.kind
    }
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a point, which is exact, or an exponent, which is a double.
    Number(Box<str>),
    Text(Box<str>),
    /// `DATE '2026-01-31'`, `TIMESTAMP '2026-01-31T12:00:00Z'`.
    Typed(SqlType, Box<str>),
    /// A length of time in milliseconds.
    Interval(i64),
    /// Names from the root of the row.
    Path(Box<[Box<str>]>),
    RowKey,
    RowTime,
    RowPartition,
    RowOffset,
    Headers,
    Field(Box<Expr>, Box<str>),
    Index(Box<[Expr; 2]>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Binary, Box<[Expr; 2]>),
    /// `IS [NOT] NULL`.
    IsNull(Box<Expr>, bool),
    /// `IS [NOT] OF (type, ...)`: the types by the names that the plan shows, records by theirs.
    IsOf(Box<Expr>, Vec<Box<str>>, bool),
    /// `IS [NOT] TRUE`, `FALSE`; unknown is the null of booleans.
    IsTruth(Box<Expr>, bool, bool),
    /// `IS [NOT] DISTINCT FROM`.
    Distinct(Box<[Expr; 2]>, bool),
    /// `[NOT] IN`.
    In(Box<Expr>, Vec<Expr>, bool),
    /// `[NOT] BETWEEN`.
    Between(Box<[Expr; 3]>, bool),
    Like(Box<Like>),
    /// What is compared, the pairs of condition and result, what else.
    Case(Option<Box<Expr>>, Vec<[Expr; 2]>, Option<Box<Expr>>),
    /// A cast; `true` for `TRY_CAST`.
    Cast(Box<Expr>, SqlType, bool),
    /// The number that Avro holds for a date or a timestamp, in the unit of its type.
    Ticks(Box<Expr>),
    /// A function by its name in capitals.
    Call(Box<str>, Vec<Expr>),
    Array(Vec<Expr>),
    Map(Vec<[Expr; 2]>),
    Struct(Vec<(Box<str>, Expr)>),
}

/// `[NOT] LIKE`, `[NOT] ILIKE`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub struct Like {
    pub text: Expr,
    pub pattern: Expr,
    pub escape: Option<char>,
    pub fold: bool,
    pub not: bool,
}

/// The operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of SQL")]
pub enum Binary {
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Concat,
}

impl Expr {
    /// An expression at a place.
    pub fn new(at: Pos, kind: Kind) -> Expr {
        Expr { at, kind }
    }

    /// The expressions directly inside it.
    pub fn inner(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Field(e, _) | Kind::Not(e) | Kind::Negate(e) | Kind::IsNull(e, _) | Kind::IsTruth(e, ..) => vec![e],
            Kind::Cast(e, ..) | Kind::Ticks(e) | Kind::IsOf(e, ..) => vec![e],
            Kind::Index(two) | Kind::Binary(_, two) | Kind::Distinct(two, _) => two.iter().collect(),
            Kind::Between(three, _) => three.iter().collect(),
            Kind::In(e, list, _) => std::iter::once(&**e).chain(list).collect(),
            Kind::Like(like) => vec![&like.text, &like.pattern],
            Kind::Case(operand, arms, otherwise) => operand
                .iter()
                .map(|e| &**e)
                .chain(arms.iter().flatten())
                .chain(otherwise.iter().map(|e| &**e))
                .collect(),
            Kind::Call(_, args) | Kind::Array(args) => args.iter().collect(),
            Kind::Map(entries) => entries.iter().flatten().collect(),
            Kind::Struct(fields) => fields.iter().map(|(_, e)| e).collect(),
            _ => Vec::new(),
        }
    }

    /// The expressions directly inside it, to change.
    pub fn inner_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            Kind::Field(e, _) | Kind::Not(e) | Kind::Negate(e) | Kind::IsNull(e, _) | Kind::IsTruth(e, ..) => vec![e],
            Kind::Cast(e, ..) | Kind::Ticks(e) | Kind::IsOf(e, ..) => vec![e],
            Kind::Index(two) | Kind::Binary(_, two) | Kind::Distinct(two, _) => two.iter_mut().collect(),
            Kind::Between(three, _) => three.iter_mut().collect(),
            Kind::In(e, list, _) => std::iter::once(&mut **e).chain(list).collect(),
            Kind::Like(like) => {
                let Like { text, pattern, .. } = &mut **like;
                vec![text, pattern]
            }
            Kind::Case(operand, arms, otherwise) => operand
                .iter_mut()
                .map(|e| &mut **e)
                .chain(arms.iter_mut().flatten())
                .chain(otherwise.iter_mut().map(|e| &mut **e))
                .collect(),
            Kind::Call(_, args) | Kind::Array(args) => args.iter_mut().collect(),
            Kind::Map(entries) => entries.iter_mut().flatten().collect(),
            Kind::Struct(fields) => fields.iter_mut().map(|(_, e)| e).collect(),
            _ => Vec::new(),
        }
    }
}
