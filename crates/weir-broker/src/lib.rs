//! The embedded broker: one node that speaks Kafka's protocol on a folder of its own, for laptops and tests.
//!
//! It is honest about what it is: one node, no replication, loopback unless told otherwise. Production stays Apache Kafka, and no
//! service can tell which of the two it runs on.
//!
//! ```text
//! socket ─ net ─ handlers ─┬─ topics ── log             the catalog, and one log for each partition
//!                          ├─ coordinator ─┬─ groups         state machines that say what is to be written and answered,
//!                          │               └─ transactions   and know no clock, no disk and no socket
//!                          ├─ cluster, configs, quotas       what is kept in one small file
//!                          └─ budget                         memory that all connections share
//! ```
//!
//! A request is cut out of the stream by `net`, served by the one function of `handlers` for its API, and answered before the next one
//! of the same connection is looked at. The folder is the truth: a change is on the disk before it is in memory, and in memory before it
//! is answered. `flush` decides whether "on the disk" outlives the machine or only the process.

mod budget;
mod clock;
mod cluster;
pub mod config;
pub mod configs;
mod coordinator;
pub mod folder;
pub mod groups;
mod handlers;
pub mod log;
mod net;
mod node;
mod quotas;
pub mod topics;
pub mod transactions;
mod upkeep;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use config::{Config, Data, Limits};
pub use coordinator::RecoverError;
pub use folder::FolderError;
pub use log::Flush;

use folder::Folder;
use node::Node;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on, most often because something else does.
    #[error("cannot listen on {address} for Kafka clients: {source}; choose another address with {setting}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that says it.
        setting: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What groups and transactions wrote before cannot be taken up.
    #[error("the broker's own state cannot be read: {0}")]
    Recover(#[from] RecoverError),
}

/// A broker that runs. When it is dropped without [`Broker::stop`] it ends as if it was killed, which harms nothing.
pub struct Broker {
    node: Arc<Node>,
    /// What accepts connections, and what keeps time.
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.node.stop();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("address", &self.node.address()).finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts a broker; when this returns, clients can connect.
    ///
    /// # Errors
    /// When the folder cannot be used or the address not be listened on.
    pub async fn start(config: Config) -> Result<Broker, StartError> {
        let listen = |source| StartError::Listen { address: config.listen, setting: "--broker-listen", source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the broker can be reached from other machines, and asks nobody who they are");
        }
        let opening = tokio::task::spawn_blocking(move || {
            let folder = Folder::open(&config.data)?;
            let node = Arc::new(Node::open(config, folder, address)?);
            node.open_logs();
            node.recover()?;
            Ok::<_, StartError>(node)
        });
        let node = opening.await.map_err(|error| FolderError::interrupted(error.to_string()))??;
        tracing::info!(
            %address,
            folder = %node.folder().root().display(),
            cluster = node.cluster_id(),
            topics = node.topics().all().len(),
            "broker started"
        );
        let tasks = vec![
            tokio::spawn(net::accept(listener, Arc::clone(&node))),
            tokio::spawn(Arc::clone(&node).keep_time()),
            tokio::spawn(Arc::clone(&node).look_after()),
            tokio::spawn(Arc::clone(&node).compact()),
        ];
        Ok(Broker { node, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// What clients take as `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let (host, port) = self.node.advertised(self.node.address());
        format!("{host}:{port}")
    }

    /// The id of the cluster, made with its folder.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        self.node.cluster_id()
    }

    /// Ends requests that run, writes down what recovery would have to find out, and lets the folder go.
    pub async fn stop(mut self) {
        self.node.stop();
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the broker ended badly");
            }
        }
        let node = Arc::clone(&self.node);
        let closing = tokio::task::spawn_blocking(move || {
            node.close();
            tracing::info!("broker stopped");
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "closing ended badly");
        }
    }
}
