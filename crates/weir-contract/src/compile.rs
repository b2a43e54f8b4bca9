//! A contract and its Avro schemas, held against each other and turned into rules by field.
//!
//! Compiling happens once per contract version. Its outcome still knows no writer's schema: an event may be written
//! with any schema the contract's own can read, and [`CompiledObject::bind`] makes the tests for one of them.

use std::collections::HashMap;
use std::sync::Arc;

use weir_avro::{FieldPath, Kind, Logical, NodeId, Schema};

use crate::agree;
use crate::diagnostic::{Diagnostic, Findings, Place, has_errors, hint};
use crate::fields::Walk;
use crate::model::{Contract, Object};
use crate::promise::{How, Promise};
use crate::rule::Spec;
use crate::settings::{At, Framing, KeyFormat, Kind as TopicKind, Mode, Settings, Subject, is_topic};

/// Where schemas come from: the text of the schema an `authoritativeDefinitions` URL names.
pub type SchemaSource<'s> = dyn Fn(&str) -> Option<String> + 's;

/// A contract ready to be bound to writers' schemas.
#[derive(Debug)]
pub struct CompiledContract {
    /// `id` of the contract.
    pub id: String,
    /// `version` of the contract.
    pub version: String,
    /// One for each topic, in the order of the contract.
    pub objects: Vec<Arc<CompiledObject>>,
    /// What becomes of every promise.
    pub promises: Vec<Promise>,
}

/// One topic of a contract.
#[derive(Debug)]
pub struct CompiledObject {
    pub(crate) contract: String,
    pub(crate) draft: bool,
    pub(crate) topic: String,
    pub(crate) landing: Option<String>,
    pub(crate) quarantine: String,
    pub(crate) schema: Arc<Schema>,
    pub(crate) schema_url: String,
    pub(crate) settings: Settings,
    pub(crate) file: String,
    pub(crate) place: Place,
    pub(crate) mode: Mode,
    pub(crate) specs: Box<[Spec]>,
    pub(crate) rules: Branch,
    pub(crate) key: Vec<FieldPath>,
    pub(crate) event_time: Option<FieldPath>,
}

/// The rules of a value and of what is inside it, by index into the specs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branch {
    pub specs: Vec<u32>,
    /// In the order of the contract's schema.
    pub fields: Vec<(Box<str>, Branch)>,
    pub items: Option<Box<Branch>>,
    /// Of a map: its keys and its values.
    pub entries: Option<Box<(Branch, Branch)>>,
}

impl Branch {
    /// Gives back what the lists have room for beyond what they hold: the rules stay as they are for as long as the contract.
    fn shrink(&mut self) {
        self.specs.shrink_to_fit();
        self.fields.shrink_to_fit();
        self.fields.iter_mut().for_each(|(_, branch)| branch.shrink());
        self.items.iter_mut().for_each(|branch| branch.shrink());
        if let Some(entries) = &mut self.entries {
            entries.0.shrink();
            entries.1.shrink();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.specs.is_empty()
            && self.fields.iter().all(|(_, b)| b.is_empty())
            && self.items.as_ref().is_none_or(|b| b.is_empty())
            && self.entries.as_ref().is_none_or(|b| b.0.is_empty() && b.1.is_empty())
    }
}

impl CompiledContract {
    /// Takes for each topic's schema the equal one that `known` has, so that contracts of one schema hold it once.
    pub fn share_schemas(&mut self, known: impl Fn(&Schema) -> Option<Arc<Schema>>) {
        for object in self.objects.iter_mut().filter_map(Arc::get_mut) {
            if let Some(schema) = known(&object.schema) {
                object.schema = schema;
            }
        }
    }
}

impl CompiledObject {
    /// The contract it belongs to, as `id@version`.
    pub fn contract(&self) -> &str {
        &self.contract
    }
    /// The topic consumers read.
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The topic producers write, where there is one.
    pub fn landing(&self) -> Option<&str> {
        self.landing.as_deref()
    }
    /// The topic of rejected events.
    pub fn quarantine(&self) -> &str {
        &self.quarantine
    }
    /// The contract's own Avro schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
    /// The URL the contract names its schema by.
    pub fn schema_url(&self) -> &str {
        &self.schema_url
    }
    /// The settings of the topic.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// How the schema id is framed.
    pub fn framing(&self) -> Framing {
        self.settings.framing.as_ref().map_or(Framing::Auto, |at| at.value)
    }
    /// Whether events may be written with a compatible schema of no subject of the topic.
    pub fn allows_foreign_schemas(&self) -> bool {
        self.settings.unknown_schema.as_ref().is_some_and(|at| at.value)
    }
    /// Whether a null value is allowed: by the setting, otherwise for tables only.
    pub fn allows_tombstones(&self) -> bool {
        let table = self.settings.kind.as_ref().is_some_and(|at| at.value == TopicKind::Table);
        self.settings.tombstones.as_ref().map_or(table, |at| at.value)
    }
    /// The names of the fields the key is made of.
    pub fn key_fields(&self) -> &[FieldPath] {
        &self.key
    }
    /// The subjects the schema is registered under, the product topic's first.
    pub fn subjects(&self) -> Vec<String> {
        let name = || self.schema.node(self.schema.root()).name.as_deref().unwrap_or_default().to_owned();
        let each = |suffix: &str| {
            let topics = std::iter::once(self.topic.as_str()).chain(self.landing.as_deref());
            topics.map(|topic| format!("{topic}-{suffix}")).collect()
        };
        match self.settings.subject.as_ref().map_or(&Subject::TopicName, |at| &at.value) {
            Subject::TopicName => each("value"),
            Subject::TopicRecordName => each(&name()),
            Subject::RecordName => vec![name()],
            Subject::Named(subject) => vec![subject.clone()],
        }
    }
}

/// Holds a contract against its schemas. The outcome comes back only where no finding is an error.
pub fn compile(contract: &Contract, schemas: &SchemaSource<'_>) -> (Option<CompiledContract>, Vec<Diagnostic>) {
    let (compiled, diagnostics) = compile_all(contract, schemas);
    (Some(compiled).filter(|_| !has_errors(&diagnostics)), diagnostics)
}

/// Compiles as much of a contract as can be, for a linter that goes on behind errors.
pub(crate) fn compile_all(contract: &Contract, schemas: &SchemaSource<'_>) -> (CompiledContract, Vec<Diagnostic>) {
    let mut compiler = Compiler {
        contract,
        findings: Findings::new(&contract.file),
        promises: Vec::new(),
        topics: HashMap::new(),
        loaded: HashMap::new(),
    };
    let objects: Vec<_> = contract.topics().filter_map(|object| compiler.object(object, schemas)).collect();
    if contract.topics().next().is_none() {
        let message = "no schema object has `physicalType: topic`, so Weir governs nothing of this contract";
        compiler.findings.info(contract.document.place, "topic-none", message);
    }
    compiler.sla();
    let mut promises = compiler.promises;
    promises.sort_by_key(|promise| promise.place);
    let (id, version) = (contract.id.clone(), contract.version.clone());
    (CompiledContract { id, version, objects, promises }, compiler.findings.finish())
}

pub(crate) struct Compiler<'c> {
    contract: &'c Contract,
    pub findings: Findings,
    pub promises: Vec<Promise>,
    /// The topics seen so far and where.
    topics: HashMap<String, Place>,
    loaded: HashMap<String, Option<Arc<Schema>>>,
}

impl Compiler<'_> {
    fn object(&mut self, object: &Object, schemas: &SchemaSource<'_>) -> Option<Arc<CompiledObject>> {
        self.topic_names(object);
        let (url, schema) = self.schema(object, schemas)?;
        let root = schema.root();
        if !matches!(schema.node(root).kind, Kind::Record { .. }) {
            let message = format!("the schema must be a record, not {}", schema.describe(root));
            self.findings.error(url.place, "schema-type", message);
            return None;
        }
        let draft = self.contract.is_draft();
        let mode = object.settings.mode.as_ref().map_or(Mode::Enforce, |at| at.value);
        let mode = if draft { Mode::Shadow } else { mode };
        let mut walk =
            Walk { contract: self.contract, schema: &schema, specs: Vec::new(), mode, draft, compiler: self };
        let mut rules = walk.record(&object.properties, root, "", url.place, false);
        let own = walk.reader().object(&object.quality);
        rules.specs = walk.take(own, root, "this", false, None);
        let specs = walk.specs.into();
        rules.shrink();
        let key = self.key(object, &schema);
        let event_time = self.event_time(object, &schema);
        self.settings(object);
        Some(Arc::new(CompiledObject {
            contract: format!("{}@{}", self.contract.id, self.contract.version),
            draft,
            topic: object.product_topic().to_owned(),
            landing: object.landing_topic(),
            quarantine: object.quarantine_topic(),
            schema,
            schema_url: url.value,
            settings: object.settings.clone(),
            file: self.contract.file.clone(),
            place: object.place,
            mode,
            specs,
            rules,
            key,
            event_time,
        }))
    }

    fn topic_names(&mut self, object: &Object) {
        let place = object.physical_name.place;
        let landing_place = object.settings.landing.as_ref().map_or(place, |at| at.place);
        let names = [Some((object.product_topic().to_owned(), place)), Some((object.quarantine_topic(), place))];
        for (name, place) in names.into_iter().flatten().chain(object.landing_topic().map(|n| (n, landing_place))) {
            if !is_topic(&name) {
                let message =
                    format!("`{name}` cannot be the name of a topic: letters, digits, `.`, `_`, `-`, up to 249");
                self.findings.error(place, "topic-name", message);
            }
            if let Some(first) = self.topics.insert(name.clone(), place) {
                let message = format!("the topic `{name}` is used twice, first in line {}", first.line);
                self.findings.error(place, "topic-name", message);
            }
        }
    }

    fn schema(&mut self, object: &Object, schemas: &SchemaSource<'_>) -> Option<(At<String>, Arc<Schema>)> {
        let url = match &object.schemas[..] {
            [url] => url.clone(),
            [] => {
                let message = format!(
                    "the topic `{}` names no Avro schema; add an entry of type `implementation` with the URL of an .avsc file to `authoritativeDefinitions`",
                    object.product_topic()
                );
                self.findings.error(object.place, "schema-missing", message);
                return None;
            }
            [_, second, ..] => {
                let message = "a topic has one Avro schema; remove the second";
                self.findings.error(second.place, "schema-missing", message);
                return None;
            }
        };
        if let Some(known) = self.loaded.get(&url.value) {
            return known.clone().map(|schema| (url, schema));
        }
        let schema = match schemas(&url.value).map(|text| Schema::parse(&text)) {
            Some(Ok(schema)) => Some(Arc::new(schema)),
            Some(Err(error)) => {
                self.findings.error(url.place, "schema-invalid", format!("{}: {error}", url.value));
                None
            }
            None => {
                self.findings.error(url.place, "schema-missing", format!("the schema {} cannot be found", url.value));
                None
            }
        };
        self.loaded.insert(url.value.clone(), schema.clone());
        schema.map(|schema| (url, schema))
    }

    /// A field a setting names, looked up in the schema.
    fn field(&mut self, schema: &Schema, path: &str, place: Place) -> Option<(FieldPath, NodeId)> {
        let parsed = FieldPath::parse(path);
        let found = schema.find(&parsed);
        if found.is_none() {
            let names = match &schema.node(schema.root()).kind {
                Kind::Record { fields } => fields.iter().map(|field| &*field.name).collect(),
                _ => Vec::new(),
            };
            let message = format!("the schema has no field `{path}`{}", hint(path, names));
            self.findings.error(place, "setting-field", message);
        }
        found.map(|node| (parsed, node))
    }

    fn key(&mut self, object: &Object, schema: &Schema) -> Vec<FieldPath> {
        let settings = &object.settings;
        let Some(key) = &settings.key else {
            if let Some(at) = settings.kind.as_ref().filter(|at| at.value == TopicKind::Table) {
                self.findings.error(at.place, "setting-key", "a table needs the setting `key`");
            }
            if let Some(at) = &settings.key_format {
                self.findings.error(at.place, "setting-key", "`keyFormat` needs the setting `key`");
            }
            return Vec::new();
        };
        let avro = settings.key_format.as_ref().is_some_and(|at| at.value == KeyFormat::Avro);
        let mut paths = Vec::new();
        for path in &key.value {
            let Some((parsed, node)) = self.field(schema, path, key.place) else { continue };
            let (node, nullable) = schema.non_null(node);
            let ty = schema.node(node);
            let usable = match (&ty.kind, ty.logical) {
                (Kind::Int | Kind::Long | Kind::Boolean | Kind::String, _) => true,
                (Kind::Enum { .. }, _) => !avro,
                (Kind::Bytes | Kind::Fixed { .. }, Some(Logical::Uuid)) => true,
                (Kind::Bytes | Kind::Fixed { .. }, None) => avro,
                _ => false,
            };
            if !usable {
                let takes = if avro {
                    "texts, integers, booleans and bytes"
                } else {
                    "texts, integers, booleans, enums and uuids"
                };
                let message = format!("`{path}` is {}; a key is made of {takes}", agree::describe(schema, node));
                self.findings.error(key.place, "setting-key", message);
            }
            let required = object.property(path).and_then(|p| p.required.as_ref()).is_some_and(|at| at.value);
            if nullable && !required {
                let message = format!("`{path}` may be null; a key field must be required");
                self.findings.error(key.place, "setting-key", message);
            }
            paths.push(parsed);
        }
        paths
    }

    fn event_time(&mut self, object: &Object, schema: &Schema) -> Option<FieldPath> {
        let At { value, place } = object.settings.event_time.as_ref()?;
        let (path, node) = self.field(schema, value, *place)?;
        let (node, _) = schema.non_null(node);
        if millis(schema, node, 0).is_none() {
            let message = format!(
                "`{value}` is {}; an event time is a long with a timestamp logical type",
                agree::describe(schema, node)
            );
            self.findings.error(*place, "setting-event-time", message);
        }
        Some(path)
    }

    fn settings(&mut self, object: &Object) {
        let settings = &object.settings;
        let stream = settings.kind.as_ref().is_none_or(|at| at.value == TopicKind::Stream);
        if let Some(at) = settings.tombstones.as_ref().filter(|at| at.value && stream) {
            self.findings.warn(
                at.place,
                "setting-tombstones",
                "tombstones mean nothing on a stream; did you mean `kind: table`?",
            );
        }
        let mode = settings.mode.as_ref().map_or(Mode::Enforce, |at| at.value);
        let mode = if self.contract.is_draft() { Mode::Shadow } else { mode };
        let mut enforced = |place: Place, what: String| {
            let why = format!("in mode {}", mode.name());
            self.promises.push(Promise { place, what, how: How::PerEvent, why });
        };
        if let Some(at) = &settings.key {
            enforced(at.place, format!("the record key is made of {}", at.value.join(", ")));
        }
        if let Some(at) = &settings.max_lateness {
            enforced(at.place, "maxLateness".to_owned());
        }
        if let Some(at) = &settings.max_future {
            enforced(at.place, "maxFuture".to_owned());
        }
    }

    fn sla(&mut self) {
        const MEASURED: [&str; 8] = ["latency", "ly", "frequency", "fy", "throughput", "th", "errorrate", "er"];
        for sla in &self.contract.sla {
            let unit = sla.unit.as_deref().unwrap_or_default();
            let what = format!("SLA {} {} {unit}", sla.property, sla.value).trim_end().to_owned();
            let (how, why) = match MEASURED.contains(&sla.property.to_ascii_lowercase().as_str()) {
                true => (How::Measured, "is about the stream, not about one event"),
                false => (How::Impossible, "cannot be seen in the stream"),
            };
            self.promises.push(Promise { place: sla.place, what, how, why: why.to_owned() });
        }
    }
}

/// Milliseconds since the epoch of a timestamp field's value; nothing where the type is no timestamp.
pub(crate) fn millis(schema: &Schema, node: NodeId, value: i64) -> Option<i64> {
    match schema.node(node).logical? {
        Logical::TimestampMillis | Logical::LocalTimestampMillis => Some(value),
        Logical::TimestampMicros | Logical::LocalTimestampMicros => Some(value.div_euclid(1_000)),
        Logical::TimestampNanos | Logical::LocalTimestampNanos => Some(value.div_euclid(1_000_000)),
        _ => None,
    }
}
