//! Reading: whole batches from an offset on, one system call for one read where it follows the one before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use weir_wire::batch::{HEADER_SIZE, Header};

use super::error::{LogError, ReadError};
use super::files::{Buffer, Kind};
use super::scan::{SMALL, Scan, Stop};
use super::segment::{Hint, Segment, State};
use super::{Log, aborted, index, segment};

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    ReadUncommitted,
    /// Those below the last stable offset; the reader leaves out what [`Slice::aborted`] names.
    ReadCommitted,
}

/// An aborted transaction, as a fetch response names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

impl From<&aborted::Entry> for Aborted {
    fn from(entry: &aborted::Entry) -> Aborted {
        Aborted { producer_id: entry.producer_id, first_offset: entry.first }
    }
}

/// What a read gives.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Whole batches, the first of which may begin before the offset that was asked for.
    pub records: Bytes,
    /// Offset of the next record of the log.
    pub high_watermark: i64,
    /// First offset of the oldest open transaction, or the high watermark.
    pub last_stable: i64,
    /// First offset of the log.
    pub start: i64,
    /// Aborted transactions that reach into `records`, for a read of committed records.
    pub aborted: Vec<Aborted>,
}

/// A segment as it was when the read began. The handle stays good when the file is deleted or replaced meanwhile.
pub(super) struct View {
    pub(super) segment: Segment,
    /// Offset after the last that the segment may hold.
    pub(super) end: i64,
    pub(super) log: Arc<File>,
    index: Option<Arc<File>>,
    /// Index entries that are in memory.
    pending: Vec<index::Entry>,
    aborted: Option<Arc<File>>,
}

impl Log {
    /// Whole batches from the one that holds `from`, or the first after it, at most `max_bytes`; with `at_least_one` the first
    /// may be larger. Empty at the end, and beyond the last stable offset for a read of committed records.
    pub fn read(
        &self,
        from: i64,
        max_bytes: usize,
        isolation: Isolation,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(self.stopped());
        }
        let (start, end) = (state.start, state.end);
        if !(start..=end).contains(&from) {
            return Err(LogError::OutOfRange { offset: from, start, end });
        }
        let last_stable = state.last_stable();
        let bound = match isolation {
            Isolation::ReadUncommitted => end,
            Isolation::ReadCommitted => last_stable,
        };
        let mut slice = Slice { records: Bytes::new(), high_watermark: end, last_stable, start, aborted: Vec::new() };
        if from >= bound || (max_bytes == 0 && !at_least_one) {
            return Ok(slice);
        }
        let mut at = state.segment_of(from);
        loop {
            let id = state.segments[at].id;
            let hint = state.hints.find(id, from);
            let view = self.view(&state, at, hint.is_none(), isolation == Isolation::ReadCommitted)?;
            drop(state);
            let position = match hint {
                Some(position) => position,
                None => self.position(&view, from)?,
            };
            let bytes = self.batches(&view, position, bound, max_bytes, at_least_one)?;
            if let Some((records, next)) = bytes {
                if isolation == Isolation::ReadCommitted {
                    let aborted = self.aborted_entries(&view, from, next)?;
                    slice.aborted = aborted.iter().map(Aborted::from).collect();
                }
                let position = position + records.len() as u64;
                slice.records = records;
                self.lock().hints.put(from, Hint { segment: id, offset: next, position });
                return Ok(slice);
            }
            // Nothing in this segment: compaction left a hole at its end, or the first batch does not fit.
            if position < view.segment.size || view.end >= bound {
                return Ok(slice);
            }
            state = self.lock();
            at = state.segment_of(view.end);
        }
    }

    /// Opens what a read of a segment needs.
    pub(super) fn view(&self, state: &State, at: usize, index: bool, aborted: bool) -> Result<View, LogError> {
        let segment = state.segments[at].clone();
        let active = at + 1 == state.segments.len();
        let open = |kind| {
            let path = || segment::path(&self.folder, segment.base, kind);
            self.file(segment.id, segment.base, kind).map_err(LogError::at(path))
        };
        let log = open(Kind::Log)?;
        let mut view = View {
            end: state.end_of(at),
            log,
            index: None,
            pending: Vec::new(),
            aborted: None,
            segment: segment.clone(),
        };
        if active {
            view.segment.entries = state.tail.index.written;
        }
        if index {
            if active {
                view.pending = state.tail.index.pending.clone();
            }
            view.index =
                Some(view.segment.entries).filter(|entries| *entries > 0).map(|_| open(Kind::Index)).transpose()?;
        }
        if aborted && segment.aborted > 0 {
            view.aborted = Some(open(Kind::Aborted)?);
        }
        Ok(view)
    }

    /// Position of the batch that holds `offset`, or of the first after it; the size of the segment where there is none.
    pub(super) fn position(&self, view: &View, offset: i64) -> Result<u64, LogError> {
        let relative = u32::try_from(offset - view.segment.base).unwrap_or(0);
        let mut from = self.entry(view, |entry| entry.relative <= relative)?;
        loop {
            let mut scan = Scan::new(&view.log, from, view.segment.size, SMALL);
            match self.first_in(&mut scan, offset) {
                // The batch before which everything ends lower is only known to be the right one after a batch that ends lower, or
                // where the index named a batch that begins at or below the offset.
                Ok(position) => return Ok(position.unwrap_or(view.segment.size)),
                Err(stop) if from == 0 => return Err(self.damaged(view, stop)),
                // The index is wrong; the segment is walked from its start.
                Err(_) => from = 0,
            }
        }
    }

    fn first_in(&self, scan: &mut Scan<'_>, offset: i64) -> Result<Option<u64>, Stop> {
        while let Some(found) = scan.next()? {
            if found.header.last_offset() >= offset {
                return Ok(Some(found.position));
            }
        }
        Ok(None)
    }

    /// Position of the last index entry that `before` is true of, which names a batch that is there; 0 without one.
    pub(super) fn entry(&self, view: &View, before: impl Fn(&index::Entry) -> bool) -> Result<u64, LogError> {
        let pending = view.pending.iter().rev().find(|entry| before(entry)).copied();
        let entry = match (pending, &view.index) {
            (None, Some(index)) => {
                let path = || segment::path(&self.folder, view.segment.base, Kind::Index);
                index::last(index, view.segment.entries, before).map_err(LogError::at(path))?
            }
            (pending, _) => pending,
        };
        let Some(entry) = entry else { return Ok(0) };
        let position = u64::from(entry.position);
        let mut scan = Scan::new(&view.log, position, view.segment.size, HEADER_SIZE);
        match scan.next() {
            Ok(Some(found)) if found.header.base_offset() == view.segment.base + i64::from(entry.relative) => {
                Ok(position)
            }
            Err(Stop::Io(error)) => {
                Err(LogError::io(&segment::path(&self.folder, view.segment.base, Kind::Log))(error))
            }
            // The index is wrong: the whole segment is walked.
            _ => {
                tracing::warn!(folder = %self.folder.display(), base = view.segment.base, "index does not fit its segment");
                Ok(0)
            }
        }
    }

    /// The whole batches at `position` that begin below `bound`, and the offset after them; `None` where there is none.
    fn batches(
        &self,
        view: &View,
        position: u64,
        bound: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<(Bytes, i64)>, LogError> {
        let left = view.segment.size.saturating_sub(position);
        if left == 0 {
            return Ok(None);
        }
        let path = || segment::path(&self.folder, view.segment.base, Kind::Log);
        let size = max_bytes.max(HEADER_SIZE).min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut buffer = self.fill(&view.log, position, size).map_err(LogError::at(path))?;
        let first = Header::read(buffer.as_ref()).map_err(|why| LogError::Damaged {
            path: path(),
            position,
            what: why.to_string(),
        })?;
        if first.size() > max_bytes && !at_least_one {
            return Ok(None);
        }
        if first.size() > size {
            if first.size() as u64 > left {
                return Err(LogError::Damaged { path: path(), position, what: "a batch is cut off".to_owned() });
            }
            buffer = self.fill(&view.log, position, first.size()).map_err(LogError::at(path))?;
        }
        let bytes = buffer.as_ref();
        let (mut at, mut next) = (0, None);
        while at < bytes.len() {
            // The last batch may be cut off by the bound in bytes.
            let Ok(header) = Header::read(&bytes[at..]) else { break };
            if header.base_offset() >= bound || at + header.size() > bytes.len() {
                break;
            }
            at += header.size();
            next = Some(header.last_offset() + 1);
        }
        Ok(next.map(|next| (buffer.freeze().slice(..at), next)))
    }

    fn fill(&self, file: &File, position: u64, size: usize) -> io::Result<Buffer> {
        let mut buffer = self.files.buffer(size);
        file.read_exact_at(buffer.as_mut(), position)?;
        Ok(buffer)
    }

    /// The aborted transactions with records between two offsets that lie in the segment. Their markers may lie in a later one.
    pub(super) fn aborted_entries(&self, first: &View, from: i64, to: i64) -> Result<Vec<aborted::Entry>, LogError> {
        let mut found = Vec::new();
        let mut view = None;
        loop {
            let current = view.as_ref().unwrap_or(first);
            if let Some(file) = &current.aborted {
                let error =
                    |error| LogError::io(&segment::path(&self.folder, current.segment.base, Kind::Aborted))(error);
                let count = u64::from(current.segment.aborted);
                let mut number = aborted::first_from(file, count, from).map_err(error)?;
                while number < count {
                    let entry = aborted::entry(file, number).map_err(error)?;
                    if entry.first < to {
                        found.push(entry);
                    }
                    if entry.stable >= to {
                        return Ok(found);
                    }
                    number += 1;
                }
            }
            let state = self.lock();
            let at = state.segments.partition_point(|segment| segment.base < current.end);
            if at >= state.segments.len() || state.stopped {
                return Ok(found);
            }
            // Segments without aborted transactions need not be opened.
            let Some(skip) = state.segments[at..].iter().position(|segment| segment.aborted > 0) else {
                return Ok(found);
            };
            view = Some(self.view(&state, at + skip, false, true)?);
        }
    }

    pub(super) fn damaged(&self, view: &View, stop: Stop) -> LogError {
        let path = segment::path(&self.folder, view.segment.base, Kind::Log);
        match stop {
            Stop::Io(source) => LogError::Io { path, source },
            Stop::Torn { position, why } => LogError::Damaged { path, position, what: why },
        }
    }
}
