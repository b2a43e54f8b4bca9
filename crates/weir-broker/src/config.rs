//! What a broker is started with: plain values. Nothing here reads files or the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::log::Flush;

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// This folder; it is made when it is missing, and survives the broker.
    Folder(PathBuf),
    /// A new folder inside this one, removed when the broker stops. What a killed broker left there is removed by the next.
    Ephemeral(PathBuf),
}

/// The settings of one broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the data lies.
    pub data: Data,
    /// The address to listen on; port 0 takes a free one. Anything but loopback is served too, with a warning: there is no
    /// authentication.
    pub listen: SocketAddr,
    /// The host and port that clients are told to connect to. Without it they are told the address they came to.
    pub advertised: Option<(String, u16)>,
    /// When an acknowledged record is durable.
    pub flush: Flush,
    /// Whether a topic that a client asks for by name is made, as `auto.create.topics.enable` of Kafka.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is made without saying how many (`num.partitions`).
    pub default_partitions: i32,
    /// How long an empty group waits for more members before its first assignment (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay: Duration,
    /// The shortest session timeout that a member of a group may ask for (`group.min.session.timeout.ms`).
    pub min_session_timeout: Duration,
    /// The bounds that keep clients from starving each other.
    pub limits: Limits,
}

impl Config {
    /// The settings of a broker on loopback with Kafka's defaults where they suit one node.
    #[must_use]
    pub fn new(data: Data) -> Config {
        Config {
            data,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092),
            advertised: None,
            flush: Flush::Os,
            auto_create_topics: false,
            default_partitions: 1,
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_secs(6),
            limits: Limits::default(),
        }
    }
}

/// The bounds that keep clients from starving each other. All sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest request (`socket.request.max.bytes`). One that claims more closes its connection.
    pub request: usize,
    /// Memory that all requests together may take while they are read and handled (`queued.max.request.bytes`), besides
    /// [`Limits::request_share`] per connection. One request beyond it is always let through, so that none waits forever.
    pub request_memory: usize,
    /// Request bytes each connection may hold without asking the common memory.
    pub request_share: usize,
    /// Memory that the answers to fetches may take while their clients read them.
    pub response_memory: usize,
    /// The longest answer to one fetch (`fetch.max.bytes`); clients may ask for less.
    pub fetch: usize,
    /// Connections at a time (`max.connections`); more are closed at once.
    pub connections: usize,
    /// How long a connection may be idle (`connections.max.idle.ms`).
    pub idle: Duration,
    /// How long a request may take to arrive once its first byte has, and an answer to be read by its client.
    pub transfer: Duration,
    /// Partitions of all topics together.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request: 100 << 20,
            request_memory: 48 << 20,
            request_share: 16 << 10,
            response_memory: 48 << 20,
            fetch: 8 << 20,
            connections: 10_000,
            idle: Duration::from_secs(600),
            transfer: Duration::from_secs(30),
            partitions: 20_000,
        }
    }
}
