//! Copies segments without what is superseded and puts the copy in their place.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use weir_wire::batch::Header;
use weir_wire::build::{BatchBuilder, BuildError};
use weir_wire::control::Marker;

use super::keys::Keys;
use super::transactions::{Transactions, Use};
use super::{Compacted, is_below};
use crate::log::append::LARGEST_RANGE;
use crate::log::error::LogError;
use crate::log::files::Kind;
use crate::log::index::{self, Builder};
use crate::log::scan::{Found, LARGE, Scan, Stop, records_of, torn};
use crate::log::segment::{Segment, State};
use crate::log::{Log, aborted, snapshot, swap};

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 1 << 20;

/// Segments that become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    base: i64,
    end: i64,
    segments: usize,
    bytes: u64,
}

/// What decides about a batch.
struct Judge<'a> {
    keys: &'a Keys,
    /// Offset from which on nothing is touched.
    covered: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    transactions: Transactions,
    /// Epoch and last data offset of the producers that are known.
    producers: HashMap<i64, (i16, Option<i64>)>,
}

/// What becomes of a batch.
enum Verdict {
    Kept,
    Changed(Bytes),
    Gone,
}

impl Log {
    /// Rewrites all segments that begin below `covered`.
    pub(super) fn rewrite(&self, keys: &Keys, covered: i64, now_ms: i64, done: &mut Compacted) -> Result<(), LogError> {
        let (groups, mut judge) = {
            let state = self.lock();
            let producers = state.producers.iter();
            let judge = Judge {
                keys,
                covered,
                now_ms,
                delete_retention_ms: state.config.delete_retention_ms,
                transactions: Transactions::default(),
                producers: producers
                    .map(|(id, producer)| {
                        (id, (producer.epoch, producer.batches.last().map(|batch| batch.last_offset)))
                    })
                    .collect(),
            };
            (groups(&state, covered), judge)
        };
        for group in groups {
            done.read += group.bytes;
            done.written += self.rewrite_group(group, &mut judge)?;
        }
        Ok(())
    }

    /// Rewrites the segments of a group as one and gives its size.
    fn rewrite_group(&self, group: Group, judge: &mut Judge<'_>) -> Result<u64, LogError> {
        let interval = self.config().index_interval_bytes;
        let io = |error| LogError::io(&self.folder)(error);
        let mut copy = Copy::new(&self.folder, group.base, interval).map_err(io)?;
        let result = self.copy_group(group, judge, &mut copy);
        let changed = result.as_ref().is_ok_and(|changed| *changed) || group.segments > 1;
        if result.is_err() || !changed {
            drop(copy);
            swap::discard(&self.folder, group.base).map_err(io)?;
            return result.map(|_| group.bytes);
        }
        let mut segment = copy.finish(group.end).map_err(io)?;
        segment.id = self.files.next_id();
        // A position in a replaced segment means nothing in the new one.
        snapshot::remove_between(&self.folder, group.base, group.end).map_err(io)?;
        swap::commit(&self.folder, group.base, group.end).map_err(io)?;
        let mut state = self.lock();
        let bases: Vec<i64> = state.segments.iter().map(|segment| segment.base).collect();
        if let Err(error) = swap::finish(&self.folder, group.base, group.end, &bases) {
            // The new segment counts already; the next open finishes what failed here.
            drop(state);
            self.stop();
            return Err(io(error));
        }
        let size = segment.size;
        let first = state.segments.partition_point(|segment| segment.base < group.base);
        let last = state.segments.partition_point(|segment| segment.base < group.end);
        for old in state.segments.splice(first..last, [segment]) {
            self.files.forget(old.id);
        }
        Ok(size)
    }

    /// Copies what is left of a group; true where that is not all of it.
    fn copy_group(&self, group: Group, judge: &mut Judge<'_>, copy: &mut Copy<'_>) -> Result<bool, LogError> {
        let (mut next, mut changed, mut aborted) = (group.base, false, 0);
        while next < group.end {
            let view = {
                let state = self.lock();
                self.view(&state, state.segment_of(next), false, true)?
            };
            if next == group.base {
                judge.transactions.add(self.aborted_entries(&view, group.base, group.end)?);
            }
            aborted += view.segment.aborted;
            let mut scan = Scan::new(&view.log, 0, view.segment.size, LARGE);
            loop {
                let found = match scan.next() {
                    Ok(Some(found)) => found,
                    Ok(None) => break,
                    Err(stop) => return Err(self.damaged(&view, stop)),
                };
                let verdict = judge.judge(&mut scan, &found, copy).map_err(|stop| self.damaged(&view, stop))?;
                changed |= !matches!(verdict, Verdict::Kept);
                let bytes = match verdict {
                    Verdict::Kept => scan.read(&found).map_err(|error| self.damaged(&view, error.into()))?,
                    Verdict::Changed(bytes) => bytes,
                    Verdict::Gone => continue,
                };
                copy.push(&bytes).map_err(|error| LogError::io(&self.folder)(error))?;
            }
            next = view.end;
        }
        Ok(changed || copy.aborted != aborted)
    }
}

/// The segments below an offset, small ones together.
fn groups(state: &State, covered: i64) -> Vec<Group> {
    let limit = state.config.segment_limit();
    let entries = state.config.segment_index_bytes / index::ENTRY_SIZE;
    let mut groups: Vec<Group> = Vec::new();
    let mut indexed = 0;
    for (at, segment) in state.segments.iter().enumerate().take_while(|(_, segment)| segment.base < covered) {
        let end = state.end_of(at);
        indexed += u64::from(segment.entries) + 2;
        match groups.last_mut() {
            Some(group)
                if group.bytes + segment.size <= limit && end - group.base <= LARGEST_RANGE && indexed <= entries =>
            {
                group.bytes += segment.size;
                group.end = end;
                group.segments += 1;
            }
            _ => {
                indexed = u64::from(segment.entries);
                groups.push(Group { base: segment.base, end, segments: 1, bytes: segment.size });
            }
        }
    }
    groups
}

impl Judge<'_> {
    fn judge(&mut self, scan: &mut Scan<'_>, found: &Found, copy: &mut Copy<'_>) -> Result<Verdict, Stop> {
        let header = &found.header;
        if header.is_control() { self.marker(scan, found, copy) } else { self.data(scan, found) }
    }

    fn marker(&mut self, scan: &mut Scan<'_>, found: &Found, copy: &mut Copy<'_>) -> Result<Verdict, Stop> {
        let header = &found.header;
        let records = records_of(scan, found)?;
        let record = records.iter().next().transpose().map_err(|error| torn(found, &error))?;
        let marker = record.as_ref().map(Marker::read).transpose().map_err(|error| torn(found, &error))?.flatten();
        if record.is_some() && marker.is_none() {
            // A control record of another kind, which nothing here writes.
            return Ok(Verdict::Kept);
        }
        if let Use::Needed(entry) = self.transactions.marker(header, marker.map(|marker| marker.commit)) {
            if let Some(entry) = entry {
                copy.abort(&entry)?;
            }
            return Ok(Verdict::Kept);
        }
        if !is_below(header, self.covered) {
            return Ok(Verdict::Kept);
        }
        match (record, header.delete_horizon()) {
            (None, _) => Ok(if self.is_last_of_producer(header) { Verdict::Kept } else { Verdict::Gone }),
            (Some(_), Some(horizon)) if horizon <= self.now_ms => self.without_records(found),
            (Some(_), Some(_)) => Ok(Verdict::Kept),
            (Some(record), None) => {
                let mut builder = self.builder(found, true)?;
                builder.retain(&record).map_err(|error| torn(found, &error))?;
                finish(builder, found)
            }
        }
    }

    fn data(&mut self, scan: &mut Scan<'_>, found: &Found) -> Result<Verdict, Stop> {
        let header = &found.header;
        let aborted = self.transactions.is_aborted(header);
        if header.base_offset() >= self.covered {
            return Ok(Verdict::Kept);
        }
        if aborted || header.count() == 0 {
            return self.without_records(found);
        }
        let records = records_of(scan, found)?;
        let expired = header.delete_horizon().is_some_and(|horizon| horizon <= self.now_ms);
        let (mut kept, mut tombstones) = (Vec::with_capacity(records.count().min(1 << 16) as usize), false);
        for record in &records {
            let record = record.map_err(|error| torn(found, &error))?;
            let stays = record.offset >= self.covered
                || record.key.is_some_and(|key| {
                    let latest = self.keys.get(key).is_none_or(|last| record.offset >= last);
                    latest && (record.value.is_some() || !expired)
                });
            if stays {
                tombstones |= record.value.is_none();
                kept.push(record);
            }
        }
        let needs_horizon = tombstones && header.delete_horizon().is_none();
        if kept.len() == header.count() as usize && !needs_horizon {
            return Ok(Verdict::Kept);
        }
        if kept.is_empty() {
            return self.without_records(found);
        }
        let mut builder = self.builder(found, needs_horizon)?;
        kept.iter().try_for_each(|record| builder.retain(record)).map_err(|error| torn(found, &error))?;
        finish(builder, found)
    }

    /// A batch that has lost its records goes, unless it alone tells where its producer is.
    fn without_records(&self, found: &Found) -> Result<Verdict, Stop> {
        if !self.is_last_of_producer(&found.header) {
            return Ok(Verdict::Gone);
        }
        if found.header.count() == 0 {
            return Ok(Verdict::Kept);
        }
        finish(self.builder(found, false)?, found)
    }

    fn builder(&self, found: &Found, horizon: bool) -> Result<BatchBuilder, Stop> {
        let codec = found.header.codec().map_err(|error| torn(found, &error))?;
        let horizon = horizon.then(|| self.now_ms.saturating_add(self.delete_retention_ms));
        Ok(BatchBuilder::retaining(&found.header, codec, horizon))
    }

    fn is_last_of_producer(&self, header: &Header) -> bool {
        match self.producers.get(&header.producer_id()) {
            Some((_, Some(last))) => header.last_offset() == *last,
            Some((epoch, None)) => header.is_control() && header.producer_epoch() == *epoch,
            None => false,
        }
    }
}

fn finish(builder: BatchBuilder, found: &Found) -> Result<Verdict, Stop> {
    let bytes = builder.finish(found.header.base_offset());
    Ok(Verdict::Changed(bytes.map_err(|error: BuildError| torn(found, &error))?))
}

/// The segment that is being written.
struct Copy<'a> {
    folder: &'a Path,
    segment: Segment,
    log: File,
    index: File,
    aborted_index: File,
    waiting: Vec<u8>,
    builder: Builder,
    interval: u64,
    aborted: u32,
}

impl<'a> Copy<'a> {
    fn new(folder: &'a Path, base: i64, interval: u64) -> io::Result<Copy<'a>> {
        let file = |kind| {
            let path = swap::cleaned(folder, base, kind);
            OpenOptions::new().write(true).create(true).truncate(true).open(path)
        };
        Ok(Copy {
            folder,
            segment: Segment::empty(0, base),
            log: file(Kind::Log)?,
            index: file(Kind::Index)?,
            aborted_index: file(Kind::Aborted)?,
            waiting: Vec::new(),
            builder: Builder::default(),
            interval,
            aborted: 0,
        })
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let header = Header::read(bytes).map_err(io::Error::other)?;
        let entry = index::Entry {
            relative: u32::try_from(header.base_offset() - self.segment.base).unwrap_or(u32::MAX),
            position: u32::try_from(self.segment.size).unwrap_or(u32::MAX),
            max_before: self.segment.max_timestamp,
        };
        if self.builder.batch(entry, bytes.len() as u64, self.interval) {
            self.builder.flush(&self.index)?;
        }
        self.segment.size += bytes.len() as u64;
        self.segment.max_timestamp = self.segment.max_timestamp.max(header.max_timestamp());
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE_BYTES {
            self.log.write_all(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }

    fn abort(&mut self, entry: &aborted::Entry) -> io::Result<()> {
        self.aborted_index.write_all(&entry.write())?;
        self.aborted += 1;
        Ok(())
    }

    /// Writes what is left and flushes what cannot be made anew; the segment ends at `end`.
    fn finish(mut self, end: i64) -> io::Result<Segment> {
        self.log.write_all(&self.waiting)?;
        self.builder.flush(&self.index)?;
        self.segment.entries = self.builder.written;
        self.segment.aborted = self.aborted;
        self.builder.pending.push(index::Entry {
            relative: u32::try_from(end - self.segment.base).unwrap_or(u32::MAX),
            position: u32::try_from(self.segment.size).unwrap_or(u32::MAX),
            max_before: self.segment.max_timestamp,
        });
        self.builder.flush(&self.index)?;
        tracing::debug!(folder = %self.folder.display(), base = self.segment.base, bytes = self.segment.size, "segment rewritten");
        // An index that is lost with the machine is made anew.
        [&self.log, &self.aborted_index].into_iter().try_for_each(File::sync_data)?;
        Ok(self.segment)
    }
}
