//! Reading for consumers: at once where there is enough, else when there is, else when the time is over.
//!
//! Sessions (KIP-227) are not kept: each answer says so by session id 0, and clients then name all partitions each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use weir_wire::messages::{
    AbortedTransaction, FetchPartition, FetchPartitionData, FetchRequest, FetchResponse, FetchableTopicResponse,
};
use weir_wire::{ErrorCode, Text, Uuid};

use super::{Call, answer, check_epoch, millis};
use crate::budget::Grant;
use crate::clock::now_ms;
use crate::log::{Isolation, Log, LogError, Slice, Waiter};
use crate::net::{Answer, Closed};
use crate::topics::Partition;

/// The first version that names topics by id.
const BY_ID: i16 = 13;

/// Where the next read of many partitions begins, so that none is always the last.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// Answers Fetch.
pub(crate) async fn fetch(call: &Call<'_>, request: FetchRequest) -> Result<Answer, Closed> {
    let limits = &call.node.config().limits;
    if request.session_id != 0 && request.session_epoch > 0 {
        let response = FetchResponse { error_code: ErrorCode::FETCH_SESSION_ID_NOT_FOUND, ..Default::default() };
        return answer(call, &response);
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(limits.idle);
    let deadline = Instant::now() + wait;
    let least = usize::try_from(request.min_bytes).unwrap_or(0);
    let most = usize::try_from(request.max_bytes).unwrap_or(0).min(limits.fetch);
    let isolation = if request.isolation_level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let (topics, parts) = gather(call, request);
    let mut reading = Reading { parts, isolation, most, memory: call.node.response_memory().grant() };
    let mut read = reading.read().await;
    if !wait.is_zero() && !reading.parts.is_empty() && read.is_short(least) {
        read = reading.wait(call, least, deadline).await;
    }
    let throttle = call.node.quotas().consumed(call.header.client_id.as_deref(), read.bytes);
    let mut slots = read.slots.into_iter();
    let responses = topics
        .into_iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.name,
            topic_id: topic.id,
            partitions: slots.by_ref().take(topic.count).collect(),
        })
        .collect();
    let response = FetchResponse { throttle_time_ms: millis(throttle), responses, ..Default::default() };
    Ok(Answer { throttle, memory: Some(reading.memory), ..answer(call, &response)? })
}

/// A topic of the request; so many of the parts are of it.
struct Named {
    name: Text,
    id: Uuid,
    count: usize,
}

/// A partition of the request.
struct Part {
    asked: FetchPartition,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// What one round of reading gave: an answer for each part.
struct Read {
    slots: Vec<FetchPartitionData>,
    bytes: usize,
    failed: bool,
}

impl Read {
    /// Whether there is a reason to wait for more.
    fn is_short(&self, least: usize) -> bool {
        !self.failed && self.bytes < least
    }
}

fn gather(call: &Call<'_>, request: FetchRequest) -> (Vec<Named>, Vec<Part>) {
    let topics = call.node.topics();
    let by_id = call.header.api_version >= BY_ID;
    let (mut named, mut parts) = (Vec::with_capacity(request.topics.len()), Vec::new());
    for asked in request.topics {
        let topic = if by_id { topics.by_id(asked.topic_id) } else { topics.get(&asked.topic) };
        let unknown =
            if by_id && topic.is_none() { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        named.push(Named { name: asked.topic, id: asked.topic_id, count: asked.partitions.len() });
        parts.extend(asked.partitions.into_iter().map(|asked| {
            let found = topic.as_ref().and_then(|topic| topic.partition(asked.partition));
            let partition = found.ok_or(unknown).and_then(|found| {
                check_epoch(asked.current_leader_epoch)?;
                Ok(found)
            });
            Part { asked, partition }
        }));
    }
    (named, parts)
}

/// The reading for one request.
struct Reading {
    parts: Vec<Part>,
    isolation: Isolation,
    most: usize,
    memory: Grant,
}

impl Reading {
    /// Reads all partitions once, in turn from another one each time, until the answer is full.
    async fn read(&mut self) -> Read {
        let count = self.parts.len();
        let mut slots: Vec<FetchPartitionData> = self.parts.iter().map(|part| empty(part, ErrorCode::NONE)).collect();
        let (mut bytes, mut failed) = (0, false);
        let first = if count > 1 { TURN.fetch_add(1, Ordering::Relaxed) % count } else { 0 };
        for at in (first..count).chain(0..first) {
            let part = &self.parts[at];
            let room = self.most.saturating_sub(bytes);
            let wanted = usize::try_from(part.asked.partition_max_bytes).unwrap_or(0).min(room);
            // One batch is given whatever its size, or a consumer with small limits would never get beyond it.
            let at_least_one = bytes == 0 && self.most > 0;
            match open(part, self.isolation) {
                Err(code) => {
                    slots[at] = empty(part, code);
                    failed = true;
                }
                Ok((_, log, false)) => fill(&mut slots[at], positions(log)),
                Ok((partition, log, true)) => {
                    if wanted > 0 || at_least_one {
                        let held = self.memory.size();
                        if bytes == 0 {
                            self.memory.grow(held + wanted, held + wanted).await;
                        } else if !self.memory.try_grow(held + wanted) {
                            fill(&mut slots[at], positions(log));
                            continue;
                        }
                    }
                    match log.read(part.asked.fetch_offset, wanted, self.isolation, at_least_one) {
                        Ok(slice) => {
                            bytes += slice.records.len();
                            self.memory.shrink(bytes);
                            fill(&mut slots[at], slice);
                            if self.isolation == Isolation::ReadUncommitted {
                                slots[at].aborted_transactions = None;
                            }
                        }
                        Err(error) => {
                            self.memory.shrink(bytes);
                            slots[at] = empty(part, code(partition, &error));
                            failed = true;
                        }
                    }
                }
            }
        }
        Read { slots, bytes, failed }
    }

    /// Reads again when the logs have moved far enough, at the latest at the deadline.
    async fn wait(&mut self, call: &Call<'_>, least: usize, deadline: Instant) -> Read {
        let moved = Arc::new(Notify::new());
        let waker = Arc::clone(&moved);
        let waiter: Arc<dyn Waiter> = Arc::new(move || waker.notify_one());
        for log in self.logs() {
            log.watch(&waiter);
        }
        let mut stopping = call.node.stopping();
        loop {
            // Read after the watch began: what came in between is not missed.
            let read = self.read().await;
            if !read.is_short(least) || call.node.is_stopping() {
                return read;
            }
            let there = read.bytes;
            drop(read);
            self.memory.shrink(0);
            let before = self.size();
            loop {
                let woken = tokio::select! {
                    woken = timeout_at(deadline, moved.notified()) => woken.is_ok(),
                    _ = stopping.wait_for(|stopping| *stopping) => false,
                };
                if !woken {
                    return self.read().await;
                }
                // Who asks for much is not read for with each small append.
                if least <= 1 || there as u64 + self.size().saturating_sub(before) >= least as u64 || self.is_broken() {
                    break;
                }
            }
        }
    }

    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.parts.iter().filter_map(|part| part.partition.as_ref().ok()?.opened())
    }

    /// Bytes in all the logs.
    fn size(&self) -> u64 {
        self.logs().map(Log::size).sum()
    }

    /// Whether a topic was deleted meanwhile.
    fn is_broken(&self) -> bool {
        self.parts.iter().any(|part| part.partition.as_ref().is_ok_and(|partition| partition.is_deleted()))
    }
}

/// The partition, its log, and whether there is anything to read at the offset that is asked for.
fn open(part: &Part, isolation: Isolation) -> Result<(&Partition, &Log, bool), ErrorCode> {
    let partition = part.partition.as_ref().map_err(|code| *code)?;
    let log = partition.log(now_ms()).map_err(|error| code(partition, &error))?;
    let end = match isolation {
        Isolation::ReadUncommitted => log.end(),
        Isolation::ReadCommitted => log.last_stable(),
    };
    let at_end = part.asked.fetch_offset == end && !partition.is_deleted();
    Ok((partition, log, !at_end))
}

fn code(partition: &Partition, error: &LogError) -> ErrorCode {
    if partition.is_deleted() {
        return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    }
    if error.code() == ErrorCode::KAFKA_STORAGE_ERROR {
        tracing::error!(topic = %partition.topic(), partition = partition.index(), %error, "cannot read");
    }
    error.code()
}

fn positions(log: &Log) -> Slice {
    Slice {
        records: Bytes::new(),
        high_watermark: log.end(),
        last_stable: log.last_stable(),
        start: log.start(),
        aborted: Vec::new(),
    }
}

fn empty(part: &Part, error_code: ErrorCode) -> FetchPartitionData {
    FetchPartitionData {
        partition_index: part.asked.partition,
        error_code,
        high_watermark: -1,
        records: Some(Bytes::new()),
        ..Default::default()
    }
}

fn fill(slot: &mut FetchPartitionData, slice: Slice) {
    slot.high_watermark = slice.high_watermark;
    slot.last_stable_offset = slice.last_stable;
    slot.log_start_offset = slice.start;
    let aborted = slice
        .aborted
        .iter()
        .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset });
    slot.aborted_transactions = Some(aborted.collect());
    slot.records = Some(slice.records);
}
