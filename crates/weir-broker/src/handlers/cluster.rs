//! The cluster: one node that leads and holds everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, Cursor, DescribeClusterBroker,
    DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic, DescribeQuorumRequest,
    DescribeQuorumResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, DescribeUserScramCredentialsResult,
    ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    PartitionResult, QuorumListener, QuorumNode, QuorumPartitionData, QuorumReplicaState, QuorumTopicData,
    ReassignablePartitionResponse, ReassignableTopicResponse, ReplicaElectionResult,
};
use weir_wire::{ErrorCode, Text};

use super::{CLUSTER_OPERATIONS, Call, LEADER_EPOCH, TOPIC_OPERATIONS};
use crate::clock::now_ms;
use crate::node::{NODE_ID, Node};
use crate::topics::{Topic, check_name};

/// Partitions in one answer to DescribeTopicPartitions (`max.request.partition.size.limit`).
const PAGE: usize = 2000;
/// The name of the log in which Kafka's controllers agree; here it has no records.
const METADATA: &str = "__cluster_metadata";

/// Answers DescribeCluster.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != 1 {
        let message = "this is a broker; controllers cannot be asked here";
        return DescribeClusterResponse {
            error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            error_message: Some(Text::from_static(message)),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let (host, port) = call.node.advertised(call.peer.local);
    DescribeClusterResponse {
        cluster_id: Text::from(call.node.cluster_id()),
        controller_id: NODE_ID,
        brokers: vec![DescribeClusterBroker {
            broker_id: NODE_ID,
            host,
            port: i32::from(port),
            rack: None,
            is_fenced: false,
        }],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

/// Answers DescribeQuorum: this node is the one voter.
pub(crate) fn quorum(call: &Call<'_>, request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let now = now_ms();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let partition_index = partition.partition_index;
            if &*topic.topic_name != METADATA || partition_index != 0 {
                return QuorumPartitionData {
                    partition_index,
                    error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    error_message: None,
                    ..Default::default()
                };
            }
            QuorumPartitionData {
                partition_index,
                error_message: None,
                leader_id: NODE_ID,
                leader_epoch: 1,
                high_watermark: 0,
                current_voters: vec![QuorumReplicaState {
                    replica_id: NODE_ID,
                    log_end_offset: 0,
                    last_fetch_timestamp: now,
                    last_caught_up_timestamp: now,
                    ..Default::default()
                }],
                ..Default::default()
            }
        });
        QuorumTopicData { topic_name: topic.topic_name.clone(), partitions: partitions.collect() }
    });
    let (host, port) = call.node.advertised(call.peer.local);
    let nodes = if call.header.api_version >= 2 {
        let listeners = vec![QuorumListener { name: Text::from_static("PLAINTEXT"), host, port }];
        vec![QuorumNode { node_id: NODE_ID, listeners }]
    } else {
        Vec::new()
    };
    DescribeQuorumResponse { error_message: None, topics: topics.collect(), nodes, ..Default::default() }
}

/// Answers DescribeTopicPartitions, page by page.
pub(crate) fn topic_partitions(
    call: &Call<'_>,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let topics = call.node.topics();
    let mut names: Vec<Arc<str>> = if request.topics.is_empty() {
        topics.all().iter().map(|topic| Arc::clone(topic.name())).collect()
    } else {
        request.topics.iter().map(|topic| Arc::from(topic.name.as_str())).collect()
    };
    names.sort();
    names.dedup();
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PAGE);
    let (mut answered, mut next_cursor) = (Vec::new(), None);
    let cursor = request.cursor.as_ref();
    for name in names.iter().filter(|name| cursor.is_none_or(|cursor| ***name >= *cursor.topic_name)) {
        if room == 0 {
            next_cursor = Some(Cursor { topic_name: Text::from(&**name), partition_index: 0 });
            break;
        }
        let Some(topic) = topics.get(name) else {
            let error_code = match check_name(name) {
                Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            };
            let name = Some(Text::from(&**name));
            answered.push(DescribeTopicPartitionsResponseTopic { error_code, name, ..Default::default() });
            continue;
        };
        let first = cursor.filter(|cursor| *cursor.topic_name == **name).map_or(0, |cursor| cursor.partition_index);
        let (page, more) = page(&topic, usize::try_from(first).unwrap_or(0), room);
        room -= page.partitions.len();
        answered.push(page);
        if let Some(partition_index) = more {
            next_cursor = Some(Cursor { topic_name: Text::from(&**name), partition_index });
            break;
        }
    }
    DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics: answered, next_cursor }
}

fn page(topic: &Topic, first: usize, room: usize) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let partitions = topic.partitions();
    let shown = partitions.iter().skip(first).take(room).map(|partition| DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode::NONE,
        partition_index: partition.index(),
        leader_id: NODE_ID,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        // Java's client cannot take a null here, though the protocol allows it.
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    });
    let page = DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(Text::from(&**topic.name())),
        topic_id: topic.id(),
        is_internal: topic.is_internal(),
        partitions: shown.collect(),
        topic_authorized_operations: TOPIC_OPERATIONS,
    };
    (page, partitions.get(first + room).map(|partition| partition.index()))
}

/// Answers DescribeLogDirs: one folder.
pub(crate) fn log_dirs(node: &Arc<Node>, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let mut sizes: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let mut add = |topic: &Arc<Topic>, wanted: &dyn Fn(i32) -> bool| {
        for partition in topic.partitions().iter().filter(|partition| wanted(partition.index())) {
            let size = partition.log(now_ms()).map_or(0, |log| log.size());
            sizes.entry(Arc::clone(topic.name())).or_default().push(DescribeLogDirsPartition {
                partition_index: partition.index(),
                partition_size: i64::try_from(size).unwrap_or(i64::MAX),
                offset_lag: 0,
                is_future_key: false,
            });
        }
    };
    match &request.topics {
        None => node.topics().all().iter().for_each(|topic| add(topic, &|_| true)),
        Some(asked) => {
            for asked in asked {
                if let Some(topic) = node.topics().get(&asked.topic) {
                    add(&topic, &|index| asked.partitions.contains(&index));
                }
            }
        }
    }
    let topics = sizes
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic { name: Text::from(&*name), partitions })
        .collect();
    let folder = node.folder().root();
    let result = DescribeLogDirsResult {
        log_dir: Text::from(folder.display().to_string()),
        topics,
        // How large the disk is cannot be asked of the standard library.
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

/// Answers ElectLeaders: all partitions have the only leader they can have.
pub(crate) fn elect(call: &Call<'_>, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let Some(asked) = &request.topic_partitions else { return ElectLeadersResponse::default() };
    let topics = call.node.topics();
    let results = asked.iter().map(|topic| {
        let partition_result = topic.partitions.iter().map(|index| {
            let (error_code, message) = match topics.partition(&topic.topic, *index) {
                None => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition"),
                Some(_) => (ErrorCode::ELECTION_NOT_NEEDED, "the leader is the only replica"),
            };
            PartitionResult { partition_id: *index, error_code, error_message: Some(Text::from_static(message)) }
        });
        ReplicaElectionResult { topic: topic.topic.clone(), partition_result: partition_result.collect() }
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() }
}

/// Answers ListPartitionReassignments: nothing ever moves.
pub(crate) fn list_reassignments(
    _call: &Call<'_>,
    _request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}

/// Answers AlterPartitionReassignments: there is nowhere to move to.
pub(crate) fn reassign(
    call: &Call<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let topics = call.node.topics();
    let responses = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let there = topics.partition(&topic.name, asked.partition_index).is_some();
            let (error_code, message) = match &asked.replicas {
                _ if !there => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition"),
                None => (ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "nothing moves on one broker"),
                Some(replicas) if replicas[..] == [NODE_ID] => (ErrorCode::NONE, ""),
                Some(_) => (ErrorCode::INVALID_REPLICA_ASSIGNMENT, "this broker is the only one"),
            };
            ReassignablePartitionResponse {
                partition_index: asked.partition_index,
                error_code,
                error_message: (!message.is_empty()).then_some(Text::from_static(message)),
            }
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    }
}

/// Answers DescribeUserScramCredentials: nobody has any.
pub(crate) fn scram(
    _call: &Call<'_>,
    request: &DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let results = request.users.iter().flatten().map(|user| DescribeUserScramCredentialsResult {
        user: user.name.clone(),
        error_code: ErrorCode::RESOURCE_NOT_FOUND,
        error_message: Some(Text::from(format!("user {} has no credentials", user.name))),
        credential_infos: Vec::new(),
    });
    DescribeUserScramCredentialsResponse { results: results.collect(), ..Default::default() }
}
