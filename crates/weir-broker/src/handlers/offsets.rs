//! Positions in logs: by time, by leader epoch, and where a log begins.

use std::sync::Arc;
use weir_wire::ErrorCode;

use weir_wire::messages::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult, EpochEndOffset, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopicResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use super::{LEADER_EPOCH, check_epoch};
use crate::clock::now_ms;
use crate::log::{Log, LogError, Position, Spec};
use crate::node::Node;
use crate::topics::is_internal;

/// Has a log answer, or says why it cannot.
fn with_log<T>(
    node: &Node,
    topic: &str,
    partition: i32,
    ask: impl FnOnce(&Log) -> Result<T, LogError>,
) -> Result<T, ErrorCode> {
    let partition = node.topics().partition(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.log(now_ms()).and_then(ask).map_err(|error| {
        if partition.is_deleted() {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        if error.code() == ErrorCode::KAFKA_STORAGE_ERROR {
            tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "cannot use the log");
        }
        error.code()
    })
}

/// Answers ListOffsets.
pub(crate) fn list(node: &Arc<Node>, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == 1;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = list_one(node, &topic.name, asked, version, committed);
            let mut response =
                ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
            match found {
                Ok(Some(found)) => {
                    response.offset = found.offset;
                    response.timestamp = found.timestamp;
                    // Older versions cannot say it.
                    response.leader_epoch = if version >= 4 { found.leader_epoch } else { -1 };
                }
                Ok(None) => {}
                Err(code) => response.error_code = code,
            }
            response
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse { name: topic.name, partitions }
    });
    ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn list_one(
    node: &Node,
    topic: &str,
    asked: &ListOffsetsPartition,
    version: i16,
    committed: bool,
) -> Result<Option<Position>, ErrorCode> {
    check_epoch(asked.current_leader_epoch)?;
    let spec = match asked.timestamp {
        -1 if committed => Spec::LastStable,
        -1 => Spec::Latest,
        -2 => Spec::Earliest,
        -3 if version >= 7 => Spec::MaxTimestamp,
        // Without tiers all there is is local, and nothing was moved to a tier (KIP-405, KIP-1005).
        -4 if version >= 8 => Spec::Earliest,
        -5 if version >= 9 => return with_log(node, topic, asked.partition_index, |_| Ok(None)),
        // Nor does anything wait to be moved (KIP-1023).
        -6 if version >= 11 => return with_log(node, topic, asked.partition_index, |_| Ok(None)),
        time if time >= 0 => Spec::Time(time),
        _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
    };
    with_log(node, topic, asked.partition_index, |log| {
        // A reader of committed records must not be sent beyond them.
        let end = if committed { log.last_stable() } else { log.end() };
        let found = log.offset_for(spec)?;
        let is_time = matches!(spec, Spec::Time(_) | Spec::MaxTimestamp);
        Ok(found.filter(|found| !is_time || found.offset < end))
    })
}

/// Answers OffsetForLeaderEpoch: there was never but one leader.
pub(crate) fn for_epoch(node: &Arc<Node>, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = for_epoch_one(node, &topic.topic, asked);
            let mut response = EpochEndOffset { partition: asked.partition, ..Default::default() };
            match found {
                Ok((epoch, end)) => (response.leader_epoch, response.end_offset) = (epoch, end),
                Err(code) => response.error_code = code,
            }
            response
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions }
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn for_epoch_one(node: &Node, topic: &str, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let end = with_log(node, topic, asked.partition, |log| Ok(log.end()))?;
    check_epoch(asked.current_leader_epoch)?;
    // An epoch that never was, before or after the only one, has no end.
    Ok(if asked.leader_epoch == LEADER_EPOCH { (LEADER_EPOCH, end) } else { (-1, -1) })
}

/// Answers DeleteRecords.
pub(crate) fn delete_records(node: &Arc<Node>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (low_watermark, error_code) = match delete_records_one(node, &topic.name, asked) {
                Ok(start) => (start, ErrorCode::NONE),
                Err(code) => (-1, code),
            };
            DeleteRecordsPartitionResult { partition_index: asked.partition_index, low_watermark, error_code }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult { name: topic.name, partitions }
    });
    DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn delete_records_one(node: &Node, topic: &str, asked: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let found = node.topics().get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = found.partition(asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !partition.config().cleanup.delete {
        // Compaction alone keeps the last record of each key, whatever its offset.
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    with_log(node, topic, asked.partition_index, |log| log.delete_records(asked.offset))
}
