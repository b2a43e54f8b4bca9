//! One thread beside the workers that asks the cluster questions: does it answer, do the output topics exist, how
//! large a record do they take; and that notices a worker whose call into the client does not return.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_pump::{Compression, TopicLimit, outputs};

use super::shared::Shared;
use crate::{Admin, ClusterConfig, Error};

/// The configurations of a topic that say what it takes.
const BYTES: &str = "max.message.bytes";
const COMPRESSION: &str = "compression.type";
/// How often to look.
const PAUSE: Duration = Duration::from_secs(1);
/// How often to look up limits that nobody complained about.
const REFRESH: Duration = Duration::from_secs(30);
/// What Apache Kafka takes as shipped, for a topic whose configuration we may not read.
const DEFAULT_LIMIT: usize = 1_048_588;

pub(super) struct Observer {
    admin: Admin,
}

impl Observer {
    pub(super) fn new(cluster: &ClusterConfig) -> Result<Observer, Error> {
        Ok(Observer { admin: Admin::new(cluster)?.with_timeout(Duration::from_secs(5)) })
    }

    pub(super) fn run(self, shared: &Shared) {
        let mut looked_up: Option<Instant> = None;
        let mut answers_since: Option<Instant> = None;
        while !shared.has_ended() {
            let wanted = shared.take_limits_wanted();
            let incomplete = !shared.status().missing.is_empty();
            let old = looked_up.is_none_or(|at| at.elapsed() > REFRESH);
            let answer = if wanted || incomplete || old {
                self.look_up(shared).inspect(|()| looked_up = Some(Instant::now()))
            } else {
                self.admin.ping()
            };
            match answer {
                Ok(()) => {
                    answers_since.get_or_insert_with(Instant::now);
                    shared.set_cluster(Ok(()));
                }
                Err(error) => {
                    answers_since = None;
                    looked_up = None;
                    shared.set_cluster(Err(error.to_string()));
                }
            }
            watch(shared, answers_since);
            shared.rest(PAUSE);
        }
    }

    fn look_up(&self, shared: &Shared) -> Result<(), Error> {
        let (_, routes) = shared.routes();
        let topics: BTreeSet<&str> = outputs(&routes).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let existing = self.admin.topics()?;
        let configs = self.admin.values(&topics, &[BYTES, COMPRESSION])?;
        let limit = |topic: &str| {
            let partitions = *existing.get(topic).ok_or("does not exist; create it")?;
            let value = |name: &str| configs.get(topic).and_then(|configs| configs.get(name));
            let bytes = value(BYTES).and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_LIMIT);
            let compression = value(COMPRESSION).and_then(|value| Compression::of(value));
            Ok(TopicLimit { bytes, compression, partitions })
        };
        shared.set_limits(topics.into_iter().map(|topic| (topic.to_owned(), limit(topic))).collect());
        Ok(())
    }
}

/// `send_offsets_to_transaction` can ignore its timeout (librdkafka #5456, #5511), and the end of a transaction is
/// waited for without one. A worker that waits because the cluster is away is right to; one that waits although the
/// cluster has been answering all the while is stuck for good, and only a new process helps: a thread inside the
/// client cannot be stopped.
fn watch(shared: &Shared, answers_since: Option<Instant>) {
    let limit = shared.config.watchdog;
    if answers_since.is_none_or(|since| since.elapsed() < limit) {
        return;
    }
    for worker in 0..shared.config.workers {
        if let Some(busy) = shared.busy_for(worker).filter(|busy| *busy >= limit) {
            let reason = format!(
                "a call into the client has not returned for {} s although the cluster answers; restart the process",
                busy.as_secs()
            );
            shared.stuck(worker, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::{PumpConfig, WorkerState};
    use super::*;

    #[test]
    fn a_stuck_call_is_given_up_only_if_the_cluster_answers() {
        let cluster = ClusterConfig::new("127.0.0.1:1", [] as [(&str, &str); 0]).unwrap();
        let config =
            PumpConfig { workers: 2, watchdog: Duration::from_millis(30), ..PumpConfig::new("group", "instance") };
        let shared = Shared::new(cluster, config, Vec::new());
        let (free, stuck) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let shared = &shared;
            scope.spawn(move || shared.watched(1, || stuck.recv()));
            let long_ago = Instant::now();
            while shared.busy_for(1).is_none_or(|busy| busy < Duration::from_millis(60)) {
                thread::yield_now();
            }
            watch(shared, None);
            watch(shared, Some(Instant::now()));
            assert_eq!(shared.failure(), None, "the cluster is away, or has only just come back");
            watch(shared, Some(long_ago));
            assert!(shared.failure().is_some_and(|why| why.contains("worker 1") && why.contains("has not returned")));
            assert_eq!(shared.status().workers[0], WorkerState::Starting);
            free.send(()).unwrap();
        });
        assert_eq!(shared.busy_for(1), None);
    }
}
