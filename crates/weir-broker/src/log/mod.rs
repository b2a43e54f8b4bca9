//! The log of one partition: record batches on disk as they came, read back by offset or time.
//!
//! ```text
//! append   validate (no lock) ─► producers: duplicate? in sequence? ─► roll ─► one write ─► producers, index ─► wake
//! read     hint or index ─► one read outside of the lock ─► cut at whole batches ─► aborted transactions
//! upkeep   roll, retention, expiry, snapshot, compaction: called by the owner, time is an argument
//! open     finish a swap ─► newest snapshot ─► read what follows, cut a torn tail ─► producers, indexes
//! ```
//!
//! **When an append is durable.** With [`Flush::Os`] it is in the page cache when [`Log::append`] returns: it survives the end of the
//! process (`kill -9` too), not of the machine. With [`Flush::Fsync`] the caller waits with [`Log::durable`] before it answers;
//! one `fdatasync` serves all that wait. Either way [`Log::maintain`] flushes from time to time, and recovery reads only what follows.
//!
//! **What is trusted.** A position from an index is compared with the batch that is found there; a tail is read with its
//! checksums when the log is opened and cut at the last whole batch. An append that fails half way is cut back, so that the log
//! is as it was before. After a flush that failed nothing is known of the disk, and the log stops until it is opened again.
//!
//! Nothing in memory grows with the records: a segment costs some 50 bytes, a producer some 200 until it expires. Files are
//! opened when they are used and closed by [`Files`]. The clock is never looked at and nothing here waits, except for the disk.

mod aborted;
mod append;
mod compact;
mod config;
mod error;
mod files;
mod flush;
mod index;
mod producers;
mod read;
mod recover;
mod retention;
mod scan;
mod segment;
mod snapshot;
mod swap;
mod times;
mod validate;
mod watch;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

pub use append::{Appended, Origin};
pub use compact::Compacted;
pub use config::{Cleanup, Flush, LogConfig, TimestampType};
pub use error::{AppendError, LogError, ReadError, RecordError};
pub use files::Files;
pub use producers::{Marker, ProducerState, Verified};
pub use read::{Aborted, Isolation, Slice};
pub use times::{Position, Spec};
pub use watch::Waiter;

use files::{Kind, lock};
use segment::State;

/// Every batch is appended by the first and only leader.
pub const LEADER_EPOCH: i32 = 0;

/// The log of one partition. All methods may be called from any thread; those that touch the disk wait for it.
pub struct Log {
    folder: Box<Path>,
    files: Arc<Files>,
    state: Mutex<State>,
    /// Held while segments are deleted or rewritten, so that one does not take away what the other works on.
    upkeep: Mutex<()>,
    flushing: flush::Flushing,
    watchers: watch::Watchers,
}

impl Log {
    /// Opens the log in `folder`, which is made where it is missing, and recovers it: see [`recover`].
    pub fn open(folder: &Path, config: LogConfig, files: &Arc<Files>, now_ms: i64) -> Result<Log, LogError> {
        let state = recover::open(folder, config, files, now_ms)?;
        Ok(Log {
            folder: folder.into(),
            files: files.clone(),
            state: Mutex::new(state),
            upkeep: Mutex::new(()),
            flushing: flush::Flushing::default(),
            watchers: watch::Watchers::default(),
        })
    }

    /// First offset that may be read.
    pub fn start(&self) -> i64 {
        self.lock().start
    }

    /// Offset of the next record, which is the high watermark too: there is one replica.
    pub fn end(&self) -> i64 {
        self.lock().end
    }

    /// First offset of the oldest open transaction, or the end.
    pub fn last_stable(&self) -> i64 {
        self.lock().last_stable()
    }

    /// Bytes of all batches.
    pub fn size(&self) -> u64 {
        self.lock().size()
    }

    /// The settings.
    pub fn config(&self) -> Arc<LogConfig> {
        self.lock().config.clone()
    }

    /// Other settings from now on.
    pub fn set_config(&self, config: LogConfig) {
        self.lock().config = Arc::new(config);
    }

    /// The producers that are known, by id.
    pub fn producers(&self) -> Vec<ProducerState> {
        self.lock().producers.states()
    }

    /// Tells `waiter` when the end or the last stable offset moves, until it is dropped. Watch first and read then: what is
    /// appended between the two is not missed so.
    pub fn watch(&self, waiter: &Arc<dyn Waiter>) {
        self.watchers.add(waiter);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn stopped(&self) -> LogError {
        LogError::Stopped { path: self.folder.to_path_buf() }
    }

    /// The handle of a file of a segment that is there.
    fn file(&self, id: u64, base: i64, kind: Kind) -> io::Result<Arc<File>> {
        self.files.get(id, kind, false, || segment::path(&self.folder, base, kind).into())
    }

    /// The handle of a file of a segment, which is made where it is missing.
    fn file_or_new(&self, id: u64, base: i64, kind: Kind) -> io::Result<Arc<File>> {
        self.files.get(id, kind, true, || segment::path(&self.folder, base, kind).into())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("folder", &self.folder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_partition_costs_less_than_a_kibibyte() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), LogConfig::default(), &Files::new(8), 0).unwrap();
        let segments = log.lock().segments.capacity() * size_of::<segment::Segment>();
        let path = log.folder.as_os_str().len();
        let cost = size_of::<Log>() + size_of::<LogConfig>() + segments + path;
        assert!(cost < 1024, "{cost} bytes");
    }
}
