//! What the registry knows: the state that the records of `_schemas`, applied in order, add up to, and the
//! questions it answers. Pure: no clock, no I/O. Decisions about changes are made in [`crate::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::fault::Fault;
use crate::record::{
    ConfigValue, DeleteSubjectValue, Guid, Key, ModeValue, NoopValue, RecordError, Reference, SchemaValue, parse_value,
};
use crate::subject::{self, Prefix};

/// What a schema id names.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// The id, which the context has only once.
    pub id: u32,
    /// Identity of everything but the id.
    pub guid: Guid,
    /// `AVRO`, `JSON`, `PROTOBUF` or a type of other registries.
    pub schema_type: String,
    /// The text.
    pub schema: String,
    /// What the text refers to.
    pub references: Vec<Reference>,
    /// Tags and properties.
    pub metadata: Option<Value>,
    /// Rules.
    pub rule_set: Option<Value>,
}

impl Content {
    /// Whether both are the same but for the id.
    pub fn is(&self, other: &Content) -> bool {
        (self.guid, &self.schema_type) == (other.guid, &other.schema_type)
    }
}

/// One version of a subject.
#[derive(Clone, Debug)]
pub struct Version {
    /// The schema.
    pub content: Arc<Content>,
    /// Whether it is soft-deleted.
    pub deleted: bool,
}

/// Which versions or subjects a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those that are not deleted.
    Live,
    /// Soft-deleted ones too.
    All,
    /// Only soft-deleted ones.
    Deleted,
}

impl Filter {
    fn lets(self, deleted: bool) -> bool {
        match self {
            Filter::Live => !deleted,
            Filter::All => true,
            Filter::Deleted => deleted,
        }
    }
}

/// A version as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Latest,
    /// This one.
    Exactly(u32),
}

/// A compatibility level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// New schemas must read what older ones wrote.
    pub backward: bool,
    /// Older schemas must read what new ones write.
    pub forward: bool,
    /// Compared with all versions instead of the newest.
    pub transitive: bool,
}

impl Level {
    /// Reads Confluent's name of a level.
    pub fn parse(name: &str) -> Option<Level> {
        let (kind, transitive) = name.strip_suffix("_TRANSITIVE").map_or((name, false), |kind| (kind, true));
        let (backward, forward) = match kind {
            "BACKWARD" => (true, false),
            "FORWARD" => (false, true),
            "FULL" => (true, true),
            "NONE" if !transitive => (false, false),
            _ => return None,
        };
        Some(Level { backward, forward, transitive })
    }
}

/// The level where nobody has set one.
pub const DEFAULT_LEVEL: &str = "BACKWARD";

/// What may be done with a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything but choosing ids.
    ReadWrite,
    /// Nothing.
    ReadOnly,
    /// The same under a name that Confluent has given up.
    ReadOnlyOverride,
    /// Only registering with given ids, unchecked.
    Import,
    /// The same, for the global context only.
    Forward,
}

impl Mode {
    const NAMES: [(Mode, &str); 5] = [
        (Mode::ReadWrite, "READWRITE"),
        (Mode::ReadOnly, "READONLY"),
        (Mode::ReadOnlyOverride, "READONLY_OVERRIDE"),
        (Mode::Import, "IMPORT"),
        (Mode::Forward, "FORWARD"),
    ];

    /// Reads Confluent's name.
    pub fn parse(name: &str) -> Option<Mode> {
        Mode::NAMES.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode)
    }

    /// Confluent's name.
    pub fn name(self) -> &'static str {
        Mode::NAMES.iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }

    /// Whether nothing may be changed.
    pub fn is_read_only(self) -> bool {
        matches!(self, Mode::ReadOnly | Mode::ReadOnlyOverride)
    }

    /// Whether ids come with the schemas.
    pub fn is_import(self) -> bool {
        matches!(self, Mode::Import | Mode::Forward)
    }
}

/// What applying a record came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// The state follows the record.
    Yes,
    /// The record is about something outside of this registry.
    Foreign(&'static str),
    /// The record contradicts the state and was left out.
    Conflict {
        /// The id that two schemas claim.
        id: u32,
    },
}

/// The ids of one context.
#[derive(Clone, Debug, Default)]
struct Ids {
    /// Where each id is registered; never empty sets.
    uses: BTreeMap<u32, BTreeSet<(String, u32)>>,
    /// The id of a content. The type is not part of the hash, but a text may be a schema of two types.
    contents: BTreeMap<(Guid, String), u32>,
    /// The highest id given out.
    max: u32,
}

/// The registry's state.
#[derive(Clone, Debug, Default)]
pub struct Store {
    subjects: BTreeMap<String, BTreeMap<u32, Version>>,
    ids: BTreeMap<String, Ids>,
    /// The contexts that the log names; the default one is not among them.
    contexts: BTreeSet<String>,
    configs: BTreeMap<Option<String>, ConfigValue>,
    modes: BTreeMap<Option<String>, Mode>,
}

impl Store {
    /// Applies one record of the log.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Applied, RecordError> {
        let Some(key) = Key::parse(key)? else { return Ok(Applied::Foreign("key type")) };
        match (key, value) {
            (Key::Schema { subject, version }, Some(value)) => return self.put(subject, version, parse_value(value)?),
            (Key::Schema { subject, version }, None) => self.remove(&subject, version),
            (Key::Config(subject), Some(value)) => {
                self.configs.insert(subject, parse_value(value)?);
            }
            (Key::Config(subject), None) => {
                self.configs.remove(&subject);
            }
            (Key::Mode(subject), Some(value)) => {
                let value: ModeValue = parse_value(value)?;
                // A mode nobody knows may forbid what we would allow.
                self.modes.insert(subject, Mode::parse(&value.mode).unwrap_or(Mode::ReadOnly));
            }
            (Key::Mode(subject), None) => {
                self.modes.remove(&subject);
            }
            (Key::DeleteSubject(_), Some(value)) => {
                let value: DeleteSubjectValue = parse_value(value)?;
                let versions = self.subjects.get_mut(&value.subject);
                versions.into_iter().flat_map(|v| v.range_mut(..=value.version)).for_each(|(_, v)| v.deleted = true);
            }
            (Key::ClearSubject(subject), Some(_)) => self.clear(subject.as_deref().filter(|s| !s.is_empty())),
            (Key::Context(name), Some(_)) => {
                self.contexts.insert(name);
            }
            (Key::Context(name), None) => {
                self.contexts.remove(&name);
            }
            (Key::Noop, Some(value)) => {
                // Another writer's value says nothing about ids.
                if let Ok(NoopValue { max_id, mut contexts }) = parse_value(value) {
                    contexts.insert(subject::DEFAULT.to_owned(), max_id);
                    for (context, max) in contexts {
                        let ids = self.ids.entry(context).or_default();
                        ids.max = ids.max.max(max);
                    }
                }
            }
            (Key::DeleteSubject(_) | Key::ClearSubject(_) | Key::Noop, None) => {}
        }
        Ok(Applied::Yes)
    }

    fn put(&mut self, subject: String, version: u32, value: SchemaValue) -> Result<Applied, RecordError> {
        let (id, context) = (value.id, subject::context(&subject));
        if self.by_id(context, id).is_some_and(|(content, ..)| content.schema != value.schema) {
            return Ok(Applied::Conflict { id });
        }
        let (metadata, rules) = (value.metadata.as_ref(), value.rule_set.as_ref());
        let guid = value.md5.as_deref().and_then(Guid::from_base64);
        let guid = guid.unwrap_or_else(|| Guid::of(&value.schema, &value.references, metadata, rules));
        self.remove(&subject, version);
        let content = Content {
            id,
            guid,
            schema_type: value.schema_type,
            schema: value.schema,
            references: value.references,
            metadata: value.metadata,
            rule_set: value.rule_set,
        };
        let ids = self.ids.entry(context.to_owned()).or_default();
        ids.max = ids.max.max(id);
        ids.contents.entry((guid, content.schema_type.clone())).or_insert(id);
        ids.uses.entry(id).or_default().insert((subject.clone(), version));
        let version_now = Version { content: Arc::new(content), deleted: value.deleted };
        self.subjects.entry(subject).or_default().insert(version, version_now);
        Ok(Applied::Yes)
    }

    fn remove(&mut self, subject: &str, version: u32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let Some(gone) = versions.remove(&version) else { return };
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        let id = gone.content.id;
        let Some(ids) = self.ids.get_mut(subject::context(subject)) else { return };
        if let Some(uses) = ids.uses.get_mut(&id) {
            uses.remove(&(subject.to_owned(), version));
            if uses.is_empty() {
                ids.uses.remove(&id);
                let content = (gone.content.guid, gone.content.schema_type.clone());
                if ids.contents.get(&content) == Some(&id) {
                    ids.contents.remove(&content);
                }
            }
        }
    }

    fn clear(&mut self, scope: Option<&str>) {
        let deleted: Vec<(String, u32)> = self
            .all(Prefix::ALL, Filter::Deleted)
            .filter(|(subject, ..)| scope.is_none() || subject::covers(scope, subject))
            .map(|(subject, version, _)| (subject.to_owned(), version))
            .collect();
        for (subject, version) in deleted {
            self.remove(&subject, version);
        }
    }

    /// Names of the contexts, the default one first.
    pub fn contexts(&self) -> Vec<&str> {
        [subject::DEFAULT].into_iter().chain(self.contexts.iter().map(String::as_str)).collect()
    }

    /// Whether the log names the context.
    pub fn names_context(&self, context: &str) -> bool {
        context == subject::DEFAULT || self.contexts.contains(context)
    }

    /// A subject, and where its name has no context also those of this name in the other contexts, which Confluent's
    /// registry looks at for what the default context does not have.
    pub fn spellings(&self, name: &str) -> impl Iterator<Item = String> {
        let elsewhere = if subject::context(name) == subject::DEFAULT { Some(&self.contexts) } else { None };
        let elsewhere = elsewhere.into_iter().flatten().map(|context| subject::qualified(context, name));
        [name.to_owned()].into_iter().chain(elsewhere)
    }

    /// All versions of all subjects whose names start with `prefix`, in order.
    pub fn all(&self, prefix: Prefix<'_>, filter: Filter) -> impl Iterator<Item = (&str, u32, &Version)> {
        self.subjects
            .iter()
            .filter(move |(subject, _)| prefix.fits(subject))
            .flat_map(|(subject, versions)| {
                versions.iter().map(|(number, version)| (subject.as_str(), *number, version))
            })
            .filter(move |(_, _, version)| filter.lets(version.deleted))
    }

    /// Names of the subjects that start with `prefix` and have a live version, any version, or only deleted ones.
    pub fn subjects(&self, prefix: Prefix<'_>, filter: Filter) -> Vec<&str> {
        let mut names: Vec<&str> = self.all(prefix, filter).map(|(subject, ..)| subject).collect();
        names.dedup();
        if filter == Filter::Deleted {
            names.retain(|name| self.of(name, Filter::Live).next().is_none());
        }
        names
    }

    /// Version numbers of a subject, ascending; empty where there is no such subject.
    pub fn versions(&self, subject: &str, filter: Filter) -> Vec<u32> {
        self.of(subject, filter).map(|(number, _)| number).collect()
    }

    /// Versions of a subject, ascending.
    pub fn of(&self, subject: &str, filter: Filter) -> impl DoubleEndedIterator<Item = (u32, &Version)> {
        let versions = self.subjects.get(subject).into_iter().flatten();
        versions.map(|(number, version)| (*number, version)).filter(move |(_, version)| filter.lets(version.deleted))
    }

    /// One version of a subject.
    pub fn version(&self, subject: &str, wanted: Wanted, filter: Filter) -> Result<(u32, &Version), Fault> {
        let found = match wanted {
            Wanted::Latest => self.of(subject, filter).next_back(),
            Wanted::Exactly(number) => self.of(subject, filter).find(|(n, _)| *n == number),
        };
        found.ok_or_else(|| match wanted {
            Wanted::Exactly(number) if self.of(subject, filter).next().is_some() => {
                Fault::VersionNotFound(number.to_string())
            }
            _ => Fault::SubjectNotFound(subject.to_owned()),
        })
    }

    /// The schema of an id, with a subject and version that has it; soft-deleted ones too, since records remain.
    pub fn by_id(&self, context: &str, id: u32) -> Option<(&Content, &str, u32)> {
        self.uses(context, id, Filter::All)
            .next()
            .map(|(subject, number, version)| (&*version.content, subject, number))
    }

    /// The subject and version that a question about an id means. A subject of a context must have the id, a context
    /// alone or nothing takes any subject of it, and a plain name is looked for in all contexts before the default
    /// one answers under another name.
    pub fn meant(&self, id: u32, wanted: &str) -> Option<(&str, u32, &Version)> {
        let (context, name) = subject::split(wanted);
        let named = |spelling: &str| {
            self.uses(subject::context(spelling), id, Filter::All).find(|(subject, ..)| *subject == spelling)
        };
        let any = || self.uses(context, id, Filter::All).next();
        match (context, name) {
            (_, "") => any(),
            (subject::DEFAULT, _) => self.spellings(wanted).find_map(|spelling| named(&spelling)).or_else(any),
            _ => named(wanted),
        }
    }

    /// The contexts that have a content of this identity, with its id there.
    pub fn ids_of(&self, guid: Guid) -> impl Iterator<Item = (&str, u32)> {
        let of = move |ids: &Ids| {
            ids.contents.range((guid, String::new())..).next().filter(|((g, _), _)| *g == guid).map(|(_, id)| *id)
        };
        self.ids.iter().filter_map(move |(context, ids)| Some((context.as_str(), of(ids)?)))
    }

    /// The id of a content in a context.
    pub fn id_of(&self, context: &str, content: &Content) -> Option<u32> {
        self.ids.get(context)?.contents.get(&(content.guid, content.schema_type.clone())).copied()
    }

    /// Subjects and versions of a context that have an id, live ones first.
    pub fn uses(&self, context: &str, id: u32, filter: Filter) -> impl Iterator<Item = (&str, u32, &Version)> {
        let uses = self.ids.get(context).and_then(|ids| ids.uses.get(&id));
        let uses = move |deleted: bool| {
            uses.into_iter().flatten().filter_map(move |(subject, number)| {
                let version = self.subjects.get(subject)?.get(number)?;
                (version.deleted == deleted && filter.lets(deleted)).then_some((subject.as_str(), *number, version))
            })
        };
        uses(false).chain(uses(true))
    }

    /// Ids of the schemas that refer to a version, ascending.
    pub fn referenced_by(&self, subject: &str, version: u32, filter: Filter) -> BTreeSet<u32> {
        self.referrers(subject, filter)
            .filter(|(_, _, reference)| reference.version == i64::from(version))
            .map(|(_, content, _)| content.id)
            .collect()
    }

    /// Schemas that refer to a subject: who, its content, and how.
    pub fn referrers(&self, subject: &str, filter: Filter) -> impl Iterator<Item = (&str, &Content, &Reference)> {
        self.all(Prefix::ALL, filter).flat_map(move |(from, _, version)| {
            let references = version.content.references.iter();
            let references = references.filter(move |r| subject::beside(from, &r.subject) == subject);
            references.map(move |r| (from, &*version.content, r))
        })
    }

    /// The next id to give out in a context.
    pub fn next_id(&self, context: &str) -> u32 {
        self.max_id(context) + 1
    }

    /// The highest id given out so far in a context.
    pub fn max_id(&self, context: &str) -> u32 {
        self.ids.get(context).map_or(0, |ids| ids.max)
    }

    /// The highest ids given out so far in all contexts.
    pub fn max_ids(&self) -> NoopValue {
        let mut contexts: BTreeMap<String, u32> = self.ids.iter().map(|(name, ids)| (name.clone(), ids.max)).collect();
        let max_id = contexts.remove(subject::DEFAULT).unwrap_or_default();
        NoopValue { max_id, contexts }
    }

    /// Settings of exactly this subject, or the global ones, where they were set.
    pub fn config(&self, subject: Option<&str>) -> Option<&ConfigValue> {
        self.configs.get(&subject.map(str::to_owned))
    }

    /// The settings that hold for a subject: its own, else those of its context, else the global ones, else the
    /// defaults. Level, group and normalization are each taken from the nearest that has them; what metadata and rules
    /// are added comes from the nearest settings altogether.
    pub fn config_in_scope(&self, subject: Option<&str>) -> ConfigValue {
        let scopes = subject::scopes(subject);
        let found: Vec<&ConfigValue> = scopes.iter().filter_map(|scope| self.configs.get(scope)).collect();
        let mut others = found.first().map(|config| config.others.clone()).unwrap_or_default();
        if let Some(group) = found.iter().find_map(|config| config.group()) {
            others.insert("compatibilityGroup".to_owned(), group.into());
        }
        let level = found.iter().find_map(|config| config.compatibility_level.clone());
        ConfigValue {
            subject: None,
            normalize: found.iter().find_map(|config| config.normalize),
            compatibility_level: level.or_else(|| Some(DEFAULT_LEVEL.to_owned())),
            others,
        }
    }

    /// The level that holds for a subject. A level in the log that nobody knows is taken for the strictest.
    pub fn level(&self, subject: &str) -> Level {
        let name = self.config_in_scope(Some(subject)).compatibility_level;
        let strictest = Level { backward: true, forward: true, transitive: true };
        name.as_deref().and_then(Level::parse).unwrap_or(strictest)
    }

    /// The mode of exactly this subject, or the global one, where it was set.
    pub fn mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(str::to_owned)).copied()
    }

    /// The mode that holds for a subject: its own, else that of its context, else the global one.
    pub fn mode_in_scope(&self, subject: Option<&str>) -> Mode {
        let scopes = subject::scopes(subject);
        scopes.iter().find_map(|scope| self.modes.get(scope).copied()).unwrap_or(Mode::ReadWrite)
    }

    /// Subjects, contexts and the default context that have a mode of their own.
    pub fn modes(&self) -> impl Iterator<Item = Option<&str>> {
        self.modes.keys().map(Option::as_deref)
    }

    /// Numbers of live subjects, of all versions and of schemas.
    pub fn counts(&self) -> (usize, usize, usize) {
        let versions = self.subjects.values().map(BTreeMap::len).sum();
        let schemas = self.ids.values().map(|ids| ids.uses.len()).sum();
        (self.subjects(Prefix::ALL, Filter::Live).len(), versions, schemas)
    }
}
