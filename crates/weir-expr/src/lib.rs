//! One typed expression program over the slots of a walk; CEL is its first spelling.
//!
//! An expression is compiled once against an Avro schema and then evaluated for every event:
//!
//! ```text
//! source -> lexer -> parser -> Expr -> check (types, cost) -> Program -> eval(Input) -> Value
//! ```
//!
//! ```text
//! pub fn compile(source: &str, env: &Env<'_>, wanted: &mut Wanted) -> Result<Program, Vec<ExprError>>;
//! impl Program {
//!     pub fn result(&self) -> &Type;
//!     pub fn cost(&self) -> Cost;
//!     pub fn eval<'a>(&'a self, input: &Input<'a>) -> Result<Value<'a>, EvalError>;
//!     pub fn test(&self, input: &Input<'_>) -> Result<bool, EvalError>;
//! }
//! pub struct Input<'a> {
//!     pub schema: &'a Schema,              // the schema of Env::this
//!     pub slots: &'a [Slot<'a>],           // of a walk over Wanted::paths()
//!     pub key: Slot<'a>,                   // Slot::Null for a record without a key
//!     pub key_schema: Option<&'a Schema>,  // the schema of KeyType::Avro
//!     pub headers: &'a [(&'a str, Option<&'a [u8]>)],
//!     pub now_ms: i64,                     // milliseconds since the epoch
//! }
//! ```
//!
//! The crate knows no clock, no Kafka and no contract: time, key and headers come in as arguments.
//! What the language is and what it means for Avro types stands in `docs/cel.md`.

mod ast;
mod env;
mod error;
mod lexer;
mod number;
mod parser;
mod pattern;
mod read;
mod time;
mod value;

pub use env::{Cost, Env, KeyType, Limits, Source, Type, Wanted};
pub use error::{EvalError, EvalErrorKind, ExprError, Pos};
pub use number::Decimal;
pub use time::Timestamp;
pub use value::{Blob, Collection, List, Map, Record, Shared, Text, Value};
