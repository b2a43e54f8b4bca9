//! One typed expression program over the slots of a walk; CEL and SQL ([`sql`]) are its spellings.
//!
//! An expression is compiled once against an Avro schema and then evaluated for every event:
//!
//! ```text
//! source -> lexer -> parser -> Expr -> check (types, cost) -> Program -> eval(Input) -> Value
//! ```
//!
//! ```
//! use weir_avro::{Limits, Schema, Walker};
//! use weir_expr::{Env, Input, Wanted, compile};
//!
//! let schema = Schema::parse(r#"{"type": "record", "name": "Order", "fields": [{"name": "quantity", "type": "int"}]}"#)?;
//! let schema = std::sync::Arc::new(schema);
//! let mut wanted = Wanted::new();
//! let rule = compile("this.quantity > 0", &Env::new(&schema), &mut wanted).map_err(|errors| errors[0].clone())?;
//!
//! let walker = Walker::new(schema, wanted.paths(), Limits::default())?;
//! let mut slots = Vec::new();
//! walker.walk(&[6], &mut slots)?;
//! assert!(rule.test(&Input::new(walker.schema(), &slots))?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate knows no clock, no Kafka and no contract: time, key and headers come in as arguments.
//! What the language is and what it means for Avro types stands in `docs/cel.md`.

mod arith;
mod ast;
mod check;
mod check_call;
mod check_ops;
mod code;
mod env;
mod error;
mod func;
mod lexer;
mod logic;
mod loops;
mod number;
mod parser;
mod pattern;
mod program;
mod quick;
mod read;
mod show;
pub mod sql;
mod time;
mod value;

pub use check::nearest;
pub use env::{Cost, Env, KeyType, Limits, Source, Type, Wanted};
pub use error::{EvalError, EvalErrorKind, ExprError, Pos};
pub use number::Decimal;
pub use pattern::compile as compile_pattern;
pub use program::{Input, Program, compile};
pub use time::Timestamp;
pub use value::{Blob, Collection, List, Map, Record, Shared, Text, Value};
