//! What has to be done from time to time: opening all logs at the start, and their retention and compaction.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::now_ms;
use crate::log::{Log, LogError};
use crate::node::Node;
use crate::topics::Partition;

/// How often logs are looked after.
const INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of all logs together that recovery may have to read, which takes some 100 ms where batches are large and a second where each
/// holds one small record. A log of its own is bounded by its upkeep; many small ones are not.
const RECOVERY_BYTES: u64 = 256 << 20;
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
        let work = |node: &Node| {
            node.for_each_log(|log| log.maintain(now_ms()));
            node.bound_recovery(RECOVERY_BYTES);
        };
        self.every(|_| INTERVAL, work).await;
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
        self.every(Node::cleaner_backoff, move |node| node.for_each_log(compact)).await;
    }

    /// `log.cleaner.backoff.ms`: how long compaction pauses when it has looked at all logs.
    fn cleaner_backoff(&self) -> Duration {
        let memory = self.cluster().memory();
        let told = memory.configs.get("log.cleaner.backoff.ms").and_then(|value| value.trim().parse().ok());
        told.map_or(CLEANER_BACKOFF, Duration::from_millis).clamp(LEAST_BACKOFF, CLEANER_BACKOFF)
    }

    /// Does something again and again.
    async fn every(self: Arc<Node>, pause: fn(&Node) -> Duration, work: impl Fn(&Node) + Clone + Send + 'static) {
        let mut stopping = self.stopping();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                // The pause may be another one now.
                () = self.reconfigured().notified() => continue,
                () = tokio::time::sleep(pause(&self)) => {}
            }
            let (node, work) = (Arc::clone(&self), work.clone());
            if tokio::task::spawn_blocking(move || work(&node)).await.is_err() {
                tracing::error!("looking after the logs ended badly");
            }
        }
    }

    fn for_each_log(&self, work: impl Fn(&Log) -> Result<(), LogError>) {
        self.for_each_of(&self.partitions(), work);
    }

    /// Takes snapshots of the logs that recovery would read most of, until all together are within `most` bytes.
    fn bound_recovery(&self, most: u64) {
        let unread = |partition: &Arc<Partition>| partition.opened().map_or(0, Log::unread);
        let logs = self.partitions().into_iter().map(|partition| (unread(&partition), partition)).collect();
        self.for_each_of(&largest_beyond(most, logs), |log| log.checkpoint(1));
    }

    fn for_each_of(&self, partitions: &[Arc<Partition>], work: impl Fn(&Log) -> Result<(), LogError>) {
        for partition in partitions {
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

/// The largest that have to go for the sum of the others to be `most` or less.
fn largest_beyond<T>(most: u64, mut sizes: Vec<(u64, T)>) -> Vec<T> {
    sizes.sort_by_key(|(size, _)| Reverse(*size));
    let mut total: u64 = sizes.iter().map(|(size, _)| size).sum();
    let goes = |(size, _): &(u64, T)| {
        let beyond = total > most;
        total -= if beyond { *size } else { 0 };
        beyond
    };
    sizes.into_iter().take_while(goes).map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_taken_of_the_largest_until_the_rest_is_within_the_bound() {
        let check = |most, sizes: &[u64], expect: &[usize]| {
            let sizes: Vec<_> = sizes.iter().enumerate().map(|(at, size)| (*size, at)).collect();
            assert_eq!(largest_beyond(most, sizes), expect);
        };
        check(10, &[], &[]);
        check(10, &[4, 6], &[]);
        check(10, &[4, 7], &[1]);
        check(10, &[3, 3, 3, 3], &[0]);
        check(10, &[1, 20, 2, 30, 9], &[3, 1, 4]);
        check(0, &[0, 1], &[1]);
    }
}
