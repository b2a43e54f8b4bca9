//! Opening a log: what the last process left is made whole, and nothing more is lost than a torn tail.
//!
//! 1. Leftovers of a compaction are finished or removed.
//! 2. The newest snapshot that fits says where everything before is known to be whole.
//! 3. What follows is read with its checksums; at the first byte that is no whole batch the tail is cut. Index, producers, open
//!    and aborted transactions are made anew from what is read.
//! 4. Of closed segments before the snapshot only the end of the index is read, which says whether both are whole. Where they are
//!    not, the segment is read like a tail, the later ones stay.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_wire::batch::Header;
use weir_wire::control::Marker;

use super::config::LogConfig;
use super::error::LogError;
use super::files::{Files, Kind};
use super::index::{self, Builder};
use super::producers::Producers;
use super::scan::{Found, LARGE, Scan, Stop, records_of, torn};
use super::segment::{Hints, Segment, State, Tail, path};
use super::snapshot::{Snapshot, replace};
use super::{aborted, swap};

const OFFSETS: &str = "offsets.json";
const OFFSETS_VERSION: u32 = 1;

/// The offsets that the files do not tell by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets {
    pub(super) version: u32,
    /// First offset that may be read, as DeleteRecords set it.
    pub(super) start: i64,
    /// Offset below which the log is compacted.
    pub(super) clean: i64,
}

impl Offsets {
    pub(super) fn of(state: &State) -> Offsets {
        Offsets { version: OFFSETS_VERSION, start: state.start, clean: state.clean }
    }

    fn read(folder: &Path) -> Result<Offsets, LogError> {
        let path = folder.join(OFFSETS);
        let damaged = |what| LogError::Damaged { path: path.clone(), position: 0, what };
        match fs::read(&path) {
            Ok(bytes) => {
                let offsets: Offsets =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(format!("no valid offsets ({error})")))?;
                if offsets.version != OFFSETS_VERSION {
                    return Err(damaged(format!("version {} is not known", offsets.version)));
                }
                Ok(offsets)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Offsets { version: OFFSETS_VERSION, start: 0, clean: 0 })
            }
            Err(error) => Err(LogError::io(&path)(error)),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), LogError> {
        let path = folder.join(OFFSETS);
        let text = serde_json::to_vec(self).map_err(|error| LogError::io(&path)(error.into()))?;
        replace(&path, &text, true).map_err(LogError::io(&path))
    }
}

/// Opens the log in `folder`.
pub(super) fn open(folder: &Path, config: LogConfig, files: &Arc<Files>, now_ms: i64) -> Result<State, LogError> {
    fs::create_dir_all(folder).map_err(LogError::io(folder))?;
    let bases = tidy(folder).map_err(LogError::io(folder))?;
    let offsets = Offsets::read(folder)?;
    let mut opening =
        Opening { folder, files, interval: config.index_interval_bytes, now_ms, producers: Producers::default() };
    let mut segments = Vec::with_capacity(bases.len().max(1));
    for base in bases {
        segments.push(opening.look(base)?);
    }
    if segments.is_empty() {
        let id = files.next_id();
        let path = path(folder, offsets.start, Kind::Log);
        files.get(id, Kind::Log, true, || path.clone().into()).map_err(LogError::io(&path))?;
        segments.push(Segment::empty(id, offsets.start));
    }
    let (tail, end, from, read) = opening.recover(&mut segments)?;
    let mut state = State {
        config: Arc::new(config),
        start: offsets.start.max(segments[0].base),
        clean: offsets.clean,
        segments,
        tail,
        end,
        producers: opening.producers,
        hints: Hints::default(),
        snapshot: from,
        since_snapshot: read,
        synced: from,
        torn: false,
        stopped: false,
    };
    if state.start > state.end {
        // The end was lost with the machine, after DeleteRecords had deleted all of it: the log goes on where it was.
        let (id, base) = (files.next_id(), state.start);
        let path = path(folder, base, Kind::Log);
        files.get(id, Kind::Log, true, || path.clone().into()).map_err(LogError::io(&path))?;
        state.end = base;
        state.segments.push(Segment::empty(id, base));
        state.tail = Tail::default();
    }
    Ok(state)
}

/// Removes what no segment needs and gives the base offsets of the segments, ascending.
fn tidy(folder: &Path) -> io::Result<Vec<i64>> {
    swap::recover(folder)?;
    let (mut bases, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some((stem, ending)) = name.split_once('.') else { continue };
        let base: Option<i64> = stem.parse().ok();
        match (base, ending) {
            (Some(base), "log") => bases.push(base),
            (Some(base), "index" | "txnindex") => others.push((base, name.to_owned())),
            (_, ending) if ending.ends_with("new") => fs::remove_file(folder.join(name))?,
            _ => {}
        }
    }
    bases.sort_unstable();
    for (_, name) in others.iter().filter(|(base, _)| bases.binary_search(base).is_err()) {
        fs::remove_file(folder.join(name))?;
    }
    Ok(bases)
}

struct Opening<'a> {
    folder: &'a Path,
    files: &'a Files,
    interval: u64,
    now_ms: i64,
    producers: Producers,
}

impl Opening<'_> {
    fn file(&self, segment: &Segment, kind: Kind) -> Result<Arc<File>, LogError> {
        let path = path(self.folder, segment.base, kind);
        self.files.get(segment.id, kind, true, || path.clone().into()).map_err(LogError::io(&path))
    }

    fn length(&self, base: i64, kind: Kind) -> Result<u64, LogError> {
        let path = path(self.folder, base, kind);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(LogError::io(&path)(error)),
        }
    }

    /// A segment as its files are; whether they are whole is not yet known.
    fn look(&self, base: i64) -> Result<Segment, LogError> {
        let mut segment = Segment::empty(self.files.next_id(), base);
        segment.size = self.length(base, Kind::Log)?;
        let aborted = self.length(base, Kind::Aborted)?;
        segment.aborted = u32::try_from(aborted / aborted::ENTRY_SIZE).unwrap_or(u32::MAX);
        Ok(segment)
    }

    /// Makes all segments whole. Gives the tail, the end of the log, the offset that reading began at and the bytes read.
    fn recover(&mut self, segments: &mut [Segment]) -> Result<(Tail, i64, i64, u64), LogError> {
        let aborted_whole = self.aborted_are_whole(segments)?;
        let snapshot = Snapshot::newest(self.folder, |snapshot| {
            let segment = segments.iter().find(|segment| segment.base == snapshot.base);
            aborted_whole && segment.is_some_and(|segment| segment.size >= snapshot.position)
        });
        let snapshot = snapshot.map_err(LogError::io(self.folder))?;
        let first = segments[0].base;
        let (from, base) = snapshot.as_ref().map_or((first, first), |snapshot| (snapshot.offset, snapshot.base));
        for (id, producer) in snapshot.iter().flat_map(|snapshot| &snapshot.producers) {
            self.producers.restore(*id, producer.clone());
        }
        let (mut tail, mut end, mut read) = (Tail::default(), from, 0);
        let count = segments.len();
        for at in 0..count {
            let next = segments.get(at + 1).map(|segment| segment.base);
            let segment = &mut segments[at];
            if segment.base < base {
                if !self.is_sealed(segment)? {
                    // Its producers are in the snapshot.
                    self.read(segment, &mut Tail::default(), 0, i64::MAX, next)?;
                }
                continue;
            }
            tail = Tail::default();
            let mut position = 0;
            if let Some(snapshot) = snapshot.as_ref().filter(|snapshot| snapshot.base == segment.base) {
                let whole = self.length(segment.base, Kind::Index)? >= u64::from(snapshot.entries) * index::ENTRY_SIZE;
                if whole {
                    position = snapshot.position;
                    segment.max_timestamp = snapshot.max_timestamp;
                    tail.first_timestamp = snapshot.first_timestamp;
                    tail.index =
                        Builder { written: snapshot.entries, pending: Vec::new(), unindexed: snapshot.unindexed };
                }
            }
            end = end.max(self.read(segment, &mut tail, position, from, next)?);
            read += segment.size - position.min(segment.size);
        }
        Ok((tail, end, from, read))
    }

    /// Whether every entry about an aborted transaction can be read. What cannot be is made anew from the whole log.
    fn aborted_are_whole(&self, segments: &[Segment]) -> Result<bool, LogError> {
        for segment in segments.iter().filter(|segment| segment.aborted > 0) {
            let path = path(self.folder, segment.base, Kind::Aborted);
            let bytes = fs::read(&path).map_err(LogError::io(&path))?;
            // A torn last entry was written before its marker, so nothing is lost with it.
            if bytes.chunks_exact(aborted::ENTRY_SIZE as usize).any(|bytes| aborted::Entry::read(bytes).is_none()) {
                tracing::warn!(path = %path.display(), "index of aborted transactions is damaged, the log is read from its start");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the index of a closed segment says that both are whole; takes over what it says.
    fn is_sealed(&self, segment: &mut Segment) -> Result<bool, LogError> {
        let length = self.length(segment.base, Kind::Index)?;
        if length == 0 || length % index::ENTRY_SIZE != 0 {
            return Ok(false);
        }
        let path = path(self.folder, segment.base, Kind::Index);
        let last = u32::try_from(length / index::ENTRY_SIZE - 1).unwrap_or(u32::MAX);
        let file = self.file(segment, Kind::Index)?;
        let entry = index::entry(&file, last).map_err(LogError::io(&path))?;
        segment.entries = last;
        segment.max_timestamp = entry.max_before;
        Ok(u64::from(entry.position) == segment.size)
    }

    /// Reads a segment from `position`, cuts it at the first byte that is no whole batch and makes its indexes anew from there.
    /// Batches at `apply_from` or later are told to the producers. Gives the offset after the last batch.
    fn read(
        &mut self,
        segment: &mut Segment,
        tail: &mut Tail,
        position: u64,
        apply_from: i64,
        next_base: Option<i64>,
    ) -> Result<i64, LogError> {
        if apply_from < i64::MAX {
            self.drop_aborted(segment, apply_from)?;
        }
        let mut next = if position > 0 { apply_from } else { segment.base };
        let indexed = u64::from(tail.index.written) * index::ENTRY_SIZE;
        let index_length = self.length(segment.base, Kind::Index)?;
        if position == segment.size && index_length == indexed && next_base.is_none() {
            // All is whole, as after a clean close; nothing needs to be opened.
            return Ok(next);
        }
        let log_path = path(self.folder, segment.base, Kind::Log);
        let log = self.file(segment, Kind::Log)?;
        let index_path = path(self.folder, segment.base, Kind::Index);
        let index = self.file(segment, Kind::Index)?;
        index.set_len(indexed).map_err(LogError::io(&index_path))?;
        let mut scan = Scan::new(&log, position, segment.size, LARGE);
        segment.size = position;
        let cut = loop {
            match self.batch(&mut scan, next, next_base) {
                Ok(None) => break None,
                Ok(Some((found, marker))) => {
                    let header = &found.header;
                    let entry = index::Entry {
                        relative: u32::try_from(header.base_offset() - segment.base).unwrap_or(u32::MAX),
                        position: u32::try_from(found.position).unwrap_or(u32::MAX),
                        max_before: segment.max_timestamp,
                    };
                    if tail.index.batch(entry, header.size() as u64, self.interval) {
                        tail.index.flush(&index).map_err(LogError::io(&index_path))?;
                    }
                    segment.size = found.end();
                    segment.max_timestamp = segment.max_timestamp.max(header.max_timestamp());
                    tail.first_timestamp.get_or_insert(header.max_timestamp());
                    next = header.last_offset() + 1;
                    if header.base_offset() >= apply_from {
                        self.apply(segment, header, marker)?;
                    }
                }
                Err(Stop::Io(error)) => return Err(LogError::io(&log_path)(error)),
                Err(Stop::Torn { position, why }) => break Some((position, why)),
            }
        };
        if let Some((position, why)) = cut {
            let lost = log.metadata().map_err(LogError::io(&log_path))?.len().saturating_sub(position);
            tracing::warn!(path = %log_path.display(), position, lost, why, "log is cut at the last whole batch");
            log.set_len(position).map_err(LogError::io(&log_path))?;
        }
        tail.index.flush(&index).map_err(LogError::io(&index_path))?;
        if let Some(next_base) = next_base {
            segment.entries = tail.index.written;
            tail.index.pending.push(index::Entry {
                relative: u32::try_from(next_base - segment.base).unwrap_or(u32::MAX),
                position: u32::try_from(segment.size).unwrap_or(u32::MAX),
                max_before: segment.max_timestamp,
            });
            tail.index.flush(&index).map_err(LogError::io(&index_path))?;
        }
        Ok(next)
    }

    /// The next batch, whole and in its place, with its marker if it is one.
    fn batch(
        &self,
        scan: &mut Scan<'_>,
        next: i64,
        next_base: Option<i64>,
    ) -> Result<Option<(Found, Option<Marker>)>, Stop> {
        let Some(found) = scan.next()? else { return Ok(None) };
        let (first, last) = (found.header.base_offset(), found.header.last_offset());
        if first < next || next_base.is_some_and(|base| last >= base) || last == i64::MAX {
            return Err(torn(&found, &format_args!("offsets {first} to {last} do not follow {next}")));
        }
        scan.verify(&found)?;
        let mut marker = None;
        if found.header.is_control() && found.header.count() > 0 {
            // The checksum is right, so whatever is in it stays in the log.
            marker = match records_of(scan, &found) {
                Ok(records) => records.iter().next().and_then(Result::ok).and_then(|record| Marker::read(&record).ok()),
                Err(Stop::Torn { .. }) => None,
                Err(stop) => return Err(stop),
            }
            .flatten();
        }
        Ok(Some((found, marker)))
    }

    /// Tells the producers of a batch, and the index of aborted transactions of an abort.
    fn apply(&mut self, segment: &mut Segment, header: &Header, marker: Option<Marker>) -> Result<(), LogError> {
        if !header.is_control() {
            self.producers.batch(header, self.now_ms);
            return Ok(());
        }
        let Some(marker) = marker else { return Ok(()) };
        let id = header.producer_id();
        if let Some(entry) = self.producers.aborts(id, header.base_offset()).filter(|_| !marker.commit) {
            let path = path(self.folder, segment.base, Kind::Aborted);
            let file = self.file(segment, Kind::Aborted)?;
            let size = u64::from(segment.aborted) * aborted::ENTRY_SIZE;
            index::append(&file, size, &entry.write()).map_err(LogError::io(&path))?;
            segment.aborted += 1;
        }
        let (epoch, timestamp) = (header.producer_epoch(), header.max_timestamp());
        self.producers.marker(id, epoch, marker.coordinator_epoch, timestamp, self.now_ms);
        Ok(())
    }

    /// Removes the aborted transactions whose marker is at `from` or later: they are found again, if the marker is there.
    fn drop_aborted(&self, segment: &mut Segment, from: i64) -> Result<(), LogError> {
        if self.length(segment.base, Kind::Aborted)? == 0 {
            return Ok(());
        }
        let path = path(self.folder, segment.base, Kind::Aborted);
        let file = self.file(segment, Kind::Aborted)?;
        let keep = match from <= segment.base {
            true => 0,
            false => aborted::first_from(&file, u64::from(segment.aborted), from).map_err(LogError::io(&path))?,
        };
        file.set_len(keep * aborted::ENTRY_SIZE).map_err(LogError::io(&path))?;
        segment.aborted = u32::try_from(keep).unwrap_or(u32::MAX);
        Ok(())
    }
}
