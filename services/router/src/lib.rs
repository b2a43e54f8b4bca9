//! The router: it runs views. A view reads products and other views, and what it makes of them is a product of its own:
//! a topic with a schema, and a contract where it has one.
//!
//! How a record flows: a [`worker`] reads the partitions it was given of all topics that any view reads, each once; a
//! [`task`] is one stage of a view on one partition, which takes the records of its inputs in the order of event time, as datums of
//! the schemas it was planned with ([`decode`]), and hands them to the operators of weir-view; what they put out goes to
//! the topic of the view, to one that its next stage reads, or to its quarantine ([`emit`]); output, changes of the state and positions are committed in
//! one transaction, and then the local state follows (weir-state). Nothing flows back.
//!
//! What waits: a registry or a broker that is away, a topic that is not there yet; it shows on `/health/ready`. What is
//! refused: a view that cannot be planned or does not go with the state it has, while all others go on.

pub mod board;
pub mod config;
pub mod decode;
pub mod emit;
pub mod ends;
pub mod incomings;
pub mod metrics;
pub mod owned;
pub mod parts;
pub mod purge;
pub mod restore;
pub mod shared;
pub mod standby;
pub mod task;
pub mod views;
pub mod worker;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle as Thread;
use std::time::{Duration, Instant};

use axum::{Json, Router as Routes, routing::get};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_kafka::{Read, ReadOptions, Reader, Until};
use weir_registry::Registry;
use weir_state::Folder;
use weir_telemetry::{Health, Server};

use crate::board::{Board, TaskStatus, Total};
use crate::config::Config;
use crate::shared::Shared;
use crate::views::{Change, Views};

/// How often health is looked at, and a topic that is not there asked for again.
const WATCH: Duration = Duration::from_millis(500);

/// Why the router could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The folder of the local state cannot be used.
    #[error("--state: {0}")]
    State(#[from] weir_state::Error),
    /// A worker ended for good.
    #[error("the record loop ended: {0}")]
    Ended(String),
    /// The workers did not drain in time.
    #[error("{0} of the workers did not end within {1:?}; what they had open is undone by the coordinator")]
    Hung(usize, Duration),
    /// The registry client could not be made.
    #[error(transparent)]
    Registry(#[from] weir_registry::ConfigError),
    /// The address is not to be had.
    #[error(transparent)]
    Server(#[from] weir_telemetry::ServerError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}; raise the limit of threads")]
    Thread(#[from] std::io::Error),
}

/// A view as it stands in this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewStatus {
    /// Its id.
    pub id: String,
    /// The version that runs; none where it never ran.
    pub version: Option<String>,
    /// The topic it writes.
    pub topic: Option<String>,
    /// What it does, in a line.
    pub operator: Option<String>,
    /// Why its newest version is refused.
    pub refused: Option<views::Refusal>,
    /// Why it cannot run.
    pub blocked: Option<String>,
    /// What became of the records, since the process started.
    pub total: Total,
    /// Its partitions in this process.
    pub tasks: Vec<TaskStatus>,
}

/// A running router.
pub struct Router {
    /// The views that are to run.
    pub views: Arc<Views>,
    /// Whether it is ready, and why not.
    pub health: Health,
    shared: Arc<Shared>,
    workers: Vec<Thread<()>>,
    server: Server,
    watch: JoinHandle<()>,
    purge: JoinHandle<()>,
    drain: Duration,
}

impl Router {
    /// Starts the router on the current tokio runtime. Kafka and the registry need not be there yet.
    ///
    /// # Errors
    /// [`RouterError`] for what waiting cannot mend: settings, the state folder, a taken address.
    pub async fn start(config: Config) -> Result<Router, RouterError> {
        let (views, board, health) = (Arc::new(Views::default()), Arc::new(Board::default()), Health::new());
        health.set("views", "not read yet");
        let folder = Folder::open(&config.state)?;
        let mut at = weir_registry::Config::new([config.registry.clone()]);
        at.auth = config.registry_auth.clone();
        let registry = Registry::new(at, Handle::current())?;
        let disk = folder.clone();
        let page = metrics::page(board.clone(), views.clone(), move || disk.disk_space().unwrap_or(0));
        let shown = (board.clone(), views.clone());
        let routes = Routes::new().route("/views", get(move || async move { Json(statuses(&shown.0, &shown.1)) }));
        let server = Server::start("--listen", config.listen, health.clone(), page, routes).await?;
        let (listen, drain, count) = (config.cluster.clone(), config.drain, config.workers);
        let topic = config.views_topic.clone();
        let shared = Arc::new(Shared {
            config,
            views: views.clone(),
            registry: registry.clone(),
            folder,
            board: board.clone(),
            owned: owned::Owned::default(),
            ends: ends::Ends::default(),
            stopping: AtomicBool::new(false),
        });
        let reading = ViewReader {
            cluster: listen,
            topic,
            registry: registry.clone(),
            runtime: Handle::current(),
            health: health.clone(),
            shared: shared.clone(),
        };
        std::thread::Builder::new().name("views".into()).spawn(move || reading.run())?;
        if shared.config.standby {
            let shared = shared.clone();
            std::thread::Builder::new().name("standby".into()).spawn(move || standby::run(&shared))?;
        }
        let mut workers = Vec::new();
        for worker in 0..count {
            let shared = shared.clone();
            workers.push(std::thread::Builder::new().name(format!("router-{worker}")).spawn(move || {
                // A panic must not leave a worker that is gone and nobody knows.
                let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker::run(&shared, worker)));
                if ran.is_err() {
                    shared.board.fail(worker, "the worker panicked; this is a fault of the program".to_owned());
                }
            })?);
        }
        let watch = tokio::spawn(watch(board, registry, health.clone()));
        let purge = tokio::spawn(purge::run(shared.clone()));
        Ok(Router { views, health, shared, workers, server, watch, purge, drain })
    }

    /// Where metrics and health are served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Every view as it stands here.
    pub fn statuses(&self) -> Vec<ViewStatus> {
        statuses(&self.shared.board, &self.views)
    }

    /// Why the record loop ended, if it did.
    pub fn failure(&self) -> Option<String> {
        self.shared.board.failure()
    }

    /// Commits what is open and stops.
    ///
    /// # Errors
    /// [`RouterError::Hung`] when that took longer than the drain time; nothing is lost then, but the process has to
    /// end.
    pub async fn stop(self) -> Result<(), RouterError> {
        self.health.set("stopping", "the router is shutting down");
        self.shared.stopping.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + self.drain;
        let mut left = self.workers.iter().filter(|worker| !worker.is_finished()).count();
        while left > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            left = self.workers.iter().filter(|worker| !worker.is_finished()).count();
        }
        self.watch.abort();
        self.purge.abort();
        self.server.stop().await;
        if left > 0 { Err(RouterError::Hung(left, self.drain)) } else { Ok(()) }
    }
}

fn statuses(board: &Board, views: &Views) -> Vec<ViewStatus> {
    let mut refused = views.refused();
    let totals = board.totals();
    let none = |id: &str, refused| ViewStatus {
        id: id.to_owned(),
        version: None,
        topic: None,
        operator: None,
        refused,
        blocked: None,
        total: totals.get(id).copied().unwrap_or_default(),
        tasks: Vec::new(),
    };
    let mut all: Vec<ViewStatus> = Vec::new();
    for view in views.current().views {
        all.push(ViewStatus {
            version: Some(view.version.clone()),
            topic: Some(view.topic().to_owned()),
            operator: Some(view.plan.operator.clone()),
            blocked: board.blocked(&view.id),
            tasks: board.tasks(&view.id),
            ..none(&view.id, refused.remove(&view.id))
        });
    }
    all.extend(refused.into_iter().map(|(id, refusal)| none(&id, Some(refusal))));
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Runs the router until `shutdown` resolves, then drains.
///
/// # Errors
/// As [`Router::start`] and [`Router::stop`], and when a worker ends for good, as it does when another instance of the
/// same name takes over.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RouterError> {
    let router = Router::start(config).await?;
    tracing::info!(address = %router.address(), "router runs");
    tokio::pin!(shutdown);
    let mut look = tokio::time::interval(WATCH);
    let failure = loop {
        tokio::select! {
            () = &mut shutdown => break None,
            _ = look.tick() => if let Some(reason) = router.failure() { break Some(reason) },
        }
    };
    let stopped = router.stop().await;
    match failure {
        Some(reason) => Err(RouterError::Ended(reason)),
        None => stopped,
    }
}

/// Keeps health up to date.
async fn watch(board: Arc<Board>, registry: Registry, health: Health) {
    let mut tick = tokio::time::interval(WATCH);
    let mut before = Vec::new();
    loop {
        tick.tick().await;
        // What is over before the next look is no reason to be taken off duty.
        let now = board.reasons();
        let lasting: Vec<&str> = now.iter().filter(|reason| before.contains(*reason)).map(String::as_str).collect();
        if lasting.is_empty() {
            health.clear("work");
        } else {
            health.set("work", lasting.join("; "));
        }
        before = now;
        match registry.trouble() {
            Some(reason) => health.set("registry", reason.to_string()),
            None => health.clear("registry"),
        }
    }
}

/// The thread that reads the topic of the views, from its beginning and then live.
struct ViewReader {
    cluster: weir_kafka::ClusterConfig,
    topic: String,
    registry: Registry,
    runtime: Handle,
    health: Health,
    shared: Arc<Shared>,
}

impl ViewReader {
    fn run(self) {
        while !self.stopping() {
            if let Err(error) = self.read() {
                self.health.set("views", error.to_string());
                std::thread::sleep(WATCH);
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    fn read(&self) -> Result<(), weir_kafka::Error> {
        let options = ReadOptions { until: Until::Live, ..ReadOptions::default() };
        let mut reader = Reader::open(&self.cluster, &self.topic, options)?;
        // While the topic is read for the first time, only the last word on each view matters.
        let mut first: Option<BTreeMap<String, Option<Vec<u8>>>> = Some(BTreeMap::new());
        while !self.stopping() {
            match reader.next(WATCH)? {
                Read::Record(record) => {
                    let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else {
                        tracing::warn!(offset = record.offset, "a record of the views topic has no readable key");
                        continue;
                    };
                    match &mut first {
                        Some(first) => drop(first.insert(key.to_owned(), record.value)),
                        None => self.take(key, record.value.as_deref()),
                    }
                }
                Read::CaughtUp => {
                    for (key, value) in first.take().into_iter().flatten() {
                        self.take(&key, value.as_deref());
                    }
                    self.shared.views.set_loaded();
                    self.health.clear("views");
                }
                Read::Idle => {}
            }
        }
        Ok(())
    }

    fn take(&self, key: &str, value: Option<&[u8]>) {
        let registered = |subject: &str, schema: &str| {
            let found = self.runtime.block_on(self.registry.look_up(subject, schema, &[]));
            found.map(|found| found.map(|registered| registered.id)).map_err(|e| e.to_string())
        };
        while !self.stopping() {
            match self.shared.views.take(key, value, &registered) {
                Change::Waits(reason) => {
                    self.health.set("views", format!("view {key}: {reason}"));
                    std::thread::sleep(WATCH);
                    continue;
                }
                Change::Runs(view, version) => tracing::info!(view, version, "view runs"),
                Change::Refused(view, reason) => tracing::error!(view, reason, "view refused"),
                Change::Withdrawn(view) => tracing::info!(view, "view withdrawn"),
            }
            self.health.clear("views");
            return;
        }
    }
}
