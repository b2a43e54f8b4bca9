//! The mesh in one process, as a library: broker, schema registry, contract-enforcer, router and a small retail company, started in
//! order and stopped in order. Each runs as it does alone, and they meet in Kafka only.
//!
//! It shows nothing and hears no signals; `weir up` does that around it. A test of a domain team starts it on free ports:
//!
//! ```no_run
//! use weir::mesh::{Mesh, Settings};
//!
//! # fn main() -> Result<(), weir::Failure> {
//! let mesh = Mesh::start(Settings::ephemeral("contracts", std::env::temp_dir()))?;
//! println!("produce to {}, schemas at {}", mesh.bootstrap(), mesh.registry());
//! // … whatever the test has to show, with any Kafka client …
//! mesh.stop()?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use contract_enforcer::Enforcer;
use router::{Router, ViewStatus};
use schema_registry::Service;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir_broker::{Broker, Config, Data, StartError};
use weir_kafka::{ClusterConfig, Lane};
use weir_pump::Route;
use weir_telemetry::Health;

use crate::Failure;
use crate::apply::{Asked, apply};
use crate::company::Emitter;
use crate::kafka::Kafka;
use crate::output::{count, say};
use crate::registry::Registry;

pub use weir_registry::Auth;

/// How long a service may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// How long the enforcer may take to judge what is left when the company has stopped.
const DRAIN: Duration = Duration::from_secs(20);
/// Time between two looks at something that is waited for.
const TICK: Duration = Duration::from_millis(10);

/// What runs and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Kafka that everything meets in.
    pub kafka: KafkaAt,
    /// The schema registry.
    pub registry: RegistryAt,
    /// Address of the enforcer's metrics and health; port 0 is a free one.
    pub enforcer_listen: SocketAddr,
    /// Address of the router's metrics, health and views; port 0 is a free one.
    pub router_listen: SocketAddr,
    /// Where the state of the router lies.
    pub router_state: Data,
    /// What moves the enforcer's records.
    pub lane: Lane,
    /// The contracts and views that are applied: a file, or a folder that is searched for `*.odcs.yaml` and `*.view.yaml`.
    pub contracts: PathBuf,
    /// The company that emits events, if any.
    pub company: Option<Company>,
}

/// The Kafka of a mesh.
#[derive(Debug, Clone)]
pub enum KafkaAt {
    /// The embedded broker, in this process.
    Embedded(Config),
    /// A cluster that runs already.
    Running {
        /// `host:port[,host:port]`.
        bootstrap: String,
        /// librdkafka properties as `name=value`.
        properties: Vec<String>,
    },
}

/// The schema registry of a mesh.
#[derive(Debug, Clone)]
pub enum RegistryAt {
    /// Ours, in this process; port 0 is a free one.
    Own(SocketAddr),
    /// One that runs already and speaks Confluent's REST API; its base URL, and who asks it.
    Running(String, Auth),
}

/// The retail company that emits events.
#[derive(Debug, Clone, PartialEq)]
pub struct Company {
    /// Events per second, more than 0.
    pub rate: u32,
    /// Share of the receipt lines that break their contract, 0 to 1.
    pub broken: f64,
    /// The same seed gives the same company.
    pub seed: u64,
}

impl Settings {
    /// A mesh on free ports of this machine whose data lies in a new folder under `parent` and goes with it. No company.
    pub fn ephemeral(contracts: impl Into<PathBuf>, parent: impl Into<PathBuf>) -> Settings {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let parent = parent.into();
        Settings {
            router_listen: free,
            router_state: Data::Ephemeral(parent.clone()),
            kafka: KafkaAt::Embedded(Config { listen: free, ..Config::new(Data::Ephemeral(parent)) }),
            registry: RegistryAt::Own(free),
            enforcer_listen: free,
            lane: Lane::Auto,
            contracts: contracts.into(),
            company: None,
        }
    }
}

/// What became of every event of a mesh that has stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// Events the company delivered to landing topics.
    pub sent: u64,
    /// Events the enforcer read, without those that a rebalance handed back, which are read once more.
    pub received: u64,
    /// Events on product topics, marked ones included.
    pub accepted: u64,
    /// Those of the accepted that are marked.
    pub warned: u64,
    /// Events on quarantine topics.
    pub quarantined: u64,
    /// Events whose outcome is not committed; the next start takes them up.
    pub unsettled: u64,
    /// The same by product.
    pub products: Vec<Product>,
    /// The views, as they stood when the router was stopped; what it had not read then is in their lag.
    pub views: Vec<ViewStatus>,
}

/// What is known of one product at one moment. Counts run from the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// The product topic.
    pub topic: String,
    /// Events read from the landing topic, without those that a rebalance handed back, which are read once more.
    pub received: u64,
    /// Events written to the product topic, marked ones included.
    pub accepted: u64,
    /// Those of the accepted that are marked.
    pub warned: u64,
    /// Events written to the quarantine topic.
    pub quarantined: u64,
    /// Events that wait in the landing topic, where it is known.
    pub lag: Option<u64>,
    /// Broken promises and how often each broke, most often first.
    pub reasons: Vec<(String, u64)>,
}

/// Everything that runs. Dropping it stops it, too, but keeps quiet about what went wrong.
pub struct Mesh {
    running: Option<Running>,
    bootstrap: String,
    registry: String,
    enforcer: SocketAddr,
    router: SocketAddr,
}

struct Running {
    enforcer: Enforcer,
    router: Router,
    /// Where the state lies that goes with the process.
    _state: Option<TempDir>,
    company: Option<Emitter>,
    service: Option<Service>,
    broker: Option<Broker>,
    runtime: Runtime,
}

impl Mesh {
    /// Starts everything, each part when the one before is ready, and returns when events can flow.
    ///
    /// It may be called from anywhere, asynchronous code included, and blocks for as long as the start takes.
    ///
    /// # Errors
    /// [`Failure`] when a part cannot start; it names the part and the setting to change. Nothing is left running then.
    pub fn start(settings: Settings) -> Result<Mesh, Failure> {
        let mesh = Mesh::start_unless(&settings, &|| false)?;
        mesh.ok_or_else(|| Failure::other("the start was given up"))
    }

    /// As [`Mesh::start`]; `None` when `cancelled` came true meanwhile.
    pub(crate) fn start_unless(
        settings: &Settings,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Mesh>, Failure> {
        on_a_thread(|| {
            let files = Asked::load(std::slice::from_ref(&settings.contracts))?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.context("no runtime")?;
            let mut starting =
                Starting { files, cancelled, broker: None, service: None, enforcer: None, router: None, state: None };
            match starting.run(settings, &runtime) {
                Ok(Some((kafka, registry))) => starting.finish(settings, &kafka, registry, runtime),
                unfinished => {
                    starting.undo(&runtime);
                    runtime.shutdown_background();
                    unfinished.map(|_| None)
                }
            }
        })
    }

    /// Where Kafka is: `host:port[,host:port]`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Base URL of the schema registry.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the enforcer serves `/metrics`, `/health/live`, `/health/ready` and `/contracts`.
    pub fn enforcer(&self) -> SocketAddr {
        self.enforcer
    }

    /// Where the router serves `/metrics`, `/health/live`, `/health/ready` and `/views`.
    pub fn router(&self) -> SocketAddr {
        self.router
    }

    /// Every view as it stands now.
    pub fn views(&self) -> Vec<ViewStatus> {
        self.running.as_ref().map(|running| running.router.statuses()).unwrap_or_default()
    }

    /// What moves the enforcer's records: never `Auto` while it runs.
    pub fn lane(&self) -> Lane {
        self.running.as_ref().map(|running| running.enforcer.lane()).unwrap_or_default()
    }

    /// Why the mesh cannot go on, if a part ended by itself.
    pub fn failure(&self) -> Option<Failure> {
        let running = self.running.as_ref()?;
        if let Some(reason) = running.enforcer.failure() {
            return Some(Failure::other(format!("the contract-enforcer ended: {reason}")));
        }
        if let Some(reason) = running.router.failure() {
            return Some(Failure::other(format!("the router ended: {reason}")));
        }
        running.company.as_ref().and_then(Emitter::failure)
    }

    /// What the enforcer and the router wait for; empty when nothing.
    pub fn waits_for(&self) -> String {
        let Some(running) = &self.running else { return String::new() };
        let both = [reasons(&running.enforcer.health), reasons(&running.router.health)];
        both.into_iter().filter(|reasons| !reasons.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// What is known of every product now.
    pub fn products(&self) -> Vec<Product> {
        self.running.as_ref().map(|running| products(&running.enforcer)).unwrap_or_default()
    }

    /// Stops company, enforcer, registry and broker, in this order; what was emitted is judged first.
    ///
    /// # Errors
    /// [`Failure`] when the company or the enforcer did not end well. Everything is stopped nevertheless, and what is not settled is
    /// taken up by the next start.
    pub fn stop(mut self) -> Result<Books, Failure> {
        let (books, outcome) = self.end();
        outcome.map(|()| books)
    }

    /// As [`Mesh::stop`], with the books whatever the outcome.
    pub(crate) fn end(&mut self) -> (Books, Result<(), Failure>) {
        let Some(running) = self.running.take() else { return (Books::default(), Ok(())) };
        let mut books = Books::default();
        let outcome = on_a_thread(|| running.stop(&mut books));
        (books, outcome)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        let (_, outcome) = self.end();
        if let Err(error) = outcome {
            tracing::warn!(%error, "the mesh did not stop in order");
        }
    }
}

/// A mesh that is not complete yet.
struct Starting<'a> {
    files: Asked,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    broker: Option<Broker>,
    service: Option<Service>,
    enforcer: Option<Enforcer>,
    router: Option<Router>,
    state: Option<TempDir>,
}

impl Starting<'_> {
    /// Starts broker, registry, contracts and enforcer; `None` when it was given up.
    fn run(&mut self, settings: &Settings, runtime: &Runtime) -> Result<Option<(Kafka, Registry)>, Failure> {
        let (bootstrap, kafka_properties) = match &settings.kafka {
            KafkaAt::Running { bootstrap, properties } => {
                let properties =
                    weir_kafka::properties(properties).map_err(|error| Failure::Usage(error.to_string()))?;
                (bootstrap.clone(), properties)
            }
            KafkaAt::Embedded(config) => {
                let broker = runtime.block_on(Broker::start(config.clone())).map_err(|error| match error {
                    StartError::Folder(error) => Failure::Usage(format!("{error} (--data)")),
                    error => Failure::Usage(error.to_string()),
                })?;
                let bootstrap = broker.bootstrap();
                self.broker = Some(broker);
                (bootstrap, Vec::new())
            }
        };
        let cluster =
            ClusterConfig::new(&bootstrap, kafka_properties).map_err(|error| Failure::Usage(error.to_string()))?;
        let kafka = Kafka::reach(cluster)?;
        let (url, auth) = match &settings.registry {
            RegistryAt::Running(url, auth) => (url.clone(), auth.clone()),
            RegistryAt::Own(listen) => {
                let mut config = schema_registry::Config::new(kafka.config().clone());
                config.listen = *listen;
                let service = runtime.block_on(Service::start(config));
                let service = service.map_err(|error| {
                    Failure::other(format!(
                        "the schema registry cannot start: {}",
                        with_setting(&error, "--registry-listen")
                    ))
                })?;
                let url = format!("http://{}", service.address());
                let service = self.service.insert(service);
                if !ready("the schema registry", self.cancelled, || service.is_ready(), String::new)? {
                    return Ok(None);
                }
                (url, Auth::None)
            }
        };
        let registry = Registry::new(&url, auth.clone())?;
        let steps = apply(&self.files, &kafka, &registry)?;
        say(format_args!("{} applied in {}", self.files.count(), count(steps as u64, "step")));
        let mut config = contract_enforcer::config::Config::new(kafka.config().clone().with_lane(settings.lane), &url)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        config.listen = settings.enforcer_listen;
        config.static_members = true;
        config.registry_auth = auth.clone();
        let enforcer = config;
        let state = match &settings.router_state {
            Data::Folder(folder) => folder.clone(),
            Data::Ephemeral(parent) => {
                let folder =
                    TempDir::with_prefix_in("weir-router-", parent).context("no folder for the router's state")?;
                self.state.insert(folder).path().to_owned()
            }
        };
        let mut config = router::config::Config::new(kafka.config().clone(), &url, state)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        config.listen = settings.router_listen;
        config.static_members = true;
        config.registry_auth = auth;
        // Both make clients of Kafka, which takes a while each.
        let (enforcer, router) = std::thread::scope(|scope| {
            let enforcer = scope.spawn(|| runtime.block_on(Enforcer::start(enforcer)));
            let router = runtime.block_on(Router::start(config));
            (enforcer.join(), router)
        });
        let panicked = |_| Failure::other("the contract-enforcer panicked; this is a fault of the program");
        let enforcer = enforcer.map_err(panicked)?.map(|enforcer| self.enforcer.insert(enforcer));
        let router = router.map(|router| self.router.insert(router));
        let enforcer = enforcer.map_err(|error| {
            Failure::other(format!("the contract-enforcer cannot start: {}", with_setting(&error, "--enforcer-listen")))
        })?;
        let router = router.map_err(|error| {
            let text = with_setting(&error, "--router-listen").replace("--state", "--data");
            Failure::other(format!("the router cannot start: {text}"))
        })?;
        let up = ready(
            "the contract-enforcer",
            self.cancelled,
            || enforcer.health.is_ready(),
            || reasons(&enforcer.health),
        )? && ready("the router", self.cancelled, || router.health.is_ready(), || reasons(&router.health))?;
        Ok(up.then_some((kafka, registry)))
    }

    fn finish(
        mut self,
        settings: &Settings,
        kafka: &Kafka,
        registry: Registry,
        runtime: Runtime,
    ) -> Result<Option<Mesh>, Failure> {
        let company =
            settings.company.as_ref().map(|company| Emitter::start(company, &self.files.contracts, kafka, &registry));
        let company = match company.transpose() {
            Ok(company) => company,
            Err(failure) => {
                self.undo(&runtime);
                runtime.shutdown_background();
                return Err(failure);
            }
        };
        let (Some(enforcer), Some(router)) = (self.enforcer.take(), self.router.take()) else { return Ok(None) };
        Ok(Some(Mesh {
            bootstrap: kafka.config().bootstrap().to_owned(),
            registry: registry.url().to_owned(),
            enforcer: enforcer.address(),
            router: router.address(),
            running: Some(Running {
                enforcer,
                router,
                _state: self.state.take(),
                company,
                service: self.service.take(),
                broker: self.broker.take(),
                runtime,
            }),
        }))
    }

    /// Stops what was started.
    fn undo(&mut self, runtime: &Runtime) {
        if let Some(router) = self.router.take()
            && let Err(error) = runtime.block_on(router.stop())
        {
            tracing::warn!(%error, "the router did not stop in order");
        }
        if let Some(enforcer) = self.enforcer.take()
            && let Err(error) = runtime.block_on(enforcer.stop())
        {
            tracing::warn!(%error, "the contract-enforcer did not stop in order");
        }
        if let Some(service) = self.service.take() {
            runtime.block_on(service.stop());
        }
        if let Some(broker) = self.broker.take() {
            runtime.block_on(broker.stop());
        }
    }
}

impl Running {
    fn stop(self, books: &mut Books) -> Result<(), Failure> {
        let Running { enforcer, router, _state, company, service, broker, runtime } = self;
        let emitted = company.map(Emitter::stop);
        books.sent = emitted.as_ref().map_or(0, |emitted| emitted.sent);
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline && enforcer.failure().is_none() {
            // What a rebalance handed back is received once more, so it counts as neither here.
            let counts = enforcer.ledger().snapshot();
            let taken: u64 = counts.values().map(|counts| counts.received - counts.released).sum();
            let settled = counts.values().all(|counts| counts.in_flight == 0);
            let waiting = products(&enforcer).iter().any(|product| product.lag != Some(0));
            if taken >= books.sent && settled && !waiting {
                break;
            }
            std::thread::sleep(TICK);
        }
        books.products = products(&enforcer);
        let ledger = enforcer.ledger().clone();
        // What was handed back until now has been read once more; what the end hands back is not settled.
        let again = ledger.snapshot();
        let stopped = runtime.block_on(enforcer.stop());
        books.views = router.statuses();
        // What the router has not read yet waits for it in the topics.
        let routed = runtime.block_on(router.stop());
        if let Some(service) = service {
            runtime.block_on(service.stop());
        }
        if let Some(broker) = broker {
            runtime.block_on(broker.stop());
        }
        // A client thread that hangs must not keep the process: all that matters is committed by now.
        runtime.shutdown_background();
        for (topic, counts) in ledger.snapshot() {
            let again = again.get(&topic).map_or(0, |before| before.released);
            books.received += counts.received - again;
            books.accepted += counts.accepted;
            books.warned += counts.warned;
            books.quarantined += counts.quarantined;
            books.unsettled += counts.in_flight + counts.released - again;
        }
        stopped.context("the contract-enforcer did not drain; nothing is lost, it goes on with the next start")?;
        routed.context("the router did not drain; nothing is lost, it goes on with the next start")?;
        match emitted.and_then(|emitted| emitted.failure) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// The clients block and bring runtimes of their own, which a thread of a caller's runtime would not bear.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::other("a thread of the mesh ended in a panic")),
    })
}

/// What the enforcer governs now, which may be more than what was applied at the start.
fn products(enforcer: &Enforcer) -> Vec<Product> {
    let counts = enforcer.ledger().snapshot();
    let (lag, _) = enforcer.metrics.waiting();
    let mut reasons: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (reason, times) in enforcer.metrics.reasons().into_iter().filter(|(reason, _)| reason.mode != "shadow") {
        let name = format!("{} {}", reason.code, reason.rule);
        *reasons.entry(reason.topic).or_default().entry(name.trim_end().to_owned()).or_default() += times;
    }
    let product = |route: Route| {
        let counts = counts.get(&route.source).copied().unwrap_or_default();
        let mut reasons: Vec<_> = reasons.remove(&route.source).unwrap_or_default().into_iter().collect();
        reasons.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Product {
            topic: route.accepted,
            received: counts.received - counts.released,
            accepted: counts.accepted,
            warned: counts.warned,
            quarantined: counts.quarantined,
            lag: lag.get(&route.source).copied(),
            reasons,
        }
    };
    enforcer.contracts.current().routes().into_iter().map(product).collect()
}

/// An error of a service that names its own `--listen`, which `weir up` knows by another name.
fn with_setting(error: &dyn std::error::Error, setting: &str) -> String {
    error.to_string().replace("set --listen", &format!("set {setting}"))
}

/// Waits until a service is ready; false when it was given up.
fn ready(
    what: &str,
    cancelled: &dyn Fn() -> bool,
    ready: impl Fn() -> bool,
    why: impl Fn() -> String,
) -> Result<bool, Failure> {
    let deadline = Instant::now() + START;
    while !ready() {
        if cancelled() {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            let why = why();
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            return Err(Failure::Unreachable(format!("{what} is not ready after {} s{why}", START.as_secs())));
        }
        std::thread::sleep(TICK);
    }
    Ok(true)
}

fn reasons(health: &Health) -> String {
    let reasons: Vec<String> = health.reasons().iter().map(|(what, why)| format!("{what}: {why}")).collect();
    reasons.join("; ")
}
