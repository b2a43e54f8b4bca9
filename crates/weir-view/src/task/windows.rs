//! Aggregates for each key, and for each window of event time.

use weir_avro::{put_blob, put_long};

use super::{BROKEN, CLOSES, Done, FORM, Fault, Operator, Pending, ROWS, Record, Rekey, TIME, Task, keyed};
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
        let mut found = Vec::with_capacity(ENTRY);
        if window.is_some() {
            stream_time = stream_time_of(&mut self.pending, space, record.time, state)?;
        }
        let starts: Vec<Option<i64>> = match window {
            _ if taken == 1 => Vec::new(),
            None => vec![None],
            Some(window) => window.starts(record.time).into_iter().map(Some).collect(),
        };
        for start in starts {
            let bounds = start.zip(window).map(|(start, window)| (start, window.end(start)));
            let close = bounds.zip(window).map(|((_, end), window)| end.saturating_add(window.grace));
            if close.is_some_and(|close| close <= stream_time) {
                continue;
            }
            taken += 1;
            let place = keyed(space | ROWS, key, start.map(sorted).as_ref().map_or(&[], |s| s));
            found.clear();
            let known = self.pending.get(state, &place, &mut found)?;
            let (was, mut memories) =
                if known { read_group(&found, all).ok_or(BROKEN)? } else { (None, vec![Memory::default(); all.len()]) };
            args.values(value, record, |i, value| match (all.get(i), memories.get_mut(i)) {
                (Some(aggregate), Some(memory)) => aggregate.add(memory, value),
                _ => Ok(()),
            })?;
            let mut now = was;
            if !last {
                now = show(&mut self.select, &mut self.pending, key, row, bounds, all, &memories, was, record)?;
            }
            let mut entry = Vec::with_capacity(ENTRY + row.len());
            entry.extend([FORM, u8::from(now.is_some())]);
            entry.extend_from_slice(now.as_ref().map_or(&[], |hash| hash));
            put_blob(&mut entry, row);
            memories.iter().for_each(|memory| memory.write(&mut entry));
            self.pending.put(place.clone(), Some(entry));
            if let Some(close) = close
                && !known
            {
                let mut index = vec![space | CLOSES];
                index.extend(sorted(close));
                index.extend_from_slice(&place);
                self.pending.put(index, Some(vec![FORM]));
                self.next_close = self.next_close.map(|next| next.min(close));
            }
        }
        let closed = if window.is_some() { self.close(stream_time, state)? } else { Done::Taken };
        Ok(if taken == 0 { Done::Late } else { closed })
    }

    /// The greatest event time seen, this record's with it.
    pub(super) fn stream_time(&mut self, time: i64, state: &dyn State) -> Result<i64, Fault> {
        stream_time_of(&mut self.pending, self.space, time, state)
    }

    /// The windows that have closed: the keys of their entries in the index and of their own. The caller removes both.
    pub(super) fn due(&mut self, stream_time: i64, state: &dyn State) -> Result<Vec<Due>, Fault> {
        let mut due = Vec::new();
        if self.next_close.is_some_and(|next| next > stream_time) {
            return Ok(due);
        }
        let mut next = i64::MAX;
        let closes = self.space | CLOSES;
        state.scan(&[closes], &mut |index, _| {
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
        // Windows that this record has opened are in no store yet.
        for (key, _) in
            self.pending.writes.iter().filter(|(key, value)| key.first() == Some(&closes) && value.is_some())
        {
            if let Some((time, _)) = key.get(1..).and_then(|rest| rest.split_first_chunk::<8>()) {
                next = next.min(unsorted(*time));
            }
        }
        self.next_close = Some(next);
        Ok(due)
    }

    /// Drops the windows that have closed, and puts their last word out where the view waits for it.
    pub(super) fn close(&mut self, stream_time: i64, state: &dyn State) -> Result<Done, Fault> {
        let due = self.due(stream_time, state)?;
        let Operator::Aggregate { all, window, last, .. } = &self.operator else { return Ok(Done::Taken) };
        let mut done = Done::Taken;
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
                let shown = show(&mut self.select, &mut self.pending, key, row, bounds, all, &memories, was, &record);
                // Its fault is not that of the record that has closed the window.
                if shown.is_err() {
                    done = Done::Undefined;
                }
            }
            self.pending.put(place, None);
            self.pending.put(index, None);
        }
        Ok(done)
    }
}

impl Window {
    /// The beginnings of the windows that a time lies in, the earliest first; a session has a beginning of its own.
    fn starts(&self, time: i64) -> Vec<i64> {
        match &self.shape {
            Shape::Hop { size, step } => {
                let newest = time.div_euclid(*step).saturating_mul(*step);
                let count = (size + step - 1) / step;
                let all = (0..count).rev().map(|i| newest.saturating_sub(i.saturating_mul(*step)));
                all.filter(|start| start.saturating_add(*size) > time).collect()
            }
            Shape::Days { size, step, zone } => {
                let day = day_of(time, zone);
                let newest = day.div_euclid(*step).saturating_mul(*step);
                let count = (size + step - 1) / step;
                let all = (0..count).rev().map(|i| newest.saturating_sub(i.saturating_mul(*step)));
                all.filter(|start| start.saturating_add(*size) > day).map(|day| begin_of(day, zone)).collect()
            }
            Shape::Session { .. } => Vec::new(),
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

/// The keys of a window in the index of those that close, and of its own entry.
type Due = (Vec<u8>, Vec<u8>);

/// The greatest event time seen, this record's with it. It is written where it has grown.
fn stream_time_of(pending: &mut Pending, space: u8, time: i64, state: &dyn State) -> Result<i64, Fault> {
    let mut found = Vec::new();
    if pending.get(state, &[space | TIME], &mut found)? {
        let known = unsorted(Bytes(found.get(1..).unwrap_or_default()).array().ok_or(BROKEN)?);
        if known >= time {
            return Ok(known);
        }
    }
    pending.put(vec![space | TIME], Some([&[FORM][..], &sorted(time)].concat()));
    Ok(time)
}

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
    key: &[u8],
    group: &[u8],
    bounds: Option<(i64, i64)>,
    all: &[Aggregate],
    memories: &[Memory],
    was: Option<[u8; 16]>,
    record: &Record<'_>,
) -> Result<Option<[u8; 16]>, RowError> {
    let mut row = Vec::with_capacity(ENTRY + group.len());
    row.extend_from_slice(group);
    if let Some((start, end)) = bounds {
        put_long(&mut row, start);
        put_long(&mut row, end);
    }
    let windowed = windowed(key, bounds.map(|(start, _)| start));
    for (aggregate, memory) in all.iter().zip(memories) {
        aggregate.finish(memory, &mut row)?;
    }
    let mut out = Vec::with_capacity(ENTRY + row.len());
    let shown = select.run(&row, record, &mut out)?;
    Ok(Task::settle(pending, &windowed, was, shown.then_some(&*out), record.time))
}

/// The key of a group in a window.
pub(super) fn windowed(key: &[u8], start: Option<i64>) -> Vec<u8> {
    let mut made = key.to_vec();
    if let Some(start) = start {
        made.push(b'|');
        made.extend_from_slice(start.to_string().as_bytes());
    }
    made
}

type Group = (Option<[u8; 16]>, Vec<Memory>);

pub(super) fn read_head<'a>(bytes: &mut Bytes<'a>) -> Option<(Option<[u8; 16]>, &'a [u8])> {
    bytes.array::<1>()?;
    let was = if bytes.array::<1>()? == [1] { Some(bytes.array::<16>()?) } else { None };
    Some((was, bytes.blob()?))
}

fn read_group(entry: &[u8], all: &[Aggregate]) -> Option<Group> {
    let mut bytes = Bytes(entry);
    let (was, _) = read_head(&mut bytes)?;
    Some((was, read_memories(&mut bytes, all)?))
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
