//! What happens to a log by and by: segments are closed and deleted, producers expire, what is new is flushed.

use std::fs;
use std::io;

use super::append::snapshot;
use super::error::LogError;
use super::files::{Kind, lock};
use super::recover::Offsets;
use super::segment::{Segment, State};
use super::{Log, segment};

impl Log {
    /// Everything that is due at `now_ms`, except for compaction: closes a segment that has spanned its time, deletes what
    /// retention no longer covers, forgets idle producers, flushes and takes a snapshot after much was appended. To be called every
    /// few seconds; it may wait for the disk.
    pub fn maintain(&self, now_ms: i64) -> Result<(), LogError> {
        let upkeep = lock(&self.upkeep);
        let deleted = {
            let mut state = self.lock();
            if state.stopped {
                return Ok(());
            }
            let after = state.config.producer_id_expiration_ms;
            state.producers.expire(now_ms, after);
            self.roll_by_time(&mut state, now_ms)?;
            self.expired(&mut state, now_ms)?
        };
        self.remove(&deleted)?;
        drop(upkeep);
        self.checkpoint_if_due()
    }

    /// Moves the start of the log up to `before` (-1: to the end), for good, and gives the new start. The space is freed by and by.
    pub fn delete_records(&self, before: i64) -> Result<i64, LogError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(self.stopped());
        }
        let (start, end) = (state.start, state.end);
        let before = if before == -1 { end } else { before };
        if before < 0 || before > end {
            return Err(LogError::OutOfRange { offset: before, start, end });
        }
        if before > start {
            let offsets = Offsets { start: before, ..Offsets::of(&state) };
            offsets.write(&self.folder)?;
            state.start = before;
        }
        Ok(state.start)
    }

    /// Closes an active segment that has spanned its time although nothing is appended, so that it can be deleted or compacted.
    fn roll_by_time(&self, state: &mut State, now_ms: i64) -> Result<(), LogError> {
        let first = state.tail.first_timestamp.filter(|first| *first >= 0);
        let span = state.config.segment_span();
        if state.active().size > 0 && first.is_some_and(|first| now_ms.saturating_sub(first) > span) {
            self.roll(state)?;
        }
        Ok(())
    }

    /// Takes the segments out of the log that are to be deleted.
    fn expired(&self, state: &mut State, now_ms: i64) -> Result<Vec<Segment>, LogError> {
        let config = state.config.clone();
        let mut surplus = match config.retention_bytes {
            Some(keep) if config.cleanup.delete => state.size().saturating_sub(keep),
            _ => 0,
        };
        let mut count = 0;
        for (at, segment) in state.segments.iter().enumerate() {
            let active = at + 1 == state.segments.len();
            let below_start = !active && state.end_of(at) <= state.start;
            let too_old =
                config.cleanup.delete && segment.size > 0 && self.is_older(segment, config.retention_ms, now_ms);
            // Kafka keeps a segment of which a part is within the size; and the active one, whatever its size.
            let too_much = !active && surplus > 0 && surplus >= segment.size;
            // An empty segment is left of a compaction, or the active one.
            let empty = !active && segment.size == 0 && config.cleanup.delete;
            if !(below_start || too_old || too_much || empty) {
                break;
            }
            surplus = surplus.saturating_sub(segment.size);
            count += 1;
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        if count == state.segments.len() {
            // All is old, the active segment too: a new one takes its place.
            self.roll(state)?;
        }
        if state.snapshot < state.segments[count].base {
            // What the producers did there is known to no other file.
            snapshot(state).write(&self.folder).map_err(LogError::io(&self.folder))?;
            state.snapshot = state.end;
        }
        let deleted: Vec<Segment> = state.segments.drain(..count).collect();
        state.start = state.start.max(state.segments[0].base);
        state.clean = state.clean.max(state.start);
        Ok(deleted)
    }

    fn is_older(&self, segment: &Segment, retention_ms: Option<i64>, now_ms: i64) -> bool {
        let Some(retention_ms) = retention_ms else { return false };
        let latest = match segment.max_timestamp {
            // Records without timestamp are as old as the file.
            ..0 => match self.modified_ms(segment) {
                Some(modified) => modified,
                None => return false,
            },
            latest => latest,
        };
        now_ms.saturating_sub(latest) > retention_ms
    }

    fn modified_ms(&self, segment: &Segment) -> Option<i64> {
        let path = segment::path(&self.folder, segment.base, Kind::Log);
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Deletes the files of segments that are no longer in the log. Those that stay behind are found again at the next start.
    pub(super) fn remove(&self, segments: &[Segment]) -> Result<(), LogError> {
        for segment in segments {
            self.files.forget(segment.id);
            // The batches go first: indexes without them are removed at the next start.
            for kind in [Kind::Log, Kind::Index, Kind::Aborted] {
                let path = segment::path(&self.folder, segment.base, kind);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(LogError::io(&path)(error)),
                    _ => {}
                }
            }
            tracing::debug!(folder = %self.folder.display(), base = segment.base, bytes = segment.size, "segment deleted");
        }
        Ok(())
    }
}
