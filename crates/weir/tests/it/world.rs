//! One Kafka with a schema registry and, where asked for, an enforcer and a router, and what is needed to look into it.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use contract_enforcer::Enforcer;
use contract_enforcer::config::{Config, Raw};
use router::Router;
use schema_registry::{Service, Users};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use weir_kafka::{Admin, ClusterConfig, Read, ReadOptions, Reader, Record};
use weir_testkit::kafka::Cluster;
use weir_testkit::wait_for;

use crate::{Ran, weir};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A world of its own for one test.
pub struct World {
    enforcer: Option<Enforcer>,
    router: Option<(Router, TempDir)>,
    service: Option<Service>,
    runtime: Runtime,
    pub bootstrap: String,
    pub registry: String,
    /// File of the credentials that the registry asks for, if it does.
    pub credentials: Option<String>,
    pub config: ClusterConfig,
    pub admin: Admin,
    // Last: what runs on it goes first.
    _cluster: Cluster,
}

impl World {
    /// Kafka and registry. `None`, said on stderr, where there is no Kafka.
    pub fn start() -> Option<World> {
        World::start_with(None)
    }

    /// The same with a registry that admits only these users.
    pub fn start_with(users: Option<Users>) -> Option<World> {
        let cluster = Cluster::start()?;
        let bootstrap = cluster.bootstrap();
        let config = ClusterConfig::new(&bootstrap, [("client.id", "test")]).unwrap();
        let runtime = Runtime::new().unwrap();
        let settings =
            schema_registry::Config { users: users.map(Arc::new), ..schema_registry::Config::new(config.clone()) };
        let service = runtime.block_on(Service::start(settings)).unwrap();
        wait_for(PATIENCE, "the registry", || service.is_ready());
        let registry = format!("http://{}", service.address());
        let admin = Admin::new(&config).unwrap();
        let service = Some(service);
        Some(World {
            enforcer: None,
            router: None,
            service,
            runtime,
            bootstrap,
            registry,
            credentials: None,
            config,
            admin,
            _cluster: cluster,
        })
    }

    /// Starts an enforcer and waits until it is ready.
    pub fn enforce(&mut self) {
        let line = ["enforcer", "--kafka", &self.bootstrap, "--registry", &self.registry, "--listen", "127.0.0.1:0"];
        let credentials = self.credentials.iter().flat_map(|file| ["--registry-credentials", file]);
        let line: Vec<&str> = line.into_iter().chain(credentials).collect();
        let config = Config::try_from(Raw::try_parse_from(line).unwrap()).unwrap();
        let enforcer = self.runtime.block_on(Enforcer::start(config)).unwrap();
        wait_for(PATIENCE, "the enforcer", || enforcer.health.is_ready());
        self.enforcer = Some(enforcer);
    }

    /// Starts a router, waits until it is ready, and returns its URL.
    pub fn route(&mut self) -> String {
        let state = TempDir::new().unwrap();
        let mut config =
            router::config::Config::new(self.config.clone(), &self.registry, state.path().to_owned()).unwrap();
        config.listen = "127.0.0.1:0".parse().unwrap();
        let router = self.runtime.block_on(Router::start(config)).unwrap();
        wait_for(PATIENCE, "the router", || router.health.is_ready());
        let url = format!("http://{}", router.address());
        self.router = Some((router, state));
        url
    }

    /// Runs a command against this world.
    pub fn weir(&self, arguments: &[&str]) -> Ran {
        let credentials = self.credentials.iter().flat_map(|file| ["--registry-credentials", file]);
        let arguments: Vec<&str> = arguments.iter().copied().chain(self.addresses()).chain(credentials).collect();
        weir(&arguments)
    }

    /// The arguments that name this world.
    pub fn addresses(&self) -> [&str; 4] {
        ["--kafka", &self.bootstrap, "--registry", &self.registry]
    }

    /// All committed records of a topic, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut reader = Reader::open(&self.config, topic, ReadOptions::default()).unwrap();
        let mut records = Vec::new();
        loop {
            match reader.next(PATIENCE).unwrap() {
                Read::Record(record) => records.push(record),
                Read::CaughtUp => {
                    records.sort_by_key(|record: &Record| (record.partition, record.offset));
                    return records;
                }
                Read::Idle => panic!("{topic} does not come to its end"),
            }
        }
    }

    /// Stops the registry; the addresses stay.
    pub fn stop_registry(&mut self) {
        if let Some(service) = self.service.take() {
            self.runtime.block_on(service.stop());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((router, _state)) = self.router.take() {
            let stopped = self.runtime.block_on(router.stop());
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
        if let Some(enforcer) = self.enforcer.take() {
            let stopped = self.runtime.block_on(enforcer.stop());
            if !std::thread::panicking() {
                stopped.unwrap();
            }
        }
        self.stop_registry();
    }
}
