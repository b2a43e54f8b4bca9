//! Who leads which partition, and who coordinates: what was last heard, and when to ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use weir_wire::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use weir_wire::{ErrorCode, Text};

use super::producer::Place;

/// How often to ask where nothing is missing.
const REFRESH: Duration = Duration::from_secs(10);
/// How often to ask where a topic or a leader is missing.
const MISSING: Duration = Duration::from_millis(500);
/// How soon to ask again at the earliest.
const LEAST: Duration = Duration::from_millis(50);

/// How long a coordinator that was named may take to be reached before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leader and leader epoch of a partition.
pub(super) type Led = Option<(i32, i32)>;

/// The topics as the cluster last told.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    topics: BTreeMap<String, Vec<Led>>,
    asked: Option<Instant>,
    pub(super) asking: bool,
    wanted: bool,
    missing: bool,
    nodes: Vec<i32>,
}

impl Metadata {
    /// Who leads a partition, and in which epoch.
    pub(super) fn leader(&self, place: &Place) -> Led {
        *self.topics.get(&*place.topic)?.get(usize::try_from(place.partition).ok()?)?
    }

    /// The brokers that lead something.
    pub(super) fn nodes(&self) -> Vec<i32> {
        self.nodes.clone()
    }

    /// Something of it turned out wrong.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to ask next.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let Some(asked) = self.asked else { return now };
        asked
            + if self.wanted {
                LEAST
            } else if self.missing {
                MISSING
            } else {
                REFRESH
            }
    }

    /// The question about these topics.
    pub(super) fn ask<'t>(&mut self, topics: impl Iterator<Item = &'t str>, now: Instant) -> MetadataRequest {
        self.asked = Some(now);
        self.asking = true;
        self.wanted = false;
        question(topics)
    }

    /// Takes over what was told of the topics that were asked for; says how many partitions each of them has, 0 where it
    /// does not exist.
    pub(super) fn take(&mut self, response: &MetadataResponse) -> BTreeMap<String, i32> {
        let mut counts = BTreeMap::new();
        self.missing = false;
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.as_str().to_owned()) else { continue };
            let unknown = topic.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            self.missing |= !topic.error_code.is_none();
            if !topic.error_code.is_none() && !unknown {
                continue;
            }
            let mut leaders: Vec<Led> = Vec::new();
            for partition in &topic.partitions {
                let Ok(at) = usize::try_from(partition.partition_index) else { continue };
                // Partitions are numbered from 0; what is not in line with that is not believed.
                if at >= topic.partitions.len() {
                    continue;
                }
                leaders.resize(leaders.len().max(at + 1), None);
                let leads = partition.leader_id >= 0;
                self.missing |= !leads;
                leaders[at] = leads.then_some((partition.leader_id, partition.leader_epoch));
            }
            counts.insert(name.clone(), i32::try_from(leaders.len()).unwrap_or(i32::MAX));
            self.topics.insert(name, leaders);
        }
        let nodes: BTreeSet<i32> = self.topics.values().flatten().flatten().map(|(node, _)| *node).collect();
        self.nodes = nodes.into_iter().collect();
        counts
    }

    /// Forgets what nobody asks for any more.
    pub(super) fn keep(&mut self, topics: &BTreeSet<String>) {
        self.topics.retain(|topic, _| topics.contains(topic));
    }
}

/// Asks about topics, and makes none.
pub(super) fn question<'t>(topics: impl Iterator<Item = &'t str>) -> MetadataRequest {
    let topics = topics.map(|topic| MetadataRequestTopic { name: Some(Text::from(topic)), ..Default::default() });
    MetadataRequest { topics: Some(topics.collect()), allow_auto_topic_creation: false, ..Default::default() }
}

/// Who coordinates a group or a transactional id.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    pub(super) node: Option<i32>,
    pub(super) asking: bool,
    not_before: Option<Instant>,
    /// When the one that is known was named.
    named: Option<Instant>,
}

impl Coordinator {
    /// The one that is known is none any more.
    pub(super) fn lose(&mut self, now: Instant) {
        self.node = None;
        self.not_before = Some(now + LEAST);
    }

    /// The one that is known cannot be reached: another broker may have its place by now. One that was just named is given
    /// time to be reached.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.named.is_none_or(|named| now.duration_since(named) >= PATIENCE) {
            self.lose(now);
        }
    }

    /// Whether to ask now.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        self.node.is_none() && !self.asking && self.not_before.is_none_or(|until| until <= now)
    }

    /// The answer, if there was one.
    pub(super) fn found(&mut self, node: Option<i32>, now: Instant) {
        self.asking = false;
        self.node = node;
        self.named = node.map(|_| now);
        self.not_before = node.is_none().then(|| now + 2 * LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_cannot_be_reached_is_asked_for_again_and_given_time() {
        let start = Instant::now();
        let mut coordinator = Coordinator::default();
        coordinator.found(Some(1), start);
        let later = start + PATIENCE;
        coordinator.doubt(start + PATIENCE / 2);
        assert_eq!(coordinator.node, Some(1), "just named");
        coordinator.doubt(later);
        assert_eq!((coordinator.node, coordinator.is_wanted(later + LEAST)), (None, true));
        coordinator.found(Some(2), later);
        coordinator.doubt(later);
        assert_eq!(coordinator.node, Some(2));
    }
}
