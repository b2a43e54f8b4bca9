//! The aborted transactions of a segment, for readers that must not see them.
//!
//! One entry per abort marker of the segment, in the order of the markers, each with a checksum. The file exists only where a
//! transaction was aborted. An entry is written before its marker: a marker without entry would show aborted records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of one entry.
pub(super) const ENTRY_SIZE: u64 = 36;

/// One aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whose it was.
    pub(super) producer_id: i64,
    /// Offset of its first record.
    pub(super) first: i64,
    /// Offset of the marker.
    pub(super) last: i64,
    /// Last stable offset once the marker was there; later entries are of transactions that begin at it or after.
    pub(super) stable: i64,
}

impl Entry {
    /// The bytes in the file.
    pub(super) fn write(&self) -> [u8; ENTRY_SIZE as usize] {
        let mut bytes = [0; ENTRY_SIZE as usize];
        for (at, value) in [self.producer_id, self.first, self.last, self.stable].into_iter().enumerate() {
            bytes[8 * at..8 * at + 8].copy_from_slice(&value.to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` where the checksum does not fit.
    pub(super) fn read(bytes: &[u8]) -> Option<Entry> {
        let (fields, crc) = bytes.split_at_checked(32)?;
        if crc32c::crc32c(fields).to_be_bytes() != *crc {
            return None;
        }
        let field = |at: usize| fields[8 * at..].first_chunk().map(|bytes| i64::from_be_bytes(*bytes));
        Some(Entry { producer_id: field(0)?, first: field(1)?, last: field(2)?, stable: field(3)? })
    }
}

/// The entry with this number; a wrong checksum is `InvalidData`.
pub(super) fn entry(file: &File, number: u64) -> io::Result<Entry> {
    let mut bytes = [0; ENTRY_SIZE as usize];
    file.read_exact_at(&mut bytes, number * ENTRY_SIZE)?;
    Entry::read(&bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "aborted transaction with a wrong checksum"))
}

/// Number of the first of `count` entries whose marker is at `offset` or after.
pub(super) fn first_from(file: &File, count: u64, offset: i64) -> io::Result<u64> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(file, middle)?.last < offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_and_a_wrong_byte_is_seen() {
        let file = tempfile::tempfile().unwrap();
        let entries: Vec<Entry> = (0..100)
            .map(|n| Entry { producer_id: n % 3, first: 10 * n, last: 10 * n + 5, stable: 10 * n + 6 })
            .collect();
        let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::write).collect();
        file.write_all_at(&bytes, 0).unwrap();
        for (number, expect) in entries.iter().enumerate() {
            assert_eq!(entry(&file, number as u64).unwrap(), *expect);
        }
        for (offset, expect) in [(0, 0), (5, 0), (6, 1), (15, 1), (995, 99), (996, 100)] {
            assert_eq!(first_from(&file, 100, offset).unwrap(), expect, "{offset}");
        }
        for at in 0..ENTRY_SIZE as usize {
            bytes[at] ^= 4;
            file.write_all_at(&bytes, 0).unwrap();
            assert_eq!(entry(&file, 0).unwrap_err().kind(), io::ErrorKind::InvalidData);
            bytes[at] ^= 4;
        }
    }
}
