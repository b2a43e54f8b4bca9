//! Open file handles and read buffers, shared by all logs of a broker so that both stay bounded.
//!
//! Three thousand partitions must fit under the usual limit of 1,024 descriptors, so a handle is opened when it is used and
//! the least recently used ones are closed. A handle that is in use stays valid: it is only forgotten here.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes of read buffers kept for the next reads.
const KEPT_BUFFERS: usize = 8 << 20;
/// A buffer beyond this is given back to the allocator, so that one huge batch does not stay in memory.
const LARGEST_KEPT_BUFFER: usize = 2 << 20;
/// Below this a fresh buffer is cheaper than a kept one.
const SMALLEST_KEPT_BUFFER: usize = 16 << 10;
/// `EMFILE` and `ENFILE`: the process or the machine has no descriptor left.
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

/// Which file of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The batches.
    Log,
    /// Offsets and times.
    Index,
    /// Aborted transactions.
    Aborted,
}

impl Kind {
    /// The ending of the file's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Index => "index",
            Kind::Aborted => "txnindex",
        }
    }
}

struct Handle {
    file: Arc<File>,
    used: u64,
}

#[derive(Default)]
struct Open {
    handles: HashMap<(u64, Kind), Handle>,
    clock: u64,
}

impl Open {
    /// Forgets the least recently used handles until `keep` are left.
    fn shrink(&mut self, keep: usize) {
        let surplus = self.handles.len().saturating_sub(keep);
        if surplus == 0 {
            return;
        }
        let mut used: Vec<u64> = self.handles.values().map(|handle| handle.used).collect();
        let (_, &mut last, _) = used.select_nth_unstable(surplus - 1);
        self.handles.retain(|_, handle| handle.used > last);
    }
}

#[derive(Default)]
struct Buffers {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

/// The handles and buffers of all logs of one broker; make one and give it to every [`super::Log`].
pub struct Files {
    limit: usize,
    open: Mutex<Open>,
    buffers: Arc<Mutex<Buffers>>,
    next_id: AtomicU64,
}

impl Files {
    /// At most `limit` handles (at least 8) stay open between two uses.
    pub fn new(limit: usize) -> Arc<Files> {
        Arc::new(Files {
            limit: limit.max(8),
            open: Mutex::default(),
            buffers: Arc::default(),
            next_id: AtomicU64::new(1),
        })
    }

    /// Handles that are open now.
    pub fn open_handles(&self) -> usize {
        lock(&self.open).handles.len()
    }

    /// A number that no other file of this process has: a segment that is rewritten gets a new one.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The handle of a file, for reading and appending; with `create` the file is made where it is missing.
    pub(super) fn get(
        &self,
        id: u64,
        kind: Kind,
        create: bool,
        path: impl FnOnce() -> Box<Path>,
    ) -> io::Result<Arc<File>> {
        let mut open = lock(&self.open);
        open.clock += 1;
        let clock = open.clock;
        if let Some(handle) = open.handles.get_mut(&(id, kind)) {
            handle.used = clock;
            return Ok(handle.file.clone());
        }
        if open.handles.len() >= self.limit {
            // A quarter at once, so that the search for the oldest is rare.
            open.shrink(self.limit - self.limit / 4);
        }
        let path = path();
        let file = match open_file(&path, create) {
            Err(error) if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code)) => {
                let half = open.handles.len() / 2;
                open.shrink(half);
                open_file(&path, create)?
            }
            other => other?,
        };
        let file = Arc::new(file);
        open.handles.insert((id, kind), Handle { file: file.clone(), used: clock });
        Ok(file)
    }

    /// Closes the handles of a segment that is no more.
    pub(super) fn forget(&self, id: u64) {
        let mut open = lock(&self.open);
        for kind in [Kind::Log, Kind::Index, Kind::Aborted] {
            open.handles.remove(&(id, kind));
        }
    }

    /// A buffer of `size` bytes with anything in it; it comes back when the [`Bytes`] made of it is dropped.
    pub(super) fn buffer(&self, size: usize) -> Buffer {
        if !(SMALLEST_KEPT_BUFFER..=LARGEST_KEPT_BUFFER).contains(&size) {
            return Buffer { bytes: vec![0; size], len: size, home: None };
        }
        let kept = {
            let mut buffers = lock(&self.buffers);
            let at = buffers.free.iter().position(|buffer| buffer.len() >= size);
            let kept = at.map(|at| buffers.free.swap_remove(at));
            buffers.bytes -= kept.as_ref().map_or(0, Vec::len);
            kept
        };
        // Rounded up, so that reads of nearly the same size share buffers.
        let bytes = kept.unwrap_or_else(|| vec![0; size.next_power_of_two()]);
        Buffer { bytes, len: size, home: Some(self.buffers.clone()) }
    }
}

/// Bytes to read into, which return to the pool once nothing refers to them.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Option<Arc<Mutex<Buffers>>>,
}

impl Buffer {
    /// All of the buffer as immutable bytes.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let mut buffers = lock(&home);
            if buffers.bytes + self.bytes.len() <= KEPT_BUFFERS {
                buffers.bytes += self.bytes.len();
                buffers.free.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

/// Locks even where another thread panicked: every state here is whole between two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_file(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(create).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_handles_are_closed_and_the_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(8);
        let get = |id: u64| files.get(id, Kind::Log, true, || folder.path().join(id.to_string()).into()).unwrap();
        let first = get(1);
        for id in 2..100 {
            get(id);
            get(1);
            assert!(files.open_handles() <= 8);
        }
        assert!(Arc::ptr_eq(&first, &get(1)));
        files.forget(1);
        assert!(!Arc::ptr_eq(&first, &get(1)));
    }

    #[test]
    fn buffers_come_back_and_stay_bounded() {
        let files = Files::new(8);
        let bytes = files.buffer(100_000).freeze();
        let (part, at) = (bytes.slice(10..20), bytes.as_ptr());
        drop(bytes);
        assert_eq!(lock(&files.buffers).bytes, 0);
        drop(part);
        assert_eq!(lock(&files.buffers).bytes, 131_072);
        assert_eq!(files.buffer(90_000).freeze().as_ptr(), at);
        let many: Vec<_> = (0..20).map(|_| files.buffer(1 << 20)).collect();
        drop(many);
        assert!(lock(&files.buffers).bytes <= KEPT_BUFFERS);
    }
}
