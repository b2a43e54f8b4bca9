//! Offsets by time: the first record that is not older, the youngest record, and the ends of the log (ListOffsets).

use std::sync::MutexGuard;

use super::error::LogError;
use super::scan::{Found, SMALL, Scan, Stop, records_of, torn};
use super::segment::State;
use super::{LEADER_EPOCH, Log};

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// The first of the log (-2, and -4 for the local log).
    Earliest,
    /// The high watermark (-1).
    Latest,
    /// The last stable offset: the latest for readers of committed records.
    LastStable,
    /// That of the first record with the highest timestamp (-3, KIP-734).
    MaxTimestamp,
    /// That of the first record with this timestamp, in ms since 1970, or a later one.
    Time(i64),
}

/// An offset of the log, as ListOffsets answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The offset.
    pub offset: i64,
    /// Timestamp of the record there, or -1 where the question was not about time.
    pub timestamp: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
}

impl Log {
    /// The offset that `spec` names; `None` where no record is as young as asked.
    pub fn offset_for(&self, spec: Spec) -> Result<Option<Position>, LogError> {
        let at = |offset| Ok(Some(Position { offset, timestamp: -1, leader_epoch: LEADER_EPOCH }));
        let state = self.lock();
        if state.stopped {
            return Err(self.stopped());
        }
        match spec {
            Spec::Earliest => at(state.start),
            Spec::Latest => at(state.end),
            Spec::LastStable => at(state.last_stable()),
            Spec::Time(time) => {
                drop(state);
                self.first_since(time)
            }
            Spec::MaxTimestamp => {
                let latest = self.latest_timestamp(state)?;
                if latest < 0 { Ok(None) } else { self.first_since(latest) }
            }
        }
    }

    /// Highest timestamp from the start of the log on, or -1.
    fn latest_timestamp(&self, state: MutexGuard<'_, State>) -> Result<i64, LogError> {
        let first = state.segment_of(state.start);
        let later = state.segments[first + 1..].iter().map(|segment| segment.max_timestamp).max().unwrap_or(-1);
        let (segment, start) = (&state.segments[first], state.start);
        if start == segment.base || segment.max_timestamp <= later {
            return Ok(later.max(segment.max_timestamp));
        }
        // A part of this segment is deleted, perhaps the one with its latest record.
        let view = self.view(&state, first, true, false)?;
        drop(state);
        let mut scan = Scan::new(&view.log, self.position(&view, start)?, view.segment.size, SMALL);
        let mut latest = later;
        while let Some(found) = scan.next().map_err(|stop| self.damaged(&view, stop))? {
            if found.header.base_offset() >= start {
                latest = latest.max(found.header.max_timestamp());
                continue;
            }
            let records = records_of(&mut scan, &found).map_err(|stop| self.damaged(&view, stop))?;
            let left = records.iter().map_while(Result::ok).filter(|record| record.offset >= start);
            latest = left.map(|record| record.timestamp).fold(latest, i64::max);
        }
        Ok(latest)
    }

    /// The first record at or after the start of the log that is of `time` or later.
    fn first_since(&self, time: i64) -> Result<Option<Position>, LogError> {
        let mut from = self.lock().start;
        loop {
            let (view, start) = {
                let state = self.lock();
                let Some(at) = next_segment(&state, from, time) else { return Ok(None) };
                (self.view(&state, at, true, false)?, state.start)
            };
            let entry = |at: u64| Scan::new(&view.log, at, view.segment.size, SMALL);
            let mut scan = entry(self.entry(&view, |entry| entry.max_before < time)?);
            loop {
                match scan.next() {
                    Ok(None) => break,
                    Ok(Some(found)) if found.header.max_timestamp() < time || found.header.last_offset() < start => {}
                    Ok(Some(found)) => {
                        if let Some(position) = self
                            .record_since(&mut scan, &found, time, start)
                            .map_err(|stop| self.damaged(&view, stop))?
                        {
                            return Ok(Some(position));
                        }
                    }
                    Err(stop) => return Err(self.damaged(&view, stop)),
                }
            }
            from = view.end;
        }
    }

    /// The first record of a batch that is of `time` or later.
    fn record_since(
        &self,
        scan: &mut Scan<'_>,
        found: &Found,
        time: i64,
        start: i64,
    ) -> Result<Option<Position>, Stop> {
        let records = records_of(scan, found)?;
        for record in &records {
            let record = record.map_err(|error| torn(found, &error))?;
            if record.timestamp >= time && record.offset >= start {
                let leader_epoch = found.header.leader_epoch();
                return Ok(Some(Position { offset: record.offset, timestamp: record.timestamp, leader_epoch }));
            }
        }
        Ok(None)
    }
}

/// The first segment at `from` or after that has a record of `time` or later.
fn next_segment(state: &State, from: i64, time: i64) -> Option<usize> {
    let first = state.segment_of(from);
    let young = state.segments[first..].iter().position(|segment| segment.max_timestamp >= time && segment.size > 0)?;
    (state.end_of(first + young) > from).then_some(first + young)
}
