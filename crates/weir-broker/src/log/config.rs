//! The settings of one partition log, as plain checked values; the topic's textual configuration is read elsewhere.

pub use weir_wire::batch::TimestampType;
use weir_wire::codec::Codec;

/// What happens with old records (`cleanup.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleanup {
    /// Whole segments go by age and size.
    pub delete: bool,
    /// Only the last record of each key stays.
    pub compact: bool,
}

/// When an append is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Once it is in the page cache: it survives the end of the process, not of the machine. As Apache Kafka by default.
    Os,
    /// Once [`super::Log::durable`] returns: after an `fdatasync`, which many waiting appends share.
    Fsync,
}

/// Settings of one partition log; the defaults are Kafka's. Times are in ms, sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// A new segment begins before one grows beyond this (`segment.bytes`); at most `i32::MAX`.
    pub segment_bytes: u64,
    /// A new segment begins when the records of one span more than this (`segment.ms`).
    pub segment_ms: i64,
    /// Largest index of one segment (`segment.index.bytes`).
    pub segment_index_bytes: u64,
    /// One index entry for so many bytes of batches (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    /// Age at which a segment goes (`retention.ms`); `None`: never.
    pub retention_ms: Option<i64>,
    /// Size above which the oldest segments go (`retention.bytes`); `None`: no bound.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// How long compaction keeps tombstones and markers that nothing needs (`delete.retention.ms`).
    pub delete_retention_ms: i64,
    /// Share of bytes not yet compacted that starts a compaction (`min.cleanable.dirty.ratio`).
    pub min_cleanable_dirty_ratio: f64,
    /// Age below which records are not compacted (`min.compaction.lag.ms`).
    pub min_compaction_lag_ms: i64,
    /// Age at which records are compacted whatever the ratio (`max.compaction.lag.ms`).
    pub max_compaction_lag_ms: i64,
    /// Memory for the keys of one pass of a compaction (the broker's `log.cleaner.dedupe.buffer.size`).
    pub compaction_bytes: usize,
    /// Largest batch (`max.message.bytes`).
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie behind the clock (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far a record's timestamp may lie ahead of the clock (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; `None`: as the producer sent it.
    pub compression: Option<Codec>,
    /// When an append is durable.
    pub flush: Flush,
    /// How long the state of an idle producer is kept (`producer.id.expiration.ms`).
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * DAY),
            retention_bytes: None,
            cleanup: Cleanup { delete: true, compact: false },
            delete_retention_ms: DAY,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            compaction_bytes: 8 << 20,
            max_message_bytes: (1 << 20) + 12,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            compression: None,
            flush: Flush::Os,
            producer_id_expiration_ms: DAY,
        }
    }
}

impl LogConfig {
    /// The size at which a segment is full: positions in a segment are 31 bits wide.
    pub(super) fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(i32::MAX as u64)
    }

    /// The span of time of one segment; a compacted log must close one before the greatest lag has passed.
    pub(super) fn segment_span(&self) -> i64 {
        if self.cleanup.compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }
}
