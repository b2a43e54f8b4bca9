//! Compaction: of each key the last record stays, as Kafka's cleaner does it (KIP-534 for tombstones and markers).
//!
//! ```text
//! plan      what may be compacted: closed, below the last stable offset, older than the lag; enough of it
//! keys      the part that is new is read: last offset of each key, until the memory for keys is full
//! rewrite   all segments up to there are copied without what is superseded, small ones together
//! swap      the new segment takes the place of the old ones
//! ```
//!
//! Where the keys do not fit, several passes follow each other. Offsets never change. Kept beyond the last records of the keys:
//! tombstones and markers until their delete horizon, and the last batch of each producer, empty if need be, for its sequence.

mod keys;
mod rewrite;
mod transactions;

use weir_wire::batch::Header;

use super::Log;
use super::error::LogError;
use super::files::lock;
use super::recover::Offsets;
use super::scan::{LARGE, Scan, Stop, records_of, torn};
use super::segment::State;
use keys::Keys;
use transactions::Transactions;

/// So many bytes of batches make at most one key, usually.
const BYTES_OF_A_KEY: u64 = 16;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Passes over the log; 0 where nothing was due.
    pub passes: u32,
    /// Bytes of batches that were read to be rewritten.
    pub read: u64,
    /// Bytes of batches that took their place.
    pub written: u64,
}

/// What one pass may compact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// From here on it was not compacted yet.
    from: i64,
    /// Up to here it may be.
    to: i64,
    /// Bytes between the two.
    bytes: u64,
}

impl Log {
    /// Compacts what is due at `now_ms`, if the policy says so. It takes as long as the log is large; appends and reads go on
    /// meanwhile. Memory: `compaction_bytes` of the settings and two batches.
    pub fn compact(&self, now_ms: i64) -> Result<Compacted, LogError> {
        let _upkeep = lock(&self.upkeep);
        let mut done = Compacted::default();
        let Some(plan) = self.plan(now_ms)? else { return Ok(done) };
        let most = self.config().compaction_bytes / keys::SLOT;
        let slots = usize::try_from(plan.bytes / BYTES_OF_A_KEY).unwrap_or(usize::MAX).max(64).min(most);
        let mut from = plan.from;
        while from < plan.to {
            let (keys, covered) = self.keys(from, plan.to, slots)?;
            if covered <= from {
                tracing::warn!(folder = %self.folder.display(), from, "no room for the keys of a compaction");
                break;
            }
            self.rewrite(&keys, covered, now_ms, &mut done)?;
            let mut state = self.lock();
            state.clean = covered;
            Offsets::of(&state).write(&self.folder)?;
            drop(state);
            done.passes += 1;
            from = covered;
        }
        tracing::debug!(folder = %self.folder.display(), passes = done.passes, read = done.read, written = done.written, "compacted");
        Ok(done)
    }

    /// What is to be compacted now; `None` where that is not worth it.
    fn plan(&self, now_ms: i64) -> Result<Option<Plan>, LogError> {
        let state = self.lock();
        let config = state.config.clone();
        if !config.cleanup.compact || state.stopped {
            return Ok(None);
        }
        let from = state.clean.max(state.segments[0].base);
        let mut to = state.active().base.min(state.last_stable());
        let (mut clean, mut dirty, mut first) = (0, 0, None);
        for (at, segment) in state.segments.iter().enumerate() {
            let end = state.end_of(at);
            if end <= from {
                clean += segment.size;
                continue;
            }
            let young = config.min_compaction_lag_ms > 0
                && segment.max_timestamp > now_ms.saturating_sub(config.min_compaction_lag_ms);
            if young {
                to = to.min(segment.base);
            }
            if segment.base >= to {
                break;
            }
            dirty += segment.size;
            first = first.or(Some(at));
        }
        let Some(first) = first.filter(|_| from < to && dirty > 0) else { return Ok(None) };
        let ratio = dirty as f64 / (clean + dirty) as f64;
        let due = ratio > config.min_cleanable_dirty_ratio || self.is_overdue(&state, first, now_ms)?;
        Ok(due.then_some(Plan { from, to, bytes: dirty }))
    }

    /// Whether a record that was not compacted yet is older than the greatest lag.
    fn is_overdue(&self, state: &State, segment: usize, now_ms: i64) -> Result<bool, LogError> {
        let lag = state.config.max_compaction_lag_ms;
        if lag == i64::MAX {
            return Ok(false);
        }
        let view = self.view(state, segment, false, false)?;
        let mut scan = Scan::new(&view.log, 0, view.segment.size, 1 << 10);
        match scan.next() {
            Ok(found) => Ok(found.is_some_and(|found| now_ms.saturating_sub(found.header.max_timestamp()) > lag)),
            Err(stop) => Err(self.damaged(&view, stop)),
        }
    }

    /// The last offset of each key between two offsets, and how far there was room.
    fn keys(&self, from: i64, to: i64, slots: usize) -> Result<(Keys, i64), LogError> {
        let mut keys = Keys::new(slots);
        let mut transactions = Transactions::default();
        let mut next = from;
        while next < to {
            let view = {
                let state = self.lock();
                let at = state.segment_of(next);
                self.view(&state, at, true, true)?
            };
            transactions.add(self.aborted_entries(&view, next, view.end.min(to))?);
            let position = self.position(&view, next)?;
            let mut scan = Scan::new(&view.log, position, view.segment.size, LARGE);
            let full = gather(&mut scan, &mut keys, &mut transactions, from, to);
            if let Some(covered) = full.map_err(|stop| self.damaged(&view, stop))? {
                return Ok((keys, covered));
            }
            next = view.end;
        }
        Ok((keys, to))
    }
}

/// Adds the keys of a segment; gives the offset of the record for which there was no room.
fn gather(
    scan: &mut Scan<'_>,
    keys: &mut Keys,
    transactions: &mut Transactions,
    from: i64,
    to: i64,
) -> Result<Option<i64>, Stop> {
    while let Some(found) = scan.next()? {
        let header = &found.header;
        if header.base_offset() >= to {
            break;
        }
        if header.is_control() || transactions.is_aborted(header) {
            continue;
        }
        let records = records_of(scan, &found)?;
        for record in &records {
            let record = record.map_err(|error| torn(&found, &error))?;
            let Some(key) = record.key.filter(|_| (from..to).contains(&record.offset)) else { continue };
            if !keys.put(key, record.offset) {
                return Ok(Some(record.offset));
            }
        }
    }
    Ok(None)
}

/// Whether the batch ends below an offset.
fn is_below(header: &Header, offset: i64) -> bool {
    header.last_offset() < offset
}
