//! Everything there is to say about a contract, in one run.

use crate::compile::{SchemaSource, compile_all};
use crate::diagnostic::{Diagnostic, has_errors};
use crate::model::read_all;
use crate::promise::Promise;

/// What a linter says about one contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lint {
    /// The findings, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
    /// What becomes of each promise, sorted by place; nothing for a contract that cannot be used.
    pub promises: Vec<Promise>,
}

impl Lint {
    /// Whether the contract cannot be used.
    pub fn has_errors(&self) -> bool {
        has_errors(&self.diagnostics)
    }
}

/// Reads and compiles a contract and goes on behind errors as far as it can.
pub fn lint(text: &str, file: &str, schemas: &SchemaSource<'_>) -> Lint {
    let (contract, mut diagnostics) = read_all(text, file);
    let Some(contract) = contract else { return Lint { diagnostics, promises: Vec::new() } };
    let (compiled, more) = compile_all(&contract, schemas);
    diagnostics.extend(more);
    diagnostics.sort();
    diagnostics.dedup();
    let promises = if has_errors(&diagnostics) { Vec::new() } else { compiled.promises };
    Lint { diagnostics, promises }
}
