//! Control records: the markers that end a transaction in a partition (KIP-98, "Control Messages").
//!
//! The control records of KRaft's own log are none of ours and read as unknown.

use bytes::Buf;
use thiserror::Error;

use crate::records::Record;

/// How a transaction ended in a partition. Record key: version and type (0 abort, 1 commit) as int16; value: version
/// as int16 and coordinator epoch as int32 (`EndTxnMarker.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Committed, or aborted.
    pub commit: bool,
    /// Epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

/// A record of a control batch that is no control record: INVALID_RECORD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("control record at offset {offset} has no valid {part}")]
pub struct ControlError {
    /// Offset of the record.
    pub offset: i64,
    /// Key or value.
    pub part: &'static str,
}

impl Marker {
    /// The marker in a record of a control batch; `None` for control records of another type, which are to be skipped.
    ///
    /// Versions above 0 may add fields at the end, which are ignored, as Kafka does.
    pub fn read(record: &Record<'_>) -> Result<Option<Marker>, ControlError> {
        let error = |part| ControlError { offset: record.offset, part };
        let mut key = record.key.unwrap_or_default();
        let (Ok(0..), Ok(kind)) = (key.try_get_i16(), key.try_get_i16()) else { return Err(error("key")) };
        if kind != 0 && kind != 1 {
            return Ok(None);
        }
        let mut value = record.value.unwrap_or_default();
        let (Ok(0..), Ok(coordinator_epoch)) = (value.try_get_i16(), value.try_get_i32()) else {
            return Err(error("value"));
        };
        Ok(Some(Marker { commit: kind == 1, coordinator_epoch }))
    }

    /// The key of the marker's record.
    pub fn key(&self) -> [u8; 4] {
        [0, 0, 0, u8::from(self.commit)]
    }

    /// The value of the marker's record.
    pub fn value(&self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }
}
