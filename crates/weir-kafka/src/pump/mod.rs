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
//! * [`choice`]: whether this lane runs at all, or [`weir_pump::native`] behind the same [`Pump`].
//!
//! Not `StreamConsumer` (it loses wake-ups), not `split_partition_queue` (it gets stuck and reorders).

#[doc(hidden)]
pub mod baseline;
mod choice;
pub(crate) mod context;
mod lane;
mod observer;
mod output;
mod pin;
mod shared;
mod transaction;
mod unreadable;
mod worker;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use weir_pump::{Ledger, Route, Stage, native};

use crate::{ClusterConfig, Error};
pub use choice::Lane;
use choice::{Choice, choose, native_cluster};
use observer::Observer;
use shared::Shared;
pub use weir_pump::{GroupProtocol, Hung, PartitionStatus, PumpConfig, Status, WorkerState};

/// Makes the stage of the worker with the given index.
pub type StageMaker = dyn Fn(usize) -> Box<dyn Stage + Send> + Send + Sync;

/// A running pump. Dropping it asks the workers to stop and does not wait for them.
pub struct Pump {
    shared: Arc<Shared>,
    lane: Lane,
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
        let Choice { lane, reason } = choose(cluster, config.protocol)?;
        let observer = Observer::new(cluster)?;
        let shared = Arc::new(Shared::new(cluster.clone(), config, routes));
        // A first client of each kind, so that a property the client refuses is reported here and not in a thread.
        worker::check_config(&shared)?;
        tracing::info!(%lane, reason, "lane chosen");
        let brokers = match lane {
            Lane::Native => {
                Some(native_cluster(cluster, shared.config.protocol).map_err(|e| Error::config("lane", e))?)
            }
            Lane::Auto | Lane::Rdkafka => None,
        };
        for index in 0..shared.config.workers {
            let (shared, stages, brokers) = (Arc::clone(&shared), Arc::clone(&stages), brokers.clone());
            let run = move |shared: &Shared, stage| match &brokers {
                Some(brokers) => native::run(shared, brokers, index, stage),
                None => worker::run(shared, index, stage),
            };
            spawn(format!("weir-pump-{index}"), move || {
                if shared.config.pin_cores {
                    pin::pin(index);
                }
                // A panic (in a stage, say) must not leave a worker that is gone and nobody knows.
                let ended = catch_unwind(AssertUnwindSafe(|| run(&shared, stages(index))))
                    .unwrap_or_else(|_| Err("the worker panicked; this is a fault of the program".to_owned()));
                shared.ended(index, ended);
            })?;
        }
        let watched = Arc::clone(&shared);
        spawn("weir-pump-observer".to_owned(), move || observer.run(&watched))?;
        Ok(Pump { shared, lane })
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

    /// The lane that runs: never `Auto`.
    pub fn lane(&self) -> Lane {
        self.lane
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
