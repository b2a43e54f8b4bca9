//! Making appends durable: one `fdatasync` for all that wait (group commit), and snapshots of what was flushed.

use std::sync::{Condvar, Mutex, PoisonError};

use super::Log;
use super::append::snapshot;
use super::error::LogError;
use super::files::{Kind, lock};
use super::segment;

/// Bytes after which a snapshot spares recovery from reading them, which takes some 50 ms; a smaller number means more flushes.
const SNAPSHOT_BYTES: u64 = 128 << 20;

/// Who flushes, while others wait for it.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    busy: Mutex<bool>,
    done: Condvar,
}

impl Log {
    /// Waits until all records below `offset` are on the disk. One of the waiting threads flushes for all of them.
    ///
    /// An error stops the log: after a failed flush the system may have dropped the bytes, and nobody knows which.
    pub fn durable(&self, offset: i64) -> Result<(), LogError> {
        let mut busy = lock(&self.flushing.busy);
        loop {
            {
                let state = self.lock();
                if state.synced >= offset {
                    return Ok(());
                }
                if state.stopped {
                    return Err(self.stopped());
                }
            }
            if !*busy {
                break;
            }
            busy = self.flushing.done.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        *busy = true;
        drop(busy);
        // While this one flushes, others append and gather for the next.
        let result = self.flush_once();
        *lock(&self.flushing.busy) = false;
        self.flushing.done.notify_all();
        result
    }

    /// Flushes all that is in the log now.
    pub fn flush(&self) -> Result<(), LogError> {
        self.durable(self.end())
    }

    fn flush_once(&self) -> Result<(), LogError> {
        let (end, files) = {
            let state = self.lock();
            let mut files = Vec::new();
            for (at, segment) in state.segments.iter().enumerate() {
                let last = at + 1 == state.segments.len();
                if last || state.end_of(at) > state.synced {
                    let path = || segment::path(&self.folder, segment.base, Kind::Log);
                    files.push(self.file(segment.id, segment.base, Kind::Log).map_err(LogError::at(path))?);
                }
            }
            (state.end, files)
        };
        for file in files {
            if let Err(error) = file.sync_data() {
                self.stop();
                tracing::error!(folder = %self.folder.display(), %error, "flush failed, the log stops");
                return Err(LogError::io(&self.folder)(error));
            }
        }
        let mut state = self.lock();
        state.synced = state.synced.max(end);
        Ok(())
    }

    /// Bytes that recovery would read.
    pub fn unread(&self) -> u64 {
        self.lock().since_snapshot
    }

    /// Flushes and writes a snapshot where recovery would have to read `at_least` so many bytes and more than none. Not to be called by
    /// two at a time.
    ///
    /// # Errors
    /// [`LogError`] of the disk; recovery then reads more.
    pub fn checkpoint(&self, at_least: u64) -> Result<(), LogError> {
        let (snapshot, covered) = {
            let mut state = self.lock();
            if state.since_snapshot < at_least.max(1) || state.stopped {
                return Ok(());
            }
            self.write_index(&mut state);
            (snapshot(&state), state.since_snapshot)
        };
        self.durable(snapshot.offset)?;
        snapshot.write(&self.folder).map_err(LogError::io(&self.folder))?;
        let mut state = self.lock();
        if state.snapshot < snapshot.offset {
            state.snapshot = snapshot.offset;
            // What was appended meanwhile is read by recovery.
            state.since_snapshot = state.since_snapshot.saturating_sub(covered);
        }
        Ok(())
    }

    /// Flushes, writes a snapshot and takes no more appends and reads; the next open has nothing to recover.
    pub fn close(&self) -> Result<(), LogError> {
        let result = self.checkpoint(1);
        self.stop();
        result
    }

    /// No more appends and reads, without a flush: for a log that is deleted.
    pub fn stop(&self) {
        {
            let mut state = self.lock();
            state.stopped = true;
            state.segments.iter().for_each(|segment| self.files.forget(segment.id));
        }
        self.watchers.wake();
    }

    pub(super) fn checkpoint_if_due(&self) -> Result<(), LogError> {
        self.checkpoint(SNAPSHOT_BYTES)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let state = self.lock();
        state.segments.iter().for_each(|segment| self.files.forget(segment.id));
    }
}
