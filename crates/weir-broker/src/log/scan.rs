//! Walks the batches of a segment file by their headers, for recovery, look-ups and compaction.
//!
//! Memory is one block, however large a batch claims to be; the records are read only where a caller asks for a whole batch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use weir_wire::batch::{Batch, BatchError, HEADER_SIZE, Header};
use weir_wire::records::Records;

use super::validate;

/// Where the checksum of a batch begins to count.
const CHECKED_FROM: u64 = 21;
/// A block for look-ups, which end soon.
pub(super) const SMALL: usize = 16 << 10;
/// A block for reading all.
pub(super) const LARGE: usize = 256 << 10;

/// A batch in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Byte position of the batch.
    pub(super) position: u64,
    /// Its header.
    pub(super) header: Header,
}

impl Found {
    /// Byte position after the batch.
    pub(super) fn end(&self) -> u64 {
        self.position + self.header.size() as u64
    }
}

/// Why the walk cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file cannot be read.
    Io(io::Error),
    /// At this position is no whole batch.
    Torn {
        /// Byte position.
        position: u64,
        /// What is there instead.
        why: String,
    },
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// A batch that cannot be read.
pub(super) fn torn(found: &Found, why: &dyn std::fmt::Display) -> Stop {
    Stop::Torn { position: found.position, why: why.to_string() }
}

/// The records of a batch in a file.
pub(super) fn records_of(scan: &mut Scan<'_>, found: &Found) -> Result<Records, Stop> {
    let mut bytes = scan.read(found)?;
    let batch = Batch::split(&mut bytes).map_err(|error| torn(found, &error))?;
    let batch = batch.ok_or_else(|| torn(found, &"no batch"))?;
    Records::read(&batch, validate::DECOMPRESSED_LIMIT).map_err(|error| torn(found, &error))
}

/// A walk over the batches between two positions of a file.
pub(super) struct Scan<'a> {
    file: &'a File,
    next: u64,
    end: u64,
    block: Vec<u8>,
    /// What of the file is in the block.
    from: u64,
    filled: usize,
}

impl<'a> Scan<'a> {
    /// From the batch that begins at `position` up to `end` (no further than the file is long), `block` bytes at a time.
    pub(super) fn new(file: &'a File, position: u64, end: u64, block: usize) -> Scan<'a> {
        Scan { file, next: position, end, block: vec![0; block], from: 0, filled: 0 }
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Stop> {
        if self.next >= self.end {
            return Ok(None);
        }
        let (position, left) = (self.next, self.end - self.next);
        let need = left.min(HEADER_SIZE as u64) as usize;
        let header = Header::read(self.bytes(position, need)?);
        let header = header.map_err(|why| Stop::Torn { position, why: why.to_string() })?;
        if header.size() as u64 > left {
            let why = BatchError::Truncated { have: usize::try_from(left).unwrap_or(usize::MAX), need: header.size() };
            return Err(Stop::Torn { position, why: why.to_string() });
        }
        self.next = position + header.size() as u64;
        Ok(Some(Found { position, header }))
    }

    /// Compares the checksum of a batch with its bytes, a block at a time.
    pub(super) fn verify(&mut self, found: &Found) -> Result<(), Stop> {
        let (mut at, end, mut computed) = (found.position + CHECKED_FROM, found.end(), 0);
        while at < end {
            let some = self.some(at, (end - at).min(self.block.len() as u64) as usize)?;
            computed = crc32c::crc32c_append(computed, some);
            at += some.len() as u64;
        }
        let stored = found.header.crc();
        if stored == computed {
            return Ok(());
        }
        let why = BatchError::Crc { base_offset: found.header.base_offset(), stored, computed };
        Err(torn(found, &why))
    }

    /// The bytes of a batch.
    pub(super) fn read(&mut self, found: &Found) -> io::Result<Bytes> {
        let size = found.header.size();
        if size <= self.block.len() {
            return self.bytes(found.position, size).map(Bytes::copy_from_slice);
        }
        let mut all = vec![0; size];
        self.file.read_exact_at(&mut all, found.position)?;
        Ok(all.into())
    }

    /// Exactly `need` bytes, no more than a block.
    fn bytes(&mut self, position: u64, need: usize) -> io::Result<&[u8]> {
        let inside = position >= self.from && position + need as u64 <= self.from + self.filled as u64;
        if !inside {
            let size = (self.end - position).min(self.block.len() as u64) as usize;
            self.filled = 0;
            self.file.read_exact_at(&mut self.block[..size], position)?;
            (self.from, self.filled) = (position, size);
        }
        let at = (position - self.from) as usize;
        Ok(&self.block[at..at + need])
    }

    /// Between one and `most` bytes: what is already there, or a new block.
    fn some(&mut self, position: u64, most: usize) -> io::Result<&[u8]> {
        let there = (self.from + self.filled as u64).saturating_sub(position);
        let inside = position >= self.from && there > 0;
        let need = if inside { most.min(there as usize) } else { most };
        self.bytes(position, need)
    }
}
