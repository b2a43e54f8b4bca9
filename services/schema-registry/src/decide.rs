//! What a request to change the registry comes to: the records to write and the answer to give, or why not. Pure:
//! the state comes in, records go out, and the state follows only when the log has them.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use weir_avro::Schema;
use weir_avro::compat::can_read;

use crate::canonical::canonical;
use crate::fault::Fault;
use crate::record::{ConfigValue, DeleteSubjectValue, Guid, Key, ModeValue, NoopValue, Record, Reference, SchemaValue};
use crate::store::{Content, Filter, Level, Mode, Store, Version, Wanted};

/// Records to write, in order, and the answer once they are written.
#[derive(Debug)]
pub struct Decision<T> {
    /// Empty where nothing has to change.
    pub records: Vec<Record>,
    /// What the request is answered with.
    pub answer: T,
}

impl<T> Decision<T> {
    fn nothing(answer: T) -> Self {
        Decision { records: Vec::new(), answer }
    }
}

/// Most schemas that one schema may reach through references.
pub const MAX_REFERENCES: usize = 256;

/// A schema as a request brings it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SchemaRequest {
    /// The text.
    pub schema: Option<String>,
    /// `AVRO` or absent.
    pub schema_type: Option<String>,
    /// Named types taken from other subjects.
    pub references: Option<Vec<Reference>>,
    /// Tags and properties, kept for others.
    pub metadata: Option<Value>,
    /// Rules, kept for others.
    pub rule_set: Option<Value>,
    /// The id to use; only when importing.
    pub id: Option<i64>,
    /// The version to use: the next one, or any when importing.
    pub version: Option<i64>,
}

/// A schema that was checked and can be compared and kept.
#[derive(Debug)]
pub struct Candidate {
    /// The content, under the id 0.
    pub content: Content,
    parsed: Schema,
}

/// Where a schema is registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The subject.
    pub subject: String,
    /// The version.
    pub version: u32,
    /// The content, with its id.
    pub content: Arc<Content>,
    /// Whether it is soft-deleted.
    pub deleted: bool,
}

impl Registered {
    /// A version of the store.
    pub fn of(subject: &str, number: u32, version: &Version) -> Registered {
        let (content, deleted) = (version.content.clone(), version.deleted);
        Registered { subject: subject.to_owned(), version: number, content, deleted }
    }
}

/// Checks a schema and brings it into the form it is kept in. `filter` says which versions it may refer to.
pub fn prepare(
    store: &Store,
    subject: &str,
    request: &SchemaRequest,
    normalize: bool,
    filter: Filter,
) -> Result<Candidate, Fault> {
    let invalid = |reason: String| Fault::InvalidSchema(reason);
    match request.schema_type.as_deref() {
        None | Some("" | "AVRO") => {}
        Some(other) => return Err(invalid(format!("type {other} is not supported, only AVRO is"))),
    }
    for (name, value) in [("metadata", &request.metadata), ("ruleSet", &request.rule_set)] {
        if value.as_ref().is_some_and(|value| !value.is_object()) {
            return Err(invalid(format!("{name} must be an object")));
        }
    }
    let text = request.schema.as_deref().filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| invalid("the schema is empty".to_owned()))?;
    let normalize = normalize || store.config_in_scope(Some(subject)).normalize == Some(true);
    let mut references = request.references.clone().unwrap_or_default();
    for reference in &mut references {
        if reference.version == -1 {
            let latest = store.version(&reference.subject, Wanted::Latest, filter);
            reference.version = latest.map_err(|_| dangling(reference))?.0.into();
        }
    }
    if normalize {
        references.sort_by(|a, b| (&a.subject, a.version).cmp(&(&b.subject, b.version)));
        references.dedup();
    }
    let json: Value = serde_json::from_str(text).map_err(|e| invalid(format!("it is not JSON: {e}")))?;
    let schema = canonical(&json, normalize);
    let parsed = parse(store, &schema, &references, filter).map_err(invalid)?;
    let (metadata, rule_set) = (request.metadata.clone(), request.rule_set.clone());
    let guid = Guid::of(&schema, &references, metadata.as_ref(), rule_set.as_ref());
    let schema_type = "AVRO".to_owned();
    Ok(Candidate { content: Content { id: 0, guid, schema_type, schema, references, metadata, rule_set }, parsed })
}

fn parse(store: &Store, schema: &str, references: &[Reference], filter: Filter) -> Result<Schema, String> {
    let mut texts = Vec::new();
    resolve(store, references, filter, &mut HashSet::new(), &mut texts)?;
    Schema::parse_with_references(schema, &texts).map_err(|e| e.to_string())
}

/// Collects the texts of everything referred to, what is referred to before what refers. The depth is bounded by
/// the number of references, that by [`MAX_REFERENCES`].
fn resolve<'a>(
    store: &'a Store,
    references: &[Reference],
    filter: Filter,
    seen: &mut HashSet<(String, i64)>,
    texts: &mut Vec<&'a str>,
) -> Result<(), String> {
    for reference in references {
        if !seen.insert((reference.subject.clone(), reference.version)) {
            continue;
        }
        if seen.len() > MAX_REFERENCES {
            return Err(format!("it reaches more than {MAX_REFERENCES} schemas through references"));
        }
        let number = u32::try_from(reference.version).unwrap_or_default();
        let (_, version) = store
            .version(&reference.subject, Wanted::Exactly(number), filter)
            .map_err(|_| dangling(reference).to_string())?;
        resolve(store, &version.content.references, Filter::All, seen, texts)?;
        texts.push(&version.content.schema);
    }
    Ok(())
}

fn dangling(reference: &Reference) -> Fault {
    let Reference { name, subject, version } = reference;
    Fault::InvalidSchema(format!(
        "reference '{name}' names subject '{subject}' version {version}, which does not exist"
    ))
}

/// The version of a subject that has exactly the candidate's content.
pub fn find<'a>(store: &'a Store, subject: &str, candidate: &Candidate, filter: Filter) -> Option<(u32, &'a Version)> {
    store.of(subject, filter).rev().find(|(_, version)| version.content.guid == candidate.content.guid)
}

/// What would break between the candidate and earlier versions, newest first; empty if nothing would.
pub fn incompatibilities<'a>(
    store: &Store,
    level: Level,
    candidate: &Candidate,
    earlier: impl Iterator<Item = (u32, &'a Version)>,
) -> Vec<String> {
    let mut messages = Vec::new();
    for (number, version) in earlier.take(if level.transitive { usize::MAX } else { 1 }) {
        if !level.backward && !level.forward {
            break;
        }
        let content = &version.content;
        if content.schema_type != "AVRO" {
            messages.push(format!("version {number} is of type {}", content.schema_type));
            continue;
        }
        let earlier = match parse(store, &content.schema, &content.references, Filter::All) {
            Ok(schema) => schema,
            Err(error) => {
                messages.push(format!("version {number} cannot be compared with: {error}"));
                continue;
            }
        };
        let mut compare = |writer: &Schema, reader: &Schema, story: &str| {
            let found = can_read(writer, reader);
            messages.extend(found.iter().map(|problem| format!("{story} version {number}: {problem}")));
        };
        if level.backward {
            compare(&earlier, &candidate.parsed, "the new schema cannot read data of");
        }
        if level.forward {
            compare(&candidate.parsed, &earlier, "data of the new schema cannot be read with");
        }
    }
    messages
}

/// Registers a schema, or finds it registered.
pub fn register(
    store: &Store,
    subject: &str,
    request: &SchemaRequest,
    normalize: bool,
) -> Result<Decision<Registered>, Fault> {
    let candidate = prepare(store, subject, request, normalize, Filter::Live)?;
    let wanted_id = wanted(request.id, "id")?;
    let wanted_version = wanted(request.version, "version")?;
    if let Some((number, version)) = find(store, subject, &candidate, Filter::Live)
        && wanted_id.is_none_or(|id| id == version.content.id)
        && wanted_version.is_none_or(|v| v == number)
    {
        return Ok(Decision::nothing(Registered::of(subject, number, version)));
    }
    let importing = match (store.mode_in_scope(Some(subject)), wanted_id) {
        (Mode::ReadWrite, None) => false,
        (Mode::Import, Some(_)) => true,
        (Mode::ReadOnly, _) => return Err(read_only(Some(subject))),
        (Mode::ReadWrite, Some(_)) => return Err(not_permitted(subject, "takes no ids; set its mode to IMPORT")),
        (Mode::Import, None) => return Err(not_permitted(subject, "is being imported; give id and version")),
    };
    let next = store.versions(subject, Filter::All).last().map_or(1, |last| last + 1);
    let number = wanted_version.unwrap_or(next);
    if importing {
        if store.of(subject, Filter::Live).any(|(n, v)| n == number && v.content.guid != candidate.content.guid) {
            return Err(not_permitted(subject, &format!("has another schema as version {number}")));
        }
    } else {
        if number != next {
            return Err(Fault::InvalidSchema(format!("version {number} is asked for, but the next one is {next}")));
        }
        let messages =
            incompatibilities(store, store.level(subject), &candidate, store.of(subject, Filter::Live).rev());
        if !messages.is_empty() {
            return Err(Fault::Incompatible { subject: subject.to_owned(), messages });
        }
    }
    let id = match wanted_id.or_else(|| store.id_of(candidate.content.guid)) {
        Some(id) => id,
        None => i32::try_from(store.next_id()).map_err(|_| Fault::Store("all ids are given out".to_owned()))? as u32,
    };
    if store.by_id(id).is_some_and(|(content, ..)| content.guid != candidate.content.guid) {
        return Err(not_permitted(subject, &format!("cannot have id {id}, which is another schema's")));
    }
    let content = Content { id, ..candidate.content };
    let mut records: Vec<Record> = store
        .of(subject, Filter::Deleted)
        .filter(|(n, version)| version.content.id == id && *n < number)
        .filter(|(n, _)| store.referenced_by(subject, *n, Filter::All).is_empty())
        .map(|(n, _)| Record::tombstone(&Key::Schema { subject: subject.to_owned(), version: n }))
        .collect();
    records.push(schema_record(subject, number, &content, false));
    let answer =
        Registered { subject: subject.to_owned(), version: number, content: Arc::new(content), deleted: false };
    Ok(Decision { records, answer })
}

/// An id or version in a request: absent, or from 1; 0 and below mean absent, as clients send them.
fn wanted(number: Option<i64>, what: &str) -> Result<Option<u32>, Fault> {
    match number {
        None | Some(..=0) => Ok(None),
        Some(number) => match i32::try_from(number) {
            Ok(number) => Ok(Some(number as u32)),
            Err(_) => Err(Fault::InvalidSchema(format!("{what} {number} is too large"))),
        },
    }
}

fn schema_record(subject: &str, version: u32, content: &Content, deleted: bool) -> Record {
    let value = SchemaValue {
        subject: subject.to_owned(),
        version,
        id: content.id,
        md5: None,
        schema_type: content.schema_type.clone(),
        references: content.references.clone(),
        metadata: content.metadata.clone(),
        rule_set: content.rule_set.clone(),
        schema: content.schema.clone(),
        deleted,
    };
    Record::put(&Key::Schema { subject: subject.to_owned(), version }, &value)
}

/// Deletes one version, softly or for good.
pub fn delete_version(store: &Store, subject: &str, wanted: Wanted, permanent: bool) -> Result<Decision<u32>, Fault> {
    let filter = if permanent || wanted != Wanted::Latest { Filter::All } else { Filter::Live };
    let (number, version) = match store.version(subject, wanted, filter) {
        Err(Fault::SubjectNotFound(_)) if !store.versions(subject, Filter::All).is_empty() => {
            return Err(Fault::SubjectSoftDeleted(subject.to_owned()));
        }
        found => found?,
    };
    writable(store, Some(subject))?;
    if !permanent && version.deleted {
        return Err(Fault::VersionSoftDeleted(subject.to_owned(), number));
    }
    if permanent && !version.deleted {
        return Err(Fault::VersionNotSoftDeleted(subject.to_owned(), number));
    }
    let referrers = if permanent { Filter::All } else { Filter::Live };
    if !store.referenced_by(subject, number, referrers).is_empty() {
        return Err(Fault::Referenced(subject.to_owned(), number));
    }
    let records = if permanent {
        let mut records = removal(store, subject, &[number]);
        if store.versions(subject, Filter::All).len() == 1 {
            records.extend(settings_removal(store, subject));
        }
        records
    } else {
        vec![schema_record(subject, number, &version.content, true)]
    };
    Ok(Decision { records, answer: number })
}

/// Deletes a subject, softly or for good; the answer are the versions deleted.
pub fn delete_subject(store: &Store, subject: &str, permanent: bool) -> Result<Decision<Vec<u32>>, Fault> {
    if store.versions(subject, Filter::All).is_empty() {
        return Err(Fault::SubjectNotFound(subject.to_owned()));
    }
    let filter = if permanent { Filter::All } else { Filter::Live };
    let versions = store.versions(subject, filter);
    let Some(last) = versions.last().copied() else { return Err(Fault::SubjectSoftDeleted(subject.to_owned())) };
    writable(store, Some(subject))?;
    if permanent && store.of(subject, Filter::Live).next().is_some() {
        return Err(Fault::SubjectNotSoftDeleted(subject.to_owned()));
    }
    let referenced = store.referrers(subject, filter).find_map(|(from, _, reference)| {
        let number = u32::try_from(reference.version).ok()?;
        (from != subject && versions.contains(&number)).then_some(number)
    });
    if let Some(number) = referenced {
        return Err(Fault::Referenced(subject.to_owned(), number));
    }
    let records = if permanent {
        let mut records = removal(store, subject, &versions);
        records.extend(settings_removal(store, subject));
        records
    } else {
        let value = DeleteSubjectValue { subject: subject.to_owned(), version: last };
        vec![Record::put(&Key::DeleteSubject(subject.to_owned()), &value)]
    };
    Ok(Decision { records, answer: versions })
}

/// Tombstones for versions, newest first. The highest id is noted before: once the log is compacted, nothing else in
/// it might keep that id from being given to another schema.
fn removal(store: &Store, subject: &str, versions: &[u32]) -> Vec<Record> {
    let mut records = vec![Record::put(&Key::Noop, &NoopValue { max_id: store.max_id() })];
    let keys = versions.iter().rev().map(|version| Key::Schema { subject: subject.to_owned(), version: *version });
    records.extend(keys.map(|key| Record::tombstone(&key)));
    records
}

fn settings_removal(store: &Store, subject: &str) -> impl Iterator<Item = Record> {
    let mode = store.mode(Some(subject)).map(|_| Record::tombstone(&Key::Mode(Some(subject.to_owned()))));
    let config = store.config(Some(subject)).map(|_| Record::tombstone(&Key::Config(Some(subject.to_owned()))));
    mode.into_iter().chain(config)
}

/// Changes settings of a subject, or the global ones; what is not given stays.
pub fn set_config(
    store: &Store,
    subject: Option<&str>,
    level: Option<&str>,
    normalize: Option<bool>,
) -> Result<Decision<ConfigValue>, Fault> {
    writable(store, subject)?;
    let level = level.map(str::to_ascii_uppercase);
    if let Some(name) = level.as_deref().filter(|name| Level::parse(name).is_none()) {
        return Err(Fault::InvalidLevel(name.to_owned()));
    }
    let mut config = store.config(subject).cloned().unwrap_or_default();
    config.subject = subject.map(str::to_owned);
    config.compatibility_level = level.or(config.compatibility_level);
    config.normalize = normalize.or(config.normalize);
    Ok(Decision { records: vec![Record::put(&Key::Config(config.subject.clone()), &config)], answer: config })
}

/// Removes settings of a subject, or the global ones; the answer is what they were.
pub fn delete_config(store: &Store, subject: Option<&str>) -> Result<Decision<ConfigValue>, Fault> {
    let answer = match (store.config(subject), subject) {
        (Some(config), _) => config.clone(),
        (None, None) => store.config_in_scope(None),
        (None, Some(subject)) => return Err(Fault::SubjectNotFound(subject.to_owned())),
    };
    writable(store, subject)?;
    Ok(Decision { records: vec![Record::tombstone(&Key::Config(subject.map(str::to_owned)))], answer })
}

/// Sets the mode of a subject, or the global one.
pub fn set_mode(store: &Store, subject: Option<&str>, mode: &str, force: bool) -> Result<Decision<Mode>, Fault> {
    let mode = Mode::parse(&mode.to_ascii_uppercase()).ok_or_else(|| Fault::InvalidMode(mode.to_owned()))?;
    let mut records = Vec::new();
    if mode == Mode::Import && store.mode_in_scope(subject) != Mode::Import && !force {
        // Ids that are imported must not meet ids that were given out here.
        let within = |name: &str| subject.is_none_or(|subject| subject == name);
        let prefix = subject.unwrap_or_default();
        if store.subjects(prefix, Filter::Live).into_iter().any(within) {
            return Err(Fault::NotPermitted("schemas exist already; delete them first or set force=true".to_owned()));
        }
        for name in store.subjects(prefix, Filter::Deleted).into_iter().filter(|name| within(name)) {
            let versions = store.versions(name, Filter::Deleted);
            let outside = store.referrers(name, Filter::All).find(|(from, ..)| !within(from));
            if let Some((_, _, reference)) = outside {
                return Err(Fault::Referenced(name.to_owned(), u32::try_from(reference.version).unwrap_or_default()));
            }
            records.extend(removal(store, name, &versions));
        }
    }
    let value = ModeValue { subject: subject.map(str::to_owned), mode: mode.name().to_owned() };
    records.push(Record::put(&Key::Mode(value.subject.clone()), &value));
    Ok(Decision { records, answer: mode })
}

/// Removes the mode of a subject, or the global one; the answer is what it was.
pub fn delete_mode(store: &Store, subject: Option<&str>) -> Result<Decision<Mode>, Fault> {
    let answer = match (store.mode(subject), subject) {
        (Some(mode), _) => mode,
        (None, None) => Mode::ReadWrite,
        (None, Some(subject)) => return Err(Fault::SubjectNotFound(subject.to_owned())),
    };
    Ok(Decision { records: vec![Record::tombstone(&Key::Mode(subject.map(str::to_owned)))], answer })
}

fn writable(store: &Store, subject: Option<&str>) -> Result<(), Fault> {
    match store.mode_in_scope(subject) {
        Mode::ReadOnly => Err(read_only(subject)),
        Mode::ReadWrite | Mode::Import => Ok(()),
    }
}

fn read_only(subject: Option<&str>) -> Fault {
    Fault::NotPermitted(match subject {
        Some(subject) => format!("subject '{subject}' is read-only; set its mode to READWRITE"),
        None => "the registry is read-only; set its mode to READWRITE".to_owned(),
    })
}

fn not_permitted(subject: &str, what: &str) -> Fault {
    Fault::NotPermitted(format!("subject '{subject}' {what}"))
}
