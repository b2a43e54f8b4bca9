//! A view as it travels in the topic `weir.views`: the text of its file, and what it was planned over, so that it means
//! the same to every router, whatever becomes of the contracts of its sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use weir_avro::{FieldPath, Schema, SchemaWriter};
use weir_contract::ContractRecord;

use crate::file::{ViewFile, read};
use crate::plan::{Plan, plan};
use crate::relation::Relation;

/// The compacted topic views travel in.
pub const VIEWS_TOPIC: &str = "weir.views";

/// The form this version writes; it reads no other.
const FORM: u64 = 1;

/// A view that is to run. Its key in the topic is its id.
#[derive(Clone, Debug)]
pub struct ViewRecord {
    /// The id, `domain.name`.
    pub id: String,
    /// `version` of the file.
    pub version: String,
    /// How often it was made anew, from 1. Each time it has topics of its own.
    pub generation: u32,
    /// The text of the view file.
    pub text: String,
    /// The products and views it reads, as they were when it was planned.
    pub inputs: Vec<Arc<Relation>>,
    /// The contract of what it writes, if there is one.
    pub contract: Option<ContractRecord>,
}

/// Why a value of the topic is no view.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The value is not JSON.
    #[error("the record is not JSON: {0}; apply the view again")]
    Json(#[from] serde_json::Error),
    /// The value is of another form.
    #[error("the record has the form {0}, this version reads form {FORM}; use the version of Weir that wrote it")]
    Form(String),
    /// A member is missing or of the wrong type.
    #[error("the record lacks `{0}` or has it in the wrong type; apply the view again")]
    Member(&'static str),
    /// The contract cannot be read.
    #[error("the contract of the view: {0}")]
    Contract(String),
    /// The text is no view any more, or cannot be planned over its inputs.
    #[error("{0}; apply the view again with this version of Weir")]
    Plan(String),
}

impl ViewRecord {
    /// The value of the record.
    pub fn to_json(&self) -> String {
        let contract = self.contract.as_ref().and_then(|c| serde_json::from_str::<Json>(&c.to_json()).ok());
        json!({
            "form": FORM, "id": self.id, "version": self.version, "generation": self.generation, "view": self.text,
            "inputs": self.inputs.iter().map(|input| relation_json(input)).collect::<Vec<_>>(), "contract": contract,
        })
        .to_string()
    }

    /// Reads the value of a record.
    ///
    /// # Errors
    /// [`RecordError`] for a value of another form. Members this version does not know are ignored.
    pub fn from_json(text: &[u8]) -> Result<ViewRecord, RecordError> {
        let value: Json = serde_json::from_slice(text)?;
        match value.get("form") {
            Some(form) if form.as_u64() == Some(FORM) => {}
            Some(form) => return Err(RecordError::Form(form.to_string())),
            None => return Err(RecordError::Member("form")),
        }
        let member = |name| value.get(name).and_then(Json::as_str).map(str::to_owned).ok_or(RecordError::Member(name));
        let generation = value.get("generation").and_then(Json::as_u64).and_then(|g| u32::try_from(g).ok());
        let inputs = value.get("inputs").and_then(Json::as_array).ok_or(RecordError::Member("inputs"))?;
        let inputs = inputs.iter().map(|input| relation(input).map(Arc::new)).collect::<Option<_>>();
        let contract = match value.get("contract") {
            None | Some(Json::Null) => None,
            Some(contract) => Some(
                ContractRecord::from_json(contract.to_string().as_bytes())
                    .map_err(|e| RecordError::Contract(e.to_string()))?,
            ),
        };
        Ok(ViewRecord {
            id: member("id")?,
            version: member("version")?,
            generation: generation.filter(|g| *g > 0).ok_or(RecordError::Member("generation"))?,
            text: member("view")?,
            inputs: inputs.ok_or(RecordError::Member("inputs"))?,
            contract,
        })
    }

    /// The view, planned over its inputs.
    ///
    /// # Errors
    /// [`RecordError::Plan`].
    pub fn plan(&self) -> Result<(ViewFile, Plan), RecordError> {
        let (file, found) = read(&self.text, &self.id);
        let Some(mut file) = file else {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(RecordError::Plan(found.join("; ")));
        };
        file.options.topic = generation_topic(&file.options.topic, self.generation);
        let plan = plan(&file.sql, &file.options, &self.inputs).map_err(|e| RecordError::Plan(e.to_string()))?;
        Ok((file, plan))
    }
}

/// The topic of a view that was made anew: beside the old one, under a name of its own.
pub fn generation_topic(topic: &str, generation: u32) -> String {
    if generation <= 1 { topic.to_owned() } else { format!("{topic}.g{generation}") }
}

fn relation_json(relation: &Relation) -> Json {
    let schema = SchemaWriter::default().write(&relation.schema, relation.schema.root()).unwrap_or_default();
    json!({
        "name": relation.name, "topic": relation.topic, "kind": if relation.table { "table" } else { "stream" },
        "key": relation.key, "keyFormat": if relation.key_schema.is_some() { "avro" } else { "string" },
        "keySchema": relation.key_schema.as_deref(),
        "eventTime": relation.event_time.as_ref().map(ToString::to_string), "partitions": relation.partitions,
        "schema": schema, "personal": relation.personal, "personalKey": relation.personal_key,
    })
}

fn relation(json: &Json) -> Option<Relation> {
    let text = |name: &str| json.get(name)?.as_str().map(str::to_owned);
    let texts = |of: &Json| of.as_array()?.iter().map(|t| t.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let personal = |of: &Map<String, Json>| {
        of.iter().map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect::<Option<BTreeMap<_, _>>>()
    };
    let key = texts(json.get("key")?)?;
    let schema = Arc::new(Schema::parse(&json.get("schema")?.to_string()).ok()?);
    let key_schema = match text("keySchema") {
        Some(schema) => Some(schema.into()),
        // Written before the schema of the key was: it is that of the product's fields.
        None if text("keyFormat")? == "avro" => {
            let fields: Vec<_> = key.iter().map(|field| FieldPath::parse(field)).collect();
            Some(weir_contract::key_schema(&schema, &fields)?.into())
        }
        None => None,
    };
    Some(Relation {
        name: text("name")?,
        topic: text("topic")?,
        table: text("kind")? == "table",
        key,
        key_schema,
        event_time: text("eventTime").map(|path| FieldPath::parse(&path)),
        partitions: json.get("partitions")?.as_u64().and_then(|n| u32::try_from(n).ok()),
        schema,
        personal: personal(json.get("personal")?.as_object()?)?,
        personal_key: json.get("personalKey")?.as_bool()?,
    })
}
