//! Appending what producers send.

use std::sync::Arc;

use bytes::Bytes;
use weir_wire::batch::Header;
use weir_wire::messages::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use weir_wire::{ErrorCode, Text, Uuid};

use super::{Call, answer, blocking, millis};
use crate::clock::now_ms;
use crate::log::{AppendError, Appended, Flush, Origin, Verified};
use crate::net::{Answer, Closed};
use crate::node::Node;
use crate::topics::Partition;
use crate::transactions::{Caller, Producer, TopicPartition};

/// The first version that names topics by id.
const BY_ID: i16 = 13;
/// The first version in which writing to a partition takes it into the transaction (KIP-890).
const ADDS: i16 = 12;

/// Answers Produce. With `acks` 0 there is no answer, and an error closes the connection: the client cannot be told otherwise.
pub(crate) async fn produce(call: &Call<'_>, request: ProduceRequest) -> Result<Answer, Closed> {
    let acks = request.acks;
    let throttle = call.node.quotas().produced(call.header.client_id.as_deref(), call.size);
    let transactional_id = request.transactional_id.clone();
    let (topics, parts) = gather(call, request);
    let mut parts = append(call, transactional_id, parts).await?;
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

/// A partition of the request.
struct Part {
    index: i32,
    partition: Option<Arc<Partition>>,
    records: Bytes,
    /// Whose transaction the records are part of.
    producer: Option<Producer>,
    base_sequence: i32,
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
                producer: None,
                base_sequence: -1,
                outcome: Err(AppendError { code, message: message.to_owned(), records: Vec::new() }),
            });
        }
    }
    (named, parts)
}

/// Appends the parts that have a partition.
async fn append(call: &Call<'_>, id: Option<Text>, mut parts: Vec<Part>) -> Result<Vec<Part>, Closed> {
    parts.iter_mut().for_each(Part::find_producer);
    if parts.iter().all(|part| part.producer.is_none()) {
        parts.iter_mut().for_each(|part| part.append(Verified::No));
        return Ok(parts);
    }
    let version = call.header.api_version;
    let verify = move |node: &Arc<Node>| {
        append_transactional(node, id.as_deref(), version, &mut parts);
        parts
    };
    // The coordinator may have to wait for the disk.
    if call.node.config().flush == Flush::Fsync { blocking(call, verify).await } else { Ok(verify(call.node)) }
}

/// Appends parts of which some belong to a transaction: each is announced to its log, then the coordinator is asked, then it is
/// appended. The log refuses it if the transaction ended in between.
fn append_transactional(node: &Arc<Node>, id: Option<&str>, version: i16, parts: &mut [Part]) {
    let producer = parts.iter().find_map(|part| part.producer);
    let one = parts.iter().filter_map(|part| part.producer).all(|other| Some(other) == producer);
    let Some(id) = id else {
        let message = "records of a transaction need its transactional id";
        return refuse_transactional(parts, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message);
    };
    let (Some(producer), true) = (producer, one) else {
        let message = "one request cannot be of several producers";
        return refuse_transactional(parts, ErrorCode::INVALID_PRODUCER_ID_MAPPING, message);
    };
    let now = now_ms();
    let mut asked = Vec::new();
    for (at, part) in parts.iter_mut().enumerate() {
        let (Some(partition), Some(_)) = (part.partition.clone(), part.producer) else { continue };
        let log = partition.log(now).map_err(AppendError::from);
        let begun = log.and_then(|log| {
            log.begin_verification(producer.id, producer.epoch, part.base_sequence, version >= ADDS, now)
        });
        match begun {
            Ok(verified) => asked.push((at, verified, (Arc::clone(partition.topic()), partition.index()))),
            Err(error) => {
                part.outcome = Err(gone(&partition, error));
                part.partition = None;
            }
        }
    }
    let partitions: Vec<TopicPartition> = asked.iter().map(|(_, _, partition)| partition.clone()).collect();
    let caller = Caller { version, transactional_id: id, producer };
    let answers = node.turn_transactions(|transactions, now, perform| {
        transactions.verify_produce(&caller, &partitions, now, perform)
    });
    for ((at, verified, _), answer) in asked.into_iter().zip(answers) {
        match answer {
            Ok(()) => parts[at].append(verified),
            Err(error) => parts[at].refuse(error.code(), &error.to_string()),
        }
    }
    parts.iter_mut().filter(|part| part.producer.is_none()).for_each(|part| part.append(Verified::No));
}

fn refuse_transactional(parts: &mut [Part], code: ErrorCode, message: &str) {
    for part in parts {
        match part.producer {
            Some(_) => part.refuse(code, message),
            None => part.append(Verified::No),
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
    /// Looks whether the records are part of a transaction. Whether they are records at all is seen when they are appended.
    fn find_producer(&mut self) {
        let header = Header::read(&self.records).ok();
        if let Some(header) = header.filter(|header| self.partition.is_some() && header.is_transactional()) {
            self.producer = Some(Producer { id: header.producer_id(), epoch: header.producer_epoch() });
            self.base_sequence = header.base_sequence();
        }
    }

    fn append(&mut self, verified: Verified) {
        if let Some(partition) = &self.partition {
            self.outcome = append_to(partition, std::mem::take(&mut self.records), verified, now_ms());
        }
    }

    fn refuse(&mut self, code: ErrorCode, message: &str) {
        self.outcome = Err(AppendError { code, message: message.to_owned(), records: Vec::new() });
        self.partition = None;
    }

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
