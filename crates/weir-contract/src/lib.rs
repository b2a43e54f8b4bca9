//! ODCS contracts: read, lint, compile, check, decide, plan; the violation pages. No I/O.

mod diagnostic;
pub mod model;
mod odcs;
pub mod settings;
pub mod yaml;

pub use diagnostic::{Diagnostic, Place, Severity, has_errors};
pub use model::{Contract, Object, Property, read};
pub use odcs::Version;
