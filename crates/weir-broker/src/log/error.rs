//! How an operation on a log can fail, with what the answer to the client needs.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_wire::ErrorCode;

/// A log cannot be opened or kept.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file system refused: KAFKA_STORAGE_ERROR.
    #[error("{path}: {source}; check the disk and the rights on the data folder", path = path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log was closed or stopped after a failed flush, when nothing is known about what is on the disk:
    /// KAFKA_STORAGE_ERROR.
    #[error("{path}: the log is stopped; restart the broker to recover it", path = path.display())]
    Stopped {
        /// Folder of the partition.
        path: PathBuf,
    },
    /// A file of the log holds something else than it must: KAFKA_STORAGE_ERROR.
    #[error("{path}: {what} at byte {position}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Byte position in the file.
        position: u64,
        /// What is wrong.
        what: String,
    },
    /// An offset outside of the log: OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is outside of the log, which has {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// First offset.
        start: i64,
        /// Offset of the next record.
        end: i64,
    },
}

impl LogError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> LogError {
        let path = path.to_owned();
        move |source| LogError::Io { path, source }
    }

    /// The same where the path is only made when it is needed.
    pub(super) fn at(path: impl FnOnce() -> PathBuf) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { path: path(), source }
    }

    /// The code of the answer.
    pub fn code(&self) -> ErrorCode {
        match self {
            LogError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            _ => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// A read fails for the same reasons.
pub type ReadError = LogError;

/// A record that was refused, for `record_errors` of the answer (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record in its batch, ascending in the list.
    pub batch_index: i32,
    /// Why.
    pub message: String,
}

/// An append that was refused; nothing of it is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct AppendError {
    /// Code of the partition in the answer.
    pub code: ErrorCode,
    /// Message of the partition in the answer.
    pub message: String,
    /// The records that are to blame, ascending; empty where the whole batch is.
    pub records: Vec<RecordError>,
}

impl AppendError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> AppendError {
        AppendError { code, message: message.into(), records: Vec::new() }
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> AppendError {
        AppendError::new(error.code(), error.to_string())
    }
}
