//! What a worker sends, and to whom.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_wire::Text;
use weir_wire::batch::HEADER_SIZE;
use weir_wire::messages::*;

use super::epochs::Position;
use super::group::{self, REBALANCE, millis};
use super::metadata::question;
use super::net::Role;
use super::producer::{Outgoing, Place, Trouble, Wish};
use super::worker::{Ask, Worker};

/// How long an ordinary answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What one request may carry of records, in bytes, beyond its first batch.
const PRODUCE: usize = 2 << 20;
/// Requests to produce that are on their way to one broker: more would be no safe order (KIP-98).
const PRODUCING: usize = 5;

/// The highest versions that are spoken: topics by name, transactions of version 2.
mod version {
    pub(super) const METADATA: i16 = 12;
    pub(super) const FIND: i16 = 3;
    pub(super) const OFFSETS: i16 = 9;
    pub(super) const LIST: i16 = 7;
    pub(super) const INIT: i16 = 5;
    pub(super) const ADD: i16 = 3;
    /// Requests that take partitions and groups into the transaction by themselves, and those that do not (KIP-890).
    pub(super) const PRODUCE: [i16; 2] = [11, 12];
    pub(super) const COMMIT: [i16; 2] = [4, 5];
    pub(super) const END: [i16; 2] = [4, 5];
}

/// From how many bytes on a batch is a piece of memory of its own in a request.
const LARGE: usize = 1024;
/// From this version on one request asks for several groups.
const SEVERAL_GROUPS: i16 = 8;

pub(super) fn text(text: &str) -> Text {
    Text::from(text)
}

/// Partitions by topic.
fn by_topic<T>(places: impl Iterator<Item = (Place, T)>) -> BTreeMap<Text, Vec<(i32, T)>> {
    let mut topics: BTreeMap<Text, Vec<(i32, T)>> = BTreeMap::new();
    for (place, what) in places {
        topics.entry(text(&place.topic)).or_default().push((place.partition, what));
    }
    topics
}

impl Worker<'_> {
    fn group(&self) -> Text {
        text(&self.board.config.group)
    }

    fn transactional_id(&self) -> Text {
        Text::from(self.board.worker_name(self.index))
    }

    fn implicit(&self) -> usize {
        usize::from(self.producer.is_implicit())
    }

    /// Looks for the coordinators.
    pub(super) fn find(&mut self, now: Instant) {
        // One that died while nothing was asked of it has no answer to lose: only that it cannot be reached tells.
        let unreachable = |node: i32, roles: &[Role]| roles.iter().any(|role| self.net.is_unreachable(node, *role));
        if self.groups.node.is_some_and(|node| unreachable(node, &[Role::Group, Role::Control])) {
            self.groups.doubt(now);
        }
        if self.transactions.node.is_some_and(|node| unreachable(node, &[Role::Control])) {
            self.transactions.doubt(now);
        }
        for (key, key_type) in [(self.group(), 0), (self.transactional_id(), 1)] {
            let wanted = if key_type == 0 { self.groups.is_wanted(now) } else { self.transactions.is_wanted(now) };
            let Some(slot) = wanted.then(|| self.net.any(now)).flatten() else { continue };
            let request = FindCoordinatorRequest { key, key_type, ..Default::default() };
            let ask = if key_type == 0 {
                self.groups.asking = true;
                Ask::FindGroup
            } else {
                self.transactions.asking = true;
                Ask::FindTransaction
            };
            self.net.send(slot, &request, version::FIND, ask, PATIENCE, now);
        }
    }

    /// Asks who leads what.
    pub(super) fn ask_metadata(&mut self, now: Instant) {
        if self.metadata.asking || self.metadata.next(now) > now {
            return;
        }
        let routes = self.routes.iter().flat_map(|r| [r.source.as_str(), r.accepted.as_str(), r.quarantine.as_str()]);
        let led = self.member.led().into_iter().flat_map(|led| led.keys().map(String::as_str));
        let topics: std::collections::BTreeSet<String> = routes.chain(led).map(str::to_owned).collect();
        if topics.is_empty() {
            return;
        }
        let Some(slot) = self.net.any(now) else { return };
        self.metadata.keep(&topics);
        let request = self.metadata.ask(topics.iter().map(String::as_str), now);
        self.net.send(slot, &request, version::METADATA, Ask::Metadata, PATIENCE, now);
    }

    /// Does what the group asks for.
    pub(super) fn ask_group(&mut self, now: Instant) -> Result<(), Trouble> {
        let Some(node) = self.groups.node else { return Ok(()) };
        if self.board.is_stopping() {
            return Ok(());
        }
        let free = self.is_quiet() && !self.lost && self.revoking.is_empty();
        let current = self.routes_version == self.board.routes_version();
        if self.member.is_to_join(now) && !(free && current) {
            return Ok(());
        }
        let (Some(slot), Some(any)) = (self.net.ready(node, Role::Group, now), self.net.any(now)) else {
            return Ok(());
        };
        let wish = self.member.wish(now).map_err(|error| Trouble::Fatal(format!("cannot join the group: {error}")))?;
        match wish {
            None => {}
            Some(group::Wish::Join(join)) => {
                self.net.send(slot, &join, 9, Ask::Join, REBALANCE + PATIENCE, now);
            }
            Some(group::Wish::Partitions(topics)) => {
                let request = question(topics.iter().map(String::as_str));
                self.net.send(any, &request, version::METADATA, Ask::Counts, PATIENCE, now);
            }
            Some(group::Wish::Sync(sync)) => self.net.send(slot, &sync, 5, Ask::Sync, REBALANCE + PATIENCE, now),
            Some(group::Wish::Heartbeat(heartbeat)) => {
                self.net.send(slot, &heartbeat, 4, Ask::Heartbeat, PATIENCE, now);
            }
        }
        Ok(())
    }

    /// Leaves the group, once; the worker ends when that is answered.
    pub(super) fn leave(&mut self, now: Instant) -> Result<(), Trouble> {
        if std::mem::replace(&mut self.leaving, true) {
            return Ok(());
        }
        let slot = self.groups.node.and_then(|node| self.net.ready(node, Role::Control, now));
        match (self.member.leaves(), slot) {
            (Some(leave), Some(slot)) => self.net.send(slot, &leave, 5, Ask::Leave, Duration::from_secs(2), now),
            // The session ends by itself.
            _ => self.left = true,
        }
        Ok(())
    }

    /// Asks where to begin.
    pub(super) fn ask_positions(&mut self, now: Instant) {
        if self.settling {
            if !self.settle_asked && self.producer.is_idle() {
                let open = self.sources.iter().filter(|(_, source)| source.progress.position().is_some());
                let open: Vec<(Place, u64)> = open.map(|(place, source)| (place.clone(), source.serial)).collect();
                if open.is_empty() {
                    return self.settled(&BTreeMap::new());
                }
                self.settle_asked = self.ask_committed(&open, Ask::Settle(self.producer.round()), now);
            }
            return;
        }
        let due = |source: &super::source::Source| {
            source.fetch_at.is_none() && !source.asking && source.not_before.is_none_or(|until| until <= now)
        };
        let fresh = self.sources.iter().filter(|(_, source)| due(source) && !source.reset);
        let fresh: Vec<(Place, u64)> = fresh.map(|(place, source)| (place.clone(), source.serial)).collect();
        if !fresh.is_empty() && self.ask_committed(&fresh, Ask::Positions(fresh.clone()), now) {
            self.mark_asking(&fresh);
        }
        let mut reset: BTreeMap<i32, Vec<(Place, u64)>> = BTreeMap::new();
        for (place, source) in self.sources.iter().filter(|(_, source)| due(source) && source.reset) {
            match self.metadata.leader(place) {
                Some((node, _)) => reset.entry(node).or_default().push((place.clone(), source.serial)),
                None => self.metadata.want(),
            }
        }
        for (node, places) in reset {
            let Some(slot) = self.net.ready(node, Role::Control, now) else { continue };
            let topics = by_topic(places.iter().map(|(place, _)| (place.clone(), ())));
            let topic = |(name, partitions): (Text, Vec<(i32, ())>)| ListOffsetsTopic {
                name,
                partitions: partitions
                    .into_iter()
                    .map(|(partition_index, ())| ListOffsetsPartition {
                        partition_index,
                        timestamp: -2,
                        ..Default::default()
                    })
                    .collect(),
            };
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: 1,
                topics: topics.into_iter().map(topic).collect(),
                ..Default::default()
            };
            self.mark_asking(&places);
            self.net.send(slot, &request, version::LIST, Ask::Earliest(places), PATIENCE, now);
        }
    }

    fn mark_asking(&mut self, places: &[(Place, u64)]) {
        for (place, _) in places {
            if let Some(source) = self.sources.get_mut(place) {
                source.asking = true;
            }
        }
    }

    /// Asks for the positions of the group, and waits for transactions that are just committing some (KIP-447).
    fn ask_committed(&mut self, places: &[(Place, u64)], ask: Ask, now: Instant) -> bool {
        let slot = self.groups.node.and_then(|node| self.net.ready(node, Role::Control, now));
        let Some(slot) = slot else { return false };
        let topics = by_topic(places.iter().map(|(place, _)| (place.clone(), ())));
        let indexes = |partitions: Vec<(i32, ())>| partitions.into_iter().map(|(partition, ())| partition).collect();
        let spoken = self.net.version(slot, weir_wire::ApiKey::OffsetFetch, version::OFFSETS);
        let mut request = OffsetFetchRequest { require_stable: true, ..Default::default() };
        if spoken.is_some_and(|version| version < SEVERAL_GROUPS) {
            request.group_id = self.group();
            let topic = |(name, partitions)| OffsetFetchRequestTopic { name, partition_indexes: indexes(partitions) };
            request.topics = Some(topics.into_iter().map(topic).collect());
        } else {
            let topic = |(name, partitions)| OffsetFetchRequestTopics {
                name,
                partition_indexes: indexes(partitions),
                ..Default::default()
            };
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: self.group(),
                topics: Some(topics.into_iter().map(topic).collect()),
                ..Default::default()
            }];
        }
        self.net.send(slot, &request, version::OFFSETS, ask, PATIENCE, now);
        true
    }

    /// Does what the transaction asks for.
    pub(super) fn ask_transaction(&mut self, now: Instant) -> Result<(), Trouble> {
        self.producer.abort_quietly();
        let (Some(transactions), Some(groups)) = (self.transactions.node, self.groups.node) else { return Ok(()) };
        let slot = self.net.ready(transactions, Role::Control, now);
        let (Some(slot), Some(group_slot)) = (slot, self.net.ready(groups, Role::Control, now)) else {
            return Ok(());
        };
        let Some(wish) = self.producer.wish(now) else { return Ok(()) };
        let ask = Ask::Transaction(self.producer.round(), wish.clone());
        let (transactional_id, (producer_id, producer_epoch)) = (self.transactional_id(), self.producer.identity());
        match wish {
            Wish::Init => {
                let request = InitProducerIdRequest {
                    transactional_id: Some(transactional_id),
                    transaction_timeout_ms: millis(self.board.config.transaction_timeout),
                    ..Default::default()
                };
                self.net.send(slot, &request, version::INIT, ask, PATIENCE, now);
            }
            Wish::AddPartitions(places) => {
                let topics = by_topic(places.into_iter().map(|place| (place, ())));
                let topic = |(name, partitions): (Text, Vec<(i32, ())>)| AddPartitionsToTxnTopic {
                    name,
                    partitions: partitions.into_iter().map(|(partition, ())| partition).collect(),
                };
                let request = AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: transactional_id,
                    v3_and_below_producer_id: producer_id,
                    v3_and_below_producer_epoch: producer_epoch,
                    v3_and_below_topics: topics.into_iter().map(topic).collect(),
                    ..Default::default()
                };
                self.net.send(slot, &request, version::ADD, ask, PATIENCE, now);
            }
            Wish::AddOffsets => {
                let group_id = self.group();
                let request = AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id };
                self.net.send(slot, &request, 4, ask, PATIENCE, now);
            }
            Wish::Offsets => {
                let Some((member_id, generation_id)) = self.member.identity() else {
                    self.producer.unasked();
                    return Err(Trouble::Abort("this worker is not a member of its group".to_owned()));
                };
                self.committing = generation_id;
                let positions = self.sources.iter().filter_map(|(place, source)| {
                    let at = source.progress.position()?;
                    Some((place.clone(), (at, source.epochs.before(at))))
                });
                let topic = |(name, partitions): (Text, Vec<(i32, Position)>)| TxnOffsetCommitRequestTopic {
                    name,
                    partitions: partitions
                        .into_iter()
                        .map(|(partition_index, (committed_offset, epoch))| TxnOffsetCommitRequestPartition {
                            partition_index,
                            committed_offset,
                            committed_leader_epoch: epoch,
                            committed_metadata: Some(Text::EMPTY),
                        })
                        .collect(),
                };
                let request = TxnOffsetCommitRequest {
                    transactional_id,
                    group_id: self.group(),
                    producer_id,
                    producer_epoch,
                    generation_id,
                    member_id: text(member_id),
                    group_instance_id: self.member.instance().map(text),
                    topics: by_topic(positions).into_iter().map(topic).collect(),
                };
                self.net.send(group_slot, &request, version::COMMIT[self.implicit()], ask, PATIENCE, now);
            }
            Wish::End { commit } => {
                let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed: commit };
                self.net.send(slot, &request, version::END[self.implicit()], ask, PATIENCE, now);
            }
        }
        Ok(())
    }

    /// Sends what was handed to the producer, batch by batch, to the leaders.
    pub(super) fn produce(&mut self, now: Instant) {
        if !self.producer.has_batches() {
            return;
        }
        for node in self.metadata.nodes() {
            while let Some(slot) = self.net.ready(node, Role::Produce, now) {
                if self.net.in_flight(slot) >= PRODUCING {
                    break;
                }
                let metadata = &self.metadata;
                let mine = |place: &Place| metadata.leader(place).is_some_and(|(leader, _)| leader == node);
                let batches = self.producer.outgoing(now, PRODUCE, mine);
                if batches.is_empty() {
                    break;
                }
                let sent = batches.iter().map(|batch| (batch.place.clone(), batch.sequence)).collect();
                let mut topics: Vec<TopicProduceData> = Vec::new();
                let mut headers = Vec::new();
                for Outgoing { place, header, batch, .. } in batches {
                    // What is large is sent from where it lies, behind its new header; what is small is copied.
                    let records = if batch.len() >= LARGE {
                        headers.push((batch.clone(), header));
                        batch
                    } else {
                        Bytes::from([&header[..], &batch[HEADER_SIZE..]].concat())
                    };
                    let data = PartitionProduceData { index: place.partition, records: Some(records) };
                    match topics.iter_mut().find(|topic| *topic.name == *place.topic) {
                        Some(topic) => topic.partition_data.push(data),
                        None => topics.push(TopicProduceData {
                            name: text(&place.topic),
                            partition_data: vec![data],
                            ..Default::default()
                        }),
                    }
                }
                let request = ProduceRequest {
                    transactional_id: Some(self.transactional_id()),
                    acks: -1,
                    timeout_ms: millis(PATIENCE),
                    topic_data: topics,
                };
                let ask = Ask::Produce(self.producer.round(), sent);
                let exchange = |pieces: &mut Vec<Bytes>| exchange(pieces, headers);
                let most = version::PRODUCE[self.implicit()];
                self.net.send_pieces(slot, &request, most, ask, 2 * PATIENCE, now, exchange);
            }
        }
    }
}

/// Puts the new headers in front of the records of those batches.
fn exchange(pieces: &mut Vec<Bytes>, headers: Vec<(Bytes, Bytes)>) {
    let mut headers = headers.into_iter().peekable();
    for piece in std::mem::take(pieces) {
        let same = |(batch, _): &(Bytes, Bytes)| batch.as_ptr() == piece.as_ptr() && batch.len() == piece.len();
        match headers.next_if(same) {
            Some((batch, header)) => pieces.extend([header, batch.slice(HEADER_SIZE..)]),
            None => pieces.push(piece),
        }
    }
}
