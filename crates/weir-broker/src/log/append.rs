//! Appending: one write for one request, all of it or nothing.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;
use weir_wire::ErrorCode;
use weir_wire::batch::{Batch, HEADER_SIZE, Header, TimestampType, restamp};

use super::config::{Flush, LogConfig};
use super::error::{AppendError, LogError};
use super::files::Kind;
use super::segment::{Segment, State, Tail};
use super::snapshot::Snapshot;
use super::{LEADER_EPOCH, Log, Marker, Verified, aborted, index, segment, validate};

/// Largest offset range of one segment: relative offsets in its index are 31 bits wide.
pub(super) const LARGEST_RANGE: i64 = i32::MAX as i64;

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request: everything is checked.
    Client {
        /// Whether the coordinator knows the transaction of a transactional batch.
        transaction: Verified,
    },
    /// A coordinator of this broker, which writes its own records, in transactions of producers too.
    Coordinator,
}

/// Where an append is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record; wait with `durable(last_offset + 1)`.
    pub last_offset: i64,
    /// The time given to the records where that is the broker's, else -1.
    pub append_time: i64,
    /// First offset of the log.
    pub start: i64,
    /// The records were in the log already.
    pub duplicate: bool,
}

/// A batch to be written, with its new header but for the offset.
struct Stamped {
    header: [u8; HEADER_SIZE],
    payload: Bytes,
    /// Read again from `header` once it is complete.
    parsed: Header,
}

impl Log {
    /// Appends what a client or a coordinator sends: record batches v2, one from a client, any number from a coordinator.
    ///
    /// A batch that is in the log already is answered with where it is. Nothing is appended on an error.
    pub fn append(&self, batches: Bytes, origin: Origin, now_ms: i64) -> Result<Appended, AppendError> {
        let config = self.config();
        let batches = validate::batches(batches, origin, &config, now_ms)?;
        let append_time = (config.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        // The checksum is made here, outside of the lock; it does not cover what is set later.
        let mut stamped = Vec::with_capacity(batches.len());
        for batch in &batches {
            stamped.push(stamp(batch, append_time)?);
        }
        let mut state = self.lock();
        let client = match origin {
            Origin::Client { transaction } => Some(transaction),
            Origin::Coordinator => None,
        };
        for batch in batches.iter().filter(|batch| batch.producer_id() >= 0) {
            if let Some(duplicate) = client.and_then(|_| state.producers.duplicate(batch)) {
                return Ok(Appended {
                    base_offset: duplicate.base_offset(),
                    last_offset: duplicate.last_offset,
                    append_time: append_time.map_or(-1, |_| duplicate.timestamp),
                    start: state.start,
                    duplicate: true,
                });
            }
            state.producers.check(batch, client)?;
        }
        let appended = self.write(&mut state, &mut stamped, None, now_ms)?;
        for batch in &stamped {
            state.producers.batch(&batch.parsed, now_ms);
        }
        drop(state);
        self.watchers.wake();
        Ok(Appended { append_time: append_time.unwrap_or(-1), ..appended })
    }

    /// Appends the end of a transaction; a marker of a transaction without records is taken too, as Kafka does.
    pub fn append_marker(&self, marker: Marker, now_ms: i64) -> Result<Appended, AppendError> {
        let batch = validate::marker(&marker, now_ms)?;
        let mut state = self.lock();
        state.producers.check_marker(&marker)?;
        let aborted = match marker.commit {
            true => None,
            false => state.producers.aborts(marker.producer_id, state.end),
        };
        let mut stamped = [stamp(&batch, None)?];
        let appended = self.write(&mut state, &mut stamped, aborted, now_ms)?;
        let (epoch, coordinator) = (marker.producer_epoch, marker.coordinator_epoch);
        state.producers.marker(marker.producer_id, epoch, coordinator, now_ms, now_ms);
        drop(state);
        self.watchers.wake();
        Ok(appended)
    }

    /// Begins to verify the transaction of a batch, before the coordinator is asked about it: the answer is worth nothing once a
    /// marker was written since (KIP-890). `bumps_epoch`: transaction version 2, where a transaction begins with sequence 0.
    pub fn begin_verification(
        &self,
        producer_id: i64,
        epoch: i16,
        base_sequence: i32,
        bumps_epoch: bool,
        now_ms: i64,
    ) -> Result<Verified, AppendError> {
        self.lock().producers.begin_verification(producer_id, epoch, base_sequence, bumps_epoch, now_ms)
    }

    /// Writes batches at the end of the log and moves the end.
    fn write(
        &self,
        state: &mut State,
        batches: &mut [Stamped],
        aborted: Option<aborted::Entry>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        if state.stopped {
            return Err(self.stopped().into());
        }
        let base_offset = state.end;
        let mut next = base_offset;
        let (mut size, mut max_timestamp) = (0, -1);
        for batch in batches.iter_mut() {
            batch.header[..8].copy_from_slice(&next.to_be_bytes());
            batch.parsed = Header::read(&batch.header).map_err(validate::refused)?;
            next = batch
                .parsed
                .last_offset()
                .checked_add(1)
                .ok_or_else(|| AppendError::new(ErrorCode::OFFSET_OUT_OF_RANGE, "the log has no offsets left"))?;
            size += batch.parsed.size() as u64;
            max_timestamp = max_timestamp.max(batch.parsed.max_timestamp());
        }
        let config = state.config.clone();
        if is_full(state, &config, size, next, max_timestamp, now_ms) {
            self.roll(state)?;
        }
        let (id, base, old_size) = (state.active().id, state.active().base, state.active().size);
        let path = || segment::path(&self.folder, base, Kind::Log);
        let file = self.file(id, base, Kind::Log).map_err(LogError::at(path))?;
        if state.torn {
            file.set_len(old_size).map_err(LogError::at(path))?;
            state.torn = false;
        }
        if let Some(entry) = aborted {
            self.write_aborted(state, entry)?;
        }
        if let Err(error) = write_all(&file, batches) {
            // What cannot be cut off now is cut off before the next append, and is beyond the end for readers.
            state.torn = file.set_len(old_size).is_err();
            if aborted.is_some() {
                self.cut_aborted(state);
            }
            return Err(LogError::at(path)(error).into());
        }
        let mut position = old_size;
        let mut flush = false;
        for batch in batches.iter() {
            let header = &batch.parsed;
            let active = state.active();
            let entry = index::Entry {
                relative: u32::try_from(header.base_offset() - base).unwrap_or(u32::MAX),
                position: u32::try_from(position).unwrap_or(u32::MAX),
                max_before: active.max_timestamp,
            };
            flush |= state.tail.index.batch(entry, header.size() as u64, config.index_interval_bytes);
            position += header.size() as u64;
            let active = state.active_mut();
            active.size = position;
            active.max_timestamp = active.max_timestamp.max(header.max_timestamp());
            state.tail.first_timestamp.get_or_insert(header.max_timestamp());
        }
        state.active_mut().aborted += u32::from(aborted.is_some());
        state.end = next;
        state.since_snapshot += size;
        if flush {
            self.write_index(state);
        }
        Ok(Appended { base_offset, last_offset: next - 1, append_time: -1, start: state.start, duplicate: false })
    }

    /// Writes the index entries that wait. A failure is no harm: an index may lack entries.
    pub(super) fn write_index(&self, state: &mut State) {
        let (id, base) = (state.active().id, state.active().base);
        let result = self.file_or_new(id, base, Kind::Index).and_then(|file| state.tail.index.flush(&file));
        if let Err(error) = result {
            tracing::warn!(folder = %self.folder.display(), base, %error, "cannot write the index, look-ups will be slower");
        }
    }

    fn write_aborted(&self, state: &State, entry: aborted::Entry) -> Result<(), LogError> {
        let active = state.active();
        let path = segment::path(&self.folder, active.base, Kind::Aborted);
        let file = self.file_or_new(active.id, active.base, Kind::Aborted).map_err(LogError::io(&path))?;
        let size = u64::from(active.aborted) * aborted::ENTRY_SIZE;
        // An entry without marker may be left of an append that failed.
        file.set_len(size).map_err(LogError::io(&path))?;
        index::append(&file, size, &entry.write()).map_err(LogError::io(&path))
    }

    fn cut_aborted(&self, state: &State) {
        let active = state.active();
        let size = u64::from(active.aborted) * aborted::ENTRY_SIZE;
        if let Ok(file) = self.file(active.id, active.base, Kind::Aborted) {
            // It is cut before the next entry too.
            let _ = file.set_len(size);
        }
    }

    /// Closes the active segment and begins a new one at the end of the log.
    pub(super) fn roll(&self, state: &mut State) -> Result<(), LogError> {
        let (id, base) = (self.files.next_id(), state.end);
        let path = segment::path(&self.folder, base, Kind::Log);
        if state.config.flush == Flush::Fsync {
            // Whoever waits for records of the old segment then needs a flush of the new one only.
            let old = state.active();
            let path = segment::path(&self.folder, old.base, Kind::Log);
            let synced = self.file(old.id, old.base, Kind::Log).and_then(|file| file.sync_data());
            synced.map_err(LogError::io(&path))?;
        }
        let file = self.file_or_new(id, base, Kind::Log).map_err(LogError::io(&path))?;
        // Nothing can be there, unless an attempt before this one failed on its way.
        file.set_len(0).map_err(LogError::io(&path))?;
        if state.config.flush == Flush::Fsync {
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(LogError::io(&self.folder))?;
        }
        self.seal(state);
        state.segments.push(Segment::empty(id, base));
        state.tail = Tail::default();
        let snapshot = snapshot(state);
        match snapshot.write(&self.folder) {
            Ok(()) => (state.snapshot, state.since_snapshot) = (snapshot.offset, 0),
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "cannot write a snapshot, recovery will read more")
            }
        }
        Ok(())
    }

    /// Ends the index of the active segment with the entry that says it is whole.
    fn seal(&self, state: &mut State) {
        self.write_index(state);
        let active = state.active();
        state.tail.index.pending.push(index::Entry {
            relative: u32::try_from(state.end - active.base).unwrap_or(u32::MAX),
            position: u32::try_from(active.size).unwrap_or(u32::MAX),
            max_before: active.max_timestamp,
        });
        let entries = state.tail.index.written;
        self.write_index(state);
        state.active_mut().entries = entries;
    }
}

/// The state of the log as it is now.
pub(super) fn snapshot(state: &State) -> Snapshot {
    let active = state.active();
    Snapshot {
        offset: state.end,
        base: active.base,
        position: active.size,
        max_timestamp: active.max_timestamp,
        first_timestamp: state.tail.first_timestamp,
        entries: state.tail.index.written,
        unindexed: state.tail.index.unindexed,
        producers: state.producers.iter().map(|(id, producer)| (id, producer.clone())).collect(),
    }
}

fn stamp(batch: &Batch, append_time: Option<i64>) -> Result<Stamped, AppendError> {
    let header = restamp(batch, 0, LEADER_EPOCH, append_time);
    let parsed = Header::read(&header).map_err(validate::refused)?;
    Ok(Stamped { header, payload: batch.payload(), parsed })
}

/// Whether the next batches belong into a new segment, by the rules of Kafka.
fn is_full(state: &State, config: &LogConfig, size: u64, next: i64, max_timestamp: i64, now_ms: i64) -> bool {
    let active = state.active();
    if active.size == 0 {
        return active.base < state.end && next - active.base > LARGEST_RANGE;
    }
    // Records with timestamps tell how much time a segment spans; without them the clock does.
    let latest = if max_timestamp >= 0 { max_timestamp } else { now_ms };
    let first = state.tail.first_timestamp.filter(|first| *first >= 0);
    active.size + size > config.segment_limit()
        || first.is_some_and(|first| latest.saturating_sub(first) > config.segment_span())
        || state.tail.index.size() + 2 * index::ENTRY_SIZE > config.segment_index_bytes
        || next - active.base > LARGEST_RANGE
}

/// Writes all batches, which is one system call unless the disk is full.
fn write_all(mut file: &File, batches: &[Stamped]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        batches.iter().flat_map(|batch| [IoSlice::new(&batch.header), IoSlice::new(&batch.payload)]).collect();
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
