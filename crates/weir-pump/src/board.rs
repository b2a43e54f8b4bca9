//! What a pump says about itself, and the little its threads share, whichever lane they run.
//!
//! The status is for the service; the [`Board`] is between the workers, whoever looks after the cluster for them, and the
//! owner of the pump.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Ledger, PumpConfig, Route};

/// A snapshot of a pump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the cluster answers; the reason if it does not. `None` before the first answer or failure.
    pub cluster: Option<Result<(), String>>,
    /// The workers, by index.
    pub workers: Vec<WorkerState>,
    /// The partitions this process has been assigned.
    pub partitions: Vec<PartitionStatus>,
    /// Output topics that cannot be written to yet, and why.
    pub missing: BTreeMap<String, String>,
}

impl Status {
    /// Whether records can flow: the cluster answers, all workers run, every output topic is there.
    pub fn is_ready(&self) -> bool {
        self.cluster == Some(Ok(()))
            && self.missing.is_empty()
            && self.workers.iter().all(|worker| matches!(worker, WorkerState::Running))
    }

    /// Why records cannot flow, in words; empty if they can.
    pub fn reasons(&self) -> Vec<String> {
        let cluster = match &self.cluster {
            Some(Ok(())) => None,
            Some(Err(reason)) => Some(format!("cluster: {reason}")),
            None => Some("cluster: not reached yet".to_owned()),
        };
        let workers = self.workers.iter().enumerate().filter_map(|(index, state)| match state {
            WorkerState::Running | WorkerState::Stopped => None,
            WorkerState::Starting => Some(format!("worker {index}: starting")),
            WorkerState::Waiting(reason) | WorkerState::Failed(reason) => Some(format!("worker {index}: {reason}")),
        });
        let missing = self.missing.iter().map(|(topic, reason)| format!("topic {topic}: {reason}"));
        let stalled = self.partitions.iter().filter_map(|partition| {
            let reason = partition.stalled.as_ref()?;
            Some(format!("topic {} partition {}: {reason}", partition.topic, partition.partition))
        });
        cluster.into_iter().chain(workers).chain(missing).chain(stalled).collect()
    }
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Not a member of the group yet.
    Starting,
    /// Polling.
    Running,
    /// Waiting for the cluster, for this reason; it goes on by itself.
    Waiting(String),
    /// Ended because the pump was stopped.
    Stopped,
    /// Ended for good.
    Failed(String),
}

/// One assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The source topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The worker it belongs to.
    pub worker: usize,
    /// The next offset to be judged; `None` until the first record came.
    pub position: Option<i64>,
    /// How many offsets lie ahead, at most a second old; `None` until the partition was fetched from.
    pub lag: Option<u64>,
    /// Why the partition is paused, if it is.
    pub stalled: Option<String>,
}

/// How a topic compresses, whatever its producers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip
    Gzip,
    /// Snappy
    Snappy,
    /// LZ4
    Lz4,
    /// Zstandard
    Zstd,
}

impl Compression {
    /// What `compression.type` says; `None` where that is the producer's choice.
    pub fn of(setting: &str) -> Option<Compression> {
        Some(match setting {
            "uncompressed" | "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => return None,
        })
    }
}

/// The limits of an output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimit {
    /// `max.message.bytes`, in bytes.
    pub bytes: usize,
    /// `compression.type`, where it is not the producer's choice.
    pub compression: Option<Compression>,
    /// Its number of partitions.
    pub partitions: i32,
}

#[derive(Default)]
struct Notes {
    cluster: Option<Result<(), String>>,
    workers: Vec<WorkerState>,
    partitions: Vec<Vec<PartitionStatus>>,
    limits: BTreeMap<String, Result<TopicLimit, String>>,
    failure: Option<String>,
    stop_by: Option<Instant>,
    ended: usize,
    routes: Arc<Vec<Route>>,
}

/// What the threads of a pump share.
pub struct Board {
    /// How the pump runs.
    pub config: PumpConfig,
    /// The books of all workers.
    pub ledger: Arc<Ledger>,
    board: Mutex<Notes>,
    changed: Condvar,
    stopping: AtomicBool,
    routes_version: AtomicU64,
    limits_wanted: AtomicBool,
    /// Per worker: milliseconds since `epoch` at which a call began that may not return, 0 if there is none.
    busy: Vec<AtomicU64>,
    epoch: Instant,
}

impl Board {
    /// The board of a pump that is about to start.
    pub fn new(config: PumpConfig, routes: Vec<Route>) -> Board {
        let workers = config.workers;
        let notes = Notes {
            workers: vec![WorkerState::Starting; workers],
            partitions: vec![Vec::new(); workers],
            routes: Arc::new(routes),
            ..Notes::default()
        };
        Board {
            config,
            ledger: Arc::new(Ledger::default()),
            board: Mutex::new(notes),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            routes_version: AtomicU64::new(1),
            limits_wanted: AtomicBool::new(true),
            busy: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            epoch: Instant::now(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Notes> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot.
    pub fn status(&self) -> Status {
        let board = self.board();
        let mut missing = BTreeMap::new();
        for topic in outputs(&board.routes) {
            let reason = match board.limits.get(topic) {
                Some(Ok(_)) => continue,
                Some(Err(reason)) => reason.clone(),
                None => "not looked up yet".to_owned(),
            };
            missing.insert(topic.to_owned(), reason);
        }
        Status {
            cluster: board.cluster.clone(),
            workers: board.workers.clone(),
            partitions: board.partitions.concat(),
            missing,
        }
    }

    /// Notes whether the cluster answers.
    pub fn set_cluster(&self, answer: Result<(), String>) {
        self.board().cluster = Some(answer);
    }

    /// Notes what a worker is doing.
    pub fn set_state(&self, worker: usize, state: WorkerState) {
        if let Some(slot) = self.board().workers.get_mut(worker) {
            *slot = state;
        }
    }

    /// Notes the partitions of a worker.
    pub fn set_partitions(&self, worker: usize, partitions: Vec<PartitionStatus>) {
        if let Some(slot) = self.board().partitions.get_mut(worker) {
            *slot = partitions;
        }
    }

    /// The routes and their version.
    pub fn routes(&self) -> (u64, Arc<Vec<Route>>) {
        let board = self.board();
        (self.routes_version(), Arc::clone(&board.routes))
    }

    /// Changes with the routes.
    pub fn routes_version(&self) -> u64 {
        self.routes_version.load(Ordering::Acquire)
    }

    /// Replaces the routes.
    pub fn set_routes(&self, routes: Vec<Route>) {
        let mut board = self.board();
        board.routes = Arc::new(routes);
        self.routes_version.fetch_add(1, Ordering::AcqRel);
        drop(board);
        self.want_limits();
    }

    /// The limit of an output topic, or why it cannot be written to.
    pub fn limit(&self, topic: &str) -> Result<TopicLimit, String> {
        let known = self.board().limits.get(topic).cloned();
        known.unwrap_or_else(|| {
            self.want_limits();
            Err(format!("output topic {topic} is being looked up"))
        })
    }

    /// The limit of an output topic that has the partition, or why it cannot be written to.
    pub fn writable(&self, topic: &str, partition: i32) -> Result<TopicLimit, String> {
        let limit = self.limit(topic).map_err(|reason| format!("output topic {topic}: {reason}"))?;
        if partition >= limit.partitions {
            self.want_limits();
            return Err(format!(
                "output topic {topic} has {} partitions, too few for partition {partition}; add partitions to it",
                limit.partitions
            ));
        }
        Ok(limit)
    }

    /// The transactional id of a worker, and its name as a static member of the group.
    pub fn worker_name(&self, worker: usize) -> String {
        format!("{}.{}.{worker}", self.config.group, self.config.instance)
    }

    /// What to tell the operator when two processes use one transactional id.
    pub fn fenced(&self, worker: usize) -> String {
        format!(
            "fenced: another living process uses the transactional id {}; give every process an instance name of its own",
            self.worker_name(worker)
        )
    }

    /// The smallest limit of all output topics, in bytes.
    pub fn smallest_limit(&self) -> Option<usize> {
        self.board().limits.values().filter_map(|limit| limit.as_ref().ok()).map(|limit| limit.bytes).min()
    }

    /// Notes what was looked up.
    pub fn set_limits(&self, limits: BTreeMap<String, Result<TopicLimit, String>>) {
        self.board().limits = limits;
    }

    /// A limit turned out wrong: partitions that need it wait until it is looked up again.
    pub fn forget_limit(&self, topic: &str) {
        self.board().limits.remove(topic);
        self.want_limits();
    }

    /// Has the limits looked up soon.
    pub fn want_limits(&self) {
        self.limits_wanted.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether limits are wanted soon; asks once.
    pub fn take_limits_wanted(&self) -> bool {
        self.limits_wanted.swap(false, Ordering::AcqRel)
    }

    /// Sleeps up to `pause`, less if limits are wanted or the pump ends.
    pub fn rest(&self, pause: Duration) {
        let board = self.board();
        if !self.limits_wanted.load(Ordering::Acquire) {
            drop(self.changed.wait_timeout(board, pause));
        }
    }

    /// Asks the workers to end by then.
    pub fn stop(&self, by: Instant) {
        let mut board = self.board();
        board.stop_by = Some(board.stop_by.map_or(by, |earlier| earlier.min(by)));
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether the workers were asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// When everything has to have ended; `None` while nobody asked for it.
    pub fn stop_by(&self) -> Option<Instant> {
        self.board().stop_by
    }

    /// Why a worker has ended for good, if one has.
    pub fn failure(&self) -> Option<String> {
        self.board().failure.clone()
    }

    /// Notes that a worker's thread is at its end, or must be taken for it.
    pub fn ended(&self, worker: usize, how: Result<(), String>) {
        let mut board = self.board();
        board.ended += 1;
        let state = match how {
            Ok(()) => WorkerState::Stopped,
            Err(reason) => {
                tracing::error!(worker, reason, "worker ended for good");
                board.failure.get_or_insert(format!("worker {worker}: {reason}"));
                WorkerState::Failed(reason)
            }
        };
        board.workers[worker] = state;
        board.partitions[worker].clear();
        self.changed.notify_all();
    }

    /// The watchdog gave a worker up; its thread may still come back.
    pub fn stuck(&self, worker: usize, reason: String) {
        let mut board = self.board();
        if !matches!(board.workers[worker], WorkerState::Failed(_)) {
            tracing::error!(worker, reason, "worker is stuck");
            board.failure.get_or_insert(format!("worker {worker}: {reason}"));
            board.workers[worker] = WorkerState::Failed(reason);
        }
    }

    /// Waits until all workers have ended, at most for `deadline`, and says how many have not.
    pub fn wait_for_end(&self, deadline: Duration) -> usize {
        let all = self.config.workers;
        let waited = self.changed.wait_timeout_while(self.board(), deadline, |board| board.ended < all);
        all - waited.map_or_else(|poisoned| poisoned.into_inner().0.ended, |(board, _)| board.ended)
    }

    /// Whether all workers have ended.
    pub fn has_ended(&self) -> bool {
        self.board().ended >= self.config.workers
    }

    /// Runs a call that may never return, under the watchdog's eyes.
    pub fn watched<T>(&self, worker: usize, call: impl FnOnce() -> T) -> T {
        let now = self.epoch.elapsed().as_millis().max(1);
        self.busy[worker].store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
        let result = call();
        self.busy[worker].store(0, Ordering::Release);
        result
    }

    /// For how long a worker has been in such a call.
    pub fn busy_for(&self, worker: usize) -> Option<Duration> {
        match self.busy[worker].load(Ordering::Acquire) {
            0 => None,
            since => Some(self.epoch.elapsed().saturating_sub(Duration::from_millis(since))),
        }
    }
}

/// The output topics of routes.
pub fn outputs(routes: &[Route]) -> impl Iterator<Item = &str> {
    routes.iter().flat_map(|route| [route.accepted.as_str(), route.quarantine.as_str()])
}
