//! A schema registry with Confluent's REST API, whose only storage is a compacted Kafka topic.
//!
//! One request that changes something goes like this: `rest` reads it and hands a decision to `log`; the thread of
//! `log` reads the topic to its end, lets `decide` turn state and request into records, writes them in a
//! transaction, applies what it reads back to `store`, and only then the request is answered. A request that only
//! asks is answered from `store`; what is not found is looked for again after reading to the end of the topic, so
//! that no instance denies what another has confirmed. `record` is the wire form, shared with Confluent's registry.

mod additions;
mod auth;
mod canonical;
mod config;
mod decide;
mod fault;
mod log;
mod metrics;
mod record;
mod rest;
mod schema;
mod store;
mod subject;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use weir_telemetry::{Health, Metrics, Server, ServerError};

pub use auth::Users;
pub use config::{Args, Config, ConfigError};
use log::Log;
use metrics::Counters;
use rest::Api;
use store::Store;

/// Why the service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The machine gives no thread.
    #[error("cannot start the thread of the log: {0}")]
    Thread(#[from] io::Error),
}

/// A running registry. Kafka may be away: then it says so on `/health/ready` and waits.
#[derive(Debug)]
pub struct Service {
    server: Server,
    health: Health,
    thread: JoinHandle<()>,
}

impl Service {
    /// Starts to listen and to read the log of schemas.
    pub async fn start(config: Config) -> Result<Service, StartError> {
        let (health, mut metrics) = (Health::new(), Metrics::new());
        let store = Arc::new(RwLock::new(Store::default()));
        let counters = Counters::new(&mut metrics, store.clone());
        let (log, thread) = Log::start(&config, store, health.clone(), counters.clone())?;
        if config.users.is_none() && !config.listen.ip().is_loopback() {
            tracing::warn!(address = %config.listen, "everybody who reaches this address may change schemas; set --users");
        }
        let routes = rest::router(Api { log, max_body: config.max_body, counters, users: config.users });
        let server = Server::start("--listen", config.listen, health.clone(), metrics, routes).await?;
        tracing::info!(address = %server.address(), topic = config.topic, "schema registry listens");
        Ok(Service { server, health, thread })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Whether the log was read and Kafka is there.
    pub fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// Finishes the requests under way and closes.
    pub async fn stop(self) {
        self.health.set("stopping", "the service is stopping");
        self.server.stop().await;
        // The log's thread ends when nobody can ask it any more; if Kafka is away it may hang in a call for seconds.
        let join = tokio::task::spawn_blocking(|| self.thread.join());
        if tokio::time::timeout(Duration::from_secs(5), join).await.is_err() {
            tracing::warn!("the thread of the log did not end in time");
        }
    }
}

/// Runs the registry until `shutdown` comes true.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
    let service = Service::start(config).await?;
    shutdown.await;
    service.stop().await;
    Ok(())
}
