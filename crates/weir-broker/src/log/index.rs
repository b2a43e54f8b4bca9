//! The index of a segment: where in the file an offset or a time is to be found.
//!
//! Kafka keeps two sparse files, one by offset and one by time. Ours is one: each entry says of a batch its offset, its position and
//! the highest timestamp of all batches *before* it, which answers both questions. A closed segment ends with an entry that
//! names its next offset, its size and its highest timestamp; where it is missing or untrue the index is made anew from the
//! batches. An index is only ever a hint: a missing entry costs time, and every position is compared with the batch found there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of one entry.
pub(super) const ENTRY_SIZE: u64 = 16;
/// Entries of the active segment that wait for being written together.
const PENDING: usize = 64;

/// One batch, or the end of a closed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Base offset of the batch less that of the segment.
    pub(super) relative: u32,
    /// Where the batch begins in the file.
    pub(super) position: u32,
    /// Highest timestamp of the batches before, -1 without any.
    pub(super) max_before: i64,
}

impl Entry {
    fn write(self) -> [u8; ENTRY_SIZE as usize] {
        let mut bytes = [0; ENTRY_SIZE as usize];
        bytes[..4].copy_from_slice(&self.relative.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..].copy_from_slice(&self.max_before.to_be_bytes());
        bytes
    }

    fn read(bytes: [u8; ENTRY_SIZE as usize]) -> Entry {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        Entry {
            relative: u32::from_be_bytes([a, b, c, d]),
            position: u32::from_be_bytes([e, f, g, h]),
            max_before: i64::from_be_bytes(rest),
        }
    }
}

/// The entry with this number.
pub(super) fn entry(file: &File, number: u32) -> io::Result<Entry> {
    let mut bytes = [0; ENTRY_SIZE as usize];
    file.read_exact_at(&mut bytes, u64::from(number) * ENTRY_SIZE)?;
    Ok(Entry::read(bytes))
}

/// The last of the first `count` entries that `before` is true of; it must be true of a run of entries from the start.
pub(super) fn last(file: &File, count: u32, before: impl Fn(&Entry) -> bool) -> io::Result<Option<Entry>> {
    let (mut low, mut high, mut found) = (0, count, None);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = entry(file, middle)?;
        if before(&entry) {
            found = Some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

/// The writing side of the index of one segment.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// Entries in the file.
    pub(super) written: u32,
    /// Entries after them.
    pub(super) pending: Vec<Entry>,
    /// Bytes of batches since the last entry.
    pub(super) unindexed: u64,
}

impl Builder {
    /// Takes note of a batch of `size` bytes; true when enough entries wait to be written.
    pub(super) fn batch(&mut self, entry: Entry, size: u64, interval: u64) -> bool {
        // The first batch needs no entry: a search that finds none begins at the start.
        if self.unindexed >= interval && entry.position > 0 {
            self.unindexed = 0;
            // Beyond the bound writing has failed before; a sparse index may miss entries.
            if self.pending.len() < 2 * PENDING {
                self.pending.push(entry);
            }
        }
        self.unindexed += size;
        self.pending.len() >= PENDING
    }

    /// Bytes of the index when all is written.
    pub(super) fn size(&self) -> u64 {
        (u64::from(self.written) + self.pending.len() as u64) * ENTRY_SIZE
    }

    /// Writes what waits. On a failure the file is cut back and the entries wait on.
    pub(super) fn flush(&mut self, file: &File) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.pending.iter().flat_map(|entry| entry.write()).collect();
        append(file, u64::from(self.written) * ENTRY_SIZE, &bytes)?;
        self.written += u32::try_from(self.pending.len()).unwrap_or(0);
        self.pending = Vec::new();
        Ok(())
    }
}

/// Appends to a file of `size` bytes all of `bytes` or nothing.
pub(super) fn append(mut file: &File, size: u64, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut file, bytes).inspect_err(|_| {
        // What cannot be cut off is found by its length when the log is opened.
        let _ = file.set_len(size);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_last_entry_before() {
        let file = tempfile::tempfile().unwrap();
        let mut builder = Builder::default();
        for n in 0..1_000u32 {
            let entry = Entry { relative: 10 * n, position: 100 * n, max_before: i64::from(n) - 1 };
            if builder.batch(entry, 100, 200) {
                builder.flush(&file).unwrap();
            }
        }
        assert!(!builder.pending.is_empty());
        builder.flush(&file).unwrap();
        assert_eq!(builder.written, 499);
        let find = |relative| last(&file, builder.written, |entry| entry.relative <= relative).unwrap();
        assert_eq!(find(19), None);
        assert_eq!(find(20).unwrap().position, 200);
        assert_eq!(find(39).unwrap().position, 200);
        assert_eq!(find(40).unwrap().position, 400);
        assert_eq!(find(u32::MAX).unwrap().position, 99_800);
    }
}
