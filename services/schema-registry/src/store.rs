//! What the registry knows: the state that the records of `_schemas`, applied in order, add up to, and the
//! questions it answers. Pure: no clock, no I/O. Decisions about changes are made in [`crate::decide`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::fault::Fault;
use crate::record::{
    ConfigValue, DeleteSubjectValue, Guid, Key, ModeValue, NoopValue, RecordError, Reference, SchemaValue, parse_value,
};

/// What a schema id names.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// The global id.
    pub id: u32,
    /// Identity of everything but the id.
    pub guid: Guid,
    /// `AVRO` or a type of other registries.
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
    /// Only registering with given ids, unchecked.
    Import,
}

impl Mode {
    /// Reads Confluent's name of a mode that can be set.
    pub fn parse(name: &str) -> Option<Mode> {
        match name {
            "READWRITE" => Some(Mode::ReadWrite),
            "READONLY" => Some(Mode::ReadOnly),
            "IMPORT" => Some(Mode::Import),
            _ => None,
        }
    }

    /// Confluent's name.
    pub fn name(self) -> &'static str {
        match self {
            Mode::ReadWrite => "READWRITE",
            Mode::ReadOnly => "READONLY",
            Mode::Import => "IMPORT",
        }
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

/// The registry's state.
#[derive(Debug, Default)]
pub struct Store {
    subjects: BTreeMap<String, BTreeMap<u32, Version>>,
    /// Where each id is registered; never empty sets.
    ids: BTreeMap<u32, BTreeSet<(String, u32)>>,
    guids: HashMap<Guid, u32>,
    configs: BTreeMap<Option<String>, ConfigValue>,
    modes: BTreeMap<Option<String>, Mode>,
    max_id: u32,
}

impl Store {
    /// Applies one record of the log.
    pub fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Applied, RecordError> {
        let Some(key) = Key::parse(key)? else { return Ok(Applied::Foreign("key type")) };
        if let Key::Schema { subject: s, .. } | Key::DeleteSubject(s) | Key::Config(Some(s)) | Key::Mode(Some(s)) = &key
            && s.starts_with(':')
        {
            // Subjects of other contexts have ids of their own, which must not be mixed with ours.
            return Ok(Applied::Foreign("context"));
        }
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
                // A mode we do not know may forbid what we would allow.
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
            (Key::Noop, Some(value)) => {
                let max_id = parse_value::<NoopValue>(value).map_or(0, |value| value.max_id);
                self.max_id = self.max_id.max(max_id);
            }
            (Key::DeleteSubject(_) | Key::ClearSubject(_) | Key::Noop, None) => {}
        }
        Ok(Applied::Yes)
    }

    fn put(&mut self, subject: String, version: u32, value: SchemaValue) -> Result<Applied, RecordError> {
        let id = value.id;
        if self.by_id(id).is_some_and(|(content, ..)| content.schema != value.schema) {
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
        self.max_id = self.max_id.max(id);
        self.guids.entry(guid).or_insert(id);
        self.ids.entry(id).or_default().insert((subject.clone(), version));
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
        let Content { id, guid, .. } = *gone.content;
        if let Some(uses) = self.ids.get_mut(&id) {
            uses.remove(&(subject.to_owned(), version));
            if uses.is_empty() {
                self.ids.remove(&id);
                if self.guids.get(&guid) == Some(&id) {
                    self.guids.remove(&guid);
                }
            }
        }
    }

    fn clear(&mut self, subject: Option<&str>) {
        let deleted: Vec<(String, u32)> = self
            .all(subject.unwrap_or_default(), Filter::Deleted)
            .filter(|(s, ..)| subject.is_none_or(|wanted| *s == wanted))
            .map(|(s, version, _)| (s.to_owned(), version))
            .collect();
        for (subject, version) in deleted {
            self.remove(&subject, version);
        }
    }

    /// All versions of all subjects whose names start with `prefix`, in order.
    pub fn all(&self, prefix: &str, filter: Filter) -> impl Iterator<Item = (&str, u32, &Version)> {
        self.subjects
            .range(prefix.to_owned()..)
            .take_while(move |(subject, _)| subject.starts_with(prefix))
            .flat_map(|(subject, versions)| {
                versions.iter().map(|(number, version)| (subject.as_str(), *number, version))
            })
            .filter(move |(_, _, version)| filter.lets(version.deleted))
    }

    /// Names of the subjects that start with `prefix` and have a version that `filter` lets through.
    pub fn subjects(&self, prefix: &str, filter: Filter) -> Vec<&str> {
        let mut names: Vec<&str> = self.all(prefix, filter).map(|(subject, ..)| subject).collect();
        names.dedup();
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
    pub fn by_id(&self, id: u32) -> Option<(&Content, &str, u32)> {
        self.uses(id, Filter::All).next().map(|(subject, number, version)| (&*version.content, subject, number))
    }

    /// The id of a content.
    pub fn id_of(&self, guid: Guid) -> Option<u32> {
        self.guids.get(&guid).copied()
    }

    /// Subjects and versions that have an id, live ones first.
    pub fn uses(&self, id: u32, filter: Filter) -> impl Iterator<Item = (&str, u32, &Version)> {
        let uses = move |deleted: bool| {
            self.ids.get(&id).into_iter().flatten().filter_map(move |(subject, number)| {
                let version = self.subjects.get(subject)?.get(number)?;
                (version.deleted == deleted && filter.lets(deleted)).then_some((subject.as_str(), *number, version))
            })
        };
        uses(false).chain(uses(true))
    }

    /// Whether the id names a schema, deleted or not.
    pub fn has_id(&self, id: u32) -> bool {
        self.ids.contains_key(&id)
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
        self.all("", filter).flat_map(move |(from, _, version)| {
            let references = version.content.references.iter();
            references.filter(move |r| r.subject == subject).map(move |r| (from, &*version.content, r))
        })
    }

    /// The next id to give out.
    pub fn next_id(&self) -> u32 {
        self.max_id + 1
    }

    /// The highest id given out so far.
    pub fn max_id(&self) -> u32 {
        self.max_id
    }

    /// Settings of exactly this subject, or the global ones, where they were set.
    pub fn config(&self, subject: Option<&str>) -> Option<&ConfigValue> {
        self.configs.get(&subject.map(str::to_owned))
    }

    /// The settings that hold for a subject: its own, else the global ones, else the defaults.
    pub fn config_in_scope(&self, subject: Option<&str>) -> ConfigValue {
        let own = subject.and_then(|subject| self.config(Some(subject)));
        let global = self.config(None);
        let first =
            |get: fn(&ConfigValue) -> Option<&String>| own.and_then(get).or_else(|| global.and_then(get)).cloned();
        ConfigValue {
            subject: None,
            normalize: own.and_then(|c| c.normalize).or_else(|| global.and_then(|c| c.normalize)),
            compatibility_level: first(|c| c.compatibility_level.as_ref()).or_else(|| Some(DEFAULT_LEVEL.to_owned())),
            others: own.or(global).map(|c| c.others.clone()).unwrap_or_default(),
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

    /// The mode that holds for a subject.
    pub fn mode_in_scope(&self, subject: Option<&str>) -> Mode {
        subject.and_then(|s| self.mode(Some(s))).or_else(|| self.mode(None)).unwrap_or(Mode::ReadWrite)
    }

    /// Numbers of live subjects, of all versions and of schemas.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.subjects("", Filter::Live).len(), self.subjects.values().map(BTreeMap::len).sum(), self.ids.len())
    }
}
