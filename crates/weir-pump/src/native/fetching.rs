//! Records are fetched: what is asked of which broker, and what the answers lead to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_wire::ErrorCode;
use weir_wire::messages::*;

use super::asking::{PATIENCE, text};
use super::group::millis;
use super::net::Role;
use super::producer::Place;
use super::session::{Change, Wanted};
use super::taking::RETRY;
use super::worker::{Ask, Worker};

/// How long a broker may wait for something to be fetched.
const WAIT: Duration = Duration::from_millis(100);
/// What one answer to a fetch may hold, and one partition of it, in bytes.
const FETCH: (i32, i32) = (2 << 20, 1 << 20);
/// What may wait to be judged, of all partitions and of one, in bytes.
const QUEUED: (usize, usize) = (6 << 20, 1 << 20);
/// The highest version that is spoken: topics by name.
const VERSION: i16 = 12;

impl Worker<'_> {
    /// Fetches what may wait to be judged, with one request to each broker at a time.
    pub(super) fn fetch(&mut self, now: Instant) {
        let waiting: usize = self.sources.values().map(|source| source.queued).sum();
        if waiting >= QUEUED.0 || self.board.is_stopping() || self.settling {
            return;
        }
        let mut nodes: BTreeMap<i32, Vec<(Place, Wanted)>> = BTreeMap::new();
        let mut lost = false;
        for (place, source) in &self.sources {
            let Some(offset) = source.fetch_at.filter(|_| source.queued < QUEUED.1) else { continue };
            if source.not_before.is_some_and(|until| until > now) {
                continue;
            }
            match self.metadata.leader(place) {
                Some((node, _)) if self.sessions.get(&node).is_some_and(|session| session.is_asked()) => {}
                Some((node, leader_epoch)) => {
                    let wanted = Wanted { offset, leader_epoch, serial: source.serial };
                    nodes.entry(node).or_default().push((place.clone(), wanted));
                }
                None => lost = true,
            }
        }
        if lost {
            self.metadata.want();
        }
        for (node, wanted) in nodes {
            let Some(slot) = self.net.ready(node, Role::Fetch, now) else { continue };
            let change = self.sessions.entry(node).or_default().request(wanted);
            self.net.send(slot, &request(change), VERSION, Ask::Fetch(node), WAIT + PATIENCE, now);
        }
    }

    /// Takes in what a broker answered.
    pub(super) fn fetched(&mut self, slot: usize, node: i32, response: Result<FetchResponse, String>, now: Instant) {
        let Some(session) = self.sessions.get_mut(&node) else { return };
        let over = match &response {
            Ok(response) => session.answered(response.error_code, response.session_id),
            Err(_) => {
                session.gone();
                false
            }
        };
        let response = match response {
            Ok(response) if response.error_code.is_none() => response,
            Ok(response) if over => {
                tracing::debug!(worker = self.index, node, code = %response.error_code, "fetch session is begun anew");
                return self.net.throttle(slot, response.throttle_time_ms, now);
            }
            failed => {
                let error = failed.map_or_else(|error| error, |response| response.error_code.to_string());
                tracing::debug!(worker = self.index, error, "nothing fetched");
                self.metadata.want();
                for place in session.all() {
                    if let Some(source) = self.sources.get_mut(place) {
                        source.not_before = Some(now + RETRY);
                    }
                }
                return;
            }
        };
        self.net.throttle(slot, response.throttle_time_ms, now);
        for topic in response.responses {
            for data in topic.partitions {
                let Some((place, serial)) = session.wanted(&topic.topic, data.partition_index) else { continue };
                // A seek has made the answer obsolete, or the partition is another's.
                let Some(source) = self.sources.get_mut(place).filter(|source| source.serial == serial) else {
                    continue;
                };
                source.not_before = None;
                match data.error_code {
                    ErrorCode::NONE => {
                        let aborted = data.aborted_transactions.unwrap_or_default();
                        source.fetched(data.records.unwrap_or_default(), aborted, data.last_stable_offset);
                    }
                    ErrorCode::OFFSET_OUT_OF_RANGE => {
                        tracing::warn!(
                            worker = self.index,
                            topic = &*place.topic,
                            partition = place.partition,
                            offset = source.fetch_at,
                            "the offset is not kept any more, reading goes on at the first that is"
                        );
                        source.lose_position();
                        source.not_before = Some(now + RETRY);
                    }
                    code => {
                        tracing::debug!(topic = &*place.topic, partition = place.partition, %code, "cannot fetch");
                        source.not_before = Some(now + RETRY);
                        self.metadata.want();
                    }
                }
            }
        }
    }
}

/// What a session has to say.
fn request(change: Change) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (place, wanted) in change.named {
        let partition = FetchPartition {
            partition: place.partition,
            current_leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.offset,
            partition_max_bytes: FETCH.1,
            ..Default::default()
        };
        match topics.iter_mut().find(|topic| *topic.topic == *place.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(FetchTopic { topic: text(&place.topic), partitions: vec![partition], ..Default::default() })
            }
        }
    }
    let mut forgotten: Vec<ForgottenTopic> = Vec::new();
    for place in change.forgotten {
        match forgotten.iter_mut().find(|topic| *topic.topic == *place.topic) {
            Some(topic) => topic.partitions.push(place.partition),
            None => forgotten.push(ForgottenTopic {
                topic: text(&place.topic),
                partitions: vec![place.partition],
                ..Default::default()
            }),
        }
    }
    FetchRequest {
        max_wait_ms: millis(WAIT),
        min_bytes: 1,
        max_bytes: FETCH.0,
        isolation_level: 1,
        session_id: change.id,
        session_epoch: change.epoch,
        topics,
        forgotten_topics_data: forgotten,
        ..Default::default()
    }
}
