//! What all connections share: topics, coordinators, budgets, and the signal to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use weir_wire::Text;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::configs::Kind;
use crate::configs::broker::Started;
use crate::coordinator::Coordinator;
use crate::folder::{Folder, FolderError};
use crate::groups::Settings;
use crate::quotas::Quotas;
use crate::topics::Topics;

/// The id of this node, the only one.
pub(crate) const NODE_ID: i32 = 1;

/// What all connections share.
pub(crate) struct Node {
    config: Config,
    address: SocketAddr,
    folder: Folder,
    topics: Topics,
    cluster: Cluster,
    quotas: Quotas,
    coordinator: Coordinator,
    clock: Clock,
    request_memory: Arc<Budget>,
    response_memory: Arc<Budget>,
    reconfigured: Notify,
    stopping: watch::Sender<bool>,
}

impl Node {
    /// Reads what the folder holds.
    pub(crate) fn open(config: Config, folder: Folder, address: SocketAddr) -> Result<Node, FolderError> {
        let cluster = Cluster::open(folder.root())?;
        let quotas = Quotas::default();
        quotas.set(&cluster.memory().quotas);
        let defaults = Settings::default();
        let shortest = i64::try_from(config.min_session_timeout.as_millis()).unwrap_or(i64::MAX);
        let settings = Settings {
            session_timeout_ms: shortest..=*defaults.session_timeout_ms.end(),
            initial_rebalance_delay_ms: i64::try_from(config.initial_rebalance_delay.as_millis()).unwrap_or(i64::MAX),
            ..defaults
        };
        let coordinator = Coordinator::new(settings, cluster.memory().next_producer_id);
        let dynamic = cluster.memory().configs.clone();
        let topics = Topics::open(folder.root(), config.flush, config.limits.partitions, dynamic)?;
        Ok(Node {
            address,
            topics,
            cluster,
            quotas,
            coordinator,
            clock: Clock::new(),
            request_memory: Budget::new(config.limits.request_memory),
            response_memory: Budget::new(config.limits.response_memory),
            reconfigured: Notify::new(),
            stopping: watch::Sender::new(false),
            folder,
            config,
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Where the broker listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn cluster_id(&self) -> &str {
        self.folder.cluster_id()
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn request_memory(&self) -> &Arc<Budget> {
        &self.request_memory
    }

    pub(crate) fn response_memory(&self) -> &Arc<Budget> {
        &self.response_memory
    }

    /// How many connections there may be.
    pub(crate) fn connection_limit(&self) -> usize {
        let memory = self.cluster.memory();
        let told = memory.configs.get("max.connections").and_then(|value| value.parse().ok());
        told.unwrap_or(self.config.limits.connections)
    }

    /// Tells those who wait when a config of the broker was changed.
    pub(crate) fn reconfigured(&self) -> &Notify {
        &self.reconfigured
    }

    /// Becomes true when the broker stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Flushes and closes all logs; the folder goes with the last holder of the node.
    pub(crate) fn close(&self) {
        self.close_logs();
        self.folder.close();
    }

    /// Where clients are to connect: what was advertised, else where the broker listens, else, if that is everywhere, where this
    /// client came to.
    pub(crate) fn advertised(&self, local: SocketAddr) -> (Text, u16) {
        match &self.config.advertised {
            Some((host, port)) => (Text::from(host.as_str()), *port),
            None if self.address.ip().is_unspecified() => (Text::from(local.ip().to_string()), local.port()),
            None => (Text::from(self.address.ip().to_string()), self.address.port()),
        }
    }

    /// What the broker was started with, as DescribeConfigs shows it.
    pub(crate) fn started(&self) -> Started {
        let Config { limits, .. } = &self.config;
        let (host, port) = self.advertised(self.address);
        let number = |number: usize| number.to_string();
        vec![
            ("advertised.listeners", Kind::List, format!("PLAINTEXT://{host}:{port}")),
            ("auto.create.topics.enable", Kind::Boolean, self.config.auto_create_topics.to_string()),
            ("broker.id", Kind::Int, NODE_ID.to_string()),
            ("connections.max.idle.ms", Kind::Long, limits.idle.as_millis().to_string()),
            ("fetch.max.bytes", Kind::Int, number(limits.fetch)),
            (
                "group.initial.rebalance.delay.ms",
                Kind::Int,
                self.config.initial_rebalance_delay.as_millis().to_string(),
            ),
            ("listeners", Kind::List, format!("PLAINTEXT://{}", self.address)),
            ("log.dirs", Kind::List, self.folder.root().display().to_string()),
            ("max.connections", Kind::Int, number(limits.connections)),
            ("node.id", Kind::Int, NODE_ID.to_string()),
            ("num.partitions", Kind::Int, self.config.default_partitions.to_string()),
            ("offsets.topic.num.partitions", Kind::Int, "1".into()),
            ("offsets.topic.replication.factor", Kind::Short, "1".into()),
            ("process.roles", Kind::List, "broker,controller".into()),
            ("queued.max.request.bytes", Kind::Long, number(limits.request_memory)),
            ("socket.request.max.bytes", Kind::Int, number(limits.request)),
            ("transaction.state.log.num.partitions", Kind::Int, "1".into()),
            ("transaction.state.log.replication.factor", Kind::Short, "1".into()),
        ]
    }
}
