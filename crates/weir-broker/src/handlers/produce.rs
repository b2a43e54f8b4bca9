//! Appending what producers send.

use std::sync::Arc;

use bytes::Bytes;
use weir_wire::messages::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use weir_wire::{ErrorCode, Text, Uuid};

use super::{Call, answer, millis};
use crate::clock::now_ms;
use crate::log::{AppendError, Appended, Flush, Origin, Verified};
use crate::net::{Answer, Closed};
use crate::topics::Partition;

/// The first version that names topics by id.
const BY_ID: i16 = 13;

/// Answers Produce. With `acks` 0 there is no answer, and an error closes the connection: the client cannot be told otherwise.
pub(crate) async fn produce(call: &Call<'_>, request: ProduceRequest) -> Result<Answer, Closed> {
    let acks = request.acks;
    let throttle = call.node.quotas().produced(call.header.client_id.as_deref(), call.size);
    let (topics, mut parts) = gather(call, request);
    append(&mut parts);
    if acks != 0 {
        flush(&mut parts).await;
    }
    let refused = parts.iter().find_map(|part| part.outcome.as_ref().err().map(|error| error.to_string()));
    if acks == 0 {
        return match refused {
            Some(error) => Err(Closed::Refused(format!("records sent with acks=0 were refused: {error}"))),
            None => Ok(Answer { throttle, ..Answer::default() }),
        };
    }
    let mut parts = parts.into_iter();
    let responses = topics
        .into_iter()
        .map(|topic| TopicProduceResponse {
            name: topic.name,
            topic_id: topic.id,
            partition_responses: parts.by_ref().take(topic.count).map(Part::response).collect(),
        })
        .collect();
    let response = ProduceResponse { responses, throttle_time_ms: millis(throttle), ..Default::default() };
    Ok(Answer { throttle, ..answer(call, &response)? })
}

/// A topic of the request, and how many of its partitions follow.
struct Part {
    index: i32,
    partition: Option<Arc<Partition>>,
    records: Bytes,
    outcome: Result<Appended, AppendError>,
}

/// A topic of the request; so many of the parts are of it.
struct Named {
    name: Text,
    id: Uuid,
    count: usize,
}

/// Finds the partitions of a request. What is refused already has its outcome and no partition.
fn gather(call: &Call<'_>, request: ProduceRequest) -> (Vec<Named>, Vec<Part>) {
    let topics = call.node.topics();
    let by_id = call.header.api_version >= BY_ID;
    let acks = request.acks;
    let (mut named, mut parts) = (Vec::with_capacity(request.topic_data.len()), Vec::new());
    for data in request.topic_data {
        let topic = if by_id { topics.by_id(data.topic_id) } else { topics.get(&data.name) };
        named.push(Named { name: data.name, id: data.topic_id, count: data.partition_data.len() });
        for data in data.partition_data {
            let found = topic.as_ref().and_then(|topic| topic.partition(data.index));
            let refusal = if !matches!(acks, -1..=1) {
                Some((ErrorCode::INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1"))
            } else if topic.is_none() && by_id {
                Some((ErrorCode::UNKNOWN_TOPIC_ID, "there is no topic of this id"))
            } else if found.is_none() {
                Some((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic or partition"))
            } else if topic.as_ref().is_some_and(|topic| topic.is_internal()) {
                Some((ErrorCode::INVALID_TOPIC_EXCEPTION, "the topic is the broker's own"))
            } else {
                None
            };
            let (code, message) = refusal.unwrap_or((ErrorCode::UNKNOWN_SERVER_ERROR, "nothing was appended"));
            parts.push(Part {
                index: data.index,
                partition: found.filter(|_| refusal.is_none()),
                records: data.records.unwrap_or_default(),
                outcome: Err(AppendError { code, message: message.to_owned(), records: Vec::new() }),
            });
        }
    }
    (named, parts)
}

/// Appends the parts that have a partition.
fn append(parts: &mut [Part]) {
    let now = now_ms();
    for part in parts {
        if let Some(partition) = &part.partition {
            let records = std::mem::take(&mut part.records);
            part.outcome = append_to(partition, records, Verified::No, now);
        }
    }
}

fn append_to(partition: &Partition, records: Bytes, transaction: Verified, now: i64) -> Result<Appended, AppendError> {
    let appended = partition
        .log(now)
        .map_err(AppendError::from)
        .and_then(|log| log.append(records, Origin::Client { transaction }, now));
    appended.map_err(|error| gone(partition, error))
}

/// A log that was closed under an append because its topic was deleted.
fn gone(partition: &Partition, error: AppendError) -> AppendError {
    if partition.is_deleted() {
        let message = format!("topic {} was deleted", partition.topic());
        return AppendError { code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message, records: Vec::new() };
    }
    if error.code == ErrorCode::KAFKA_STORAGE_ERROR {
        tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "cannot append");
    }
    error
}

/// Waits until what was appended is durable, where that is asked for.
async fn flush(parts: &mut [Part]) {
    let waits: Vec<(usize, Arc<Partition>, i64)> = parts
        .iter()
        .enumerate()
        .filter_map(|(at, part)| {
            let (partition, appended) = (part.partition.as_ref()?, part.outcome.as_ref().ok()?);
            let fsync = partition.opened()?.config().flush == Flush::Fsync;
            fsync.then(|| (at, Arc::clone(partition), appended.last_offset + 1))
        })
        .collect();
    if waits.is_empty() {
        return;
    }
    let flushed = tokio::task::spawn_blocking(move || {
        let flush = |(at, partition, end): (usize, Arc<Partition>, i64)| {
            let error = partition.opened()?.durable(end).err()?;
            Some((at, gone(&partition, error.into())))
        };
        waits.into_iter().filter_map(flush).collect::<Vec<_>>()
    });
    // The task fails only when the runtime ends, and the connection with it.
    for (at, error) in flushed.await.unwrap_or_default() {
        parts[at].outcome = Err(error);
    }
}

impl Part {
    fn response(self) -> PartitionProduceResponse {
        match self.outcome {
            Ok(appended) => PartitionProduceResponse {
                index: self.index,
                error_code: ErrorCode::NONE,
                base_offset: appended.base_offset,
                log_append_time_ms: appended.append_time,
                log_start_offset: appended.start,
                ..Default::default()
            },
            Err(error) => PartitionProduceResponse {
                index: self.index,
                error_code: error.code,
                base_offset: -1,
                record_errors: error
                    .records
                    .into_iter()
                    .map(|record| BatchIndexAndErrorMessage {
                        batch_index: record.batch_index,
                        batch_index_error_message: Some(Text::from(record.message)),
                    })
                    .collect(),
                error_message: Some(Text::from(error.message)),
                ..Default::default()
            },
        }
    }
}
