//! Views: a SQL SELECT over products, planned and type-checked against their contracts and schemas, and run by pure
//! operators over records and a [`State`].
//!
//! ```text
//! text -> query -> plan(relations) -> Plan -> Stage -> Task::process(record, state) -> output
//! ```
//!
//! The crate does no I/O and knows no clock and no Kafka. What the language means stands in `docs/views.md`.

mod aggregate;
mod bytes;
mod calendar;
mod clock;
mod file;
mod flow;
pub mod order;
mod plan;
mod projection;
mod record;
mod relation;
mod sieve;
mod sql;
mod state;
mod task;
mod views;

pub use clock::Clock;
pub use file::{Delivery, Given, OnSchemaChange, Test, ViewFile, read};
pub use flow::Flow;
pub use plan::{Lineage, Options, Plan, Stage, StageInput, plan};
pub use projection::RowError;
pub use record::{RecordError, VIEWS_TOPIC, ViewRecord, generation_topic};
pub use relation::Relation;
pub use sieve::{Condition, Looked, Sieve};
pub use state::{Memory, State, StateError};
pub use task::{Done, Emit, Fault, Of, Output, Record, Task, Undefined};
pub use views::plan_all;
