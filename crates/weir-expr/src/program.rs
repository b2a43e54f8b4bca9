//! A compiled expression and what it is evaluated for.

use weir_avro::{Schema, Slot};

use crate::check::check;
use crate::code::{Code, Context, Op, Scope};
use crate::env::{Cost, Env, Limits, Type, Wanted};
use crate::error::{EvalError, EvalErrorKind, ExprError, Pos};
use crate::parser::parse;
use crate::quick::Quick;
use crate::value::{Budget, Value};

/// A compiled expression. Immutable; share it between threads as you like.
#[derive(Debug)]
pub struct Program {
    code: Code,
    /// The same where it is a condition on slots alone.
    quick: Option<Quick>,
    result: Type,
    cost: Cost,
    work: u64,
    /// How many slots an input has at least.
    slots: usize,
}

/// One event, as an expression sees it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The schema the program was compiled for.
    pub schema: &'a Schema,
    /// The slots of a walk over the [`Wanted::paths`] the program was compiled with.
    pub slots: &'a [Slot<'a>],
    /// The key, [`Slot::Null`] where there is none.
    pub key: Slot<'a>,
    /// The schema of the key, if [`KeyType::Avro`](crate::KeyType::Avro).
    pub key_schema: Option<&'a Schema>,
    /// The headers in their order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// The time to take for `now`, in milliseconds since the epoch.
    pub now_ms: i64,
    /// The partition the record was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

impl<'a> Input<'a> {
    /// An event without key and headers at the epoch.
    pub fn new(schema: &'a Schema, slots: &'a [Slot<'a>]) -> Input<'a> {
        Input { schema, slots, key: Slot::Null, key_schema: None, headers: &[], now_ms: 0, partition: 0, offset: 0 }
    }
}

/// Compiles CEL. The fields it reads are added to `wanted`, unless it fails.
///
/// # Errors
/// Everything that is wrong with the types, in the order of the source; the first thing that is wrong with the syntax;
/// or a cost above the limit.
pub fn compile(source: &str, env: &Env<'_>, wanted: &mut Wanted) -> Result<Program, Vec<ExprError>> {
    let start = Pos { line: 1, column: 1 };
    if source.len() > env.limits.source {
        let message = format!("expression is longer than {} bytes; split it", env.limits.source);
        return Err(vec![ExprError::new(start, message)]);
    }
    let expr = parse(source).map_err(|e| vec![e])?;
    let known = wanted.paths().len();
    let checked = check(&expr, env, wanted).and_then(|typed| {
        let limit = env.limits.cost;
        if typed.cost <= limit {
            return Ok(typed);
        }
        let message = format!(
            "expression may cost {} units and the limit is {limit}; use fewer loops inside each other",
            typed.cost
        );
        Err(vec![ExprError::new(start, message)])
    });
    match checked {
        Ok(typed) => {
            let slots = wanted.paths().len();
            let quick = Quick::of(&typed.code);
            Ok(Program {
                code: typed.code,
                quick,
                result: typed.ty,
                cost: Cost(typed.cost),
                work: env.limits.cost,
                slots,
            })
        }
        Err(errors) => {
            wanted.truncate(known);
            Err(errors)
        }
    }
}

impl Program {
    pub(crate) fn new(code: Code, result: Type, slots: usize) -> Program {
        let work = Limits::default().cost;
        Program { quick: Quick::of_sql(&code), code, result, cost: Cost(work), work, slots }
    }

    /// The type of the result.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// The most it costs for payloads within the sizes that [`Limits`](crate::Limits) assumes.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The value for an event.
    ///
    /// # Errors
    /// [`EvalError`] where the expression has none. It holds no value of the event.
    pub fn eval<'a>(&'a self, input: &Input<'a>) -> Result<Value<'a>, EvalError> {
        self.code.eval(Scope { cx: &self.context(input)?, frame: None })
    }

    /// Whether a condition holds for an event.
    ///
    /// # Errors
    /// As for [`Program::eval`], and where the result is no boolean.
    pub fn test<'a>(&'a self, input: &Input<'a>) -> Result<bool, EvalError> {
        if let Some(holds) = self.decide(input.slots) {
            return Ok(holds);
        }
        let cx = self.context(input)?;
        let scope = Scope { cx: &cx, frame: None };
        match &self.code.op {
            // A condition of SQL holds where it is true; null is not.
            Op::Sql(..) => Ok(matches!(self.code.eval(scope)?, Value::Bool(true))),
            _ => self.code.test(scope),
        }
    }

    /// Whether a condition holds, where the slots of the event tell it without an evaluation; nothing says nothing.
    /// It is the answer of [`Program::test`], which most rules give at a small part of the cost.
    #[inline]
    pub fn decide(&self, slots: &[Slot<'_>]) -> Option<bool> {
        self.quick.as_ref()?.decide(slots)
    }

    #[inline]
    fn context<'i, 'a>(&self, input: &'i Input<'a>) -> Result<Context<'i, 'a>, EvalError> {
        if input.slots.len() < self.slots {
            return Err(EvalErrorKind::Input.at(self.code.at, None));
        }
        Ok(Context { input, budget: Budget::new(self.work) })
    }
}
