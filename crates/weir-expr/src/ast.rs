//! What an expression says, before it is known what it means. CEL is read into this tree; another spelling can be too.

use crate::error::Pos;

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) at: Pos,
    /// Levels of this tree, which the parser bounds so that no later step needs to.
    pub(crate) depth: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Literal),
    Ident(String),
    Select(Box<Expr>, String),
    Index(Box<[Expr; 2]>),
    /// A function, or a method where there is a receiver.
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    List(Vec<Expr>),
    Map(Vec<[Expr; 2]>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Op, Box<[Expr; 2]>),
    /// Two or more operands.
    And(Vec<Expr>),
    /// Two or more operands.
    Or(Vec<Expr>),
    Cond(Box<[Expr; 3]>),
}

#[derive(Clone, Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    /// The value and its text.
    Double(f64, String),
    String(String),
    Bytes(Vec<u8>),
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl Op {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Op::Eq => "==",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::In => "in",
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::Div => "/",
            Op::Rem => "%",
        }
    }

    /// How tightly it binds; `||` is 1 and `&&` is 2.
    pub(crate) fn binding(self) -> u8 {
        match self {
            Op::Add | Op::Sub => 4,
            Op::Mul | Op::Div | Op::Rem => 5,
            _ => 3,
        }
    }
}

impl Expr {
    /// The names of `a.b.c`, if it is nothing but names.
    pub(crate) fn dotted(&self) -> Option<String> {
        match &self.kind {
            ExprKind::Ident(name) => Some(name.clone()),
            ExprKind::Select(of, field) => Some(format!("{}.{field}", of.dotted()?)),
            _ => None,
        }
    }
}
