//! ODCS contracts: read, lint, compile, check, decide, plan; the violation pages. No I/O.
//!
//! The data goes one way. [`read`] turns a text into a [`Contract`], [`compile`] holds it against its Avro schemas and
//! makes a [`CompiledContract`], [`CompiledObject::bind`] makes a [`Binding`] for one writer's schema. For each event
//! [`Binding::check`] makes a [`Report`], [`decide`] a [`Verdict`] and [`plan`] an [`Action`]. [`lint`] is the first
//! half of that for people, [`ContractRecord`] its form on the wire.
//!
//! The crate does no I/O and knows no clock, Kafka or registry: texts, schemas and the time come in as arguments.
//! What a contract may say to Weir stands in `docs/contracts.md`.

mod agree;
mod bind;
mod check;
mod codes;
mod compile;
mod diagnostic;
mod exact;
mod fields;
mod key;
mod lint;
pub mod model;
mod odcs;
mod pattern;
mod promise;
mod record;
mod rule;
pub mod settings;
mod test;
mod text_format;
pub mod topics;
mod verdict;
pub mod yaml;

pub use bind::Binding;
pub use check::{Event, Header, MAX_SHOWN, MAX_VIOLATIONS, Report, Violation};
pub use codes::{Code, explain};
pub use compile::{CompiledContract, CompiledObject, SchemaSource, compile};
pub use diagnostic::{Diagnostic, Place, Severity, has_errors, hint};
pub use key::key_schema;
pub use lint::{Lint, lint};
pub use model::{Contract, Object, Property, read};
pub use odcs::Version;
pub use promise::{How, Promise};
pub use record::{CONTRACTS_TOPIC, ContractRecord, RecordError};
pub use settings::Mode;
pub use verdict::{
    Action, DataFault, Headers, MAX_HEADER_BYTES, MAX_HEADER_VIOLATIONS, Outcome, SchemaRef, Source, Verdict, attempts,
    decide, plan,
};
