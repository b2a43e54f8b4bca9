//! What is kept in memory of a partition: its segments, its offsets and where the last reads ended.
//!
//! A segment costs some 50 bytes here, whatever is in it; positions, times and transactions are looked up in its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::LogConfig;
use super::files::Kind;
use super::index;
use super::producers::Producers;

/// A file of batches and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Names its files among the open handles; a rewritten segment has a new one.
    pub(super) id: u64,
    /// Offset that no record in it is below.
    pub(super) base: i64,
    /// Bytes of batches.
    pub(super) size: u64,
    /// Highest timestamp, or -1.
    pub(super) max_timestamp: i64,
    /// Entries in the index file, without the one at its end; those of the active segment are counted by [`Tail`].
    pub(super) entries: u32,
    /// Aborted transactions whose marker is in it.
    pub(super) aborted: u32,
}

impl Segment {
    pub(super) fn empty(id: u64, base: i64) -> Segment {
        Segment { id, base, size: 0, max_timestamp: -1, entries: 0, aborted: 0 }
    }
}

/// Path of a file of the segment with this base offset.
pub(super) fn path(folder: &Path, base: i64, kind: Kind) -> PathBuf {
    folder.join(format!("{base:020}.{}", kind.ending()))
}

/// What only the active segment has.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) index: index::Builder,
    /// Highest timestamp of its first batch.
    pub(super) first_timestamp: Option<i64>,
}

/// Where the batch begins that holds `offset` or is the first after it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hint {
    pub(super) segment: u64,
    pub(super) offset: i64,
    pub(super) position: u64,
}

/// Readers that follow a log each find the place where they stopped.
#[derive(Debug, Default)]
pub(super) struct Hints {
    last: [Hint; 4],
    next: usize,
}

impl Hints {
    pub(super) fn find(&self, segment: u64, offset: i64) -> Option<u64> {
        self.last.iter().find(|hint| hint.segment == segment && hint.offset == offset).map(|hint| hint.position)
    }

    /// Takes the place of the hint that the same read began with, or of the oldest.
    pub(super) fn put(&mut self, read_from: i64, hint: Hint) {
        let same = self.last.iter().position(|old| old.offset == read_from && old.segment != 0);
        let at = same.unwrap_or_else(|| {
            self.next = (self.next + 1) % self.last.len();
            self.next
        });
        self.last[at] = hint;
    }
}

/// All that the lock of a log guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Arc<LogConfig>,
    /// Ascending, never empty; the last is the active one.
    pub(super) segments: Vec<Segment>,
    pub(super) tail: Tail,
    /// First offset that may be read.
    pub(super) start: i64,
    /// Offset of the next record.
    pub(super) end: i64,
    /// Offset below which the log is compacted.
    pub(super) clean: i64,
    pub(super) producers: Producers,
    pub(super) hints: Hints,
    /// Offset of the newest snapshot.
    pub(super) snapshot: i64,
    /// Bytes appended after it.
    pub(super) since_snapshot: u64,
    /// Offset below which everything is known to be on the disk.
    pub(super) synced: i64,
    /// Bytes of a failed append are still in the file and must be cut off first.
    pub(super) torn: bool,
    /// No more appends and reads.
    pub(super) stopped: bool,
}

impl State {
    pub(super) fn last_stable(&self) -> i64 {
        self.producers.first_open().map_or(self.end, |first| first.max(self.start))
    }

    /// Place of the segment that an offset belongs to.
    pub(super) fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    pub(super) fn active(&self) -> &Segment {
        // Never empty, see the field.
        &self.segments[self.segments.len() - 1]
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Offset after the last that a segment may hold.
    pub(super) fn end_of(&self, at: usize) -> i64 {
        self.segments.get(at + 1).map_or(self.end, |next| next.base)
    }

    pub(super) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }
}
