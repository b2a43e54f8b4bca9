//! The partitions a worker has been assigned, and what it knows of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_pump::{PartitionStatus, Progress, Route, Stalling};

use super::context::Ahead;

/// A partition that waits to be tried again.
pub(super) struct Stalled {
    pub(super) until: Instant,
    pub(super) reason: String,
}

/// One assigned partition.
pub(super) struct Lane {
    pub(super) route: Arc<Route>,
    pub(super) progress: Progress,
    /// Paused, and until when.
    pub(super) stall: Option<Stalled>,
    pub(super) stalling: Stalling,
    /// Where to seek to before polling again.
    pub(super) rewind: Option<i64>,
    pub(super) ahead: Option<Ahead>,
    since: Instant,
}

/// How long the group's position may be in the making before it is said: longer than any transaction stays open.
const UNSTABLE: Duration = Duration::from_secs(30);

impl Lane {
    pub(super) fn new(route: &Route, progress: Progress) -> Lane {
        Lane {
            route: Arc::new(route.clone()),
            progress,
            stall: None,
            stalling: Stalling::default(),
            rewind: None,
            ahead: None,
            since: Instant::now(),
        }
    }

    /// Stalls from now on, twice as long as the last time if that was without success; says whether to warn of it.
    pub(super) fn set_stall(&mut self, reason: String, backoff: (Duration, Duration)) -> bool {
        let now = Instant::now();
        let (wait, warn) = self.stalling.again(backoff, now);
        self.stall = Some(Stalled { until: now + wait, reason });
        warn
    }

    /// Why nothing comes of this partition, if nothing does.
    fn why_stalled(&self) -> Option<String> {
        if let Some(stall) = &self.stall {
            return Some(stall.reason.clone());
        }
        // A transaction without an end holds the group's position for ever: nobody may read on before it is decided.
        let waits = self.progress.next().is_none() && self.lag().is_some_and(|lag| lag > 0);
        (waits && self.since.elapsed() > UNSTABLE).then(|| {
            "no position to read from: a transaction that never ended may hold it; see kafka-transactions.sh find-hanging"
                .to_owned()
        })
    }

    /// How many offsets lie ahead, as far as the statistics tell. Markers of transactions at the end of the partition
    /// are no records: what the client has passed over does not count.
    fn lag(&self) -> Option<u64> {
        let ahead = self.ahead.as_ref()?;
        let start = if ahead.committed >= 0 { ahead.committed } else { ahead.start };
        let position = self.progress.next().unwrap_or(start);
        let position = if ahead.taken && self.stall.is_none() { position.max(ahead.fetched) } else { position };
        Some(u64::try_from(ahead.end - position).unwrap_or(0))
    }
}

/// All assigned partitions.
#[derive(Default)]
pub(super) struct Lanes {
    // Boxed: a node of the inner map has room for eleven, and most topics have few partitions here.
    topics: BTreeMap<String, BTreeMap<i32, Box<Lane>>>,
}

impl Lanes {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn insert(&mut self, partition: i32, lane: Lane) {
        self.topics.entry(lane.route.source.clone()).or_default().insert(partition, Box::new(lane));
    }

    pub(super) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Lane> {
        self.topics.get(topic)?.get(&partition).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Lane> {
        self.topics.get_mut(topic)?.get_mut(&partition).map(Box::as_mut)
    }

    /// All partitions, each with its number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (i32, &mut Lane)> {
        self.topics.values_mut().flatten().map(|(partition, lane)| (*partition, &mut **lane))
    }

    pub(super) fn keys(&self) -> Vec<(String, i32)> {
        let keys = |(topic, partitions): (&String, &BTreeMap<i32, Box<Lane>>)| {
            partitions.keys().map(|partition| (topic.clone(), *partition)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(keys).collect()
    }

    /// Leads the partitions of the route's source along it.
    pub(super) fn set_route(&mut self, route: &Route) {
        let shared = Arc::new(route.clone());
        for lane in self.topics.get_mut(&route.source).into_iter().flat_map(BTreeMap::values_mut) {
            lane.route = Arc::clone(&shared);
        }
    }

    /// When the first stalled partition is to be tried again.
    pub(super) fn next_resume(&self) -> Option<Instant> {
        self.topics.values().flat_map(BTreeMap::values).filter_map(|lane| Some(lane.stall.as_ref()?.until)).min()
    }

    pub(super) fn status(&self, worker: usize) -> Vec<PartitionStatus> {
        let status = |topic: &String, partition: i32, lane: &Lane| PartitionStatus {
            topic: topic.clone(),
            partition,
            worker,
            position: lane.progress.next(),
            lag: lane.lag(),
            stalled: lane.why_stalled(),
        };
        let statuses = |(topic, lanes): (_, &BTreeMap<i32, Box<Lane>>)| {
            lanes.iter().map(|(partition, lane)| status(topic, *partition, lane)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(statuses).collect()
    }
}
