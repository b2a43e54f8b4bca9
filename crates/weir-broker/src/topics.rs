//! The catalog of topics: names, ids, partitions and configs. The folder is the truth; this is what was read from it.
//!
//! A topic is a folder with a `topic.json`, made elsewhere and moved into place whole, and moved away whole before it is removed, so
//! that a broker killed at any moment finds it as it was or as it was to be. Logs are opened when they are first asked for.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use weir_wire::Uuid;

use crate::configs::{Dynamic, Invalid, Overrides, topic};
use crate::folder::{FolderError, io_error, random_id, sync_folder, write_json};
use crate::log::{Files, Flush, Log, LogConfig, LogError};

/// Where groups keep their offsets.
pub const OFFSETS: &str = "__consumer_offsets";
/// Where transactions keep their state.
pub const TRANSACTIONS: &str = "__transaction_state";
/// The longest name of a topic.
pub const NAME_LIMIT: usize = 249;

/// Files of logs that are held open.
const HANDLES: usize = 1024;
const FILE: &str = "topic.json";
const VERSION: u32 = 1;

/// Why the catalog did not change.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The name cannot be one of a topic.
    #[error("{0}")]
    Name(String),
    /// There is one of that name.
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// It went away meanwhile.
    #[error("topic {0} does not exist")]
    Missing(String),
    /// The number of partitions is not possible.
    #[error("{0}")]
    Partitions(String),
    /// A config is not possible.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// The folder could not be changed.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Holds a name against the rules for names of topics.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), TopicError> {
    let wrong = |why: String| Err(TopicError::Name(why));
    if name.is_empty() {
        return wrong("the name of a topic cannot be empty".into());
    }
    if name == "." || name == ".." {
        return wrong(format!("{name:?} cannot be the name of a topic"));
    }
    if name.len() > NAME_LIMIT {
        return wrong(format!("the name of a topic has at most {NAME_LIMIT} characters, this one {}", name.len()));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return wrong(format!("{name:?} has other characters than ASCII letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}

fn collide(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    id: String,
    partitions: i32,
    #[serde(default)]
    configs: Overrides,
}

/// What all partitions of a topic know of it.
struct Common {
    name: Arc<str>,
    id: Uuid,
    folder: PathBuf,
    config: RwLock<LogConfig>,
    files: Arc<Files>,
    deleted: AtomicBool,
}

/// One topic.
pub struct Topic {
    common: Arc<Common>,
    state: RwLock<State>,
}

#[derive(Clone)]
struct State {
    overrides: Arc<Overrides>,
    partitions: Arc<[Arc<Partition>]>,
}

/// One partition of a topic.
pub struct Partition {
    common: Arc<Common>,
    index: i32,
    log: OnceLock<Log>,
    opening: Mutex<()>,
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.common.name
    }

    /// Its id, which a later topic of the same name does not have.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.common.id
    }

    /// Whether it is the broker's own.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.common.name)
    }

    /// Whether it was deleted meanwhile.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.common.deleted.load(Ordering::Acquire)
    }

    /// All its partitions, by index.
    #[must_use]
    pub fn partitions(&self) -> Arc<[Arc<Partition>]> {
        Arc::clone(&read(&self.state).partitions)
    }

    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        read(&self.state).partitions.get(usize::try_from(index).ok()?).map(Arc::clone)
    }

    /// The configs that were set for it.
    #[must_use]
    pub fn overrides(&self) -> Arc<Overrides> {
        Arc::clone(&read(&self.state).overrides)
    }

    fn new(common: Common, count: i32, overrides: Overrides) -> Topic {
        let common = Arc::new(common);
        let partitions = (0..count).map(|index| Partition::new(&common, index)).collect();
        Topic { common, state: RwLock::new(State { overrides: Arc::new(overrides), partitions }) }
    }

    fn configure(&self, config: &LogConfig) {
        write(&self.common.config).clone_from(config);
        for partition in self.partitions().iter() {
            if let Some(log) = partition.log.get() {
                log.set_config(config.clone());
            }
        }
    }
}

impl Partition {
    fn new(common: &Arc<Common>, index: i32) -> Arc<Partition> {
        Arc::new(Partition { common: Arc::clone(common), index, log: OnceLock::new(), opening: Mutex::new(()) })
    }

    /// The topic it is of.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.common.name
    }

    /// The id of the topic it is of.
    #[must_use]
    pub fn topic_id(&self) -> Uuid {
        self.common.id
    }

    /// Its number within the topic, from 0.
    #[must_use]
    pub fn index(&self) -> i32 {
        self.index
    }

    /// Whether its topic was deleted meanwhile.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.common.deleted.load(Ordering::Acquire)
    }

    /// What its log does.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        read(&self.common.config).clone()
    }

    /// Its log, if it was opened before.
    #[must_use]
    pub fn opened(&self) -> Option<&Log> {
        self.log.get()
    }

    /// Its log; opened, and where needed recovered, when it is asked for the first time.
    ///
    /// # Errors
    /// When the log cannot be opened; the next call tries again.
    pub fn log(&self, now_ms: i64) -> Result<&Log, LogError> {
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        let _opening = lock(&self.opening);
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        let log =
            Log::open(&self.common.folder.join(self.index.to_string()), self.config(), &self.common.files, now_ms)?;
        let log = self.log.get_or_init(|| log);
        // A change of the configs between the reading of them and now must not be lost.
        log.set_config(self.config());
        Ok(log)
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.common.name, self.index)
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.common.name, self.common.id)
    }
}

/// Whether a topic of that name is the broker's own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name == OFFSETS || name == TRANSACTIONS
}

#[derive(Default)]
struct Catalog {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
    partitions: usize,
}

/// All topics.
pub struct Topics {
    topics: PathBuf,
    staging: PathBuf,
    deleted: PathBuf,
    flush: Flush,
    limit: usize,
    files: Arc<Files>,
    catalog: RwLock<Catalog>,
    /// Held while the folder changes, with what the broker was told at run time; one change at a time.
    changing: Mutex<Dynamic>,
}

impl Topics {
    /// Reads the catalog from the data folder and ends what a killed broker had begun. No log is opened.
    ///
    /// # Errors
    /// When the folder or the description of a topic cannot be read: no topic is left out silently.
    pub fn open(root: &Path, flush: Flush, limit: usize, dynamic: Dynamic) -> Result<Topics, FolderError> {
        let topics = Topics {
            topics: root.join("topics"),
            staging: root.join("staging"),
            deleted: root.join("deleted"),
            flush,
            limit,
            files: Files::new(HANDLES),
            catalog: RwLock::default(),
            changing: Mutex::new(dynamic),
        };
        for folder in [&topics.staging, &topics.deleted] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", folder)(error)),
                _ => fs::create_dir_all(folder).map_err(io_error("make", folder))?,
            }
        }
        fs::create_dir_all(&topics.topics).map_err(io_error("make", &topics.topics))?;
        topics.load()?;
        Ok(topics)
    }

    fn load(&self) -> Result<(), FolderError> {
        let dynamic = lock(&self.changing);
        let mut catalog = write(&self.catalog);
        for entry in fs::read_dir(&self.topics).map_err(io_error("read", &self.topics))? {
            let entry = entry.map_err(io_error("read", &self.topics))?;
            let folder = entry.path();
            let file = folder.join(FILE);
            let damaged = |reason: String| FolderError::Damaged { path: file.clone(), reason };
            let Ok(name) = entry.file_name().into_string() else {
                return Err(damaged("the name of its folder is no text".into()));
            };
            check_name(&name).map_err(|error| damaged(error.to_string()))?;
            let bytes = fs::read(&file).map_err(io_error("read", &file))?;
            let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
            if stored.version != VERSION || stored.partitions < 1 {
                return Err(damaged(format!("version {} with {} partitions", stored.version, stored.partitions)));
            }
            let id = stored.id.parse().map_err(|_| damaged(format!("{:?} is no id", stored.id)))?;
            let config = self.log_config(&stored.configs, &dynamic).map_err(|error| damaged(error.to_string()))?;
            catalog.add(Topic::new(self.common(&name, id, folder, config), stored.partitions, stored.configs));
        }
        Ok(())
    }

    /// The topic of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.catalog).by_name.get(name).map(Arc::clone)
    }

    /// The topic of that id.
    #[must_use]
    pub fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        read(&self.catalog).by_id.get(&id).map(Arc::clone)
    }

    /// The partition of that topic and index.
    #[must_use]
    pub fn partition(&self, name: &str, index: i32) -> Option<Arc<Partition>> {
        read(&self.catalog).by_name.get(name)?.partition(index)
    }

    /// All topics, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Topic>> {
        read(&self.catalog).by_name.values().map(Arc::clone).collect()
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        read(&self.catalog).partitions
    }

    /// Says whether [`Topics::create`] would make the topic.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check_create(&self, name: &str, partitions: i32, overrides: &Overrides) -> Result<(), TopicError> {
        check_name(name)?;
        let catalog = read(&self.catalog);
        if catalog.by_name.contains_key(name) {
            return Err(TopicError::Exists(name.to_owned()));
        }
        // Kafka's metrics cannot tell a dot from an underscore; topics that tools would confuse are refused as there.
        if let Some(other) = catalog.by_name.keys().find(|other| collide(name, other)) {
            return Err(TopicError::Name(format!("topic {name} collides with {other}: '.' and '_' count as the same")));
        }
        if partitions < 1 {
            return Err(TopicError::Partitions(format!("a topic has at least one partition, not {partitions}")));
        }
        self.check_limit(&catalog, partitions)?;
        topic::check(overrides)?;
        Ok(())
    }

    fn check_limit(&self, catalog: &Catalog, more: i32) -> Result<(), TopicError> {
        let (more, limit, there) = (usize::try_from(more).unwrap_or(0), self.limit, catalog.partitions);
        if there.saturating_add(more) > limit {
            let text =
                format!("{more} partitions more than the {there} there are exceed this broker's limit of {limit}");
            return Err(TopicError::Partitions(text));
        }
        Ok(())
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// When name, partitions or configs are not possible, or the folder could not be written.
    pub fn create(&self, name: &str, partitions: i32, overrides: Overrides) -> Result<Arc<Topic>, TopicError> {
        let dynamic = lock(&self.changing);
        self.check_create(name, partitions, &overrides)?;
        let config = self.log_config(&overrides, &dynamic)?;
        let id = random_id();
        let staged = self.staging.join(id.to_string());
        let folder = self.topics.join(name);
        let made = (|| {
            fs::create_dir(&staged).map_err(io_error("make", &staged))?;
            let stored = Stored { version: VERSION, id: id.to_string(), partitions, configs: overrides.clone() };
            write_json(&staged.join(FILE), &stored)?;
            fs::rename(&staged, &folder).map_err(io_error("make", &folder))?;
            sync_folder(&self.topics)
        })();
        if let Err(error) = made {
            // It is removed at the next start if it cannot be now.
            let _ = fs::remove_dir_all(&staged);
            return Err(error.into());
        }
        let common = self.common(name, id, folder, config);
        Ok(write(&self.catalog).add(Topic::new(common, partitions, overrides)))
    }

    fn common(&self, name: &str, id: Uuid, folder: PathBuf, config: LogConfig) -> Common {
        let (config, deleted) = (RwLock::new(config), AtomicBool::new(false));
        Common { name: name.into(), id, folder, config, files: Arc::clone(&self.files), deleted }
    }

    /// Takes a topic out of the catalog. Its files are gone from sight at once; the folder it returns holds them and can be removed
    /// at leisure.
    ///
    /// # Errors
    /// When it is gone, or the folder cannot be moved.
    pub fn delete(&self, topic: &Topic) -> Result<PathBuf, TopicError> {
        let _changing = lock(&self.changing);
        if topic.is_deleted() {
            return Err(TopicError::Missing(topic.name().to_string()));
        }
        let away = self.deleted.join(topic.id().to_string());
        fs::rename(&topic.common.folder, &away).map_err(io_error("move", &topic.common.folder))?;
        sync_folder(&self.topics)?;
        topic.common.deleted.store(true, Ordering::Release);
        write(&self.catalog).remove(topic);
        Ok(away)
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// When it is gone, has as many or more, or the folder cannot be written.
    pub fn grow(&self, topic: &Topic, count: i32) -> Result<(), TopicError> {
        let _changing = lock(&self.changing);
        self.check_grow(topic, count)?;
        let State { overrides, partitions } = read(&topic.state).clone();
        self.store(topic, count, &overrides)?;
        let there = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let new = (there..count).map(|index| Partition::new(&topic.common, index));
        write(&topic.state).partitions = partitions.iter().map(Arc::clone).chain(new).collect();
        write(&self.catalog).partitions += usize::try_from(count - there).unwrap_or(0);
        Ok(())
    }

    /// Says whether [`Topics::grow`] would do it.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check_grow(&self, topic: &Topic, count: i32) -> Result<(), TopicError> {
        if topic.is_deleted() {
            return Err(TopicError::Missing(topic.name().to_string()));
        }
        let there = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        if count <= there {
            let text = format!("topic {} has {there} partitions; {count} is not more", topic.name());
            return Err(TopicError::Partitions(text));
        }
        self.check_limit(&read(&self.catalog), count - there)
    }

    /// Sets all configs of a topic.
    ///
    /// # Errors
    /// When it is gone, a config is not possible, or the folder cannot be written.
    pub fn set_overrides(&self, topic: &Topic, overrides: Overrides) -> Result<(), TopicError> {
        let dynamic = lock(&self.changing);
        if topic.is_deleted() {
            return Err(TopicError::Missing(topic.name().to_string()));
        }
        topic::check(&overrides)?;
        let config = self.log_config(&overrides, &dynamic)?;
        let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        self.store(topic, count, &overrides)?;
        write(&topic.state).overrides = Arc::new(overrides);
        topic.configure(&config);
        Ok(())
    }

    /// Gives all topics the values the broker was told at run time, where they have none of their own.
    ///
    /// # Errors
    /// When a value is not possible; then nothing has changed.
    pub fn set_dynamic(&self, new: Dynamic) -> Result<(), Invalid> {
        let mut dynamic = lock(&self.changing);
        let topics = self.all();
        let configs: Result<Vec<_>, _> = topics.iter().map(|topic| self.log_config(&topic.overrides(), &new)).collect();
        for (topic, config) in topics.iter().zip(configs?) {
            topic.configure(&config);
        }
        *dynamic = new;
        Ok(())
    }

    fn log_config(&self, overrides: &Overrides, dynamic: &Dynamic) -> Result<LogConfig, Invalid> {
        topic::log_config(overrides, dynamic, self.flush)
    }

    fn store(&self, topic: &Topic, partitions: i32, overrides: &Overrides) -> Result<(), FolderError> {
        let stored = Stored { version: VERSION, id: topic.id().to_string(), partitions, configs: overrides.clone() };
        write_json(&topic.common.folder.join(FILE), &stored)
    }
}

impl Catalog {
    fn add(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.partitions += topic.partitions().len();
        self.by_id.insert(topic.id(), Arc::clone(&topic));
        self.by_name.insert(Arc::clone(topic.name()), Arc::clone(&topic));
        topic
    }

    fn remove(&mut self, topic: &Topic) {
        self.partitions -= topic.partitions().len();
        self.by_id.remove(&topic.id());
        self.by_name.remove(topic.name());
    }
}

/// A lock whose holder panicked still guards whole data: every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
