//! The rdkafka lane of the pump: source topic to accepted or quarantine topic, each record once.
//!
//! Every worker is one operating-system thread with one consumer, a member of the group, and one transactional
//! producer. It polls records, shows them to its stage as runs of one partition, performs the actions, and commits
//! records and offsets together about every 100 ms. Output partition = input partition, so order is kept without a
//! partitioner. What bites on the way is handled where it bites, each with its comment:
//!
//! * [`worker`]: the loop, rebalances, stalls, shutdown; [`lane`]: what it knows of each partition;
//! * [`transaction`]: the producer's life: lazy begin, drain, commit, abort, rebuild after a doubtful end;
//! * [`unreadable`]: finding the damaged batch behind an error that does not say where;
//! * [`output`]: writing what the stage decided, within the limits of the topics;
//! * [`observer`]: one thread beside the workers: limits, health, the watchdog;
//! * [`status`]: what all of them say about themselves.
//!
//! Not `StreamConsumer` (it loses wake-ups), not `split_partition_queue` (it gets stuck and reorders).

#[doc(hidden)]
pub mod baseline;
mod context;
mod lane;
mod observer;
mod output;
mod status;
mod transaction;
mod unreadable;
mod worker;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use weir_pump::{Ledger, Route, Stage};

use crate::{ClusterConfig, Error};
use observer::Observer;
use status::Shared;
pub use status::{PartitionStatus, Status, WorkerState};

/// Makes the stage of the worker with the given index.
pub type StageMaker = dyn Fn(usize) -> Box<dyn Stage + Send> + Send + Sync;

/// How the members of the group agree on who reads what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Classic protocol, cooperative-sticky: a partition that stays is never interrupted (KIP-429).
    #[default]
    Cooperative,
    /// Classic protocol, range and round-robin: every rebalance stops the world.
    Eager,
    /// The coordinator assigns (KIP-848, `group.protocol=consumer`); needs Apache Kafka 4.0. The session timeout is then
    /// the broker's.
    Consumer,
}

/// How a pump runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PumpConfig {
    /// The consumer group: all pumps with the same group share the partitions.
    pub group: String,
    /// Names this process within the group, the same after a restart, different from every other living one: worker w
    /// has the transactional id `<group>.<instance>.<w>`.
    pub instance: String,
    /// Whether a worker is a static member of the group (KIP-345), named like its transactional id: after a crash its successor has
    /// the partitions at once, not after the session timeout. When the process ends for good the others wait for as long.
    pub static_members: bool,
    /// How many worker threads. More than there are partitions are of no use.
    pub workers: usize,
    /// How partitions are shared out.
    pub protocol: GroupProtocol,
    /// How long a transaction stays open; a small one costs the broker five times as much per event.
    pub commit_interval: Duration,
    /// A transaction with this many records is committed before its time.
    pub transaction_records: usize,
    /// A transaction with this many bytes of keys and values is committed before its time.
    pub transaction_bytes: usize,
    /// After this long the coordinator aborts a transaction whose owner is silent. Below the session timeout: the
    /// records of a dead worker must be undone before another reads them again.
    pub transaction_timeout: Duration,
    /// After this long without a heartbeat a member loses its partitions.
    pub session_timeout: Duration,
    /// How long a stalled partition waits before it is tried again: at first and at most, doubling in between.
    pub stall_backoff: (Duration, Duration),
    /// How long a call into the client may take while the cluster answers, before the worker is given up as stuck.
    pub watchdog: Duration,
}

impl PumpConfig {
    /// The defaults: one worker, 100 ms or 100,000 records or 32 MiB per transaction, 8 s transaction timeout and 10 s
    /// session timeout, stalls retried after 100 ms to 2 s, a stuck call given up after 60 s.
    pub fn new(group: impl Into<String>, instance: impl Into<String>) -> PumpConfig {
        PumpConfig {
            group: group.into(),
            instance: instance.into(),
            static_members: false,
            workers: 1,
            protocol: GroupProtocol::Cooperative,
            commit_interval: Duration::from_millis(100),
            transaction_records: 100_000,
            transaction_bytes: 32 << 20,
            transaction_timeout: Duration::from_secs(8),
            session_timeout: Duration::from_secs(10),
            stall_backoff: (Duration::from_millis(100), Duration::from_secs(2)),
            watchdog: Duration::from_secs(60),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let refuse = |option: &str, reason: &str| Err(Error::config(option, reason));
        if self.group.is_empty() || self.instance.is_empty() {
            return refuse("group, instance", "must not be empty: they name the owner of the transactions");
        }
        if self.workers == 0 {
            return refuse("workers", "must be at least 1");
        }
        if self.transaction_timeout >= self.session_timeout {
            return refuse(
                "transaction timeout",
                "must be shorter than the session timeout: what a dead worker left open must be undone before its \
                 partitions are read by another",
            );
        }
        if self.commit_interval * 2 > self.transaction_timeout {
            return refuse("commit interval", "must be at most half the transaction timeout");
        }
        if self.transaction_records == 0 || self.transaction_bytes == 0 {
            return refuse("transaction records, transaction bytes", "must be at least 1");
        }
        Ok(())
    }
}

/// The pump did not stop in time. Its threads are of no more use: exit the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{workers} of the pump's workers did not stop within {deadline:?}; exit the process")]
pub struct Hung {
    /// How many workers still run.
    pub workers: usize,
    /// How long they were given.
    pub deadline: Duration,
}

/// A running pump. Dropping it asks the workers to stop and does not wait for them.
pub struct Pump {
    shared: Arc<Shared>,
}

impl Pump {
    /// Starts the workers. Neither the cluster nor the topics need to be there yet: what is missing is waited for and
    /// shown in [`Pump::status`].
    ///
    /// # Errors
    /// [`Error::Config`] for settings or routes that cannot work.
    pub fn start(
        cluster: &ClusterConfig,
        config: PumpConfig,
        routes: Vec<Route>,
        stages: Arc<StageMaker>,
    ) -> Result<Pump, Error> {
        config.validate()?;
        check_routes(&routes)?;
        let observer = Observer::new(cluster)?;
        let shared = Arc::new(Shared::new(cluster.clone(), config, routes));
        // A first client of each kind, so that a property the client refuses is reported here and not in a thread.
        worker::check_config(&shared)?;
        for index in 0..shared.config.workers {
            let (shared, stages) = (Arc::clone(&shared), Arc::clone(&stages));
            spawn(format!("weir-pump-{index}"), move || {
                // A panic (in a stage, say) must not leave a worker that is gone and nobody knows.
                let ended = catch_unwind(AssertUnwindSafe(|| worker::run(&shared, index, stages(index))))
                    .unwrap_or_else(|_| Err("the worker panicked; this is a fault of the program".to_owned()));
                shared.ended(index, ended);
            })?;
        }
        let watched = Arc::clone(&shared);
        spawn("weir-pump-observer".to_owned(), move || observer.run(&watched))?;
        Ok(Pump { shared })
    }

    /// Replaces the routes. Workers finish their transaction under the old ones first; no restart, and partitions of
    /// routes that stay are not interrupted.
    ///
    /// # Errors
    /// [`Error::Config`] if two routes read the same topic or one writes where another reads; the old ones then stay.
    pub fn set_routes(&self, routes: Vec<Route>) -> Result<(), Error> {
        check_routes(&routes)?;
        self.shared.set_routes(routes);
        Ok(())
    }

    /// What the pump is doing.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The books of all workers.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Why a worker has ended for good, if one has: fenced by another instance, stuck, or panicked. The process should
    /// then exit, and say this.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// Stops: no more polling, the open transactions are committed or aborted, the group is left. Waits up to
    /// `deadline`.
    ///
    /// # Errors
    /// [`Hung`] if a worker did not get there in time: leaving a group or the end of a transaction can hang in the
    /// client. Nothing is lost by exiting then; the coordinator undoes what was open.
    pub fn stop(&self, deadline: Duration) -> Result<(), Hung> {
        self.shared.stop(Instant::now() + deadline);
        match self.shared.wait_for_end(deadline) {
            0 => Ok(()),
            workers => Err(Hung { workers, deadline }),
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.shared.stop(Instant::now() + Duration::from_secs(5));
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new()
        .name(name.clone())
        .spawn(body)
        .map(drop)
        .map_err(|error| Error::Refused { action: format!("start thread {name}"), reason: error.to_string() })
}

fn check_routes(routes: &[Route]) -> Result<(), Error> {
    let mut sources = BTreeSet::new();
    for route in routes {
        if !sources.insert(route.source.as_str()) {
            return Err(Error::config("routes", format!("two routes read topic {}; keep one", route.source)));
        }
    }
    for route in routes {
        for output in [&route.accepted, &route.quarantine] {
            if sources.contains(output.as_str()) {
                return Err(Error::config(
                    "routes",
                    format!("topic {output} is written by one route and read by another, which would be a loop"),
                ));
            }
        }
    }
    Ok(())
}
