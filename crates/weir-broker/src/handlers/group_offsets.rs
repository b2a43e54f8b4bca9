//! The offsets that groups commit, in transactions and without.

use std::collections::HashMap;
use std::sync::Arc;

use weir_wire::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use weir_wire::{ErrorCode, Text, Uuid};

use super::Call;
use crate::groups::{Answer, Commit, CommitPartition, FetchOffsets, FetchedTopic, TopicOutcome};
use crate::topics::Topics;
use crate::transactions::{Caller, Producer};

/// The first versions of OffsetCommit and OffsetFetch that name topics by id.
const BY_ID: i16 = 10;

/// What became of partitions, by topic and number.
struct Outcomes(Result<HashMap<(Arc<str>, i32), ErrorCode>, ErrorCode>);

impl Outcomes {
    fn new(outcomes: Result<Vec<TopicOutcome>, ErrorCode>) -> Outcomes {
        let by_partition = |topic: TopicOutcome| {
            let name = topic.topic;
            topic.partitions.into_iter().map(move |(partition, code)| ((Arc::clone(&name), partition), code))
        };
        Outcomes(outcomes.map(|topics| topics.into_iter().flat_map(by_partition).collect()))
    }

    fn get(&self, topic: &str, partition: i32) -> ErrorCode {
        match &self.0 {
            Ok(outcomes) => outcomes.get(&(Arc::from(topic), partition)).copied().unwrap_or_default(),
            Err(code) => *code,
        }
    }
}

/// The partitions of a topic that exist; the name is the request's, so that nothing is copied.
fn existing<'a, P>(
    topics: &Topics,
    name: &'a str,
    partitions: &'a [P],
    index: impl Fn(&P) -> i32,
    take: impl Fn(&'a P) -> CommitPartition<'a>,
) -> Option<(&'a str, Vec<CommitPartition<'a>>)> {
    let topic = topics.get(name)?;
    let there = |partition: &&P| topic.partition(index(partition)).is_some();
    let partitions: Vec<_> = partitions.iter().filter(there).map(take).collect();
    (!partitions.is_empty()).then_some((name, partitions))
}

/// Answers OffsetCommit.
pub(crate) async fn commit(call: &Call<'_>, mut request: OffsetCommitRequest) -> OffsetCommitResponse {
    let version = call.header.api_version;
    let topics = call.node.topics();
    if version >= BY_ID {
        for topic in &mut request.topics {
            topic.name = topics.by_id(topic.topic_id).map(|topic| Text::from(&**topic.name())).unwrap_or_default();
        }
    }
    let unknown = if version >= BY_ID { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let known: Vec<(&str, Vec<CommitPartition<'_>>)> = request
        .topics
        .iter()
        .filter_map(|topic| {
            existing(
                topics,
                &topic.name,
                &topic.partitions,
                |one| one.partition_index,
                |one| CommitPartition {
                    partition: one.partition_index,
                    offset: one.committed_offset,
                    leader_epoch: one.committed_leader_epoch,
                    metadata: one.committed_metadata.as_deref().unwrap_or(""),
                },
            )
        })
        .collect();
    let asked: Vec<(&str, &[CommitPartition<'_>])> = known.iter().map(|(name, all)| (*name, all.as_slice())).collect();
    let waiting = call.node.wait();
    let commit = Commit {
        version,
        group: &request.group_id,
        generation: request.generation_id_or_member_epoch,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        retention_ms: request.retention_time_ms,
        topics: &asked,
    };
    call.node.turn_groups(|groups, now| groups.commit(commit, waiting.ticket(), now));
    let outcomes = Outcomes::new(match waiting.answer().await {
        Ok(Answer::Commit(outcomes)) => Ok(outcomes),
        Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(code) => Err(code),
    });
    let answered = request.topics.iter().map(|topic| {
        let found = topics.get(&topic.name);
        let partitions = topic.partitions.iter().map(|one| OffsetCommitResponsePartition {
            partition_index: one.partition_index,
            error_code: match &found {
                None => unknown,
                Some(found) if found.partition(one.partition_index).is_none() => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Some(_) => outcomes.get(&topic.name, one.partition_index),
            },
        });
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: answered.collect() }
}

/// Answers TxnOffsetCommit.
pub(crate) async fn commit_in_transaction(call: &Call<'_>, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let version = call.header.api_version;
    let node = Arc::clone(call.node);
    let request = Arc::new(request);
    let waiting = call.node.wait();
    let ticket = waiting.ticket();
    let asking = Arc::clone(&request);
    // The question and the append are one: no end of the transaction may come between them.
    let verified = call
        .node
        .turn_transactions_async(move |transactions, now, perform| {
            let producer = Producer { id: asking.producer_id, epoch: asking.producer_epoch };
            let caller = Caller { version, transactional_id: &asking.transactional_id, producer };
            transactions.verify_offset_commit(&caller, now, perform).map_err(|error| error.code())?;
            let topics = node.topics();
            let known: Vec<(&str, Vec<CommitPartition<'_>>)> = asking
                .topics
                .iter()
                .filter_map(|topic| {
                    existing(
                        topics,
                        &topic.name,
                        &topic.partitions,
                        |one| one.partition_index,
                        |one| CommitPartition {
                            partition: one.partition_index,
                            offset: one.committed_offset,
                            leader_epoch: one.committed_leader_epoch,
                            metadata: one.committed_metadata.as_deref().unwrap_or(""),
                        },
                    )
                })
                .collect();
            let topics: Vec<_> = known.iter().map(|(name, all)| (*name, all.as_slice())).collect();
            let commit = Commit {
                version,
                group: &asking.group_id,
                generation: asking.generation_id,
                member: &asking.member_id,
                instance: asking.group_instance_id.as_deref(),
                retention_ms: -1,
                topics: &topics,
            };
            let producer = (producer.id, producer.epoch);
            node.turn_groups(|groups, now| groups.txn_commit(commit, producer, ticket, now));
            Ok(())
        })
        .await
        .unwrap_or_else(Err);
    let outcomes = Outcomes::new(match verified {
        Err(code) => Err(code),
        Ok(()) => match waiting.answer().await {
            Ok(Answer::Commit(outcomes)) => Ok(outcomes),
            Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(code) => Err(code),
        },
    });
    let answered = request.topics.iter().map(|topic| {
        let found = call.node.topics().get(&topic.name);
        let there = |index| found.as_ref().is_some_and(|topic| topic.partition(index).is_some());
        let partitions = topic.partitions.iter().map(|one| TxnOffsetCommitResponsePartition {
            partition_index: one.partition_index,
            error_code: match there(one.partition_index) {
                true => outcomes.get(&topic.name, one.partition_index),
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            },
        });
        TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
    });
    TxnOffsetCommitResponse { throttle_time_ms: 0, topics: answered.collect() }
}

/// Answers OffsetFetch.
pub(crate) fn fetch(call: &Call<'_>, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let version = call.header.api_version;
    if version >= 8 {
        let stable = request.require_stable;
        let groups = request.groups.iter().map(|group| fetch_group(call, group, stable));
        return OffsetFetchResponse { groups: groups.collect(), ..Default::default() };
    }
    let asked: Option<Vec<(&str, &[i32])>> = request
        .topics
        .as_ref()
        .map(|topics| topics.iter().map(|topic| (topic.name.as_str(), topic.partition_indexes.as_slice())).collect());
    let fetched = call.node.ask_groups(|groups, _| {
        groups.fetch_offsets(FetchOffsets {
            group: &request.group_id,
            topics: asked.as_deref(),
            require_stable: request.require_stable,
        })
    });
    match fetched {
        Ok(topics) => OffsetFetchResponse {
            topics: topics
                .into_iter()
                .map(|FetchedTopic { topic, partitions }| OffsetFetchResponseTopic {
                    name: Text::from(&*topic),
                    partitions: partitions.into_iter().map(Into::into).collect(),
                })
                .collect(),
            ..Default::default()
        },
        Err(error_code) => OffsetFetchResponse { error_code, ..Default::default() },
    }
}

fn fetch_group(call: &Call<'_>, request: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    let by_id = call.header.api_version >= BY_ID;
    let topics = call.node.topics();
    let name = |topic: &OffsetFetchRequestTopics| {
        if by_id {
            topics.by_id(topic.topic_id).map(|topic| Text::from(&**topic.name()))
        } else {
            Some(topic.name.clone())
        }
    };
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for topic in request.topics.iter().flatten() {
        match name(topic) {
            Some(name) => names.push((name, topic.partition_indexes.as_slice())),
            None => unknown.push(missing(topic)),
        }
    }
    let asked: Vec<(&str, &[i32])> = names.iter().map(|(name, partitions)| (name.as_str(), *partitions)).collect();
    let fetched = call.node.ask_groups(|groups, _| {
        let topics = request.topics.as_ref().map(|_| asked.as_slice());
        groups.fetch_offsets(FetchOffsets { group: &request.group_id, topics, require_stable })
    });
    match fetched {
        Ok(fetched) => {
            let known = fetched.into_iter().filter_map(|FetchedTopic { topic, partitions }| {
                // By id only what exists can be named.
                let topic_id = if by_id { topics.get(&topic)?.id() } else { Uuid::ZERO };
                let partitions = partitions.into_iter().map(Into::into).collect();
                Some(OffsetFetchResponseTopics { name: Text::from(&*topic), topic_id, partitions })
            });
            let topics = known.chain(unknown).collect();
            OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, error_code: ErrorCode::NONE }
        }
        Err(error_code) => {
            OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics: Vec::new(), error_code }
        }
    }
}

/// A topic whose id nobody has.
fn missing(topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Text::EMPTY),
        error_code: ErrorCode::UNKNOWN_TOPIC_ID,
    });
    OffsetFetchResponseTopics { name: Text::EMPTY, topic_id: topic.topic_id, partitions: partitions.collect() }
}

/// Answers OffsetDelete.
pub(crate) async fn delete(call: &Call<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let topics = call.node.topics();
    let known: Vec<(&str, Vec<i32>)> = request
        .topics
        .iter()
        .filter_map(|topic| {
            let found = topics.get(&topic.name)?;
            let there = topic.partitions.iter().map(|one| one.partition_index);
            Some((topic.name.as_str(), there.filter(|index| found.partition(*index).is_some()).collect()))
        })
        .collect();
    let asked: Vec<(&str, &[i32])> = known.iter().map(|(name, all)| (*name, all.as_slice())).collect();
    let waiting = call.node.wait();
    call.node.turn_groups(|groups, _| groups.delete_offsets(&request.group_id, &asked, waiting.ticket()));
    let outcomes = match waiting.answer().await {
        Ok(Answer::DeleteOffsets(Ok(outcomes))) => Outcomes::new(Ok(outcomes)),
        Ok(Answer::DeleteOffsets(Err(error_code))) | Err(error_code) => {
            return OffsetDeleteResponse { error_code, ..Default::default() };
        }
        Ok(_) => {
            return OffsetDeleteResponse { error_code: ErrorCode::UNKNOWN_SERVER_ERROR, ..Default::default() };
        }
    };
    let answered = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| OffsetDeleteResponsePartition {
            partition_index: one.partition_index,
            error_code: match topics.partition(&topic.name, one.partition_index) {
                Some(_) => outcomes.get(&topic.name, one.partition_index),
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            },
        });
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
    });
    OffsetDeleteResponse { topics: answered.collect(), ..Default::default() }
}
