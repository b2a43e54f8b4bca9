//! From a request to its answer.
//!
//! A request is read, handed to the one function that serves its API, and what that returns is written. Handlers see domain values and
//! messages, never bytes or sockets. What changes state does so without waiting in between, so that a client that goes away while
//! its request waits leaves nothing half done.

mod acls;
mod cluster;
mod configs;
mod fetch;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod quotas;
mod topics;
mod transactions;
mod versions;

use std::sync::Arc;

use bytes::Bytes;
use weir_wire::{ApiKey, ErrorCode, Message, Reader, RequestHeader, read_request_header, response_frame};

use crate::folder::FolderError;
use crate::net::{Answer, Closed, Peer};
use crate::node::Node;
use crate::topics::TopicError;

/// The epoch of the only leader that partitions ever had.
pub(crate) const LEADER_EPOCH: i32 = crate::log::LEADER_EPOCH;

/// All operations on a topic, as a bit field of Kafka's `AclOperation`: nobody is refused anything yet.
pub(crate) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// All operations on the cluster.
pub(crate) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// All operations on a group.
pub(crate) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// The APIs that are served, in all versions that are known.
pub(crate) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeClientQuotas,
    ApiKey::AlterClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::DescribeQuorum,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) peer: &'a Peer,
    pub(crate) header: &'a RequestHeader,
    /// Bytes of the whole request.
    pub(crate) size: usize,
}

/// Serves one request.
pub(crate) async fn dispatch(node: &Arc<Node>, peer: &Peer, frame: Bytes) -> Result<Answer, Closed> {
    let size = frame.len();
    let mut reader = Reader::new(frame);
    let header = read_request_header(&mut reader)?;
    let call = Call { node, peer, header: &header, size };
    let version = header.api_version;
    let key = ApiKey::try_from(header.api_key).ok().filter(|key| SERVED.contains(key));
    let Some(key) = key else {
        return Err(Closed::Refused(format!("API {} is not served", header.api_key)));
    };
    if !key.versions().contains(&version) {
        if key == ApiKey::ApiVersions {
            return answer_in(&versions::unsupported(), 0, header.correlation_id);
        }
        return Err(Closed::Refused(format!("version {version} of {key} is not served")));
    }
    match key {
        ApiKey::Produce => produce::produce(&call, read(reader, version)?).await,
        ApiKey::Fetch => fetch::fetch(&call, read(reader, version)?).await,
        ApiKey::Heartbeat => answer(&call, &groups::heartbeat(&call, &read(reader, version)?)),
        // The rest is rare: a future of its own keeps those of idle connections small.
        _ => Box::pin(rare(&call, key, reader)).await,
    }
}

async fn rare(call: &Call<'_>, key: ApiKey, reader: Reader) -> Result<Answer, Closed> {
    let version = call.header.api_version;
    macro_rules! serve {
        // At once.
        (now: $handler:path) => {
            answer(call, &$handler(call, &read(reader, version)?))
        };
        // When it is ready.
        (wait: $handler:path) => {
            answer(call, &$handler(call, read(reader, version)?).await)
        };
        // Where waiting for the disk holds up nobody.
        (disk: $handler:path) => {{
            let request = read(reader, version)?;
            answer(call, &blocking(call, move |node| $handler(node, request)).await?)
        }};
    }
    match key {
        ApiKey::ApiVersions => serve!(now: versions::versions),
        ApiKey::Metadata => serve!(now: metadata::metadata),
        ApiKey::FindCoordinator => serve!(now: groups::find_coordinator),
        ApiKey::JoinGroup => serve!(wait: groups::join),
        ApiKey::SyncGroup => serve!(wait: groups::sync),
        ApiKey::LeaveGroup => serve!(wait: groups::leave),
        ApiKey::ListGroups => serve!(now: groups::list),
        ApiKey::DescribeGroups => serve!(now: groups::describe),
        ApiKey::DeleteGroups => serve!(wait: groups::delete),
        ApiKey::OffsetCommit => serve!(wait: group_offsets::commit),
        ApiKey::OffsetFetch => serve!(now: group_offsets::fetch),
        ApiKey::OffsetDelete => serve!(wait: group_offsets::delete),
        ApiKey::TxnOffsetCommit => serve!(wait: group_offsets::commit_in_transaction),
        ApiKey::InitProducerId => serve!(wait: transactions::init),
        ApiKey::AddPartitionsToTxn => serve!(wait: transactions::add_partitions),
        ApiKey::AddOffsetsToTxn => serve!(wait: transactions::add_offsets),
        ApiKey::EndTxn => serve!(wait: transactions::end),
        ApiKey::WriteTxnMarkers => serve!(disk: transactions::write_markers),
        ApiKey::DescribeTransactions => serve!(now: transactions::describe),
        ApiKey::ListTransactions => serve!(now: transactions::list),
        ApiKey::DescribeProducers => serve!(disk: transactions::producers),
        ApiKey::ListOffsets => {
            let request = read(reader, version)?;
            answer(call, &blocking(call, move |node| offsets::list(node, version, request)).await?)
        }
        ApiKey::OffsetForLeaderEpoch => serve!(disk: offsets::for_epoch),
        ApiKey::DeleteRecords => serve!(disk: offsets::delete_records),
        ApiKey::CreateTopics => serve!(disk: topics::create),
        ApiKey::CreatePartitions => serve!(disk: topics::grow),
        ApiKey::DeleteTopics => {
            let request = read(reader, version)?;
            let (response, removed) = blocking(call, move |node| topics::delete(node, request)).await?;
            topics::remove(removed);
            answer(call, &response)
        }
        ApiKey::DescribeConfigs => serve!(now: configs::describe),
        ApiKey::AlterConfigs => serve!(disk: configs::replace),
        ApiKey::IncrementalAlterConfigs => serve!(disk: configs::alter),
        ApiKey::ListConfigResources => serve!(now: configs::list),
        ApiKey::DescribeCluster => serve!(now: cluster::describe),
        ApiKey::DescribeQuorum => serve!(now: cluster::quorum),
        ApiKey::DescribeTopicPartitions => serve!(now: cluster::topic_partitions),
        ApiKey::DescribeLogDirs => serve!(disk: cluster::log_dirs),
        ApiKey::ElectLeaders => serve!(now: cluster::elect),
        ApiKey::AlterPartitionReassignments => serve!(now: cluster::reassign),
        ApiKey::ListPartitionReassignments => serve!(now: cluster::list_reassignments),
        ApiKey::DescribeUserScramCredentials => serve!(now: cluster::scram),
        ApiKey::DescribeClientQuotas => serve!(now: quotas::describe),
        ApiKey::AlterClientQuotas => serve!(disk: quotas::alter),
        ApiKey::DescribeAcls => serve!(now: acls::describe),
        ApiKey::CreateAcls => serve!(disk: acls::create),
        ApiKey::DeleteAcls => serve!(disk: acls::delete),
        _ => Err(Closed::Refused(format!("{key} is not served"))),
    }
}

/// Runs what may wait for the disk where it holds up nobody else. It runs to its end even if the client goes away.
async fn blocking<T: Send + 'static>(
    call: &Call<'_>,
    work: impl FnOnce(&Arc<Node>) -> T + Send + 'static,
) -> Result<T, Closed> {
    let node = Arc::clone(call.node);
    tokio::task::spawn_blocking(move || work(&node)).await.map_err(|_| Closed::Stopping)
}

/// Holds the leader epoch that a client knows against the only one there is; below 0 it knows none.
pub(crate) fn check_epoch(known: i32) -> Result<(), ErrorCode> {
    match known {
        epoch if epoch > LEADER_EPOCH => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        epoch if (0..LEADER_EPOCH).contains(&epoch) => Err(ErrorCode::FENCED_LEADER_EPOCH),
        _ => Ok(()),
    }
}

fn read<M: Message>(mut reader: Reader, version: i16) -> Result<M, Closed> {
    Ok(M::read(&mut reader, version)?)
}

fn answer<M: Message>(call: &Call<'_>, response: &M) -> Result<Answer, Closed> {
    answer_in(response, call.header.api_version, call.header.correlation_id)
}

fn answer_in<M: Message>(response: &M, version: i16, correlation_id: i32) -> Result<Answer, Closed> {
    let pieces = response_frame(response, version, correlation_id).map_err(Closed::Answer)?;
    Ok(Answer { pieces, ..Answer::default() })
}

/// Why something is refused, for the client.
pub(crate) type Refused = (ErrorCode, String);

/// The code for what the catalog refuses.
pub(crate) fn topic_error(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Name(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        TopicError::Exists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        TopicError::Missing(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        TopicError::Partitions(_) => ErrorCode::INVALID_PARTITIONS,
        TopicError::Config(_) => ErrorCode::INVALID_CONFIG,
        TopicError::Folder(error) => folder_error(error),
    }
}

/// The code for a folder that cannot be written; the reason stands in the log.
pub(crate) fn folder_error(error: &FolderError) -> ErrorCode {
    tracing::error!(%error, "the data folder cannot be changed");
    ErrorCode::KAFKA_STORAGE_ERROR
}

/// A time as the protocol has it.
pub(crate) fn millis(time: std::time::Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
