//! What a request to change the registry comes to: the records to write and the answer to give, or why not. Pure:
//! the state comes in, records go out, and the state follows only when the log has them.

use std::sync::Arc;

use serde_json::Value;

use crate::additions::{check_rules, complete};
use crate::fault::Fault;
use crate::record::{ConfigValue, ContextValue, DeleteSubjectValue, Key, ModeValue, Record, SchemaValue};
use crate::schema::{SchemaRequest, compare, find, prepare};
use crate::store::{Content, Filter, Level, Mode, Store, Version, Wanted};
use crate::subject::{self, Prefix, context};

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

/// Looks a schema up under a subject: as it is or, failing that, with the metadata and rules that registering it now
/// would add.
pub fn look_up(
    store: &Store,
    subject: &str,
    request: &SchemaRequest,
    normalize: bool,
    filter: Filter,
) -> Result<Registered, Fault> {
    if store.versions(subject, filter).is_empty() {
        return Err(Fault::SubjectNotFound(subject.to_owned()));
    }
    let candidate = prepare(store, subject, request, normalize, filter)?;
    let found = find(store, subject, &candidate, filter).or_else(|| {
        let request = completed(store, subject, request)?;
        let candidate = prepare(store, subject, &request, normalize, filter).ok()?;
        find(store, subject, &candidate, filter)
    });
    found.map(|(number, version)| Registered::of(subject, number, version)).ok_or(Fault::SchemaNotFound)
}

fn completed(store: &Store, subject: &str, request: &SchemaRequest) -> Option<SchemaRequest> {
    let latest = store.of(subject, Filter::Live).next_back().map(|(_, version)| &*version.content);
    complete(request, &store.config_in_scope(Some(subject)), latest)
}

/// Registers a schema, or finds it registered.
pub fn register(
    store: &Store,
    subject: &str,
    request: &SchemaRequest,
    normalize: bool,
) -> Result<Decision<Registered>, Fault> {
    let wanted_id = wanted(request.id, "id")?;
    let wanted_version = wanted(request.version, "version")?;
    let mode = store.mode_in_scope(Some(subject));
    let asked = prepare(store, subject, request, normalize, Filter::Live);
    let config = store.config_in_scope(Some(subject));
    let fixed = ["defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet"];
    let completed = if mode.is_import() { None } else { completed(store, subject, request) };
    let candidate = match (asked, completed) {
        // As it was registered, whatever a newer version would add, unless settings ask for more.
        (Ok(asked), Some(completed)) => {
            let kept = fixed.iter().all(|name| config.addition(name).is_none());
            match kept && find(store, subject, &asked, Filter::Live).is_some() {
                true => asked,
                false => prepare(store, subject, &completed, normalize, Filter::Live)?,
            }
        }
        (Err(Fault::InvalidSchema(_)), Some(completed)) => {
            prepare(store, subject, &completed, normalize, Filter::Live)?
        }
        (asked, _) => asked?,
    };
    if let Some((number, version)) = find(store, subject, &candidate, Filter::Live)
        && wanted_id.is_none_or(|id| id == version.content.id)
        && wanted_version.is_none_or(|v| v == number)
    {
        return Ok(Decision::nothing(Registered::of(subject, number, version)));
    }
    if mode.is_read_only() {
        return Err(read_only(Some(subject)));
    }
    match (mode.is_import(), wanted_id) {
        (false, None) | (true, Some(_)) => {}
        (false, Some(_)) => return Err(not_permitted(subject, "takes no ids; set its mode to IMPORT")),
        (true, None) => return Err(not_permitted(subject, "is being imported; give id and version")),
    }
    let next = store.versions(subject, Filter::All).last().map_or(1, |last| last + 1);
    let number = wanted_version.unwrap_or(next);
    if mode.is_import() {
        if store.of(subject, Filter::Live).any(|(n, v)| n == number && !v.content.is(&candidate.content)) {
            return Err(not_permitted(subject, &format!("has another schema as version {number}")));
        }
    } else {
        if number != next {
            return Err(Fault::InvalidSchema(format!("version {number} is asked for, but the next one is {next}")));
        }
        let earlier = store.of(subject, Filter::Live).rev();
        let messages = compare(store, subject, store.level(subject), &candidate, earlier).problems;
        if !messages.is_empty() {
            return Err(Fault::Incompatible { subject: subject.to_owned(), messages });
        }
    }
    let context = context(subject);
    let id = match wanted_id.or_else(|| store.id_of(context, &candidate.content)) {
        Some(id) => id,
        None => {
            let next = i32::try_from(store.next_id(context));
            next.map_err(|_| Fault::Store("all ids are given out".to_owned()))? as u32
        }
    };
    if store.by_id(context, id).is_some_and(|(content, ..)| !content.is(&candidate.content)) {
        return Err(not_permitted(subject, &format!("cannot have id {id}, which is another schema's")));
    }
    let content = Content { id, ..candidate.content };
    let mut records: Vec<Record> = store
        .of(subject, Filter::Deleted)
        .filter(|(n, version)| version.content.id == id && *n < number)
        .filter(|(n, _)| store.referenced_by(subject, *n, Filter::All).is_empty())
        .map(|(n, _)| Record::tombstone(&Key::Schema { subject: subject.to_owned(), version: n }))
        .collect();
    if !store.names_context(context) {
        records.push(Record::put(&Key::Context(context.to_owned()), &ContextValue::new(context)));
    }
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

/// Tombstones for versions, newest first. The highest ids are noted before: once the log is compacted, nothing else in
/// it might keep one from being given to another schema.
fn removal(store: &Store, subject: &str, versions: &[u32]) -> Vec<Record> {
    let mut records = vec![Record::put(&Key::Noop, &store.max_ids())];
    let keys = versions.iter().rev().map(|version| Key::Schema { subject: subject.to_owned(), version: *version });
    records.extend(keys.map(|key| Record::tombstone(&key)));
    records
}

/// Takes an empty context off the list; the answer is nothing.
pub fn delete_context(store: &Store, context: &str) -> Result<Decision<()>, Fault> {
    let name = subject::qualified(context, "");
    let within = |subject: &&str| subject::context(subject) == context;
    if store.subjects(Prefix::ALL, Filter::All).iter().any(within) {
        return Err(Fault::ContextNotEmpty(context.to_owned()));
    }
    if context == subject::DEFAULT || !store.names_context(context) {
        return Err(Fault::SubjectNotFound(name));
    }
    let records = vec![Record::put(&Key::Noop, &store.max_ids()), Record::tombstone(&Key::Context(context.to_owned()))];
    Ok(Decision { records, answer: () })
}

fn settings_removal(store: &Store, subject: &str) -> impl Iterator<Item = Record> {
    let mode = store.mode(Some(subject)).map(|_| Record::tombstone(&Key::Mode(Some(subject.to_owned()))));
    let config = store.config(Some(subject)).map(|_| Record::tombstone(&Key::Config(Some(subject.to_owned()))));
    mode.into_iter().chain(config)
}

/// Settings that are kept under their own name besides level and normalization.
const SETTINGS: [&str; 5] =
    ["compatibilityGroup", "defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet"];

/// Changes settings of a subject, a context, or the default context; what is not given stays, null takes away.
pub fn set_config(
    store: &Store,
    scope: Option<&str>,
    changes: &serde_json::Map<String, Value>,
) -> Result<Decision<ConfigValue>, Fault> {
    writable(store, scope)?;
    let mut config = store.config(scope).cloned().unwrap_or_default();
    config.subject = scope.map(str::to_owned);
    for (name, value) in changes {
        match (name.as_str(), value) {
            ("compatibility" | "compatibilityLevel", Value::Null) => config.compatibility_level = None,
            ("compatibility" | "compatibilityLevel", Value::String(level)) => {
                let level = level.to_ascii_uppercase();
                if Level::parse(&level).is_none() {
                    return Err(Fault::InvalidLevel(level));
                }
                config.compatibility_level = Some(level);
            }
            ("compatibility" | "compatibilityLevel", other) => return Err(Fault::InvalidLevel(other.to_string())),
            ("normalize", Value::Null) => config.normalize = None,
            ("normalize", Value::Bool(value)) => config.normalize = Some(*value),
            (_, Value::Null) => {
                config.others.remove(name);
            }
            (name, value) => {
                let fits = match name {
                    "compatibilityGroup" => value.is_string(),
                    "defaultRuleSet" | "overrideRuleSet" => check_rules(value).map(|()| true)?,
                    _ => value.is_object(),
                };
                if !fits || !SETTINGS.contains(&name) {
                    return Err(Fault::Unsupported(format!("setting '{name}'")));
                }
                config.others.insert(name.to_owned(), value.clone());
            }
        }
    }
    Ok(Decision { records: vec![Record::put(&Key::Config(config.subject.clone()), &config)], answer: config })
}

/// Removes settings of a subject, a context, or the default context; the answer is what they were.
pub fn delete_config(store: &Store, subject: Option<&str>) -> Result<Decision<ConfigValue>, Fault> {
    let answer = match (store.config(subject), subject) {
        (Some(config), _) => config.clone(),
        (None, None) => store.config_in_scope(None),
        (None, Some(subject)) => return Err(Fault::SubjectNotFound(subject.to_owned())),
    };
    writable(store, subject)?;
    Ok(Decision { records: vec![Record::tombstone(&Key::Config(subject.map(str::to_owned)))], answer })
}

/// Sets the mode of a subject, a context, or the default context.
pub fn set_mode(store: &Store, scope: Option<&str>, mode: &str, force: bool) -> Result<Decision<Mode>, Fault> {
    let mode = Mode::parse(&mode.to_ascii_uppercase()).ok_or_else(|| Fault::InvalidMode(mode.to_owned()))?;
    if mode == Mode::Forward && scope.is_none_or(|scope| context(scope) != subject::GLOBAL) {
        return Err(Fault::InvalidMode("FORWARD outside of the global context".to_owned()));
    }
    let mut records = Vec::new();
    if mode == Mode::Import && store.mode_in_scope(scope) != Mode::Import && !force {
        // Ids that are imported must not meet ids that were given out here.
        let within = |name: &str| subject::covers(scope, name);
        if store.subjects(Prefix::ALL, Filter::Live).into_iter().any(within) {
            return Err(Fault::NotPermitted("schemas exist already; delete them first or set force=true".to_owned()));
        }
        for name in store.subjects(Prefix::ALL, Filter::Deleted).into_iter().filter(|name| within(name)) {
            let versions = store.versions(name, Filter::Deleted);
            let outside = store.referrers(name, Filter::All).find(|(from, ..)| !within(from));
            if let Some((_, _, reference)) = outside {
                return Err(Fault::Referenced(name.to_owned(), u32::try_from(reference.version).unwrap_or_default()));
            }
            records.extend(removal(store, name, &versions));
        }
    }
    let value = ModeValue { subject: scope.map(str::to_owned), mode: mode.name().to_owned() };
    records.push(Record::put(&Key::Mode(value.subject.clone()), &value));
    Ok(Decision { records, answer: mode })
}

/// Removes the mode of a subject or context; the answer is what it was. `recursive` also removes the modes of all
/// subjects of a context, which then need not have one itself.
pub fn delete_mode(store: &Store, scope: Option<&str>, recursive: bool) -> Result<Decision<Option<Mode>>, Fault> {
    let whole = recursive && scope.is_none_or(|scope| subject::split(scope).1.is_empty());
    let answer = match (store.mode(scope), scope) {
        (Some(mode), _) => Some(mode),
        (None, None) => Some(Mode::ReadWrite),
        (None, Some(_)) if whole => None,
        (None, Some(scope)) => return Err(Fault::SubjectNotFound(scope.to_owned())),
    };
    let mut records = vec![Record::tombstone(&Key::Mode(scope.map(str::to_owned)))];
    if whole {
        let within = store.modes().flatten().filter(|name| scope != Some(*name) && subject::covers(scope, name));
        records.extend(within.map(|name| Record::tombstone(&Key::Mode(Some(name.to_owned())))));
    }
    Ok(Decision { records, answer })
}

fn writable(store: &Store, scope: Option<&str>) -> Result<(), Fault> {
    match store.mode_in_scope(scope).is_read_only() {
        true => Err(read_only(scope)),
        false => Ok(()),
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
