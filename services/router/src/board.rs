//! What the workers tell of themselves: for the status page, the metrics and readiness.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::task::Counts;

/// What became of the records of one view, in this process since it started. Only what is committed counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Records read, of all products and views that it reads.
    pub received: u64,
    /// Records written.
    pub emitted: u64,
    /// Tombstones among them.
    pub deleted: u64,
    /// Entries of its quarantine.
    pub quarantined: u64,
    /// Records whose windows had closed.
    pub late: u64,
    /// Records without the key they would have been joined or grouped by.
    pub no_key: u64,
    /// Records that made a row due that has no value, and is not in the output.
    pub undefined: u64,
    /// Entries restored from the changelog.
    pub restored: u64,
    /// Entries of partitions of others that were copied from the changelog.
    pub copied: u64,
}

/// A task as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStatus {
    /// The number of the stage of the view, from 0.
    pub stage: usize,
    /// The partition.
    pub partition: i32,
    /// The worker it runs on.
    pub worker: usize,
    /// Records of its inputs that wait.
    pub lag: i64,
    /// Why it waits, if it does.
    pub waits: Option<String>,
    /// The next offset of each input.
    pub positions: BTreeMap<String, i64>,
}

#[derive(Default)]
struct Inner {
    totals: BTreeMap<String, Total>,
    /// By worker, then by view.
    tasks: BTreeMap<usize, BTreeMap<String, Vec<TaskStatus>>>,
    /// Views that cannot run, and why; by worker.
    blocked: BTreeMap<usize, BTreeMap<String, String>>,
    /// Why a worker as a whole waits.
    waits: BTreeMap<usize, String>,
    failure: Option<String>,
}

/// The board all workers write on.
#[derive(Default)]
pub struct Board(Mutex<Inner>);

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was committed for a view.
    pub fn add(&self, view: &str, counts: &Counts) {
        let mut inner = self.inner();
        let total = match inner.totals.get_mut(view) {
            Some(total) => total,
            None => inner.totals.entry(view.to_owned()).or_default(),
        };
        total.received += counts.received;
        total.emitted += counts.written.emitted;
        total.deleted += counts.written.deleted;
        total.quarantined += counts.written.quarantined;
        total.late += counts.late;
        total.no_key += counts.no_key;
        total.undefined += counts.undefined;
    }

    /// Adds entries that were restored for a view.
    pub fn add_restored(&self, view: &str, count: u64) {
        self.inner().totals.entry(view.to_owned()).or_default().restored += count;
    }

    /// Adds entries that were copied for a view.
    pub fn add_copied(&self, view: &str, count: u64) {
        self.inner().totals.entry(view.to_owned()).or_default().copied += count;
    }

    /// Sets what a worker has.
    pub fn set_tasks(&self, worker: usize, tasks: BTreeMap<String, Vec<TaskStatus>>) {
        self.inner().tasks.insert(worker, tasks);
    }

    /// Sets which views a worker finds it cannot run.
    pub fn set_blocked(&self, worker: usize, blocked: BTreeMap<String, String>) {
        self.inner().blocked.insert(worker, blocked);
    }

    /// Sets why a worker waits as a whole; nothing where it works.
    pub fn set_waits(&self, worker: usize, reason: Option<String>) {
        let mut inner = self.inner();
        match reason {
            Some(reason) => drop(inner.waits.insert(worker, reason)),
            None => drop(inner.waits.remove(&worker)),
        }
    }

    /// Notes that a worker ended for good.
    pub fn fail(&self, worker: usize, reason: String) {
        tracing::error!(worker, reason, "worker ended for good");
        self.inner().failure.get_or_insert(format!("worker {worker}: {reason}"));
    }

    /// Why a worker ended for good, if one did.
    pub fn failure(&self) -> Option<String> {
        self.inner().failure.clone()
    }

    /// The totals of every view.
    pub fn totals(&self) -> BTreeMap<String, Total> {
        self.inner().totals.clone()
    }

    /// The tasks of a view in this process.
    pub fn tasks(&self, view: &str) -> Vec<TaskStatus> {
        let inner = self.inner();
        let mut tasks: Vec<TaskStatus> =
            inner.tasks.values().filter_map(|views| views.get(view)).flatten().cloned().collect();
        tasks.sort_by_key(|task| task.partition);
        tasks
    }

    /// Why a view cannot run at all, if it cannot.
    pub fn blocked(&self, view: &str) -> Option<String> {
        self.inner().blocked.values().find_map(|views| views.get(view).cloned())
    }

    /// Everything that is waited for.
    pub fn reasons(&self) -> Vec<String> {
        let inner = self.inner();
        let mut reasons: Vec<String> = inner.waits.values().cloned().collect();
        let blocked = inner.blocked.values().flatten().map(|(view, reason)| format!("view {view}: {reason}"));
        reasons.extend(blocked);
        for (view, tasks) in inner.tasks.values().flatten() {
            let waits = tasks.iter().filter_map(|task| Some((task.partition, task.waits.as_ref()?)));
            reasons.extend(waits.map(|(partition, reason)| format!("view {view}, partition {partition}: {reason}")));
        }
        reasons.sort();
        reasons.dedup();
        reasons
    }
}
