//! What has to be done from time to time: opening all logs at the start, and their retention and compaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::now_ms;
use crate::node::Node;
use crate::topics::Partition;

/// How often logs are looked after.
const INTERVAL: Duration = Duration::from_secs(5);
/// Threads that open logs.
const OPENERS: usize = 4;

impl Node {
    /// Opens all logs. One that cannot be opened is reported, and tried again when it is asked for.
    pub(crate) fn open_logs(&self) {
        let all = self.partitions();
        let next = AtomicUsize::new(0);
        let open = || {
            while let Some(partition) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = partition.log(now_ms()) {
                    tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "cannot open a log");
                }
            }
        };
        thread::scope(|scope| {
            let others = OPENERS.min(all.len()).saturating_sub(1);
            let spawned: Vec<_> = (0..others).map(|_| scope.spawn(open)).collect();
            open();
            spawned.into_iter().for_each(|thread| drop(thread.join()));
        });
    }

    /// Looks after the logs until the broker stops.
    pub(crate) async fn look_after(self: Arc<Node>) {
        let mut stopping = self.stopping();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let node = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || node.maintain()).await.is_err() {
                tracing::error!("looking after the logs ended badly");
            }
        }
    }

    fn maintain(&self) {
        for partition in self.partitions() {
            if self.is_stopping() {
                return;
            }
            let Some(log) = partition.opened() else { continue };
            let done = log.maintain(now_ms());
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
