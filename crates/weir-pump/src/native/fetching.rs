//! Records are fetched: what is asked of which broker, and what the answers lead to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_wire::messages::*;
use weir_wire::{ApiKey, ErrorCode};

use super::asking::{PATIENCE, text};
use super::group::millis;
use super::judge::Deed;
use super::net::Role;
use super::producer::{Place, Trouble};
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
/// From this version on a broker looks whether the log was cut.
const EPOCHS: i16 = 12;

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
                    let (last_epoch, serial) = (source.epochs.before(offset), source.serial);
                    let wanted = Wanted { offset, leader_epoch, last_epoch, serial };
                    nodes.entry(node).or_default().push((place.clone(), wanted));
                }
                None => lost = true,
            }
        }
        if lost {
            self.metadata.want();
        }
        for (node, mut wanted) in nodes {
            let Some(slot) = self.net.ready(node, Role::Fetch, now) else { continue };
            if self.net.version(slot, ApiKey::Fetch, VERSION).is_none_or(|version| version < EPOCHS) {
                wanted.iter_mut().for_each(|(_, wanted)| wanted.last_epoch = -1);
            }
            let change = self.sessions.entry(node).or_default().request(wanted);
            self.net.send(slot, &request(change), VERSION, Ask::Fetch(node), WAIT + PATIENCE, now);
        }
    }

    /// Takes in what a broker answered.
    pub(super) fn fetched(
        &mut self,
        slot: usize,
        node: i32,
        response: Result<FetchResponse, String>,
        now: Instant,
    ) -> Result<(), Trouble> {
        let Some(session) = self.sessions.get_mut(&node) else { return Ok(()) };
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
                self.net.throttle(slot, response.throttle_time_ms, now);
                return Ok(());
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
                return Ok(());
            }
        };
        self.net.throttle(slot, response.throttle_time_ms, now);
        let mut cut = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                let Some((place, wanted)) = session.wanted(&topic.topic, data.partition_index) else { continue };
                // A seek has made the answer obsolete, or the partition is another's.
                let Some(source) = self.sources.get_mut(place).filter(|source| source.serial == wanted.serial) else {
                    continue;
                };
                source.not_before = None;
                let parted = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
                match data.error_code {
                    ErrorCode::NONE if parted.1 >= 0 => cut.push((place.clone(), parted)),
                    ErrorCode::NONE => {
                        source.leader_epoch = if wanted.leader_epoch < 0 { i32::MAX } else { wanted.leader_epoch };
                        let aborted = data.aborted_transactions.unwrap_or_default();
                        source.fetched(data.records.unwrap_or_default(), aborted, data.last_stable_offset);
                    }
                    ErrorCode::OFFSET_OUT_OF_RANGE => {
                        source.not_before = Some(now + RETRY);
                        // Once all that was read is judged and committed.
                        if self.deeds.is_empty() && source.lose_position() {
                            tracing::warn!(
                                worker = self.index,
                                topic = &*place.topic,
                                partition = place.partition,
                                offset = wanted.offset,
                                "the offset is not kept any more, reading goes on at the first that is"
                            );
                        }
                    }
                    code => {
                        tracing::debug!(topic = &*place.topic, partition = place.partition, %code, "cannot fetch");
                        source.not_before = Some(now + RETRY);
                        self.metadata.want();
                    }
                }
            }
        }
        for (place, parted) in cut {
            self.cut(&place, parted, now)?;
        }
        Ok(())
    }

    /// Goes back to where the log of a partition parts from what was read of it.
    ///
    /// # Errors
    /// The open transaction is to be aborted, because it holds something from behind there.
    fn cut(&mut self, place: &Place, parted: (i32, i64), now: Instant) -> Result<(), Trouble> {
        let Some(source) = self.sources.get_mut(place) else { return Ok(()) };
        let (Some(from), to) = (source.fetch_at, source.parting(parted)) else { return Ok(()) };
        source.not_before = Some(now + RETRY);
        let behind = |deed: &Deed| match deed {
            Deed::Judged { next, .. } => *next > to,
            Deed::Unreadable { last, .. } => *last >= to,
        };
        let open = source.progress.position().is_some_and(|next| next > to)
            || self.deeds.iter().any(|(of, deed)| of == place && behind(deed));
        if self.settling || (open && self.producer.may_be_committed()) {
            // Told again when it is known what became of the transaction.
            return Ok(());
        }
        let (worker, topic, partition) = (self.index, &*place.topic, place.partition);
        tracing::warn!(
            worker,
            topic,
            partition,
            from,
            to,
            "log was cut, reading goes on where the leader's begins to differ"
        );
        self.serial += 1;
        source.cut(to, self.serial);
        if open {
            return Err(Trouble::Abort(format!("the log of {topic}/{partition} was cut at offset {to}")));
        }
        Ok(())
    }
}

/// What a session has to say.
fn request(change: Change) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (place, wanted) in change.named {
        let partition = FetchPartition {
            partition: place.partition,
            current_leader_epoch: wanted.leader_epoch,
            last_fetched_epoch: wanted.last_epoch,
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
