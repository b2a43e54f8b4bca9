//! What has to be done from time to time: opening all logs at the start, and their retention and compaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::now_ms;
use crate::log::{Log, LogError};
use crate::node::Node;
use crate::topics::Partition;

/// How often logs are looked after.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long compaction pauses, at most and unless it is told otherwise.
const CLEANER_BACKOFF: Duration = Duration::from_secs(15);
/// How long it pauses whatever it is told.
const LEAST_BACKOFF: Duration = Duration::from_millis(50);
/// Threads that open and close logs.
const THREADS: usize = 8;

impl Node {
    /// Opens all logs. One that cannot be opened is reported, and tried again when it is asked for.
    pub(crate) fn open_logs(&self) {
        self.in_parallel(|partition| partition.log(now_ms()).map(drop));
    }

    /// Flushes and closes all logs that are open.
    pub(crate) fn close_logs(&self) {
        self.in_parallel(|partition| partition.opened().map_or(Ok(()), Log::close));
    }

    /// Does something with all partitions, several at a time: most of it is waiting for the disk.
    fn in_parallel(&self, work: impl Fn(&Partition) -> Result<(), LogError> + Sync) {
        let all = self.partitions();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(partition) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = work(partition) {
                    let (topic, partition) = (partition.topic(), partition.index());
                    tracing::error!(%topic, partition, %error, "cannot open or close a log");
                }
            }
        };
        thread::scope(|scope| {
            let others = THREADS.min(all.len()).saturating_sub(1);
            let spawned: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            work();
            spawned.into_iter().for_each(|thread| drop(thread.join()));
        });
    }

    /// Looks after the logs until the broker stops: rolling, retention, snapshots.
    pub(crate) async fn look_after(self: Arc<Node>) {
        self.every(|_| INTERVAL, |log| log.maintain(now_ms())).await;
    }

    /// Compacts logs, one at a time, until the broker stops. What runs is run to its end first.
    pub(crate) async fn compact(self: Arc<Node>) {
        let compact = |log: &Log| {
            let done = log.compact(now_ms())?;
            if done.passes > 0 {
                tracing::debug!(?log, read = done.read, written = done.written, "compacted");
            }
            Ok(())
        };
        self.every(Node::cleaner_backoff, compact).await;
    }

    /// `log.cleaner.backoff.ms`: how long compaction pauses when it has looked at all logs.
    fn cleaner_backoff(&self) -> Duration {
        let memory = self.cluster().memory();
        let told = memory.configs.get("log.cleaner.backoff.ms").and_then(|value| value.trim().parse().ok());
        told.map_or(CLEANER_BACKOFF, Duration::from_millis).clamp(LEAST_BACKOFF, CLEANER_BACKOFF)
    }

    /// Does something with all open logs again and again.
    async fn every(self: Arc<Node>, pause: fn(&Node) -> Duration, work: fn(&Log) -> Result<(), LogError>) {
        let mut stopping = self.stopping();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                // The pause may be another one now.
                () = self.reconfigured().notified() => continue,
                () = tokio::time::sleep(pause(&self)) => {}
            }
            let node = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || node.for_each_log(work)).await.is_err() {
                tracing::error!("looking after the logs ended badly");
            }
        }
    }

    fn for_each_log(&self, work: fn(&Log) -> Result<(), LogError>) {
        for partition in self.partitions() {
            if self.is_stopping() {
                return;
            }
            let Some(log) = partition.opened() else { continue };
            let done = work(log);
            // The files of a log that was deleted meanwhile are elsewhere.
            if let Err(error) = done
                && !partition.is_deleted()
            {
                tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "cannot look after a log");
            }
        }
    }

    fn partitions(&self) -> Vec<Arc<Partition>> {
        self.topics().all().iter().flat_map(|topic| topic.partitions().to_vec()).collect()
    }
}
