//! Schema id to compiled schema, for worker threads that must not block: [`Registry::resolve`] answers at once
//! from memory and fetches what is missing in the background, one request per id however many threads ask.
//!
//! The answers keep data faults and system faults apart. "No such id" is said only when the registry said so in
//! its own words (HTTP 404 with error code 40403); a refused connection, a timeout, a 404 of some other server, a
//! 429, any 5xx and anything unreadable are a registry that is away. Nothing here decides about a record.
//!
//! HTTP goes through schema_registry_converter, whose types do not leave this crate. Where it lacks a call, the
//! call is made with reqwest and says why.

mod admin;
mod cache;
mod client;
mod config;
pub mod frame;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use governor::DefaultDirectRateLimiter;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub use cache::Answer;
use cache::{Cache, Limits, Miss};
use client::Client;
pub use client::{RequestError, http_client};
pub use config::{Auth, Config, ConfigError};

/// A schema id as a record carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// Prefix form: `0x00` and four bytes, big endian.
    Id(u32),
    /// Header form: `0x01` and the sixteen bytes of a UUID.
    Guid([u8; 16]),
}

impl SchemaId {
    fn guid_text(&self) -> String {
        let bytes = match self {
            SchemaId::Id(id) => return id.to_string(),
            SchemaId::Guid(bytes) => bytes,
        };
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.guid_text())
    }
}

/// A named type that a schema takes from another subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// Full name of the type.
    pub name: String,
    /// Subject that defines it.
    pub subject: String,
    /// Version of that subject.
    pub version: u32,
}

/// A schema that is ready to read records with.
#[derive(Debug)]
pub struct Resolved {
    /// The id it was asked by.
    pub id: SchemaId,
    /// The compiled schema, references included.
    pub schema: Arc<weir_avro::Schema>,
    /// The text as the registry keeps it.
    pub text: String,
    /// What the text refers to.
    pub references: Vec<Reference>,
}

/// One place where an id is registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct SubjectVersion {
    /// The subject.
    pub subject: String,
    /// The version within it, from 1.
    pub version: u32,
}

/// A schema of a subject, as administration sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The global id.
    pub id: u32,
    /// The version within the subject; some registries do not say it on registration.
    pub version: Option<u32>,
    /// The text.
    pub schema: String,
    /// What the text refers to.
    pub references: Vec<Reference>,
}

/// The registry's compatibility levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the registry's own")]
pub enum Compatibility {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

/// What is known about a schema id.
pub type Resolution = Answer<Arc<Resolved>>;

/// A client of one registry with its caches; clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    client: Arc<Client>,
    config: Config,
    runtime: Handle,
    budget: DefaultDirectRateLimiter,
    schemas: RwLock<Cache<SchemaId, Arc<Resolved>>>,
    members: RwLock<Cache<SchemaId, Arc<[SubjectVersion]>>>,
    /// Why the last request failed; none after one that succeeded.
    trouble: Mutex<Option<Arc<str>>>,
    changes: Mutex<u64>,
    changed: Condvar,
    changed_async: Notify,
}

impl Registry {
    /// Builds the client; makes no request. Fetching runs on `runtime`, which must outlive the registry's use.
    pub fn new(config: Config, runtime: Handle) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let limits = |capacity, ttl| Limits {
            capacity,
            negative_capacity: config.negative_capacity,
            in_flight: config.in_flight,
            ttl,
            negative_ttl: config.negative_ttl,
            cool_down: config.cool_down,
        };
        Ok(Registry(Arc::new(Shared {
            client: Arc::new(Client::new(config.clone())?),
            runtime,
            budget: governor::RateLimiter::direct(governor::Quota::per_second(config.requests_per_second)),
            schemas: RwLock::new(Cache::new(limits(config.capacity, None))),
            members: RwLock::new(Cache::new(limits(config.capacity, Some(config.membership_ttl)))),
            config,
            trouble: Mutex::new(None),
            changes: Mutex::new(0),
            changed: Condvar::new(),
            changed_async: Notify::new(),
        })))
    }

    /// What is known about the id, at once. The first question about it starts a fetch.
    pub fn resolve(&self, id: SchemaId) -> Resolution {
        let now = Instant::now();
        if let Some(answer) = read(&self.0.schemas).peek(id, now) {
            return answer;
        }
        let (answer, start) = write(&self.0.schemas).ask(id, now);
        if start {
            self.fetch_schema(id);
        }
        answer
    }

    /// Subjects and versions the id is registered under, at once, up to [`Config::membership_ttl`] old.
    pub fn subjects_of(&self, id: SchemaId) -> Answer<Arc<[SubjectVersion]>> {
        let now = Instant::now();
        if let Some(answer) = read(&self.0.members).peek(id, now) {
            return answer;
        }
        let (answer, start) = write(&self.0.members).ask(id, now);
        if start {
            self.fetch_members(id);
        }
        answer
    }

    /// Whether the id is registered under the subject, at once. A "no" is never older than
    /// [`Config::membership_negative_ttl`], so that an id just registered is not turned away for long.
    pub fn belongs(&self, id: SchemaId, subject: &str) -> Answer<bool> {
        let answer = self.subjects_of(id).map(|members| members.iter().any(|member| member.subject == subject));
        if answer != Answer::Ready(false) {
            return answer;
        }
        let mut members = write(&self.0.members);
        let ttl = self.0.config.membership_negative_ttl;
        if members.fetched_at(id).is_some_and(|at| at.elapsed() < ttl) {
            return answer;
        }
        let start = members.refresh(id);
        drop(members);
        if start {
            self.fetch_members(id);
        }
        Answer::Pending
    }

    /// Waits until the answer about the id is no longer pending; for code that may await.
    pub async fn resolved(&self, id: SchemaId) -> Resolution {
        loop {
            let changed = self.0.changed_async.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.resolve(id) {
                Answer::Pending => changed.await,
                answer => return answer,
            }
        }
    }

    /// Number of answers that have come in so far; see [`Registry::wait`].
    pub fn changes(&self) -> u64 {
        *self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until an answer has come in since `seen`, at most for `limit`. Returns the number of answers now.
    ///
    /// Take [`Registry::changes`] before asking, so that nothing that comes in between is missed.
    pub fn wait(&self, seen: u64, limit: Duration) -> u64 {
        let changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_timeout_while(changes, limit, |now| *now == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Why the registry does not answer, if it did not the last time; for readiness and status pages.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn fetch_schema(&self, id: SchemaId) {
        self.fetch(id, |shared| &shared.schemas, move |client| async move { client.schema(id).await });
    }

    fn fetch_members(&self, id: SchemaId) {
        self.fetch(id, |shared| &shared.members, move |client| async move { client.members(id).await });
    }

    fn fetch<V, F>(
        &self,
        id: SchemaId,
        cache: fn(&Shared) -> &RwLock<Cache<SchemaId, V>>,
        request: impl Fn(Arc<Client>) -> F + Send + Sync + 'static,
    ) where
        V: Clone + Send + Sync + 'static,
        F: Future<Output = Result<V, Miss>> + Send,
    {
        let this = self.clone();
        self.0.runtime.spawn(async move {
            let mut attempt = 0;
            let outcome = loop {
                tokio::time::sleep(client::pause(this.0.config.backoff, attempt)).await;
                this.0.budget.until_ready().await;
                let outcome = request(this.0.client.clone()).await;
                let reason = match &outcome {
                    Err(Miss::Unavailable(reason)) => Some(reason.clone()),
                    _ => None,
                };
                this.note(id, reason.clone());
                attempt += 1;
                match reason {
                    Some(reason) if attempt < this.0.config.attempts => {
                        write(cache(&this.0)).stumbled(id, reason);
                        this.announce();
                    }
                    _ => break outcome,
                }
            };
            write(cache(&this.0)).settle(id, outcome, Instant::now());
            this.announce();
        });
    }

    fn announce(&self) {
        *self.0.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_all();
        self.0.changed_async.notify_waiters();
    }

    /// Keeps and logs the turn from answering to not answering and back, not every failure.
    fn note(&self, id: SchemaId, reason: Option<Arc<str>>) {
        let mut trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&reason, trouble.is_some()) {
            (Some(reason), false) => tracing::warn!(%id, %reason, "schema registry is not available"),
            (None, true) => tracing::info!("schema registry answers again"),
            _ => {}
        }
        *trouble = reason;
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("urls", &self.0.config.urls).finish_non_exhaustive()
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
