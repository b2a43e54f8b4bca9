//! What a client may append, as Kafka's brokers check it (KIP-98, KIP-467): nothing that a consumer could stumble over gets in.

use bytes::Bytes;
use weir_wire::ErrorCode;
use weir_wire::batch::{Batch, BatchError, TimestampType};
use weir_wire::build::{BatchBuilder, Producer, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control;
use weir_wire::records::{Records, RecordsError};

use super::append::Origin;
use super::config::LogConfig;
use super::error::{AppendError, RecordError};
use super::{LEADER_EPOCH, Marker};

/// Most bytes that the records of one batch may have decompressed.
pub(super) const DECOMPRESSED_LIMIT: usize = 128 << 20;
/// Most records that an answer names.
const NAMED_RECORDS: usize = 1_000;

/// The batches of one append, checked.
pub(super) fn batches(
    mut bytes: Bytes,
    origin: Origin,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Vec<Batch>, AppendError> {
    let client = matches!(origin, Origin::Client { .. });
    let all = bytes.len() as u64;
    let mut batches = Vec::with_capacity(1);
    while let Some(batch) = Batch::split(&mut bytes).map_err(refused)? {
        if client && !batches.is_empty() {
            return Err(invalid(
                "the records are more than one record batch, a Produce request has one for a partition",
            ));
        }
        if batch.size() > config.max_message_bytes {
            let message = format!(
                "the record batch has {} bytes, more than the {} of max.message.bytes",
                batch.size(),
                config.max_message_bytes
            );
            return Err(AppendError::new(ErrorCode::MESSAGE_TOO_LARGE, message));
        }
        batch.verify_crc().map_err(refused)?;
        if client {
            header(&batch)?;
        }
        batches.push(records(batch, client, config, now_ms)?);
    }
    if batches.is_empty() {
        return Err(invalid("the records hold no record batch"));
    }
    if all > config.segment_limit() {
        let message = format!("the records have {all} bytes, more than the {} of segment.bytes", config.segment_bytes);
        return Err(AppendError::new(ErrorCode::RECORD_LIST_TOO_LARGE, message));
    }
    Ok(batches)
}

/// What the header of a client's batch must say.
fn header(batch: &Batch) -> Result<(), AppendError> {
    if batch.base_offset() != 0 {
        return Err(invalid(format!("the base offset of the record batch is {}, not 0", batch.base_offset())));
    }
    let range = i64::from(batch.last_offset_delta()) + 1;
    if batch.count() == 0 || range != i64::from(batch.count()) {
        let message = format!("the record batch counts {} records for {range} offsets", batch.count());
        return Err(invalid(message));
    }
    if batch.is_control() {
        return Err(invalid("clients must not write control records"));
    }
    let (id, epoch, sequence) = (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
    if id >= 0 && (epoch < 0 || sequence < 0) {
        return Err(invalid(format!("producer {id} sent epoch {epoch} and sequence {sequence}")));
    }
    if id < 0 && batch.is_transactional() {
        return Err(invalid("transactional records without a producer id"));
    }
    if batch.delete_horizon().is_some() {
        return Err(invalid("clients must not set a delete horizon"));
    }
    Ok(())
}

/// Checks the records of a batch and gives the batch as it is to be stored: itself, but for another codec or a header that is
/// wrong about the latest timestamp.
fn records(batch: Batch, client: bool, config: &LogConfig, now_ms: i64) -> Result<Batch, AppendError> {
    let sent = batch.codec().map_err(refused)?;
    let codec = config.compression.unwrap_or(sent);
    if !client && codec == sent {
        return Ok(batch);
    }
    let records = Records::read(&batch, DECOMPRESSED_LIMIT).map_err(malformed)?;
    let mut max_timestamp = -1;
    let mut faults = Faults::default();
    for (expected, record) in (0..).zip(&records) {
        let record = record.map_err(malformed)?;
        if client {
            if record.offset_delta != expected {
                faults.add(expected, false, || format!("offset delta is {}", record.offset_delta));
            }
            if config.cleanup.compact && record.key.is_none() {
                faults.add(expected, false, || "a compacted topic takes no record without key".to_owned());
            }
            if batch.timestamp_type() == TimestampType::LogAppendTime {
                faults.add(expected, true, || "the timestamp type LogAppendTime is the broker's".to_owned());
            } else if config.timestamp_type == TimestampType::CreateTime && record.timestamp != -1 {
                let (low, high) = bounds(config, now_ms);
                if !(low..=high).contains(&record.timestamp) {
                    let timestamp = record.timestamp;
                    faults.add(expected, true, || format!("timestamp {timestamp} is not between {low} and {high}"));
                }
            }
        }
        max_timestamp = max_timestamp.max(record.timestamp);
    }
    faults.result()?;
    // Retention and look-ups by time go by the header.
    let truthful = batch.max_timestamp() == max_timestamp || config.timestamp_type == TimestampType::LogAppendTime;
    if codec == sent && truthful {
        return Ok(batch);
    }
    rebuild(&batch, &records, codec).map_err(|error| invalid(format!("the records cannot be stored anew: {error}")))
}

/// The timestamps that a record may have.
fn bounds(config: &LogConfig, now_ms: i64) -> (i64, i64) {
    (now_ms.saturating_sub(config.timestamp_before_max_ms), now_ms.saturating_add(config.timestamp_after_max_ms))
}

/// The same records under another codec.
fn rebuild(batch: &Batch, records: &Records, codec: Codec) -> Result<Batch, Box<dyn std::error::Error>> {
    let mut builder = BatchBuilder::new(codec).producer(Producer {
        id: batch.producer_id(),
        epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
    });
    if batch.is_transactional() {
        builder = builder.transactional();
    }
    if batch.is_control() {
        builder = builder.control();
    }
    for record in records {
        builder.retain(&record?)?;
    }
    let mut bytes = builder.finish(batch.base_offset())?;
    Ok(Batch::split(&mut bytes)?.ok_or("no batch")?)
}

/// The batch that ends a transaction.
pub(super) fn marker(marker: &Marker, now_ms: i64) -> Result<Batch, AppendError> {
    let Marker { producer_id, producer_epoch, coordinator_epoch, commit, .. } = *marker;
    let control = control::Marker { commit, coordinator_epoch };
    let batch = marker_batch(control, producer_id, producer_epoch, 0, LEADER_EPOCH, now_ms);
    let mut bytes = batch.map_err(|error| invalid(error.to_string()))?;
    Batch::split(&mut bytes).map_err(refused)?.ok_or_else(|| invalid("the marker is empty"))
}

/// The records that are refused.
#[derive(Default)]
struct Faults {
    records: Vec<RecordError>,
    count: usize,
    timestamp: bool,
}

impl Faults {
    /// `index` ascends from call to call; of a record only the first fault is told.
    fn add(&mut self, index: i32, timestamp: bool, message: impl FnOnce() -> String) {
        if self.records.last().is_some_and(|last| last.batch_index == index) {
            return;
        }
        self.timestamp |= timestamp;
        self.count += 1;
        if self.records.len() < NAMED_RECORDS {
            self.records.push(RecordError { batch_index: index, message: message() });
        }
    }

    fn result(self) -> Result<(), AppendError> {
        let Some(first) = self.records.first() else { return Ok(()) };
        let code = if self.timestamp { ErrorCode::INVALID_TIMESTAMP } else { ErrorCode::INVALID_RECORD };
        let message =
            format!("{} records are refused, the first at index {}: {}", self.count, first.batch_index, first.message);
        Err(AppendError { code, message, records: self.records })
    }
}

fn invalid(message: impl Into<String>) -> AppendError {
    AppendError::new(ErrorCode::INVALID_RECORD, message)
}

/// A batch that is none.
pub(super) fn refused(error: BatchError) -> AppendError {
    let code = match error {
        BatchError::Length { .. } | BatchError::Crc { .. } => ErrorCode::CORRUPT_MESSAGE,
        // To Apache Kafka bytes that end early hold no batch, where there must be one; clients do not send them again.
        BatchError::Truncated { .. } | BatchError::Negative { .. } => ErrorCode::INVALID_RECORD,
        BatchError::Magic { magic: 0 | 1 } => ErrorCode::INVALID_RECORD,
        BatchError::Magic { .. } => ErrorCode::CORRUPT_MESSAGE,
        BatchError::Codec { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
    };
    AppendError::new(code, error.to_string())
}

/// Records that are none.
fn malformed(error: RecordsError) -> AppendError {
    let message = error.to_string();
    match error {
        RecordsError::Batch(error) => refused(error),
        RecordsError::Codec(_) => AppendError::new(ErrorCode::CORRUPT_MESSAGE, message),
        RecordsError::Count { .. } | RecordsError::Trailing { .. } => invalid(message),
        RecordsError::Record { index, ref fault, .. } => AppendError {
            code: ErrorCode::INVALID_RECORD,
            records: vec![RecordError { batch_index: index, message: fault.to_string() }],
            message,
        },
    }
}
