//! What recovery starts from: the producers at some offset, and where in which segment that offset is.
//!
//! A snapshot is written when a segment is closed, every so many bytes (after what it speaks of was flushed) and at a clean
//! close. It is a file of its own, complete or not there, with a checksum; the two newest are kept. Without any, recovery reads
//! the whole log.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::producers::{BATCHES, BatchState, Producer};

const MAGIC: &[u8; 8] = b"weirlog1";
const ENDING: &str = ".snapshot";
/// The snapshots that stay.
const KEPT: usize = 2;

/// The state of a log at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Offset of the next record.
    pub(super) offset: i64,
    /// Base offset of the segment it goes to.
    pub(super) base: i64,
    /// Size of that segment.
    pub(super) position: u64,
    /// Highest timestamp in it, or -1.
    pub(super) max_timestamp: i64,
    /// Timestamp of its first batch.
    pub(super) first_timestamp: Option<i64>,
    /// Entries in its index.
    pub(super) entries: u32,
    /// Bytes since the last of them.
    pub(super) unindexed: u64,
    pub(super) producers: Vec<(i64, Producer)>,
}

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + 200 * self.producers.len());
        out.extend_from_slice(MAGIC);
        let mut put = |value: i64| out.extend_from_slice(&value.to_be_bytes());
        put(self.offset);
        put(self.base);
        put(self.position as i64);
        put(self.max_timestamp);
        put(i64::from(self.first_timestamp.is_some()));
        put(self.first_timestamp.unwrap_or(0));
        put(i64::from(self.entries));
        put(self.unindexed as i64);
        put(self.producers.len() as i64);
        for (id, producer) in &self.producers {
            put(*id);
            put(i64::from(producer.epoch));
            put(i64::from(producer.coordinator_epoch));
            put(producer.timestamp);
            put(producer.seen);
            put(producer.open.unwrap_or(-1));
            put(producer.batches.len() as i64);
            for batch in &producer.batches {
                put(i64::from(batch.last_sequence));
                put(i64::from(batch.delta));
                put(batch.last_offset);
                put(batch.timestamp);
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// `None` where the bytes are no whole snapshot.
    fn decode(bytes: &[u8]) -> Option<Snapshot> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut take = || {
            let (value, left) = rest.split_first_chunk::<8>()?;
            rest = left;
            Some(i64::from_be_bytes(*value))
        };
        let mut snapshot = Snapshot {
            offset: take()?,
            base: take()?,
            position: u64::try_from(take()?).ok()?,
            max_timestamp: take()?,
            first_timestamp: None,
            entries: 0,
            unindexed: 0,
            producers: Vec::new(),
        };
        let (there, first) = (take()?, take()?);
        snapshot.first_timestamp = (there != 0).then_some(first);
        snapshot.entries = u32::try_from(take()?).ok()?;
        snapshot.unindexed = u64::try_from(take()?).ok()?;
        for _ in 0..take()? {
            let id = take()?;
            let mut producer = Producer {
                epoch: i16::try_from(take()?).ok()?,
                coordinator_epoch: i32::try_from(take()?).ok()?,
                timestamp: take()?,
                seen: take()?,
                open: Some(take()?).filter(|first| *first >= 0),
                batches: Vec::new(),
            };
            let count = usize::try_from(take()?).ok().filter(|count| *count <= BATCHES)?;
            for _ in 0..count {
                producer.batches.push(BatchState {
                    last_sequence: i32::try_from(take()?).ok()?,
                    delta: i32::try_from(take()?).ok()?,
                    last_offset: take()?,
                    timestamp: take()?,
                });
            }
            snapshot.producers.push((id, producer));
        }
        rest.is_empty().then_some(snapshot)
    }

    /// Writes the snapshot and removes those that are no longer needed.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(format!("{:020}{ENDING}", self.offset));
        replace(&path, &self.encode(), false)?;
        let offsets = offsets(folder)?;
        for offset in offsets.iter().rev().skip(KEPT) {
            fs::remove_file(folder.join(format!("{offset:020}{ENDING}")))?;
        }
        Ok(())
    }

    /// The newest snapshot that is whole and that `fits` the segments.
    pub(super) fn newest(folder: &Path, fits: impl Fn(&Snapshot) -> bool) -> io::Result<Option<Snapshot>> {
        for offset in offsets(folder)?.into_iter().rev() {
            let bytes = fs::read(folder.join(format!("{offset:020}{ENDING}")))?;
            match Snapshot::decode(&bytes).filter(|snapshot| snapshot.offset == offset && fits(snapshot)) {
                Some(snapshot) => return Ok(Some(snapshot)),
                None => {
                    tracing::warn!(folder = %folder.display(), offset, "snapshot does not fit the log, an older one is used")
                }
            }
        }
        Ok(None)
    }
}

/// Removes the snapshots that speak of a position in a segment that is rewritten: those between its base and its end.
pub(super) fn remove_between(folder: &Path, base: i64, end: i64) -> io::Result<()> {
    let inside = offsets(folder)?.into_iter().filter(|offset| (base + 1..end).contains(offset));
    inside.into_iter().try_for_each(|offset| fs::remove_file(folder.join(format!("{offset:020}{ENDING}"))))
}

/// Offsets of the snapshots in a folder, ascending.
fn offsets(folder: &Path) -> io::Result<Vec<i64>> {
    let mut offsets = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let offset = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        offsets.extend(offset.and_then(|offset| offset.parse::<i64>().ok()));
    }
    offsets.sort_unstable();
    Ok(offsets)
}

/// Puts a file with this content in the place of what was there, whole or not at all; `durable` before it returns.
pub(super) fn replace(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let result = fs::File::create(&name).and_then(|mut file| {
        file.write_all(content)?;
        if durable { file.sync_all() } else { Ok(()) }
    });
    if let Err(error) = result.and_then(|()| fs::rename(&name, path)) {
        let _ = fs::remove_file(&name);
        return Err(error);
    }
    match path.parent().filter(|_| durable) {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(offset: i64) -> Snapshot {
        let batch = BatchState { last_sequence: 9, delta: 3, last_offset: 77, timestamp: 5 };
        let producer = |open| Producer {
            epoch: 2,
            coordinator_epoch: 4,
            timestamp: 5,
            seen: 6,
            open,
            batches: vec![batch, BatchState { last_offset: 80, ..batch }],
        };
        Snapshot {
            offset,
            base: 40,
            position: 1234,
            max_timestamp: 99,
            first_timestamp: Some(-1),
            entries: 7,
            unindexed: 8,
            producers: vec![(1, producer(None)), (i64::MAX, producer(Some(0)))],
        }
    }

    #[test]
    fn a_snapshot_comes_back_and_none_that_was_changed() {
        let bytes = snapshot(100).encode();
        assert_eq!(Snapshot::decode(&bytes), Some(snapshot(100)));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Snapshot::decode(&changed), None, "byte {at}");
            assert_eq!(Snapshot::decode(&bytes[..at]), None, "first {at} bytes");
        }
    }

    #[test]
    fn the_two_newest_stay_and_a_broken_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Snapshot::newest(folder, |_| true).unwrap(), None);
        for offset in [100, 200, 300] {
            snapshot(offset).write(folder).unwrap();
        }
        assert_eq!(offsets(folder).unwrap(), [200, 300]);
        assert_eq!(Snapshot::newest(folder, |_| true).unwrap().unwrap().offset, 300);
        fs::write(folder.join("00000000000000000300.snapshot"), b"").unwrap();
        assert_eq!(Snapshot::newest(folder, |_| true).unwrap().unwrap().offset, 200);
        assert_eq!(Snapshot::newest(folder, |_| false).unwrap(), None);
    }
}
