//! The contract-enforcer as a stream stage: it reads `<topic>.landing`, judges every event by the contract of the
//! topic, and writes it either to `<topic>`, as it came, or to `<topic>.quarantine`, byte for byte with every reason.
//!
//! How a record flows: the pump (weir-kafka) hands runs of records to [`pipeline::Enforce`], which finds the
//! contract in force ([`contracts`]), takes the schema id off the record, asks the schema cache (weir-registry),
//! walks and checks the payload (weir-contract), and answers with one action per record. The pump writes the
//! actions and commits the offsets in one transaction. Nothing flows back.
//!
//! What waits: a registry or a broker that is away stalls partitions and shows on `/health/ready`; it never fills a
//! quarantine. What is refused: a contract version that does not compile, while the one before stays in force.

pub mod config;
pub mod contracts;
pub mod metrics;
pub mod pipeline;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Json, Router, routing::get};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_kafka::{ClusterConfig, Lane, Pump, PumpConfig, Read, ReadOptions, Reader, Until};
use weir_pump::{GroupProtocol, Ledger};
use weir_registry::Registry;
use weir_telemetry::{Health, Server};

use crate::config::Config;
use crate::contracts::{Change, Contracts};
use crate::metrics::Metrics;
use crate::pipeline::Enforce;

/// How long a transaction may stay open behind a silent worker, as a share of the session timeout.
const TRANSACTION_SHARE: f64 = 0.8;
/// How long a partition waits for a schema before it is tried again: at first, as an answer takes, and at most.
const STALL_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// How often health and lag are looked at.
const WATCH: Duration = Duration::from_millis(500);

/// Why the enforcer could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum EnforcerError {
    /// The pump could not start.
    #[error(transparent)]
    Kafka(#[from] weir_kafka::Error),
    /// A worker ended for good.
    #[error("the record loop ended: {0}")]
    Ended(String),
    /// The pump did not drain in time.
    #[error(transparent)]
    Hung(#[from] weir_kafka::Hung),
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

/// A running enforcer.
pub struct Enforcer {
    /// Reasons and lag.
    pub metrics: Arc<Metrics>,
    /// The contracts in force.
    pub contracts: Arc<Contracts>,
    /// Whether it is ready, and why not.
    pub health: Health,
    pump: Arc<Pump>,
    server: Server,
    watch: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    drain: Duration,
}

impl Enforcer {
    /// Starts the enforcer on the current tokio runtime. Kafka and the registry need not be there yet.
    ///
    /// # Errors
    /// [`EnforcerError`] for what waiting cannot mend: settings and a taken address.
    pub async fn start(config: Config) -> Result<Enforcer, EnforcerError> {
        let (contracts, metrics, health) =
            (Arc::new(Contracts::default()), Arc::new(Metrics::default()), Health::new());
        health.set("contracts", "not read yet");
        health.set("kafka", "not connected yet");
        let mut at = weir_registry::Config::new([config.registry.clone()]);
        at.auth = config.registry_auth.clone();
        let registry = Registry::new(at, Handle::current())?;

        let mut settings = PumpConfig::new(&config.group, &config.instance);
        settings.workers = config.workers;
        settings.pin_cores = config.pin_cores;
        settings.static_members = config.static_members;
        if config.static_members {
            settings.protocol = GroupProtocol::Eager;
        }
        settings.commit_interval = config.commit_interval;
        settings.stall_backoff = STALL_BACKOFF;
        settings.session_timeout = config.session_timeout;
        settings.transaction_timeout = config.session_timeout.mul_f64(TRANSACTION_SHARE);
        let stage = (contracts.clone(), metrics.clone(), registry.clone());
        let make = move |_| {
            let (contracts, metrics, registry) = stage.clone();
            Box::new(Enforce::new(contracts, metrics, registry, now_ms)) as Box<dyn weir_pump::Stage + Send>
        };
        let pump = Arc::new(Pump::start(&config.cluster, settings, Vec::new(), Arc::new(make))?);

        let page = metrics::page(pump.ledger().clone(), metrics.clone(), contracts.clone(), pump.lane().name());
        let shown = contracts.clone();
        let routes = Router::new().route("/contracts", get(move || async move { Json(shown.standings()) }));
        let server = Server::start("--listen", config.listen, health.clone(), page, routes).await?;

        let stopping = Arc::new(AtomicBool::new(false));
        let reading = ContractReader {
            cluster: config.cluster.clone(),
            topic: config.contracts_topic.clone(),
            contracts: contracts.clone(),
            health: health.clone(),
            pump: pump.clone(),
            stopping: stopping.clone(),
        };
        std::thread::Builder::new().name("contracts".into()).spawn(move || reading.run())?;
        let watch = tokio::spawn(watch(pump.clone(), registry, metrics.clone(), health.clone()));
        Ok(Enforcer { metrics, contracts, health, pump, server, watch, stopping, drain: config.drain })
    }

    /// What became of every record.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.pump.ledger()
    }

    /// Where metrics and health are served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What moves its records: never `Auto`.
    pub fn lane(&self) -> Lane {
        self.pump.lane()
    }

    /// Why the record loop ended, if it did.
    pub fn failure(&self) -> Option<String> {
        self.pump.failure()
    }

    /// Drains and stops: what was received is committed or undone, the group is left.
    ///
    /// # Errors
    /// [`EnforcerError::Hung`] when that took longer than the drain time; nothing is lost then, but the process has
    /// to end.
    pub async fn stop(self) -> Result<(), EnforcerError> {
        self.health.set("stopping", "the enforcer is shutting down");
        self.stopping.store(true, Ordering::Relaxed);
        let (pump, drain) = (self.pump.clone(), self.drain);
        let drained = tokio::task::spawn_blocking(move || pump.stop(drain)).await;
        self.watch.abort();
        self.server.stop().await;
        match drained {
            Ok(result) => Ok(result?),
            Err(e) => Err(EnforcerError::Ended(e.to_string())),
        }
    }
}

/// Runs the enforcer until `shutdown` resolves, then drains.
///
/// # Errors
/// As [`Enforcer::start`] and [`Enforcer::stop`], and when a worker ends for good, as it does when another instance
/// of the same name takes over.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), EnforcerError> {
    let enforcer = Enforcer::start(config).await?;
    tracing::info!(address = %enforcer.address(), "contract-enforcer runs");
    tokio::pin!(shutdown);
    let mut look = tokio::time::interval(WATCH);
    let failure = loop {
        tokio::select! {
            () = &mut shutdown => break None,
            _ = look.tick() => if let Some(reason) = enforcer.failure() { break Some(reason) },
        }
    };
    let stopped = enforcer.stop().await;
    match failure {
        Some(reason) => Err(EnforcerError::Ended(reason)),
        None => stopped,
    }
}

/// Keeps health and lag up to date.
async fn watch(pump: Arc<Pump>, registry: Registry, metrics: Arc<Metrics>, health: Health) {
    let mut tick = tokio::time::interval(WATCH);
    let mut before = BTreeSet::new();
    loop {
        tick.tick().await;
        let mut status = pump.status();
        let mut lag = BTreeMap::new();
        for partition in &status.partitions {
            *lag.entry(partition.topic.clone()).or_default() += partition.lag.unwrap_or(0);
        }
        // A stall that is over before the next look is a schema that was fetched, and no reason to be taken off duty.
        let now: BTreeSet<_> =
            status.partitions.iter().filter(|p| p.stalled.is_some()).map(|p| (p.topic.clone(), p.partition)).collect();
        for partition in &mut status.partitions {
            if !before.contains(&(partition.topic.clone(), partition.partition)) {
                partition.stalled = None;
            }
        }
        metrics.set_waiting(lag, now.len() as u64);
        before = now;
        let reasons = status.reasons();
        if reasons.is_empty() {
            health.clear("kafka");
        } else {
            health.set("kafka", reasons.join("; "));
        }
        match registry.trouble() {
            Some(reason) => health.set("registry", reason.to_string()),
            None => health.clear("registry"),
        }
    }
}

/// The thread that reads the contracts topic, from its beginning and then live.
struct ContractReader {
    cluster: ClusterConfig,
    topic: String,
    contracts: Arc<Contracts>,
    health: Health,
    pump: Arc<Pump>,
    stopping: Arc<AtomicBool>,
}

impl ContractReader {
    fn run(self) {
        while !self.stopping.load(Ordering::Relaxed) {
            if let Err(e) = self.read() {
                self.health.set("contracts", e.to_string());
                std::thread::sleep(WATCH);
            }
        }
    }

    fn read(&self) -> Result<(), weir_kafka::Error> {
        let options = ReadOptions { until: Until::Live, ..ReadOptions::default() };
        let mut reader = Reader::open(&self.cluster, &self.topic, options)?;
        let mut stale = false;
        while !self.stopping.load(Ordering::Relaxed) {
            match reader.next(WATCH)? {
                Read::Record(record) => {
                    let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else {
                        tracing::warn!(offset = record.offset, "a record of the contracts topic has no readable key");
                        continue;
                    };
                    note(&self.contracts.take(key, record.value.as_deref()));
                    stale = true;
                    // While the topic is read for the first time, only the last word on each contract matters.
                    if self.contracts.loaded() {
                        stale = !self.publish();
                    }
                }
                Read::CaughtUp => {
                    self.contracts.set_loaded();
                    stale = !self.publish();
                    self.health.clear("contracts");
                }
                Read::Idle if stale && self.contracts.loaded() => stale = !self.publish(),
                Read::Idle => {}
            }
        }
        Ok(())
    }

    /// Hands the routes to the pump; says whether it took them.
    fn publish(&self) -> bool {
        match self.pump.set_routes(self.contracts.current().routes()) {
            Ok(()) => true,
            Err(e) => {
                tracing::error!(error = %e, "the routes of the contracts cannot be used");
                false
            }
        }
    }
}

fn note(change: &Change) {
    match change {
        Change::InForce(contract, version) => tracing::info!(contract, version, "contract in force"),
        Change::Withdrawn(contract) => tracing::info!(contract, "contract withdrawn"),
        Change::Refused(contract, reasons) => {
            tracing::error!(contract, reasons = reasons.join("; "), "contract refused, the one before stays in force");
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
