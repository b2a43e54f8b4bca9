//! Aggregates for each key, and for each window of event time.

use std::io::Write as _;

use jiff::Timestamp;
use weir_avro::{put_blob, put_long};

use super::{BROKEN, CLOSES, Done, FORM, Fault, Of, Operator, Pending, ROWS, Record, Rekey, Task, Undefined, keyed};
use crate::aggregate::{Aggregate, Memory};
use crate::bytes::{Bytes, sorted, unsorted};
use crate::calendar::{begin_of, day_of};
use crate::projection::{Projection, RowError};
use crate::sql::{Shape, Window};
use crate::state::State;

/// Bytes that the entry of a group takes besides its row, most often.
const ENTRY: usize = 96;

impl Task {
    pub(super) fn aggregate(
        &mut self,
        record: &Record<'_>,
        state: &dyn State,
        row: &mut Vec<u8>,
    ) -> Result<Done, Fault> {
        let space = self.space;
        let Operator::Aggregate { changes, keys, texts, args, all, window, last } = &mut self.operator else {
            return Ok(Done::Taken);
        };
        if changes.is_some() {
            return self.regroup(record, state, row);
        }
        if let Some(Window { shape: Shape::Session { gap }, grace }) = window {
            let (gap, grace) = (*gap, *grace);
            return self.session(gap, grace, record, state, row);
        }
        let value = record.value.unwrap_or_default();
        let Some(key) = record.key else { return Ok(Done::NoKey) };
        let (window, last) = (window.as_ref(), *last);
        let mut stream_time = record.time;
        let mut taken = 0;
        if !keys.run(value, record, row)? {
            // Out by WHERE, yet time has gone on.
            taken = 1;
        }
        let made = match texts {
            Some(texts) if taken == 0 => unambiguous(texts, key, record)?,
            _ => None,
        };
        let key = made.as_deref().unwrap_or(key);
        let Group { found, memories, starts, shown } = &mut self.group;
        starts.clear();
        if window.is_some() {
            stream_time = self.clock.advance(space, record.time, state)?;
        }
        match window {
            _ if taken == 1 => {}
            None => starts.push(None),
            Some(window) => window.starts(record.time, starts),
        }
        for start in starts.iter().copied() {
            let bounds = start.zip(window).map(|(start, window)| (start, window.end(start)));
            let close = bounds.zip(window).map(|((_, end), window)| end.saturating_add(window.grace));
            if close.is_some_and(|close| close <= stream_time) {
                continue;
            }
            taken += 1;
            let place = keyed(space | ROWS, key, start.map(sorted).as_ref().map_or(&[], |s| s));
            found.clear();
            let known = self.pending.get(state, &place, found)?;
            let was = if known {
                read_group(found, all, memories).ok_or(BROKEN)?
            } else {
                memories.clear();
                memories.resize(all.len(), Memory::default());
                None
            };
            args.values(value, record, |i, value| match (all.get(i), memories.get_mut(i)) {
                (Some(aggregate), Some(memory)) => aggregate.add(memory, value),
                _ => Ok(()),
            })?;
            let mut now = was;
            if !last {
                let pending = &mut self.pending;
                now = show(&mut self.select, pending, shown, key, row, bounds, all, memories, was, record)?;
            }
            let mut entry = Vec::with_capacity(ENTRY + row.len());
            entry.extend([FORM, u8::from(now.is_some())]);
            entry.extend_from_slice(now.as_ref().map_or(&[], |hash| hash));
            put_blob(&mut entry, row);
            memories.iter().for_each(|memory| memory.write(&mut entry));
            if let Some(close) = close
                && !known
            {
                let index = [&[space | CLOSES][..], &sorted(close), &place].concat();
                self.pending.put(index, Some(vec![FORM]));
                self.clock.next_close = self.clock.next_close.map(|next| next.min(close));
            }
            self.pending.put(place, Some(entry));
        }
        if window.is_some() {
            self.close(stream_time, state)?;
        }
        Ok(if taken == 0 { Done::Late } else { Done::Taken })
    }

    /// The greatest event time seen, this record's with it.
    pub(super) fn stream_time(&mut self, time: i64, state: &dyn State) -> Result<i64, Fault> {
        self.clock.advance(self.space, time, state)
    }

    /// The windows that have closed: the keys of their entries in the index and of their own. The caller removes both.
    pub(super) fn due(&mut self, stream_time: i64, state: &dyn State) -> Result<Vec<Due>, Fault> {
        let (mut due, mut next) = (Vec::new(), i64::MAX);
        if self.clock.next_close.is_some_and(|next| next > stream_time) {
            return Ok(due);
        }
        self.pending.scan(state, &[self.space | CLOSES], &mut |index, _| {
            let Some((time, place)) = index.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) else {
                return true;
            };
            if unsorted(*time) > stream_time {
                next = unsorted(*time);
                return false;
            }
            due.push((index.to_vec(), place.to_vec()));
            true
        })?;
        self.clock.next_close = Some(next);
        Ok(due)
    }

    /// Drops the windows that have closed, and puts their last word out where the view waits for it.
    pub(super) fn close(&mut self, stream_time: i64, state: &dyn State) -> Result<(), Fault> {
        let due = self.due(stream_time, state)?;
        let Operator::Aggregate { all, window, last, .. } = &self.operator else { return Ok(()) };
        for (index, place) in due {
            let mut found = Vec::new();
            if let (true, Some(window)) = (*last && self.pending.get(state, &place, &mut found)?, window) {
                let mut bytes = Bytes(&found);
                let (was, row) = read_head(&mut bytes).ok_or(BROKEN)?;
                let (key, start) = split_place(&place).ok_or(BROKEN)?;
                let (end, time) = match window.shape {
                    Shape::Hop { .. } | Shape::Days { .. } => (window.end(start), window.end(start) - 1),
                    Shape::Session { .. } => {
                        let end = bytes.long().ok_or(BROKEN)?;
                        (end, end)
                    }
                };
                let memories = read_memories(&mut bytes, all).ok_or(BROKEN)?;
                let record = Record { key: Some(key), value: None, time, partition: 0, offset: 0, headers: &[] };
                let bounds = Some((start, end));
                let (select, pending, room) = (&mut self.select, &mut self.pending, &mut self.group.shown);
                let shown = show(select, pending, room, key, row, bounds, all, &memories, was, &record);
                // Its fault is not that of the record that has closed the window.
                if let Err(fault) = shown {
                    let of = Of::Row { key: windowed(key, Some(start)), row: select.json(&room.row), time };
                    let from = Timestamp::from_millisecond(start).map_or(start.to_string(), |t| t.to_string());
                    let reason = format!("the row of the window from {from}, which has closed: {fault}");
                    self.pending.undefined.push(Undefined { of, reason });
                }
            }
            self.pending.put(place, None);
            self.pending.put(index, None);
        }
        Ok(())
    }
}

impl Window {
    /// Appends the beginnings of the windows that a time lies in, the earliest first; a session has a beginning of its own.
    fn starts(&self, time: i64, starts: &mut Vec<Option<i64>>) {
        match &self.shape {
            Shape::Hop { size, step } => {
                let newest = time.div_euclid(*step).saturating_mul(*step);
                let count = (size + step - 1) / step;
                let all = (0..count).rev().map(|i| newest.saturating_sub(i.saturating_mul(*step)));
                starts.extend(all.filter(|start| start.saturating_add(*size) > time).map(Some));
            }
            Shape::Days { size, step, zone } => {
                let day = day_of(time, zone);
                let newest = day.div_euclid(*step).saturating_mul(*step);
                let count = (size + step - 1) / step;
                let all = (0..count).rev().map(|i| newest.saturating_sub(i.saturating_mul(*step)));
                let all = all.filter(|start| start.saturating_add(*size) > day);
                starts.extend(all.map(|day| Some(begin_of(day, zone))));
            }
            Shape::Session { .. } => {}
        }
    }

    /// The end of the window that begins at a time; a session has an end of its own.
    fn end(&self, start: i64) -> i64 {
        match &self.shape {
            Shape::Hop { size, .. } => start.saturating_add(*size),
            Shape::Days { size, zone, .. } => begin_of(day_of(start, zone).saturating_add(*size), zone),
            Shape::Session { .. } => start,
        }
    }
}

/// Room for one group at work.
#[derive(Debug, Default)]
pub(crate) struct Group {
    found: Vec<u8>,
    memories: Vec<Memory>,
    starts: Vec<Option<i64>>,
    pub(super) shown: Room,
}

/// Room for what is shown of a group: its row, its key and what comes of them.
#[derive(Debug, Default)]
pub(crate) struct Room {
    row: Vec<u8>,
    key: Vec<u8>,
    out: Vec<u8>,
}

/// The keys of a window in the index of those that close, and of its own entry.
type Due = (Vec<u8>, Vec<u8>);

/// The key of a group of several fields with each `|` and `\` inside a field escaped with `\`, where there are any. A key
/// with just the `|` between its fields stays as it is, so that it lies where its records lie.
pub(super) fn unambiguous(texts: &mut Rekey, key: &[u8], record: &Record<'_>) -> Result<Option<Vec<u8>>, RowError> {
    let between = key.iter().filter(|byte| **byte == b'|').count() + 1;
    if between == texts.count() && !key.contains(&b'\\') {
        return Ok(None);
    }
    match texts.key(record.value.unwrap_or_default(), record)? {
        Some(made) => Ok(Some(made)),
        None => Err(RowError::Record("a field of the key is null")),
    }
}

/// The row of a group goes through HAVING and SELECT, and out where it differs from the one before.
#[allow(clippy::too_many_arguments, reason = "all of one group at one moment")]
pub(super) fn show(
    select: &mut Projection,
    pending: &mut Pending,
    Room { row, key: shown_key, out }: &mut Room,
    key: &[u8],
    group: &[u8],
    bounds: Option<(i64, i64)>,
    all: &[Aggregate],
    memories: &[Memory],
    was: Option<[u8; 16]>,
    record: &Record<'_>,
) -> Result<Option<[u8; 16]>, RowError> {
    row.clear();
    row.extend_from_slice(group);
    if let Some((start, end)) = bounds {
        put_long(row, start);
        put_long(row, end);
    }
    for (aggregate, memory) in all.iter().zip(memories) {
        aggregate.finish(memory, row)?;
    }
    out.clear();
    let shown = select.run(row, record, out)?;
    shown_key.clear();
    write_windowed(key, bounds.map(|(start, _)| start), shown_key);
    Ok(Task::settle(pending, shown_key, was, shown.then_some(&**out), record.time))
}

/// The key of a group in a window.
pub(super) fn windowed(key: &[u8], start: Option<i64>) -> Vec<u8> {
    let mut made = Vec::new();
    write_windowed(key, start, &mut made);
    made
}

fn write_windowed(key: &[u8], start: Option<i64>, made: &mut Vec<u8>) {
    made.extend_from_slice(key);
    if let Some(start) = start {
        made.push(b'|');
        // A vector takes all that is written.
        drop(write!(made, "{start}"));
    }
}

pub(super) fn read_head<'a>(bytes: &mut Bytes<'a>) -> Option<(Option<[u8; 16]>, &'a [u8])> {
    bytes.array::<1>()?;
    let was = if bytes.array::<1>()? == [1] { Some(bytes.array::<16>()?) } else { None };
    Some((was, bytes.blob()?))
}

/// Reads an entry: the memories into `memories`, and the hash of what was put out last.
#[allow(clippy::option_option, reason = "an entry that cannot be read, and one of which nothing was put out")]
fn read_group(entry: &[u8], all: &[Aggregate], memories: &mut Vec<Memory>) -> Option<Option<[u8; 16]>> {
    let mut bytes = Bytes(entry);
    let (was, _) = read_head(&mut bytes)?;
    memories.clear();
    for one in all {
        memories.push(Memory::read(&mut bytes, one.counted())?);
    }
    Some(was)
}

pub(super) fn read_memories(bytes: &mut Bytes<'_>, all: &[Aggregate]) -> Option<Vec<Memory>> {
    all.iter().map(|one| Memory::read(bytes, one.counted())).collect()
}

/// The key and the start of the window in the key of an entry.
fn split_place(place: &[u8]) -> Option<(&[u8], i64)> {
    let (length, rest) = place.get(1..)?.split_first_chunk::<4>()?;
    let (key, start) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((key, unsorted(*start.first_chunk::<8>()?)))
}
