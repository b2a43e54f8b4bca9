//! A contract as it travels in the topic `weir.contracts`: the texts it was made from, in a versioned form.
//!
//! The wire form is not the model: a reader compiles the texts itself, so a model may change without the topic.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::compile::{CompiledContract, SchemaSource, compile};
use crate::diagnostic::Diagnostic;
use crate::model::{Contract, read};

/// The compacted topic contracts travel in.
pub const CONTRACTS_TOPIC: &str = "weir.contracts";

/// The form this version writes; it reads no other.
pub const FORM: u64 = 1;

/// A contract with the schemas it names. Its key in the topic is its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractRecord {
    /// `id` of the contract.
    pub id: String,
    /// `version` of the contract.
    pub version: String,
    /// The text of the contract.
    pub contract: String,
    /// The texts of its schemas by the URLs it names them by.
    pub schemas: BTreeMap<String, String>,
}

/// Why a value of the topic is no contract.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The value is not JSON.
    #[error("the record is not JSON: {0}; apply the contract again")]
    Json(#[from] serde_json::Error),
    /// The value is of another form.
    #[error("the record has the form {0}, this version reads form {FORM}; use the version of Weir that wrote it")]
    Form(String),
    /// A member is missing or of the wrong type.
    #[error("the record lacks `{0}` or has it in the wrong type; apply the contract again")]
    Member(&'static str),
}

impl ContractRecord {
    /// The record of a contract and the schemas it names. Schemas that cannot be found are left out; compiling says so.
    pub fn new(contract: &Contract, schemas: &SchemaSource<'_>) -> Self {
        let urls = contract.topics().flat_map(|object| &object.schemas);
        Self {
            id: contract.id.clone(),
            version: contract.version.clone(),
            contract: contract.text.to_string(),
            schemas: urls.filter_map(|url| Some((url.value.clone(), schemas(&url.value)?))).collect(),
        }
    }

    /// The value of the record.
    pub fn to_json(&self) -> String {
        let schemas: Map<_, _> = self.schemas.iter().map(|(url, text)| (url.clone(), text.as_str().into())).collect();
        let Self { id, version, contract, .. } = self;
        json!({ "form": FORM, "id": id, "version": version, "contract": contract, "schemas": schemas }).to_string()
    }

    /// Reads the value of a record.
    ///
    /// # Errors
    /// [`RecordError`] for a value of another form. Members this version does not know are ignored.
    pub fn from_json(text: &[u8]) -> Result<Self, RecordError> {
        let value: Value = serde_json::from_slice(text)?;
        match value.get("form") {
            Some(form) if form.as_u64() == Some(FORM) => {}
            Some(form) => return Err(RecordError::Form(form.to_string())),
            None => return Err(RecordError::Member("form")),
        }
        let member = |name| value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(RecordError::Member(name));
        let schemas = value.get("schemas").and_then(Value::as_object).ok_or(RecordError::Member("schemas"))?;
        let schemas = schemas.iter().map(|(url, text)| Some((url.clone(), text.as_str()?.to_owned())));
        Ok(Self {
            id: member("id")?,
            version: member("version")?,
            contract: member("contract")?,
            schemas: schemas.collect::<Option<_>>().ok_or(RecordError::Member("schemas"))?,
        })
    }

    /// Reads and compiles the contract with the schemas that came with it. The file of the diagnostics is its id.
    pub fn compile(&self) -> (Option<CompiledContract>, Vec<Diagnostic>) {
        let (contract, mut diagnostics) = read(&self.contract, &self.id);
        let Some(contract) = contract else { return (None, diagnostics) };
        let (compiled, more) = compile(&contract, &|url| self.schemas.get(url).cloned());
        diagnostics.extend(more);
        (compiled, diagnostics)
    }
}
