//! From the bytes of a record to a datum of the schema its view was planned with.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use weir_avro::{Schema, SchemaWriter, can_read};
use weir_registry::frame::{self, Place, VALUE_SCHEMA_ID};
use weir_registry::{Answer, Registry, SchemaId};
use weir_view::OnSchemaChange;

/// The most schemas one input remembers before it starts afresh.
const MAX_KNOWN: usize = 1_000;

/// What a writer's schema means to an input.
#[derive(Clone)]
enum Form {
    /// The bytes are those of the planned schema.
    Same,
    /// The bytes are read with one schema and written with the other.
    Resolve(Arc<(apache_avro::Schema, apache_avro::Schema)>),
    /// The record cannot be taken.
    Refused(Arc<str>),
    /// The view stops here.
    Stop(Arc<str>),
}

/// What became of a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'v> {
    /// A datum of the planned schema.
    Datum(&'v [u8]),
    /// The same, where it had to be made.
    Made(Vec<u8>),
    /// The record's own fault.
    Fault(String),
    /// It cannot be said now.
    Wait(String),
}

/// Reads the values of one input of a view.
pub struct Decoder {
    planned: Arc<Schema>,
    /// The planned schema as text, for the slow way.
    text: String,
    on_change: OnSchemaChange,
    registry: Registry,
    known: HashMap<SchemaId, Form>,
    last: Option<SchemaId>,
    /// The schema that has changed with the last value that was read.
    changed: Option<SchemaId>,
}

impl Decoder {
    /// A decoder to the planned schema.
    pub fn new(planned: Arc<Schema>, on_change: OnSchemaChange, registry: Registry) -> Decoder {
        let text = SchemaWriter::default().write(&planned, planned.root()).unwrap_or_default().to_string();
        Decoder { planned, text, on_change, registry, known: HashMap::new(), last: None, changed: None }
    }

    /// The datum in a value.
    pub fn decode<'v>(&mut self, value: &'v [u8], headers: &[(&str, Option<&[u8]>)]) -> Decoded<'v> {
        let frame = match frame::parse(value, headers, VALUE_SCHEMA_ID, Place::Either) {
            Ok(frame) => frame,
            Err(error) => return Decoded::Fault(error.to_string()),
        };
        // The same schema as before, and the planned one: nearly always.
        if self.last == Some(frame.id) {
            return Decoded::Datum(frame.body);
        }
        let form = match self.known.get(&frame.id) {
            Some(form) => form.clone(),
            None => match self.form(frame.id) {
                Ok(form) => {
                    // The first one that is read may be any.
                    self.changed = (!self.known.is_empty()).then_some(frame.id);
                    if self.known.len() >= MAX_KNOWN {
                        self.known.clear();
                    }
                    self.known.insert(frame.id, form.clone());
                    form
                }
                Err(Unknown::Fault(reason)) => return Decoded::Fault(reason),
                Err(Unknown::Wait(reason)) => return Decoded::Wait(reason),
            },
        };
        match form {
            Form::Same => {
                self.last = Some(frame.id);
                Decoded::Datum(frame.body)
            }
            Form::Resolve(schemas) => match resolve(&schemas.0, &schemas.1, frame.body) {
                Ok(datum) => Decoded::Made(datum),
                Err(reason) => Decoded::Fault(format!("schema {}: {reason}", frame.id)),
            },
            Form::Refused(reason) => Decoded::Fault(reason.to_string()),
            Form::Stop(reason) => Decoded::Wait(reason.to_string()),
        }
    }

    /// The schema that is another one since the last value that was read, once.
    pub fn take_changed(&mut self) -> Option<SchemaId> {
        self.changed.take()
    }

    fn form(&self, id: SchemaId) -> Result<Form, Unknown> {
        let resolved = match self.registry.resolve(id) {
            Answer::Ready(resolved) => resolved,
            Answer::NoSuchId => return Err(Unknown::Fault(format!("the registry knows no schema {id}"))),
            Answer::Unusable(reason) => return Err(Unknown::Fault(format!("schema {id}: {reason}"))),
            Answer::Pending => return Err(Unknown::Wait(format!("schema {id} is being fetched from the registry"))),
            Answer::Unavailable(reason) => return Err(Unknown::Wait(format!("registry: schema {id}: {reason}"))),
        };
        let writer = &resolved.schema;
        if writer.canonical_form() == self.planned.canonical_form() {
            return Ok(Form::Same);
        }
        if self.on_change == OnSchemaChange::Fail {
            let reason = format!(
                "a source has the new schema {id} and onSchemaChange is fail; apply the view with pin, or over the new schema and reset it"
            );
            return Ok(Form::Stop(reason.into()));
        }
        if let Some(first) = can_read(writer, &self.planned).first() {
            let reason = format!("schema {id} cannot be read as planned: {} at {}", first.message, first.path);
            return Ok(Form::Refused(reason.into()));
        }
        let text = SchemaWriter::default().write(writer, writer.root()).unwrap_or_default().to_string();
        let parse = |text: &str| apache_avro::Schema::parse_str(text).map_err(|e| Unknown::Fault(e.to_string()));
        Ok(Form::Resolve(Arc::new((parse(&text)?, parse(&self.text)?))))
    }
}

enum Unknown {
    Fault(String),
    Wait(String),
}

/// The slow way, over values, for records of a schema that has changed: how a field is resolved is Avro's to say.
fn resolve(writer: &apache_avro::Schema, planned: &apache_avro::Schema, mut datum: &[u8]) -> Result<Vec<u8>, String> {
    let value = GenericDatumReader::builder(writer)
        .reader_schema(planned)
        .build()
        .and_then(|reader| reader.read_value(&mut datum))
        .map_err(|e| e.to_string())?;
    if !datum.is_empty() {
        return Err("bytes follow the datum".to_owned());
    }
    GenericDatumWriter::builder(planned).build().and_then(|w| w.write_value_to_vec(value)).map_err(|e| e.to_string())
}
