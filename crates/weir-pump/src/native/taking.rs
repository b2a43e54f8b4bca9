//! What the answers to a worker's questions lead to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_wire::messages::*;
use weir_wire::{ErrorCode, Message, Reader};

use super::epochs::Position;
use super::net::{Answer, Gone};
use super::producer::{self, Place, Trouble, Wish};
use super::worker::{Ask, Worker};
use crate::WorkerState;

/// The wait before a partition is asked about again after an error.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// The partition an answer is about, and the identity that the end of a transaction gives.
type Detail = (Option<Place>, Option<(i64, i16)>);
type Outcome = Result<(Reader, i16), Gone>;

fn read<M: Message>(outcome: Outcome) -> Result<M, String> {
    let (mut reader, version) = outcome.map_err(|gone| gone.to_string())?;
    M::read(&mut reader, version).map_err(|error| format!("an answer that cannot be read: {error}"))
}

fn place(topic: &str, partition: i32) -> Place {
    Place { topic: topic.into(), partition }
}

impl Worker<'_> {
    /// Takes an answer in.
    pub(super) fn take(&mut self, answer: Answer<Ask>, now: Instant) -> Result<(), Trouble> {
        let Answer { slot, ask, outcome } = answer;
        match ask {
            Ask::Metadata => {
                self.metadata.asking = false;
                match read::<MetadataResponse>(outcome) {
                    Ok(response) => self.learned(slot, &response, now),
                    Err(error) => {
                        tracing::debug!(error, "no metadata");
                        self.metadata.want();
                    }
                }
            }
            Ask::Counts => match read::<MetadataResponse>(outcome) {
                Ok(response) => {
                    self.net.set_nodes(&response.brokers);
                    let counts = self.metadata.take(&response);
                    self.member.counted(counts);
                }
                Err(_) => drop(self.member.gone(now)),
            },
            Ask::FindGroup | Ask::FindTransaction => {
                let found = read::<FindCoordinatorResponse>(outcome).ok().filter(|found| found.error_code.is_none());
                if let Some(found) = &found {
                    self.net.add_node(found.node_id, &found.host, found.port);
                }
                let of = if matches!(ask, Ask::FindGroup) { &mut self.groups } else { &mut self.transactions };
                of.found(found.map(|found| found.node_id), now);
            }
            Ask::Join => {
                let turn = match read::<JoinGroupResponse>(outcome) {
                    Ok(response) => self.member.joined(&response, now),
                    Err(_) => self.member.gone(now),
                };
                return self.group_turn(turn, now);
            }
            Ask::Sync => {
                let turn = match read::<SyncGroupResponse>(outcome) {
                    Ok(response) => self.member.synced(&response, now),
                    Err(_) => self.member.gone(now),
                };
                return self.group_turn(turn, now);
            }
            Ask::Heartbeat => {
                let turn = match read::<HeartbeatResponse>(outcome) {
                    Ok(response) => self.member.beaten(&response, now),
                    Err(_) => self.member.gone(now),
                };
                return self.group_turn(turn, now);
            }
            Ask::Leave => self.left = true,
            Ask::Positions(asked) => self.positions(&asked, committed(outcome), now),
            Ask::Settle(round) => {
                self.settle_asked = false;
                if round == self.producer.round() && self.settling {
                    match committed(outcome) {
                        Ok(positions) => self.settled(&positions),
                        Err(error) => {
                            tracing::warn!(
                                worker = self.index,
                                error,
                                "cannot read the group's positions, trying again"
                            );
                            self.groups.lose(now);
                        }
                    }
                }
            }
            Ask::Earliest(asked) => self.earliest(&asked, read(outcome), now),
            Ask::Fetch(node) => return self.fetched(slot, node, read(outcome), now),
            Ask::Produce(round, sent) => return self.produced(slot, round, sent, read(outcome), now),
            Ask::Transaction(round, wish) => return self.transaction(slot, round, &wish, outcome, now),
        }
        Ok(())
    }

    fn learned(&mut self, slot: usize, response: &MetadataResponse, now: Instant) {
        self.net.throttle(slot, response.throttle_time_ms, now);
        self.net.set_nodes(&response.brokers);
        let counts = self.metadata.take(response);
        let changed = self
            .member
            .led()
            .is_some_and(|led| led.iter().any(|(topic, count)| counts.get(topic).is_some_and(|now| now != count)));
        if changed {
            tracing::info!(
                worker = self.index,
                "topics have other partitions than before, the group shares them out anew"
            );
            self.member.partitions_changed();
        }
    }

    fn positions(&mut self, asked: &[(Place, u64)], found: Result<BTreeMap<Place, Position>, String>, now: Instant) {
        if let Err(error) = &found {
            tracing::debug!(worker = self.index, error, "no positions of the group");
        }
        for (place, serial) in asked {
            let Some(source) = self.sources.get_mut(place).filter(|source| source.serial == *serial) else { continue };
            source.asking = false;
            match &found {
                Ok(positions) => match positions.get(place) {
                    Some((at, epoch)) => source.begin(*at, *epoch, *serial),
                    None => source.reset = true,
                },
                Err(_) => source.not_before = Some(now + RETRY),
            }
        }
    }

    fn earliest(&mut self, asked: &[(Place, u64)], found: Result<ListOffsetsResponse, String>, now: Instant) {
        let mut starts = BTreeMap::new();
        for topic in found.iter().flat_map(|response| &response.topics) {
            for partition in topic.partitions.iter().filter(|p| p.error_code.is_none() && p.offset >= 0) {
                starts.insert(place(&topic.name, partition.partition_index), partition.offset);
            }
        }
        for (place, serial) in asked {
            let Some(source) = self.sources.get_mut(place).filter(|source| source.serial == *serial) else { continue };
            source.asking = false;
            match starts.get(place) {
                Some(at) => source.restart(*at, *serial),
                None => {
                    source.not_before = Some(now + RETRY);
                    self.metadata.want();
                }
            }
        }
    }

    fn produced(
        &mut self,
        slot: usize,
        round: u64,
        sent: Vec<(Place, i32)>,
        response: Result<ProduceResponse, String>,
        now: Instant,
    ) -> Result<(), Trouble> {
        if round != self.producer.round() {
            return Ok(());
        }
        let mut codes = BTreeMap::new();
        match &response {
            Ok(response) => {
                self.net.throttle(slot, response.throttle_time_ms, now);
                for topic in &response.responses {
                    for data in &topic.partition_responses {
                        let message = data.error_message.as_ref().map_or("", |message| message.as_str());
                        codes.insert(place(&topic.name, data.index), (data.error_code, message));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(worker = self.index, error, "no answer to records that were sent");
                self.metadata.want();
            }
        }
        let mut trouble = Ok(());
        for (place, sequence) in sent {
            match self.producer.produced(&place, sequence, codes.get(&place).copied(), now) {
                Ok(producer::Turn::FindLeader) => self.metadata.want(),
                Ok(_) => {}
                Err(error) if trouble.is_ok() => trouble = Err(error),
                Err(_) => {}
            }
        }
        trouble
    }

    fn transaction(
        &mut self,
        slot: usize,
        round: u64,
        wish: &Wish,
        outcome: Outcome,
        now: Instant,
    ) -> Result<(), Trouble> {
        if round != self.producer.round() {
            return Ok(());
        }
        let none = (None, None);
        let told: Result<(ErrorCode, Detail), String> = match wish {
            Wish::Init => match read::<InitProducerIdResponse>(outcome) {
                Ok(response) => return self.initialised(slot, &response, now),
                Err(error) => Err(error),
            },
            Wish::AddPartitions(_) => read::<AddPartitionsToTxnResponse>(outcome).map(|response| {
                let topics = response.results_by_topic_v3_and_below.into_iter();
                let mut refused = topics.flat_map(|topic| {
                    let of = move |p: AddPartitionsToTxnPartitionResult| {
                        (p.partition_error_code, place(&topic.name, p.partition_index))
                    };
                    topic.results_by_partition.into_iter().map(of).collect::<Vec<_>>()
                });
                // Of partitions that were not tried because of another, the other one tells why.
                let worst = refused.find(|(code, _)| !code.is_none() && *code != ErrorCode::OPERATION_NOT_ATTEMPTED);
                worst.map_or((ErrorCode::NONE, none), |(code, place)| (code, (Some(place), None)))
            }),
            Wish::AddOffsets => {
                read::<AddOffsetsToTxnResponse>(outcome).map(|response| (response.error_code, (None, None)))
            }
            Wish::Offsets => read::<TxnOffsetCommitResponse>(outcome).map(|response| {
                let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
                (codes.into_iter().find(|code| !code.is_none()).unwrap_or_default(), (None, None))
            }),
            Wish::End { .. } => read::<EndTxnResponse>(outcome)
                .map(|response| (response.error_code, (None, Some((response.producer_id, response.producer_epoch))))),
        };
        let turn = match told {
            Ok((code, (place, successor))) => self.producer.answered(wish, code, place.as_ref(), successor, now)?,
            Err(error) => self.producer.gone(wish, &error, now)?,
        };
        match turn {
            producer::Turn::FindCoordinator if *wish == Wish::Offsets => self.groups.lose(now),
            producer::Turn::FindCoordinator => self.transactions.lose(now),
            producer::Turn::FindLeader => self.metadata.want(),
            producer::Turn::Committed => self.committed(),
            producer::Turn::Fine | producer::Turn::Ready | producer::Turn::Aborted => {}
        }
        Ok(())
    }

    fn initialised(&mut self, slot: usize, response: &InitProducerIdResponse, now: Instant) -> Result<(), Trouble> {
        let implicit = self.net.versions(slot).is_some_and(|versions| versions.transactions >= 2);
        let (id, epoch) = (response.producer_id, response.producer_epoch);
        match self.producer.initialised(response.error_code, id, epoch, implicit, now) {
            Ok(producer::Turn::FindCoordinator) => self.transactions.lose(now),
            Ok(producer::Turn::Ready) => {
                tracing::debug!(worker = self.index, id, epoch, implicit, "producer is ready");
                self.board.set_state(self.index, WorkerState::Running);
            }
            Ok(_) => {}
            Err(reason) => {
                tracing::warn!(worker = self.index, reason, "trying again");
                self.board.set_state(self.index, WorkerState::Waiting(reason));
            }
        }
        Ok(())
    }
}

/// The positions of the group, and the leader epochs of the records before them; a partition without one is left out.
fn committed(outcome: Outcome) -> Result<BTreeMap<Place, Position>, String> {
    let response: OffsetFetchResponse = read(outcome)?;
    response.error_code.ok().map_err(|code| code.to_string())?;
    let mut positions = BTreeMap::new();
    let mut add = |topic: &str, partition: i32, (offset, epoch): Position, code: ErrorCode| {
        code.ok().map_err(|code| code.to_string())?;
        if offset >= 0 {
            positions.insert(place(topic, partition), (offset, epoch));
        }
        Ok::<(), String>(())
    };
    for topic in &response.topics {
        for p in &topic.partitions {
            add(&topic.name, p.partition_index, (p.committed_offset, p.committed_leader_epoch), p.error_code)?;
        }
    }
    for group in &response.groups {
        group.error_code.ok().map_err(|code| code.to_string())?;
        for topic in &group.topics {
            for p in &topic.partitions {
                add(&topic.name, p.partition_index, (p.committed_offset, p.committed_leader_epoch), p.error_code)?;
            }
        }
    }
    Ok(positions)
}
